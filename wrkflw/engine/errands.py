"""The open runs that a driver without a worker was asked to drive: when they fall due, it takes them one by one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta

from wrkflw.clock import Clock, Timer
from wrkflw.errors import WrkflwError

from .background import Background
from .definition import Definition

_log = logging.getLogger("wrkflw")


class Errands:
    """``take`` drives a run if nobody else does; it is tried again after ``patience`` when it fails."""

    def __init__(
        self,
        take: Callable[[str, Definition], Awaitable[object]],
        background: Background,
        clock: Clock,
        patience: timedelta,
    ) -> None:
        self._take = take
        self._background = background
        self._clock = clock
        self._patience = patience
        self._definitions: dict[str, Definition] = {}
        self._timers: dict[str, Timer] = {}

    def add(self, run_id: str, definition: Definition) -> None:
        self._definitions[run_id] = definition

    def drop(self, run_id: str) -> None:
        self._definitions.pop(run_id, None)
        self.taken(run_id)

    def get(self, run_id: str) -> Definition | None:
        return self._definitions.get(run_id)

    def __iter__(self) -> Iterator[tuple[str, Definition]]:
        return iter([*self._definitions.items()])

    def take_at(self, when: datetime, run_id: str, definition: Definition) -> None:
        if run_id not in self._timers:
            self._timers[run_id] = self._clock.call_at(when, lambda: self._due(run_id, definition))

    def take_now(self, run_id: str, definition: Definition) -> None:
        self._background.spawn(self._try_to_take(run_id, definition))

    def taken(self, run_id: str) -> None:
        """It is being driven: there is nothing to wait for."""
        if (timer := self._timers.pop(run_id, None)) is not None:
            timer.cancel()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    def _due(self, run_id: str, definition: Definition) -> None:
        self._timers.pop(run_id, None)
        self.take_now(run_id, definition)

    async def _try_to_take(self, run_id: str, definition: Definition) -> None:
        try:
            await self._take(run_id, definition)
        except WrkflwError:
            _log.exception("run %s could not be taken; trying again", run_id)
            self.take_at(self._clock.now() + self._patience, run_id, definition)
