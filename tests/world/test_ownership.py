"""Who may write: claims, epochs and fences (contract §4.3)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clocks import ManualClock
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, FencedError, RunExpiredError, RunPausedError, WorldError
from wrkflw.world.errors import WorkflowRunNotFoundError as NotFoundError
from wrkflw.world.storage import RunFence, StepFence
from wrkflw.worlds.sqlite import SqliteWorld

from .looks import log_of, new_run_id

CREATED = e.RunCreated(workflow_name="greet")
STEP_CREATED = e.StepCreated(correlation_id="step_1", step_name="charge", key="charge")
STEP_STARTED = e.StepStarted(correlation_id="step_1")
STEP_COMPLETED = e.StepCompleted(correlation_id="step_1", result=b"1")


@pytest.fixture
async def run_id(world: SqliteWorld, clock: ManualClock) -> str:
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, e.RunCreated(workflow_name="greet"))
    return run_id


async def test_each_claim_raises_the_epoch(world: SqliteWorld, run_id: str) -> None:
    first = await world.storage.runs.claim(run_id, owner=world.owner)
    await world.storage.runs.release(run_id, RunFence(1), seen_slot=1, wake_at=None)
    second = await world.storage.runs.claim(run_id, owner=world.owner)

    assert (first.epoch, second.epoch) == (1, 2)
    assert second.owner == world.owner


async def test_a_run_that_is_owned_cannot_be_claimed(world: SqliteWorld, run_id: str) -> None:
    await world.storage.runs.claim(run_id, owner=world.owner)

    with pytest.raises(EntityConflictError, match=f"run {run_id} is being worked on by {world.owner}"):
        await world.storage.runs.claim(run_id, owner="own_other")


async def test_neither_a_paused_nor_an_ended_nor_an_unknown_run_can_be_claimed(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, e.RunPaused())
    with pytest.raises(RunPausedError, match="the run is paused; unpause it first"):
        await world.storage.runs.claim(run_id, owner=world.owner)

    await world.storage.events.create(run_id, e.RunCancelled())
    with pytest.raises(RunExpiredError, match="it is already 'cancelled'"):
        await world.storage.runs.claim(run_id, owner=world.owner)

    with pytest.raises(NotFoundError, match="run 'wrun_1' was not found"):
        await world.storage.runs.claim("wrun_1", owner=world.owner)


@pytest.mark.parametrize(
    ("condition", "status"),
    [({"expect_slot": 5}, 412), ({"fence": RunFence(3)}, 409), ({"fence": StepFence("s", 4)}, 400)],
)
@pytest.mark.parametrize("event", [CREATED, e.RunStarted(creation=CREATED)], ids=["created", "started"])
async def test_what_is_said_of_a_run_that_is_yet_to_be_is_checked(
    event: e.NewEvent, condition: dict[str, Any], status: int, world: SqliteWorld
) -> None:
    with pytest.raises(WorldError) as refused:
        await world.storage.events.create("r-17", event, **condition)

    assert refused.value.status == status
    assert await world.storage.runs.get_many(["r-17"]) == [None]
    assert (await world.storage.events.create("r-17", event, expect_slot=0)).event is not None


@pytest.mark.parametrize("epoch", [0, 1, 3])
async def test_a_writer_with_another_epoch_is_fenced_off(epoch: int, world: SqliteWorld, run_id: str) -> None:
    await world.storage.runs.claim(run_id, owner=world.owner)
    await world.storage.runs.release(run_id, RunFence(1), seen_slot=1, wake_at=None)
    await world.storage.runs.claim(run_id, owner=world.owner)

    for event in (STEP_CREATED, e.RunCompleted(), e.RunPaused(), e.SignalReceived(signal_type="paid")):
        with pytest.raises(FencedError, match=f"this writer holds epoch {epoch}, the run is at epoch 2"):
            await world.storage.events.create(run_id, event, fence=RunFence(epoch))
    with pytest.raises(FencedError):
        await world.storage.events.create_batch(run_id, [STEP_CREATED], fence=RunFence(epoch))
    with pytest.raises(FencedError):
        await world.storage.runs.release(run_id, RunFence(epoch), seen_slot=1, wake_at=None)

    assert len(await log_of(world, run_id)) == 1


@pytest.mark.parametrize(
    "event",
    [
        e.RunStarted(),
        e.RunCompleted(),
        STEP_CREATED,
        e.StepStarted(correlation_id="step_2", step_name="b"),
        e.WaitCreated(correlation_id="wait_1", kind="signal", signal_type="paid"),
        e.HookCreated(correlation_id="hook_1", token="t"),
    ],
    ids=lambda event: str(event.event_type),
)
async def test_what_only_the_owner_writes_needs_a_fence_while_it_lives(
    event: e.NewEvent, world: SqliteWorld, run_id: str
) -> None:
    await world.storage.runs.claim(run_id, owner=world.owner)

    with pytest.raises(FencedError, match="this writer holds no claim"):
        await world.storage.events.create(run_id, event)

    await world.storage.runs.release(run_id, RunFence(1), seen_slot=1, wake_at=None)
    await world.storage.events.create(run_id, event)
    assert len(await log_of(world, run_id)) >= 2


async def test_everything_else_may_come_from_anyone(world: SqliteWorld, run_id: str) -> None:
    await world.storage.runs.claim(run_id, owner=world.owner)
    await world.storage.events.create(run_id, e.HookCreated(correlation_id="hook_1", token="t"), fence=RunFence(1))

    for event in (
        e.HookReceived(correlation_id="hook_1"),
        e.SignalReceived(signal_type="paid"),
        e.AttrSet(changes=[]),
        e.RunPaused(),
        e.RunResumed(),
        e.HookDisposed(correlation_id="hook_1"),
        e.RunCancelled(),
    ):
        assert (await world.storage.events.create(run_id, event)).event is not None


async def test_who_executes_a_step_is_fenced_off_by_a_newer_attempt(world: SqliteWorld, run_id: str) -> None:
    for event in (STEP_CREATED, STEP_STARTED, STEP_STARTED):
        await world.storage.events.create(run_id, event)

    with pytest.raises(FencedError, match="this writer holds attempt 1, the run is at attempt 2"):
        await world.storage.events.create(run_id, STEP_COMPLETED, fence=StepFence("step_1", 1))
    await world.storage.events.create(run_id, STEP_COMPLETED, fence=StepFence("step_1", 2))

    assert (await world.storage.steps.get(run_id, "step_1")).output == b"1"


async def test_who_executes_a_step_may_report_to_a_run_that_is_owned(world: SqliteWorld, run_id: str) -> None:
    for event in (STEP_CREATED, STEP_STARTED):
        await world.storage.events.create(run_id, event)
    await world.storage.runs.claim(run_id, owner=world.owner)

    await world.storage.events.create(run_id, STEP_COMPLETED, fence=StepFence("step_1", 1))

    assert (await world.storage.steps.get(run_id, "step_1")).status == "completed"


@pytest.mark.parametrize(
    "event",
    [e.RunCompleted(), STEP_CREATED.model_copy(update={"correlation_id": "step_2"}), e.RunPaused()],
    ids=lambda event: str(event.event_type),
)
async def test_who_executes_a_step_may_write_nothing_else(event: e.NewEvent, world: SqliteWorld, run_id: str) -> None:
    for before in (STEP_CREATED, STEP_STARTED):
        await world.storage.events.create(run_id, before)

    with pytest.raises(WorldError, match=f"who executes step 'step_1' may not record this '{event.event_type}'"):
        await world.storage.events.create(run_id, event, fence=StepFence("step_1", 1))


async def test_who_executes_a_step_may_report_many_things_at_once(world: SqliteWorld, run_id: str) -> None:
    for event in (STEP_CREATED, STEP_STARTED):
        await world.storage.events.create(run_id, event)
    await world.storage.runs.claim(run_id, owner=world.owner)
    put_off = e.StepRetrying(correlation_id="step_1", error=b"no")

    with pytest.raises(FencedError):
        await world.storage.events.create_batch(run_id, [put_off], fence=StepFence("step_1", 2))
    done = await world.storage.events.create_batch(run_id, [put_off, STEP_COMPLETED], fence=StepFence("step_1", 1))

    assert [item.slot for item in done.items] == [4, 5]
    asks = e.HookCreated(correlation_id="hook_1", token="t", step_id="step_1")
    with pytest.raises(WorldError, match="'hook_created' cannot be part of a batch"):
        await world.storage.events.create_batch(run_id, [asks], fence=StepFence("step_1", 1))


async def test_a_step_that_another_executes_is_not_started_while_that_one_lives(
    world: SqliteWorld, run_id: str
) -> None:
    create, mine = world.storage.events.create, STEP_STARTED.model_copy(update={"owner": world.owner})
    await create(run_id, STEP_CREATED)
    started = await create(run_id, mine)
    assert started.step is not None
    assert started.step.lease_owner == world.owner

    for other in (STEP_STARTED, STEP_STARTED.model_copy(update={"owner": "own_other"})):
        with pytest.raises(EntityConflictError, match=f"step 'charge' of {run_id} is being executed by {world.owner}"):
            await create(run_id, other)
    again = await create(run_id, mine)

    assert again.step is not None
    assert again.step.attempt == 2


async def test_a_step_that_one_who_is_gone_executed_may_be_started_by_another(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, STEP_CREATED)
    await world.storage.events.create(run_id, STEP_STARTED.model_copy(update={"owner": "own_gone"}))

    await world.storage.events.create(run_id, STEP_STARTED)
    await world.storage.events.create(run_id, STEP_COMPLETED)

    step = await world.storage.steps.get(run_id, "step_1")
    assert (step.attempt, step.status, step.lease_owner) == (2, "completed", None)


async def test_a_run_is_released_only_by_who_has_seen_its_last_event(
    world: SqliteWorld, run_id: str, clock: ManualClock
) -> None:
    await world.storage.runs.claim(run_id, owner=world.owner)
    await world.storage.events.create(run_id, e.SignalReceived(signal_type="paid"))

    assert not await world.storage.runs.release(run_id, RunFence(1), seen_slot=1, wake_at=None)
    assert (await world.storage.runs.get(run_id)).owner == world.owner
    assert await world.storage.runs.release(run_id, RunFence(1), seen_slot=2, wake_at=clock.now())

    run = await world.storage.runs.get(run_id)
    assert (run.owner, run.seen_slot, run.wake_at, run.epoch) == (None, 2, clock.now(), 1)


@pytest.mark.parametrize(
    "event",
    [
        e.HookReceived(correlation_id="hook_1"),
        e.SignalReceived(signal_type="paid"),
        e.WaitCompleted(correlation_id="wait_1", cause="woken"),
        e.WaitCreated(correlation_id="wait_2", kind="signal", signal_type="paid"),
        STEP_COMPLETED,
        STEP_STARTED,
        e.AttrSet(changes=[e.AttributeChange(key="a", value="b")]),
    ],
    ids=lambda event: str(event.event_type),
)
async def test_whatever_comes_from_outside_wakes_the_run(
    event: e.NewEvent, world: SqliteWorld, run_id: str, clock: ManualClock
) -> None:
    for before in (
        STEP_CREATED,
        e.HookCreated(correlation_id="hook_1", token="t"),
        e.WaitCreated(correlation_id="wait_1", kind="signal", signal_type="x"),
    ):
        await world.storage.events.create(run_id, before)
    await world.storage.runs.claim(run_id, owner=world.owner)
    await world.storage.runs.release(run_id, RunFence(1), seen_slot=4, wake_at=None)
    assert await world.storage.runs.next_due(["greet"]) is None

    await world.storage.events.create(run_id, event)

    assert await world.storage.runs.next_due(["greet"]) == clock.now()


async def test_a_paused_run_is_due_only_once_it_is_resumed(world: SqliteWorld, run_id: str, clock: ManualClock) -> None:
    await world.storage.events.create(run_id, e.RunPaused())
    await world.storage.events.create(run_id, e.SignalReceived(signal_type="paid"))
    assert await world.storage.runs.next_due(["greet"]) is None

    await world.storage.events.create(run_id, e.RunResumed())

    assert await world.storage.runs.next_due(["greet"]) == clock.now()


async def test_the_owner_keeps_its_epoch_after_the_run_was_cancelled(world: SqliteWorld, run_id: str) -> None:
    await world.storage.runs.claim(run_id, owner=world.owner)
    await world.storage.events.create_batch(run_id, [STEP_CREATED, STEP_STARTED], fence=RunFence(1))

    await world.storage.events.create(run_id, e.RunCancelled())
    late = await world.storage.events.create_batch(run_id, [STEP_COMPLETED], fence=RunFence(1))

    assert late.items[0].slot == 5
    assert (await world.storage.runs.get(run_id)).owner is None


async def test_what_is_handed_out_is_a_copy(world: SqliteWorld, run_id: str) -> None:
    await world.storage.runs.claim(run_id, owner=world.owner)
    answer = await world.storage.events.create(run_id, STEP_CREATED, fence=RunFence(1))
    assert answer.step is not None

    answer.run.status, answer.run.last_slot, answer.step.status = "cancelled", 99, "failed"
    answer.run.attributes["mine"] = "yes"

    await world.storage.events.create(run_id, STEP_STARTED, fence=RunFence(1))
    run = await world.storage.runs.get(run_id)
    assert (run.status, run.last_slot, run.attributes) == ("pending", 3, {})


async def test_a_step_is_answered_with_its_times(world: SqliteWorld, run_id: str, clock: ManualClock) -> None:
    await world.storage.runs.claim(run_id, owner=world.owner)

    lazy = e.StepStarted(correlation_id="step_1", step_name="charge", input=b"1")
    started = await world.storage.events.create(run_id, lazy, fence=RunFence(1))
    ended = await world.storage.events.create(run_id, STEP_COMPLETED, fence=RunFence(1))

    assert started.step_created
    assert started.step is not None
    assert (started.step.status, started.step.attempt, started.step.input) == ("running", 1, b"1")
    assert started.step.started_at == clock.now()
    assert ended.step is not None
    assert ended.step == await world.storage.steps.get(run_id, "step_1")
