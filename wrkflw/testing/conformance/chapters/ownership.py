"""Ownership: one owner at a time, and a number that tells the old ones."""

from __future__ import annotations

import asyncio

from wrkflw.testing.conformance.acts import (
    RUN_STARTED,
    WORKFLOW,
    attributes,
    begin,
    completed,
    created,
    elapsed,
    failed,
    hook,
    lazily_started,
    log_of,
    no_trace,
    received,
    record,
    retrying,
    signal,
    sleep,
    started,
)
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure, ensure_equal, present, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.errors import (
    EntityConflictError,
    FencedError,
    RunExpiredError,
    RunPausedError,
    WorkflowRunNotFoundError,
)
from wrkflw.world.storage import Claim, RunFence, StepFence


async def claim(world: World, run_id: str) -> Run:
    return await world.storage.runs.claim(run_id, owner=world.owner)


async def release(world: World, run: Run, *, seen: int | None = None) -> bool:
    last = (await world.storage.runs.get(run.run_id)).last_slot if seen is None else seen
    return await world.storage.runs.release(run.run_id, RunFence(run.epoch), seen_slot=last, wake_at=None)


async def due(world: World, *workflow_names: str, limit: int = 100) -> list[str]:
    """The runs that are due, taken."""
    taken = await world.storage.runs.claim_due(
        owner=world.owner, workflow_names=workflow_names or (WORKFLOW,), limit=limit
    )
    return [run.run_id for run in taken]


@promise("§4.3")
async def check_each_claim_raises_the_epoch(stage: Stage) -> None:
    """A claim gives the run, owned, at the next epoch; the epoch only grows."""
    world = await stage.open()
    run_id = await begin(world)

    epochs: list[int] = []
    for _ in range(3):
        run = await claim(world, run_id)
        ensure_equal((run.run_id, run.owner), (run_id, world.owner), "the claimed run")
        epochs.append(run.epoch)
        await release(world, run)

    ensure_equal(epochs, [epochs[0], epochs[0] + 1, epochs[0] + 2], "epochs")


@promise("§4.3")
async def check_a_run_with_a_live_owner_is_not_claimed(stage: Stage) -> None:
    """A claim on a run that somebody alive has is 409, and the epoch stays."""
    world = await stage.open()
    run = await claim(world, await begin(world))

    await refusal(claim(world, run.run_id), 409, EntityConflictError)

    ensure_equal((await world.storage.runs.get(run.run_id)).epoch, run.epoch, "the epoch")


@promise("§4.3")
async def check_of_many_claims_at_once_one_wins(stage: Stage) -> None:
    """Claims at the same moment: one gets the run, the others 409."""
    world = await stage.open()
    run_id = await begin(world)

    outcomes = await asyncio.gather(*(claim(world, run_id) for _ in range(5)), return_exceptions=True)

    ensure_equal(len([run for run in outcomes if isinstance(run, Run)]), 1, "claims that were granted")


@promise("§4.3")
async def check_an_ended_run_is_not_claimed(stage: Stage) -> None:
    """A claim on an ended run is 410, on a paused one 409 paused, on a missing one 404."""
    world = await stage.open()
    ended, paused = await begin(world, e.RunCompleted()), await begin(world, e.RunPaused())

    for run_id, status, kind in ((ended, 410, RunExpiredError), (paused, 409, RunPausedError)):
        async with no_trace(world, run_id):
            await refusal(claim(world, run_id), status, kind)
    await refusal(claim(world, "order-1"), 404, WorkflowRunNotFoundError)


@promise("§4.3")
async def check_a_writer_with_an_old_epoch_is_fenced(stage: Stage) -> None:
    """Every write under a claim that is not the newest is FencedError, whatever it says, and nothing is written."""
    world = await stage.open()
    run_id = await begin(world, lazily_started("step_a"), created("step_b"), sleep("wait_a", stage.clock.now()))
    old = await claim(world, run_id)
    await release(world, old)
    new = await claim(world, run_id)
    writes: list[e.NewEvent] = [
        completed("step_a"), failed("step_a"), retrying("step_a"), started("step_b"), created("step_c"),
        hook("hook_a", "t"), elapsed("wait_a"), signal("paid"), attributes(team="a"), e.RunCompleted(), e.RunFailed(),
        RUN_STARTED,
    ]  # fmt: skip

    async with no_trace(world, run_id):
        for event in writes:
            for epoch in (old.epoch, new.epoch + 1):
                await refusal(world.storage.events.create(run_id, event, fence=RunFence(epoch)), 409, FencedError)

    await world.storage.events.create(run_id, completed("step_a"), fence=RunFence(new.epoch))


