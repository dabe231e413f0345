"""The worker of a process: takes runs that are due, sleeps until the next is, or until somebody says there is one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from wrkflw.clock import Clock, Timer, sleep_until
from wrkflw.world import World
from wrkflw.world.entities import Run
from wrkflw.world.errors import FencedError, WorkflowRunNotFoundError
from wrkflw.world.storage import RunFence

from . import unpausing
from .background import Background
from .damage import pause_if_damaged
from .definition import Definition
from .expiry import Expiry
from .messages import Receiver
from .takers import MAKES_DUE, Taker
from .unpausing import Unpausing

SWEEP = timedelta(seconds=5)
"""How often it looks, without being told, for runs whose process has died."""

_log = logging.getLogger("wrkflw")


class Drives(unpausing.Drives, Protocol):
    """What a worker needs of the driver."""

    @property
    def occupied(self) -> int: ...
    async def resume(self, run: Run, definition: Definition) -> None: ...


class Worker(Taker):
    """``takes`` is how many runs may be driven in this process for it to take another."""

    def __init__(
        self,
        world: World,
        definitions: Mapping[str, Definition],
        drives: Drives,
        background: Background,
        clock: Clock,
        takes: int,
    ) -> None:
        self._world = world
        self._definitions = definitions
        self._drives = drives
        self._background = background
        self._clock = clock
        self._takes = takes
        self._receiver = Receiver(world.storage, definitions, drives)
        self._end_consuming: Callable[[], Awaitable[None]] | None = None
        self._expiry = Expiry(world.storage.retention, definitions, clock)
        self._looking = asyncio.Event()
        self._full = False
        """Whether it took nothing more because as many runs were driven as may be."""
        self._expected: datetime | None = None
        """The earliest moment until which a run was given up since it began to look."""
        self._due: datetime | None = None
        """When it looks again by itself, while it waits."""
        self._timer: Timer | None = None
        self._waits = False
        self._unpausing = Unpausing(world, definitions, drives, clock, again=SWEEP)
        self._stranded: list[Run] = []
        """Runs that were claimed, but could neither be driven nor released yet."""

    def start(self) -> None:
        self._end_consuming = self._world.queue.consume(self._receiver, concurrency=self._takes)
        self._background.spawn(self._work())
        self._background.spawn(self._expiry.work())

    async def rest(self) -> None:
        self._takes = 0
        if (end_consuming := self._end_consuming) is not None:
            self._end_consuming = None
            await end_consuming()

    # --- what it is told ---------------------------------------------------------------------------

    def look(self) -> None:
        self._looking.set()

    def workflow_known(self) -> None:
        self._unpausing.look()
        self.look()

    def expect(self, run_id: str, definition: Definition, due: datetime) -> None:
        self._expected = due if self._expected is None else min(self._expected, due)
        if self._waits and (self._due is None or due < self._due):
            self._arm(due)

    def take_soon(self, run_id: str, definition: Definition) -> None:
        self.look()

    async def take(self, run_id: str, definition: Definition) -> None:
        self.look()

    async def unpause(self, run_id: str, definition: Definition) -> bool:
        return self._takes > 0 and await self._unpausing.unpause(run_id, definition)

    def went_on(self, run_id: str) -> None:
        self._unpausing.went_on(run_id)

    def misfit(self, run_id: str) -> None:
        self._unpausing.paused(run_id)

    def freed(self) -> None:
        if self._full:
            self.look()

    def ended(self, run_id: str) -> None:
        self._expiry.run_ended()

    def heard(self, run_id: str, event_types: Sequence[str]) -> None:
        if "run_paused" in event_types:
            self._expect_paused()
        if not MAKES_DUE.isdisjoint(event_types) and "run_started" not in event_types:
            self.look()

    def unheard(self, run_id: str) -> None:
        self.look()

    def heard_of_anything(self, is_wanted: Callable[[str], bool]) -> None:
        self._expect_paused()
        self.look()
        self._expiry.run_ended()

    def _expect_paused(self) -> None:
        """Another process may have paused a run whose record fits the code that is here."""
        if not self._world.alone:
            self._unpausing.expect()

    # --- its work ----------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Take what is due, until cancelled."""
        while True:
            self._looking.clear()
            self._expected = None
            try:
                await self._release_stranded()
                await self._unpausing.go_on(lambda: self._drives.occupied < self._takes)
                await self._wait_until(await self._take_due())
            except Exception:  # noqa: BLE001  # nobody would begin this again: whatever went wrong may be over then
                _log.exception("work could not be looked for; trying again in %s", SWEEP)
                await sleep_until(self._clock, self._later())

    async def _take_due(self) -> datetime | None:
        """Take what may be taken now, and say when the next thing is due."""
        free, names = self._takes - self._drives.occupied, list(self._definitions)
        self._full = free <= 0
        if self._full or not names:
            return None
        runs = self._world.storage.runs
        claimed = await runs.claim_due(owner=self._world.owner, workflow_names=names, limit=free)
        for run in claimed:
            try:
                await self._drives.resume(run, self._definitions[run.workflow_name])
            except Exception as error:  # noqa: BLE001  # one bad log must not keep the others from moving
                _log.exception("run %s cannot be read; trying again in %s", run.run_id, SWEEP)
                self._stranded.append(run)
                await pause_if_damaged(self._world.storage, run.run_id, error)
        await self._release_stranded()
        self._full = self._drives.occupied >= self._takes  # who lands next will say so; some may have landed meanwhile
        if self._full:
            return None
        more = self._unpausing.has_found or len(claimed) == free
        return self._clock.now() if more else await runs.next_due(names)

    async def _wait_until(self, due: datetime | None) -> None:
        self._arm(self._next_look(due))
        self._waits = True
        try:
            await self._looking.wait()
        finally:
            self._waits = False
            self._arm(None)

    def _next_look(self, due: datetime | None) -> datetime | None:
        """When to look again although nobody says so: others may have died, or what failed may work now.

        A process that is alone with its database hears of everything itself.
        """
        moments = [moment for moment in (due, self._expected) if moment is not None]
        if not self._world.alone or self._unpausing.is_to_look or self._stranded:
            moments.append(self._later())
        return min(moments, default=None)

    def _arm(self, due: datetime | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = None if due is None else self._clock.call_at(due, self._looking.set)

    def _later(self) -> datetime:
        return self._clock.now() + SWEEP

    # --- what cannot be driven ---------------------------------------------------------------------

    async def _release_stranded(self) -> None:
        """A process that lives and does not drive a run must not keep it from others, nor from itself."""
        stranded, self._stranded = self._stranded, []
        for run in stranded:
            try:
                await self._release(run)
            except (FencedError, WorkflowRunNotFoundError):
                continue  # it is another's, or no more
            except Exception:  # noqa: BLE001  # the others are to be released all the same
                _log.exception("run %s could not be released; trying again", run.run_id)
                self._stranded.append(run)

    async def _release(self, run: Run) -> None:
        runs, seen = self._world.storage.runs, run.last_slot
        while not await runs.release(run.run_id, RunFence(run.epoch), seen_slot=seen, wake_at=self._later()):
            seen = (await runs.get(run.run_id, resolve_data="none")).last_slot
