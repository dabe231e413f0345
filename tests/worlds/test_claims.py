"""Taking runs that have something to do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.clocks import ManualClock
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, WorkflowRunNotFoundError
from wrkflw.world.storage import RunFence
from wrkflw.worlds.sqlite import SqliteWorld

HOUR = timedelta(hours=1)


async def start(world: SqliteWorld, workflow: str = "greet", after: timedelta | None = None) -> str:
    creation = e.RunCreated(workflow_name=workflow)
    wake_at = None if after is None else world._clock.now() + after
    return (await world.storage.events.create(None, creation, wake_at=wake_at)).run.run_id


async def take(world: SqliteWorld, *workflows: str, limit: int = 100) -> list[str]:
    names = workflows or ("greet",)
    runs = await world.storage.runs.claim_due(owner=world.owner, workflow_names=names, limit=limit)
    return [run.run_id for run in runs]


async def test_due_runs_are_taken_longest_due_first_and_once(world: SqliteWorld, clock: ManualClock) -> None:
    late, later = await start(world, after=HOUR), await start(world, after=2 * HOUR)
    now = await start(world)
    clock.turn(HOUR)

    assert await take(world) == [now, late]
    assert await take(world) == []
    clock.turn(HOUR)
    assert await take(world) == [later]


async def test_a_taken_run_is_owned_at_a_new_epoch(world: SqliteWorld) -> None:
    await start(world)

    (run,) = await world.storage.runs.claim_due(owner=world.owner, workflow_names=["greet"], limit=1)

    assert (run.owner, run.epoch, run.wake_at) == (world.owner, 1, None)
    with pytest.raises(EntityConflictError):
        await world.storage.runs.claim(run.run_id, owner=world.owner)


async def test_no_more_are_taken_than_asked_for(world: SqliteWorld) -> None:
    runs = [await start(world) for _ in range(3)]

    assert await take(world, limit=2) == runs[:2]
    assert await take(world, limit=2) == runs[2:]


async def test_runs_of_unknown_workflows_are_left_to_others(world: SqliteWorld, clock: ManualClock) -> None:
    await start(world, "known", after=HOUR)
    unknown = await start(world, "unknown")

    assert await take(world, "known") == []
    assert await world.storage.runs.next_due(["known"]) == clock.now() + HOUR
    assert await world.storage.runs.next_due([]) is None
    assert await take(world, "known", "unknown") == [unknown]


async def test_a_released_run_is_due_when_it_said(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = await start(world)
    await take(world)
    await world.storage.runs.release(run_id, RunFence(1), seen_slot=1, wake_at=clock.now() + HOUR)

    assert await world.storage.runs.next_due(["greet"]) == clock.now() + HOUR
    assert await take(world) == []
    clock.turn(HOUR)
    assert await take(world) == [run_id]


async def test_an_ended_run_is_never_due(world: SqliteWorld) -> None:
    run_id = await start(world)
    await world.storage.events.create(run_id, e.RunCancelled())

    assert await world.storage.runs.next_due(["greet"]) is None
    assert await take(world) == []


async def test_an_ended_run_can_be_deleted_with_all_that_belongs_to_it(world: SqliteWorld) -> None:
    creation = e.RunCreated(workflow_name="greet", idempotency_key="k", attributes={"team": "a"})
    run_id = (await world.storage.events.create(None, creation)).run.run_id
    for event in (
        e.StepStarted(correlation_id="step_1", step_name="a"),
        e.HookCreated(correlation_id="hook_1", token="t"),
        e.WaitCreated(correlation_id="wait_1", kind="signal", signal_type="paid"),
    ):
        await world.storage.events.create(run_id, event)
    with pytest.raises(EntityConflictError, match=f"run {run_id} is 'pending'; cancel it before you delete it"):
        await world.storage.runs.delete(run_id)
    await world.storage.events.create(run_id, e.RunCancelled())

    await world.storage.runs.delete(run_id)

    with pytest.raises(WorkflowRunNotFoundError):
        await world.storage.runs.get(run_id)
    assert await world.storage.runs.find("greet", "k") is None
    again = await world.storage.events.create(None, creation)
    assert again.run.attributes == {"team": "a"}
