"""An event loop without waiting: when nothing is ready, time is turned to the next moment that anything waits for."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from tests.clocks import START, ManualClock

T = TypeVar("T")


class Hand:
    """In place of the writer's thread: does on the loop what it is given, so that everything happens in one order."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()

    def do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # who waits for it hears of it
            future.set_exception(error)
        return future

    def end(self) -> None:
        pass


class Clock(ManualClock):
    """Knows when its next call is due."""

    @property
    def seconds(self) -> float:
        return (self.now() - START).total_seconds()

    @property
    def until_next(self) -> float | None:
        return max((self._calls[0][0] - self.now()).total_seconds(), 0) if self._calls else None


class _Selector(selectors.DefaultSelector):
    """Asks what is ready, and never waits."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        waits = [wait for wait in (timeout, self._clock.until_next) if wait is not None]
        if not waits:
            raise RuntimeError("nothing will ever happen any more")
        self._clock.turn(timedelta(seconds=min(waits)) + timedelta(microseconds=1))
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        super().__init__(_Selector(clock))
        self._clock = clock

    def time(self) -> float:
        return self._clock.seconds


def run(main: Coroutine[Any, Any, T], clock: Clock) -> T:
    """As :func:`asyncio.run`, in the time of ``clock``."""
    with asyncio.Runner(loop_factory=lambda: _Loop(clock)) as runner:
        return runner.run(main)
