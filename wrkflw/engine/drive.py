"""Advance one run, under one claim, as far as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

from wrkflw.clock import Clock
from wrkflw.errors import DefinitionChangedError, RunTimeoutError, StoreError, WrkflwError
from wrkflw.schemas import schema_of
from wrkflw.world import events as e
from wrkflw.world.errors import WorldError
from wrkflw.world.storage import Storage

from . import failures, interpreter
from .definition import AnyStep, Definition
from .executor import Executor
from .journal import Journal
from .recorder import Recorder
from .standing import Ended, LeftError, Parked, Standing, StepEndedError
from .stepping import Stepping
from .values import Flow, stored

if TYPE_CHECKING:
    from wrkflw.retries import Retry

    from .limits import Limits


GRACE = timedelta(seconds=10)
"""How long a body may take to end, once it was told."""


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
    leaving: Callable[[], bool]
    """Whether this process is giving its runs up."""


class Drive:
    """One run, advanced by this process while it holds the claim.

    ``on_wait`` is called when the run begins to wait in place, and again when it goes on.
    """

    def __init__(
        self,
        services: Services,
        definition: Definition,
        journal: Journal,
        epoch: int | None,
        on_wait: Callable[[], None],
    ) -> None:
        self.services = services
        self.definition = definition
        self.recorder = Recorder(services.storage, services.owner, journal, epoch)
        self.waiting_until: datetime | None = None
        self.stopping = False
        """Whether the run was cancelled, or its time is up: bodies should end."""
        self.begun: set[str] = set()
        """The keys whose body was called here."""
        self.overdue = False
        """Whether the run was cancelled, and its body has had its time to end."""
        self._on_wait = on_wait
        self._steps = Stepping(self)
        self._task: asyncio.Task[Standing] | None = None
        self._expired = False

    @property
    def run_id(self) -> str:
        return self.recorder.journal.run_id

    @property
    def journal(self) -> Journal:
        return self.recorder.journal

    @property
    def cancelled(self) -> bool:
        """Whether somebody ended the run."""
        return self.stopping and not self._expired

    @property
    def leaving(self) -> bool:
        """Whether the task is to end: because the run was cancelled, its time is up, or this process leaves it."""
        return self.stopping or self.services.leaving()

    @property
    def ended(self) -> bool:
        """Whether the run's last event is durable."""
        task = self._task
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return False
        return isinstance(task.result(), Ended)

    @property
    def refusal(self) -> BaseException | None:
        """Why the run never came to be, if so."""
        task = self._task
        if self.recorder.epoch or task is None or not task.done() or task.cancelled():
            return None
        return task.exception()

    def begin(self, created: e.RunCreated) -> None:
        """The run is new: its creation, claim and first step start make one transaction."""
        self.recorder.note(created)
        self.recorder.note(e.RunStarted())

    def start(self) -> asyncio.Task[Standing]:
        """Advance, in a task of its own.

        It raises StoreError or FencedError when this process can write no more to the run.
        """
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"wrkflw {self.run_id}")
        return self._task

    def stop(self) -> None:
        """The run was cancelled, or its time is up: tell its body."""
        if self.stopping:
            return
        self.stopping = True
        if self._task is not None:
            self._task.cancel()
        self.services.clock.call_at(self.services.clock.now() + GRACE, self._give_up)

    def _give_up(self) -> None:
        self.overdue = True
        self._on_wait()

    async def do(self, key: str, step: AnyStep, flow: Flow) -> Flow:
        """The output of a step: recorded once, then always that.  Raises StepEndedError."""
        return await self._steps.do(key, step, flow)

    @contextmanager
    def waiting(self, until: datetime) -> Generator[None]:
        """Meanwhile the run waits in place."""
        self.waiting_until = until
        self._on_wait()
        try:
            yield
        finally:
            self.waiting_until = None
            self._on_wait()

    # --- the task ----------------------------------------------------------------------------------

    async def _run(self) -> Standing:
        try:
            try:
                return await self._advance_in_time()
            except asyncio.CancelledError:
                return await self._interrupted()
        except LeftError as left:
            return left.standing if isinstance(left.standing, Ended) else await self._park(left.standing)

    async def _advance_in_time(self) -> Standing:
        deadline = self._deadline()
        if deadline is None:
            return await self._advance()
        if deadline <= self.services.clock.now():  # it passed while the run was parked, or its worker dead
            self._expired = True
            return await self._time_is_up()
        timer = self.services.clock.call_at(deadline, self._expire)
        try:
            return await self._advance()
        finally:
            timer.cancel()

    async def _advance(self) -> Standing:
        try:
            if self.journal.status == "pending":
                await self.recorder.write_now(e.RunStarted())
            self.definition.check_fits(self.journal)
            flow = await interpreter.interpret(self.definition, self)
            self.recorder.note(e.RunCompleted(output=self._output(flow)))
        except StepEndedError as ended:
            if self._expired:  # the body failed of being stopped
                return await self._time_is_up(ended.error.key)
            self.recorder.note(e.RunFailed(error=failures.dump(ended.error), error_code="USER_ERROR"))
        except DefinitionChangedError as changed:
            if self.definition.workflow.on_mismatch == "pause":
                await self._pause(changed)
            self._fail(changed, "DEFINITION_CHANGED")
        except (WorldError, StoreError):
            raise
        except WrkflwError as error:
            self._fail(error, "USER_ERROR")
        except LeftError:
            raise
        except Exception as error:  # noqa: BLE001  # a run that cannot go on must say so, not be tried for ever
            self._fail(error, "RUNTIME_ERROR")
        await self.recorder.commit()
        return Ended()

    def _output(self, flow: Flow) -> bytes:
        if flow.data is not None:
            return flow.data
        schema = schema_of(self.definition.stored_output_schema)
        what = f"output of workflow {self.definition.id!r}"
        value = schema.validate(flow.value, what)
        return stored(schema, value, what, self.services.limits.value_bytes).data or b""

    def _fail(self, error: BaseException, code: str) -> None:
        failed = failures.failure_of(error, key="", step_id="", attempts=1)
        self.recorder.note(e.RunFailed(error=failures.dump(failed), error_code=code))

    async def _pause(self, changed: DefinitionChangedError) -> None:
        """The record does not fit the code: wait for code that fits, or for a decision."""
        self.recorder.discard()
        detail: e.Meta = {"by": "engine", "error": type(changed).__name__}
        await self.recorder.write_now(e.RunPaused(reason=str(changed), detail=detail))
        raise LeftError(self.recorder.paused())

    async def _park(self, standing: Parked) -> Standing:
        deadline = self._deadline()
        if deadline is not None and standing.until is not None and deadline < standing.until:
            standing = Parked(standing.reason, deadline)
        await self.recorder.release(standing)
        return standing

    # --- interruptions -----------------------------------------------------------------------------

    async def _interrupted(self) -> Standing:
        """The task was cancelled: because the run was, its time is up, or this process is leaving."""
        await self.recorder.recover()
        if self.journal.ended:
            return Ended()
        if self._expired:
            return await self._time_is_up()
        # Leaving in good order is not a crash: the try does not count as an interruption.
        for record in self.journal.records.values():
            step = self.definition.steps.get(record.name)
            once = step is not None and step.at_most_once and record.key in self.begun
            if record.status == "running" and not once:
                self.recorder.note(e.StepRetrying(correlation_id=record.correlation_id, reason="released"))
        await self.recorder.commit()
        return await self._park(Parked("interrupted", self.services.clock.now()))

    async def _time_is_up(self, waiting_at: str | None = None) -> Standing:
        assert self.definition.timeout is not None
        if waiting_at is None:
            records = self.journal.records.values()
            waiting_at = next((record.key for record in records if record.status in ("running", "retrying")), None)
        self._fail(RunTimeoutError(self.run_id, self.definition.timeout, waiting_at), "DEADLINE_EXCEEDED")
        await self.recorder.commit()
        return Ended()

    def _deadline(self) -> datetime | None:
        if self.definition.timeout is None:
            return None
        return (self.journal.created_at or self.services.clock.now()) + self.definition.timeout

    def _expire(self) -> None:
        if not self.stopping:
            self._expired = True
            self.stop()
