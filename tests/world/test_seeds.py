"""The programs that the first users of a World wrote, against ours: runs, steps, events and hooks by name."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.clocks import START, ManualClock
from wrkflw.world import events as e
from wrkflw.world.errors import (
    EntityConflictError,
    HookConflictError,
    HookNotFoundError,
    RunPausedError,
    WorkflowRunNotFoundError,
    WorldError,
)
from wrkflw.world.storage import PageRequest, RunFilter
from wrkflw.world.writers import NewRun, NewStep
from wrkflw.worlds import SqliteWorld

from .looks import assert_the_views_are_the_fold, log_of, new_run_id

EMAILS: NewRun = {"workflow_name": "email-sequence", "input": b'{"email": "user@example.com"}'}
SEND: NewStep = {"step_name": "send-email", "input": b'{"to": "user@example.com", "template": "welcome"}'}


# --- a World in Cloudflare, as its README uses it ----------------------------------------------------


async def test_the_basic_example(world: SqliteWorld) -> None:
    run = await world.storage.runs.create(
        {
            "workflow_name": "my-workflow",
            "input": b'{"userId": "123", "action": "process"}',
            "execution_context": {"source": "api"},
        }
    )

    assert run == await world.storage.runs.get(run.run_id)
    assert (run.status, run.input, run.execution_context) == (
        "pending", b'{"userId": "123", "action": "process"}', {"source": "api"},
    )  # fmt: skip


async def test_creating_and_managing_workflow_runs(world: SqliteWorld, clock: ManualClock) -> None:
    run = await world.storage.runs.create({**EMAILS, "execution_context": {"campaign": "onboarding"}})

    retrieved = await world.storage.runs.get(run.run_id)
    assert retrieved == run

    clock.turn(timedelta(seconds=1))
    started = await world.storage.runs.update(run.run_id, {"status": "running"})
    assert (started.status, started.started_at) == ("running", clock.now())

    page = await world.storage.runs.list(
        RunFilter(workflow_name="email-sequence", statuses=["running"]), page=PageRequest(limit=10)
    )
    assert ([found.run_id for found in page.data], page.has_more) == ([run.run_id], False)

    paused = await world.storage.runs.pause(run.run_id)
    assert (paused.status, paused.detail, paused.paused_at) == ("running", "paused", clock.now())
    resumed = await world.storage.runs.resume(run.run_id)
    assert (resumed.status, resumed.detail, resumed.paused_at) == ("running", None, None)

    cancelled = await world.storage.runs.cancel(run.run_id)
    assert (cancelled.status, cancelled.completed_at) == ("cancelled", clock.now())
    assert await world.storage.runs.cancel(run.run_id) == cancelled
    await assert_the_views_are_the_fold(world, run.run_id)


async def test_working_with_steps(world: SqliteWorld) -> None:
    run = await world.storage.runs.create(EMAILS)

    step = await world.storage.steps.create(run.run_id, SEND)
    assert (step.status, step.attempt, step.input) == ("pending", 0, SEND["input"])

    done = await world.storage.steps.update(
        run.run_id, step.step_id, {"status": "completed", "output": b'{"messageId": "msg_123"}'}
    )
    assert (done.status, done.output, done.completed_at) == ("completed", b'{"messageId": "msg_123"}', START)

    steps = (await world.storage.steps.list(run.run_id, resolve_data="all")).data
    assert steps == [done]
    await assert_the_views_are_the_fold(world, run.run_id)


async def test_recording_events(world: SqliteWorld) -> None:
    run = await world.storage.runs.create(EMAILS)
    received = e.SignalReceived(signal_type="workflow_started", payload_data=b'{"timestamp": 1}')
    claimed = e.AttrSet(correlation_id="correlation-id-123", changes=[e.AttributeChange(key="a", value="b")])
    await world.storage.events.create(run.run_id, received)
    await world.storage.events.create(run.run_id, claimed)

    events = (await world.storage.events.list(run.run_id, resolve_data="all")).data
    without = (await world.storage.events.list(run.run_id, resolve_data="none")).data
    correlated = (await world.storage.events.list_by_correlation_id(run.run_id, "correlation-id-123")).data

    assert [stored.event for stored in events[1:]] == [received, claimed]
    assert without[1].event == received.model_copy(update={"payload_data": None})
    assert [stored.event for stored in correlated] == [claimed]


async def test_using_hooks(world: SqliteWorld) -> None:
    run = await world.storage.runs.create(EMAILS)

    hook = await world.storage.hooks.create(
        run.run_id, {"metadata": b'{"responseUrl": "https://example.com/callback"}'}
    )

    retrieved = await world.storage.hooks.get_by_token(hook.token)
    assert retrieved == hook
    assert len(hook.token) == 43, "256 random bits"
    assert await world.storage.hooks.dispose(hook.hook_id) == hook
    with pytest.raises(HookNotFoundError):
        await world.storage.hooks.get_by_token(hook.token)
    await assert_the_views_are_the_fold(world, run.run_id)


# --- how to build a World: what its storage does -----------------------------------------------------


async def test_a_run_may_have_the_id_it_is_given(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())

    run = await world.storage.runs.create({**EMAILS, "run_id": run_id, "deployment_id": "dpl_1"})

    assert (run.run_id, run.deployment_id) == (run_id, "dpl_1")
    with pytest.raises(EntityConflictError, match=f"run '{run_id}' already exists"):
        await world.storage.runs.create({**EMAILS, "run_id": run_id})


async def test_a_run_goes_its_way_by_updates(world: SqliteWorld) -> None:
    runs = world.storage.runs
    one, two = await runs.create(EMAILS), await runs.create(EMAILS)

    await runs.update(one.run_id, {"status": "running"})
    marked = await runs.update(one.run_id, {"attributes": {"team": "a", "stage": "new"}})
    await runs.update(one.run_id, {"attributes": {"stage": None}})
    completed = await runs.update(one.run_id, {"status": "completed", "output": b"4"})
    failed = await runs.update(two.run_id, {"status": "failed", "error": b"no", "error_code": "USER_ERROR"})

    assert marked.attributes == {"team": "a", "stage": "new"}
    assert (completed.status, completed.output, completed.attributes) == ("completed", b"4", {"team": "a"})
    assert (failed.status, failed.error, failed.error_code) == ("failed", b"no", "USER_ERROR")
    with pytest.raises(EntityConflictError, match="it is already 'completed'"):
        await runs.update(one.run_id, {"status": "failed", "error": b"no"})
    assert [stored.event_type for stored in await log_of(world, one.run_id)] == [
        "run_created", "run_started", "attr_set", "attr_set", "run_completed",
    ]  # fmt: skip
    await assert_the_views_are_the_fold(world, one.run_id)


async def test_paused_is_no_status_that_is_stored(world: SqliteWorld) -> None:
    run = await world.storage.runs.create(EMAILS)

    paused = await world.storage.runs.update(run.run_id, {"status": "paused"})

    assert (paused.status, paused.detail) == ("pending", "paused")
    assert (await log_of(world, run.run_id))[-1].event_type == "run_paused"
    with pytest.raises(RunPausedError):
        await world.storage.runs.update(run.run_id, {"status": "running"})


@pytest.mark.parametrize(
    ("update", "said"),
    [
        ({"status": "sleeping"}, "'sleeping' is no status that a run can be given; use one of 'running', 'completed',"),
        ({"status": "waiting"}, "'waiting' is no status that a run can be given"),
        ({"status": "pending"}, "'pending' is no status that a run can be given"),
        ({}, "None is no status that a run can be given"),
        ({"workflow_name": "other"}, "None is no status that a run can be given"),
        ({"status": "completed", "error": b"no"}, "'error' is nothing that a run is given with status 'completed'"),
        ({"status": "running", "input": b"2"}, "'input' is nothing that a run is given with status 'running'"),
        ({"status": "cancelled", "cancel_reason": "x" * 513}, "'cancel_reason' of 'run_cancelled' does not fit: "),
        ({"status": "running", "attributes": {}}, "'attributes' is nothing that a run is given with status 'running'"),
        ({"attributes": {"a": "b", "": "c"}}, "'changes.1.key' of 'attr_set' does not fit: "),
        ({"attributes": None}, "None is no status that a run can be given"),
        ({"attributes": ["a"]}, "None is no status that a run can be given"),
        ({"status": ["running"]}, r"\['running'\] is no status that a run can be given"),
    ],
)
async def test_an_update_that_is_none_writes_nothing(update: dict[str, object], said: str, world: SqliteWorld) -> None:
    run = await world.storage.runs.create(EMAILS)

    with pytest.raises(WorldError, match=said) as refused:
        await world.storage.runs.update(run.run_id, update)  # type: ignore[arg-type]  # mistakes

    assert refused.value.status == 400
    assert len(await log_of(world, run.run_id)) == 1


async def test_a_step_goes_its_way_by_updates(world: SqliteWorld, clock: ManualClock) -> None:
    run, steps = await world.storage.runs.create(EMAILS), world.storage.steps
    step_id = (await steps.create(run.run_id, {**SEND, "step_id": "step_1", "key": "send#1"})).step_id
    later = START + timedelta(hours=1)

    started = await steps.update(run.run_id, step_id, {"status": "running"})
    put_off = await steps.update(run.run_id, step_id, {"status": "pending", "error": b"busy", "retry_after": later})
    with pytest.raises(WorldError, match="may start again at"):
        await steps.update(run.run_id, step_id, {"status": "running"})
    clock.turn(timedelta(hours=1))
    again = await steps.update(run.run_id, step_id, {"status": "running"}, resolve_data="none")
    failed = await steps.update(run.run_id, step_id, {"status": "failed", "error": b"no"})

    assert (step_id, started.key, started.status, started.attempt) == ("step_1", "send#1", "running", 1)
    assert (put_off.status, put_off.error, put_off.retry_after) == ("pending", b"busy", later)
    assert (again.attempt, again.started_at, again.input, again.error) == (2, START, None, None)
    assert (failed.status, failed.error, failed.completed_at) == ("failed", b"no", later)
    with pytest.raises(EntityConflictError):
        await steps.create(run.run_id, {**SEND, "step_id": "step_1"})
    with pytest.raises(WorldError, match="'cancelled' is no status that a step can be given"):
        await steps.update(run.run_id, step_id, {"status": "cancelled"})  # type: ignore[typeddict-item]  # a mistake
    await assert_the_views_are_the_fold(world, run.run_id)


async def test_a_step_without_an_id_has_one_by_its_name(world: SqliteWorld) -> None:
    run = await world.storage.runs.create(EMAILS)

    step = await world.storage.steps.create(run.run_id, SEND)

    assert (step.key, step.step_id[:5]) == ("send-email", "step_")
    with pytest.raises(EntityConflictError, match="step 'send-email' is already 'pending'"):
        await world.storage.steps.create(run.run_id, SEND)


async def test_what_is_no_run_step_or_hook_is_refused_in_words(world: SqliteWorld) -> None:
    run = await world.storage.runs.create(EMAILS)

    with pytest.raises(WorldError, match="'workflow_name' of 'run_created' does not fit"):
        await world.storage.runs.create({"workflow_name": "a\x00b"})
    with pytest.raises(WorldError, match="'priority' of 'run_created' does not fit: Extra inputs are not permitted"):
        await world.storage.runs.create({**EMAILS, "priority": 1})  # type: ignore[typeddict-unknown-key]  # a mistake
    with pytest.raises(WorldError, match="'correlation_id' of 'step_created' does not fit"):
        await world.storage.steps.create(run.run_id, {**SEND, "step_id": "../step_1"})
    with pytest.raises(WorldError, match="'token' of 'hook_created' does not fit"):
        await world.storage.hooks.create(run.run_id, {"token": ""})
    with pytest.raises(WorkflowRunNotFoundError):
        await world.storage.steps.create("wrun_1", SEND)

    assert len(await log_of(world, run.run_id)) == 1


async def test_a_token_that_is_taken_is_an_error_and_stands_in_the_log(world: SqliteWorld) -> None:
    holder, other = await world.storage.runs.create(EMAILS), await world.storage.runs.create(EMAILS)
    await world.storage.hooks.create(holder.run_id, {"hook_id": "hook_1", "token": "invoice-17"})

    with pytest.raises(HookConflictError, match=f"token 'invoice-17' is held by run {holder.run_id}") as conflict:
        await world.storage.hooks.create(other.run_id, {"token": "invoice-17"})

    assert conflict.value.conflicting_run_id == holder.run_id
    assert [stored.event_type for stored in await log_of(world, other.run_id)] == ["run_created", "hook_conflict"]


async def test_without_data_the_entity_comes_without(world: SqliteWorld) -> None:
    run = await world.storage.runs.create(EMAILS, resolve_data="none")
    step = await world.storage.steps.create(run.run_id, SEND, resolve_data="none")
    hook = await world.storage.hooks.create(run.run_id, {"metadata": b"who", "token": "t"}, resolve_data="none")

    assert (run.input, run.workflow_name) == (None, "email-sequence")
    assert (step.input, step.step_name) == (None, "send-email")
    assert (hook.metadata, hook.token) == (None, "t")
    assert hook == replace(await world.storage.hooks.get_by_token("t"), metadata=None)


# --- many at once ------------------------------------------------------------------------------------


async def test_many_are_cancelled_and_each_says_what_became_of_it(world: SqliteWorld) -> None:
    runs = world.storage.runs
    open_, ended, cancelled = [(await runs.create(EMAILS)).run_id for _ in range(3)]
    await runs.update(ended, {"status": "completed"})
    await runs.cancel(cancelled)

    told = await runs.cancel_many([open_, ended, cancelled, "wrun_1", "../x"], "enough")

    assert told == {
        open_: "cancelled", ended: "not_cancellable", cancelled: "already_cancelled",
        "wrun_1": "not_found", "../x": "not_found",
    }  # fmt: skip
    assert (await runs.get(open_)).cancel_reason == "enough"


@pytest.mark.parametrize("run_ids", [[], ["a", "a"], [f"run-{number}" for number in range(501)]])
async def test_too_many_are_not_cancelled_at_once(run_ids: list[str], world: SqliteWorld) -> None:
    with pytest.raises(WorldError, match=f"takes 1 to 500 different run ids, got {len(run_ids)}") as refused:
        await world.storage.runs.cancel_many(run_ids)

    assert refused.value.status == 400


async def test_an_id_that_is_given_is_not_made_up(world: SqliteWorld) -> None:
    run = await world.storage.runs.create(EMAILS)

    with pytest.raises(WorldError, match="'correlation_id' of 'step_created' does not fit: "):
        await world.storage.steps.create(run.run_id, {**SEND, "step_id": ""})
    with pytest.raises(WorldError, match="'correlation_id' of 'hook_created' does not fit: "):
        await world.storage.hooks.create(run.run_id, {"hook_id": ""})
    with pytest.raises(WorldError, match=r"^'caf.udce9' is no Unicode text; decode it before you pass it on$"):
        await world.storage.hooks.create(run.run_id, {"token": "caf\udce9"})
