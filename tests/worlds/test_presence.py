"""Processes on one file, as they see one another: here as two Worlds in one process, which no lock can tell apart."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from wrkflw.clock import to_microseconds
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, FencedError
from wrkflw.world.storage import RunFence
from wrkflw.worlds.locks import WriteLock, flock
from wrkflw.worlds.presence import Presence
from wrkflw.worlds.sql import compiled as sql
from wrkflw.worlds.sql.database import Connection
from wrkflw.worlds.sqlite import SqliteWorld

LEASE = timedelta(seconds=30)
STEP = e.StepCreated(correlation_id="step_1", step_name="a", key="a")


@pytest.fixture
async def here(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "shared.db", clock=clock, lease=LEASE)
    await world.start()
    yield world
    await world.close()


@pytest.fixture
def connection(here: SqliteWorld, tmp_path: Path) -> Iterator[Connection]:
    driver = sqlite3.connect(tmp_path / "shared.db", isolation_level=None)
    yield Connection(driver)
    driver.close()


@pytest.fixture
def there(tmp_path: Path, clock: ManualClock, connection: Connection) -> Iterator[Presence]:
    """Another process that has announced itself."""
    other = Presence("own_there", clock, LEASE, tmp_path / "shared.db-owners")
    other.announce(connection)
    yield other
    other.let_go()


async def a_run_of(owner: str, world: SqliteWorld) -> str:
    run_id = (await world.storage.events.create(None, e.RunCreated(workflow_name="greet"))).run.run_id
    await world.storage.runs.claim(run_id, owner=owner)
    return run_id


async def taken_by(world: SqliteWorld) -> list[tuple[str, int]]:
    runs = await world.storage.runs.claim_due(owner=world.owner, workflow_names=["greet"], limit=10)
    return [(run.run_id, run.epoch) for run in runs]


async def test_a_live_process_keeps_its_runs(here: SqliteWorld, there: Presence) -> None:
    run_id = await a_run_of(there.owner, here)

    assert await taken_by(here) == []
    with pytest.raises(EntityConflictError, match=f"run {run_id} is being worked on by own_there"):
        await here.storage.runs.claim(run_id, owner=here.owner)
    with pytest.raises(FencedError):
        await here.storage.events.create(run_id, e.RunCompleted())


async def test_a_process_that_dies_loses_its_runs_at_once(here: SqliteWorld, there: Presence) -> None:
    run_id = await a_run_of(there.owner, here)

    there.let_go()

    assert await taken_by(here) == [(run_id, 2)]
    with pytest.raises(FencedError):
        await here.storage.events.create(run_id, STEP, fence=RunFence(1))


async def test_a_run_of_a_dead_process_can_be_claimed_and_written(here: SqliteWorld, there: Presence) -> None:
    claimed, written = await a_run_of(there.owner, here), await a_run_of(there.owner, here)

    there.let_go()

    assert (await here.storage.runs.claim(claimed, owner=here.owner)).epoch == 2
    assert (await here.storage.events.create(written, e.RunCompleted())).event is not None


async def test_a_process_that_hangs_loses_its_runs_when_its_lease_runs_out(
    here: SqliteWorld, there: Presence, clock: ManualClock
) -> None:
    run_id = await a_run_of(there.owner, here)

    clock.turn(LEASE)
    assert await taken_by(here) == []  # it may have slept, as this process may have
    clock.turn(LEASE / 2 - timedelta(microseconds=1))
    assert await taken_by(here) == []
    clock.turn(timedelta(microseconds=1))
    assert await taken_by(here) == [(run_id, 2)]


async def test_after_a_sleep_of_the_whole_machine_everybody_keeps_what_he_had(
    here: SqliteWorld, there: Presence, connection: Connection, clock: ManualClock
) -> None:
    """The clock of all of them is past all leases, and each may look before the others have moved theirs on."""
    await a_run_of(there.owner, here)

    for _ in range(3):
        clock.turn("8h")
        assert await taken_by(here) == []
        there.beat(connection, WriteLock())
        clock.turn(LEASE / 2)
        assert await taken_by(here) == []


async def test_a_process_that_comes_back_is_announced_again(
    here: SqliteWorld, there: Presence, connection: Connection, clock: ManualClock
) -> None:
    for _ in range(3):
        clock.turn(LEASE / 2)
        await taken_by(here)  # declares it dead
    assert connection.one(sql.OWNER_BY_NAME, owner=there.owner) is None

    there.beat(connection, WriteLock())

    run_id = await a_run_of(there.owner, here)
    assert await taken_by(here) == []
    there.let_go()
    assert await taken_by(here) == [(run_id, 2)]


async def test_runs_of_a_process_that_was_never_announced_are_taken_too(here: SqliteWorld) -> None:
    run_id = await a_run_of("own_forgotten", here)

    assert await taken_by(here) == [(run_id, 2)]


async def test_a_lock_that_somebody_tidied_away_is_taken_again(
    here: SqliteWorld, there: Presence, connection: Connection, tmp_path: Path
) -> None:
    (tmp_path / "shared.db-owners" / there.owner).unlink()

    there.beat(connection, WriteLock())

    await a_run_of(there.owner, here)
    assert await taken_by(here) == []


async def test_a_beat_moves_the_lease_on(there: Presence, connection: Connection, clock: ManualClock) -> None:
    clock.turn(LEASE / 3)

    assert there.beat(connection, WriteLock())

    assert connection.one(sql.OWNER_BY_NAME, owner=there.owner) == (to_microseconds(clock.now() + LEASE),)


@pytest.mark.parametrize("where", ["BEGIN", "INSERT INTO owners", "COMMIT"])
async def test_a_busy_database_is_tried_again_at_the_next_beat(
    where: str, there: Presence, tmp_path: Path, clock: ManualClock
) -> None:
    def refuse_once(text: str) -> None:
        if refusals and text.startswith(where):
            raise sqlite3.OperationalError(refusals.pop())

    refusals = ["database is locked"]
    driver = sqlite3.connect(tmp_path / "shared.db", isolation_level=None)
    connection = Connection(driver, refuse_once)
    clock.turn(LEASE / 3)

    assert not there.beat(connection, WriteLock())
    assert not connection.in_transaction
    assert there.beat(connection, WriteLock())

    assert connection.one(sql.OWNER_BY_NAME, owner=there.owner) == (to_microseconds(clock.now() + LEASE),)
    driver.close()


async def test_a_world_that_closes_gives_up_its_runs_and_leaves_nothing_behind(
    tmp_path: Path, clock: ManualClock
) -> None:
    one, two = (SqliteWorld(tmp_path / "shared.db", clock=clock, lease=LEASE) for _ in range(2))
    await one.start()
    await two.start()
    run_id = await a_run_of(one.owner, one)

    await one.close()

    assert await two.storage.runs.next_due(["greet"]) == clock.now()
    assert await taken_by(two) == [(run_id, 2)]
    await two.close()
    assert set(os.listdir(tmp_path)) == {"shared.db", "shared.db.lock"}


async def test_what_another_world_wrote_is_seen_by_its_owner(tmp_path: Path, clock: ManualClock) -> None:
    """Its image of the run is out of date, which must neither be written nor refuse anything."""
    one, two = (SqliteWorld(tmp_path / "shared.db", clock=clock, lease=LEASE) for _ in range(2))
    await one.start()
    await two.start()
    run_id = await a_run_of(one.owner, one)

    async def write(*events: e.NewEvent) -> list[int | None]:
        return [item.slot for item in (await one.storage.events.create_batch(run_id, events, fence=RunFence(1))).items]

    assert await write(STEP, e.StepStarted(correlation_id="step_1")) == [2, 3]
    await two.storage.events.create(run_id, e.RunPaused())
    assert await write(e.StepCompleted(correlation_id="step_1")) == [5]
    assert await write(STEP.model_copy(update={"correlation_id": "step_2"})) == [None]
    assert await write(e.StepRetrying(correlation_id="step_1")) == [None]
    await two.storage.events.create(run_id, e.RunResumed())
    assert await write(STEP.model_copy(update={"correlation_id": "step_2"})) == [7]
    await two.storage.events.create(run_id, e.RunCancelled())
    assert await write(STEP.model_copy(update={"correlation_id": "step_3"})) == [None]

    assert [event.slot for event in (await two.storage.events.list(run_id)).data] == list(range(1, 9))
    await two.close()
    await one.close()


async def test_a_mark_changes_only_when_another_process_has_written(tmp_path: Path, clock: ManualClock) -> None:
    one, two = (SqliteWorld(tmp_path / "shared.db", clock=clock, lease=LEASE) for _ in range(2))
    await one.start()
    await two.start()
    mark = one.written_elsewhere()

    await a_run_of(one.owner, one)
    assert one.written_elsewhere() == mark
    await a_run_of(two.owner, two)
    assert one.written_elsewhere() != mark

    await two.close()
    await one.close()


# --- taking the lock -----------------------------------------------------------------------------------


class Lock:
    """What happens to a process just before it locks a file, and how often it is told that somebody else holds it."""

    def __init__(self) -> None:
        self.before: list[Callable[[], object]] = []
        self.refusals = 0

    def __call__(self, descriptor: int) -> bool:
        if self.before:
            self.before.pop()()
        if self.refusals:
            self.refusals -= 1
            return False
        return flock(descriptor, wait=False)


def test_a_process_that_is_probed_as_it_takes_its_lock_counts_as_alive(tmp_path: Path, clock: ManualClock) -> None:
    """The prober wins the lock, finds nobody who holds it, and removes the file."""
    lock, probed = Lock(), list[bool]()
    ours = Presence("own_ours", clock, LEASE, tmp_path / "owners", lock=lock)
    prober = Presence("own_prober", clock, LEASE, tmp_path / "owners")
    path = tmp_path / "owners" / "own_ours"
    lock.before.append(lambda: probed.append(prober.holds_its_lock(path)))

    ours.hold_lock()

    assert probed == [False]
    assert prober.holds_its_lock(path)
    ours.let_go()
    assert not prober.holds_its_lock(path)


def test_a_lock_that_a_prober_still_holds_is_waited_for(tmp_path: Path, clock: ManualClock) -> None:
    lock = Lock()
    ours = Presence("own_ours", clock, LEASE, tmp_path / "owners", lock=lock)
    lock.refusals = 2

    ours.hold_lock()

    assert lock.refusals == 0
    assert ours.holds_its_lock(tmp_path / "owners" / "own_ours")
    ours.let_go()


def test_a_prober_removes_only_the_file_it_has_locked(tmp_path: Path, clock: ManualClock) -> None:
    """Between its open and its lock, another has removed the file, and the owner has made a new one."""
    lock = Lock()
    ours = Presence("own_ours", clock, LEASE, tmp_path / "owners")
    prober = Presence("own_prober", clock, LEASE, tmp_path / "owners", lock=lock)
    path = tmp_path / "owners" / "own_ours"
    path.parent.mkdir()
    path.touch()

    def replace() -> None:
        path.unlink()
        ours.hold_lock()

    lock.before.append(replace)

    assert prober.holds_its_lock(path)
    assert path.exists()
    ours.let_go()
