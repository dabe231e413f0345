"""Writing by name: runs, steps and hooks, as sugar over ``events.create`` with the same guards and errors."""

from __future__ import annotations

from typing import Any, cast

from wrkflw.testing.conformance.acts import WORKFLOW, begin, create, no_trace, types_in
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import all_refused, ensure_equal, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import events as e
from wrkflw.world.errors import (
    EntityConflictError,
    HookConflictError,
    HookNotFoundError,
    RunPausedError,
    WorkflowRunNotFoundError,
    WorldError,
)
from wrkflw.world.retention import RETENTION


@promise("§15 runs")
async def check_a_run_by_name(stage: Stage) -> None:
    """A run is created, started and completed by name; each call is one event and gives the run."""
    world = await stage.open()
    runs = world.storage.runs

    run = await runs.create({"workflow_name": WORKFLOW, "input": b"1", "attributes": {"team": "a"}})
    running = await runs.update(run.run_id, {"status": "running"})
    labelled = await runs.update(run.run_id, {"attributes": {"team": None, "city": "Ulm"}})
    done = await runs.update(run.run_id, {"status": "completed", "output": b"9"})

    ensure_equal((run.status, running.status, done.status), ("pending", "running", "completed"), "statuses")
    ensure_equal((done.output, labelled.attributes), (b"9", {"city": "Ulm"}), "output and attributes")
    log = ["run_created", "run_started", "attr_set", "run_completed"]
    ensure_equal(await types_in(world, run.run_id), log, "the log")


@promise("§15 runs")
async def check_a_run_by_name_has_its_relatives(stage: Stage) -> None:
    """What a creation may say besides, its name says too: whose child it is, and of which run it is a copy."""
    world = await stage.open()
    runs = world.storage.runs

    run = await runs.create({
        "workflow_name": WORKFLOW, "parent_run_id": "order-1", "replayed_from": "order-0",
        "attributes": {RETENTION: "60"}, "allow_reserved_attributes": True,
    })  # fmt: skip

    ensure_equal((run.parent_run_id, run.replayed_from), ("order-1", "order-0"), "relatives")
    ensure_equal(run.attributes, {RETENTION: "60"}, "attributes")


@promise("§15 runs")
async def check_a_run_is_paused_and_cancelled_by_name(stage: Stage) -> None:
    """``pause``, ``resume`` and ``cancel`` are events with the guards of events."""
    world = await stage.open()
    runs, run_id = world.storage.runs, await begin(world)

    paused = await runs.pause(run_id, "lunch")
    await refusal(world.storage.steps.create(run_id, {"step_name": "charge"}), 409, RunPausedError)
    resumed = await runs.resume(run_id)
    cancelled = await runs.cancel(run_id, "enough")
    again = await runs.cancel(run_id, "really")

    ensure_equal((paused.paused_at, resumed.paused_at), (stage.clock.now(), None), "paused_at")
    ensure_equal((cancelled.status, again.cancel_reason), ("cancelled", "enough"), "the cancelled run")
    await refusal(runs.pause(run_id), 409, EntityConflictError)


@promise("§15 runs")
async def check_no_other_status_is_accepted(stage: Stage) -> None:
    """Words that are no stored status, and fields that belong to another, are 400 and change nothing."""
    world = await stage.open()
    run_id = await begin(world)
    steps, runs = world.storage.steps, world.storage.runs
    step = await steps.create(run_id, {"step_name": "charge"})
    updates: list[dict[str, object]] = [
        {"status": "sleeping"}, {"status": "waiting"}, {"status": "pending"}, {"status": ""}, {}, {"output": b"9"},
        {"status": "completed", "error": b"no"}, {"status": "running", "owner": "me"}, {"workflow_name": "other"},
    ]  # fmt: skip

    async with no_trace(world, run_id):
        for update in updates:
            await refusal(runs.update(run_id, cast("Any", update)), 400, WorldError)
        for status in ("paused", "sleeping", "cancelled"):
            await refusal(steps.update(run_id, step.step_id, cast("Any", {"status": status})), 400, WorldError)


