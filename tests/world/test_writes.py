"""Batches, starts, keys and limits (contract §4.1, §4.4, §4.5)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.clocks import START, ManualClock
from wrkflw.world import events as e
from wrkflw.world.errors import (
    EntityConflictError,
    EventLimitError,
    KeyTakenError,
    PreconditionFailedError,
    WorkflowRunNotFoundError,
    WorldError,
)
from wrkflw.world.storage import Claim, RunFence
from wrkflw.worlds.sqlite import SqliteWorld

from .looks import assert_the_views_are_the_fold, changes_of, log_of, new_run_id

CREATED = e.RunCreated(workflow_name="greet", input=b"1")
RUN_STARTED = e.RunStarted()


def created(step: str) -> e.StepCreated:
    return e.StepCreated(correlation_id=step, step_name="charge", key=step, input=b"2")


def started(step: str) -> e.StepStarted:
    return e.StepStarted(correlation_id=step)


def completed(step: str) -> e.StepCompleted:
    return e.StepCompleted(correlation_id=step, result=b"3")


@pytest.fixture
async def run_id(world: SqliteWorld, clock: ManualClock) -> str:
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, CREATED)
    return run_id


# --- batches -----------------------------------------------------------------------------------------


async def test_a_batch_is_judged_in_order_and_a_refused_event_stops_no_other(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, created("step_a"))

    result = await world.storage.events.create_batch(
        run_id, [completed("step_a"), completed("step_b"), created("step_c"), started("step_c")]
    )

    assert [item.slot for item in result.items] == [3, None, 4, 5]
    refusal = result.items[1].refusal
    assert refusal is not None
    assert (refusal.status, str(refusal)) == (404, f"run {run_id} has no step 'step_b'")
    assert result.last_slot == 5
    await assert_the_views_are_the_fold(world, run_id)


async def test_a_batch_of_which_nothing_is_accepted_writes_nothing(world: SqliteWorld, run_id: str) -> None:
    written = changes_of(world)

    result = await world.storage.events.create_batch(run_id, [completed("step_a"), completed("step_b")])

    assert [item.slot for item in result.items] == [None, None]
    assert changes_of(world) == written


@pytest.mark.parametrize(
    "event",
    [
        CREATED,
        RUN_STARTED,
        e.RunCancelled(),
        e.RunPaused(),
        e.RunResumed(),
        e.HookCreated(correlation_id="hook_1", token="t"),
        e.HookDisposed(correlation_id="hook_1"),
        e.HookReceived(correlation_id="hook_1"),
        e.SignalReceived(signal_type="paid"),
        e.AttrSet(changes=[]),
    ],
    ids=lambda event: str(event.event_type),
)
async def test_some_events_are_never_part_of_a_batch(event: e.NewEvent, world: SqliteWorld, run_id: str) -> None:
    with pytest.raises(WorldError, match=f"'{event.event_type}' cannot be part of a batch; append it with") as refused:
        await world.storage.events.create_batch(run_id, [created("step_a"), event])

    assert refused.value.status == 400
    assert len(await log_of(world, run_id)) == 1


async def test_a_batch_may_tell_the_whole_story_of_an_entity(world: SqliteWorld, run_id: str) -> None:
    events: list[e.NewEvent] = [
        created("step_a"),
        started("step_a"),
        e.HookCreated(correlation_id="hook_a", token="t", kind="suspend", step_id="step_a"),
        e.StepRetrying(correlation_id="step_a", reason="suspended", hook_id="hook_a"),
        started("step_a"),
        e.HookDisposed(correlation_id="hook_a"),
        started("step_a"),
        completed("step_a"),
        completed("step_a"),
        e.WaitCreated(correlation_id="wait_a", resume_at=START),
        e.WaitCompleted(correlation_id="wait_a"),
        e.RunCompleted(output=b"4"),
    ]
    epoch = (await world.storage.runs.claim(run_id, owner=world.owner)).epoch

    result = await world.storage.events.create_batch(run_id, events, fence=RunFence(epoch))

    assert [item.slot for item in result.items] == [2, 3, 4, 5, None, 6, 7, 8, None, 9, 10, 11]
    assert (await world.storage.runs.get(run_id)).status == "completed"
    await assert_the_views_are_the_fold(world, run_id)


async def test_a_batch_for_an_unknown_run_is_not_found(world: SqliteWorld) -> None:
    with pytest.raises(WorkflowRunNotFoundError):
        await world.storage.events.create_batch("wrun_1", [created("step_a")])


async def test_a_run_may_be_born_owned(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())

    result = await world.storage.events.create_batch(
        run_id, [CREATED, RUN_STARTED, created("step_a"), started("step_a")], claim=Claim(world.owner)
    )
    await world.storage.events.create_batch(run_id, [completed("step_a")], fence=RunFence(result.epoch))

    assert (result.epoch, result.last_slot) == (1, 4)
    assert [logged.epoch for logged in await log_of(world, run_id)] == [1, 1, 1, 1, 1]
    assert (await world.storage.runs.get(run_id)).owner == world.owner
    await assert_the_views_are_the_fold(world, run_id)


async def test_a_run_may_live_and_end_in_one_batch(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    wait = e.WaitCreated(correlation_id="wait_1", resume_at=START + timedelta(hours=1))

    await world.storage.events.create_batch(
        run_id, [CREATED, RUN_STARTED, wait, e.RunCompleted(output=b"4")], claim=Claim(world.owner)
    )

    run = await world.storage.runs.get(run_id)
    assert (run.status, run.input, run.output, run.owner, run.wake_at) == ("completed", b"1", b"4", None, None)
    await assert_the_views_are_the_fold(world, run_id)


async def test_a_batch_with_a_claim_is_refused_whole(world: SqliteWorld, run_id: str, clock: ManualClock) -> None:
    with pytest.raises(EntityConflictError, match=f"run '{run_id}' already exists"):
        await world.storage.events.create_batch(run_id, [CREATED, RUN_STARTED], claim=Claim(world.owner))
    fresh = new_run_id(clock.now())
    with pytest.raises(WorldError, match="has no step 'step_a'"):
        await world.storage.events.create_batch(fresh, [CREATED, completed("step_a")], claim=Claim(world.owner))
    with pytest.raises(WorldError, match="a batch with a claim begins with 'run_created'"):
        await world.storage.events.create_batch(run_id, [created("step_a")], claim=Claim(world.owner))
    with pytest.raises(WorldError, match="a batch has a fence or a claim; give one of them"):
        await world.storage.events.create_batch(fresh, [CREATED], fence=RunFence(0), claim=Claim(world.owner))

    with pytest.raises(WorkflowRunNotFoundError):
        await world.storage.runs.get(fresh)


# --- starts ------------------------------------------------------------------------------------------


async def test_the_world_mints_an_id_for_a_run_without_one(world: SqliteWorld) -> None:
    answer = await world.storage.events.create(None, CREATED)

    assert (await world.storage.runs.get(answer.run.run_id)).input == b"1"
    with pytest.raises(WorldError, match="'run_started' needs a run id; only 'run_created' may leave it to the World"):
        await world.storage.events.create(None, RUN_STARTED)


@pytest.mark.parametrize("age", [timedelta(hours=-24), timedelta(0), timedelta(minutes=5)])
async def test_a_run_id_is_made_about_when_the_run_is(age: timedelta, world: SqliteWorld, clock: ManualClock) -> None:
    await world.storage.events.create(new_run_id(clock.now() + age), CREATED)

    beyond = timedelta(milliseconds=1) if age > timedelta(0) else timedelta(milliseconds=-1)
    if age:
        with pytest.raises(WorldError, match="which is not now; make a new one") as refused:
            await world.storage.events.create(new_run_id(clock.now() + age + beyond), CREATED)
        assert refused.value.status == 400


@pytest.mark.parametrize("run_id", ["", "a b", "../x", "é", "a\n", "x" * 129])
async def test_a_run_id_is_plain(run_id: str, world: SqliteWorld) -> None:
    with pytest.raises(
        WorldError, match="cannot be a run id; use letters, digits, '_' and '-', at most 128"
    ) as refused:
        await world.storage.events.create(run_id, CREATED)

    assert refused.value.status == 400


async def test_a_caller_may_have_run_ids_of_its_own(world: SqliteWorld) -> None:
    await world.storage.events.create("order-17", CREATED)

    assert (await world.storage.runs.get("order-17")).status == "pending"


async def test_a_start_with_the_creation_makes_the_run_that_was_lost(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())

    await world.storage.events.create(run_id, e.RunStarted(creation=CREATED))
    again = await world.storage.events.create(run_id, e.RunStarted(creation=e.RunCreated(workflow_name="other")))

    assert [logged.event for logged in await log_of(world, run_id)] == [CREATED, RUN_STARTED]
    assert again.event is None
    assert again.run.workflow_name == "greet"


async def test_a_created_run_is_due_when_it_was_asked_to_be(world: SqliteWorld, clock: ManualClock) -> None:
    later = clock.now() + timedelta(hours=1)

    await world.storage.events.create(None, CREATED, wake_at=later)
    assert await world.storage.runs.next_due(["greet"]) == later
    await world.storage.events.create(None, CREATED)
    assert await world.storage.runs.next_due(["greet"]) == clock.now()


# --- keys --------------------------------------------------------------------------------------------

KEYED = e.RunCreated(workflow_name="greet", input=b"1", idempotency_key="order-17")


async def test_the_same_key_is_the_same_run(world: SqliteWorld) -> None:
    first = await world.storage.events.create(None, KEYED)
    second = await world.storage.events.create(None, KEYED, on_conflict="use_existing")

    assert second.event is None
    assert second.run.run_id == first.run.run_id
    assert await world.storage.runs.find("greet", "order-17") == await world.storage.runs.get(
        first.run.run_id, resolve_data="none"
    )
    assert await world.storage.runs.find("other", "order-17") is None


async def test_a_key_that_is_taken_may_be_a_refusal(world: SqliteWorld) -> None:
    first = await world.storage.events.create(None, KEYED)

    with pytest.raises(KeyTakenError, match=f"idempotency key 'order-17' belongs to run '{first.run.run_id}'") as taken:
        await world.storage.events.create(None, KEYED)
    assert taken.value.run_id == first.run.run_id
    with pytest.raises(KeyTakenError):
        await world.storage.events.create_batch(new_run_id(START), [KEYED, RUN_STARTED], claim=Claim(world.owner))


async def test_a_key_with_another_input_is_a_conflict(world: SqliteWorld) -> None:
    await world.storage.events.create(None, KEYED)

    with pytest.raises(KeyTakenError):
        await world.storage.events.create(None, KEYED.model_copy(update={"input": b"2"}), on_conflict="use_existing")


async def test_a_key_may_pass_to_a_new_run_once_the_old_one_has_ended(world: SqliteWorld) -> None:
    create, other = world.storage.events.create, KEYED.model_copy(update={"input": b"2"})
    first = (await create(None, KEYED)).run.run_id

    with pytest.raises(KeyTakenError):
        await create(None, other, on_conflict="allow_if_finished")
    await create(first, e.RunCompleted())
    second = await create(None, other, on_conflict="allow_if_finished")

    assert second.event is not None
    holder = await world.storage.runs.find("greet", "order-17")
    assert holder is not None
    assert holder.run_id == second.run.run_id
    assert (await log_of(world, first))[0].event == KEYED, "the key stays in the log"
    assert (await world.storage.runs.get(first)).idempotency_key is None


async def test_a_key_may_be_taken_from_a_run_that_is_ended_for_it(world: SqliteWorld) -> None:
    first = (await world.storage.events.create(None, KEYED)).run.run_id
    await world.storage.runs.claim(first, owner=world.owner)
    await world.storage.events.create_batch(first, [created("step_b")], fence=RunFence(1))

    second = await world.storage.events.create(None, KEYED, on_conflict="terminate_existing")
    third = await world.storage.events.create(None, KEYED, on_conflict="terminate_existing")

    ended = await world.storage.runs.get(first)
    assert (ended.status, ended.cancel_reason) == (
        "cancelled", f"{second.run.run_id} has taken its idempotency key",
    )  # fmt: skip
    assert (await world.storage.runs.get(second.run.run_id)).status == "cancelled"
    assert (third.run.status, third.run.idempotency_key) == ("pending", "order-17")
    late = await world.storage.events.create_batch(first, [created("step_a")], fence=RunFence(1))
    assert late.refused


async def test_an_empty_key_is_none(world: SqliteWorld) -> None:
    with pytest.raises(WorldError, match="idempotency_key has 1 to 1,024 characters, not 0"):
        await world.storage.events.create(None, KEYED.model_copy(update={"idempotency_key": ""}))


async def test_a_key_belongs_to_one_workflow(world: SqliteWorld) -> None:
    await world.storage.events.create(None, KEYED)

    other = await world.storage.events.create(None, KEYED.model_copy(update={"workflow_name": "other"}))

    assert other.event is not None


async def test_a_start_with_a_creation_respects_the_key(world: SqliteWorld, clock: ManualClock) -> None:
    await world.storage.events.create(None, KEYED)

    with pytest.raises(KeyTakenError):
        await world.storage.events.create(new_run_id(clock.now()), e.RunStarted(creation=KEYED))


# --- limits ------------------------------------------------------------------------------------------


async def test_a_write_may_ask_for_the_slot_it_knows(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, RUN_STARTED, expect_slot=1)

    with pytest.raises(PreconditionFailedError, match=f"{run_id} is at slot 2, not 1; read the log again") as refused:
        await world.storage.events.create(run_id, created("step_a"), expect_slot=1)
    with pytest.raises(PreconditionFailedError):
        await world.storage.events.create_batch(run_id, [created("step_a")], expect_slot=3)

    assert refused.value.status == 412
    assert len(await log_of(world, run_id)) == 2


async def test_a_full_log_takes_only_ends_and_outcomes_of_what_runs(clock: ManualClock) -> None:
    world = SqliteWorld(":memory:", clock=clock, max_events=4)
    await world.start()
    run_id = new_run_id(clock.now())
    for event in (CREATED, created("step_a"), started("step_a"), created("step_b")):
        await world.storage.events.create(run_id, event)

    others: list[e.NewEvent] = [
        RUN_STARTED,
        created("step_c"),
        started("step_b"),
        completed("step_b"),
        e.SignalReceived(signal_type="paid"),
        e.RunPaused(),
    ]
    for other in others:
        with pytest.raises(EventLimitError, match=f"run {run_id!r} has 4 events, which is the limit"):
            await world.storage.events.create(run_id, other)
    await world.storage.events.create(run_id, completed("step_a"))
    await world.storage.events.create(run_id, e.RunFailed(error_code="MAX_EVENTS_EXCEEDED"))

    assert (await world.storage.runs.get(run_id)).error_code == "MAX_EVENTS_EXCEEDED"
    await world.close()
