"""The clock of the tests, which stands still until a test turns it, and letting the loop run."""

from __future__ import annotations

import asyncio

from wrkflw.testing.clocks import START, ManualClock

__all__ = ["START", "ManualClock", "settle"]


async def settle(turns: int = 200) -> None:
    """Let the loop run until nothing is ready any more.  Threads are not waited for."""
    for _ in range(turns):
        await asyncio.sleep(0)
