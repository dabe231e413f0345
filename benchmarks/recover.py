"""W6: a process is killed with many runs in the second of three steps; the next takes them up by itself.

Measured is the fresh process: from the start of its interpreter, and from the opening of its runtime, until every run
has ended.  Nobody asks it for a run.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from wrkflw import Runtime, create_step, create_workflow

from . import cold, raw
from .adding import Adding, Ends, Number, database, new
from .measure import Figure, Sizes, Timed, between, figure
from .processes import ended

_STEPS = 3
_KILLED_IN = 2
_STARTED = """
    SELECT steps.key, count(*) FROM events JOIN steps ON steps.run_no = events.run_no
        AND steps.created_slot = events.subject
    WHERE events.event_type = 'step_started' GROUP BY events.run_no, steps.key
"""


class _Said(TypedDict):
    """What the fresh process says, by the clock that all processes share."""

    opened: float
    ended: float
    cpu: float
    """Seconds, from the opening."""
    bodies: dict[str, int]
    """How often each body was begun."""


@dataclass(frozen=True, slots=True)
class _Recovered:
    restart: float
    opened: float
    cpu: float
    limit: Timed
    pydantic: float

    @property
    def scaled(self) -> float:
        """Seconds from the start of the interpreter, as they would be where the goals were set."""
        return self.restart * cold.PYDANTIC / self.pydantic


def measure(sizes: Sizes, folder: Path) -> list[Figure]:
    turns = [_one(sizes, folder) for _ in range(sizes.fresh)]
    runs = f"{sizes.killed:,} runs, killed in step {_KILLED_IN} of {_STEPS}"
    return [
        figure("all ended", "s", [turn.restart for turn in turns], note=f"from the start of the interpreter; {runs}"),
        figure("all ended, limit-scaled", "s", [turn.scaled for turn in turns], note=cold.SCALED),
        figure("from the opening", "s", [turn.opened for turn in turns], note="of the runtime"),
        figure("CPU a run", "µs", [1e6 * turn.cpu / sizes.killed for turn in turns]),
        figure("raw", "s", [turn.limit.seconds for turn in turns], note="the steps that were left, with group commit"),
        figure("opening ÷ raw", "x", [turn.opened / turn.limit.seconds for turn in turns], compared=True),
    ]


def _one(sizes: Sizes, folder: Path) -> _Recovered:
    here = new(folder)
    killed = ended("recover", "work", sizes.killed, here)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = (_STEPS - _KILLED_IN + 1) * sizes.killed
    before = asyncio.run(raw.concurrent(new(folder), left // 10 + 1, sizes.in_flight, 10))
    pydantic = cold.import_pydantic()
    begun = time.perf_counter()
    fresh = ended("recover", "recover", sizes.killed, here)
    assert fresh.returncode == 0, fresh.stderr
    said: _Said = json.loads(fresh.stdout)
    after = asyncio.run(raw.concurrent(new(folder), left // 10 + 1, sizes.in_flight, 10))
    _check(here, said, sizes.killed)
    limit = between(before, after, left)
    pydantic = (pydantic + cold.import_pydantic()) / 2
    return _Recovered(said["ended"] - begun, said["ended"] - said["opened"], said["cpu"], limit, pydantic)


def _check(folder: Path, said: _Said, runs: int) -> None:
    """No completed step was begun again, and what was interrupted was, once."""
    assert said["bodies"] == {"add-2": runs, "add-3": runs}, said["bodies"]
    with closing(sqlite3.connect(folder / "wrkflw.db")) as connection:
        starts = Counter(connection.execute(_STARTED).fetchall())
    assert starts == {("add-1", 1): runs, ("add-2", 2): runs, ("add-3", 1): runs}, starts


# --- the process ------------------------------------------------------------------------------------


class _Bodies:
    """The three steps.  In the first process all runs meet in the second one, and it is killed there."""

    def __init__(self, runs: int, *, killed: bool) -> None:
        self.begun: Counter[str] = Counter()
        self._runs = runs
        self._killed = killed

    def workflow(self) -> Adding:
        chain = create_workflow(id="recovered", input_schema=Number, output_schema=Number)
        for number in range(1, _STEPS + 1):
            name = f"add-{number}"
            chain = chain.then(
                create_step(id=name, input_schema=Number, output_schema=Number, execute=self._body(name))
            )
        return chain.commit()

    def _body(self, name: str) -> Callable[[Number], Awaitable[Number]]:
        async def add(number: Number) -> Number:
            self.begun[name] += 1
            if self._killed and name == f"add-{_KILLED_IN}":
                if self.begun[name] == self._runs:
                    os.kill(os.getpid(), signal.SIGKILL)
                await asyncio.Event().wait()
            return Number(n=number.n + 1)

        return add


async def _work(runs: int, folder: Path) -> None:
    workflow = _Bodies(runs, killed=True).workflow()
    async with Runtime(database(folder), workflows=[workflow]):
        await asyncio.gather(*[(await workflow.create_run()).start(Number(n=0), wait=None) for _ in range(runs)])


async def _recover(runs: int, folder: Path) -> _Said:
    bodies = _Bodies(runs, killed=False)
    workflow = bodies.workflow()
    opened, cpu = time.perf_counter(), time.process_time()
    runtime = Runtime(database(folder), workflows=[workflow])
    ends = Ends(runtime, runs)
    async with runtime:
        await ends.all()
        ended, cpu = time.perf_counter(), time.process_time() - cpu
    return {"opened": opened, "ended": ended, "cpu": cpu, "bodies": dict(bodies.begun)}


def _main(what: str, runs: str, folder: str) -> None:
    if what == "work":
        asyncio.run(_work(int(runs), Path(folder)))
    else:
        print(json.dumps(asyncio.run(_recover(int(runs), Path(folder)))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
