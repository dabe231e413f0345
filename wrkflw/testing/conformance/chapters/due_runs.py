"""Runs that have something to do: taken in time, in order, and by one."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from wrkflw.testing.conformance.acts import WORKFLOW, begin, create, creation, record, signal
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure_equal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import events as e
from wrkflw.world.storage import RunFence

from .ownership import claim, due, release


@promise("§13.2")
async def check_due_runs_are_taken_longest_due_first(stage: Stage) -> None:
    """Runs that are due are claimed in the order in which they fell due, each once, and no more than asked for."""
    world = await stage.open()
    create_event, now = world.storage.events.create, stage.clock.now()
    late = (await create_event(None, creation(), wake_at=now + timedelta(hours=2))).run.run_id
    soon = (await create_event(None, creation(), wake_at=now + timedelta(hours=1))).run.run_id
    at_once = await create(world)

    ensure_equal(await due(world), [at_once], "what is due now")
    ensure_equal(await world.storage.runs.next_due([WORKFLOW]), now + timedelta(hours=1), "when the next is due")
    stage.turn(hours=3)
    ensure_equal([await due(world, limit=1) for _ in range(3)], [[soon], [late], []], "what is due later, one by one")


@promise("§13.2")
async def check_a_run_is_not_taken_before_its_time(stage: Stage) -> None:
    """A run that is to wake at a time is due then: not a moment before, by the store's clock."""
    world = await stage.open()
    run = await claim(world, await begin(world))
    wake_at = stage.clock.now() + timedelta(hours=1)
    await world.storage.runs.release(run.run_id, RunFence(run.epoch), seen_slot=2, wake_at=wake_at)

    stage.clock.turn(timedelta(hours=1) - timedelta(microseconds=1))
    ensure_equal(await due(world), [], "what is due a microsecond too early")
    stage.clock.turn(timedelta(microseconds=1))
    ensure_equal(await due(world), [run.run_id], "what is due in time")


@promise("§13.2")
async def check_what_comes_from_outside_makes_a_parked_run_due(stage: Stage) -> None:
    """A run that merely waits is not due; an event from outside makes it due at once."""
    world = await stage.open()
    run = await claim(world, await begin(world))
    await release(world, run)
    ensure_equal(await due(world), [], "what is due while the run waits")

    await record(world, run.run_id, signal("paid"))

    ensure_equal(await due(world), [run.run_id], "what is due after the signal")


@promise("§13.2")
async def check_paused_runs_are_not_taken(stage: Stage) -> None:
    """A paused run is never due; resuming it makes it due."""
    world = await stage.open()
    run_id = await begin(world, signal("paid"), e.RunPaused())
    ensure_equal(await due(world), [], "what is due while the run is paused")

    await record(world, run_id, e.RunResumed())

    ensure_equal(await due(world), [run_id], "what is due after it was resumed")


@promise("§13.2")
async def check_runs_of_other_workflows_are_left_alone(stage: Stage) -> None:
    """Only runs of the named workflows are taken."""
    world = await stage.open()
    one, other = await create(world), await create(world, creation("refund"))

    ensure_equal(await due(world, "refund", "unknown"), [other], "what is taken of 'refund'")
    ensure_equal(await due(world), [one], "what is taken of the other")


@promise("§13.2")
async def check_no_run_is_taken_twice(stage: Stage) -> None:
    """Takers at once share what is due: every run is taken by one."""
    world = await stage.open()
    runs = {await create(world) for _ in range(12)}

    shares = await asyncio.gather(*(due(world, limit=4) for _ in range(5)))

    taken = [run_id for share in shares for run_id in share]
    ensure_equal((len(taken), set(taken)), (12, runs), "what was taken")
