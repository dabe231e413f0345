"""Knowing when nothing moves any more: the loop has nothing to do, the store has written, and no body is at work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sized

from .bodies import UnderWay

HANGS = 0.25
"""Seconds of real time after which a body that has a timeout counts as waiting for that."""
PATIENCE = 5.0
"""Seconds of real time that any other body gets."""
_MOST_TURNS = 2_000_000

_log = logging.getLogger("wrkflw.testing")


class Rest:
    """``under_way`` are the bodies that somebody executes; ``written`` waits for what is being written."""

    def __init__(self, under_way: Callable[[], Collection[UnderWay]], written: Callable[[], Awaitable[None]]) -> None:
        self._under_way = under_way
        self._written = written
        self._given_up: set[UnderWay] = set()
        """The bodies that did not end in the real time they had: they wait for the clock, or for the test."""

    async def settle(self) -> None:
        """Wait until nothing moves."""
        while True:
            await self._idle()
            await self._written()
            if _ready(asyncio.get_running_loop()):
                continue
            self._given_up &= set(self._under_way())
            at_work = set(self._under_way()) - self._given_up
            if not at_work:
                return
            await self._wait_for(at_work)

    async def _idle(self) -> None:
        """Wait until the loop has nothing to do but this."""
        ready = _ready(asyncio.get_running_loop())
        for _ in range(_MOST_TURNS):
            if not ready:
                return
            await asyncio.sleep(0)
        raise RuntimeError("the event loop does not come to rest; some task goes on without ever waiting")

    async def _wait_for(self, at_work: set[UnderWay]) -> None:
        """Wait until one of the bodies ends; those that take too long are given up."""
        hasty = {body for body in at_work if body.may_hang}
        seconds = HANGS if hasty else PATIENCE
        futures = [body.ended for body in at_work]
        done, _ = await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if done:
            return
        self._given_up |= hasty or at_work
        if not hasty:
            keys = ", ".join(sorted(repr(body.key) for body in at_work))
            _log.warning("%s did not end within %g s of real time; time goes on without it", keys, seconds)


def _ready(loop: asyncio.AbstractEventLoop) -> Sized:
    """What the loop is about to call.  No public way of asking tells that there is nothing."""
    ready: Sized | None = getattr(loop, "_ready", None)
    if ready is None:
        raise RuntimeError(
            f"the testing kit needs asyncio's own event loop, got {type(loop).__name__}; use that in tests"
        )
    return ready
