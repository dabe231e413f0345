"""Time, handed in: nothing else in wrkflw asks what time it is or waits for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol

LATEST = datetime(9999, 12, 31, tzinfo=UTC)
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
"""The end of time, as far as anybody can write it down."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST_CALL = timedelta(minutes=1)
# Event loops count monotonic time: when a machine was asleep or its clock was set forward, what is due is late by that
# much at most.  They also lose precision, and some overflow, on long delays.


class Timer(Protocol):
    """A call that will happen, and can be called off."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """What time it is, and who is called when it is another."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        ...

    def call_at(self, when: datetime, callback: Callable[[], None], /) -> Timer:
        """Call ``callback`` on the running event loop at ``when``, never before; at once if that has passed."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def call_at(self, when: datetime, callback: Callable[[], None], /) -> Timer:
        return _SystemTimer(self, when, callback)


class _SystemTimer:
    def __init__(self, clock: SystemClock, when: datetime, callback: Callable[[], None]) -> None:
        self._clock, self._when, self._callback = clock, when, callback
        self._loop = asyncio.get_running_loop()
        self._handle = self._arm()

    def _arm(self) -> asyncio.TimerHandle:
        remaining = max(self._when - self._clock.now(), timedelta(0))
        return self._loop.call_later(min(remaining, _LONGEST_CALL).total_seconds(), self._ring)

    def _ring(self) -> None:
        # The wall clock may lag behind the loop, and a long wait comes in pieces.
        if self._clock.now() < self._when:
            self._handle = self._arm()
        else:
            self._callback()

    def cancel(self) -> None:
        self._handle.cancel()


def later(moment: datetime, duration: timedelta) -> datetime:
    """The moment that is so much later; the end of time where there is none."""
    try:
        return min(moment + duration, LATEST)
    except OverflowError:
        return LATEST


def earlier(moment: datetime, duration: timedelta) -> datetime:
    """The moment that is so much earlier; the beginning of time where there is none."""
    try:
        return moment - duration
    except OverflowError:
        return _EARLIEST


async def sleep_until(clock: Clock, when: datetime) -> None:
    """Wait, on ``clock``, until ``when``."""
    arrived = asyncio.Event()
    timer = clock.call_at(when, arrived.set)
    try:
        await arrived.wait()
    finally:
        timer.cancel()


@asynccontextmanager
async def within(clock: Clock, duration: timedelta) -> AsyncGenerator[asyncio.Timeout]:
    """Raises TimeoutError when what is done within takes longer, on ``clock``; the limit says whether it did."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        timer = clock.call_at(later(clock.now(), duration), lambda: limit.reschedule(loop.time()))
        try:
            yield limit
        finally:
            timer.cancel()


def to_microseconds(moment: datetime) -> int:
    """A moment as whole microseconds since 1970, as it is stored."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(stored: int) -> datetime:
    """The moment, in UTC, that :func:`to_microseconds` stored."""
    return _EPOCH + stored * _MICROSECOND
