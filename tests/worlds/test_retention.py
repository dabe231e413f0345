"""What an ended run loses after the time for which it is kept, and what stays of it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import START, ManualClock
from tests.world.looks import assert_the_views_are_the_fold, connection_of, log_of
from wrkflw.codecs import AesGcm
from wrkflw.world import events as e
from wrkflw.world.errors import KeyTakenError, RunExpiredError, StreamExpiredError, WorldError
from wrkflw.world.retention import RETENTION, stamp
from wrkflw.world.storage import Claim, RunFence
from wrkflw.world.streamer import NewChunk, StreamInfo
from wrkflw.worlds.sqlite import SqliteWorld

OWNED = RunFence(1)
DAY = timedelta(days=1)
SECRET = b'"secret"'
LARGE = b'"%s"' % (b"secret " * 4_000)


@pytest.fixture
async def world(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "kept.db", clock=clock)
    await world.start()
    yield world
    await world.close()


def created(seconds: int | None = None, value: bytes = SECRET, **others: Any) -> e.RunCreated:
    return e.RunCreated(
        workflow_name="greet",
        input=value,
        execution_context={"state": "secret"},
        attributes={"team": "a"} | ({} if seconds is None else {RETENTION: str(seconds)}),
        allow_reserved_attributes=True,
        **others,
    )


async def begin(
    world: SqliteWorld, run_id: str, seconds: int | None = None, value: bytes = SECRET, **others: Any
) -> None:
    """A run with everything that can hold a value."""
    await world.storage.events.create_batch(
        run_id, [created(seconds, value, **others), e.RunStarted()], claim=Claim(world.owner)
    )
    step: list[e.NewEvent] = [
        e.StepCreated(correlation_id="s1", step_name="a", key="a", input=value, meta={"digest": "secret"}),
        e.StepStarted(correlation_id="s1"),
        e.StepRetrying(correlation_id="s1", error=value, reason="error"),
        e.StepStarted(correlation_id="s1"),
        e.WaitCreated(correlation_id="w1", kind="signal", signal_type="paid", key="paid"),
        e.HookCreated(correlation_id="h1", token=f"token of {run_id}", metadata=value),
    ]
    await world.storage.events.create_batch(run_id, step, fence=OWNED)
    await world.streamer.write_many(run_id, [NewChunk("out", b"secret"), NewChunk("out", b"secret")], fence=OWNED)
    await world.storage.events.create(run_id, e.HookReceived(correlation_id="h1", payload_data=value))
    await world.storage.events.create(run_id, e.SignalReceived(signal_type="paid", payload_data=value))


async def end(world: SqliteWorld, run_id: str, value: bytes = SECRET) -> None:
    ends: list[e.NewEvent] = [
        e.StepCompleted(correlation_id="s1", result=value, meta={"state": {"name": "secret"}}),
        e.RunCompleted(output=value, meta={"bail": "secret"}),
    ]
    await world.storage.events.create_batch(run_id, ends, fence=OWNED)


async def ended(
    world: SqliteWorld, run_id: str, seconds: int | None = None, value: bytes = SECRET, **others: Any
) -> None:
    await begin(world, run_id, seconds, value, **others)
    await end(world, run_id, value)


def stored(world: SqliteWorld, table: str) -> str:
    return repr(connection_of(world).text(f"SELECT * FROM {table}"))  # noqa: S608  # a name from here


VALUES = pytest.mark.parametrize("value", [SECRET, LARGE], ids=["small", "large"])
TABLES = ("events", "chunks", "hooks", "steps", "waits", "payloads")


@VALUES
async def test_a_run_loses_its_values_when_it_was_kept_for_long_enough(
    world: SqliteWorld, clock: ManualClock, value: bytes
) -> None:
    await ended(world, "run-1", 60, value)
    before = await world.storage.events.list("run-1", resolve_data="none")

    clock.turn("59s")
    assert await world.storage.retention.expire() == 0
    assert "secret" in stored(world, "events")
    assert await world.storage.retention.next_due() == START + timedelta(minutes=1)
    clock.turn("1s")
    assert await world.storage.retention.expire() == 1
    assert await world.storage.retention.expire() == 0

    assert await world.storage.retention.next_due() is None
    assert not [table for table in TABLES if "secret" in stored(world, table)]
    after = await world.storage.events.list("run-1", resolve_data="none")
    assert [(one.slot, one.event_type, one.created_at) for one in after.data] == [
        (one.slot, one.event_type, one.created_at) for one in before.data
    ]


async def test_what_is_left_is_still_the_fold_of_the_log(world: SqliteWorld, clock: ManualClock) -> None:
    await ended(world, "run-1", 0)
    await world.storage.retention.expire()

    await assert_the_views_are_the_fold(world, "run-1")


async def test_who_reads_what_was_removed_is_told_when(world: SqliteWorld, clock: ManualClock) -> None:
    await ended(world, "run-1", 60)
    clock.turn("1h")
    await world.storage.retention.expire()
    storage, streamer = world.storage, world.streamer

    refusals: list[RunExpiredError] = []
    for read in (
        lambda: storage.runs.get("run-1"),
        lambda: storage.events.list("run-1"),
        lambda: storage.events.get("run-1", e.event_id(1)),
        lambda: storage.events.list_by_correlation_id("run-1", "s1"),
        lambda: storage.steps.get("run-1", "s1"),
        lambda: storage.steps.list("run-1", resolve_data="all"),
        lambda: streamer.items("run-1"),
        lambda: streamer.get_chunks("run-1", "out"),
        lambda: anext(streamer.read("run-1", "out")),
    ):
        with pytest.raises(RunExpiredError) as refused:
            await read()
        refusals.append(refused.value)
    for refusal in refusals:
        assert str(refusal) == (
            "what run 'run-1' held was removed on 2026-03-01 13:00:00+00:00; keep runs longer with retention="
        )
        assert (refusal.status, refusal.run_id, refusal.run_status) == (410, "run-1", "completed")
        assert refusal.expired_at == START + timedelta(hours=1)
    assert [type(refusal) for refusal in refusals[-2:]] == [StreamExpiredError] * 2


async def test_what_is_no_value_can_be_read_for_ever(world: SqliteWorld, clock: ManualClock) -> None:
    await ended(world, "run-1", 60, idempotency_key="key-1")
    await ended(world, "run-2", 3600)
    clock.turn("1m")
    await world.storage.retention.expire()
    storage, streamer = world.storage, world.streamer

    run = await storage.runs.get("run-1", resolve_data="none")
    assert (run.status, run.expired_at, run.attributes["team"]) == ("completed", START + timedelta(minutes=1), "a")
    listed = (await storage.runs.list(resolve_data="all")).data
    assert {run.run_id: (run.input, run.expired_at is None) for run in listed} == {
        "run-1": (None, False),
        "run-2": (SECRET, True),
    }
    step = await storage.steps.get("run-1", "s1", resolve_data="none")
    assert (step.status, step.attempt, step.completed_at) == ("completed", 2, START)
    assert (await streamer.list("run-1"), await streamer.info("run-1", "out")) == (["out"], StreamInfo(1, True))
    assert (await streamer.get_chunks("run-1", "another")).done
    with pytest.raises(KeyTakenError):
        await storage.events.create("run-3", created(idempotency_key="key-1"))


async def test_a_run_that_says_nothing_is_kept_as_its_world_keeps_runs(clock: ManualClock) -> None:
    told = ((2 * DAY, 2 * DAY), (0 * DAY, 0 * DAY), (timedelta.max, None))
    worlds = [(SqliteWorld(":memory:", clock=clock, retention=kept), due) for kept, due in told]
    for world, due in ((SqliteWorld(":memory:", clock=clock), 30 * DAY), *worlds):
        await world.start()
        await ended(world, "run-1")

        assert await world.storage.retention.next_due() == (None if due is None else START + due)
        await world.close()


async def test_a_run_says_how_long_it_is_kept_until_its_end(world: SqliteWorld, clock: ManualClock) -> None:
    await begin(world, "run-1", 60)
    change = e.AttributeChange(key=RETENTION, value=stamp(timedelta(seconds=90, milliseconds=1)))
    await world.storage.events.create("run-1", e.AttrSet(changes=[change], allow_reserved_attributes=True))
    await end(world, "run-1")

    assert await world.storage.retention.next_due() == START + timedelta(seconds=91)


async def test_who_ends_a_run_need_not_have_begun_it(world: SqliteWorld, clock: ManualClock) -> None:
    await begin(world, "run-1", 60)
    clock.turn("1m")
    await world.storage.events.create("run-1", e.RunCancelled())

    assert await world.storage.retention.next_due() == START + timedelta(minutes=2)


@pytest.mark.parametrize("value", ["-1", "1.5", "soon", "1" * 16])
async def test_a_time_that_is_none_is_refused(world: SqliteWorld, value: str) -> None:
    event = e.RunCreated(workflow_name="greet", attributes={RETENTION: value}, allow_reserved_attributes=True)

    with pytest.raises(WorldError, match=r"attribute '\$retention' cannot be .*; give it a whole number of seconds"):
        await world.storage.events.create("run-1", event)


async def test_the_longest_time_is_for_ever(world: SqliteWorld) -> None:
    await ended(world, "run-1", int(stamp(timedelta.max)))

    assert await world.storage.retention.next_due() is None


READS: dict[str, Callable[[SqliteWorld], Awaitable[object]]] = {
    "a run": lambda world: world.storage.runs.get("run-1"),
    "its log": lambda world: world.storage.events.list("run-1"),
    "an event": lambda world: world.storage.events.get("run-1", e.event_id(1)),
    "what is about a step": lambda world: world.storage.events.list_by_correlation_id("run-1", "s1"),
    "a step": lambda world: world.storage.steps.get("run-1", "s1"),
    "its steps": lambda world: world.storage.steps.list("run-1", resolve_data="all"),
    "events and chunks": lambda world: world.streamer.items("run-1"),
    "a stream": lambda world: world.streamer.get_chunks("run-1", "out"),
}


@VALUES
@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
async def test_who_reads_while_another_process_empties_the_run_gets_all_or_is_told(
    tmp_path: Path, clock: ManualClock, read: Callable[[SqliteWorld], Awaitable[object]], value: bytes
) -> None:
    place, statements = 0, 0
    """Before which of its statements the other process comes, and how many it has made."""

    def on_statement(_: str) -> None:
        nonlocal statements
        statements += 1
        if statements == place:
            empty(tmp_path / "kept.db")

    world = SqliteWorld(tmp_path / "kept.db", clock=clock)
    await world.start()
    await ended(world, "run-1", 3600, value)
    full = await read(world)
    await world.close()
    kept, told = (tmp_path / "kept.db").read_bytes(), 0
    while statements >= place:
        (tmp_path / "kept.db").write_bytes(kept)
        world = SqliteWorld(tmp_path / "kept.db", clock=clock)
        await world.start()
        connection_of(world)._on_statement = on_statement
        place, statements = place + 1, 0
        try:
            assert await read(world) == full
        except RunExpiredError:
            told += 1
        finally:
            connection_of(world)._on_statement = None
            await world.close()
    assert told > 1


def empty(path: Path) -> None:
    """As another process does, in the first transaction of its work on a run."""
    other = sqlite3.connect(path)
    other.execute("INSERT INTO expired VALUES (1, 1)")
    other.execute("UPDATE events SET payload = NULL, payload_ref = NULL")
    other.execute("DELETE FROM chunks")
    other.execute("DELETE FROM payloads")
    other.commit()
    other.close()


async def test_a_hook_that_outlasts_its_run_has_no_metadata_once_that_has_expired(
    world: SqliteWorld, clock: ManualClock
) -> None:
    hook = e.HookCreated(correlation_id="h1", token="t", metadata=SECRET, token_retention_until=clock.now() + DAY)
    await world.storage.events.create("run-1", created(0))
    await world.storage.events.create("run-1", hook)
    await world.storage.events.create("run-1", e.RunCancelled())
    assert (await world.storage.hooks.get_by_token("t")).metadata == SECRET
    await world.storage.retention.expire()

    for read in (world.storage.hooks.get_by_token("t"), world.storage.hooks.get("h1", run_id="run-1")):
        with pytest.raises(RunExpiredError):
            await read
    assert (await world.storage.hooks.get_by_token("t", resolve_data="none")).hook_id == "h1"


async def test_what_was_handed_in_cannot_be_compared_once_it_was_removed(world: SqliteWorld) -> None:
    paid = e.SignalReceived(signal_type="paid", payload_data=SECRET)
    await world.storage.events.create("run-1", created(0))
    await world.storage.events.create("run-1", paid, resume_id="by payload")
    await world.storage.events.create("run-1", paid, resume_id="by digest", resume_digest="d")
    await world.storage.events.create("run-1", e.RunCancelled())
    await world.storage.retention.expire()

    with pytest.raises(RunExpiredError, match="what run 'run-1' held was removed"):
        await world.storage.events.create("run-1", paid, resume_id="by payload")
    again = await world.storage.events.create("run-1", paid, resume_id="by digest", resume_digest="d")
    assert again.event is not None
    assert again.event.slot == 3


async def test_who_waits_for_the_end_of_a_run_hears_of_it_when_it_has_expired(world: SqliteWorld) -> None:
    await ended(world, "run-1", 0)
    await world.storage.retention.expire()

    run = await world.storage.runs.wait_for_terminal("run-1", timeout=DAY)

    assert (run.status, run.output, run.expired_at) == ("completed", None, START)


@VALUES
async def test_what_a_body_gives_that_outlived_its_run_goes_too(world: SqliteWorld, value: bytes) -> None:
    await begin(world, "run-1", 0)
    await world.storage.events.create("run-1", e.RunCancelled())
    await world.storage.retention.expire()
    late = e.StepCompleted(correlation_id="s1", result=value)
    await world.storage.events.create_batch("run-1", [late], fence=OWNED)

    assert "secret" not in stored(world, "events") + stored(world, "payloads")
    await assert_the_views_are_the_fold(world, "run-1")


async def test_runs_expire_one_after_the_other_and_no_more_than_asked_for(
    world: SqliteWorld, clock: ManualClock
) -> None:
    for number in range(5):
        await ended(world, f"run-{number}", number)
    clock.turn("3s")

    assert await world.storage.retention.expire(limit=3) == 3
    runs = (await world.storage.runs.list()).data
    assert {run.run_id for run in runs if run.expired_at is not None} == {"run-0", "run-1", "run-2"}
    assert await world.storage.retention.expire(limit=3) == 1
    assert await world.storage.retention.next_due() == START + timedelta(seconds=4)


async def test_a_run_that_is_damaged_does_not_keep_the_others(world: SqliteWorld, clock: ManualClock) -> None:
    for number in range(3):
        await ended(world, f"run-{number}", number)
    connection_of(world).text("UPDATE events SET data = '{\"broken' WHERE run_no = 1 AND data IS NOT NULL")
    clock.turn("1m")

    assert await world.storage.retention.expire() == 3


def commits_of(world: SqliteWorld) -> list[str]:
    """Those from now on."""
    commits: list[str] = []
    assert world._write is not None
    world._write._on_statement = lambda text: commits.append(text) if text == "COMMIT" else None
    return commits


async def test_a_large_run_is_emptied_in_short_transactions(world: SqliteWorld, clock: ManualClock) -> None:
    await begin(world, "run-1", 0)
    waits: list[e.NewEvent] = [
        e.WaitCreated(correlation_id=f"x{number}", kind="sleep", resume_at=START) for number in range(1500)
    ]
    await world.storage.events.create_batch("run-1", waits, fence=OWNED)
    await world.streamer.write_many("run-1", [NewChunk("out", b"secret")] * 2500, fence=OWNED)
    await end(world, "run-1")
    commits = commits_of(world)

    assert await world.storage.retention.expire() == 1

    assert len(commits) == 5
    assert "secret" not in stored(world, "chunks") + stored(world, "events")


async def test_so_is_one_of_few_values_that_are_large(world: SqliteWorld) -> None:
    for number in range(4):
        await world.storage.events.create(f"run-{number}", created(0, LARGE * 100 + b"%d" % number))
        await world.storage.events.create(f"run-{number}", e.RunCancelled())
    commits = commits_of(world)

    assert await world.storage.retention.expire() == 4

    assert len(commits) == 2
    assert stored(world, "payloads") == "[]"


async def test_what_another_run_was_given_too_stays_until_that_has_expired(
    world: SqliteWorld, clock: ManualClock
) -> None:
    await ended(world, "run-1", 0, LARGE)
    await ended(world, "run-2", 60, LARGE)
    await world.storage.retention.expire()
    assert (await world.storage.runs.get("run-2")).input == LARGE

    clock.turn("1m")
    await world.storage.retention.expire()

    assert stored(world, "payloads") == "[]"


async def test_a_process_that_dies_meanwhile_leaves_the_rest_to_the_next(tmp_path: Path, clock: ManualClock) -> None:
    world = SqliteWorld(tmp_path / "dies.db", clock=clock)
    await world.start()
    await begin(world, "run-1", 0)
    await world.streamer.write_many("run-1", [NewChunk("out", b"secret")] * 2500, fence=OWNED)
    await end(world, "run-1")
    retention: Any = world.storage.retention
    _, purge = await retention._purge_some(None, 1)
    assert purge is not None
    with pytest.raises(RunExpiredError):
        await world.storage.runs.get("run-1")
    world.abandon()

    after = SqliteWorld(tmp_path / "dies.db", clock=clock)
    await after.start()
    assert await after.storage.retention.expire() == 1
    assert "secret" not in stored(after, "chunks")
    await after.close()


async def test_a_run_that_is_deleted_leaves_nothing_to_expire(world: SqliteWorld, clock: ManualClock) -> None:
    await ended(world, "run-1", 0)
    await ended(world, "run-2", 60)
    await world.storage.retention.expire()
    for run_id in ("run-1", "run-2"):
        await world.storage.runs.delete(run_id)
    clock.turn("1h")

    await world.storage.retention.expire()
    tables = ("runs", "events", "run_attributes", "streams", "chunks", "retained", "expired")
    assert [table for table in tables if stored(world, table) != "[]"] == []


async def test_runs_of_others_are_left_alone(tmp_path: Path, clock: ManualClock) -> None:
    worlds = [SqliteWorld(tmp_path / "shared.db", clock=clock, namespace=name) for name in ("one", "two")]
    for world in worlds:
        await world.start()
        await ended(world, f"run-{world._namespace}", 0)

    assert await worlds[0].storage.retention.expire() == 1
    assert (await worlds[1].storage.runs.get("run-two")).output == SECRET
    assert await worlds[1].storage.retention.next_due() == START
    for world in worlds:
        await world.close()


async def test_an_expired_run_keeps_its_log(world: SqliteWorld) -> None:
    await ended(world, "run-1", 0)
    before = (await world.storage.runs.get("run-1")).last_slot
    await world.storage.retention.expire()

    with pytest.raises(RunExpiredError):
        await log_of(world, "run-1")
    assert (await world.storage.runs.locate("run-1")).last_slot == before


async def test_what_a_codec_encoded_goes_as_well_and_the_rest_is_encoded_still(
    tmp_path: Path, clock: ManualClock
) -> None:
    path, codec = tmp_path / "sealed.db", AesGcm(keys={"k": bytes(32)}, current="k")
    world = SqliteWorld(path, clock=clock, codec=codec)
    await world.start()
    await ended(world, "run-1", 0)
    await ended(world, "run-2", 60)
    await world.storage.retention.expire()
    log = (await world.storage.events.list("run-1", resolve_data="none")).data
    assert [one.event.meta for one in log if isinstance(one.event, e.StepCreated | e.StepCompleted)] == [None, None]
    assert [one.event.step_name for one in log if isinstance(one.event, e.StepCreated)] == ["a"]
    assert "step_name" not in stored(world, "events")
    await assert_the_views_are_the_fold(world, "run-1")
    await world.close()

    keyless = SqliteWorld(path, clock=clock)  # what it cannot read, it can remove
    await keyless.start()
    clock.turn("1m")
    assert await keyless.storage.retention.expire() == 1
    payloads = connection_of(keyless).text("SELECT count(payload) + count(payload_ref) FROM events")
    assert payloads == [(0,)]
    await keyless.close()
