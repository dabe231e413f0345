"""The worker of a process: takes runs that are due, sleeps until the next is, or until somebody says there is one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from wrkflw.clock import Clock, sleep_until
from wrkflw.errors import WrkflwError
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.storage import PageRequest, RunFilter

from .definition import Definition
from .journal import Journal

SWEEP = timedelta(seconds=5)
"""How often it looks, without being told, for runs whose process has died."""
_PAGE = 1000

_log = logging.getLogger("wrkflw")


class Drives(Protocol):
    """What a worker needs of the driver."""

    @property
    def driving(self) -> int: ...
    async def resume(self, run: Run, definition: Definition) -> None: ...


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

    def look(self) -> None:
        """There may be something to take."""
        self._looking.set()

    async def work(self) -> None:
        """Take what is due, until cancelled."""
        await self.unpause_fitting()
        while True:
            self._looking.clear()
            try:
                due = await self._take_due()
            except WrkflwError:
                _log.exception("the database could not be asked for work; trying again in %s", SWEEP)
                await sleep_until(self._clock, self._clock.now() + SWEEP)
            else:
                await self._wait_until(due)

    async def _take_due(self) -> datetime | None:
        """Take what may be taken now, and say when the next thing is due."""
        free, names = self.takes - self._drives.driving, list(self._definitions)
        if free <= 0 or not names:
            return None
        runs = self._world.storage.runs
        claimed = await runs.claim_due(owner=self._world.owner, workflow_names=names, limit=free)
        for run in claimed:
            try:
                await self._drives.resume(run, self._definitions[run.workflow_name])
            except Exception:  # noqa: BLE001  # one bad log must not keep the others from moving
                _log.exception("run %s cannot be read; restore a backup of the database", run.run_id)
        if len(claimed) == free:
            return None  # full: who lands first will say so
        return await runs.next_due(names)

    async def _wait_until(self, due: datetime | None) -> None:
        sweep = self._clock.now() + SWEEP
        timer = self._clock.call_at(sweep if due is None else min(due, sweep), self._looking.set)
        try:
            await self._looking.wait()
        finally:
            timer.cancel()

    async def unpause_fitting(self) -> None:
        """Runs that the engine paused go on when the code fits their record again."""
        storage, cursor = self._world.storage, None
        while True:
            page = await storage.runs.list(RunFilter(detail="paused"), page=PageRequest(_PAGE, cursor))
            for run in page.data:
                definition = self._definitions.get(run.workflow_name)
                if definition is None:
                    continue
                journal = Journal.of(run.run_id, (await storage.events.list(run.run_id)).data)
                if journal.paused_by == "engine" and definition.fits(journal):
                    await storage.events.create(run.run_id, e.RunResumed(reason="the code fits again"))
            if not page.has_more:
                return
            cursor = page.cursor
