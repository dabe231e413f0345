"""Reads: none of the driver's errors leave them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.world.errors import StoreBusyError
from wrkflw.world.storage import Storage
from wrkflw.worlds.sqlite import SqliteWorld

READS: dict[str, Callable[[Storage, str], Awaitable[object]]] = {
    "runs.get": lambda storage, run_id: storage.runs.get(run_id),
    "runs.get_many": lambda storage, run_id: storage.runs.get_many([run_id]),
    "runs.find": lambda storage, run_id: storage.runs.find("greet", "key"),
    "runs.list": lambda storage, run_id: storage.runs.list(),
    "runs.next_due": lambda storage, run_id: storage.runs.next_due(["greet"]),
    "events.get": lambda storage, run_id: storage.events.get(run_id, "evnt_1"),
    "events.list": lambda storage, run_id: storage.events.list(run_id),
    "events.list_by_correlation_id": lambda storage, run_id: storage.events.list_by_correlation_id(run_id, "step_1"),
    "steps.get": lambda storage, run_id: storage.steps.get(run_id, "step_1"),
    "steps.list": lambda storage, run_id: storage.steps.list(run_id),
    "hooks.get": lambda storage, run_id: storage.hooks.get("hook_1", run_id=run_id),
    "hooks.get_by_token": lambda storage, run_id: storage.hooks.get_by_token("token"),
    "hooks.list": lambda storage, run_id: storage.hooks.list(run_id),
}


class Disk:
    def __init__(self) -> None:
        self.failure: Exception | None = None

    def hear(self, text: str) -> None:
        if self.failure is not None and text.startswith(("SELECT", "PRAGMA data_version")):
            raise self.failure


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture(params=["file", "memory"])
async def world(
    disk: Disk, clock: ManualClock, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[SqliteWorld]:
    path = tmp_path / "a.db" if request.param == "file" else ":memory:"
    world = SqliteWorld(path, clock=clock, on_statement=disk.hear)
    await world.start()
    yield world
    disk.failure = None
    await world.close()


@pytest.mark.parametrize("name", READS)
async def test_a_read_that_fails_says_so_in_words_of_the_world(name: str, world: SqliteWorld, disk: Disk) -> None:
    run_id = (await world.storage.events.create(None, e.RunCreated(workflow_name="greet"))).run.run_id
    disk.failure = sqlite3.OperationalError("disk I/O error")

    with pytest.raises(StoreError) as failed:
        await READS[name](world.storage, run_id)

    assert str(failed.value) == "the database could not be read: disk I/O error; try again"
    assert failed.value.__cause__ is disk.failure


async def test_a_read_of_a_locked_database_says_that_it_is_busy(world: SqliteWorld, disk: Disk) -> None:
    disk.failure = sqlite3.OperationalError("database is locked")

    with pytest.raises(StoreBusyError, match=r"^another process holds the database; try again$") as busy:
        await world.storage.runs.list()

    assert isinstance(busy.value, StoreError)  # which is what callers are told to expect
    assert busy.value.retry_after.total_seconds() == 1


async def test_whether_others_have_written_is_asked_again_when_it_cannot_be_told(
    world: SqliteWorld, disk: Disk
) -> None:
    before = world.written_elsewhere()
    disk.failure = sqlite3.OperationalError("disk I/O error")

    assert world.written_elsewhere() == before