@promise("§4.3")
async def check_the_owners_events_need_its_fence(stage: Stage) -> None:
    """While a run has a live owner, its events are refused without a fence; what comes from outside needs none."""
    world = await stage.open()
    run_id = await begin(world, lazily_started("step_a"), hook("hook_a", "t"))
    await claim(world, run_id)

    async with no_trace(world, run_id):
        for event in (completed("step_a"), created("step_b"), sleep("wait_a", stage.clock.now()), e.RunCompleted()):
            await refusal(world.storage.events.create(run_id, event), 409, FencedError)

    await record(world, run_id, signal("paid"), received("hook_a"), attributes(team="a"), e.RunPaused(), e.RunResumed())
    await record(world, run_id, e.RunCancelled())


@promise("§4.3")
async def check_what_an_owner_wrote_bears_its_epoch(stage: Stage) -> None:
    """An event tells under which claim it was written; what came from outside tells none."""
    world = await stage.open()
    run = await claim(world, await begin(world))

    await world.storage.events.create(run.run_id, created("step_a"), fence=RunFence(run.epoch))
    await record(world, run.run_id, signal("paid"))

    epochs = [event.epoch for event in await log_of(world, run.run_id)]
    ensure_equal(epochs, [None, None, run.epoch, None], "epochs")


@promise("§4.3 runs.release")
async def check_a_run_is_not_released_over_what_nobody_saw(stage: Stage) -> None:
    """A release is refused while the log holds more than the owner has seen: the event is not missed."""
    world = await stage.open()
    run = await claim(world, await begin(world))
    await record(world, run.run_id, signal("paid"))

    ensure_equal(await release(world, run, seen=2), False, "the release over an unseen event")

    ensure_equal((await world.storage.runs.get(run.run_id)).owner, world.owner, "the owner")
    await world.storage.events.create(run.run_id, created("step_a"), fence=RunFence(run.epoch))
    ensure_equal(await release(world, run, seen=4), True, "the release after it was seen")
    ensure_equal((await world.storage.runs.get(run.run_id)).owner, None, "the owner")


@promise("§4.3 runs.release")
async def check_only_the_newest_owner_releases(stage: Stage) -> None:
    """A release under an old epoch is FencedError, and the new owner keeps the run."""
    world = await stage.open()
    old = await claim(world, await begin(world))
    await release(world, old)
    new = await claim(world, old.run_id)

    await refusal(release(world, old), 409, FencedError)

    ensure_equal((await world.storage.runs.get(new.run_id)).owner, world.owner, "the owner")
    await world.storage.events.create(new.run_id, created("step_a"), fence=RunFence(new.epoch))


@promise("§4.3")
async def check_the_end_frees_the_run(stage: Stage) -> None:
    """An ended run has no owner; nobody claims it, and it is never due."""
    world = await stage.open()
    run = await claim(world, await begin(world))

    await world.storage.events.create(run.run_id, e.RunCompleted(), fence=RunFence(run.epoch))

    ensure_equal((await world.storage.runs.get(run.run_id)).owner, None, "the owner")
    ensure_equal(await due(world), [], "what is due")
    ensure_equal(await world.storage.runs.next_due([WORKFLOW]), None, "when the next is due")


@promise("§4.3", need="lasting")
async def check_a_live_owner_elsewhere_keeps_its_runs(stage: Stage) -> None:
    """A World does not take runs that another, live one has claimed, nor write to them as their owner."""
    one, other = await stage.open(), await stage.open()
    run = await claim(one, await begin(one))

    async with no_trace(other, run.run_id):
        await refusal(claim(other, run.run_id), 409, EntityConflictError)
        ensure_equal(await due(other), [], "what is due elsewhere")
        await refusal(other.storage.events.create(run.run_id, created("step_a")), 409, FencedError)