@promise("§15 steps")
async def check_a_step_by_name(stage: Stage) -> None:
    """A step is created, started, put off, started again and completed by name."""
    world = await stage.open()
    run_id, steps = await begin(world), world.storage.steps

    step = await steps.create(run_id, {"step_name": "charge", "input": b"2"})
    await steps.update(run_id, step.step_id, {"status": "running"})
    put_off = await steps.update(run_id, step.step_id, {"status": "pending", "error": b"again"})
    running = await steps.update(run_id, step.step_id, {"status": "running"})
    done = await steps.update(run_id, step.step_id, {"status": "completed", "output": b"3"})

    ensure_equal((step.status, put_off.status, put_off.error), ("pending", "pending", b"again"), "the step put off")
    ensure_equal((running.attempt, done.status, done.output), (2, "completed", b"3"), "the step in the end")
    await refusal(steps.update(run_id, step.step_id, {"status": "running"}), 409, EntityConflictError)
    await refusal(steps.create(run_id, {"step_name": "charge"}), 409, EntityConflictError)
    await refusal(steps.update(run_id, "step_x", {"status": "running"}), 404)


@promise("§15 hooks")
async def check_a_hook_by_name(stage: Stage) -> None:
    """A hook is created and disposed of by name; a token that is held is raised, and a random one is not guessed."""
    world = await stage.open()
    run_id, other, hooks = await begin(world), await begin(world), world.storage.hooks

    hook = await hooks.create(run_id, {"token": "t", "metadata": b"m"})
    conflict = await refusal(hooks.create(other, {"token": "t"}), 409, HookConflictError)
    random = [await hooks.create(run_id) for _ in range(2)]
    await hooks.dispose(hook.hook_id, run_id=run_id)

    ensure_equal(conflict.conflicting_run_id, run_id, "the holder")
    ensure_equal((await types_in(world, other))[-1], "hook_conflict", "the log of the other")
    ensure_equal(len({one.token for one in random}), 2, "random tokens")
    await refusal(hooks.get_by_token("t"), 404, HookNotFoundError)
    await refusal(hooks.dispose(hook.hook_id, run_id=run_id), 404, HookNotFoundError)


@promise("§15")
async def check_by_name_nothing_is_made_of_nothing(stage: Stage) -> None:
    """For a run that is missing every call is 404, and malformed data 400."""
    world = await stage.open()
    runs, steps, hooks = world.storage.runs, world.storage.steps, world.storage.hooks
    await all_refused(
        404, WorkflowRunNotFoundError,
        runs.update("missing", {"status": "running"}), runs.cancel("missing"), runs.pause("missing"),
        runs.resume("missing"), steps.create("missing", {"step_name": "charge"}), hooks.create("missing"),
    )  # fmt: skip
    await all_refused(
        400, WorldError,
        runs.create({"workflow_name": ""}), runs.create({"workflow_name": "a b"}),
        runs.create({"workflow_name": WORKFLOW, "run_id": "a/b"}), runs.create(cast("Any", {"input": b"1"})),
    )  # fmt: skip

    ensure_equal((await world.storage.runs.list()).data, [], "runs")


@promise("§8 runs.cancel_many")
async def check_many_runs_are_cancelled(stage: Stage) -> None:
    """``cancel_many`` tells what became of each; none, or one named twice, is 400."""
    world = await stage.open()
    runs = world.storage.runs
    one, done, before = await create(world), await begin(world, e.RunCompleted()), await begin(world, e.RunCancelled())

    outcomes = await runs.cancel_many([one, done, before, "missing"], "enough")

    told = {one: "cancelled", done: "not_cancellable", before: "already_cancelled", "missing": "not_found"}
    ensure_equal(dict(outcomes), told, "what became of them")
    ensure_equal((await runs.get(one)).cancel_reason, "enough", "the reason")
    await all_refused(400, WorldError, runs.cancel_many([]), runs.cancel_many([one, one]),
                      runs.cancel_many([f"order-{number}" for number in range(501)]))  # fmt: skip
