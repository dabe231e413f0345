"""Who is alone with a file asks it nothing while idle; here other processes are other Worlds on the file."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from wrkflw.world import events as e
from wrkflw.worlds.sqlite import SqliteWorld

LEASE = timedelta(seconds=30)


class Seen(list[str]):
    """The statements of one World."""


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def here(tmp_path: Path, clock: ManualClock, seen: Seen) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "shared.db", clock=clock, lease=LEASE, on_statement=seen.append)
    await world.start()
    settle(tmp_path)
    assert not alone(world)  # it has only just come itself
    clock.turn(2 * LEASE)
    yield world
    await world.close()


@pytest.fixture
async def there(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "shared.db", clock=clock, lease=LEASE)
    yield world
    await world.close()


def alone(world: SqliteWorld) -> bool:
    return world.alone


def settle(path: Path) -> None:
    """As if the folder had been as it is for some time."""
    moment = 1_000_000_000
    os.utime(path / "shared.db-owners", (moment, moment))


async def test_while_nothing_can_be_seen_there_may_be_others(
    here: SqliteWorld, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the process has no descriptor left for a moment: what looks must not break for good."""
    assert alone(here)

    def without_descriptors(_path: object) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", without_descriptors)
        assert not alone(here)
    assert not alone(here)
    clock.turn(2 * LEASE)
    assert alone(here)


async def write(world: SqliteWorld) -> str:
    return (await world.storage.events.create(None, e.RunCreated(workflow_name="greet"))).run.run_id


async def test_who_is_alone_asks_nothing(here: SqliteWorld, tmp_path: Path, seen: Seen) -> None:
    settle(tmp_path)
    mark = here.written_elsewhere()
    seen.clear()

    for _ in range(100):
        assert alone(here)
        assert here.written_elsewhere() == mark
    assert seen == []

    await write(here)
    seen.clear()
    assert here.written_elsewhere() == mark
    assert seen == []


async def test_while_others_are_there_the_database_is_asked(
    here: SqliteWorld, there: SqliteWorld, tmp_path: Path
) -> None:
    settle(tmp_path)
    mark = here.written_elsewhere()
    assert alone(here)

    await there.start()
    assert not alone(here)
    settle(tmp_path)
    for _ in range(3):
        await write(there)
        before, mark = mark, here.written_elsewhere()
        assert mark != before
    assert not alone(here)


async def test_who_came_wrote_and_left_is_noticed(here: SqliteWorld, there: SqliteWorld, tmp_path: Path) -> None:
    settle(tmp_path)
    mark = here.written_elsewhere()

    await there.start()
    await write(there)
    await there.close()
    assert not alone(here)  # which also looks, and must not hide it
    assert here.written_elsewhere() != mark


async def test_who_came_and_left_within_a_tick_of_the_file_system_is_noticed(
    here: SqliteWorld, there: SqliteWorld, tmp_path: Path
) -> None:
    folder = tmp_path / "shared.db-owners"
    mark = here.written_elsewhere()
    before = os.stat(folder).st_mtime_ns

    await there.start()
    await write(there)
    await there.close()
    os.utime(folder, ns=(before, before))

    assert here.written_elsewhere() != mark


async def test_who_has_company_is_alone_again_when_a_lease_has_passed(
    here: SqliteWorld, there: SqliteWorld, tmp_path: Path, clock: ManualClock, seen: Seen
) -> None:
    settle(tmp_path)
    assert alone(here)
    await there.start()
    assert not alone(here)
    await there.close()

    assert not alone(here)
    clock.turn(LEASE)
    assert not alone(here)
    clock.turn(timedelta(microseconds=1))
    assert alone(here)
    settle(tmp_path)
    here.written_elsewhere()
    seen.clear()
    here.written_elsewhere()
    assert seen == []


async def test_who_has_died_is_company_until_its_runs_are_taken_over(
    here: SqliteWorld, there: SqliteWorld, clock: ManualClock
) -> None:
    assert alone(here)
    await there.start()
    run_id = await write(there)
    await there.storage.runs.claim(run_id, owner=there.owner)
    there.abandon()
    clock.turn(2 * LEASE)

    assert not alone(here)
    taken = await here.storage.runs.claim_due(owner=here.owner, workflow_names=["greet"], limit=9)

    assert [run.run_id for run in taken] == [run_id]
    assert not alone(here)  # it has only just been seen that the other is gone
    clock.turn(2 * LEASE)
    assert alone(here)


async def test_the_file_of_one_who_died_unannounced_is_removed_by_the_next_to_start(
    here: SqliteWorld, there: SqliteWorld, tmp_path: Path
) -> None:
    (tmp_path / "shared.db-owners" / "own_unannounced").touch()

    await there.start()

    files = {here.owner, f"{here.owner}.bell", there.owner, f"{there.owner}.bell"}
    assert set(os.listdir(tmp_path / "shared.db-owners")) == files


async def test_without_the_folder_the_database_is_asked(here: SqliteWorld, tmp_path: Path, seen: Seen) -> None:
    settle(tmp_path)
    here.written_elsewhere()
    shutil.rmtree(tmp_path / "shared.db-owners")
    seen.clear()

    for _ in range(3):
        here.written_elsewhere()
    assert seen == ["PRAGMA data_version"] * 3


async def test_nobody_else_is_in_memory(clock: ManualClock) -> None:
    world = SqliteWorld(":memory:", clock=clock)
    await world.start()

    assert world.alone
    assert world.written_elsewhere() is None
    await world.close()
