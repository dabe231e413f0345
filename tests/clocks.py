"""The clock of the tests, which stands still until a test turns it, and letting everything come to rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from wrkflw.testing.clocks import START, ManualClock
from wrkflw.worlds.hand import Hand

__all__ = ["START", "ManualClock", "settle"]

_PATIENCE = 0.2
"""Seconds of real time that a thread gets; one that waits for another process's lock would not come back."""
_handed_on: WeakSet[asyncio.Future[Any]] = WeakSet()
_do = Hand.do


def _noted(hand: Hand, work: Callable[[], Any]) -> asyncio.Future[Any]:
    future = _do(hand, work)
    _handed_on.add(future)
    return future


setattr(Hand, "do", _noted)  # noqa: B010  # who settles waits for what is being written


async def settle(turns: int = 200) -> None:
    """Let the loop run until nothing is ready any more, and threads have done what they were given."""
    while True:
        for _ in range(turns):
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        at_work = [future for future in _handed_on if future.get_loop() is loop and not future.done()]
        if not at_work:
            return
        done, _ = await asyncio.wait(at_work, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return
