"""W5: runs that wait for an answer get it, one alone and all at once; meanwhile nothing is to be done.

An answer is worth two steps of the raw limit: it is durable, and then what comes of it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from wrkflw import Run, Runtime, SuspendContext, create_workflow, step
from wrkflw.worlds.sqlite import SqliteWorld

from . import raw
from .adding import Number, new
from .measure import Figure, Paired, Sizes, Timed, figure, paired, timed

_STEPS_AN_ANSWER = 2
_IDLE = 1.0  # seconds
_SETTLING = 0.2


@step
async def ask(number: Number, ctx: SuspendContext[Number, Number]) -> Number:
    answer = ctx.suspend(number)
    return Number(n=number.n + answer.n)


asking = create_workflow(id="asking", input_schema=Number, output_schema=Number).then(ask).commit()


@dataclass(frozen=True, slots=True)
class _Answered:
    alone: Paired
    together: Paired
    idle_statements: int
    suspended: float
    """Runs a second, from nothing to suspended."""


def measure(sizes: Sizes, folder: Path) -> list[Figure]:
    async def measured() -> list[_Answered]:
        return [await _one(sizes, folder) for _ in range(sizes.long_repetitions)]

    all_of = asyncio.run(measured())
    alone, together = [one.alone for one in all_of], [one.together for one in all_of]
    name = f"all {sizes.suspended:,}"
    seconds = [pair.measured.seconds for pair in together]
    scaled = [_scaled(pair, raw.GROUP_COMMIT) for pair in together]
    scaled_alone = [1000 * _scaled(pair, raw.CHAIN) for pair in alone]
    beside = f"as if raw steps/s were {raw.GROUP_COMMIT:,} with, {raw.CHAIN:,} without group commit here"
    return [
        figure(f"{name} answered", "s", seconds),
        figure("all answered, limit-scaled", "s", scaled, note=beside),
        figure("raw steps/s, group commit", "/s", [pair.raw_rate for pair in together]),
        figure("all ÷ raw", "x", [pair.ratio for pair in together], compared=True, note="two raw steps an answer"),
        figure("CPU an answer, all", "µs", [_STEPS_AN_ANSWER * pair.measured.cpu_microseconds for pair in together]),
        figure("one answered", "ms", [1000 * pair.measured.seconds for pair in alone], note=f"p50 of {sizes.alone}"),
        figure("one answered, limit-scaled", "ms", scaled_alone),
        figure("raw steps/s", "/s", [pair.raw_rate for pair in alone]),
        figure("one ÷ raw", "x", [pair.ratio for pair in alone], compared=True, note="two raw steps an answer"),
        figure("statements in an idle second", "", [one.idle_statements for one in all_of]),
        figure("runs suspended", "/s", [one.suspended for one in all_of], note="all begun at once"),
    ]


def _scaled(pair: Paired, limit: int) -> float:
    """Seconds; never less than the CPU takes: a busy disk slows the limit down, and not what is bound by the CPU."""
    return max(pair.measured.seconds * pair.raw_rate / limit, pair.measured.cpu_seconds)


async def _one(sizes: Sizes, folder: Path) -> _Answered:
    statements: list[str] = []
    world = SqliteWorld(new(folder) / "wrkflw.db", on_statement=statements.append)
    async with Runtime(world=world, workflows=[asking]):
        count = sizes.alone + sizes.suspended
        begun = time.perf_counter()
        runs = await asyncio.gather(*(_suspended() for _ in range(count)))
        suspended = count / (time.perf_counter() - begun)

        await asyncio.sleep(_SETTLING)
        statements.clear()
        await asyncio.sleep(_IDLE)
        idle = len(statements)

        alone = await paired(
            lambda: raw.chain(new(folder), sizes.chains, 10), lambda: _answered_alone(runs[: sizes.alone])
        )
        together = await paired(
            lambda: raw.concurrent(new(folder), sizes.concurrent, sizes.in_flight, 10),
            lambda: timed(_STEPS_AN_ANSWER * sizes.suspended, _answered_together(runs[sizes.alone :])),
        )
    return _Answered(alone, together, idle, suspended)


async def _suspended() -> str:
    run = await asking.create_run()
    result = await run.start(Number(n=1))
    assert result.status == "suspended"
    return run.run_id


async def _answered_alone(runs: list[str]) -> Timed:
    """The median of them."""
    taken: list[float] = []
    cpu = time.process_time()
    for run_id in runs:
        begun = time.perf_counter()
        await _answer(run_id)
        taken.append(time.perf_counter() - begun)
    return Timed(_STEPS_AN_ANSWER, median(taken), (time.process_time() - cpu) / len(runs))


async def _answered_together(runs: list[str]) -> None:
    await asyncio.gather(*(_answer(run_id) for run_id in runs))


async def _answer(run_id: str) -> None:
    """As a server does it, which knows the id and nothing else."""
    run: Run[Number, Number, None] = await asking.get_run(run_id)
    result = await run.resume(ask, Number(n=1))
    assert result.unwrap().n == 2
