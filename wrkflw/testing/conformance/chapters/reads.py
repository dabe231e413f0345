"""Reads: what is looked for is found, and payloads are left out when nobody asks for them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from wrkflw.testing.conformance.acts import (
    RUN_STARTED,
    WORKFLOW,
    begin,
    completed,
    create,
    created,
    creation,
    failed,
    hook,
    lazily_started,
    received,
    record,
    retrying,
    signal,
    signal_wait,
    sleep,
    started,
    suspending,
)
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import all_refused, ensure, ensure_equal, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.entities import Detail
from wrkflw.world.errors import HookNotFoundError, WorkflowRunNotFoundError
from wrkflw.world.storage import RunFence, RunFilter


async def found(world: World, where: RunFilter) -> list[str]:
    return [run.run_id for run in (await world.storage.runs.list(where)).data]


async def look_through(world: World, run_id: str) -> None:
    """Claim a run, and let it go with everything seen: what it stands at now, it waits for."""
    run = await world.storage.runs.claim(run_id, owner=world.owner)
    await world.storage.runs.release(run_id, RunFence(run.epoch), seen_slot=run.last_slot, wake_at=None)


@promise("§8 resolve_data")
async def check_a_run_without_payloads(stage: Stage) -> None:
    """``none`` leaves out input, output and error of a run; status, error code and attributes stay."""
    world = await stage.open()
    done = await begin(world, e.RunCompleted(output=b"9"))
    broken = await begin(world, e.RunFailed(error=b"no", error_code="USER_ERROR"))

    for run_id, status, code in ((done, "completed", None), (broken, "failed", "USER_ERROR")):
        run = await world.storage.runs.get(run_id, resolve_data="none")
        ensure_equal((run.input, run.output, run.error), (None, None, None), "payloads")
        ensure_equal((run.status, run.error_code, run.workflow_name), (status, code, WORKFLOW), "the rest")
    listed = (await world.storage.runs.list(resolve_data="all")).data
    ensure_equal(
        {(run.input, run.output, run.error) for run in listed}, {(b"1", b"9", None), (b"1", None, b"no")}, "all"
    )


@promise("§8 resolve_data")
async def check_a_step_without_payloads(stage: Stage) -> None:
    """``none`` leaves out input, output and error of a step; key, name, status and times stay."""
    world = await stage.open()
    run_id = await begin(
        world, lazily_started("step_a"), completed("step_a"), lazily_started("step_b"), failed("step_b")
    )

    for step_id, status in (("step_a", "completed"), ("step_b", "failed")):
        step = await world.storage.steps.get(run_id, step_id, resolve_data="none")
        ensure_equal((step.input, step.output, step.error), (None, None, None), "payloads")
        ensure_equal((step.status, step.step_name, step.key), (status, "charge", step_id), "the rest")
        ensure(step.completed_at is not None, "completed_at stays")
    listed = (await world.storage.steps.list(run_id, resolve_data="all")).data
    ensure_equal({step.output for step in listed}, {b"3", None}, "outputs of the listing with all")


@promise("§8 resolve_data")
async def check_events_without_payloads(stage: Stage) -> None:
    """``none`` leaves out the payload of each event and nothing else of it."""
    world = await stage.open()
    run_id = await begin(
        world, lazily_started("step_a"), hook("hook_a", "t", b"m"), received("hook_a"), signal("paid"),
        completed("step_a"), e.RunFailed(error=b"no", error_code="USER_ERROR"),
    )  # fmt: skip
    full = (await world.storage.events.list(run_id)).data

    bare = (await world.storage.events.list(run_id, resolve_data="none")).data

    for with_payload, without in zip(full, bare, strict=True):
        field = with_payload.event.payload
        wanted = with_payload.event if field is None else with_payload.event.model_copy(update={field: None})
        ensure_equal((without.slot, without.event), (with_payload.slot, wanted), "the event without its payload")
        one = await world.storage.events.get(run_id, without.event_id, resolve_data="none")
        ensure_equal(one, without, "the event, read alone")


@promise("§8 runs.get_many")
async def check_many_runs_at_once(stage: Stage) -> None:
    """``get_many`` keeps the order it was asked in, repeats what is asked twice, and gives None for what is missing."""
    world = await stage.open()
    one, two = await create(world), await create(world)

    runs = await world.storage.runs.get_many([two, "missing", one, two])

    ensure_equal([run and run.run_id for run in runs], [two, None, one, two], "the runs")
    ensure_equal(list(await world.storage.runs.get_many([])), [], "the runs of no ids")


@promise("§8 runs.list")
async def check_runs_are_found_by_status(stage: Stage) -> None:
    """One status or many; an empty list of statuses matches nothing."""
    world = await stage.open()
    pending, running = await create(world), await begin(world)
    completed_run, failed_run = await begin(world, e.RunCompleted()), await begin(world, e.RunFailed())

    ensure_equal(await found(world, RunFilter(statuses=["pending"])), [pending], "the pending run")
    ensure_equal(await found(world, RunFilter(statuses=["running", "failed"])), [failed_run, running], "two statuses")
    ensure_equal(await found(world, RunFilter(statuses=["completed"])), [completed_run], "the completed run")
    ensure_equal(await found(world, RunFilter(statuses=["cancelled"])), [], "no cancelled run")
    ensure_equal(await found(world, RunFilter(statuses=[])), [], "no status at all")


@promise("§8 runs.list")
async def check_runs_are_found_by_workflow_and_time(stage: Stage) -> None:
    """By the workflow's name to the letter, and by when they were created; conditions hold together."""
    world = await stage.open()
    early, refund = await create(world), await create(world, creation("refund"))
    await create(world, creation("Greet"))
    stage.turn(hours=1)
    middle = stage.clock.now()
    late = await create(world)

    ensure_equal(await found(world, RunFilter(workflow_name=WORKFLOW)), [late, early], "runs of the workflow")
    ensure_equal(await found(world, RunFilter(since=middle)), [late], "runs since the hour")
    before = middle - timedelta(microseconds=1)
    ensure_equal(await found(world, RunFilter(workflow_name="refund", until=before)), [refund], "refunds before it")
    ensure_equal(await found(world, RunFilter(workflow_name="gr%")), [], "runs of a pattern")


