"""W4: one run whose steps stand side by side, as the items of a foreach and as the members of a parallel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from wrkflw import Runtime, Workflow, create_step, create_workflow

from . import cold, raw
from .adding import Number, add, database, new
from .measure import Figure, Paired, Sizes, Timed, figure, timed

_WARM_UP = 2


def measure(sizes: Sizes, folder: Path) -> list[Figure]:
    items = sizes.items
    each, members = _foreach(items), _parallel(items)

    async def foreach() -> None:
        given = await each.run([Number(n=n) for n in range(items)])
        assert [number.n for number in given] == list(range(1, items + 1))

    async def parallel() -> None:
        given = await members.run(Number(n=0))
        assert [number.n for number in given] == [1] * items

    figures: list[Figure] = []
    for name, workflow, work in (("foreach", each, foreach), ("parallel_all", members, parallel)):
        figures += asyncio.run(_measured(name, workflow, work, sizes, folder))
    return figures


async def _measured(
    name: str,
    workflow: Workflow[list[Number], list[Number], None] | Workflow[Number, list[Number], None],
    work: Callable[[], Awaitable[None]],
    sizes: Sizes,
    folder: Path,
) -> list[Figure]:
    async def one() -> Timed:
        async with Runtime(database(new(folder)), workflows=[workflow]):
            return await timed(sizes.items, work())

    for _ in range(_WARM_UP):
        await one()
    logged: list[Paired] = []
    bare: list[Paired] = []
    scaled: list[float] = []
    for _ in range(sizes.repetitions):
        slowness = cold.slowness()
        before, bare_before = await raw.fan(new(folder), sizes.items), await _bare(sizes, folder)
        measured = await one()
        after, bare_after = await raw.fan(new(folder), sizes.items), await _bare(sizes, folder)
        logged.append(Paired(before, measured, after))
        bare.append(Paired(bare_before, measured, bare_after))
        scaled.append(_scaled(bare[-1], slowness))
    beside = f"as if raw items/s of one row were {raw.FAN:,}, and the CPU as fast as there"
    rows = "the limit with a row of the item and three of the log"
    return [
        figure(f"{name} items/s", "/s", [pair.measured.rate for pair in logged]),
        figure(f"{name} items/s, limit-scaled", "/s", scaled, note=beside),
        figure(f"{name}: raw items/s", "/s", [pair.raw_rate for pair in logged], note=rows),
        figure(f"{name}: raw items/s, one row", "/s", [pair.raw_rate for pair in bare], note="the limit with one"),
        figure(f"{name} x raw", "x", [pair.ratio for pair in logged], compared=True),
        figure(f"{name} CPU an item", "µs", [pair.measured.cpu_microseconds for pair in logged]),
        figure(f"{name}: raw CPU an item", "µs", [pair.raw_cpu_microseconds for pair in logged]),
    ]


def _scaled(pair: Paired, slowness: float) -> float:
    """Never more than the CPU would allow: a busy disk slows the limit down, and not what is bound by the CPU."""
    return min(raw.FAN / pair.ratio, slowness * 1e6 / pair.measured.cpu_microseconds)


async def _bare(sizes: Sizes, folder: Path) -> Timed:
    return await raw.fan(new(folder), sizes.items, logged=False)


def _foreach(items: int) -> Workflow[list[Number], list[Number], None]:
    step = create_step(id="add", input_schema=Number, output_schema=Number, execute=add)
    builder = create_workflow(id="foreach", input_schema=list[Number], output_schema=list[Number])
    return builder.foreach(step, concurrency=items).commit()


def _parallel(items: int) -> Workflow[Number, list[Number], None]:
    step = create_step(id="add", input_schema=Number, output_schema=Number, execute=add)
    builder = create_workflow(id="parallel", input_schema=Number, output_schema=list[Number])
    return builder.parallel_all([step.with_id(f"add-{item}") for item in range(items)]).commit()
