"""Advance one run, under one claim, as far as it goes.

A completed step and the start of the next share a transaction: what is recorded gathers in ``_pending`` and is committed
before the next body starts, so that a result is durable before anything depends on it, at one commit a step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Literal, TypeAlias

from wrkflw.clock import Clock, sleep_until
from wrkflw.errors import (
    DefinitionChangedError,
    LimitError,
    OutcomeUnknownError,
    RetryAfter,
    RunTimeoutError,
    StepInterruptedError,
    WrkflwError,
)
from wrkflw.ids import correlation_id
from wrkflw.results import StepError
from wrkflw.retries import Retry, next_delay, retries_error
from wrkflw.schemas import schema_of
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.errors import EventLimitError, RunPausedError, WorldError
from wrkflw.world.storage import Claim, RunFence, Storage

from . import failures, interpreter
from .executor import Executor
from .calls import StepCall
from .definition import AnyStep, Definition
from .journal import Journal, Record
from .values import Flow, stored

if TYPE_CHECKING:
    from .limits import Limits

_ONCE = Retry(attempts=1)


@dataclass(frozen=True, slots=True)
class Ended:
    """The run has its last event."""


@dataclass(frozen=True, slots=True)
class Parked:
    """The run cannot move before ``until``, or before something is written to it; nobody owns it any more."""

    reason: Literal["retry", "paused", "interrupted"]
    until: datetime | None = None


Standing: TypeAlias = Ended | Parked


@dataclass(frozen=True, slots=True)
class Services:
    """What every drive of a runtime shares."""

    storage: Storage
    owner: str
    clock: Clock
    random: Random
    executor: Executor
    limits: Limits
    retry: Retry | None
    hold: timedelta
    """Timers up to here are waited out in place; for longer ones the run is parked."""


class StepEndedError(Exception):
    """A step failed for good: its error, as it is recorded."""

    def __init__(self, error: StepError) -> None:
        super().__init__(error.message)
        self.error = error


class _LeftError(Exception):
    """The run takes no more events from here: it was cancelled or paused."""

    def __init__(self, standing: Standing) -> None:
        super().__init__()
        self.standing = standing


class Drive:
    """One run, advanced by this process while it holds the claim.

    ``on_wait`` is called when the run begins to wait in place, and again when it goes on.
    """

    def __init__(
        self, services: Services, definition: Definition, journal: Journal, epoch: int | None, on_wait: Callable[[], None]
    ) -> None:
        self.definition = definition
        self.journal = journal
        self.waiting_until: datetime | None = None
        self.stopping = False
        self._services = services
        self._epoch = epoch
        self._on_wait = on_wait
        self._pending: list[e.NewEvent] = []
        self._task: asyncio.Task[Standing] | None = None
        self._expired = False

    @property
    def run_id(self) -> str:
        return self.journal.run_id

    @property
    def ended(self) -> bool:
        """Whether its last event is durable."""
        task = self._task
        return task is not None and task.done() and not task.cancelled() and task.exception() is None and isinstance(
            task.result(), Ended
        )

    @property
    def epoch(self) -> int:
        return self._epoch or 0

    # --- the run as a whole ------------------------------------------------------------------------

    def begin(self, created: e.RunCreated) -> None:
        """A run that is new: its creation, claim and first step start make one transaction."""
        self._record(created)
        self._record(e.RunStarted())

    def start(self) -> asyncio.Task[Standing]:
        """Advance, in a task of its own.

        It raises StoreError or FencedError when this process can write no more to the run.
        """
        self._task = asyncio.get_running_loop().create_task(self._drive(), name=f"wrkflw {self.run_id}")
        return self._task

    def stop(self) -> None:
        """The run was cancelled: tell its body."""
        self.stopping = True
        if self._task is not None:
            self._task.cancel()

    async def _drive(self) -> Standing:
        deadline = self._deadline()
        timer = self._services.clock.call_at(deadline, self._expire) if deadline is not None else None
        try:
            return await self._advance()
        except _LeftError as left:
            if isinstance(left.standing, Parked):
                return await self._park(left.standing)
            return left.standing
        except asyncio.CancelledError:
            return await self._interrupted()
        finally:
            if timer is not None:
                timer.cancel()

    async def _advance(self) -> Standing:
        try:
            if self.journal.status == "pending":
                await self._start_run()
            self.definition.check_fits(self.journal)
            flow = await interpreter.interpret(self.definition, self)
            output = self._output(flow)
        except StepEndedError as ended:
            self._record(e.RunFailed(error=failures.dump(ended.error), error_code="USER_ERROR"))
        except DefinitionChangedError as changed:
            return await self._pause(changed)
        except WrkflwError as error:
            if isinstance(error, WorldError):
                raise
            failed = failures.failure_of(error, key="", step_id="", attempts=1)
            self._record(e.RunFailed(error=failures.dump(failed), error_code="USER_ERROR"))
        else:
            self._record(e.RunCompleted(output=output))
        await self._commit()
        return Ended()

    async def _start_run(self) -> None:
        await self._services.storage.events.create(self.run_id, e.RunStarted(), fence=self._fence())
        self.journal.add(e.RunStarted())

    def _output(self, flow: Flow) -> bytes:
        if flow.data is not None:
            return flow.data
        schema = flow.schema or schema_of(self.definition.graph.output_schema)
        what = f"output of workflow {self.definition.id!r}"
        value = schema.validate(flow.value, what)
        return stored(schema, value, what, self._services.limits.value_bytes).data or b""

    async def _pause(self, changed: DefinitionChangedError) -> Standing:
        pause = e.RunPaused(reason=str(changed), detail={"by": "engine", "error": type(changed).__name__})
        await self._services.storage.events.create(self.run_id, pause)
        self.journal.add(pause)
        raise _LeftError(Parked("paused"))

    async def _park(self, standing: Parked) -> Standing:
        seen = self.journal.last_slot
        runs = self._services.storage.runs
        while not await runs.release(self.run_id, self._fence(), seen_slot=seen, wake_at=standing.until):
            seen = (await runs.get(self.run_id, resolve_data="none")).last_slot
        return standing

    async def _interrupted(self) -> Standing:
        """The task was cancelled: because the run was, its time was up, or this process is leaving."""
        if self.stopping:
            return Ended()
        self._pending.clear()
        running = [record for record in self.journal.records.values() if record.status == "running"]
        if self._expired:
            self.journal = Journal.of(self.run_id, (await self._services.storage.events.list(self.run_id)).data)
            timeout = self.definition.timeout or timedelta(0)
            at = running[-1].key if running else None
            error = failures.failure_of(RunTimeoutError(self.run_id, timeout, at), key="", step_id="", attempts=1)
            self._record(e.RunFailed(error=failures.dump(error), error_code="DEADLINE_EXCEEDED"))
            await self._commit()
            return Ended()
        # Leaving in good order is not a crash: the try does not count as interrupted.
        for record in running:
            self._pending.append(e.StepRetrying(correlation_id=record.correlation_id, reason="released"))
        if self._pending:
            await self._services.storage.events.create_batch(self.run_id, self._pending, fence=self._fence())
        return await self._park(Parked("interrupted", self._services.clock.now()))

    def _deadline(self) -> datetime | None:
        if self.definition.timeout is None:
            return None
        return (self.journal.created_at or self._services.clock.now()) + self.definition.timeout

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()

    # --- steps -------------------------------------------------------------------------------------

    async def do(self, key: str, step: AnyStep, flow: Flow) -> Flow:
        """The output of ``step`` at ``key``: from the record, or by running its body now.

        Raises StepEndedError when it failed for good.
        """
        record = self.journal.records.get(key)
        if record is None:
            flow = self._prepared(step, flow)
            record = self._create(key, step, flow)
        elif record.status == "completed":
            return self.output_of(record, step)
        elif record.status == "failed":
            error = failures.load(record.error)
            assert error is not None
            raise StepEndedError(error)
        else:
            flow = self._recorded_input(record, step)
            await self._take_up(record, step)
        return await self._attempts(record, step, flow)

    def output_of(self, record: Record, step: AnyStep) -> Flow:
        schema = schema_of(step.stored_output_schema)
        assert record.output is not None
        return Flow(schema.load(record.output, f"output of step {record.key!r}"), record.output, schema)

    def _prepared(self, step: AnyStep, flow: Flow) -> Flow:
        """The step's input as it will be recorded, and as a recovery will read it."""
        if step.body.arity == 0:
            return Flow(None)
        if flow.data is None:
            what = f"input of step {step.id!r}"
            schema = self.definition.stored_input_schema(step)
            value = schema.validate(flow.value, what, "put a .map() or .into() before it")
            flow = stored(schema, value, what, self._services.limits.value_bytes)
        return flow

    def _recorded_input(self, record: Record, step: AnyStep) -> Flow:
        if record.input is None:
            return Flow(None)
        schema = self.definition.stored_input_schema(step)
        return Flow(schema.load(record.input, f"input of step {record.key!r}"), record.input, schema)

    def _create(self, key: str, step: AnyStep, flow: Flow) -> Record:
        name = correlation_id("step", self.run_id, key)
        self._record(e.StepCreated(correlation_id=name, step_name=step.id, key=key, input=flow.data))
        self._record(e.StepStarted(correlation_id=name))
        return self.journal.records[key]

    async def _take_up(self, record: Record, step: AnyStep) -> None:
        """Go on with a call that has begun: its worker was lost, or it waits for its next try."""
        if record.status == "running":
            interruptions = record.interruptions + 1
            if step.at_most_once:
                self._fail(record, OutcomeUnknownError(step.id))
            if interruptions >= self._services.limits.interruptions:
                self._fail(record, StepInterruptedError(record.key, interruptions))
        elif record.retry_after is not None:
            await self._wait(record.retry_after)
        self._record(e.StepStarted(correlation_id=record.correlation_id))

    async def _attempts(self, record: Record, step: AnyStep, flow: Flow) -> Flow:
        while True:
            await self._commit()  # the start is durable before the body begins
            record = self.journal.records[record.key]
            call = StepCall(self, record, step, fence=self.epoch)
            try:
                value = self.definition.passed(step, flow)
                result = await self._services.executor.run(step.body, value, call, step.timeout)
                return self._complete(record, step, call, result)
            except asyncio.CancelledError as error:
                if failures.was_asked_for(error):
                    raise
                await self._retry_or_fail(record, step, error)
            except Exception as error:  # noqa: BLE001  # whatever a body raises is its failure
                await self._retry_or_fail(record, step, error)
            flow = self._recorded_input(record, step)  # a fresh copy: the failed try may have changed it

    def _complete(self, record: Record, step: AnyStep, call: StepCall, result: object) -> Flow:
        schema = schema_of(step.stored_output_schema)
        flow = stored(schema, result, f"output of step {record.key!r}", self._services.limits.value_bytes)
        delta = call.state_change()
        meta: e.Meta | None = {"state": delta} if delta is not None else None
        self._record(e.StepCompleted(correlation_id=record.correlation_id, result=flow.data, meta=meta))
        return flow

    async def _retry_or_fail(self, record: Record, step: AnyStep, error: BaseException) -> None:
        retry = step.retry or self.definition.retry or self._services.retry or _ONCE
        failed = record.failures + 1
        may = isinstance(error, Exception) and (isinstance(error, RetryAfter) or retries_error(retry, error))
        if not may or failed >= retry.attempts:
            self._fail(record, error)
        delay = error.delay if isinstance(error, RetryAfter) else next_delay(retry, failed, self._services.random)
        due = self._services.clock.now() + delay
        noted = failures.failure_of(error, key=record.key, step_id=step.id, attempts=failed)
        self._record(
            e.StepRetrying(correlation_id=record.correlation_id, error=failures.dump(noted), retry_after=due)
        )
        await self._commit()
        await self._wait(due)
        self._record(e.StepStarted(correlation_id=record.correlation_id))

    def _fail(self, record: Record, error: BaseException) -> None:
        failed = failures.failure_of(error, key=record.key, step_id=record.name, attempts=record.failures + 1)
        self._record(e.StepFailed(correlation_id=record.correlation_id, error=failures.dump(failed)))
        raise StepEndedError(failed) from error

    async def _wait(self, until: datetime) -> None:
        """Wait in place for a while that is short; leave the run for one that is long."""
        if until - self._services.clock.now() > self._services.hold:
            raise _LeftError(Parked("retry", until))
        self.waiting_until = until
        self._on_wait()
        try:
            await sleep_until(self._services.clock, until)
        finally:
            self.waiting_until = None
            self._on_wait()

    # --- recording ---------------------------------------------------------------------------------

    def _fence(self) -> RunFence:
        return RunFence(self.epoch)

    def _record(self, event: e.NewEvent) -> None:
        """Note the event, to be committed before anything outside depends on it."""
        self._pending.append(event)
        self.journal.add(event)

    async def _commit(self) -> None:
        """Put what was recorded on disk.

        Raises _LeftError when the run was cancelled or paused meanwhile, FencedError when it was taken over.
        """
        if not self._pending:
            return
        batch, self._pending = self._pending, []
        expected = self.journal.last_slot
        events = self._services.storage.events
        if self._epoch is None:
            result = await events.create_batch(self.run_id, batch, claim=Claim(self._services.owner))
            self._epoch = result.epoch
        else:
            result = await events.create_batch(self.run_id, batch, fence=self._fence())
        refusals = [item.refusal for item in result.items if item.refusal is not None]
        if refusals:
            await self._refused(refusals[0])
        elif result.last_slot != expected:
            # Somebody else wrote meanwhile: read the log as it is.
            self.journal = Journal.of(self.run_id, (await events.list(self.run_id)).data)
            if self.journal.status in ("cancelled", "failed", "completed"):
                raise _LeftError(Ended())

    async def _refused(self, refusal: WorldError) -> None:
        self.journal = Journal.of(self.run_id, (await self._services.storage.events.list(self.run_id)).data)
        if isinstance(refusal, EventLimitError):
            raise LimitError(str(refusal), limit=refusal.limit, got=self.journal.last_slot)
        if isinstance(refusal, RunPausedError):
            raise _LeftError(Parked("paused"))
        if self.journal.status in ("cancelled", "failed", "completed"):
            raise _LeftError(Ended())
        raise refusal


async def load(services: Services, run: Run) -> Journal:
    """The journal of a claimed run."""
    return Journal.of(run.run_id, (await services.storage.events.list(run.run_id)).data)