@promise("§3 detail")
async def check_where_an_open_run_stands(stage: Stage) -> None:
    """``detail`` follows from the rows: paused, suspended, waiting, sleeping or nothing, the first that fits."""
    world = await stage.open()
    later = stage.clock.now() + timedelta(hours=1)
    suspended = (lazily_started("step_a"), suspending("hook_a", "step_a"), e.StepRetrying(correlation_id="step_a"))
    stands: dict[str, tuple[tuple[e.NewEvent, ...], Detail]] = {
        "sleeping": ((sleep("wait_a", later),), "sleeping"),
        "retrying": ((lazily_started("step_a"), retrying("step_a", later)), "sleeping"),
        "waiting for a signal": ((sleep("wait_a", later), signal_wait("wait_b", "paid")), "waiting"),
        "waiting at a hook": ((hook("hook_b", "token"), sleep("wait_a", later)), "waiting"),
        "suspended": ((*suspended, sleep("wait_a", later)), "suspended"),
        "paused": ((*suspended[:2], e.RunPaused()), "paused"),
    }
    for name, (events, detail) in stands.items():
        run_id = await begin(world, *events)
        if detail != "paused":
            await look_through(world, run_id)

        run = await world.storage.runs.get(run_id)
        ensure_equal((run.detail, run.status), (detail, "running"), f"detail and status of a run that is {name}")
        ensure_equal(await found(world, RunFilter(detail=detail)), [run_id], f"runs found as {detail}")
        await record(world, run_id, e.RunCancelled())
        ensure_equal((await world.storage.runs.get(run_id)).detail, None, "detail of an ended run")


@promise("§3 detail")
async def check_a_run_at_work_stands_at_nothing(stage: Stage) -> None:
    """While a step runs, a run has no detail, whatever else it waits for."""
    world = await stage.open()
    run_id = await begin(world, sleep("wait_a", stage.clock.now() + timedelta(hours=1)), lazily_started("step_a"))

    ensure_equal((await world.storage.runs.get(run_id)).detail, None, "detail")
    ensure_equal(await found(world, RunFilter(detail="sleeping")), [], "runs found as sleeping")


