"""Run: the handle of one execution of a workflow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, Never, cast, overload

from typing_extensions import TypeVar

from .births import Birth, Started
from .clock import later, within
from .context import ResultAccess, Results
from .durations import parse_duration
from .engine.inbox import Inbox
from .engine.journal import Journal
from .engine.views import StepReader, snapshot_of, state_at
from .errors import AlreadyResumedError, RunExistsError, RunNotFoundError, StoreError
from .events import check_event
from .forks import Fork
from .lookout import Lookout
from .results import RunResult, Snapshot, StreamItem
from .runs import check_word
from .steps import ITSELF, check_step
from .streams import Place, bytes_of, stream_of
from .world.entities import Run as RunEntity
from .world.errors import EntityConflictError, WorldError
from .world.events import RunCreated, RunResumed, StoredEvent

if TYPE_CHECKING:
    from .engine.drive import Drive
    from .events import Event
    from .runtime import Runtime
    from .steps import Step, SuspendableStep
    from .workflows import Workflow

WInT = TypeVar("WInT", contravariant=True)
WOutT = TypeVar("WOutT", covariant=True)
StateT = TypeVar("StateT", default=None)
# of the methods
ResumeT = TypeVar("ResumeT")
PayloadT = TypeVar("PayloadT")


class _Within(ResultAccess):
    def __init__(self, results: Results) -> None:
        self._read = results

    def _results(self) -> Results:
        return self._read


class Run(ResultAccess, Generic[WInT, WOutT, StateT]):
    """One execution of a workflow.  Many handles may point at one run.

    ``state`` and ``get_step_result`` answer from what this handle saw last: its own calls and ``refresh`` look again.
    """

    def __init__(self, birth: Birth, journal: Journal | None = None) -> None:
        self._birth = birth
        self._runtime = birth.runtime
        self._definition = birth.definition
        self._journal = journal or Journal(birth.run_id)

    @classmethod
    async def find(cls, runtime: Runtime, workflow: Workflow[Any, Any, Any], run_id: str) -> Run[Any, Any, Any]:
        """The handle of a run that exists.  Raises RunNotFoundError, also when it is another workflow's."""
        definition = runtime.define(workflow)
        entity = await runtime.runs.located(run_id)
        if entity.workflow_name != workflow.id:
            raise RunNotFoundError.of_another(run_id, entity.workflow_name)
        journal = runtime.driver.journal_of(entity) or await runtime.runs.journal(run_id)
        return cls(Birth(runtime, definition, run_id, exists=True), journal)

    @property
    def run_id(self) -> str:
        """``wrun_`` and a ULID, or the id that was given."""
        return self._birth.run_id

    @property
    def state(self) -> StateT:
        """All state that is committed, as this handle saw it last."""
        return cast("StateT", state_at(self._journal, self._definition))

    def _results(self) -> Results:
        return StepReader(self._journal, self._definition)

    def __repr__(self) -> str:
        return f"Run({self.run_id!r}, workflow={self._definition.id!r}, status={self._journal.status!r})"

    # --- starting ----------------------------------------------------------------------------------

    @overload
    async def start(
        self: Run[None, WOutT, StateT], *, initial_state: StateT | None = None, wait: timedelta | str | None = "30s"
    ) -> RunResult[WOutT]: ...
    @overload
    async def start(
        self, input_data: WInT, *, initial_state: StateT | None = None, wait: timedelta | str | None = "30s"
    ) -> RunResult[WOutT]: ...
    async def start(
        self, input_data: object = None, *, initial_state: object = None, wait: timedelta | str | None = "30s"
    ) -> RunResult[WOutT]:
        """Start the run, and drive it here until it ends or parks.

        The timers of sleeps and retries that are due within ``wait`` are waited out; for longer ones the result is
        Waiting ("0s": for any; None: never).
        Once this returns, what the result says is durable.  A run found by its idempotency key is not started again,
        but driven or awaited.

        Raises InvalidValueError when the input or the state does not fit, and nothing was recorded; RunExistsError
        when the run was started before, or its key is known and ``on_conflict`` is "fail"; RunConflictError when its
        key is known with another input; StoreError when nothing could be recorded.
        """
        patience = None if wait is None else parse_duration(wait)
        created, given = self._birth.created(input_data, initial_state)
        if self._birth.exists:
            await self._drive_the_same(created)
            return await self._outcome(patience)
        drive = self._birth.begin(created, given)
        try:
            with self._birth.following(drive):
                return await self._outcome(patience, drive)
        except EntityConflictError as conflict:
            await self._birth.find_holder(conflict)
            await self._drive_the_same(created)
            return await self._outcome(patience)

    @overload
    async def enqueue(
        self: Run[None, WOutT, StateT], *, initial_state: StateT | None = None, delay: timedelta | str | None = None
    ) -> Run[None, WOutT, StateT]: ...
    @overload
    async def enqueue(
        self, input_data: WInT, *, initial_state: StateT | None = None, delay: timedelta | str | None = None
    ) -> Run[WInT, WOutT, StateT]: ...
    async def enqueue(
        self, input_data: object = None, *, initial_state: object = None, delay: timedelta | str | None = None
    ) -> Run[Any, WOutT, StateT]:
        """Record the run and return at once; any worker takes it, not before ``delay`` has passed.

        Durable when it returns.  Raises as :meth:`start` does.
        """
        wake_at = None if delay is None else later(self._runtime.clock.now(), parse_duration(delay))
        created, _ = self._birth.created(input_data, initial_state, wake_at)
        if self._birth.exists or not await self._birth.record(created, wake_at):
            await self._join(created)
            return self
        self._journal = Journal(self.run_id)
        self._journal.add(created)
        return self

    async def _join(self, created: RunCreated) -> None:
        """Accept that the run exists, if it is the one that was meant."""
        if not self._birth.found_by_key:
            raise RunExistsError(self.run_id)
        await self.refresh()
        self._birth.check_meant(created, self._journal)

    async def _drive_the_same(self, created: RunCreated) -> None:
        """Drive the run that exists, if it is the one that was meant."""
        driver = self._runtime.driver
        await self._join(created)
        await driver.take(self.run_id, self._definition)
        driver.check_open(self.run_id)

    # --- awaiting ----------------------------------------------------------------------------------

    async def result(self, timeout: timedelta | str | None = None) -> RunResult[WOutT]:
        """Wait, through timers and wherever the run is driven, until it is finished, suspended or paused.

        Woken, not polled.  Raises TimeoutError after ``timeout``, RunNotFoundError for a run that was never started.
        """
        if timeout is None:
            return await self._outcome(None, for_good=True)
        patience = parse_duration(timeout)
        limit = None
        try:
            async with within(self._runtime.clock, patience) as limit:
                return await self._outcome(None, for_good=True)
        except TimeoutError:
            if limit is None or not limit.expired():  # it is the World's
                raise
            raise TimeoutError(f"run {self.run_id!r} has no result after {timeout}; it goes on") from None

    async def _outcome(
        self, patience: timedelta | None, drive: Drive | None = None, *, for_good: bool = False
    ) -> RunResult[WOutT]:
        lookout = Lookout(self._runtime, self._definition, self.run_id, patience, for_good=for_good)
        with self._started():
            seen = await lookout.watch(drive)
        self._journal = seen.journal
        return cast("RunResult[WOutT]", seen.result)

    # --- what the outside hands in -----------------------------------------------------------------

    async def resume(
        self,
        step: SuspendableStep[Never, object, ResumeT, object, Never],
        resume_data: ResumeT,
        *,
        at: str | None = None,
        wait: timedelta | str | None = "30s",
    ) -> RunResult[WOutT]:
        """Answer a ``ctx.suspend`` of ``step``, and drive the run from there as :meth:`start` does.

        ``at`` is the key of the call, needed where several of the step wait.  The answer is durable when this returns,
        whatever becomes of the run.

        Raises InvalidValueError when the answer does not fit, NotSuspendedError, AmbiguousResumeError when ``at`` is
        needed, AlreadyResumedError when somebody was faster, DefinitionChangedError when the code no longer has the
        step; nothing was changed then.  LimitError when the log is full, of which a run that only waits has failed
        then.  StoreError when nothing could be recorded, or the runtime is closed meanwhile: it says which.
        """
        patience = None if wait is None else parse_duration(wait)
        check_step("resume()", step, cure=ITSELF)
        driver = self._runtime.driver
        try:
            with self._started():
                await self._inbox.answer(self._journal, step, resume_data, at)
        except AlreadyResumedError:
            await self.refresh()
            raise
        driver.check_open(self.run_id)  # else it is recorded, and goes on elsewhere
        return await self._outcome(patience)

    async def send_event(
        self,
        event: Event[PayloadT],
        payload: PayloadT,
        *,
        dedupe_id: str | None = None,
        wait: timedelta | str | None = "30s",
    ) -> RunResult[WOutT]:
        """Hand in an event, before, during or after the wait for it, and drive the run as :meth:`start` does.

        Events of one name queue up; the oldest goes to the oldest wait.  Sent again with the same ``dedupe_id`` it is
        taken once.  Durable when this returns.

        Raises InvalidValueError when the payload does not fit, UnknownEventError when the workflow waits for no such
        event, RunFinishedError, EntityConflictError when the ``dedupe_id`` came with another event or payload before;
        nothing was recorded then.  LimitError when the log is full, of which a run that only
        waits has failed then.  StoreError as :meth:`resume` does.
        """
        patience = None if wait is None else parse_duration(wait)
        check_event("send_event()", event)
        driver = self._runtime.driver
        with self._started():
            await self._inbox.send(self.run_id, event, payload, dedupe_id)
        driver.check_open(self.run_id)  # else it is recorded, and goes on elsewhere
        return await self._outcome(patience)

    async def wake(self, id: str | None = None) -> None:
        """End a sleep early, by its key, or all that are open.  Durable when it returns.

        What keeps a run from beginning, a delay or its turn in a schedule, is no sleep.

        Raises RunFinishedError, RunNotFoundError when it was never started, StepNotRunError when the run never came
        to such a sleep, and LimitError when its log is full.
        """
        with self._started():
            await self._inbox.wake(self.run_id, id)

    def _started(self) -> Started:
        return Started(self._birth)

    @property
    def _inbox(self) -> Inbox:
        return self._runtime.inbox_of(self._definition)

    # --- the rest ----------------------------------------------------------------------------------

    def fork(
        self, at: Step[Never, object, Never] | None = None, *, key: str | None = None
    ) -> Fork[WInT, WOutT, StateT]:
        """A draft of a new run that takes over what was recorded before ``at``; this one stays as it is.

        ``key`` names the call where the step ran several times, ``send[3]``, ``poll#2``, ``enrich/fetch``.  Without
        either, the new run goes on where this one failed, or repeats what is open in it.  Nothing is read or recorded
        before the draft is started.

        Raises TypeError when ``at`` is no step.
        """
        if at is not None:
            check_step("fork()", at, cure=ITSELF)

        def handle(run_id: str) -> Run[WInT, WOutT, StateT]:
            return Run(Birth(self._runtime, self._definition, run_id, exists=True))

        def outcome(
            run: Run[Any, Any, Any], patience: timedelta | None, drive: Drive
        ) -> Coroutine[Any, Any, RunResult[WOutT]]:
            return run._outcome(patience, drive)

        return Fork(self._runtime, self._definition, self.run_id, at, key, handle, outcome)

    async def cancel(self, reason: str | None = None) -> bool:
        """End the run.  Durable when it returns: nothing of it starts any more.

        True when the run is now, or was, cancelled; False when it had completed or failed, which changes nothing.
        Raises RunNotFoundError when it was never started.
        """
        with self._started():
            cancelled = await self._runtime.runs.cancel(self.run_id, reason)
        await self.refresh()
        return cancelled

    async def pause(self, reason: str | None = None) -> None:
        """Start nothing more of the run until it is unpaused; a body that runs is finished and recorded.

        Durable when it returns, and over restarts.  Pausing a paused run does nothing.  Raises RunFinishedError,
        InvalidValueError for a ``reason`` that is none, and LimitError as :meth:`send_event` does.
        """
        with self._started():
            await self._runtime.runs.pause(self.run_id, reason)

    async def unpause(self) -> None:
        """Let the run go on; what fell due meanwhile happens now.

        Durable when it returns.  On a run that is not paused it does nothing.  Raises RunFinishedError, and
        LimitError as :meth:`send_event` does.
        """
        with self._started():
            if not await self._unpaused_here():
                await self._runtime.runs.unpause(self.run_id)

    async def _unpaused_here(self) -> bool:
        """Let it go on here if the code fits, which elsewhere it may not.  False when that is left to others."""
        driver = self._runtime.driver
        try:
            journal = await self._runtime.runs.journal(self.run_id)
            if journal.paused_by is None or await driver.misfit(self._definition, journal) is not None:
                return False
            await driver.deliver(self.run_id, self._definition, RunResumed())
        except (WorldError, StoreError):  # what is wrong is said by who records it without looking
            return False
        return True

    def within(self, key: str) -> ResultAccess:
        """The step results inside a nested workflow, by its key: ``enrich``, ``enrich[3]``, ``outer/inner``.

        From what this handle saw last.
        """
        prefix = f"{key}/"
        return _Within(StepReader(self._journal, self._definition.within(prefix), prefix))

    async def snapshot(self) -> Snapshot:
        """The run as its log stands now.  Raises RunNotFoundError when it was never started."""
        with self._started():
            entity: RunEntity = await self._runtime.runs.entity(self.run_id)
        self._journal = await self._runtime.runs.journal(self.run_id)
        return snapshot_of(self._journal, entity, self._definition)

    async def events(self) -> AsyncIterator[StoredEvent]:
        """The log of the run so far, in order.  Raises RunNotFoundError when it was never started."""
        with self._started():
            log = await self._runtime.runs.log(self.run_id)
        for event in log:
            yield event

    def stream(
        self, after: str | None = None, until: Literal["finished", "parked"] = "finished"
    ) -> AsyncIterator[StreamItem]:
        """Log events and chunks in one order, live, from any process.

        ``after`` is the cursor of an item: what follows it is given, and nothing else.  It ends when the run has; with
        ``until="parked"`` also when nothing of the run moves by itself: it is suspended, paused, or waits for an event
        or for a time that is not near.  A body that begins again after it had written gives a ``reset``.

        Raises InvalidValueError when ``after`` is no cursor of this run or ``until`` is something else,
        RunNotFoundError when it was never started.
        """
        check_word("until=", [until], ("finished", "parked"))
        return stream_of(self._runtime, self.run_id, Place.of(after), until)

    def read_stream(self, name: str = "default", start_index: int = 0) -> AsyncIterator[bytes]:
        """The chunks of one stream, live, until it is closed or the run has ended.

        ``start_index`` counts chunks; a negative one counts from the end.  Chunks of a body that began again are left
        out, unless they were given before that; no other gets their index.  Raises RunNotFoundError,
        and InvalidValueError for what cannot be the name of a stream.
        """
        return bytes_of(self._runtime, self.run_id, name, start_index)

    async def refresh(self) -> None:
        """Read again what was recorded; ``state`` and ``get_step_result`` answer from it.  Raises RunNotFoundError."""
        with self._started():
            self._journal = await self._runtime.runs.journal(self.run_id)
