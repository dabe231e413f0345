"""W5: runs that wait for an answer get it, one alone and all at once; meanwhile nothing is to be done.

An answer is worth two steps of the raw limit: it is durable, and then what comes of it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from wrkflw import Run, Runtime, SuspendContext, create_workflow, step
from wrkflw.worlds.sqlite import SqliteWorld

from . import cold, raw
from .adding import Ends, Number, database, new
from .measure import Figure, Paired, Sizes, Timed, figure, paired, timed
from .processes import ROOT

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
    elsewhere: list[float]
    """Seconds from an answer in another process to its result in this one."""
    idle_cpu: float
    """Share of a core, in per cent, while the other process is there."""
    slowness: float


def measure(sizes: Sizes, folder: Path) -> list[Figure]:
    async def measured() -> list[_Answered]:
        return [await _one(sizes, folder) for _ in range(sizes.long_repetitions)]

    all_of = asyncio.run(measured())
    alone, together = [one.alone for one in all_of], [one.together for one in all_of]
    name = f"all {sizes.suspended:,}"
    seconds = [pair.measured.seconds for pair in together]
    scaled = [_scaled(one.together, raw.GROUP_COMMIT, one.slowness) for one in all_of]
    scaled_alone = [1000 * _scaled(one.alone, raw.CHAIN, one.slowness) for one in all_of]
    elsewhere = [1000 * median(one.elsewhere) for one in all_of]
    limits = f"{raw.GROUP_COMMIT:,} with, {raw.CHAIN:,} without group commit"
    return [
        figure(f"{name} answered", "s", seconds),
        figure("all answered, limit-scaled", "s", scaled, note=f"as if raw steps/s were {limits}, and the CPU as fast"),
        figure("raw steps/s, group commit", "/s", [pair.raw_rate for pair in together]),
        figure("all ÷ raw", "x", [pair.ratio for pair in together], compared=True, note="two raw steps an answer"),
        figure("CPU an answer, all", "µs", [_STEPS_AN_ANSWER * pair.measured.cpu_microseconds for pair in together]),
        figure("one answered", "ms", [1000 * pair.measured.seconds for pair in alone], note=f"p50 of {sizes.alone}"),
        figure("one answered, limit-scaled", "ms", scaled_alone),
        figure("raw steps/s", "/s", [pair.raw_rate for pair in alone]),
        figure("one ÷ raw", "x", [pair.ratio for pair in alone], compared=True, note="two raw steps an answer"),
        figure("statements in an idle second", "", [one.idle_statements for one in all_of]),
        figure("from another process", "ms", elsewhere, note="an answer there to its result here"),
        figure(
            "from another process, limit-scaled",
            "ms",
            [one * pair.raw_rate / raw.CHAIN for one, pair in zip(elsewhere, alone, strict=True)],
        ),
        figure("CPU while idle, two processes", "%", [one.idle_cpu for one in all_of], note="of a core"),
        figure("runs suspended", "/s", [one.suspended for one in all_of], note="all begun at once"),
    ]


def _scaled(pair: Paired, limit: int, slowness: float) -> float:
    """Seconds; never less than the CPU would take: a busy disk slows the limit down, and not what the CPU does."""
    return max(pair.measured.seconds * pair.raw_rate / limit, pair.measured.cpu_seconds / slowness)


async def _one(sizes: Sizes, folder: Path) -> _Answered:
    statements: list[str] = []
    here = new(folder)
    world = SqliteWorld(here / "wrkflw.db", on_statement=statements.append)
    slowness = cold.slowness()
    async with Runtime(world=world, workflows=[asking]) as runtime:
        count = sizes.alone + sizes.suspended + sizes.alone
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
            lambda: timed(
                _STEPS_AN_ANSWER * sizes.suspended,
                _answered_together(runs[sizes.alone : sizes.alone + sizes.suspended]),
            ),
        )
        elsewhere, idle_cpu = await _answered_elsewhere(runtime, here, runs[sizes.alone + sizes.suspended :])
    return _Answered(alone, together, idle, suspended, elsewhere, idle_cpu, slowness)


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


# --- another process ---------------------------------------------------------------------------------


async def _answered_elsewhere(runtime: Runtime, folder: Path, runs: list[str]) -> tuple[list[float], float]:
    """One after another; and what this process costs while there is nothing to do but the other is there."""
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.resume", str(folder),
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert other.stdin is not None
    assert other.stdout is not None
    await other.stdout.readline()
    await asyncio.sleep(_SETTLING)
    cpu = time.process_time()
    await asyncio.sleep(_IDLE)
    idle_cpu = 100 * (time.process_time() - cpu) / _IDLE
    taken: list[float] = []
    for run_id in runs:
        run: Run[Number, Number, None] = await asking.get_run(run_id)
        heard = Ends(runtime, 1)
        other.stdin.write(f"{run_id}\n".encode())
        await heard.all()
        assert (await run.result()).unwrap().n == 2
        ended = time.perf_counter()
        taken.append(ended - float(await other.stdout.readline()))
    other.stdin.close()
    await other.wait()
    return taken, idle_cpu


async def _answer_what_is_asked(folder: Path) -> None:
    """When each answer was given, by the clock that all processes share."""
    async with Runtime(database(folder), workflows=[asking], worker=False):
        print("ready", flush=True)
        while run_id := (await asyncio.to_thread(sys.stdin.readline)).strip():
            begun = time.perf_counter()
            await _answer(run_id)
            print(begun, flush=True)


if __name__ == "__main__":
    asyncio.run(_answer_what_is_asked(Path(sys.argv[1])))