@promise("§7")
async def check_what_is_not_there_is_404(stage: Stage) -> None:
    """Unknown runs, steps, events and hooks are 404, each with its own error."""
    world = await stage.open()
    run_id, storage = await begin(world), world.storage

    await all_refused(
        404, WorkflowRunNotFoundError,
        storage.runs.get("missing"), storage.runs.locate("missing"), storage.events.list("missing"),
        storage.events.get("missing", e.event_id(1)), storage.steps.get("missing", "step_a"),
        storage.steps.list("missing"), storage.hooks.list("missing"),
        storage.events.list_by_correlation_id("missing", "step_a"),
    )  # fmt: skip
    await refusal(storage.steps.get(run_id, "step_a"), 404)
    await refusal(storage.hooks.get("hook_a", run_id=run_id), 404, HookNotFoundError)
    await refusal(storage.hooks.get_by_token("t"), 404, HookNotFoundError)
    ensure_equal((await storage.events.list_by_correlation_id(run_id, "step_a")).data, [], "events about nothing")


@promise("§4.1")
async def check_the_answer_to_a_write_tells_what_became_of_it(stage: Stage) -> None:
    """A write gives the run as it is now, and the step, hook or wait it is about."""
    world = await stage.open()
    run_id = await create(world)

    run = (await record(world, run_id, RUN_STARTED)).run
    step = (await record(world, run_id, created("step_a"), started("step_a"))).step
    hook_row = (await record(world, run_id, hook("hook_a", "t"))).hook
    wait = (await record(world, run_id, sleep("wait_a", stage.clock.now()))).wait

    ensure_equal((run.run_id, run.status, run.last_slot), (run_id, "running", 2), "the run")
    ensure(step is not None and (step.status, step.attempt) == ("running", 1), f"the step: {step}")
    ensure(step is not None and step.started_at == stage.clock.now(), f"the start of the step: {step}")
    ensure(hook_row is not None and hook_row.token == "t", f"the hook: {hook_row}")
    ensure(wait is not None and (wait.status, wait.resume_at) == ("waiting", stage.clock.now()), f"the wait: {wait}")


@promise("§8 runs.wait_for_terminal")
async def check_the_end_of_a_run_can_be_waited_for(stage: Stage) -> None:
    """An ended run is given at once, one that ends when it does; a missing one is 404."""
    world = await stage.open()
    runs, hour = world.storage.runs, timedelta(hours=1)
    done, run_id = await begin(world, e.RunCompleted()), await begin(world)

    ensure_equal((await runs.wait_for_terminal(done, timeout=hour)).status, "completed", "the run that has ended")
    waiting = asyncio.ensure_future(runs.wait_for_terminal(run_id, timeout=hour))
    await stage.settle()
    ensure(not waiting.done(), "nobody is told of an end before there is one")
    await record(world, run_id, e.RunCancelled())
    ensure_equal((await waiting).status, "cancelled", "the run that ended meanwhile")
    await refusal(runs.wait_for_terminal("missing", timeout=hour), 404, WorkflowRunNotFoundError)


@promise("§8 runs.wait_for_terminal")
async def check_waiting_for_an_end_has_an_end(stage: Stage) -> None:
    """After the timeout, by the store's clock, the run is given as it stands; that is no error."""
    world = await stage.open()
    run_id = await begin(world)
    waiting = asyncio.ensure_future(world.storage.runs.wait_for_terminal(run_id, timeout=timedelta(hours=1)))
    await stage.settle()

    stage.turn(hours=1)

    ensure_equal((await waiting).status, "running", "the run after the timeout")


@promise("§8 runs.list")
async def check_runs_are_found_by_at_most_eight_attributes(stage: Stage) -> None:
    """A filter of more than eight pairs is 400."""
    world = await stage.open()

    where = RunFilter(attributes={f"key_{number}": "v" for number in range(9)})

    await refusal(world.storage.runs.list(where), 400)
