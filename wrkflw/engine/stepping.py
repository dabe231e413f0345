"""One step call, from its input to its recorded outcome: tries, retries, what a lost worker left behind."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Never

from wrkflw.clock import sleep_until
from wrkflw.errors import (
    DefinitionChangedError,
    InvalidValueError,
    LimitError,
    OutcomeUnknownError,
    RetryAfter,
    StepInterruptedError,
)
from wrkflw.ids import correlation_id
from wrkflw.retries import Retry, next_delay, retries_error
from wrkflw.schemas import Schema
from wrkflw.world import events as e

from . import failures
from .calls import StepCall
from .definition import AnyStep, Plan
from .journal import Record
from .standing import LeftError, Parked, StepEndedError
from .values import Flow, stored

if TYPE_CHECKING:
    from .drive import Drive

_ONCE = Retry(attempts=1)

_log = logging.getLogger("wrkflw")


class Stepping:
    """The steps of one drive."""

    def __init__(self, drive: Drive) -> None:
        self._drive = drive
        self._services = drive.services
        self._recorder = drive.recorder
        self._definition = drive.definition

    async def do(self, key: str, step: AnyStep, flow: Flow) -> Flow:
        """The output of ``step`` at ``key``: from the record, or by running its body now.

        Raises StepEndedError when it failed for good.
        """
        plan = self._definition.plan(step)
        record = self._recorder.journal.records.get(key)
        if record is None:
            flow = await self._begin(key, plan, flow)
        elif record.status == "completed":
            assert record.output is not None
            return Flow(self._recorded(plan.output, record.output, key, f"output of step {key!r}"), record.output)
        elif record.status == "failed":
            error = failures.load(record.error)
            assert error is not None
            raise StepEndedError(error)
        elif record.refusal is not None:
            self._refuse(record, record.refusal)
        else:
            flow = self._recorded_input(record, plan)
            await self._take_up(record, plan)
        while True:
            await self._recorder.commit()  # the start is durable before the body begins
            output = await self._try(key, plan, flow)
            if self._drive.leaving:  # the body made up its mind all the same: what it gave counts, and nothing follows
                await self._recorder.commit()
                raise asyncio.CancelledError
            if output is not None:
                return output
            flow = self._recorded_input(self._record(key), plan)  # a fresh copy: the failed try may have changed it

    # --- before the body ---------------------------------------------------------------------------

    def _prepared(self, plan: Plan, flow: Flow) -> Flow:
        """The step's input as it will be recorded, and as a recovery will read it."""
        if plan.input is None:
            return Flow(None)
        if flow.data is not None:
            return flow
        what = f"input of step {plan.step.id!r}"
        value = plan.input.validate(flow.value, what, f"put a .map() or .into({plan.input.name}) before it")
        return stored(plan.input, value, what, self._services.limits.value_bytes)

    def _recorded_input(self, record: Record, plan: Plan) -> Flow:
        if record.input is None or plan.input is None:
            return Flow(None)
        what = f"input of step {record.key!r}"
        return Flow(self._recorded(plan.input, record.input, record.key, what), record.input)

    def _recorded(self, schema: Schema, data: bytes, key: str, what: str) -> object:
        """Raises DefinitionChangedError when the code can no longer read what it once wrote."""
        try:
            return schema.load(data, what)
        except InvalidValueError as error:
            raise DefinitionChangedError.unreadable(self._drive.run_id, key, self._definition.id, error) from error

    async def _begin(self, key: str, plan: Plan, flow: Flow) -> Flow:
        name = correlation_id("step", self._drive.run_id, key)
        try:
            flow = self._prepared(plan, flow)
        except (InvalidValueError, LimitError) as error:
            # Its creation and its end may not share a batch: the first says how it ends, should the second be lost.
            failed = failures.dump(failures.failure_of(error, key=key, step_id=plan.step.id, attempts=1))
            meta: e.Meta = {"error": failed.decode()}
            self._recorder.note(e.StepCreated(correlation_id=name, step_name=plan.step.id, key=key, meta=meta))
            await self._recorder.commit()
            self._refuse(self._record(key), failed)
        self._recorder.note(e.StepCreated(correlation_id=name, step_name=plan.step.id, key=key, input=flow.data))
        self._recorder.note(e.StepStarted(correlation_id=name))
        return flow

    async def _take_up(self, record: Record, plan: Plan) -> None:
        """Go on with a call that has begun: its worker was lost, or it waits for its next try."""
        if record.status == "running":
            interruptions = record.interruptions + 1
            if plan.step.at_most_once:
                self._fail(record, OutcomeUnknownError(plan.step.id))
            if interruptions >= self._services.limits.interruptions:
                self._fail(record, StepInterruptedError(record.key, interruptions))
        elif record.retry_after is not None:
            await self._wait(record.retry_after)
        self._recorder.note(e.StepStarted(correlation_id=record.correlation_id))

    # --- the body ----------------------------------------------------------------------------------

    async def _try(self, key: str, plan: Plan, flow: Flow) -> Flow | None:
        """One try: the output, noted; or None when the next try is noted and may begin."""
        record = self._record(key)
        call = StepCall(self._drive, record, plan.step)
        try:
            value = self._definition.passed(plan, flow)
        except InvalidValueError as error:
            self._fail(record, error)
        self._drive.begun.add(key)
        try:
            result = await self._services.executor.run(plan.body, value, call, plan.step.timeout)
        except asyncio.CancelledError as error:
            if self._drive.leaving:
                raise
            _forget_cancellation()
            await self._retry_or_fail(record, plan, error)
        except DefinitionChangedError:  # it asked for a result that the code can no longer read
            raise
        except Exception as error:  # noqa: BLE001  # whatever a body raises is its failure
            await self._retry_or_fail(record, plan, error)
        else:
            try:
                return self._complete(record, plan, call, result)
            except (InvalidValueError, LimitError) as error:  # the effect has happened; another try cannot mend it
                self._fail(record, error)
        return None

    def _complete(self, record: Record, plan: Plan, call: StepCall, result: object) -> Flow:
        flow = stored(plan.output, result, f"output of step {record.key!r}", self._services.limits.value_bytes)
        delta = call.state_change()
        if delta is None:
            self._recorder.note(e.StepCompleted(correlation_id=record.correlation_id, result=flow.data))
        else:
            meta: e.Meta = {"state": delta}
            self._recorder.note(e.StepCompleted(correlation_id=record.correlation_id, result=flow.data, meta=meta))
        return flow

    async def _retry_or_fail(self, record: Record, plan: Plan, error: BaseException) -> None:
        retry = plan.step.retry or self._definition.retry or self._services.retry or _ONCE
        failed = record.failures + 1
        may = isinstance(error, Exception) and (isinstance(error, RetryAfter) or retries_error(retry, error))
        if not may or failed >= retry.attempts or plan.step.at_most_once:
            self._fail(record, error)
        try:
            delay = error.delay if isinstance(error, RetryAfter) else next_delay(retry, failed, self._services.random)
            due = self._services.clock.now() + delay
        except Exception:  # noqa: BLE001  # the backoff is the user's: what it raises makes the failure final
            _log.exception("the backoff of step %r of run %s raised; it is not retried", record.key, self._drive.run_id)
            self._fail(record, error)
        noted = failures.failure_of(error, key=record.key, step_id=plan.step.id, attempts=failed)
        again = e.StepRetrying(correlation_id=record.correlation_id, error=failures.dump(noted), retry_after=due)
        self._recorder.note(again)
        await self._recorder.commit()
        await self._wait(due)
        self._recorder.note(e.StepStarted(correlation_id=record.correlation_id))

    def _fail(self, record: Record, error: BaseException) -> Never:
        failed = failures.failure_of(error, key=record.key, step_id=record.name, attempts=record.failures + 1)
        self._recorder.note(e.StepFailed(correlation_id=record.correlation_id, error=failures.dump(failed)))
        raise StepEndedError(failed) from error

    def _refuse(self, record: Record, refusal: bytes) -> Never:
        """The step ends without a try: its input does not fit."""
        self._recorder.note(e.StepFailed(correlation_id=record.correlation_id, error=refusal))
        error = failures.load(refusal)
        assert error is not None
        raise StepEndedError(error)

    async def _wait(self, until: datetime) -> None:
        """Wait in place for a while that is short; leave the run for one that is long."""
        if until - self._services.clock.now() > self._services.hold:
            raise LeftError(Parked("retry", until))
        if self._drive.leaving:
            raise asyncio.CancelledError
        with self._drive.waiting(until):
            await sleep_until(self._services.clock, until)

    def _record(self, key: str) -> Record:
        return self._recorder.journal.records[key]


def _forget_cancellation() -> None:
    """A body cancelled the task it runs in, which nobody asked for: an error like any other."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
