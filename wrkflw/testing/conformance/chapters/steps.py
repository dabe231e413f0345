"""Steps: attempts are counted, retries keep their time, and the first outcome stays."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from wrkflw.testing.conformance.acts import (
    begin,
    completed,
    created,
    failed,
    lazily_started,
    log_of,
    no_trace,
    received,
    record,
    retrying,
    started,
    suspending,
)
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure_equal, present, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, RunExpiredError, TooEarlyError
from wrkflw.world.storage import EventResult


@promise("§5 step_created")
async def check_a_created_step_is_pending(stage: Stage) -> None:
    """A step is created pending, at attempt 0, with its key, name and input, and is created once."""
    world = await stage.open()
    run_id = await begin(world, created("step_a"))

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, created("step_a")), 409, EntityConflictError)

    step = await world.storage.steps.get(run_id, "step_a")
    ensure_equal((step.status, step.attempt, step.input), ("pending", 0, b"2"), "the step")
    ensure_equal((step.key, step.step_name, step.kind), ("step_a", "charge", "step"), "what it is called")
    ensure_equal((step.started_at, step.completed_at, step.output, step.error), (None,) * 4, "what is to come")


@promise("§5 step_started")
async def check_every_start_counts(stage: Stage) -> None:
    """Each start raises the attempt; ``started_at`` is that of the first."""
    world = await stage.open()
    run_id = await begin(world, created("step_a"), started("step_a"))
    first = stage.clock.now()
    stage.turn(minutes=1)

    await record(world, run_id, retrying("step_a"), started("step_a"))
    result = await record(world, run_id, started("step_a"))

    step = present(result.step, "the step in the answer")
    ensure_equal((step.status, step.attempt, step.started_at), ("running", 3, first), "the step")


@promise("§5 step_started, lazy")
async def check_a_lazy_start_creates_the_step(stage: Stage) -> None:
    """A start with a name creates the step in the slot before; the input stands there alone."""
    world = await stage.open()
    run_id = await begin(world)

    result = await record(world, run_id, lazily_started("step_a"))

    ensure_equal(result.step_created, True, "step_created of the answer")
    creating, starting = (event.event for event in (await log_of(world, run_id))[2:])
    ensure_equal((creating.event_type, getattr(creating, "input", None)), ("step_created", b"2"), "the creation")
    ensure_equal((starting.event_type, getattr(starting, "input", None)), ("step_started", None), "the start")


@promise("§5 step_started, lazy")
async def check_of_lazy_starts_at_once_one_wins(stage: Stage) -> None:
    """Exactly one starter of a step wins; the others are 409."""
    world = await stage.open()
    run_id = await begin(world)

    outcomes = await asyncio.gather(
        *(world.storage.events.create(run_id, lazily_started("step_a")) for _ in range(5)), return_exceptions=True
    )

    ensure_equal(len([outcome for outcome in outcomes if isinstance(outcome, EventResult)]), 1, "starts")
    ensure_equal(len([outcome for outcome in outcomes if isinstance(outcome, EntityConflictError)]), 4, "refusals")
    ensure_equal((await world.storage.steps.get(run_id, "step_a")).attempt, 1, "the attempt")


@promise("§5 step_completed, step_failed")
async def check_an_outcome_is_kept_with_the_step(stage: Stage) -> None:
    """A completed step carries its output, a failed one its error, and each its times."""
    world = await stage.open()
    run_id = await begin(world, lazily_started("step_a"), lazily_started("step_b"))
    stage.turn(seconds=1)

    await record(world, run_id, completed("step_a"), failed("step_b"))

    good = await world.storage.steps.get(run_id, "step_a")
    bad = await world.storage.steps.get(run_id, "step_b")
    ensure_equal((good.status, good.output, good.error), ("completed", b"3", None), "the completed step")
    ensure_equal((bad.status, bad.output, bad.error), ("failed", None, b"no"), "the failed step")
    ensure_equal({good.completed_at, bad.completed_at}, {stage.clock.now()}, "completed_at")


@promise("§5 step_completed")
async def check_the_first_outcome_stays(stage: Stage) -> None:
    """After its outcome a step takes no other event: 409, and the outcome stays."""
    world = await stage.open()
    run_id = await begin(world, lazily_started("step_a"), completed("step_a"))

    async with no_trace(world, run_id):
        for event in (completed("step_a", b"other"), failed("step_a"), retrying("step_a"), started("step_a")):
            await refusal(world.storage.events.create(run_id, event), 409, EntityConflictError)

    ensure_equal((await world.storage.steps.get(run_id, "step_a")).output, b"3", "the output")


@promise("§1.4")
async def check_of_two_outcomes_at_once_one_stays(stage: Stage) -> None:
    """Two outcomes at once: one is recorded, the other refused."""
    world = await stage.open()
    run_id = await begin(world, lazily_started("step_a"))

    await asyncio.gather(
        *(world.storage.events.create(run_id, event) for event in (completed("step_a"), failed("step_a"))),
        return_exceptions=True,
    )

    outcomes = [event for event in await log_of(world, run_id) if event.event_type in ("step_completed", "step_failed")]
    ensure_equal(len(outcomes), 1, "outcomes in the log")


@promise("§5 step_completed")
async def check_a_step_may_complete_without_a_start(stage: Stage) -> None:
    """Children and cached results complete a step that never started."""
    world = await stage.open()
    child = e.StepCreated(
        correlation_id="step_a", step_name="charge", key="charge", kind="child", child_run_id="wrun_child"
    )
    run_id = await begin(world, child, completed("step_a"))

    step = await world.storage.steps.get(run_id, "step_a")

    ensure_equal((step.status, step.attempt, step.started_at, step.output), ("completed", 0, None, b"3"), "the step")
    ensure_equal((step.kind, step.child_run_id), ("child", "wrun_child"), "whose result it is")


@promise("§5 step_retrying")
async def check_a_retry_keeps_its_time(stage: Stage) -> None:
    """A step that is put off is pending with error and ``retry_after``; it starts then and not a moment earlier."""
    world = await stage.open()
    due = stage.clock.now() + timedelta(seconds=10)
    run_id = await begin(world, lazily_started("step_a"), retrying("step_a", due))

    step = await world.storage.steps.get(run_id, "step_a")
    ensure_equal((step.status, step.error, step.retry_after, step.attempt), ("pending", b"again", due, 1), "the step")
    stage.clock.turn(timedelta(seconds=10) - timedelta(microseconds=1))
    async with no_trace(world, run_id):
        early = await refusal(world.storage.events.create(run_id, started("step_a")), 425, TooEarlyError)
        ensure_equal(early.retry_after, due, "retry_after of the refusal")
    stage.clock.turn(timedelta(microseconds=1))
    step = present((await record(world, run_id, started("step_a"))).step, "the step in the answer")
    ensure_equal((step.status, step.attempt, step.retry_after), ("running", 2, None), "the step that started again")


@promise("§5 step_started, suspended")
async def check_a_suspended_step_waits_for_its_answer(stage: Stage) -> None:
    """A step that suspended cannot start before its hook has a payload; then it can."""
    world = await stage.open()
    run_id = await begin(world, lazily_started("step_a"), suspending("hook_a", "step_a"))
    await record(world, run_id, e.StepRetrying(correlation_id="step_a", reason="suspended", hook_id="hook_a"))

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, started("step_a")), 409, EntityConflictError)
    await record(world, run_id, received("hook_a"))
    result = await record(world, run_id, started("step_a"))

    ensure_equal(present(result.step, "the step in the answer").status, "running", "the status")


@promise("§13.3")
async def check_a_running_step_may_tell_its_outcome_after_the_end(stage: Stage) -> None:
    """After the end of the run a running step records its outcome; a pending one may not, and nothing starts."""
    world = await stage.open()
    run_id = await begin(world, lazily_started("step_a"), created("step_b"), e.RunCancelled())

    await record(world, run_id, completed("step_a"))
    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, completed("step_b")), 410, RunExpiredError)
        await refusal(world.storage.events.create(run_id, started("step_b")), 410, RunExpiredError)
        await refusal(world.storage.events.create(run_id, created("step_c")), 409, EntityConflictError)

    ensure_equal((await world.storage.steps.get(run_id, "step_a")).output, b"3", "the output")
    ensure_equal((await world.storage.runs.get(run_id)).status, "cancelled", "the run")


@promise("§2")
async def check_step_ids_belong_to_their_run(stage: Stage) -> None:
    """The same step id in two runs is two steps."""
    world = await stage.open()
    one, other = await begin(world, lazily_started("step_a")), await begin(world, lazily_started("step_a"))

    await record(world, one, completed("step_a"))

    ensure_equal((await world.storage.steps.get(one, "step_a")).status, "completed", "the step of the one")
    ensure_equal((await world.storage.steps.get(other, "step_a")).status, "running", "the step of the other")


@promise("§5, meta")
async def check_meta_is_kept_and_not_read(stage: Stage) -> None:
    """The small JSON of a step event comes back as it was."""
    world = await stage.open()
    meta: e.Meta = {"arm": "left", "n": [1, 2.5, None, {"deep": True}], "text": "ä\u2028"}
    run_id = await begin(world, lazily_started("step_a"))

    await record(world, run_id, e.StepCompleted(correlation_id="step_a", meta=meta))

    ensure_equal(getattr((await log_of(world, run_id))[-1].event, "meta", None), meta, "meta")


@promise("§6")
async def check_an_absent_step_is_404(stage: Stage) -> None:
    """Starts and outcomes of a step that was never created are 404 and create nothing."""
    world = await stage.open()
    run_id = await begin(world)

    async with no_trace(world, run_id):
        for event in (started("step_a"), completed("step_a"), failed("step_a"), retrying("step_a")):
            await refusal(world.storage.events.create(run_id, event), 404)


@promise("§4.3 step lease", need="lasting")
async def check_a_step_that_somebody_alive_executes_is_not_started_again(stage: Stage) -> None:
    """A bare start of a running step is 409 while another, live owner executes it; when that is gone, it starts."""
    one, other = await stage.open(), await stage.open()
    run_id = await begin(one, created("step_a"))
    await record(other, run_id, e.StepStarted(correlation_id="step_a", owner=other.owner))

    async with no_trace(one, run_id):
        for owner in (None, one.owner):
            start = e.StepStarted(correlation_id="step_a", owner=owner)
            await refusal(one.storage.events.create(run_id, start), 409, EntityConflictError)
    await stage.close(other)

    step = present((await record(one, run_id, started("step_a"))).step, "the step in the answer")
    ensure_equal((step.status, step.attempt), ("running", 2), "the step that was taken over")
