"""What the scripts share; the standard library only."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple


class Size(NamedTuple):
    runs: int
    in_flight: int
    length: int


def size() -> Size:
    return Size(*(int(argument) for argument in sys.argv[1:4]))


async def clocked(who: str, one: Callable[[int], Awaitable[object]]) -> None:
    """Await ``one(number)`` for every run, after a few that are not counted, and print what it took."""
    runs, in_flight, _ = size()
    if runs > 1:
        for number in range(3):
            await one(-1 - number)
    free = asyncio.Semaphore(in_flight)

    async def when_free(number: int) -> None:
        async with free:
            await one(number)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(when_free(number) for number in range(runs)))
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"who": who, "seconds": seconds, "cpu_seconds": cpu_seconds}))
