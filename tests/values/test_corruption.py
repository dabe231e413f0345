"""Rows, pages and blobs that are no longer what was written: the run says where, and waits; the others go on."""

from __future__ import annotations

import asyncio
import json
import random
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from wrkflw import Completed, Event, Runtime, Waiting, Workflow, WrkflwError, create_workflow, step
from wrkflw.world import events as e
from wrkflw.worlds.blobs import FileBlobs
from wrkflw.worlds.sqlite import SqliteWorld

from .test_round_trips import SOAK

GO = Event("go", str)
LARGE = "canary-in-the-mine" * 1_000


@step
async def double(data: str) -> str:
    return data * 2


@step
async def count(data: str) -> int:
    return len(data)


def counting() -> Workflow[str, int, None]:
    chain = create_workflow(id="counting", input_schema=str, output_schema=int).then(double)
    return chain.join_event(GO, lambda before, word: before + word).then(count).commit()


WORKFLOW = counting()


def world_in(folder: Path, clock: ManualClock) -> SqliteWorld:
    return SqliteWorld(folder / "app.db", clock=clock, blobs=FileBlobs(folder / "blobs"))


async def two_parked(folder: Path, clock: ManualClock, data: str = "ab") -> None:
    async with Runtime(world=world_in(folder, clock), clock=clock, workflows=[WORKFLOW]):
        for run_id in ("r-1", "r-2"):
            run = await WORKFLOW.create_run(run_id=run_id)
            assert isinstance(await run.start(data + run_id, wait="0s"), Waiting)


def damaged(folder: Path, *statements: str) -> None:
    """The closed database, changed behind the back of its World.  ``:r1`` stands for the first run."""
    with closing(sqlite3.connect(folder / "app.db")) as connection, connection:
        for statement in statements:
            changed = connection.execute(
                statement.replace(":r1", "(SELECT run_no FROM runs WHERE run_id = 'r-1')")
            ).rowcount
            assert changed == 1


async def gone_on(folder: Path, clock: ManualClock) -> str:
    """What is said of the first run, which is paused then, while the second one completes."""
    world = world_in(folder, clock)
    stands: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def hear(run_id: str, event_types: Sequence[str]) -> None:
        if run_id == "r-1" and not {"run_paused", *e.RUN_ENDS}.isdisjoint(event_types) and not stands.done():
            stands.set_result(None)

    world.subscribe(hear)
    async with Runtime(world=world, clock=clock, workflows=[WORKFLOW]):
        for run_id in ("r-1", "r-2"):
            await world.storage.events.create(run_id, e.SignalReceived(signal_type="go", payload_data=b'"!"'))
        second = await (await WORKFLOW.get_run("r-2")).result()
        assert isinstance(second, Completed)
        await asyncio.wait_for(stands, 10)
        run = await world.storage.runs.get("r-1", resolve_data="none")
        assert run.detail == "paused"
        (last,) = (await world.storage.events.list("r-1", after_slot=run.last_slot - 1)).data
        assert isinstance(last.event, e.RunPaused)
        return str(last.event.reason)


EVENT = "run_no = :r1 AND slot ="
CREATED, BEGUN, DONE = (f"{EVENT} {slot}" for slot in (1, 3, 5))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE events SET event_type = 'step_finished' WHERE {done}", "slot 5 .* no event has the type 'step_finish"),
        ("UPDATE events SET event_type = 'hook_created' WHERE {done}", "slot 5 .* what the event must hold is gone"),
        ("UPDATE events SET event_type = 'step_failed' WHERE {done}", "slot 5 .* 'step_failed' does not follow"),
        ("UPDATE events SET data = '{{' WHERE {begun}", "slot 3 .* EOF while parsing"),
        ("UPDATE events SET data = '[]' WHERE {begun}", "slot 3 "),
        ("UPDATE events SET data = NULL WHERE {begun}", "slot 3 .* what the event must hold is gone"),
        ("UPDATE events SET data = CAST(x'FF00' AS BLOB) WHERE {begun}", "slot 3 "),
        ("UPDATE events SET created_at = 'soon' WHERE {begun}", "slot 3 "),
        ("UPDATE events SET created_at = 1 << 62 WHERE {begun}", "slot 3 "),
        ("UPDATE events SET payload_ref = 'ab' WHERE {done}", None),
        ("DELETE FROM events WHERE {created}", "slot 1 .* the log goes on with slot 2"),
        ("DELETE FROM events WHERE {begun}", "slot 3 .* the log goes on with slot 4"),
        ("DELETE FROM events WHERE {done}", "slot 5 .* the log goes on with slot 6"),
        ("UPDATE events SET payload = x'FF00' WHERE {done}", "output of step 'double' .* no JSON any more"),
        ("UPDATE events SET data = CAST(x'7BFF' AS TEXT) WHERE {begun}", "slot 3 .* is no text any more"),
        ("UPDATE events SET event_type = CAST(x'FF' AS TEXT) WHERE {done}", "slot 5 .* is no text any more"),
        ("UPDATE events SET payload = substr(payload, 1, 4) WHERE {done}", "output of step 'double' .* no JSON any"),
        ("UPDATE events SET payload = x'' WHERE {done}", "output of step 'double' .* no JSON any more"),
        (
            "UPDATE events SET payload = '{{}}' WHERE {done}",
            "cannot be read by workflow 'counting' as it is now: output",
        ),
    ],
)
async def test_a_changed_row_pauses_its_run_and_says_which(
    tmp_path: Path, clock: ManualClock, change: str, says: str | None
) -> None:
    await check_a_changed_row(tmp_path, clock, change.format(created=CREATED, begun=BEGUN, done=DONE), says)


