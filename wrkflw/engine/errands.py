"""The open runs that a driver without a worker was asked to drive: when they fall due, it takes them one by one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from wrkflw.clock import Clock, Timer
from wrkflw.errors import WrkflwError

from .background import Background
from .definition import Definition
from .takers import FROM_OUTSIDE, Taker

_log = logging.getLogger("wrkflw")


class Drives(Protocol):
    """What it needs of the driver."""

    async def take_up(self, run_id: str, definition: Definition) -> object: ...


class Errands(Taker):
    """A run that could not be taken is tried again after ``patience``."""

    def __init__(self, drives: Drives, background: Background, clock: Clock, patience: timedelta) -> None:
        self._drives = drives
        self._background = background
        self._clock = clock
        self._patience = patience
        self._definitions: dict[str, Definition] = {}
        self._timers: dict[str, tuple[datetime, Timer]] = {}

    def close(self) -> None:
        for _, timer in self._timers.values():
            timer.cancel()

    # --- what may be taken -------------------------------------------------------------------------

    def expect(self, run_id: str, definition: Definition, due: datetime) -> None:
        if run_id in self._timers and self._timers[run_id][0] <= due:
            return
        self._disarm(run_id)
        self._timers[run_id] = due, self._clock.call_at(due, lambda: self._due(run_id, definition))

    def take_soon(self, run_id: str, definition: Definition) -> None:
        self._background.spawn(self._try_to_take(run_id, definition))

    async def take(self, run_id: str, definition: Definition) -> None:
        await self._drives.take_up(run_id, definition)

    # --- what becomes of runs ----------------------------------------------------------------------

    def asked(self, run_id: str, definition: Definition) -> None:
        self._definitions[run_id] = definition

    def driven(self, run_id: str, definition: Definition) -> None:
        self._definitions[run_id] = definition
        self._disarm(run_id)

    def forget(self, run_id: str) -> None:
        self._definitions.pop(run_id, None)
        self._disarm(run_id)

    # --- what is heard -----------------------------------------------------------------------------

    def ended(self, run_id: str) -> None:
        self.forget(run_id)

    def heard(self, run_id: str, event_types: Sequence[str]) -> None:
        if not FROM_OUTSIDE.isdisjoint(event_types):
            self.unheard(run_id)

    def unheard(self, run_id: str) -> None:
        if (definition := self._definitions.get(run_id)) is not None:
            self.take_soon(run_id, definition)

    def heard_of_anything(self, is_wanted: Callable[[str], bool]) -> None:
        for run_id, definition in [*self._definitions.items()]:
            if is_wanted(run_id):
                self.take_soon(run_id, definition)

    # --- one of them -------------------------------------------------------------------------------

    def _due(self, run_id: str, definition: Definition) -> None:
        self._timers.pop(run_id, None)
        self.take_soon(run_id, definition)

    def _disarm(self, run_id: str) -> None:
        if (armed := self._timers.pop(run_id, None)) is not None:
            armed[1].cancel()

    async def _try_to_take(self, run_id: str, definition: Definition) -> None:
        try:
            await self._drives.take_up(run_id, definition)
        except WrkflwError:
            _log.exception("run %s could not be taken; trying again", run_id)
            self.expect(run_id, definition, self._clock.now() + self._patience)
