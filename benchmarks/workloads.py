"""The workloads: trivial steps, whose every result is durable before the next may depend on it.

A workload is a function from sizes and an empty folder on the disk to be measured to figures; it is known by its number
in ``REGISTRY``.  The goals for its figures stand in ``report``.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from wrkflw import Run, Runtime

from . import cold, fan, mails, multi, over_http, raw, recover, replay, resume, schedules, sleepers
from .adding import Adding, Number, adding, database, new
from .measure import Figure, Paired, Sizes, Timed, figure, paired, rates, timed

CHAIN = 10
_WARM_UP = 20  # runs: everything that is made when first used has been used then


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    measure: Callable[[Sizes, Path], list[Figure]]


# --- W1 and W2 ---------------------------------------------------------------------------------------


def chain10(sizes: Sizes, folder: Path) -> list[Figure]:
    """Runs of ten steps, one after another."""
    workflow, steps = adding("chain10", CHAIN), sizes.chains * CHAIN

    async def measured() -> list[Paired]:
        await _fresh(workflow, folder, _WARM_UP * CHAIN, lambda: _chains(workflow, _WARM_UP))
        return [
            await paired(
                lambda: raw.chain(new(folder), sizes.chains, CHAIN),
                lambda: _fresh(workflow, folder, steps, lambda: _chains(workflow, sizes.chains)),
            )
            for _ in range(sizes.repetitions)
        ]

    return rates(asyncio.run(measured()))


def concurrent(sizes: Sizes, folder: Path) -> list[Figure]:
    """The same, a hundred in flight."""
    workflow, steps = adding("concurrent", CHAIN), sizes.concurrent * CHAIN

    async def measured() -> list[Paired]:
        await _fresh(workflow, folder, _WARM_UP * CHAIN, lambda: _chains(workflow, _WARM_UP))
        return [
            await paired(
                lambda: raw.concurrent(new(folder), sizes.concurrent, sizes.in_flight, CHAIN),
                lambda: _fresh(workflow, folder, steps, lambda: _together(workflow, sizes.concurrent, sizes.in_flight)),
            )
            for _ in range(sizes.repetitions)
        ]

    pairs = asyncio.run(measured())
    scaled = figure(
        "steps/s, limit-scaled",
        "/s",
        [raw.GROUP_COMMIT / pair.ratio for pair in pairs],
        note=f"steps/s × {raw.GROUP_COMMIT:,} ÷ raw steps/s: as if this machine's raw limit were {raw.GROUP_COMMIT:,}",
    )
    return [*rates(pairs), scaled]


async def _fresh(workflow: Adding, folder: Path, steps: int, work: Callable[[], Awaitable[object]]) -> Timed:
    """The time of ``work`` in a new database."""
    async with Runtime(database(new(folder)), workflows=[workflow]):
        return await timed(steps, work())


async def _chains(workflow: Adding, runs: int) -> None:
    for _ in range(runs):
        await _run(workflow, CHAIN)


async def _together(workflow: Adding, runs: int, in_flight: int) -> None:
    free = asyncio.Semaphore(in_flight)

    async def one() -> None:
        async with free:
            await _run(workflow, CHAIN)

    await asyncio.gather(*(one() for _ in range(runs)))


async def _run(workflow: Adding, length: int) -> Run[Number, Number, None]:
    run = await workflow.create_run()
    result = await run.start(Number(n=0), wait=None)
    assert result.unwrap().n == length
    return run


# --- W3 ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Long:
    pair: Paired
    growth: float
    """The time of the last tenth of the steps in times that of the first."""
    overhead: float
    """Bytes a step on disk, beside its result."""


def long(sizes: Sizes, folder: Path) -> list[Figure]:
    """One run of many steps."""

    async def measured() -> list[_Long]:
        workflow = adding("long", sizes.long_steps)
        async with Runtime(database(folder), workflows=[workflow]):
            await _run(workflow, sizes.long_steps)
            return [await _one_long(workflow, sizes.long_steps, folder) for _ in range(sizes.long_repetitions)]

    runs = asyncio.run(measured())
    return [
        *rates(run.pair for run in runs),
        figure("last ÷ first tenth", "x", [run.growth for run in runs], note="by recorded times"),
        figure(
            "disk a step",
            "B",
            [run.overhead for run in runs],
            compared=True,
            note="after a checkpoint, beside each step's result",
        ),
    ]


async def _one_long(workflow: Adding, steps: int, folder: Path) -> _Long:
    runs: list[Run[Number, Number, None]] = []

    async def one() -> None:
        runs.append(await _run(workflow, steps))

    size = _size(folder)
    pair = await paired(lambda: raw.chain(new(folder), 1, steps), lambda: timed(steps, one()))
    results = sum(len(Number(n=n).model_dump_json()) for n in range(1, steps + 1))
    return _Long(pair, await _growth(runs[0], steps), (_size(folder) - size - results) / steps)


async def _growth(run: Run[Number, Number, None], steps: int) -> float:
    ends = [result.completed_at for result in (await run.snapshot()).step_results.values()]
    took = [(end - begin).total_seconds() for begin, end in pairwise(ends) if begin is not None and end is not None]
    tenth = max(1, steps // 10)
    return sum(took[-tenth:]) / max(sum(took[:tenth]), 1e-6)


def _size(folder: Path) -> int:
    path = folder / "wrkflw.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # leaves the log its size
    return path.stat().st_size


REGISTRY: dict[str, Workload] = {
    "W1": Workload("chain10", chain10),
    "W2": Workload("concurrent", concurrent),
    "W3": Workload("long", long),
    "W4": Workload("fan", fan.measure),
    "W5": Workload("resume", resume.measure),
    "W6": Workload("recover", recover.measure),
    "W7": Workload("cold", cold.measure),
    "W8": Workload("sleepers", sleepers.measure),
    "W9": Workload("multi", multi.measure),
    "W10": Workload("replay", replay.measure),
    "W11": Workload("schedules", schedules.measure),
    "W12": Workload("mails", mails.measure),
    "W13": Workload("over http", over_http.measure),
}
"""By number, in the order in which they are measured."""
