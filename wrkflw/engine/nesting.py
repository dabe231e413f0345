"""Nested workflows: a scope of the same run, with its own ids, state, time limit, and way to end early."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from wrkflw.clock import later
from wrkflw.errors import InvalidValueError, LimitError, RunTimeoutError
from wrkflw.ids import correlation_id
from wrkflw.schemas import plain
from wrkflw.world import events as e

from . import failures
from .closing import close
from .definition import Definition, Plan
from .keys import path_of
from .lanes import Lane
from .records import Record
from .scopes import Scope
from .standing import BailedError, LeftError, Parked, StepEndedError
from .values import NOTHING, Flow, Later, Settled, stored

if TYPE_CHECKING:
    from .drive import Drive
    from .interpreter import Interpreter


async def nested(
    interpreter: Interpreter, scope: Scope, plan: Plan, key: str, flow: Flow, meta: Mapping[str, Any] | None
) -> Flow:
    """The output of a nested workflow.  Raises StepEndedError when it failed, LeftError when it waits."""
    drive = interpreter.drive
    record = drive.journal.records.get(key)
    if record is not None and record.status in ("completed", "skipped"):
        if record.output is None:
            return NOTHING
        value = drive.load(plan.output, record.output, key, "output of workflow")
        return Settled(value, record.output, plan.output)
    if record is not None and record.status in ("failed", "cancelled"):
        before = failures.load(record.error)
        assert before is not None
        raise StepEndedError(before)
    inner = scope.definition.nested(plan.step)
    if record is None:
        record = _begin(interpreter, scope, inner, plan, key, flow, meta)
    inside = _scope(interpreter, scope, inner, plan, record)
    try:
        output = await _in_time(interpreter, inside, record)
    except BailedError as bailed:
        output = bailed.output
    except StepEndedError as ended:
        close(drive, [key], themselves=False)
        error, meta_of_end = failures.dump(ended.error), drive.meta_of_end(None)
        drive.recorder.note(e.StepFailed(correlation_id=record.correlation_id, error=error, meta=meta_of_end))
        raise
    schema = plan.output
    if output.data is None or output.schema is not schema:
        output = _encoded(interpreter, inner, schema, output.value, record)
    if inner.is_code:
        close(drive, [key], themselves=False)
    meta_of_end = drive.meta_of_end(None)
    drive.recorder.note(e.StepCompleted(correlation_id=record.correlation_id, result=output.data, meta=meta_of_end))
    return output


def _begin(
    interpreter: Interpreter,
    scope: Scope,
    inner: Definition,
    plan: Plan,
    key: str,
    flow: Flow,
    meta: Mapping[str, Any] | None,
) -> Record:
    drive = interpreter.drive
    drive.go_on(scope.lane)
    depth, limit = len(path_of(scope.prefix)) + 2, drive.services.limits.nesting
    if depth > limit:
        raise LimitError.nesting("/".join((drive.definition.id, *path_of(key))), depth, limit)
    flow = drive.steps.prepared(plan, flow)
    about: dict[str, Any] = {"kind": "workflow", **(meta or {})}
    if inner.is_code:
        about["at"] = drive.services.clock.now().isoformat()
    if inner.state_schema is not None and inner.graph.state_schema is not None:
        what = f"first state of workflow {key!r}"
        state = stored(inner.state_schema, inner.graph.state_schema(), what, drive.services.limits.value_bytes)
        about["state"] = plain(state.data or b"null")
    name = correlation_id("step", drive.run_id, key)
    created = e.StepCreated(correlation_id=name, step_name=plan.step.id, key=key, input=flow.data, meta=about)
    drive.recorder.note(created, drive.services.clock.now())
    return drive.journal.records[key]


def _scope(interpreter: Interpreter, scope: Scope, inner: Definition, plan: Plan, record: Record) -> Scope:
    def given() -> Flow:
        if record.input is None or plan.input is None:
            return Settled(None)
        value = interpreter.drive.load(plan.input, record.input, record.key, "input of workflow")
        return Settled(value, record.input, plan.input)

    def taken() -> Flow:
        flow = given()
        value = scope.definition.passed(plan, flow)
        return flow if value is flow.value else Settled(value)

    state = (record.meta or {}).get("state")
    return Scope(inner, f"{record.key}/", Later(taken), state, Lane(scope.lane, timed=inner.timeout is not None))


async def _in_time(interpreter: Interpreter, inside: Scope, record: Record) -> Flow:
    """What the nested workflow gives.  Raises StepEndedError when its time is up, or something in it failed."""
    drive, timeout = interpreter.drive, inside.definition.timeout
    deadline = None if timeout is None else later(record.created_at or drive.services.clock.now(), timeout)
    if deadline is not None and timeout is not None and deadline <= drive.services.clock.now():
        raise _out_of_time(interpreter, record, timeout)

    expire = partial(_expire, drive, inside.lane)
    timer = None if deadline is None else drive.services.clock.call_at(deadline, expire)
    try:
        return await interpreter.run(inside)
    except LeftError as left:
        if inside.lane.expired and timeout is not None:
            raise _out_of_time(interpreter, record, timeout) from None
        if deadline is not None and isinstance(left.standing, Parked):
            raise LeftError(_no_later_than(left.standing, deadline)) from None
        raise
    except StepEndedError:
        if inside.lane.expired and timeout is not None:
            raise _out_of_time(interpreter, record, timeout) from None
        raise
    except failures.BETWEEN_STEPS as error:
        failed = failures.failure_of(error, key=record.key, step_id=record.name, attempts=1)
        raise StepEndedError(failed) from error
    finally:
        if timer is not None:
            timer.cancel()


def _expire(drive: Drive, lane: Lane) -> None:
    if not drive.sleeps_over(partial(_expire, drive, lane)):
        lane.expire()


def _no_later_than(standing: Parked, deadline: datetime) -> Parked:
    until = deadline if standing.until is None else min(standing.until, deadline)
    return Parked(until, standing.on, standing.paused)


def _out_of_time(interpreter: Interpreter, record: Record, timeout: timedelta) -> StepEndedError:
    drive = interpreter.drive
    waits_at = next(drive.journal.open_keys(f"{record.key}/"), None)
    close(drive, [record.key], themselves=False)
    error = RunTimeoutError(drive.run_id, timeout, waits_at)
    return StepEndedError(failures.failure_of(error, key=record.key, step_id=record.name, attempts=1))


def _encoded(interpreter: Interpreter, inner: Definition, schema: Any, value: object, record: Record) -> Settled:
    """The output as it is stored.  Raises StepEndedError when it is not what the workflow promises."""
    what = f"output of workflow {record.key!r}"
    try:
        return stored(schema, schema.validate(value, what), what, interpreter.drive.services.limits.value_bytes)
    except (InvalidValueError, LimitError) as error:
        failed = failures.failure_of(error, key=record.key, step_id=inner.id, attempts=1)
        interpreter.drive.recorder.note(e.StepFailed(correlation_id=record.correlation_id, error=failures.dump(failed)))
        raise StepEndedError(failed) from error
