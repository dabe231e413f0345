"""Runs: how one begins, how it ends, and that it ends once."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

from wrkflw.ids import new_ulid, system_randomness
from wrkflw.testing.conformance.acts import (
    RUN_STARTED,
    WORKFLOW,
    begin,
    create,
    creation,
    hook,
    no_trace,
    record,
    types_in,
)
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure, ensure_equal, present, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, HookNotFoundError, KeyTakenError, WorkflowRunNotFoundError

_MINTED = re.compile(r"wrun_[0-7][0-9A-HJKMNP-TV-Z]{25}")


@promise("§5")
async def check_a_created_run_is_pending(stage: Stage) -> None:
    """``run_created`` makes a run that is pending, at slot 1, with its input and nothing of an end."""
    world = await stage.open()

    run_id = await create(world, creation(definition_hash="h1", execution_context={"trace": "t"}))

    run = await world.storage.runs.get(run_id)
    ensure_equal((run.status, run.last_slot, run.input, run.definition_hash), ("pending", 1, b"1", "h1"), "the run")
    ensure_equal((run.output, run.error, run.started_at, run.completed_at), (None, None, None, None), "its end")
    ensure_equal(await types_in(world, run_id), ["run_created"], "its log")


@promise("§2")
async def check_the_world_mints_an_id_when_none_is_given(stage: Stage) -> None:
    """Without a run id the World makes one: ``wrun_`` and a ULID, another for each run."""
    world = await stage.open()

    ids = [await create(world) for _ in range(3)]

    ensure_equal(len(set(ids)), 3, "different ids")
    ensure(all(_MINTED.fullmatch(run_id) for run_id in ids), f"minted ids are wrun_ and a ULID, not {ids[0]!r}")


@promise("§2")
async def check_an_id_of_the_callers_own_is_kept(stage: Stage) -> None:
    """A run id that the caller gives is the run's id."""
    world = await stage.open()
    mine = [f"wrun_{new_ulid(stage.clock.now(), system_randomness())}", "order-17_B"]

    for run_id in mine:
        result = await world.storage.events.create(run_id, creation())

        ensure_equal(result.run.run_id, run_id, "the id")
        ensure_equal((await world.storage.runs.get(run_id)).run_id, run_id, "the id, read")


@promise("§6 run_created")
async def check_an_id_is_used_once(stage: Stage) -> None:
    """The second creation of a run id is 409, and the first run stays as it was."""
    world = await stage.open()
    run_id = await create(world)

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, creation("other")), 409, EntityConflictError)


@promise("§2")
async def check_a_minted_id_is_of_about_now(stage: Stage) -> None:
    """A ULID of the caller's is at most 24 hours old and 5 minutes ahead, else 400 and no run."""
    world, now = await stage.open(), stage.clock.now()

    def made(when: timedelta) -> str:
        return f"wrun_{new_ulid(now + when, system_randomness())}"

    for when in (timedelta(hours=-24), timedelta(minutes=5)):
        await world.storage.events.create(made(when), creation())
    for when in (timedelta(hours=-24, seconds=-1), timedelta(minutes=5, seconds=1)):
        run_id = made(when)
        await refusal(world.storage.events.create(run_id, creation()), 400)
        await refusal(world.storage.runs.get(run_id), 404, WorkflowRunNotFoundError)


@promise("§5 run_started")
async def check_a_run_starts_once(stage: Stage) -> None:
    """Starting again gives the run and no event; ``started_at`` is set once."""
    world = await stage.open()
    run_id = await begin(world)
    first = (await world.storage.runs.get(run_id)).started_at
    stage.turn(minutes=1)

    again = await world.storage.events.create(run_id, RUN_STARTED)

    ensure_equal((again.event, again.run.status, again.run.started_at), (None, "running", first), "the second start")
    ensure_equal(first, stage.clock.now() - timedelta(minutes=1), "started_at")


@promise("§5 run_started with data")
async def check_a_start_with_its_creation_makes_a_lost_run(stage: Stage) -> None:
    """A start that carries the creation creates the run in the slot before, and is itself stored without the data."""
    world = await stage.open()

    await world.storage.events.create("order-1", e.RunStarted(creation=creation()))

    log = (await world.storage.events.list("order-1")).data
    ensure_equal([stored.event for stored in log], [creation(), RUN_STARTED], "the log")
    ensure_equal((await world.storage.runs.get("order-1")).input, b"1", "the input")


@promise("§5 run_started with data")
async def check_a_start_with_a_creation_changes_no_run_that_exists(stage: Stage) -> None:
    """Data that a start carries never changes a run that is there, and a run created by it counts as created."""
    world = await stage.open()
    run_id = await create(world)

    result = await world.storage.events.create(run_id, e.RunStarted(creation=creation("other", input=b"2")))

    ensure_equal((result.run.workflow_name, result.run.status), (WORKFLOW, "running"), "the run")
    ensure_equal((await world.storage.runs.get(run_id)).input, b"1", "its input")
    await refusal(world.storage.events.create(run_id, creation()), 409, EntityConflictError)


