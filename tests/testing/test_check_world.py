"""check_world: it is silent about a sound database, and names whatever somebody has broken by hand."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from wrkflw import Event, Retry, StepContext, StepTools, SuspendContext, Workflow, create_workflow, step, workflow
from wrkflw.testing import ManualClock, TestRuntime, Violation, check_world
from wrkflw.world.entities import Hook, Step
from wrkflw.world.storage import Page
from wrkflw.worlds.sqlite import SqliteWorld


@step
async def add_one(number: int) -> int:
    return number + 1


@step(retry=Retry(attempts=3, delay="1h", jitter=0))
async def stumble(number: int, ctx: StepContext) -> int:
    ctx.write(b"a try", stream="tries")
    ctx.write(b"a try", stream="tries")
    if ctx.attempt == 1:
        raise OSError("not yet")
    return number - 1


@step
async def ask(number: int, ctx: SuspendContext[int, str]) -> int:
    return number + ctx.suspend("how many?")


@step
async def grow(number: int) -> str:
    return "x" * 300_000


paid = Event("paid", int)


@workflow
async def waiting(step: StepTools, number: int) -> int:
    await step.sleep("nap", "1d")
    return await step.wait_for_event(paid) + await step.run(add_one, number)


def numbers(id: str) -> Workflow[int, int]:
    return create_workflow(id=id, input_schema=int, output_schema=int).then(add_one).then(stumble).commit()


retried = numbers("retried")
asking = create_workflow(id="asking", input_schema=int, output_schema=int).then(ask).commit()
asleep = create_workflow(id="asleep", input_schema=int, output_schema=int).sleep("7d").then(add_one).commit()
large = create_workflow(id="large", input_schema=int, output_schema=str).then(grow).commit()


async def play(path: Path) -> None:
    """One run of each kind; each has the id of its workflow."""
    async with TestRuntime(f"sqlite:///{path}") as runtime:
        for flow in (retried, waiting):
            run = await flow.create_run(run_id=flow.id, idempotency_key="key", attributes={"colour": "red"})
            await run.start(1)
        await runtime.advance("1d")
        await (await waiting.get_run("waiting")).send_event(paid, 3)
        for flow in (asking, asleep):
            await (await flow.create_run(run_id=flow.id)).start(1)
            await (await flow.create_run(run_id=f"{flow.id}-2")).start(1)
            await (await flow.create_run(run_id=f"{flow.id}-3")).start(1)
        await (await asking.get_run("asking-2")).cancel()
        await (await large.create_run(run_id="large")).start(1)
        await (await asleep.create_run(run_id="queued")).enqueue(1, delay="1h")
        await runtime.assert_consistent()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The database, byte for byte, as every test begins with it."""
    path = tmp_path_factory.mktemp("sound") / "app.db"
    asyncio.run(play(path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = delete")  # nothing in memory has a log beside it
        return connection.serialize()


async def violations(image: bytes, *statements: str) -> list[Violation]:
    """What is found once somebody has executed these."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(image)
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount, f"it breaks nothing: {statement}"
        broken = connection.serialize()
    world = SqliteWorld(":memory:", clock=ManualClock(), image=broken)
    await world.start()
    try:
        return await check_world(world)
    finally:
        world.abandon()


async def test_nothing_is_wrong_with_a_sound_database(image: bytes) -> None:
    assert await violations(image) == []


def of(run_id: str) -> str:
    return f"run_no = (SELECT run_no FROM runs WHERE run_id = '{run_id}')"


def event(run_id: str, event_type: str, subject: str = "NULL") -> tuple[str, str]:
    """An event more, at the end of the log."""
    return (
        "INSERT INTO events (run_no, slot, event_type, subject, created_at) "
        f"SELECT run_no, last_slot + 1, '{event_type}', {subject}, updated_at FROM runs WHERE run_id = '{run_id}'",
        f"UPDATE runs SET last_slot = last_slot + 1 WHERE run_id = '{run_id}'",
    )


class Broken(NamedTuple):
    invariant: str
    run_id: str
    detail: str
    """The beginning of what is said."""
    statements: tuple[str, ...]


STEP_OF_RETRIED = f"(SELECT created_slot FROM steps WHERE {of('retried')} AND key = 'add-one')"
STEP_OF_ASKING = f"(SELECT created_slot FROM steps WHERE {of('asking-2')})"
HOOK_OF_ASKING = f"(SELECT created_slot FROM hooks WHERE {of('asking')})"


def broken() -> Iterator[Broken]:
    def by(invariant: str, run_id: str, detail: str, *statements: str) -> Broken:
        return Broken(invariant, run_id, detail, statements)

    yield by(
        "I1", "queued", "it is open, and nothing will ever wake it",
        "UPDATE runs SET wake_at = NULL WHERE run_id = 'queued'",
    )  # fmt: skip
    yield by(
        "I2", "asking", "what came from outside at slot 7 was not looked at",
        *event("asking", "hook_received", HOOK_OF_ASKING),
        f"UPDATE hooks SET payloads = 1 WHERE {of('asking')}",
    )  # fmt: skip
    yield by(
        "I2", "asleep", "the run has looked at its log up to 6, and it ends at 3: what comes next is not looked at",
        "UPDATE runs SET seen_slot = 6 WHERE run_id = 'asleep'",
    )  # fmt: skip
    yield by(
        "I2", "asking", "hook_received at slot 8 is the second answer to one suspension",
        *event("asking", "hook_received", HOOK_OF_ASKING),
        *event("asking", "hook_received", HOOK_OF_ASKING),
    )  # fmt: skip
    yield by(
        "I2", "asking-2", "hook_received at slot 8 is about no hook that is open",
        f"UPDATE events SET event_type = 'hook_disposed', subject = 4 WHERE {of('asking-2')} AND slot = 7",
        *event("asking-2", "hook_received", "4"),
    )  # fmt: skip
    yield by(
        "I3", "retried", "step_created at slot 3 is number 2 of the log",
        f"DELETE FROM events WHERE {of('retried')} AND slot = 2",
    )  # fmt: skip
    yield by(
        "I3", "asleep", "the run says that its log ends at 4, and it ends at 3",
        "UPDATE runs SET last_slot = last_slot + 1 WHERE run_id = 'asleep'",
    )  # fmt: skip
    yield by(
        "I3", "asleep", "run_started at slot 2 is older than the event before it",
        f"UPDATE events SET created_at = created_at - 1 WHERE {of('asleep')} AND slot = 2",
    )  # fmt: skip
    yield by(
        "I4", "retried", "the run has status = 'running', and its log comes to 'completed'",
        "UPDATE runs SET status = 'running' WHERE run_id = 'retried'",
    )  # fmt: skip
    yield by(
        "I4", "retried", "the run has attributes = {'colour': 'blue'}, and its log comes to {'colour': 'red'}",
        f"UPDATE run_attributes SET value = 'blue' WHERE {of('retried')}",
    )  # fmt: skip
    yield by(
        "I4", "retried", "step 'stumble' has attempt = 3, and its log comes to 2",
        f"UPDATE steps SET attempt = 3 WHERE {of('retried')} AND key = 'stumble'",
    )  # fmt: skip
    yield by(
        "I4", "retried", "step 'add-one' is in the log, and nowhere else",
        f"DELETE FROM steps WHERE {of('retried')} AND key = 'add-one'",
    )  # fmt: skip
    yield by(
        "I4", "asking", "hook 'hook_",
        f"DELETE FROM hooks WHERE {of('asking')}",
    )  # fmt: skip
    yield by(
        "I4", "asking", "hook 'hook_",
        f"UPDATE hooks SET payloads = 2 WHERE {of('asking')}",
    )  # fmt: skip
    yield by(
        "I4", "asleep", "wait_completed at slot 5 is about no wait that is open",
        *event("asleep", "wait_completed", "3"),
        f"UPDATE events SET data = '{{\"cause\": \"woken\"}}' WHERE {of('asleep')} AND slot = 4",
        *event("asleep", "wait_completed", "3"),
        f"UPDATE events SET data = '{{\"cause\": \"woken\"}}' WHERE {of('asleep')} AND slot = 5",
    )  # fmt: skip
    yield by(
        "I4", "retried", "run_started at slot 12 comes after the run was completed at slot 11",
        *event("retried", "run_started"),
    )  # fmt: skip
    yield by(
        "I4", "asleep", "run_started at slot 2 stands before the run was created",
        f"DELETE FROM events WHERE {of('asleep')} AND slot = 1",
    )  # fmt: skip
    yield by(
        "I4", "asleep", "it has a row, and no run_created in its log",
        f"DELETE FROM events WHERE {of('asleep')}",
    )  # fmt: skip
    yield by(
        "I4", "asking", "step 'ask' was created again at slot 7",
        "INSERT INTO events (run_no, slot, event_type, subject, correlation_id, data, created_at) "
        "SELECT run_no, 7, event_type, 7, correlation_id, data, created_at FROM events "
        f"WHERE {of('asking')} AND event_type = 'step_created'",
    )  # fmt: skip
    yield by(
        "I4", "asking", "step_started at slot 7 is about no step",
        "INSERT INTO events (run_no, slot, event_type, correlation_id, created_at) "
        f"SELECT run_no, 7, 'step_started', 'step_x', created_at FROM events WHERE {of('asking')} AND slot = 1",
    )  # fmt: skip
    yield by(
        "I4", "asking", "there is a hook 'hook_x' of which the log knows nothing",
        f"UPDATE hooks SET hook_id = 'hook_x' WHERE {of('asking')}",
    )  # fmt: skip
    yield by(
        "I5", "retried", "step_completed of 'add-one' at slot 12 comes after its end at slot 5",
        *event("retried", "step_completed", STEP_OF_RETRIED),
    )  # fmt: skip
    yield by(
        "I5", "retried", "step 'add-one' gives b'1', and b'2' was recorded",
        f"UPDATE steps SET ended_slot = 10 WHERE {of('retried')} AND key = 'add-one'",
    )  # fmt: skip
    yield by(
        "I12", "retried", "it has ended, and is owned or due",
        "UPDATE runs SET owner = 'own_nobody' WHERE run_id = 'retried'",
    )  # fmt: skip
    yield by(
        "I13", "retried", "the run is at epoch 0, and epoch ",
        "UPDATE runs SET epoch = 0 WHERE run_id = 'retried'",
    )  # fmt: skip
    yield by(
        "I13", "retried", "step_started at slot 4 was written in epoch 1 after epoch 2",
        f"UPDATE events SET epoch = 2 WHERE {of('retried')} AND slot = 3",
    )  # fmt: skip
    yield by(
        "I14", "asleep", "it sleeps until ",
        "UPDATE runs SET wake_at = NULL WHERE run_id = 'asleep'",
    )  # fmt: skip
    yield by(
        "I14", "asleep", "it sleeps until ",
        "UPDATE runs SET wake_at = wake_at + 1 WHERE run_id = 'asleep'",
    )  # fmt: skip
    yield by(
        "I16", "asking-2", "step_started at slot 8 comes after the run was cancelled at slot 7",
        *event("asking-2", "step_started", STEP_OF_ASKING),
    )  # fmt: skip
    yield by(
        "I17", "retried", "stream 'tries' has chunks [0, 2, 3], and should have 4",
        f"DELETE FROM chunks WHERE {of('retried')} AND idx = 1",
    )  # fmt: skip
    yield by(
        "I17", "retried", "stream 'tries' has chunks [0, 1, 2, 3], and should have 5",
        f"UPDATE streams SET length = 5 WHERE {of('retried')}",
    )  # fmt: skip
    yield by(
        "I17", "retried", "the chunks of its streams are numbered [1, 2, 3, 9]",
        f"UPDATE chunks SET number = 9 WHERE {of('retried')} AND number = 4",
    )  # fmt: skip
    yield by(
        "I18", "retried", "step_started of 'stumble' at slot 9 is early",
        f"UPDATE events SET created_at = created_at - 1 WHERE {of('retried')} AND slot = 9",
    )  # fmt: skip
    yield by(
        "I18", "waiting", "wait_completed at slot 4 is early",
        f"UPDATE events SET created_at = created_at - 1 WHERE {of('waiting')} AND slot = 4",
    )  # fmt: skip
    yield by(
        "I20", "large", "it cannot be read: ",
        "UPDATE payloads SET data = x'00'",
    )  # fmt: skip
    yield by(
        "I21", "retried", "it holds the idempotency key 'key', which gives run ",
        "DROP INDEX runs_key",
        "UPDATE runs SET idempotency_key = 'key', workflow_name = 'retried' WHERE run_id = 'asleep'",
    )  # fmt: skip
    yield by(
        "I12", "asking", "hook 'hook_",
        "DROP INDEX hooks_token",
        f"UPDATE hooks SET token = (SELECT token FROM hooks WHERE {of('asking')}) WHERE {of('asking-3')}",
    )  # fmt: skip


@pytest.mark.parametrize("one", list(broken()), ids=lambda one: f"{one.invariant}-{one.detail[:30]}")
async def test_it_names_what_is_broken(one: Broken, image: bytes) -> None:
    found = await violations(image, *one.statements)

    named = [each for each in found if (each.invariant, each.run_id) == (one.invariant, one.run_id)]
    assert any(each.detail.startswith(one.detail) for each in named), "\n".join(map(str, found)) or "nothing was found"


async def test_it_names_a_token_that_a_run_keeps_past_its_end(image: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    world = SqliteWorld(":memory:", clock=ManualClock(), image=image)
    await world.start()
    [hook] = (await world.storage.hooks.list("asking")).data

    async def forgetful(run_id: str | None = None, **_: object) -> Page[Hook]:
        return Page([hook] if run_id == "retried" else [], None, has_more=False)

    monkeypatch.setattr(world.storage.hooks, "list", forgetful)
    found = await check_world(world)
    world.abandon()

    said = f"it has ended, and holds the token of hook {hook.hook_id!r}"
    assert Violation("I12", "retried", said) in found


async def test_it_names_a_step_that_only_the_view_has(image: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    world = SqliteWorld(":memory:", clock=ManualClock(), image=image)
    await world.start()
    [step] = (await world.storage.steps.list("asking", resolve_data="all")).data
    ghost = replace(step, step_id="step_x", key="ghost")

    async def inventive(run_id: str, **_: object) -> Page[Step]:
        return Page([ghost, step] if run_id == "asking" else [], None, has_more=False)

    monkeypatch.setattr(world.storage.steps, "list", inventive)
    found = await check_world(world)
    world.abandon()

    assert Violation("I4", "asking", "there is a step 'ghost' of which the log knows nothing") in found


async def test_a_runtime_lists_all_that_is_wrong(image: bytes, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(image)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE runs SET wake_at = NULL WHERE run_id = 'queued'")
        connection.execute("UPDATE runs SET owner = 'own_nobody' WHERE run_id = 'retried'")

    async with TestRuntime(f"sqlite:///{path}") as runtime:
        with pytest.raises(AssertionError) as raised:
            await runtime.assert_consistent()

    assert str(raised.value) == (
        "the world is not consistent:\n"
        "  I1 queued: it is open, and nothing will ever wake it\n"
        "  I12 retried: it has ended, and is owned or due"
    )