async def check_a_changed_row(folder: Path, clock: ManualClock, change: str, says: str | None) -> None:
    await two_parked(folder, clock)
    damaged(folder, change)
    reason = await gone_on(folder, clock)

    assert "run 'r-1'" in reason
    assert says is None or re.search(says, reason), reason


# --- at random ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12 * SOAK))
async def test_a_large_payload_in_which_a_byte_is_flipped_is_never_read(
    tmp_path: Path, clock: ManualClock, seed: int
) -> None:
    await check_a_flipped_byte_of_a_large_payload(tmp_path, clock, random.Random(seed))


async def check_a_flipped_byte_of_a_large_payload(folder: Path, clock: ManualClock, chance: random.Random) -> None:
    await two_parked(folder, clock, LARGE)
    with closing(sqlite3.connect(folder / "app.db")) as connection:
        (name,) = connection.execute(
            "SELECT payload_ref FROM events WHERE run_no = (SELECT run_no FROM runs WHERE run_id = 'r-1') AND slot = ?",
            (chance.choice([3, 5]),),
        ).fetchone()
    (path,) = (folder / "blobs").glob(f"*-{name}")
    whole = path.read_bytes()
    path.write_bytes(flipped(whole, chance) if chance.random() < 0.5 else whole[: chance.randrange(9_000)])
    reason = await gone_on(folder, clock)

    assert re.fullmatch(rf"slot [135] of run 'r-1' cannot be read: what is kept as '{name}' does not .*", reason)


def flipped(data: bytes, chance: random.Random, times: int = 1) -> bytes:
    changed = bytearray(data)
    for _ in range(times):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("seed", range(20 * SOAK))
async def test_a_flipped_byte_of_a_payload_gives_an_error_or_what_json_cannot_tell_from_it(
    tmp_path: Path, clock: ManualClock, seed: int
) -> None:
    """A letter of a text may become another: only a codec, or a hash, sees that.  Nothing else may come of it."""
    await two_parked(tmp_path, clock)
    chance = random.Random(seed)
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection, connection:
        where = "run_no = (SELECT run_no FROM runs WHERE run_id = 'r-1') AND slot = 5"
        (payload,) = connection.execute(f"SELECT payload FROM events WHERE {where}").fetchone()  # noqa: S608
        changed = flipped(payload, chance)
        connection.execute(f"UPDATE events SET payload = ? WHERE {where}", (changed,))  # noqa: S608
    try:
        expected = json.loads(changed.decode())
    except ValueError:
        assert "output of step 'double'" in await gone_on(tmp_path, clock)
        return
    world = world_in(tmp_path, clock)
    async with Runtime(world=world, clock=clock, workflows=[WORKFLOW]):
        run = await WORKFLOW.get_run("r-1")
        assert isinstance(await run.send_event(GO, "!"), Completed)
        assert run.get_step_result(double) == expected


@pytest.mark.parametrize("seed", sorted({*range(30 * SOAK), 994}))
async def test_flipped_bytes_in_the_pages_of_the_file_give_words_and_no_other_errors(
    tmp_path: Path, clock: ManualClock, seed: int
) -> None:
    """Whatever is hit: runs complete, or are refused with an error of the store that can be read."""
    await two_parked(tmp_path, clock)
    chance, path = random.Random(seed), tmp_path / "app.db"
    path.write_bytes(flipped(path.read_bytes(), chance, times=60))
    try:
        async with Runtime(world=world_in(tmp_path, clock), clock=clock, workflows=[WORKFLOW]):
            for run_id in ("r-1", "r-2"):
                run = await WORKFLOW.get_run(run_id)
                await run.send_event(GO, "!")
                async for _ in run.events():
                    pass
    except WrkflwError:
        pass