@promise("§3")
async def check_each_end_carries_what_belongs_to_it(stage: Stage) -> None:
    """Completed carries output, failed error and code, cancelled the reason; all carry ``completed_at``."""
    world = await stage.open()
    ends: dict[str, e.NewEvent] = {
        "completed": e.RunCompleted(output=b"9"),
        "failed": e.RunFailed(error=b"no", error_code="USER_ERROR"),
        "cancelled": e.RunCancelled(cancel_reason="enough"),
    }
    expected: dict[str, object] = {
        "completed": (b"9", None, None, None),
        "failed": (None, b"no", "USER_ERROR", None),
        "cancelled": (None, None, None, "enough"),
    }
    for status, end in ends.items():
        run_id = await begin(world)
        stage.turn(seconds=1)

        await record(world, run_id, end)

        run = await world.storage.runs.get(run_id)
        ensure_equal((run.status, run.completed_at), (status, stage.clock.now()), "status and time of the end")
        ensure_equal((run.output, run.error, run.error_code, run.cancel_reason), expected[status], f"what is {status}")


@promise("§6 run_cancelled")
async def check_cancelling_again_appends_nothing(stage: Stage) -> None:
    """A second cancel succeeds without an event, and the first reason stays."""
    world = await stage.open()
    run_id = await begin(world, e.RunCancelled(cancel_reason="enough"))

    async with no_trace(world, run_id):
        again = await world.storage.events.create(run_id, e.RunCancelled(cancel_reason="really"))
        ensure_equal((again.event, again.run.cancel_reason), (None, "enough"), "the second cancel")


@promise("§1.4")
async def check_of_two_ends_one_wins(stage: Stage) -> None:
    """A completion and a cancel at once: one of them is in the log, the other is refused."""
    world = await stage.open()
    run_id = await begin(world)
    create_event = world.storage.events.create

    outcomes = await asyncio.gather(
        create_event(run_id, e.RunCompleted(output=b"9")),
        create_event(run_id, e.RunCancelled()),
        create_event(run_id, e.RunFailed()),
        return_exceptions=True,
    )

    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    ends = [name for name in await types_in(world, run_id) if name in e.RUN_ENDS]
    ensure_equal(len(ends), 1, "ends in the log")
    ensure(len(refused) >= 1 and all(isinstance(error, EntityConflictError) for error in refused), f"got {outcomes}")


@promise("§5 run_paused, run_resumed")
async def check_pausing_is_a_flag(stage: Stage) -> None:
    """A pause sets ``paused_at`` and leaves the status; resuming clears it; each again appends nothing."""
    world = await stage.open()
    run_id = await begin(world)
    stage.turn(seconds=5)

    paused = (await record(world, run_id, e.RunPaused(reason="lunch"))).run
    again = await record(world, run_id, e.RunPaused())
    resumed = (await record(world, run_id, e.RunResumed())).run
    resumed_again = await record(world, run_id, e.RunResumed())

    ensure_equal((paused.status, paused.paused_at), ("running", stage.clock.now()), "the paused run")
    ensure_equal((resumed.status, resumed.paused_at), ("running", None), "the resumed run")
    ensure_equal((again.event, resumed_again.event), (None, None), "what is done again")
    ensure_equal((await types_in(world, run_id))[2:], ["run_paused", "run_resumed"], "the log")


@promise("§6, last paragraph")
async def check_once_a_pause_has_committed_nothing_starts(stage: Stage) -> None:
    """Starts and a pause at once: no start stands behind the pause."""
    world = await stage.open()
    run_id = await begin(world)
    events: list[e.NewEvent] = [e.StepStarted(correlation_id=f"step_{n}", step_name="charge") for n in range(20)]
    events.insert(10, e.RunPaused())

    await asyncio.gather(*(world.storage.events.create(run_id, event) for event in events), return_exceptions=True)

    log = await types_in(world, run_id)
    ensure("step_started" not in log[log.index("run_paused") :], f"nothing starts behind the pause: {log}")


@promise("§4.5")
async def check_a_key_gives_the_run_that_has_it(stage: Stage) -> None:
    """``use_existing``: a known key and the same input give the existing run, and no event."""
    world = await stage.open()
    run_id = await create(world, creation(key="order-1"))

    again = await world.storage.events.create(None, creation(key="order-1"), on_conflict="use_existing")

    ensure_equal((again.run.run_id, again.event), (run_id, None), "the second creation")
    found = await world.storage.runs.find(WORKFLOW, "order-1")
    ensure_equal(present(found, "the run of the key").run_id, run_id, "the run found by its key")
    ensure_equal(len((await world.storage.runs.list()).data), 1, "runs")


