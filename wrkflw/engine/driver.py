"""The runs that this process advances: each in a task, and what becomes of it when it lands."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

from wrkflw.clock import Clock, sleep_until
from wrkflw.errors import DefinitionChangedError, NondeterminismError, StoreError, WrkflwError
from wrkflw.ids import Randomness, new_token
from wrkflw.retries import Retry
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.errors import (
    DamagedPayloadError,
    EntityConflictError,
    FencedError,
    RunExpiredError,
    WorkflowRunNotFoundError,
)
from wrkflw.world.schedules import waits_in_line
from wrkflw.world.storage import RUN_PARKED, Claim, RunFence

from .background import Background, ended
from .callbacks import call_back, callback_of, log_failure
from .chunks import Chunks
from .damage import pause_if_damaged
from .definition import Definition
from .drive import Drive
from .errands import Errands
from .executor import Executor
from .fitting import misfit
from .journal import Journal
from .kept import KeptJournals
from .limits import Limits
from .observers import Observer
from .overflow import ending_if_full
from .rehearsal import rehearse
from .services import Services
from .standing import Ended, Parked, Standing
from .takers import FROM_OUTSIDE, MAKES_DUE, Taker
from .waiters import Waiters
from .worker import Worker

HOLD = timedelta(seconds=5)
"""Timers up to here are waited out with the run in memory."""
THREADS = 32
"""How many sync bodies run at once."""
_PAUSES = {"run_paused": True, "run_resumed": False}
_NEWS = e.RUN_ENDS | MAKES_DUE | {RUN_PARKED}

_log = logging.getLogger("wrkflw")


class Driver:
    """``takes`` is how many runs it takes by itself at a time; with 0 it drives only those it is given."""

    def __init__(
        self,
        world: World,
        definitions: Mapping[str, Definition],
        *,
        clock: Clock,
        random: Randomness,
        chance: Callable[[str, int], Randomness],
        limits: Limits,
        retry: Retry | None,
        takes: int,
        executor: Executor,
        observer: Observer | None = None,
    ) -> None:
        self._world = world
        self._clock = clock
        self._executor = executor
        executor.observer = observer
        room = threading.Condition(threading.Lock())
        self._services = Services(
            storage=world.storage,
            owner=world.owner,
            clock=clock,
            chance=chance,
            executor=self._executor,
            limits=limits,
            retry=retry,
            hold=HOLD,
            leaving=lambda: self.leaving,
            draining=lambda: self._draining,
            observer=observer,
            new_token=lambda: new_token(random),
            chunks=lambda recorder: Chunks(world.streamer, recorder, limits.value_bytes, room),
        )
        self.kept = KeptJournals(world.storage)
        self._drives: dict[str, Drive] = {}
        self._tasks: dict[str, asyncio.Task[Standing]] = {}
        self._background = Background()
        self._taker: Taker = (
            Worker(world, definitions, self, self._background, clock, takes)
            if takes
            else Errands(self, self._background, clock, HOLD)
        )
        self._waiters = Waiters()
        self._readers = Waiters()
        """Who wants to hear of every event and chunk of a run."""
        self._unsubscribe = world.subscribe(self._hear)
        self._closing = False
        self._draining = False
        self._looks, self._must_look = False, False
        """Whether somebody looks what others have written to the runs that are driven here, and is to look again."""
        self._delivering: Counter[str] = Counter()
        """Runs to which something is being written here that is to claim them."""

    # --- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        self._background.start()
        self._taker.start()

    async def drain(self, patience: timedelta) -> None:
        """Begin nothing more, and wait for the bodies that run, up to ``patience``; their runs are released then."""
        self._draining = True
        await self._taker.rest()
        for drive in self._drives.values():
            drive.ring()  # who waits in place has nothing to wait for
        overdue = asyncio.Event()
        timer = self._clock.call_at(self._clock.now() + patience, overdue.set)
        giving_up = asyncio.ensure_future(overdue.wait())
        try:
            while self._tasks and not overdue.is_set():
                await asyncio.wait([giving_up, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            giving_up.cancel()

    async def close(self) -> None:
        """Stop taking runs, interrupt those that are being driven, and release them."""
        self._stop_hearing()
        try:
            await self._taker.rest()
            await self._background.end()
            if undecided := [drive.decision() for drive in self._drives.values() if drive.undecided]:
                await asyncio.gather(*undecided)
            await ended(self._tasks.values())
        finally:
            self._executor.close()
            self._waiters.tell_all()
            self._readers.tell_all()

    def abandon(self, error: BaseException) -> set[asyncio.Task[Any]]:
        """As when the process dies here: nothing is released, and whoever waits hears ``error``.

        For tests; what is returned is still about to end.
        """
        self._stop_hearing()
        for task in self._tasks.values():
            task.cancel()
        self._executor.close()
        self._waiters.tell_all(error)
        self._readers.tell_all(error)
        return self._background.tasks | set(self._tasks.values())

    def _stop_hearing(self) -> None:
        self._closing = True
        self._unsubscribe()
        self._taker.close()
        self._background.hush()

    # --- what others ask for -----------------------------------------------------------------------

    def begin(
        self, definition: Definition, run_id: str, created: e.RunCreated, record: Iterable[e.NewEvent] = ()
    ) -> Drive:
        """Drive a new run from its first event on, or from the end of the ``record`` it is born with."""
        if self.leaving or self._draining:
            raise StoreError(f"the runtime is being closed; start run {run_id!r} with another")
        drive = Drive(self._services, definition, Journal(run_id), None, lambda: self._waiters.tell(run_id))
        drive.begin(created, record)
        self._launch(drive)
        return drive

    async def leave(
        self, definition: Definition, run_id: str, created: e.RunCreated, record: Sequence[e.NewEvent]
    ) -> None:
        """Record a new run, with the ``record`` it is born with, for whoever takes it.  Durable when it returns."""
        await asyncio.shield(self._background.begin(self._leave(definition, run_id, created, record)))

    async def _leave(
        self, definition: Definition, run_id: str, created: e.RunCreated, record: Sequence[e.NewEvent]
    ) -> None:
        storage = self._services.storage
        born = await storage.events.create_batch(run_id, [created, *record], claim=Claim(self._services.owner))
        fence, now = RunFence(born.epoch), self._clock.now()
        try:
            if not await storage.runs.release(run_id, fence, seen_slot=born.last_slot, wake_at=now):
                raise StoreError(f"run {run_id!r} was written to at once")  # by one who guessed its id
        except WrkflwError:  # it is recorded all the same
            self.spawn(self._give_up(run_id, fence, definition))
        self._taker.look()

    async def take(self, run_id: str, definition: Definition) -> bool:
        """Drive a run that exists, if nobody does: False when somebody else has it, or it cannot move yet."""
        if run_id in self._drives:
            return True
        # A task of its own: a claim must not be left without a drive when who asked for it stops waiting.
        return await asyncio.shield(self._background.begin(self.take_up(run_id, definition)))

    async def take_up(self, run_id: str, definition: Definition) -> bool:
        """The same, of a run that is not driven here, for who is not to be interrupted."""
        if self._draining:
            return False
        self._taker.asked(run_id, definition)
        runs = self._services.storage.runs
        try:
            run = await runs.locate(run_id)
            if run.ended:  # nobody will tell of that
                self._taker.forget(run_id)
            if run.ended or waits_in_line(run):
                return False
            if run.owner is None and run.wake_at is not None and run.wake_at > self._clock.now():
                self._taker.expect(run_id, definition, run.wake_at)
                return False
            run = await runs.claim(run_id, owner=self._services.owner)
        except EntityConflictError:
            return False
        except (RunExpiredError, WorkflowRunNotFoundError):
            self._taker.forget(run_id)
            return False
        await self._resume_or_give_up(run, definition)
        return True

    async def deliver(
        self, run_id: str, definition: Definition, event: e.NewEvent, resume_id: str | None = None
    ) -> None:
        """Record what comes from outside, and drive the run here if nobody does.  Durable when it returns.

        Raises what the World refuses it with, LimitError when the log is full.
        """
        # Nobody goes on from a journal that was kept of a run that is paused.
        goes_on = resume_id is None and event.event_type != "run_resumed"
        if goes_on and await self._go_on_with(run_id, definition, event):
            return
        async with ending_if_full(self._services.storage, run_id):
            await self._background.finish(self._deliver(run_id, definition, event, resume_id))

    async def _go_on_with(self, run_id: str, definition: Definition, event: e.NewEvent) -> bool:
        """Go on from the journal that was kept, as if the event stood in the log behind it.

        The event is recorded together with what comes of it before the first body begins, in one transaction that also
        claims the run.  False, and nothing is recorded, when there is no such journal or the run has moved on.  Raises
        StoreError when nothing can be recorded.
        """
        while (other := self._drives.get(run_id)) is not None and other.undecided:
            await other.decision()
        # A program takes the time from what comes, which only the log knows.
        if other is not None or self.leaving or self._draining or run_id in self._delivering or definition.has_code:
            return False
        journal = self.kept.take(run_id)
        if journal is None or journal.paused_by is not None:
            return False
        drive = Drive(self._services, definition, journal, None, lambda: self._waiters.tell(run_id))
        drive.begin_with(event)
        self._launch(drive)
        await drive.decision()
        if isinstance(drive.refusal, StoreError):
            raise drive.refusal
        return not drive.turned_away

    async def _deliver(self, run_id: str, definition: Definition, event: e.NewEvent, resume_id: str | None) -> None:
        claim = None if self.leaving or self._draining or run_id in self._drives else Claim(self._services.owner)
        self._delivering[run_id] += 1
        try:
            result = await self._services.storage.events.create(run_id, event, claim=claim, resume_id=resume_id)
        finally:
            self._delivering[run_id] -= 1
            if not self._delivering[run_id]:
                del self._delivering[run_id]
        if result.claimed:
            await self._resume_or_give_up(result.run, definition, result.event)
        elif run_id in self._drives:
            self.ring(run_id)
        else:  # its drive here has landed meanwhile, or somebody else has it
            await self._taker.take(run_id, definition)

    def stir(self, run_id: str) -> None:
        """The run may have something to do, here or for a worker."""
        self.ring(run_id)
        self._taker.look()

    def ring(self, run_id: str) -> None:
        """Somebody wrote to the run."""
        if (drive := self._drives.get(run_id)) is not None:
            drive.ring()

    async def _resume_or_give_up(self, run: Run, definition: Definition, latest: e.StoredEvent | None = None) -> None:
        try:
            await self.resume(run, definition, latest)
        except Exception as error:
            await pause_if_damaged(self._services.storage, run.run_id, error)
            self.spawn(self._give_up(run.run_id, RunFence(run.epoch), definition))
            raise

    async def resume(self, run: Run, definition: Definition, latest: e.StoredEvent | None = None) -> None:
        """Drive a run that was just claimed, from where its log ends, which ``latest`` is if it is given.

        Raises StoreError when the log cannot be read; who claimed the run is to release it then.
        """
        journal = await self.kept.journal_of(run, latest)
        self._launch(Drive(self._services, definition, journal, run.epoch, lambda: self._waiters.tell(run.run_id)))

    async def misfit(
        self, definition: Definition, journal: Journal
    ) -> DefinitionChangedError | NondeterminismError | None:
        """What keeps a run from going on with the code as it is, if something does."""
        changed = misfit(definition, journal)
        if changed is not None or not definition.has_code:
            return changed
        return await rehearse(self._services, definition, journal)

    def journal_of(self, run: Run) -> Journal | None:
        """The journal of a run that was parked here, if it still stands so.  Not to be written to."""
        return self.kept.peek(run)

    def drive_of(self, run_id: str) -> Drive | None:
        """The drive of a run that is being advanced here now."""
        return self._drives.get(run_id)

    @property
    def driving(self) -> int:
        """How many runs are being advanced here now."""
        return len(self._drives)

    def watching(self, run_id: str) -> AbstractContextManager[asyncio.Future[None]]:
        """A future of the next change of how the run stands.  It raises StoreError when this process has lost the run.

        Who goes on to wait for it calls :meth:`check_open` before.
        """
        return self._waiters.listening(run_id)

    def listening(self, run_id: str) -> AbstractContextManager[asyncio.Future[None]]:
        """A future of the next thing that is written to the run, by whomever.  Raises StoreError once it is closed."""
        self.check_open(run_id)
        return self._readers.listening(run_id)

    def check_open(self, run_id: str) -> None:
        """Raises StoreError when nothing more is heard of the run here."""
        if self._closing:
            raise StoreError(
                f"the runtime was closed while run {run_id!r} goes on; take it with wf.get_run({run_id!r})"
            )

    def workflow_known(self) -> None:
        """There is code that runs may have waited for."""
        self._taker.workflow_known()

    @property
    def leaving(self) -> bool:
        """Whether this process gives its runs up: the driver is closed, or the loop ends and cancels every task."""
        return self._closing or self._background.loop_ends

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Do it beside, until the driver is closed."""
        self._background.spawn(work)

    # --- driving -----------------------------------------------------------------------------------

    def _launch(self, drive: Drive) -> None:
        self._taker.driven(drive.run_id, drive.definition)
        self._drives[drive.run_id] = drive
        task = self._tasks[drive.run_id] = drive.start()
        task.add_done_callback(lambda task: self._landed(drive, task))

    def _landed(self, drive: Drive, task: asyncio.Task[Standing]) -> None:
        run_id = drive.run_id
        if self._drives.get(run_id) is drive:
            del self._drives[run_id], self._tasks[run_id]
        error = None if task.cancelled() else task.exception()
        drive.decided()
        if drive.turned_away and not self._closing:  # what was told of the run meanwhile was told to this drive
            self._taker.take_soon(run_id, drive.definition)
        elif error is not None and not self._closing:
            self._lost(drive, error)
        elif not task.cancelled() and not self._closing:
            if isinstance(task.result(), Parked) and drive.recorder.clean:
                self.kept.keep(drive.journal, drive.recorder.epoch)
            match task.result():
                case Ended():
                    self._taker.forget(run_id)
                    if (callback := callback_of(drive.definition, drive.journal.status)) is not None:
                        self.spawn(call_back(callback, run_id, drive.recorder.epoch, self._services.storage.runs))
                    elif not self._waiters.waits_for(run_id):
                        log_failure(drive.journal)
                case Parked() if drive.rung:  # too late for this drive, and too early for the next to have heard it
                    self._taker.take_soon(run_id, drive.definition)
                case Parked(until=datetime() as until):
                    self._taker.expect(run_id, drive.definition, until)
                case Parked():
                    pass
        if isinstance(error, DamagedPayloadError) or (error is None and drive.journal.paused_by == "engine"):
            self._taker.misfit(run_id)
        elif error is None and not task.cancelled():
            self._taker.went_on(run_id)
        self._taker.freed()
        # Why a run never came to be is told to its starter alone: the id may be that of another run.
        self._waiters.tell(run_id, error if drive.recorder.epoch else None)
        self._readers.tell(run_id)

    def _lost(self, drive: Drive, error: BaseException) -> None:
        """This process can write no more to the run, for whatever reason; it must not keep it from others."""
        if isinstance(error, FencedError):
            _log.info("run %s was taken over by another process", drive.run_id)
        elif drive.recorder.epoch != 0:  # else it never came to be, and whoever started it is told
            _log.error("run %s stopped here: %s", drive.run_id, error, exc_info=error)
            self.spawn(self._pause_or_give_up(drive, error))

    async def _pause_or_give_up(self, drive: Drive, error: BaseException) -> None:
        await pause_if_damaged(self._services.storage, drive.run_id, error)
        await self._give_up(drive.run_id, drive.recorder.fence, drive.definition)

    async def _give_up(self, run_id: str, fence: RunFence, definition: Definition) -> None:
        runs = self._services.storage.runs
        while True:
            later = self._clock.now() + HOLD
            try:
                seen = (await runs.locate(run_id)).last_slot
                if await runs.release(run_id, fence, seen_slot=seen, wake_at=later):
                    return self._taker.expect(run_id, definition, later)
            except (FencedError, WorkflowRunNotFoundError):
                return  # it is another's, or no more
            except WrkflwError:
                _log.warning("run %s could not be released; trying again", run_id)
                await sleep_until(self._clock, later)

    # --- hearing -----------------------------------------------------------------------------------

    def _hear(self, run_id: str, event_types: Sequence[str]) -> None:
        """What was written, by this process or another."""
        if not run_id:
            self._hear_of_anything()
            return
        self._readers.tell(run_id)
        if _NEWS.isdisjoint(event_types):
            return
        drive = self._drives.get(run_id)
        if not e.RUN_ENDS.isdisjoint(event_types):
            self._taker.ended(run_id)
            if drive is None:
                self.kept.forget(run_id)
        if drive is None:
            if run_id not in self._delivering:  # else who writes it goes on with the run
                self._taker.heard(run_id, event_types)
                self._waiters.tell(run_id)
        elif "run_cancelled" in event_types:  # its landing tells
            drive.stop()
        elif not FROM_OUTSIDE.isdisjoint(event_types):
            for event_type in event_types:
                if event_type in _PAUSES:
                    drive.pause(_PAUSES[event_type])
            drive.ring()
        elif "wait_completed" in event_types and not drive.recorder.wrote_end_of_wait():
            drive.ring()  # somebody has woken it

    def _hear_of_anything(self) -> None:
        """Somebody has written something, or a process has come or gone."""
        if self._closing:
            return
        self._taker.heard_of_anything(lambda run_id: run_id not in self._drives and self._waiters.waits_for(run_id))
        self._waiters.tell_all()
        self._readers.tell_all()
        if self._drives:
            self._must_look = True
            if not self._looks:
                self._looks = True
                self.spawn(self._look_at_drives())

    async def _look_at_drives(self) -> None:
        """What others may have written to the runs that are driven here: the log says what."""
        try:
            while self._must_look:
                self._must_look = False
                try:
                    runs = await self._services.storage.runs.get_many(list(self._drives))
                except WrkflwError:
                    _log.exception("the database could not be read; looking again")
                    await sleep_until(self._clock, self._clock.now() + HOLD)
                    self._must_look = True
                else:
                    self._tell_drives(runs)
        finally:
            self._looks = False

    def _tell_drives(self, runs: Iterable[Run | None]) -> None:
        for run in runs:
            drive = None if run is None else self._drives.get(run.run_id)
            if run is not None and drive is not None:
                drive.pause(run.paused_at is not None)
                (drive.stop if run.status == "cancelled" else drive.ring)()
