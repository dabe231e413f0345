"""A run in which nothing can move: waited for in memory, where what is short of it comes soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from .standing import Ended, LeftError, Parked

if TYPE_CHECKING:
    from .drive import Drive


class Holding:
    """``on_wait`` is called, with its id, when the run begins to wait in place, and again when it goes on."""

    def __init__(self, drive: Drive, on_wait: Callable[[str], None]) -> None:
        self._drive = drive
        self._on_wait = on_wait
        self.until: datetime | None = None
        """Until when it waits in place just now."""

    async def stay(self, standing: Parked) -> bool:
        """Nothing can move: wait in place for what is short.  False when the run is to be given up instead."""
        services, journal = self._drive.services, self._drive.journal
        stirred = len(journal.stirred)
        await self.settle()
        if len(journal.stirred) != stirred:
            return True  # the commit told of what came meanwhile: it may be what is waited for
        if standing.paused and journal.paused_by is None:
            return True  # it goes on already
        until = standing.until if journal.paused_by is None else None
        if until is None or services.draining() or until - services.clock.now() > services.hold:
            return False
        if not self._drive.backlog.reach(until):
            await self._wait(until)
        return True

    async def settle(self) -> None:
        """Commit what is noted.  Raises LeftError when the run has ended; that it was paused is in its journal."""
        try:
            await self._drive.recorder.commit()
        except LeftError as left:
            if isinstance(left.standing, Ended):
                raise

    async def _wait(self, until: datetime) -> None:
        """Until a moment, or until somebody else writes to the run."""
        drive, stirred = self._drive, asyncio.Event()
        timer = drive.services.clock.call_at(until, stirred.set)
        drive.bells[stirred.set] = None
        try:
            self.until = until
            self._on_wait(drive.run_id)
            await stirred.wait()
        finally:
            drive.bells.pop(stirred.set, None)
            timer.cancel()
            self.until = None
            self._on_wait(drive.run_id)
        await drive.recorder.catch_up()