@promise("§4.5")
async def check_a_key_with_another_input_is_refused(stage: Stage) -> None:
    """The same key with another input is 409 and makes no run; so is any second use under ``fail``."""
    world = await stage.open()
    run_id = await create(world, creation(key="order-1"))
    create_event = world.storage.events.create

    other = creation(key="order-1", input=b"2")
    await refusal(create_event(None, other, on_conflict="use_existing"), 409, EntityConflictError)
    taken = await refusal(create_event(None, creation(key="order-1"), on_conflict="fail"), 409, KeyTakenError)

    ensure_equal(taken.run_id, run_id, "the run that the refusal names")
    ensure_equal(len((await world.storage.runs.list()).data), 1, "runs")


@promise("§4.5")
async def check_a_key_is_known_within_its_workflow(stage: Stage) -> None:
    """The same key of another workflow is another key."""
    world = await stage.open()

    one, other = await create(world, creation(key="order-1")), await create(world, creation("refund", key="order-1"))

    for workflow_name, run_id in ((WORKFLOW, one), ("refund", other)):
        found = await world.storage.runs.find(workflow_name, "order-1")
        ensure_equal(present(found, "the run of the key").run_id, run_id, f"the run of {workflow_name}")
    ensure_equal(await world.storage.runs.find(WORKFLOW, "order-2"), None, "the run of an unknown key")


@promise("§4.5")
async def check_starts_with_one_key_make_one_run(stage: Stage) -> None:
    """Many starts with one key at once: the index decides, all get the same run."""
    world = await stage.open()

    results = await asyncio.gather(
        *(world.storage.events.create(None, creation(key="order-1"), on_conflict="use_existing") for _ in range(10))
    )

    ensure_equal(len({result.run.run_id for result in results}), 1, "different runs")
    ensure_equal(len([result for result in results if result.event is not None]), 1, "creations")
    ensure_equal(len((await world.storage.runs.list()).data), 1, "runs")


@promise("§4.5")
async def check_a_key_moves_on_when_its_run_has_ended(stage: Stage) -> None:
    """``allow_if_finished`` is 409 while the run of the key is open; then the key goes to the new run."""
    world = await stage.open()
    create_event = world.storage.events.create
    first = await create(world, creation(key="order-1"))

    async with no_trace(world, first):
        attempt = create_event(None, creation(key="order-1"), on_conflict="allow_if_finished")
        await refusal(attempt, 409, EntityConflictError)
    await record(world, first, e.RunCompleted())
    second = await create_event(None, creation(key="order-1", input=b"2"), on_conflict="allow_if_finished")

    ensure(second.event is not None and second.run.run_id != first, f"there is a new run: {second.run.run_id}")
    found = present(await world.storage.runs.find(WORKFLOW, "order-1"), "the run of the key")
    ensure_equal(found.run_id, second.run.run_id, "the run of the key")


@promise("§4.5")
async def check_a_key_can_be_taken_from_an_open_run(stage: Stage) -> None:
    """``terminate_existing`` cancels the run of the key and creates another, in one transaction."""
    world = await stage.open()
    first = await create(world, creation(key="order-1"))

    second = await world.storage.events.create(None, creation(key="order-1"), on_conflict="terminate_existing")

    ensure_equal((await world.storage.runs.get(first)).status, "cancelled", "the run that had the key")
    found = present(await world.storage.runs.find(WORKFLOW, "order-1"), "the run of the key")
    ensure_equal((found.run_id, found.status), (second.run.run_id, "pending"), "the run of the key")


@promise("§13.5, runs.delete")
async def check_only_an_ended_run_can_be_deleted(stage: Stage) -> None:
    """Deleting an open run is 409; an ended one is gone with its log, steps and hooks, and others stay."""
    world = await stage.open()
    run_id = await begin(world, e.StepStarted(correlation_id="step_a", step_name="charge"), hook("hook_a", "t"))
    other = await begin(world)
    async with no_trace(world, run_id):
        await refusal(world.storage.runs.delete(run_id), 409, EntityConflictError)
    await record(world, run_id, e.RunCompleted())

    async with no_trace(world, other):
        await world.storage.runs.delete(run_id)

    await refusal(world.storage.runs.get(run_id), 404, WorkflowRunNotFoundError)
    await refusal(world.storage.events.list(run_id), 404, WorkflowRunNotFoundError)
    await refusal(world.storage.steps.get(run_id, "step_a"), 404)
    await refusal(world.storage.hooks.get_by_token("t"), 404, HookNotFoundError)


@promise("§6 run_started")
async def check_what_is_missing_stays_missing(stage: Stage) -> None:
    """An event for a run that does not exist is 404 and creates nothing."""
    world = await stage.open()
    for event in (RUN_STARTED, e.RunCancelled(), e.RunPaused(), hook("hook_a", "t"), e.RunFailed()):
        await refusal(world.storage.events.create("order-1", event), 404, WorkflowRunNotFoundError)

    await refusal(world.storage.runs.get("order-1"), 404, WorkflowRunNotFoundError)
    await refusal(world.storage.hooks.get_by_token("t"), 404, HookNotFoundError)
    ensure_equal((await world.storage.runs.list()).data, [], "runs")
