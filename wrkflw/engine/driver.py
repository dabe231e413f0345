"""The runs this process advances: those it was asked to start, and as a worker those that fall due."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random

from wrkflw.clock import Clock, Timer
from wrkflw.results import RunInfo
from wrkflw.retries import Retry
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.errors import EntityConflictError, FencedError, RunExpiredError, WorldError

from .definition import Definition
from .drive import Drive, Services
from .executor import Executor
from .journal import Journal
from .limits import Limits
from .standing import Ended, Parked, Standing

SWEEP = timedelta(seconds=5)
"""How often a worker looks for runs whose process has died."""
HOLD = timedelta(seconds=5)
"""Timers up to here are waited out with the run in memory."""
_WATCH_SECONDS = 0.05
_THREADS = 32
_NEWS = e.RUN_ENDS | {"run_created", "run_paused", "run_resumed", "signal_received", "hook_received"}

_log = logging.getLogger("wrkflw")


class Driver:
    """``takes`` is how many runs it takes by itself at a time; with 0 it drives only those it is given."""

    def __init__(
        self,
        world: World,
        definitions: Mapping[str, Definition],
        *,
        clock: Clock,
        random: Random,
        limits: Limits,
        retry: Retry | None,
        takes: int,
    ) -> None:
        self._world = world
        self._definitions = definitions
        self._takes = takes
        self._executor = Executor(clock, _THREADS)
        self._services = Services(
            world.storage, world.owner, clock, random, self._executor, limits, retry, HOLD
        )
        self._clock = clock
        self._drives: dict[str, Drive] = {}
        self._tasks: dict[str, asyncio.Task[Standing]] = {}
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._errors: dict[str, BaseException] = {}
        self._parked: dict[str, Timer] = {}
        self._looking = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []
        self._unsubscribe = world.subscribe(self._hear)
        self._closing = False

    # --- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        if self._world.written_elsewhere() is not None:
            self._background.append(loop.create_task(self._watch(), name="wrkflw watch"))
        if self._takes:
            self._looking.set()
            self._background.append(loop.create_task(self._work(), name="wrkflw worker"))

    async def close(self) -> None:
        """Stop taking runs, interrupt those that are being driven, and release them."""
        self._closing = True
        for task in self._background:
            task.cancel()
        for timer in self._parked.values():
            timer.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._unsubscribe()
        self._executor.close()
        for run_id in list(self._waiters):
            self._tell(run_id)

    # --- what others ask for -----------------------------------------------------------------------

    def begin(self, definition: Definition, run_id: str, created: e.RunCreated) -> Drive:
        """Drive a new run from its first event on."""
        drive = Drive(self._services, definition, Journal(run_id), None, lambda: self._tell(run_id))
        drive.begin(created)
        self._launch(drive)
        return drive

    async def take(self, run_id: str, definition: Definition) -> bool:
        """Drive a run that exists, if nobody does: False when somebody else has it, or it cannot move."""
        if run_id in self._drives:
            return True
        try:
            run = await self._services.storage.runs.claim(run_id, owner=self._services.owner)
        except (EntityConflictError, RunExpiredError):
            return False
        await self._resume(run, definition)
        return True

    def drive_of(self, run_id: str) -> Drive | None:
        """The drive of a run that is being advanced here now."""
        return self._drives.get(run_id)

    async def changed(self, run_id: str) -> None:
        """Wait until something about the run may have changed.  Raises StoreError when this process lost it so."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(run_id, []).append(waiter)
        try:
            await waiter
        finally:
            waiters = self._waiters.get(run_id, [])
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                self._waiters.pop(run_id, None)

    def look(self) -> None:
        """There may be runs to take."""
        self._looking.set()

    # --- driving -----------------------------------------------------------------------------------

    async def _resume(self, run: Run, definition: Definition) -> None:
        journal = Journal.of(run.run_id, (await self._services.storage.events.list(run.run_id)).data)
        drive = Drive(self._services, definition, journal, run.epoch, lambda: self._tell(run.run_id))
        self._launch(drive)

    def _launch(self, drive: Drive) -> None:
        if (timer := self._parked.pop(drive.run_id, None)) is not None:
            timer.cancel()
        self._drives[drive.run_id] = drive
        task = self._tasks[drive.run_id] = drive.start()
        task.add_done_callback(lambda task: self._landed(drive, task))

    def _landed(self, drive: Drive, task: asyncio.Task[Standing]) -> None:
        run_id = drive.run_id
        if self._drives.get(run_id) is drive:
            del self._drives[run_id], self._tasks[run_id]
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or self._closing:
            pass
        elif error is not None:
            self._lost(drive, error)
        else:
            match task.result():
                case Ended():
                    self._call_back(drive)
                case Parked(until=datetime() as until) if not self._takes:
                    self._parked[run_id] = self._clock.call_at(until, lambda: self._again(run_id, drive.definition))
                case Parked():
                    pass
            if self._takes:
                self._looking.set()
        self._tell(run_id, error)

    def _lost(self, drive: Drive, error: BaseException) -> None:
        """This process can write no more to the run, for whatever reason; it must not keep it from others."""
        if isinstance(error, FencedError):
            _log.info("run %s was taken over by another process", drive.run_id)
            return
        expected = isinstance(error, EntityConflictError) and drive.recorder.epoch == 0
        if not expected:
            _log.error("run %s stopped here: %s", drive.run_id, error, exc_info=error)
        if drive.recorder.epoch:
            self._spawn(self._give_up(drive))

    async def _give_up(self, drive: Drive) -> None:
        runs = self._services.storage.runs
        try:
            seen = (await runs.get(drive.run_id, resolve_data="none")).last_slot
            await runs.release(drive.run_id, drive.recorder.fence, seen_slot=seen, wake_at=self._clock.now() + HOLD)
        except WorldError:
            _log.warning("run %s could not be released; it is free when this process ends", drive.run_id)

    def _again(self, run_id: str, definition: Definition) -> None:
        self._parked.pop(run_id, None)
        self._spawn(self._retake(run_id, definition))

    async def _retake(self, run_id: str, definition: Definition) -> None:
        await self.take(run_id, definition)

    def _spawn(self, work: object) -> None:
        assert inspect.iscoroutine(work)
        task = asyncio.get_running_loop().create_task(work)
        self._background.append(task)
        task.add_done_callback(self._background.remove)

    # --- telling -----------------------------------------------------------------------------------

    def _hear(self, run_id: str, event_types: Sequence[str]) -> None:
        if _NEWS.isdisjoint(event_types):
            return
        drive = self._drives.get(run_id)
        if drive is not None and "run_cancelled" in event_types:
            drive.stop()
        if drive is None and self._takes:
            self._looking.set()
        self._tell(run_id)

    def _tell(self, run_id: str, error: BaseException | None = None) -> None:
        for waiter in self._waiters.pop(run_id, ()):
            if waiter.done():
                continue
            if error is not None and not isinstance(error, FencedError):
                waiter.set_exception(error)
            else:
                waiter.set_result(None)

    def _call_back(self, drive: Drive) -> None:
        """``on_completed`` or ``on_failed``: after the last event is durable, at most once, and never able to harm."""
        workflow = drive.definition.workflow
        callback = {"completed": workflow.on_completed, "failed": workflow.on_failed}.get(drive.journal.status)
        if callback is not None:
            self._spawn(self._called_back(callback, drive.run_id))

    async def _called_back(self, callback: object, run_id: str) -> None:
        assert callable(callback)
        run = await self._services.storage.runs.get(run_id, resolve_data="none")
        info = RunInfo(
            run_id=run_id,
            workflow_id=run.workflow_name,
            status=run.status,
            waiting_for=None,
            attributes=run.attributes,
            created_at=run.created_at,
            updated_at=run.updated_at,
        )
        try:
            given = callback(info)
            if inspect.isawaitable(given):
                await given
        except Exception:
            _log.exception("a callback of run %s raised; the run is not affected", run_id)

    # --- working -----------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Take what is due, sleep until the next thing is, or until somebody says there is something."""
        while True:
            self._looking.clear()
            free = self._takes - len(self._drives)
            names = list(self._definitions)
            due: datetime | None = None
            if free > 0 and names:
                runs = await self._services.storage.runs.claim_due(
                    owner=self._services.owner, workflow_names=names, limit=free
                )
                await self._take_all(runs)
                if len(runs) == free:
                    continue
                due = await self._services.storage.runs.next_due(names)
            soon = self._clock.now() + SWEEP
            timer = self._clock.call_at(min(due, soon) if due is not None else soon, self._looking.set)
            try:
                await self._looking.wait()
            finally:
                timer.cancel()

    async def _take_all(self, runs: Iterable[Run]) -> None:
        for run in runs:
            try:
                await self._resume(run, self._definitions[run.workflow_name])
            except Exception:
                # One bad log must not keep the others from moving.
                _log.exception("run %s cannot be read; run 'wrkflw doctor', or restore a backup", run.run_id)

    async def _watch(self) -> None:
        """Notice what other processes write: the file says that it changed, the log says what."""
        seen = self._world.written_elsewhere()
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            mark = self._world.written_elsewhere()
            if mark == seen:
                continue
            seen = mark
            drives = list(self._drives)
            for run in await self._services.storage.runs.get_many(drives):
                if run is not None and run.status == "cancelled" and (drive := self._drives.get(run.run_id)):
                    drive.stop()
            self._looking.set()
            for run_id in list(self._waiters):
                self._tell(run_id)
