"""A day of one process, in virtual time: what it holds does not grow with what it has done."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic_core import from_json, to_json

from tests.soak import Note
from wrkflw import (
    Completed,
    Event,
    Failed,
    Retry,
    StepContext,
    StepTools,
    SuspendContext,
    create_workflow,
    step,
    workflow,
)
from wrkflw.testing import TestRuntime

SOAK = bool(os.environ.get("SOAK"))
MINUTES = 1_440 if SOAK else 45
"""As many instants come of the schedule."""
RUNS_A_MINUTE = 17 if SOAK else 16
RUNS = MINUTES * (RUNS_A_MINUTE + 1)
_WARM_UP = 200 if SOAK else 25
"""Minutes after which caches are full, and somebody has waited for all that is waited for."""
_MORE_A_RUN = 0.7 if SOAK else 3
"""Blocks of Python's memory; what is remembered of every run takes at least one, and with few runs caches grow on."""
_MORE = 4 * 2**20
"""Bytes.  Python takes its memory by the MiB, and one or two more when garbage is collected late."""
_LOG = 64 * 2**20
"""Bytes that SQLite's log may take."""
_DESCRIPTORS = Path("/proc/self/fd")
_PAGES = Path("/proc/self/statm")

paid = Event("paid", int)


@step(retry=Retry(attempts=2, delay="20s"))
async def stumble(n: int, ctx: StepContext) -> int:
    if ctx.attempt == 1:
        raise ConnectionError("once")
    return n


@step
def double(n: int) -> int:
    return 2 * n


@step
async def tell(n: int, ctx: StepContext) -> int:
    ctx.write({"n": n})
    return n


@step
async def ask(n: int, ctx: SuspendContext[int, int]) -> int:
    return n + ctx.suspend(n, timeout="10m")


@step
async def refuse(n: int) -> int:
    raise ValueError(f"{n} is too much")


chain = (
    create_workflow(id="chain", input_schema=int, output_schema=int, retention="1h").then(stumble).then(double).commit()
)
items = (
    create_workflow(id="items", input_schema=list[int], output_schema=list[int], retention="1h")
    .foreach(tell, concurrency=3)
    .commit()
)
asking = (
    create_workflow(id="asking", input_schema=int, output_schema=int, retention="1h").then(ask).then(double).commit()
)
refusing = create_workflow(id="refusing", input_schema=int, output_schema=int, retention="1h").then(refuse).commit()
ticking = (
    create_workflow(id="ticking", input_schema=int, output_schema=int, retention="1h")
    .sleep("30s")
    .then(double)
    .commit()
)


@workflow(id="paying", retention="1h")
async def paying(tools: StepTools, n: int) -> int:
    await tools.sleep("a-while", "3m")
    try:
        async with asyncio.timeout(60):
            return await tools.wait_for_event(paid) + await tools.run(double, n)
    except TimeoutError:
        return 0


async def a_chain() -> None:
    run = await chain.create_run()
    await run.start(2)


async def a_list_that_somebody_reads_along() -> None:
    run = await items.create_run()
    await run.start([1, 2, 3])
    told = [each async for each in run.stream()]
    assert told


async def an_answer() -> None:
    run = await asking.create_run()
    await run.start(1)
    result = await run.resume(ask, 2)
    assert isinstance(result, Completed)


async def no_answer() -> None:
    run = await asking.create_run()
    await run.start(1)


async def a_refusal() -> None:
    run = await refusing.create_run()
    result = await run.start(1)
    assert isinstance(result, Failed)


async def a_payment() -> None:
    run = await paying.create_run()
    await run.start(1)
    await run.send_event(paid, 1)


async def no_payment() -> None:
    await (await paying.create_run()).enqueue(1)


async def a_cancellation() -> None:
    run = await paying.create_run()
    await run.start(1)
    await run.cancel()


_KINDS: tuple[Callable[[], Awaitable[None]], ...] = (
    a_chain, a_list_that_somebody_reads_along, an_answer, no_answer, a_refusal, a_payment, no_payment, a_cancellation,
)  # fmt: skip


@dataclass(frozen=True)
class Held:
    """What the process holds; of what cannot be known here, 0."""

    blocks: int
    """Of Python's memory."""
    resident: int
    """Bytes."""
    descriptors: int
    threads: int
    tasks: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        pages = int(_PAGES.read_text().split()[1]) if _PAGES.exists() else 0
        return cls(
            sys.getallocatedblocks(),
            pages * os.sysconf("SC_PAGE_SIZE"),
            len(list(_DESCRIPTORS.iterdir())) if _DESCRIPTORS.exists() else 0,
            threading.active_count(),
            len(asyncio.all_tasks()),
        )


async def test_what_a_process_holds_does_not_grow_with_what_it_has_done(
    database: str, tmp_path: Path, record_property: Note, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, logger="wrkflw")  # pytest keeps every line, and runs that nobody answers write one
    from_json(to_json([f"{number:040}" for number in range(200_000)]))  # it keeps the last 16,384 short strings it read
    ticking.on_cron("* * * * *", input=lambda _: 1, overlap="queue")
    held: list[Held] = []
    largest_log = 0
    async with TestRuntime(database, workflows=[chain, items, asking, refusing, ticking, paying]) as runtime:
        for minute in range(1, MINUTES + 1):
            await asyncio.gather(*(_KINDS[number % len(_KINDS)]() for number in range(RUNS_A_MINUTE)))
            largest_log = max(largest_log, (tmp_path / "app.db-wal").stat().st_size)
            await runtime.advance("1m")
            if minute in (_WARM_UP, MINUTES):
                held.append(Held.now())

    early, late = held
    runs = (MINUTES - _WARM_UP) * (RUNS_A_MINUTE + 1)
    assert late.blocks - early.blocks < _MORE_A_RUN * runs
    assert late.resident - early.resident < _MORE
    assert late.descriptors <= early.descriptors + 2  # a connection that is made when it is needed
    assert late.threads <= early.threads
    assert late.tasks <= early.tasks
    assert largest_log < _LOG
    record_property("runs of a day", RUNS)
