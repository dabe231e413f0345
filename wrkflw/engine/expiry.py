"""Taking payloads from runs that were kept for long enough: at the moment when the next is due, and not before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from wrkflw.clock import Clock, Timer
from wrkflw.world.retention import Retention

from .definition import Definition

_AGAIN = timedelta(minutes=1)
"""When it tries again what the database has refused."""
_SURE = timedelta(minutes=1)
"""How long after the end of a run the database is asked at the latest: a run may say itself how long it is kept."""
_PAGE = 100

_log = logging.getLogger("wrkflw")


class Expiry:
    """Sleeps until the next run is due.  It asks the database when that is once it has worked, and not at every end."""

    def __init__(self, retention: Retention, definitions: Mapping[str, Definition], clock: Clock) -> None:
        self._retention = retention
        self._definitions = definitions
        self._clock = clock
        self._woken = asyncio.Event()
        self._due: datetime | None = None
        """Nothing is due before this."""
        self._timer: Timer | None = None

    async def work(self) -> None:
        """Take what is due, until cancelled."""
        try:
            while True:
                self._woken.clear()
                self._due = None
                if (due := await self._take_due()) is not None:
                    self._arm(due)
                await self._woken.wait()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _take_due(self) -> datetime | None:
        """Take what is due now, and say when the next is."""
        try:
            while (due := await self._retention.next_due()) is not None and due <= self._clock.now():
                await self._retention.expire(limit=_PAGE)
        except Exception:  # noqa: BLE001  # nobody would begin this again: whatever went wrong may be over then
            _log.exception("what ended runs held could not be removed; trying again in %s", _AGAIN)
            return self._clock.now() + _AGAIN
        return due

    def run_ended(self) -> None:
        """A run has ended, here or elsewhere: it may be due when the shortest retention that is known has passed."""
        wanted = [self._wanted_by(definition) for definition in self._definitions.values()]
        self._arm(self._clock.now() + min([_SURE, self._retention.default, *wanted]))

    def _wanted_by(self, definition: Definition) -> timedelta:
        wanted = definition.workflow.retention
        return self._retention.default if wanted is None else wanted

    def _arm(self, due: datetime) -> None:
        if self._due is not None and self._due <= due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._clock.call_at(due, self._woken.set)