@promise("§13.1 close", need="lasting")
async def check_a_world_that_closes_gives_up_its_runs(stage: Stage) -> None:
    """After ``close()`` others take the runs at once, at a higher epoch, and the old claim is worth nothing."""
    one, other = await stage.open(), await stage.open()
    old = await claim(one, await begin(one))

    await stage.close(one)

    ensure_equal(await due(other), [old.run_id], "what is due elsewhere")
    run = await other.storage.runs.get(old.run_id)
    ensure((run.epoch, run.owner) == (old.epoch + 1, other.owner), f"the epoch grows by one: {run}")
    stale = other.storage.events.create(old.run_id, created("step_a"), fence=RunFence(old.epoch))
    await refusal(stale, 409, FencedError)


@promise("§4.3 StepFence")
async def check_the_outcome_of_an_old_attempt_is_fenced(stage: Stage) -> None:
    """An outcome whose attempt is not the step's is FencedError; that of the running attempt is accepted."""
    world = await stage.open()
    run_id = await begin(world, lazily_started("step_a"), retrying("step_a"), started("step_a"))
    create_event = world.storage.events.create

    async with no_trace(world, run_id):
        for attempt in (1, 3):
            await refusal(
                create_event(run_id, completed("step_a"), fence=StepFence("step_a", attempt)), 409, FencedError
            )

    result = await create_event(run_id, completed("step_a"), fence=StepFence("step_a", 2))
    ensure_equal(present(result.step, "the step").status, "completed", "the status")


@promise("§4.3 StepFence")
async def check_who_executes_a_step_writes_of_that_step_alone(stage: Stage) -> None:
    """A step's fence lets its executor record the outcome while another owns the run, and nothing else."""
    world = await stage.open()
    run_id = await begin(world, lazily_started("step_a"), lazily_started("step_b"))
    await claim(world, run_id)
    fence = StepFence("step_a", 1)

    async with no_trace(world, run_id):
        for event in (completed("step_b"), created("step_c"), e.RunCompleted()):
            await refusal(world.storage.events.create(run_id, event, fence=fence), 400)

    await world.storage.events.create(run_id, completed("step_a"), fence=fence)


@promise("§4.3")
async def check_what_comes_from_outside_may_claim(stage: Stage) -> None:
    """A write from outside that asks for the run gets it, with the event, if nobody alive has it."""
    world = await stage.open()
    run_id = await begin(world)
    create_event, wish = world.storage.events.create, Claim(world.owner)

    first = await create_event(run_id, signal("paid"), claim=wish)
    second = await create_event(run_id, signal("paid"), claim=wish)

    ensure_equal((first.claimed, first.run.owner, first.run.epoch), (True, world.owner, 1), "the first claim")
    ensure_equal((second.claimed, second.run.epoch), (False, 1), "the second claim")


@promise("§4.3")
async def check_what_comes_from_outside_claims_no_paused_run(stage: Stage) -> None:
    """A write to a paused run is recorded, and the run stays unowned."""
    world = await stage.open()
    run_id = await begin(world, e.RunPaused())

    result = await world.storage.events.create(run_id, signal("paid"), claim=Claim(world.owner))

    ensure_equal((result.claimed, result.run.owner, result.run.epoch), (False, None, 0), "the claim")
    ensure_equal(present(result.event, "the event").slot, 4, "the slot")


@promise("§4.2")
async def check_the_fence_is_looked_at_before_the_guards(stage: Stage) -> None:
    """Who was replaced hears that, and not what else would be wrong with the write."""
    world = await stage.open()
    old = await claim(world, await begin(world))
    await release(world, old)
    await claim(world, old.run_id)
    await record(world, old.run_id, e.RunPaused())

    for event in (completed("step_x"), created("step_a"), RUN_STARTED):
        for slot in (None, 99):
            attempt = world.storage.events.create(old.run_id, event, fence=RunFence(old.epoch), expect_slot=slot)
            await refusal(attempt, 409, FencedError)
