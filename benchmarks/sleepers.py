"""W8: what a process costs whose database holds very many suspended runs, beside one whose database is empty.

wrkflw makes one run; the others are its rows, each time with another id and token.  Some of them are answered later,
so they are what wrkflw would have made.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, TypedDict

from wrkflw import Runtime

from . import cold, raw
from .adding import Number, database, new
from .measure import Figure, Sizes, figure
from .processes import ended
from .resume import ask, asking

_SETTLING = 0.5  # seconds
_TABLES = ("runs", "events", "steps", "hooks")
_STATUS = Path("/proc/self/status")


class _Said(TypedDict):
    """What a fresh process says."""

    start_up: float
    """Seconds from the opening of the runtime to the first durable result of another run."""
    rss: float
    """MB, when nothing is to be done any more."""
    wakes: list[float]
    """Seconds."""


@dataclass(frozen=True, slots=True)
class _Beside:
    full: _Said
    empty: _Said
    pydantic: float


def measure(sizes: Sizes, folder: Path) -> list[Figure]:
    full, empty = new(folder), new(folder)
    sleepers = asyncio.run(make(full, sizes.sleepers))
    asyncio.run(make(empty, 0))
    awake = [sleepers[at] for at in Random(8).sample(range(len(sleepers)), sizes.wakes * sizes.fresh)]
    turns: list[_Beside] = []
    commits: list[float] = []
    for turn in range(sizes.fresh):
        before = asyncio.run(raw.chain(new(folder), sizes.chains, 10))
        pydantic = cold.import_pydantic()
        ids = awake[turn * sizes.wakes : (turn + 1) * sizes.wakes]
        turns.append(_Beside(_fresh(full, ids), _fresh(empty, []), (pydantic + cold.import_pydantic()) / 2))
        after = asyncio.run(raw.chain(new(folder), sizes.chains, 10))
        commits.append((before.seconds + after.seconds) / (before.steps + after.steps))
    wakes = [median(turn.full["wakes"]) for turn in turns]
    slowest = [max(turn.full["wakes"]) for turn in turns]
    scaled = [turn.full["start_up"] * cold.PYDANTIC / turn.pydantic for turn in turns]
    ratios = [turn.full["rss"] / turn.empty["rss"] for turn in turns]
    runs = f"{sizes.sleepers:,} suspended runs"
    return [
        figure("memory", "MB", [turn.full["rss"] for turn in turns], note=runs),
        figure("memory, empty database", "MB", [turn.empty["rss"] for turn in turns]),
        figure("memory ÷ empty", "x", ratios, compared=True),
        figure("start-up", "s", [turn.full["start_up"] for turn in turns], note="to a first durable result"),
        figure("start-up, empty database", "s", [turn.empty["start_up"] for turn in turns]),
        figure("start-up, limit-scaled", "s", scaled, note=cold.SCALED),
        figure("one woken", "ms", [1000 * wake for wake in wakes], note=f"median of {sizes.wakes}"),
        figure("slowest of them", "ms", [1000 * wake for wake in slowest]),
        figure(
            "one woken, limit-scaled",
            "ms",
            [1000 * wake / commit / raw.CHAIN for wake, commit in zip(wakes, commits, strict=True)],
            note=f"as if raw steps/s were {raw.CHAIN:,} here",
        ),
    ]


# --- the sleepers ------------------------------------------------------------------------------------


async def make(folder: Path, count: int) -> list[str]:
    """A database with ``count`` suspended runs; their ids."""
    async with Runtime(database(folder), workflows=[asking]):
        if count == 0:
            return []
        run = await asking.create_run()
        result = await run.start(Number(n=1))
        assert result.status == "suspended"
        token = result.suspensions[0].token
    with closing(sqlite3.connect(folder / "wrkflw.db")) as connection, connection:
        return [run.run_id, *_copies(connection, run.run_id, token, count - 1)]


def _copies(connection: sqlite3.Connection, run_id: str, token: str, count: int) -> list[str]:
    [(run_no,)] = connection.execute("SELECT run_no FROM runs WHERE run_id = ?", (run_id,)).fetchall()
    rows = {table: _rows(connection, table, run_no) for table in _TABLES}
    ids = [f"{run_id}_{number}" for number in range(count)]
    for table, (text, originals) in rows.items():
        for original in originals:
            copies = (
                [_other(value, {run_id: ids[number], token: f"{token}{number}"}) for value in original[1:]]
                for number in range(count)
            )
            connection.executemany(text, ([run_no + 1 + number, *copy] for number, copy in enumerate(copies)))
        assert originals, f"a suspended run has no {table}"
    return ids


def _rows(connection: sqlite3.Connection, table: str, run_no: int) -> tuple[str, list[tuple[Any, ...]]]:
    """How to insert into the table, and what a run has in it.  ``run_no`` is the first column of each."""
    rows = connection.execute(f"SELECT * FROM {table} WHERE run_no = ?", (run_no,))
    assert rows.description[0][0] == "run_no"
    return f"INSERT INTO {table} VALUES ({', '.join('?' for _ in rows.description)})", rows.fetchall()


def _other(value: object, names: dict[str, str]) -> object:
    if isinstance(value, str):
        for name, instead in names.items():
            value = value.replace(name, instead)
    return value


# --- the fresh process -------------------------------------------------------------------------------


def _fresh(folder: Path, ids: list[str]) -> _Said:
    ran = ended("sleepers", folder, given="\n".join(ids))
    assert ran.returncode == 0, ran.stderr
    said: _Said = json.loads(ran.stdout)
    return said


async def _live(folder: Path, ids: list[str]) -> _Said:
    begun = time.perf_counter()
    async with Runtime(database(folder), workflows=[asking]):
        run = await asking.create_run()
        result = await run.start(Number(n=1))
        start_up = time.perf_counter() - begun
        assert result.status == "suspended"
        await run.cancel()
        await asyncio.sleep(_SETTLING)
        rss = _resident()
        wakes: list[float] = []
        for run_id in ids:
            begun = time.perf_counter()
            sleeper = await asking.get_run(run_id)
            answered = await sleeper.resume(ask, Number(n=1))
            wakes.append(time.perf_counter() - begun)
            assert answered.unwrap().n == 2
    return {"start_up": start_up, "rss": rss, "wakes": wakes}


def _resident() -> float:
    """MB of memory of this process; 1 where the system does not say."""
    if not _STATUS.exists():
        return 1.0
    [line] = [line for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_live(Path(sys.argv[1]), sys.stdin.read().split()))))
