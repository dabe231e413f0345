"""Processes that run out of something: space on the disk, turns to write, somebody who hears them, descriptors."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import judging
from wrkflw import Runtime, create_workflow, step
from wrkflw.engine.driver import THREADS

from .nest import SOAK, Nest, nest, nest_in

__all__ = ["nest"]

pytestmark = pytest.mark.crash

SIZES = [256, 300, 400, 500, 640, 800, 1000, 1200] if SOAK else [256, 500]
"""KiB that there are, to begin with."""


# --- a disk that is full -------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, for who may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount(folder, "size=1m")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted here: A DISK THAT IS REALLY FULL IS NOT CHECKED")
    yield folder
    subprocess.run(["umount", folder], check=True)


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True, capture_output=True)


@pytest.mark.parametrize("size", SIZES)
def test_on_a_full_disk_nothing_is_acknowledged_that_is_not_there(size: int, tmp_path: Path, small_disk: Path) -> None:
    mount(small_disk, f"remount,size={size}k")
    with nest_in(tmp_path, database=small_disk / "app.db") as nest:
        crowd(nest, limit=0, mend=lambda: mount(small_disk, "remount,size=64m"))


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_file_that_may_not_grow_is_a_full_disk(size: int, nest: Nest) -> None:
    crowd(nest, limit=size * 1024, mend=lambda: None)


def crowd(nest: Nest, *, limit: int, mend: Callable[[], None]) -> None:
    """Fill what there is, then mend it: what was acknowledged is there, and all of it goes on in the same process."""
    process = nest.fork("fill", str(limit))
    nest.await_fact("FULL")
    told = len(nest.facts())
    mend()
    (nest.witness.parent / "space").touch()
    process.leaves()

    facts, found = nest.facts(), judging.found_in(nest.database)
    violations = [*judging.wrong(found, facts), *judging.unfinished(found, facts)]
    again = ".venv/bin/pytest tests/crash/test_starved.py"
    assert not violations, nest.report(violations, what="a full disk", again=again)
    assert any(fact["what"] == "REFUSED" for fact in facts[:told]), "it was never full"
    assert facts[-1]["what"] == "END"


# --- a turn to write -----------------------------------------------------------------------------------

WRITERS, TURNS, SHARE = (8, 300, 0.3) if SOAK else (4, 50, 0.1)


def test_who_writes_beside_others_gets_his_turn(nest: Nest) -> None:
    writers = [nest.fork("press") for _ in range(WRITERS)]
    for writer in writers:
        writer.ready()
    (nest.witness.parent / "go").touch()
    nest.await_fact("LEFT_ONE", WRITERS * TURNS)
    (nest.witness.parent / "enough").touch()
    for writer in writers:
        writer.leaves()

    turns = Counter(fact["pid"] for fact in nest.facts() if fact["what"] == "LEFT_ONE")
    assert len(turns) == WRITERS
    assert min(turns.values()) >= max(turns.values()) * SHARE, turns
    assert nest.read("SELECT count(*) FROM runs") == [(turns.total(),)]


# --- nobody who hears ----------------------------------------------------------------------------------


def test_a_full_pipe_for_complaints_does_not_stop_the_engine(nest: Nest) -> None:
    nest.fork("mutter").leaves()

    assert [fact["number"] for fact in nest.facts() if fact["what"] == "END"] == [0, 1, 2]


# --- what is open --------------------------------------------------------------------------------------


LATE = 2


@step
async def one(number: int) -> int:
    return number + 1


@step
def two(number: int) -> int:
    return number * 2


short = create_workflow(id="short", input_schema=int, output_schema=int).then(one).then(two).commit()


async def test_a_thousand_runs_leave_nothing_open(database: str) -> None:
    async with Runtime(database, workflows=[short]):
        await asyncio.gather(*map(short.run, range(100)))
        descriptors, threads = what_is_open()
        for _ in range(10):
            await asyncio.gather(*map(short.run, range(100)))

        # The log that the writer empties may be opened late, and so may threads for bodies.
        assert what_is_open()[0] <= descriptors + LATE
        assert what_is_open()[1] <= threads + THREADS


async def test_a_runtime_that_was_closed_leaves_nothing_open(database: str) -> None:
    seen = list[tuple[int, int]]()
    for turn in range(30):
        async with Runtime(database, workflows=[short]):
            assert await short.run(turn) == (turn + 1) * 2
        seen.append(what_is_open())

    assert seen[-1] == seen[4]


def what_is_open() -> tuple[int, int]:
    """How many descriptors, and threads."""
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    return len(os.listdir(folder)), threading.active_count()
