"""What is kept of runs, and when it is let go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from wrkflw.world import events as e
from wrkflw.world.errors import FencedError
from wrkflw.world.storage import RunFence
from wrkflw.worlds.sql.images import Opened
from wrkflw.worlds.sqlite import SqliteWorld

STEP = e.StepCreated(correlation_id="step_1", step_name="a", key="a")


@pytest.fixture
async def shared(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "shared.db", clock=clock)
    await world.start()
    yield world
    await world.close()


@pytest.fixture
async def kept_run(shared: SqliteWorld) -> str:
    run_id = (await shared.storage.events.create(None, e.RunCreated(workflow_name="greet"))).run.run_id
    await shared.storage.runs.claim(run_id, owner="own_dead")
    await shared.storage.events.create(run_id, STEP, fence=RunFence(1))
    assert list(kept(shared)) == [run_id]
    return run_id


def kept(world: SqliteWorld) -> dict[str, Opened]:
    assert world._storage is not None
    return world._storage.runs._images._kept


async def test_a_run_that_was_taken_over_is_let_go_with_the_refused_write(shared: SqliteWorld, kept_run: str) -> None:
    await shared.storage.runs.claim(kept_run, owner=shared.owner)

    with pytest.raises(FencedError):
        await shared.storage.events.create(kept_run, e.StepStarted(correlation_id="step_1"), fence=RunFence(1))

    assert kept(shared) == {}


async def test_a_run_that_was_taken_over_is_let_go_with_the_refused_release(shared: SqliteWorld, kept_run: str) -> None:
    await shared.storage.runs.claim(kept_run, owner=shared.owner)

    with pytest.raises(FencedError):
        await shared.storage.runs.release(kept_run, RunFence(1), seen_slot=2, wake_at=None)

    assert kept(shared) == {}


async def test_a_run_that_another_process_ended_is_let_go_when_it_is_read(
    shared: SqliteWorld, kept_run: str, clock: ManualClock, tmp_path: Path
) -> None:
    other = SqliteWorld(tmp_path / "shared.db", clock=clock)
    await other.start()
    await other.storage.events.create(kept_run, e.RunCancelled())
    await other.close()

    assert (await shared.storage.runs.get(kept_run)).status == "cancelled"
    assert kept(shared) == {}


async def test_a_run_is_kept_while_its_owner_writes(shared: SqliteWorld, kept_run: str) -> None:
    for _ in range(2):
        await shared.storage.runs.get(kept_run)
        await shared.storage.events.list(kept_run)

    assert list(kept(shared)) == [kept_run]
