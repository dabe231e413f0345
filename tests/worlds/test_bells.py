"""What processes tell each other without the database; here other processes are other Worlds on the file.

The clock stands still, so nobody looks by himself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from tests.clocks import ManualClock, settle
from wrkflw.world import events as e
from wrkflw.world.storage import Claim, RunFence
from wrkflw.worlds.sqlite import SqliteWorld

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
CREATED = e.RunCreated(workflow_name="greet")
STEP = e.StepCreated(correlation_id="step_1", step_name="a", key="a")


class Ears:
    """What a World hears."""

    def __init__(self, world: SqliteWorld) -> None:
        self.heard: list[tuple[str, Sequence[str]]] = []
        world.subscribe(lambda run_id, types: self.heard.append((run_id, list(types))))

    async def new(self) -> list[tuple[str, Sequence[str]]]:
        await settle()
        heard, self.heard = self.heard, []
        return heard


@pytest.fixture
async def here(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "shared.db", clock=clock)
    await world.start()
    yield world
    await world.close()


@pytest.fixture
async def there(tmp_path: Path, clock: ManualClock, here: SqliteWorld) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "shared.db", clock=clock)
    await world.start()
    await settle()
    yield world
    await world.close()


@pytest.fixture
def ears(here: SqliteWorld, there: SqliteWorld) -> Ears:
    return Ears(here)


async def test_a_commit_is_heard_by_the_others(there: SqliteWorld, ears: Ears) -> None:
    run_id = (await there.storage.events.create(None, CREATED)).run.run_id

    assert await ears.new() == [(run_id, ["run_created"])]


async def test_of_steps_only_the_run_is_told(there: SqliteWorld, ears: Ears) -> None:
    born = await there.storage.events.create_batch(
        "r-1", [CREATED, e.RunStarted(), STEP, e.StepStarted(correlation_id="step_1")], claim=Claim(there.owner)
    )
    assert await ears.new() == [("r-1", ["run_created", "run_started"])]

    await there.storage.events.create("r-1", e.StepCompleted(correlation_id="step_1"), fence=RunFence(born.epoch))
    assert await ears.new() == [("r-1", [])]


@pytest.mark.parametrize(("later", "told"), [(timedelta(0), "run_due"), (timedelta(hours=1), "run_parked")])
async def test_a_run_that_is_given_up_is_told(
    later: timedelta, told: str, there: SqliteWorld, ears: Ears, clock: ManualClock
) -> None:
    born = await there.storage.events.create_batch("r-1", [CREATED], claim=Claim(there.owner))
    await ears.new()

    await there.storage.runs.release("r-1", RunFence(born.epoch), seen_slot=1, wake_at=clock.now() + later)

    assert await ears.new() == [("r-1", [told])]


async def test_who_comes_is_heard_and_hears(
    here: SqliteWorld, there: SqliteWorld, ears: Ears, tmp_path: Path, clock: ManualClock
) -> None:
    third = SqliteWorld(tmp_path / "shared.db", clock=clock)
    await third.start()
    assert ("", []) in await ears.new()
    listening = Ears(third)

    run_id = (await here.storage.events.create(None, CREATED)).run.run_id

    assert await listening.new() == [(run_id, ["run_created"])]
    await third.close()


@pytest.mark.parametrize("how", ["closed", "died"])
async def test_who_goes_is_heard_at_once(how: str, there: SqliteWorld, ears: Ears) -> None:
    if how == "died":
        there.abandon()
    else:
        await there.close()

    assert ("", []) in await ears.new()


async def test_more_than_fits_at_once_is_told_in_pieces(there: SqliteWorld, ears: Ears) -> None:
    names = {f"run-{number:05}" + "x" * 100 for number in range(100)}
    await asyncio.gather(*(there.storage.events.create(name, CREATED) for name in names))

    heard = await ears.new()
    assert ("", []) not in heard
    assert {run_id for run_id, _ in heard} == names


def fill(bell: Path) -> None:
    descriptor = os.open(bell, os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(descriptor, b"r-1 run_created\n" * 256)
    os.close(descriptor)


async def test_who_may_have_missed_something_is_told_so(here: SqliteWorld, there: SqliteWorld, tmp_path: Path) -> None:
    """Nobody reads the bell until it is full."""
    ears = Ears(here)
    fill(tmp_path / "shared.db-owners" / f"{here.owner}.bell")

    await there.storage.events.create("r-2", CREATED)

    assert ("", []) in await ears.new()
    await there.storage.events.create("r-3", CREATED)
    assert await ears.new() == [("r-3", ["run_created"])]


async def test_what_was_not_told_is_found_at_the_next_look(
    here: SqliteWorld, there: SqliteWorld, ears: Ears, clock: ManualClock
) -> None:
    assert there._watch is not None
    there._watch._others.close()  # as if it died between its commit and the bell
    await there.storage.events.create("r-1", CREATED)
    assert await ears.new() == []

    clock.turn("5s")

    assert await ears.new() == [("", [])]


async def test_where_there_are_no_bells_it_is_looked_often(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, mode: int) -> None:
        raise PermissionError("no FIFOs here")

    monkeypatch.setattr(os, "mkfifo", refuse)
    here, there = (SqliteWorld(tmp_path / "shared.db", clock=clock) for _ in range(2))
    await here.start()
    await there.start()
    ears = Ears(here)
    await there.storage.events.create("r-1", CREATED)
    assert await ears.new() == []

    clock.turn("50ms")

    assert await ears.new() == [("", [])]
    await there.close()
    await here.close()


async def test_a_bell_is_its_owners_alone_and_goes_with_him(tmp_path: Path, clock: ManualClock) -> None:
    world = SqliteWorld(tmp_path / "a.db", clock=clock)
    await world.start()
    path = tmp_path / "a.db-owners" / f"{world.owner}.bell"

    assert stat.S_ISFIFO(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await world.close()
    assert not path.parent.exists()
