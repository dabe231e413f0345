"""One step call, from its input to its recorded outcome: tries, retries, answers, what a lost worker left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Never, cast

from wrkflw.bodies import Body
from wrkflw.errors import (
    DefinitionChangedError,
    InvalidValueError,
    LimitError,
    OutcomeUnknownError,
    RetryAfter,
    StepInterruptedError,
    SuspendSwallowedError,
)
from wrkflw.ids import correlation_id
from wrkflw.retries import Retry, next_delay, retries_error
from wrkflw.world import events as e

from . import failures
from .calls import Bail, StepCall, Suspend
from .chunks import NotWrittenError
from .definition import AnyStep, Plan
from .lanes import Lane
from .records import Record
from .scopes import Scope
from .standing import BailedError, LeftError, Parked, StepEndedError
from .values import NOTHING, Flow, Settled, stored
from .waiting import after

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

    def do(
        self,
        scope: Scope,
        plan: Plan,
        key: str,
        flow: Flow,
        iteration: int | None,
        index: int | None,
        meta: Mapping[str, Any] | None,
    ) -> Coroutine[Any, Any, Flow]:
        """Begin the step at ``key``, which is noted when this returns; awaiting it gives its output.

        That is from the record, or of its body, which is run then.  A step that was skipped has none, also when the
        code has no condition for it any more.

        Raises, now or when it is awaited, StepEndedError when it failed for good, BailedError when it ended its
        workflow, LeftError when it waits for another try or for an answer.
        """
        record = self._drive.journal.records.get(key)
        if record is None:
            flow = self._begin(scope, plan, key, flow, meta)
        elif record.status in ("completed", "skipped"):
            return at_once(self._recorded_output(scope, plan, record))
        elif record.status in ("failed", "cancelled"):
            error = failures.load(record.error)
            assert error is not None
            raise StepEndedError(error)
        else:
            flow = self._take_up(scope, record, plan)
        upto, lost = self._recorder.noted, self._record(key).interruptions
        return self._run(scope, plan, key, flow, iteration, index, upto, lost)

    async def _run(
        self,
        scope: Scope,
        plan: Plan,
        key: str,
        flow: Flow,
        iteration: int | None,
        index: int | None,
        upto: int,
        lost: int,
    ) -> Flow:
        """Go on from where it was noted that the body begins, ``upto`` there, and that so many tries were lost."""
        while (turn := self._recorder.turn(upto)) is not None:  # the start is durable before the body begins
            await turn
        record = self._drive.journal.records.get(key)
        if record is None or record.status != "running" or record.interruptions < lost:  # the log has refused it
            raise LeftError(Parked(paused=True))
        output = await self._try(scope, plan, key, flow, iteration, index)
        if self._drive.leaving:  # the body made up its mind all the same: what it gave counts, and nothing follows
            await self._recorder.commit()
            raise asyncio.CancelledError
        return output

    def skip(self, step: AnyStep, key: str, meta: Mapping[str, Any] | None) -> None:
        """Its condition says no: it is recorded, and never asked again."""
        name = correlation_id("step", self._drive.run_id, key)
        about: e.Meta = {"skipped": True, **(meta or {})}
        if step.kind == "workflow":
            about["kind"] = "workflow"
        self._recorder.note(e.StepCreated(correlation_id=name, step_name=step.id, key=key, meta=about))
        self._recorder.note(e.StepCompleted(correlation_id=name, meta={"skipped": True}))

    def bailed(self, scope: Scope, record: Record) -> Flow:
        """The output with which a step ended its workflow."""
        if record.output is None:
            return NOTHING
        schema = scope.definition.bail_schema
        value = self._drive.load(schema, record.output, record.key, "output of step")
        return Settled(value, record.output, schema)

    # --- before the body ---------------------------------------------------------------------------

    def prepared(self, plan: Plan, flow: Flow) -> Flow:
        """The input as it will be recorded, and as a recovery will read it.  Raises InvalidValueError, LimitError."""
        if plan.input is None:
            return NOTHING
        if flow.data is not None and flow.schema is plan.input:
            return flow
        what, value = f"input of step {plan.step.id!r}", flow.value
        if not plan.input.is_instance(value):
            value = plan.input.validate(value, what, f"put a .map() or .into({plan.input.name}) before it")
        return stored(plan.input, value, what, self._services.limits.value_bytes)

    def _recorded_input(self, record: Record, plan: Plan) -> Flow:
        if record.input is None or plan.input is None:
            return NOTHING
        value = self._drive.load(plan.input, record.input, record.key, "input of step")
        return Settled(value, record.input, plan.input)

    def _recorded_output(self, scope: Scope, plan: Plan, record: Record) -> Flow:
        if record.bailed:
            raise BailedError(self.bailed(scope, record))
        if record.output is None:
            return NOTHING
        value = self._drive.load(plan.output, record.output, record.key, "output of step")
        return Settled(value, record.output, plan.output)

    def _begin(self, scope: Scope, plan: Plan, key: str, flow: Flow, meta: Mapping[str, Any] | None) -> Flow:
        self._drive.go_on(scope.lane)
        name = correlation_id("step", self._drive.run_id, key)
        about: e.Meta | None = None if meta is None else {**meta}
        try:
            flow = self.prepared(plan, flow)
        except (InvalidValueError, LimitError) as error:
            self._recorder.note(e.StepCreated(correlation_id=name, step_name=plan.step.id, key=key, meta=about))
            self._fail(self._record(key), error)
        self._recorder.note(
            e.StepCreated(correlation_id=name, step_name=plan.step.id, key=key, input=flow.data, meta=about)
        )
        self._recorder.note(e.StepStarted(correlation_id=name))
        return flow

    def _take_up(self, scope: Scope, record: Record, plan: Plan) -> Flow:
        """Go on with a call that has begun: its input.  Raises LeftError while it waits for a try, or for an answer."""
        due, again = self._drive.backlog.due(), record.interrupted
        suspension = None if record.status == "running" else record.suspension
        if record.status == "running":
            self._drive.go_on(scope.lane, again=again)
            interruptions = record.interruptions + 1
            if plan.step.at_most_once:
                self._fail(record, OutcomeUnknownError(plan.step.id))
            if interruptions >= self._services.limits.interruptions:
                self._fail(record, StepInterruptedError(record.key, interruptions))
        elif suspension is not None:
            if suspension.until is None or suspension.until > due:
                raise LeftError(Parked(suspension.until, frozenset({suspension.hook_id})))
        elif record.retry_after is not None and record.retry_after > due:
            raise LeftError(Parked(record.retry_after))
        self._drive.go_on(scope.lane, again=again)
        flow = self._recorded_input(record, plan)  # if the code cannot read it, nothing has begun
        if suspension is not None:
            self._recorder.note(e.HookDisposed(correlation_id=suspension.hook_id))
        self._recorder.note(e.StepStarted(correlation_id=record.correlation_id))
        return flow

    # --- the body ----------------------------------------------------------------------------------

    async def _try(
        self, scope: Scope, plan: Plan, key: str, flow: Flow, iteration: int | None, index: int | None
    ) -> Flow:
        """One try: the output, noted.  Raises LeftError when the next is noted, and StepEndedError after the last."""
        call = StepCall(self._drive, scope, self._record(key), plan.step, iteration, index)
        try:
            value = scope.definition.passed(plan, flow)
        except InvalidValueError as error:
            self._fail(self._record(key), error)
        self._drive.begun[key] = plan.step.at_most_once
        try:
            result = await self._execute(scope.lane, plan, call, value)
        except NotWrittenError as error:
            raise error.reason from None
        except asyncio.CancelledError as error:
            if self._drive.leaving or scope.lane.abandoned:
                raise
            _forget_cancellation()
            if scope.lane.out_of_time:  # its workflow closes it
                raise LeftError(Parked()) from None
            await self._retry_or_fail(scope, key, plan, error)
        except Suspend as suspend:
            call.suspended = None  # its traceback leads to the call: neither would go before the collector comes
            await self._suspend(key, suspend)
        except Bail as bail:
            if call.suspended:
                self._fail(self._record(key), SuspendSwallowedError(plan.step.id))
            self._bail(scope, key, call, bail)
        except DefinitionChangedError:  # it asked for a result that the code can no longer read
            raise
        except (KeyboardInterrupt, SystemExit, GeneratorExit):  # the process ends, or the loop
            raise
        except BaseException as error:  # noqa: BLE001  # whatever a body raises is its failure
            if call.suspended:
                self._fail(self._record(key), SuspendSwallowedError(plan.step.id))
            await self._retry_or_fail(scope, key, plan, error)
        if call.suspended:
            self._fail(self._record(key), SuspendSwallowedError(plan.step.id))
        try:
            return self._complete(key, plan, call, result)
        except (InvalidValueError, LimitError) as error:  # the effect has happened; another try cannot mend it
            self._fail(self._record(key), error)

    async def _execute(self, lane: Lane, plan: Plan, call: StepCall, value: object) -> object:
        """What the body gives, or raises; what it wrote to streams is durable then."""
        body, timeout = cast("Body", plan.body), plan.step.timeout
        task = asyncio.current_task() if lane.timed else None
        if task is not None:
            lane.enter(task)
        try:
            return await self._services.executor.run(body, value, call, timeout)
        except BaseExceptionGroup as group:
            if (out := _way_out(group)) is group:
                raise
            call.suspended = None  # nobody swallowed it
            raise out from None
        finally:
            if task is not None:
                lane.leave(task)
            if self._drive.chunks.leave(call):
                await self._drive.chunks.settled(call)  # before anything is noted of how the try ended

    def _complete(self, key: str, plan: Plan, call: StepCall, result: object) -> Flow:
        record = self._record(key)
        flow = stored(plan.output, result, f"output of step {key!r}", self._services.limits.value_bytes)
        meta = self._drive.meta_of_end(call.state_change())
        self._recorder.note(e.StepCompleted(correlation_id=record.correlation_id, result=flow.data, meta=meta))
        return flow

    async def _suspend(self, key: str, suspend: Suspend) -> Never:
        record = self._record(key)
        hook_id = correlation_id("hook", self._drive.run_id, f"{key}?{len(record.suspensions) + 1}")
        now = self._services.clock.now()
        until = None if suspend.timeout is None else after(self._drive, suspend.timeout)
        self._recorder.note(
            e.HookCreated(
                correlation_id=hook_id,
                token=self._drive.services.new_token(),
                kind="suspend",
                step_id=record.correlation_id,
                metadata=suspend.payload,
            ),
            now,
        )
        meta: e.Meta | None = None if until is None else {"until": until.isoformat()}
        self._recorder.note(
            e.StepRetrying(correlation_id=record.correlation_id, reason="suspended", hook_id=hook_id, meta=meta)
        )
        await self._recorder.commit()
        raise LeftError(Parked(until, frozenset({hook_id})))

    def _bail(self, scope: Scope, key: str, call: StepCall, bail: Bail) -> Never:
        record, definition = self._record(key), scope.definition
        schema, what = definition.bail_schema, f"bail in step {record.name!r}"
        try:
            flow = stored(schema, schema.validate(bail.output, what), what, self._services.limits.value_bytes)
            meta: e.Meta = {"bail": True, **(self._drive.meta_of_end(call.state_change()) or {})}
        except (InvalidValueError, LimitError) as error:
            if isinstance(error, InvalidValueError) and error.what == what:
                given = type(bail.output).__name__
                error = InvalidValueError.bailed(record.name, given, definition.id, schema.name)
            self._fail(record, error)
        self._recorder.note(e.StepCompleted(correlation_id=record.correlation_id, result=flow.data, meta=meta))
        raise BailedError(flow)

    # --- how it ends -------------------------------------------------------------------------------

    async def _retry_or_fail(self, scope: Scope, key: str, plan: Plan, error: BaseException) -> Never:
        record = self._record(key)
        retry = plan.step.retry or scope.definition.retry or self._services.retry or _ONCE
        failed = record.failures + 1
        may = isinstance(error, Exception) and (isinstance(error, RetryAfter) or retries_error(retry, error))
        if not may or failed >= retry.attempts or plan.step.at_most_once or scope.lane.stopping:
            self._fail(record, error)
        try:
            chance = self._services.chance(record.correlation_id, failed)
            delay = error.delay if isinstance(error, RetryAfter) else next_delay(retry, failed, chance)
            due = after(self._drive, delay)
        except Exception:  # noqa: BLE001  # the backoff is the user's: what it raises makes the failure final
            _log.exception("the backoff of step %r of run %s raised; it is not retried", key, self._drive.run_id)
            self._fail(record, error)
        noted = failures.failure_of(error, key=key, step_id=plan.step.id, attempts=failed)
        again = e.StepRetrying(correlation_id=record.correlation_id, error=failures.dump(noted), retry_after=due)
        self._recorder.note(again)
        await self._recorder.commit()
        if self._drive.leaving:
            raise asyncio.CancelledError
        raise LeftError(Parked(due))

    def _fail(self, record: Record, error: BaseException) -> Never:
        failed = failures.failure_of(error, key=record.key, step_id=record.name, attempts=record.failures + 1)
        meta = self._drive.meta_of_end(None)
        self._recorder.note(e.StepFailed(correlation_id=record.correlation_id, error=failures.dump(failed), meta=meta))
        raise StepEndedError(failed) from error

    def _record(self, key: str) -> Record:
        return self._drive.journal.records[key]


async def at_once(flow: Flow) -> Flow:
    """What is known already, for who can only await."""
    return flow


def _way_out(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """How a body was left whose tasks ended so: by what failed in it, else by a bail, else by a suspension."""
    leaving, failed = group.split((Bail, Suspend))
    if leaving is None:
        return group
    if failed is not None:
        return failed
    out: BaseException = leaving.subgroup(Bail) or leaving
    while isinstance(out, BaseExceptionGroup):
        out = cast("BaseExceptionGroup[BaseException]", out).exceptions[0]
    return out


def _forget_cancellation() -> None:
    """A body cancelled the task it runs in, which nobody asked for: an error like any other."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
