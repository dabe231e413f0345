"""The worker of a process: takes runs that are due, sleeps until the next is, or until somebody says there is one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from wrkflw.clock import Clock, Timer, sleep_until
from wrkflw.errors import LimitError, StoreError
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
from wrkflw.world.storage import PageRequest, RunFence, RunFilter

from .damage import pause_if_damaged
from .definition import Definition
from .journal import Journal

SWEEP = timedelta(seconds=5)
"""How often it looks, without being told, for runs whose process has died."""
_PAGE = 1000
_MOST_REMEMBERED = 10_000

_log = logging.getLogger("wrkflw")


class Drives(Protocol):
    """What a worker needs of the driver."""

    @property
    def driving(self) -> int: ...
    async def resume(self, run: Run, definition: Definition) -> None: ...
    async def misfit(self, definition: Definition, journal: Journal) -> Exception | None: ...
    async def deliver(self, run_id: str, definition: Definition, event: e.NewEvent) -> None: ...


class Worker:
    """``takes`` is how many runs may be driven in this process for it to take another."""

    def __init__(
        self, world: World, definitions: Mapping[str, Definition], drives: Drives, clock: Clock, takes: int
    ) -> None:
        self.takes = takes
        self._world = world
        self._definitions = definitions
        self._drives = drives
        self._clock = clock
        self._looking = asyncio.Event()
        self._full = False
        """Whether it took nothing more because as many runs were driven as may be."""
        self._expected: datetime | None = None
        """The earliest moment until which a run was given up since it began to look."""
        self._due: datetime | None = None
        """When it looks again by itself, while it waits."""
        self._timer: Timer | None = None
        self._waits = False
        self._unpause_at: datetime | None = clock.now()
        """When to look for paused runs that fit again; None when all have been seen."""
        self._paused_at: dict[str, int] = {}
        """The paused runs as they were seen last: where the log of each ended."""
        self._to_unpause: dict[str, Definition] = {}
        """Those of them that are yet to be looked into, by their ids."""
        self._paused_here: dict[str, None] = {}
        """Runs that the engine has paused here, and would again: whatever a look at them says, they do not fit."""
        self._stranded: list[Run] = []
        """Runs that were claimed, but could neither be driven nor released yet."""

    def look(self) -> None:
        """There may be something to take."""
        self._looking.set()

    def freed(self) -> None:
        """A run is driven no more."""
        if self._full:
            self._looking.set()

    async def work(self) -> None:
        """Take what is due, until cancelled."""
        while True:
            self._looking.clear()
            self._expected = None
            try:
                await self._release_stranded()
                if self._unpause_at is not None and self._unpause_at <= self._clock.now():
                    await self._find_paused()
                await self._unpause_fitting()
                due = await self._take_due()
            except Exception:  # noqa: BLE001  # nobody would begin this again: whatever went wrong may be over then
                _log.exception("work could not be looked for; trying again in %s", SWEEP)
                await sleep_until(self._clock, self._later())
            else:
                await self._wait_until(due)

    async def _take_due(self) -> datetime | None:
        """Take what may be taken now, and say when the next thing is due."""
        free, names = self.takes - self._drives.driving, list(self._definitions)
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
        self._full = self._drives.driving >= self.takes  # who lands next will say so; some may have landed meanwhile
        if self._full:
            return None
        more = self._to_unpause or len(claimed) == free
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
        if not self._world.alone or self._unpause_at is not None or self._stranded:
            moments.append(self._later())
        return min(moments, default=None)

    def expect(self, due: datetime) -> None:
        """A run was given up until ``due``."""
        self._expected = due if self._expected is None else min(self._expected, due)
        if self._waits and (self._due is None or due < self._due):
            self._arm(due)

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

    # --- what was paused ---------------------------------------------------------------------------

    def look_at_paused(self) -> None:
        """Code was made known that paused runs may fit."""
        self._unpause_at = self._clock.now()
        self._looking.set()

    def expect_paused(self) -> None:
        """Another process may have paused a run: see, once it has let go of it, whether that fits what is here."""
        if self._unpause_at is None:
            self._unpause_at = self._later()

    def paused(self, run_id: str) -> None:
        """The engine has paused the run here."""
        self._paused_here[run_id] = None
        if len(self._paused_here) > _MOST_REMEMBERED:
            del self._paused_here[next(iter(self._paused_here))]

    def went_on(self, run_id: str) -> None:
        """The run got further here: the engine paused it, if it did, for something that is over."""
        self._paused_here.pop(run_id, None)

    async def _find_paused(self) -> None:
        """Those that have changed since they were seen last are to be looked into."""
        self._unpause_at = None
        seen: dict[str, int] = {}
        try:
            async for run in self._paused():
                definition = self._definitions.get(run.workflow_name)
                if definition is None or run.run_id in self._paused_here:
                    continue
                if run.owner == self._world.owner:  # it is paused by somebody else than the engine
                    continue
                if run.owner is not None:  # who paused it has not let go of it, and may have died so
                    self.expect_paused()
                    continue
                seen[run.run_id] = run.last_slot
                if self._paused_at.get(run.run_id) != run.last_slot:
                    self._to_unpause[run.run_id] = definition
        except Exception:  # noqa: BLE001  # it is one part of the work only
            _log.exception("paused runs could not be looked for; trying again in %s", SWEEP)
            self._unpause_at = self._later()
        else:
            self._paused_at = seen

    async def _unpause_fitting(self) -> None:
        """Runs that the engine paused go on when the code fits their record again, as far as there is room for them.

        What the database refuses now is tried again at a later sweep; a log that cannot be read is passed over.
        """
        while self._to_unpause and self._drives.driving < self.takes:
            run_id = next(iter(self._to_unpause))
            await self._unpause_if_fitting(run_id, self._to_unpause.pop(run_id))

    async def _paused(self) -> AsyncIterator[Run]:
        runs, cursor = self._world.storage.runs, None
        while True:
            page = await runs.list(RunFilter(detail="paused"), page=PageRequest(_PAGE, cursor))
            for run in page.data:
                yield run
            if not page.has_more:
                return
            cursor = page.cursor

    async def _unpause_if_fitting(self, run_id: str, definition: Definition) -> None:
        try:
            log = (await self._world.storage.events.list(run_id)).data
            if await self._was_paused_for(definition, run_id, log):
                # In one transaction with the claim: else a process whose code does not fit may be faster.
                await self._drives.deliver(run_id, definition, e.RunResumed(reason="the code fits again"))
        except (EntityConflictError, LimitError, RunExpiredError, WorkflowRunNotFoundError) as refusal:
            _log.info("run %s was not unpaused: %s", run_id, refusal)  # somebody was faster, or its log is full
        except DamagedPayloadError as damaged:
            _log.error("run %s stays paused: %s", run_id, damaged)
        except StoreError:
            _log.exception("run %s could not be unpaused; trying again in %s", run_id, SWEEP)
            self._unpause_at = self._later()
            self._paused_at.pop(run_id, None)
        except Exception:  # noqa: BLE001  # one bad log must not keep the others paused
            _log.exception("run %s cannot be read and stays paused", run_id)

    async def _was_paused_for(self, definition: Definition, run_id: str, log: Sequence[e.StoredEvent]) -> bool:
        """Whether the engine paused the run because the code did not fit, and now it does."""
        try:
            journal = Journal.of(run_id, log)
        except StoreError:  # it has a gap, and will have it at every sweep
            _log.exception("run %s stays paused", run_id)
            return False
        return journal.paused_by == "engine" and await self._drives.misfit(definition, journal) is None
