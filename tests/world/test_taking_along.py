"""An event from outside whose writer takes the run along: one commit for the answer and the claim."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.clocks import START, ManualClock
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, PreconditionFailedError, RunExpiredError, WorldError
from wrkflw.world.storage import Claim, RunFence
from wrkflw.worlds.sqlite import SqliteWorld

from .looks import assert_the_views_are_the_fold, log_of, new_run_id

ANSWER = e.HookReceived(correlation_id="hook_1", payload_data=b"yes")
SIGNAL = e.SignalReceived(signal_type="paid")


@pytest.fixture
async def run_id(world: SqliteWorld, clock: ManualClock) -> str:
    """A run that nobody owns, and which waits for an answer and for an hour to pass."""
    run_id = new_run_id(clock.now())
    events: tuple[e.NewEvent, ...] = (
        e.RunCreated(workflow_name="greet"),
        e.RunStarted(),
        e.HookCreated(correlation_id="hook_1", token="t"),
        e.WaitCreated(correlation_id="wait_1", resume_at=START + timedelta(hours=1)),
    )
    for event in events:
        await world.storage.events.create(run_id, event)
    return run_id


@pytest.mark.parametrize(
    "event",
    [ANSWER, SIGNAL, e.WaitCompleted(correlation_id="wait_1", cause="woken")],
    ids=lambda event: event.event_type,
)
async def test_who_answers_may_take_the_run_along(event: e.NewEvent, world: SqliteWorld, run_id: str) -> None:
    answer = await world.storage.events.create(run_id, event, claim=Claim(world.owner))

    assert answer.claimed
    assert (answer.run.owner, answer.run.epoch, answer.run.wake_at) == (world.owner, 1, None)
    assert answer.event is not None
    assert answer.event.epoch is None  # it came from outside
    written = await world.storage.events.create_batch(run_id, [e.RunCompleted()], fence=RunFence(1))
    assert (written.last_slot, (await world.storage.runs.get(run_id)).status) == (6, "completed")
    await assert_the_views_are_the_fold(world, run_id)


async def test_a_run_that_is_resumed_is_taken_along(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, e.RunPaused())

    assert (await world.storage.events.create(run_id, e.RunResumed(), claim=Claim(world.owner))).claimed
    no_op = await world.storage.events.create(run_id, e.RunResumed(), claim=Claim(world.owner))
    assert (no_op.event, no_op.claimed, no_op.run.epoch) == (None, False, 1)


async def test_a_run_of_somebody_alive_is_only_written_to(world: SqliteWorld, run_id: str) -> None:
    await world.storage.runs.claim(run_id, owner=world.owner)

    answer = await world.storage.events.create(run_id, SIGNAL, claim=Claim(world.owner))

    assert (answer.claimed, answer.run.epoch, answer.run.wake_at) == (False, 1, START)


async def test_a_run_of_somebody_dead_is_taken_along(world: SqliteWorld, run_id: str) -> None:
    await world.storage.runs.claim(run_id, owner="own_dead")

    answer = await world.storage.events.create(run_id, SIGNAL, claim=Claim(world.owner))

    assert (answer.claimed, answer.run.owner, answer.run.epoch) == (True, world.owner, 2)


async def test_a_paused_run_is_only_written_to(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, e.RunPaused())

    answer = await world.storage.events.create(run_id, SIGNAL, claim=Claim(world.owner))

    assert (answer.claimed, answer.run.owner, len(await log_of(world, run_id))) == (False, None, 6)


async def test_a_run_that_is_to_start_later_is_only_written_to(world: SqliteWorld, clock: ManualClock) -> None:
    later = clock.now() + timedelta(hours=1)
    run_id = (await world.storage.events.create(None, e.RunCreated(workflow_name="greet"), wake_at=later)).run.run_id

    answer = await world.storage.events.create(run_id, SIGNAL, claim=Claim(world.owner))

    assert (answer.claimed, answer.run.owner, answer.run.wake_at) == (False, None, later)


async def test_the_same_answer_again_takes_nothing_along(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, ANSWER, resume_id="mail-1")

    again = await world.storage.events.create(run_id, ANSWER, resume_id="mail-1", claim=Claim(world.owner))

    assert (again.claimed, again.run.owner) == (False, None)


async def test_a_refused_answer_takes_nothing_along(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, e.RunCompleted())

    with pytest.raises(RunExpiredError):
        await world.storage.events.create(run_id, SIGNAL, claim=Claim(world.owner))
    assert (await world.storage.runs.get(run_id)).owner is None


async def test_only_what_comes_from_outside_takes_a_run_along(world: SqliteWorld, run_id: str) -> None:
    claim = Claim(world.owner)

    with pytest.raises(WorldError, match="who writes 'run_paused' cannot claim the run by it; use runs"):
        await world.storage.events.create(run_id, e.RunPaused(), claim=claim)
    with pytest.raises(WorldError, match="who writes 'signal_received' cannot claim the run by it"):
        await world.storage.events.create(run_id, SIGNAL, claim=claim, fence=RunFence(0))


# --- with what comes of it ---------------------------------------------------------------------------

STEP = (e.StepCreated(correlation_id="step_1", step_name="ship", key="ship"), e.StepStarted(correlation_id="step_1"))


async def test_what_comes_of_an_answer_is_written_with_it(world: SqliteWorld, run_id: str) -> None:
    result = await world.storage.events.create_batch(run_id, [ANSWER, *STEP], claim=Claim(world.owner), expect_slot=4)

    run = await world.storage.runs.get(run_id)
    assert (run.owner, run.epoch, run.wake_at, run.last_slot) == (world.owner, 1, None, 7)
    assert (result.epoch, result.last_slot, result.refused) == (1, 7, False)
    assert [stored.epoch for stored in (await log_of(world, run_id))[4:]] == [None, 1, 1]
    written = await world.storage.events.create_batch(run_id, [e.RunCompleted()], fence=RunFence(1))
    assert written.last_slot == 8
    await assert_the_views_are_the_fold(world, run_id)


async def test_what_comes_of_an_answer_may_be_the_end(world: SqliteWorld, run_id: str) -> None:
    result = await world.storage.events.create_batch(run_id, [SIGNAL, e.RunCompleted()], claim=Claim(world.owner))

    run = await world.storage.runs.get(run_id)
    assert (run.status, run.owner, run.epoch, result.epoch) == ("completed", None, 1, 1)
    await assert_the_views_are_the_fold(world, run_id)


async def test_nothing_is_written_to_a_run_that_has_moved_on(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, SIGNAL)

    with pytest.raises(PreconditionFailedError):
        await world.storage.events.create_batch(run_id, [ANSWER, *STEP], claim=Claim(world.owner), expect_slot=4)
    assert ((await world.storage.runs.get(run_id)).owner, len(await log_of(world, run_id))) == (None, 5)


@pytest.mark.parametrize("owner", ["alive", "dead"])
@pytest.mark.parametrize("events", [(ANSWER,), (ANSWER, *STEP)], ids=["alone", "with a step"])
async def test_nothing_is_written_to_a_run_that_somebody_has(
    owner: str, events: tuple[e.NewEvent, ...], world: SqliteWorld, run_id: str
) -> None:
    await world.storage.runs.claim(run_id, owner=world.owner if owner == "alive" else "own_dead")

    with pytest.raises(EntityConflictError):
        await world.storage.events.create_batch(run_id, events, claim=Claim(world.owner))
    assert ((await world.storage.runs.get(run_id)).epoch, len(await log_of(world, run_id))) == (1, 4)


async def test_nothing_is_written_to_a_run_that_is_paused(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, e.RunPaused())

    with pytest.raises(EntityConflictError, match=f"run {run_id} cannot be claimed by a batch"):
        await world.storage.events.create_batch(run_id, [ANSWER], claim=Claim(world.owner))
    assert len(await log_of(world, run_id)) == 5


async def test_what_is_refused_behind_an_answer_refuses_the_answer(world: SqliteWorld, run_id: str) -> None:
    with pytest.raises(WorldError, match="step_1"):
        await world.storage.events.create_batch(run_id, [ANSWER, STEP[1]], claim=Claim(world.owner))
    assert ((await world.storage.runs.get(run_id)).owner, len(await log_of(world, run_id))) == (None, 4)


async def test_a_run_is_taken_over_by_one_event_from_outside_and_no_other(world: SqliteWorld, run_id: str) -> None:
    batches: list[list[e.NewEvent]] = [[e.RunResumed()], [*STEP, ANSWER], [ANSWER, SIGNAL]]
    for events in batches:
        with pytest.raises(WorldError, match="batch"):
            await world.storage.events.create_batch(run_id, events, claim=Claim(world.owner))
    assert len(await log_of(world, run_id)) == 4
