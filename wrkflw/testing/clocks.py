"""A clock that stands still until somebody turns it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from wrkflw.durations import parse_duration

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class ManualClock:
    """Time as the test wants it.  :meth:`turn` makes the calls that have become due, each at its time."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._numbers = itertools.count()
        self._calls: list[tuple[datetime, int, _Call]] = []

    def now(self) -> datetime:
        """What time it is, in UTC."""
        return self._now

    def call_at(self, when: datetime, callback: Callable[[], None], /) -> _Call:
        """Call it when the clock has been turned to ``when``, or soon where that has passed."""
        call = _Call(callback)
        if when <= self._now:
            asyncio.get_running_loop().call_soon(call.make)
            return call
        heapq.heappush(self._calls, (when, next(self._numbers), call))
        return call

    @property
    def next_call(self) -> datetime | None:
        """When the next call is due."""
        while self._calls and self._calls[0][2].is_off:
            heapq.heappop(self._calls)
        return self._calls[0][0] if self._calls else None

    def turn(self, by: timedelta | str) -> None:
        """Let ``by`` pass.  A negative one turns the clock back, as an operator may."""
        until = self._now + (parse_duration(by) if isinstance(by, str) else by)
        while self._calls and self._calls[0][0] <= until:
            when, _, call = heapq.heappop(self._calls)
            self._now = max(self._now, when)
            call.make()
        self._now = until


class _Call:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def make(self) -> None:
        if self._callback is not None:
            self._callback()

    def cancel(self) -> None:
        self._callback = None

    @property
    def is_off(self) -> bool:
        return self._callback is None
