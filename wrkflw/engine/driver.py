"""The runs that this process advances, each in a task."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from contextvars import Context
from datetime import timedelta
from typing import Any

from wrkflw.clock import Clock, later
from wrkflw.errors import DefinitionChangedError, NondeterminismError, StoreError, WrkflwError
from wrkflw.garbage import CollectingRarely
from wrkflw.ids import Randomness, new_token
from wrkflw.retries import Retry
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.errors import EntityConflictError, RunExpiredError, WorkflowRunNotFoundError
from wrkflw.world.schedules import waits_in_line
from wrkflw.world.storage import Claim, RunFence

from .background import Background, gone
from .chunks import Chunks
from .damage import pause_if_damaged
from .definition import Definition
from .drive import Drive
from .errands import Errands
from .executor import Executor
from .fitting import misfit
from .hearing import Hearing
from .journal import Journal
from .kept import KeptJournals
from .landing import Landing
from .limits import Limits
from .observers import Observer
from .outside import Outside
from .places import Places
from .rehearsal import rehearse
from .services import Services
from .standing import Standing
from .takers import Taker
from .values import Settled
from .waiters import Waiters
from .worker import Worker

HOLD = timedelta(seconds=5)
"""Timers up to here are waited out with the run in memory."""
THREADS = 32
"""How many sync bodies run at once."""


class Driver:
    """``takes`` is how many runs it takes by itself at a time; with 0 it drives only those it is given.

    ``context`` gives what their bodies run in, where that is not the context of whoever asked.
    """

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
        context: Callable[[], Context | None],
        observer: Observer | None = None,
    ) -> None:
        self._world = world
        self._context = context
        self._clock = clock
        self._executor = executor
        self._collecting = CollectingRarely()
        executor.observer = observer
        lock = threading.Lock()
        room = threading.Condition(lock)
        self.services = Services(
            storage=world.storage,
            claim=Claim(world.owner),
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
            chunks=lambda recorder: Chunks(world.streamer, recorder, limits.value_bytes, lock, room),
        )
        self.kept = KeptJournals(world.storage)
        self.drives: dict[str, Drive] = {}
        self._tasks: dict[asyncio.Task[Standing], Drive] = {}
        self.background = Background()
        self.taker: Taker = (
            Worker(world, definitions, self, self.background, clock, takes)
            if takes
            else Errands(self, self.background, clock, HOLD)
        )
        self.places = Places(self.drives, self.taker.freed)
        self.waiters = Waiters()
        # Bound once: each use of a method by its name would make another object for each run that is driven.
        self._on_wait, self._on_landed = self.waiters.tell, self._landed
        self.readers = Waiters()
        """Who wants to hear of every event and chunk of a run."""
        self._unsubscribe = world.subscribe(Hearing(self).hear)
        self.closing = False
        self.hands_over = False
        """Whether it is being closed in good order: what is still handed in is refused, and nothing of it recorded."""
        self._draining = False
        self.outside, self.landing = Outside(self), Landing(self)

    # --- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        self._collecting.begin()
        self.background.start()
        self.taker.start()

    async def drain(self, patience: timedelta) -> None:
        """Begin nothing more, and wait for the bodies that run, up to ``patience``; their runs are released then."""
        self._draining = True
        await self.taker.rest()
        for drive in self.drives.values():
            drive.ring()  # who waits in place has nothing to wait for
        overdue = asyncio.Event()
        timer = self._clock.call_at(later(self._clock.now(), patience), overdue.set)
        giving_up = asyncio.ensure_future(overdue.wait())
        try:
            while self._tasks and not overdue.is_set():
                await asyncio.wait([giving_up, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            giving_up.cancel()

    async def close(self) -> None:
        """Stop taking runs, interrupt those that are being driven, and release them."""
        self.hands_over = True
        self._stop_hearing()
        try:
            await self.taker.rest()
            await self.background.end()
            for drive in tuple(self.drives.values()):
                if (decision := drive.decision()) is not None:
                    await decision
            for drive in self._tasks.values():
                drive.interrupt()
            await gone(self._tasks)
        finally:
            self._executor.close()
            self.waiters.tell_all()
            self.readers.tell_all()

    def abandon(self, error: BaseException) -> set[asyncio.Task[Any]]:
        """As when the process dies here: nothing is released, and whoever waits hears ``error``.

        For tests; what is returned is still about to end.
        """
        self._stop_hearing()
        for task in self._tasks:
            task.cancel()
        self._executor.close()
        self.waiters.tell_all(error)
        self.readers.tell_all(error)
        return self.background.tasks | set(self._tasks)

    def _stop_hearing(self) -> None:
        self.closing = True
        self._collecting.end()
        self._unsubscribe()
        self.taker.close()
        self.background.hush()

    # --- what others ask for -----------------------------------------------------------------------

    def begin(
        self,
        definition: Definition,
        run_id: str,
        created: e.RunCreated,
        record: Iterable[e.NewEvent] = (),
        given: Settled | None = None,
    ) -> Drive:
        """Drive a new run from its first event on, or from the end of the ``record`` it is born with.

        ``given`` is its input, if it was read back just now, and belongs to the run from now on.
        """
        if not self.takes_more:
            raise StoreError(f"the runtime is being closed; start run {run_id!r} with another")
        drive = self.new_drive(definition, Journal(run_id))
        drive.begin(created, record, given)
        self._launch(drive)
        return drive

    async def leave(
        self, definition: Definition, run_id: str, created: e.RunCreated, record: Sequence[e.NewEvent]
    ) -> None:
        """Record a new run, with the ``record`` it is born with, for whoever takes it.  Durable when it returns."""
        if self.hands_over:
            raise StoreError(f"the runtime is being closed; enqueue run {run_id!r} with another")
        await self.background.finish(self._leave(definition, run_id, created, record))

    async def _leave(
        self, definition: Definition, run_id: str, created: e.RunCreated, record: Sequence[e.NewEvent]
    ) -> None:
        storage = self.services.storage
        born = await storage.events.create_batch(run_id, [created, *record], claim=self.services.claim)
        fence, now = RunFence(born.epoch), self._clock.now()
        released = False
        with suppress(WrkflwError):  # it is recorded all the same
            released = await storage.runs.release(run_id, fence, seen_slot=born.last_slot, wake_at=now)
        if not released:  # or somebody wrote to it at once, who guessed its id
            self.spawn(self.landing.give_up(run_id, fence, definition))
        self.taker.look()

    async def take(self, run_id: str, definition: Definition) -> bool:
        """Drive a run that exists, if nobody does: False when somebody else has it, or it cannot move yet."""
        if run_id in self.drives:
            return True
        # To its end: a claim must not be left without a drive when who asked for it stops waiting.
        return await self.background.finish(self.take_up(run_id, definition))

    async def take_up(self, run_id: str, definition: Definition) -> bool:
        """The same, of a run that is not driven here, for who is not to be interrupted."""
        if not self.takes_more:
            return False
        self.taker.asked(run_id, definition)
        runs = self.services.storage.runs
        try:
            run = await runs.locate(run_id)
            if run.ended:  # nobody will tell of that
                self.taker.forget(run_id)
            if run.ended or waits_in_line(run):
                return False
            if run.owner is None and run.wake_at is not None and run.wake_at > self._clock.now():
                self.taker.expect(run_id, definition, run.wake_at)
                return False
            run = await runs.claim(run_id, owner=self.services.claim.owner)
        except EntityConflictError:
            return False
        except (RunExpiredError, WorkflowRunNotFoundError):
            self.taker.forget(run_id)
            return False
        await self.resume_or_give_up(run, definition)
        return True

    def deliver(
        self, run_id: str, definition: Definition, event: e.NewEvent, resume_id: str | None = None
    ) -> Coroutine[Any, Any, None]:
        """As :meth:`Outside.deliver`."""
        return self.outside.deliver(run_id, definition, event, resume_id)

    def stir(self, run_id: str) -> None:
        """The run may have something to do, here or for a worker."""
        self.ring(run_id)
        self.taker.look()

    def ring(self, run_id: str) -> None:
        """Somebody wrote to the run."""
        if (drive := self.drives.get(run_id)) is not None:
            drive.ring()

    async def resume_or_give_up(self, run: Run, definition: Definition, latest: e.StoredEvent | None = None) -> None:
        """As :meth:`resume`, but what cannot be driven does not stay claimed."""
        try:
            await self.resume(run, definition, latest)
        except Exception as error:
            await pause_if_damaged(self.services.storage, run.run_id, error)
            self.spawn(self.landing.give_up(run.run_id, RunFence(run.epoch), definition))
            raise

    async def resume(self, run: Run, definition: Definition, latest: e.StoredEvent | None = None) -> None:
        """Drive a run that was just claimed, from where its log ends, which ``latest`` is if it is given.

        Raises StoreError when the log cannot be read; who claimed the run is to release it then.
        """
        journal = await self.kept.journal_of(run, latest)
        self.launch(self.new_drive(definition, journal, run.epoch))

    async def misfit(
        self, definition: Definition, journal: Journal
    ) -> DefinitionChangedError | NondeterminismError | None:
        """What keeps a run from going on with the code as it is, if something does."""
        changed = misfit(definition, journal)
        if changed is not None or not definition.has_code:
            return changed
        return await rehearse(self.services, definition, journal)

    def journal_of(self, run: Run) -> Journal | None:
        """The journal of a run that was parked here, if it still stands so.  Not to be written to."""
        return self.kept.peek(run)

    def drive_of(self, run_id: str) -> Drive | None:
        """The drive of a run that is being advanced here now."""
        return self.drives.get(run_id)

    @property
    def driving(self) -> int:
        """How many runs are being advanced here now."""
        return len(self.drives)

    @property
    def occupied(self) -> int:
        """How many of them keep others from being taken."""
        return self.places.occupied

    def watching(self, run_id: str) -> AbstractContextManager[asyncio.Future[None]]:
        """A future of the next change of how the run stands.  It raises StoreError when this process has lost the run.

        Who goes on to wait for it calls :meth:`check_open` before.
        """
        return self.waiters.listening(run_id)

    def listening(self, run_id: str) -> AbstractContextManager[asyncio.Future[None]]:
        """A future of the next thing that is written to the run, by whomever.  Raises StoreError once it is closed."""
        self.check_open(run_id)
        return self.readers.listening(run_id)

    def check_open(self, run_id: str) -> None:
        """Raises StoreError when nothing more is heard of the run here."""
        if self.closing:
            raise StoreError(
                f"the runtime was closed while run {run_id!r} goes on; take it with wf.get_run({run_id!r})"
            )

    def workflow_known(self) -> None:
        """There is code that runs may have waited for."""
        self.taker.workflow_known()

    @property
    def leaving(self) -> bool:
        """Whether this process gives its runs up: the driver is closed, or the loop ends and cancels every task."""
        return self.closing or self.background.loop_ends

    @property
    def takes_more(self) -> bool:
        """Whether runs that are not driven here may be taken up."""
        return not (self.leaving or self._draining)

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Do it beside, until the driver is closed."""
        self.background.spawn(work)

    # --- driving -----------------------------------------------------------------------------------

    def new_drive(self, definition: Definition, journal: Journal, epoch: int | None = None) -> Drive:
        """A drive that is not launched yet, of a run that is claimed under ``epoch`` or is to be."""
        return Drive(self.services, definition, journal, epoch, self._on_wait)

    def launch(self, drive: Drive) -> None:
        """Advance a run that exists, in a task."""
        self.taker.driven(drive.run_id, drive.definition)
        self._launch(drive)

    def _launch(self, drive: Drive) -> None:
        self.drives[drive.run_id] = drive
        task = drive.start(self._context())
        self._tasks[task] = drive
        task.add_done_callback(self._on_landed)

    def _landed(self, task: asyncio.Task[Standing]) -> None:
        drive = self._tasks.pop(task)
        if self.drives.get(drive.run_id) is drive:
            del self.drives[drive.run_id]
        self.landing.landed(drive, task)
        drive.dismantle()
