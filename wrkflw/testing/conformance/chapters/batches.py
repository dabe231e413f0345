"""Batches: many events in one transaction, each judged as if it came alone."""

from __future__ import annotations

import asyncio

from wrkflw.testing.conformance.acts import (
    RUN_STARTED,
    attributes,
    begin,
    completed,
    created,
    creation,
    disposed,
    failed,
    hook,
    log_of,
    no_trace,
    received,
    retrying,
    signal,
    sleep,
    started,
    types_in,
    woken,
)
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure_equal, present, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import events as e
from wrkflw.world.errors import FencedError, HookNotFoundError, PreconditionFailedError, WorkflowRunNotFoundError
from wrkflw.world.storage import Claim, RunFence


@promise("§4.4", need="batch")
async def check_accepted_events_take_consecutive_slots(stage: Stage) -> None:
    """A refused event of a batch takes no slot and does not stop the rest; each gets an answer of its own."""
    world = await stage.open()
    run_id = await begin(world, created("step_a"))

    result = await world.storage.events.create_batch(
        run_id, [completed("step_a"), completed("step_x"), created("step_a"), created("step_b"), started("step_b")]
    )

    ensure_equal([item.slot for item in result.items], [4, None, None, 5, 6], "slots")
    statuses = [item.refusal and item.refusal.status for item in result.items]
    ensure_equal(statuses, [None, 404, 409, None, None], "refusals")
    ensure_equal(result.last_slot, 6, "the end of the log")


@promise("§4.4", need="batch")
async def check_events_are_judged_in_order(stage: Stage) -> None:
    """What an event of a batch does counts for the next: a step is born, fails, is tried again and completes."""
    world = await stage.open()
    run_id = await begin(world)

    result = await world.storage.events.create_batch(
        run_id,
        [created("step_a"), started("step_a"), retrying("step_a"), started("step_a"), completed("step_a"),
         failed("step_a")],
    )  # fmt: skip

    ensure_equal([item.slot for item in result.items], [3, 4, 5, 6, 7, None], "slots")
    step = await world.storage.steps.get(run_id, "step_a")
    ensure_equal((step.status, step.attempt, step.output), ("completed", 2, b"3"), "the step")


@promise("§4.4", need="batch")
async def check_a_batch_of_which_nothing_is_accepted_writes_nothing(stage: Stage) -> None:
    """When every event is refused, the run is as it was."""
    world = await stage.open()
    run_id = await begin(world)

    async with no_trace(world, run_id):
        result = await world.storage.events.create_batch(run_id, [completed("step_a"), woken("wait_a")])
        ensure_equal([item.slot for item in result.items], [None, None], "slots")


@promise("§4.4", need="batch")
async def check_what_may_not_be_in_a_batch_refuses_all_of_it(stage: Stage) -> None:
    """Events of the outside and of the run's life are 400 in a batch, and nothing of it is written."""
    world = await stage.open()
    run_id = await begin(world, hook("hook_a", "t"))
    barred: list[e.NewEvent] = [
        creation(), RUN_STARTED, e.RunCancelled(), e.RunPaused(), e.RunResumed(), hook("hook_b", "u"),
        disposed("hook_a"), received("hook_a"), signal("paid"), attributes(team="a"),
    ]  # fmt: skip

    async with no_trace(world, run_id):
        for event in barred:
            await refusal(world.storage.events.create_batch(run_id, [created("step_a"), event]), 400)


@promise("§4.1 expect_slot", need="batch")
async def check_a_batch_may_insist_on_its_slot(stage: Stage) -> None:
    """A speculative batch is refused whole with 412 when the log has moved on."""
    world = await stage.open()
    run_id = await begin(world)
    create_batch = world.storage.events.create_batch

    async with no_trace(world, run_id):
        await refusal(create_batch(run_id, [created("step_a")], expect_slot=1), 412, PreconditionFailedError)

    await create_batch(run_id, [created("step_a")], expect_slot=2)
    ensure_equal(len(await log_of(world, run_id)), 3, "events")


@promise("§4.3", need="batch")
async def check_a_batch_under_an_old_claim_is_refused_whole(stage: Stage) -> None:
    """A batch whose epoch is not the newest is FencedError, and nothing of it is written."""
    world = await stage.open()
    run_id = await begin(world)
    claimed = await world.storage.runs.claim(run_id, owner=world.owner)
    create_batch = world.storage.events.create_batch

    async with no_trace(world, run_id):
        for epoch in (claimed.epoch - 1, claimed.epoch + 1):
            await refusal(create_batch(run_id, [created("step_a")], fence=RunFence(epoch)), 409, FencedError)
        await refusal(create_batch(run_id, [created("step_a")]), 409, FencedError)

    result = await create_batch(run_id, [created("step_a")], fence=RunFence(claimed.epoch))
    ensure_equal((result.epoch, result.last_slot), (claimed.epoch, 3), "what the owner is told")


