"""What an open run is doing, as its rows say (contract §3): one answer, however it is asked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.clocks import START, ManualClock
from tests.world.looks import new_run_id
from wrkflw.world import events as e
from wrkflw.world.storage import RunFence, RunFilter
from wrkflw.worlds.sqlite import SqliteWorld

LATER = START + timedelta(hours=1)
STEP = e.StepCreated(correlation_id="step_1", step_name="a", key="a")
STEP_STARTED = e.StepStarted(correlation_id="step_1")
ASKS = e.HookCreated(correlation_id="hook_1", token="t", kind="suspend", step_id="step_1")
SUSPENDED = e.StepRetrying(correlation_id="step_1", reason="suspended", hook_id="hook_1")
ANSWER = e.HookReceived(correlation_id="hook_1")
HOOK = e.HookCreated(correlation_id="hook_2", token="u")
SLEEP = e.WaitCreated(correlation_id="wait_1", resume_at=LATER)
SIGNAL = e.WaitCreated(correlation_id="wait_2", kind="signal", signal_type="paid")
CHILD = e.StepCreated(correlation_id="step_2", step_name="b", key="b", kind="child", child_run_id="wrun_child")
RETRY = e.StepRetrying(correlation_id="step_1", retry_after=LATER)


@pytest.mark.parametrize(
    ("events", "detail"),
    [
        ([], None),
        ([STEP], None),
        ([SLEEP], "sleeping"),
        ([SLEEP, e.WaitCompleted(correlation_id="wait_1", cause="woken")], None),
        ([STEP, RETRY], "sleeping"),
        ([SLEEP, SIGNAL], "waiting"),
        ([e.SignalReceived(signal_type="paid"), SIGNAL, SLEEP], "sleeping"),
        ([SLEEP, CHILD], "waiting"),
        ([SLEEP, HOOK], "waiting"),
        ([HOOK, e.HookDisposed(correlation_id="hook_2")], None),
        ([HOOK, SLEEP, STEP, STEP_STARTED, ASKS, SUSPENDED], "suspended"),
        ([SLEEP, STEP, STEP_STARTED, ASKS, SUSPENDED, ANSWER], "sleeping"),
        ([SLEEP, STEP, STEP_STARTED], None),
        ([SLEEP, e.RunPaused()], "paused"),
        ([SLEEP, e.RunCancelled()], None),
    ],
)
async def test_a_run_tells_what_it_waits_for(events: list[e.NewEvent], detail: str | None, clock: ManualClock) -> None:
    world = SqliteWorld(":memory:", clock=clock)
    await world.start()
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, e.RunCreated(workflow_name="greet"))
    await world.storage.runs.claim(run_id, owner=world.owner)
    for event in events:
        await world.storage.events.create(run_id, event, fence=RunFence(1))
    await world.storage.runs.release(run_id, RunFence(1), seen_slot=99, wake_at=None)

    listed = (await world.storage.runs.list()).data[0]

    assert listed.detail == detail
    assert (await world.storage.runs.get(run_id)).detail == detail
    assert [run.detail for run in await world.storage.runs.get_many([run_id]) if run is not None] == [detail]
    for other in ("paused", "suspended", "waiting", "sleeping"):
        found = await world.storage.runs.list(RunFilter(detail=other))
        assert len(found.data) == (1 if other == detail else 0)
    await world.close()


async def test_a_run_that_is_owned_or_has_news_waits_for_nothing(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, e.RunCreated(workflow_name="greet"))
    await world.storage.runs.claim(run_id, owner=world.owner)
    await world.storage.events.create(run_id, SLEEP, fence=RunFence(1))
    assert (await world.storage.runs.get(run_id)).detail is None

    await world.storage.runs.release(run_id, RunFence(1), seen_slot=2, wake_at=LATER)
    assert (await world.storage.runs.get(run_id)).detail == "sleeping"

    await world.storage.events.create(run_id, e.SignalReceived(signal_type="paid"))
    assert (await world.storage.runs.get(run_id)).detail is None


async def test_a_retry_whose_time_has_come_is_no_sleep(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, e.RunCreated(workflow_name="greet"))
    await world.storage.runs.claim(run_id, owner=world.owner)
    await world.storage.events.create_batch(run_id, [STEP], fence=RunFence(1))
    await world.storage.events.create_batch(run_id, [RETRY], fence=RunFence(1))
    await world.storage.runs.release(run_id, RunFence(1), seen_slot=3, wake_at=LATER)

    clock.turn(timedelta(hours=1))

    assert (await world.storage.runs.get(run_id)).detail is None
