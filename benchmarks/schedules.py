"""W11: what a process costs that keeps very many schedules, none of which is due."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from wrkflw import Runtime
from wrkflw.triggers import cron

from .adding import Number, adding, database, new
from .measure import Figure, Sizes, figure, timed

_IDLE = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class _Kept:
    opening: float
    """Seconds until all schedules are known to a new database."""
    idle: float
    """Per cent of a core."""


def measure(sizes: Sizes, folder: Path) -> list[Figure]:
    kept = [asyncio.run(_kept(sizes.schedules, new(folder))) for _ in range(sizes.fresh)]
    schedules = f"{sizes.schedules:,} schedules"
    return [
        figure("CPU while idle", "%", [one.idle for one in kept], note=schedules),
        figure("opening", "s", [one.opening for one in kept], note="in a new database"),
    ]


async def _kept(count: int, folder: Path) -> _Kept:
    workflows = [adding(f"scheduled-{number}", 1) for number in range(min(count, 100))]
    for number in range(count):
        minute, hour = number % 60, number // 60 % 24  # of a leap day
        workflow = workflows[number % len(workflows)]
        cron(workflow, f"{minute} {hour} 29 2 *", id=f"s-{number}", input=lambda _: Number(n=1))
    begun = time.perf_counter()
    async with Runtime(database(folder), workflows=workflows):
        opening = time.perf_counter() - begun
        await asyncio.sleep(_IDLE / 4)
        idle = await timed(1, asyncio.sleep(_IDLE))
    return _Kept(opening, 100 * idle.cpu_seconds / idle.seconds)
