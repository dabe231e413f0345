"""Readers that stop in the middle: they hold no transaction, so the log of the database can be emptied."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.clocks import ManualClock
from wrkflw import Run, Runtime, StepContext, create_workflow, step

Reader: TypeAlias = Callable[[Run[int, int]], AsyncIterator[object]]


@step
async def count(upto: int, ctx: StepContext) -> int:
    for number in range(upto):
        ctx.write(f"{number}\n")
    return upto


counting = create_workflow(id="counting", input_schema=int, output_schema=int).then(count).commit()


@pytest.mark.parametrize(
    "read",
    [lambda run: run.events(), lambda run: run.stream(), lambda run: run.read_stream()],
    ids=["events", "stream", "chunks"],
)
async def test_the_log_can_be_emptied_while_a_reader_thinks(
    read: Reader, database: str, tmp_path: Path, clock: ManualClock
) -> None:
    async with Runtime(database, clock=clock, workflows=[counting]):
        run = await counting.create_run()
        await run.start(2_000)
        reader = read(run)
        seen = [await anext(reader)]

        with closing(sqlite3.connect(tmp_path / "app.db", timeout=0)) as other:
            ((is_busy, frames, emptied),) = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        seen += [item async for item in reader]

    assert (is_busy, frames) == (0, emptied)
    assert len(seen) > 4