@promise("§4.4", need="batch")
async def check_a_batch_for_a_missing_run_is_404(stage: Stage) -> None:
    """No run, no batch."""
    world = await stage.open()

    attempt = world.storage.events.create_batch("order-1", [created("step_a")])

    await refusal(attempt, 404, WorkflowRunNotFoundError)


@promise("§4.4", need="batch")
async def check_a_run_is_born_owned(stage: Stage) -> None:
    """With a claim, a batch creates the run, starts it and its first step, and owns it: one transaction."""
    world = await stage.open()

    result = await world.storage.events.create_batch(
        "order-1", [creation(), RUN_STARTED, created("step_a"), started("step_a")], claim=Claim(world.owner)
    )

    run = await world.storage.runs.get("order-1")
    ensure_equal((result.epoch, run.epoch, run.owner), (1, 1, world.owner), "the claim")
    ensure_equal((run.status, run.last_slot), ("running", 4), "the run")


@promise("§1.2", need="batch")
async def check_a_birth_that_is_refused_leaves_nothing(stage: Stage) -> None:
    """The first refusal of a batch with a claim is raised: no run, no token, no key is left behind."""
    world = await stage.open()
    born = creation(key="order-1")

    attempt = world.storage.events.create_batch(
        "order-1", [born, RUN_STARTED, hook("hook_a", "t"), completed("step_a")], claim=Claim(world.owner)
    )

    await refusal(attempt, 404)
    await refusal(world.storage.runs.get("order-1"), 404, WorkflowRunNotFoundError)
    await refusal(world.storage.hooks.get_by_token("t"), 404, HookNotFoundError)
    ensure_equal(await world.storage.runs.find("greet", "order-1"), None, "the run of the key")
    again = await world.storage.events.create_batch("order-1", [born, RUN_STARTED], claim=Claim(world.owner))
    ensure_equal(again.last_slot, 2, "the end of the log")


@promise("§5 run_completed", need="batch")
async def check_nothing_follows_the_end_in_a_batch(stage: Stage) -> None:
    """An end in the middle of a batch is the end: what comes behind it is refused."""
    world = await stage.open()
    run_id = await begin(world)

    result = await world.storage.events.create_batch(
        run_id, [created("step_a"), e.RunCompleted(output=b"9"), created("step_b"), e.RunFailed()]
    )

    ensure_equal([item.slot for item in result.items], [3, 4, None, None], "slots")
    ensure_equal((await types_in(world, run_id))[-1], "run_completed", "the last event")


@promise("§4.4", need="batch")
async def check_batches_at_once_do_not_mix(stage: Stage) -> None:
    """Batches of many writers at once: the events of each stand side by side."""
    world = await stage.open()
    run_id = await begin(world)

    results = await asyncio.gather(
        *(
            world.storage.events.create_batch(
                run_id, [created(f"step_{n}"), started(f"step_{n}"), completed(f"step_{n}")]
            )
            for n in range(10)
        )
    )

    for result in results:
        first = present(result.items[0].slot, "the first slot")
        ensure_equal([item.slot for item in result.items], [first, first + 1, first + 2], "slots of a batch")
    ensure_equal(len(await log_of(world, run_id)), 32, "events")


@promise("§4.2, event ceiling", need="batch")
async def check_a_batch_stops_at_the_ceiling(stage: Stage) -> None:
    """The events of a batch that no longer fit are refused one by one, and the outcome of what runs still fits."""
    world = await stage.open(max_events=5)
    run_id = await begin(world, created("step_a"), started("step_a"))

    result = await world.storage.events.create_batch(
        run_id, [created("step_b"), created("step_c"), completed("step_a")]
    )

    ensure_equal([item.slot for item in result.items], [5, None, 6], "slots")


@promise("§4.4", need="batch")
async def check_a_batch_may_hold_waits(stage: Stage) -> None:
    """Waits are begun and ended in a batch as they are one by one."""
    world = await stage.open()
    run_id = await begin(world)

    result = await world.storage.events.create_batch(
        run_id, [sleep("wait_a", stage.clock.now()), woken("wait_a"), woken("wait_a")]
    )

    ensure_equal([item.slot for item in result.items], [3, 4, None], "slots")
