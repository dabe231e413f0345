"""From the start of an interpreter to an import done, and to a first durable result.

The child says when it got there, by the clock that all processes share.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from .measure import Figure, Sizes, figure

PYDANTIC = 0.080
"""Seconds that ``import pydantic`` takes, from the start of the interpreter, where the goals were set."""
SCALED = f"as if 'import pydantic' took {1000 * PYDANTIC:.0f} ms here"
"""What is said of a figure that was scaled by it."""

# As a user's interpreter finds it: compiled once, then read.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
_SAY_WHEN = "import time; print(time.perf_counter())"
_FIRST_RESULT = """
import asyncio, sys, time
from pydantic import BaseModel
from wrkflw import Runtime, create_workflow, step

class Number(BaseModel):
    n: int

@step
async def add(number: Number) -> Number:
    return Number(n=number.n + 1)

adding = create_workflow(id="adding", input_schema=Number, output_schema=Number).then(add).commit()

async def main() -> float:
    async with Runtime(f"sqlite:///{sys.argv[1]}"):
        result = await adding.run(Number(n=1))
        now = time.perf_counter()
    assert result.n == 2
    return now

print(asyncio.run(main()))
"""
_IMPORT_PYDANTIC = f"from pydantic import BaseModel; {_SAY_WHEN}"
_PROGRAMS = {
    "python": _SAY_WHEN,
    "import pydantic": _IMPORT_PYDANTIC,
    "import wrkflw": f"import wrkflw; {_SAY_WHEN}",
    "first result": _FIRST_RESULT,
}


def measure(sizes: Sizes, folder: Path) -> list[Figure]:
    """Fresh interpreters, the kinds in turn, after one of each that fills the caches."""
    taken: dict[str, list[float]] = {name: [] for name in _PROGRAMS}
    for turn in range(sizes.starts + 1):
        for name, program in _PROGRAMS.items():
            seconds = _seconds(program, folder / f"{name} {turn}.db")
            if turn:
                taken[name].append(seconds)
    floor = taken["import pydantic"]
    figures = [figure(name, "ms", [1000 * one for one in each]) for name, each in taken.items()]
    for name in ("import wrkflw", "first result"):
        ratios = [one / beside for one, beside in zip(taken[name], floor, strict=True)]
        scaled = [1000 * PYDANTIC * ratio for ratio in ratios]
        figures.append(figure(f"{name}, limit-scaled", "ms", scaled, note=SCALED))
        figures.append(figure(f"{name} ÷ pydantic", "x", ratios, compared=True, note="paired with 'import pydantic'"))
    return figures


def import_pydantic() -> float:
    """Seconds that it takes here and now: what is CPU-bound in a fresh process is scaled by it."""
    return _seconds(_IMPORT_PYDANTIC)


def slowness() -> float:
    """How many times as long it takes here and now as where the goals were set: whatever is bound by the CPU."""
    return import_pydantic() / PYDANTIC


def _seconds(program: str, *arguments: Path) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-c", program, *map(str, arguments)]
    ran = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True, check=True)
    return float(ran.stdout) - started
