"""W10: a process is killed in the last step of a long run, and a fresh one comes to where it was.

Nobody need ask for the run: the fresh process finds it, reads it and takes it up.  It is measured also with a process
that asks for it at once, by its idempotency key.  The same run is written as a loop, as a chain, and as a program.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, get_args

from wrkflw import Runtime, StepTools, create_step, create_workflow, workflow

from . import cold, raw
from .adding import Adding, Number, add, database, new
from .measure import Figure, Sizes, Timed, between, figure
from .processes import ended

Kind: TypeAlias = Literal["loop", "chain", "program"]
What: TypeAlias = Literal["record", "recover", "ask"]
_KEY = "the-run"


class _Said(TypedDict):
    """What the fresh process says, in seconds."""

    defining: float
    """Of these: to make the workflow known to a runtime."""
    replay: float
    """From before the runtime is made to the first line of the body of the first new step."""


@dataclass(frozen=True, slots=True)
class _Replayed:
    said: _Said
    asked: _Said
    raw: Timed
    pydantic: float


def measure(sizes: Sizes, folder: Path) -> list[Figure]:
    figures: list[Figure] = []
    for kind in get_args(Kind):
        recorded = new(folder)
        _record(kind, sizes.long_steps, recorded)
        figures += _figures(kind, [_one(kind, sizes.long_steps, recorded, folder) for _ in range(sizes.fresh)])
    return figures


def _figures(kind: Kind, turns: list[_Replayed]) -> list[Figure]:
    seconds = [turn.said["replay"] for turn in turns]
    scaled = [turn.said["replay"] * cold.PYDANTIC / turn.pydantic for turn in turns]
    ratios = [turn.said["replay"] / turn.raw.seconds for turn in turns]
    return [
        figure(kind, "s", seconds, note=f"{turns[0].raw.steps:,} recorded steps, to the first new one"),
        figure(f"{kind}, limit-scaled", "s", scaled, note=cold.SCALED),
        figure(f"{kind}, asked by key", "s", [turn.asked["replay"] for turn in turns]),
        figure(f"{kind}: of it, defining", "s", [turn.said["defining"] for turn in turns]),
        figure(f"{kind}: raw", "s", [turn.raw.seconds for turn in turns], note="to read the log and load its values"),
        figure(f"{kind} ÷ raw", "x", ratios, compared=True),
    ]


def _record(kind: Kind, steps: int, folder: Path) -> None:
    ran = ended("replay", "record", kind, steps, folder)
    assert ran.returncode == -signal.SIGKILL, ran.stderr


def _one(kind: Kind, steps: int, recorded: Path, folder: Path) -> _Replayed:
    pydantic, before = cold.import_pydantic(), asyncio.run(raw.replay(new(folder), steps))
    said = _fresh("recover", kind, steps, recorded, folder)
    after = asyncio.run(raw.replay(new(folder), steps))
    pydantic = (pydantic + cold.import_pydantic()) / 2
    limit = between(before, after, steps)
    return _Replayed(said, _fresh("ask", kind, steps, recorded, folder), limit, pydantic)


def _fresh(what: What, kind: Kind, steps: int, recorded: Path, folder: Path) -> _Said:
    """What the killed process left is copied, so that each fresh one finds the same."""
    left = new(folder)
    shutil.copytree(recorded, left, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*-owners"))  # a bell is no file
    ran = ended("replay", what, kind, steps, left)
    assert ran.returncode == 0, ran.stderr
    said: _Said = json.loads(ran.stdout)
    return said


# --- the process ------------------------------------------------------------------------------------


class _Last:
    """The body of the last step: where the first process is killed, and what the second one is to reach."""

    def __init__(self, *, kills: bool) -> None:
        self._kills = kills
        self._reached: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def reached(self) -> float:
        """When."""
        return await self._reached

    async def __call__(self, number: Number) -> Number:
        self._reached.set_result(time.perf_counter())
        if self._kills:
            os.kill(os.getpid(), signal.SIGKILL)
        return await add(number)


def written(kind: str, steps: int, last: _Last) -> Adding:
    """A run of ``steps`` steps and a last one."""
    if kind == "loop":
        return _loop(steps, last)
    return _chain(steps, last) if kind == "chain" else _program(steps, last)


def _loop(steps: int, last: _Last) -> Adding:
    async def pass_(number: Number) -> Number:
        return await (last if number.n == steps else add)(number)

    step = create_step(id="pass", input_schema=Number, output_schema=Number, execute=pass_)
    builder = create_workflow(id="replayed", input_schema=Number, output_schema=Number)
    return builder.do_until(step, lambda number: number.n > steps).commit()


def _chain(steps: int, last: _Last) -> Adding:
    async def reach(number: Number) -> Number:
        return await last(number)

    chain = create_workflow(id="replayed", input_schema=Number, output_schema=Number)
    for step in range(1, steps + 1):
        chain = chain.then(create_step(id=f"add-{step}", input_schema=Number, output_schema=Number, execute=add))
    return chain.then(create_step(id="last", input_schema=Number, output_schema=Number, execute=reach)).commit()


def _program(steps: int, last: _Last) -> Adding:
    async def reach(number: Number) -> Number:
        return await last(number)

    @workflow(id="replayed")
    async def replayed(step: StepTools, number: Number) -> Number:
        for _ in range(steps):
            number = await step.do("add", add, number)
        return await step.do("last", reach, number)

    return replayed


async def _begin(kind: str, steps: int, folder: Path) -> None:
    workflow = written(kind, steps, _Last(kills=True))
    async with Runtime(database(folder), workflows=[workflow]):
        run = await workflow.create_run(idempotency_key=_KEY)
        await run.start(Number(n=0), wait=None)


async def _go_on(kind: str, steps: int, folder: Path, *, asks: bool) -> _Said:
    last = _Last(kills=False)
    workflow = written(kind, steps, last)
    begun = time.perf_counter()
    runtime = Runtime(database(folder), workflows=[workflow])
    defined = time.perf_counter()
    async with runtime:
        if asks:
            run = await workflow.create_run(idempotency_key=_KEY)
            await run.start(Number(n=0), wait=None)
        reached = await last.reached()
        run = await workflow.create_run(idempotency_key=_KEY)
        assert (await run.result()).unwrap().n == steps + 1
    return {"defining": defined - begun, "replay": reached - begun}


def _main(what: str, kind: str, steps: str, folder: str) -> None:
    if what == "record":
        asyncio.run(_begin(kind, int(steps), Path(folder)))
    else:
        print(json.dumps(asyncio.run(_go_on(kind, int(steps), Path(folder), asks=what == "ask"))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
