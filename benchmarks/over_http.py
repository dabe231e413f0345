"""W13: runs enqueued over HTTP, each answered when it is durable; and how soon the step behind an event begins."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from wrkflw import Event, Run, Runtime, StepTools, workflow
from wrkflw.server import serve

from . import raw
from .adding import Number, adding, database, new
from .http_client import Connection
from .measure import Figure, Paired, Sizes, Timed, figure, paired, timed

_CONNECTIONS = 16
_GO = Event("go", Number)
_began: list[float] = []


def _note(number: int) -> int:
    _began.append(time.perf_counter())
    return number


@workflow(id="waiting")
async def _waiting(step: StepTools, _: Number) -> Number:
    told = await step.wait_for_event(_GO)
    return Number(n=await step.do("next", _note, told.n))


def measure(sizes: Sizes, folder: Path) -> list[Figure]:
    pairs: list[Paired] = []
    inside: list[Timed] = []
    for _ in range(sizes.repetitions):  # one after the other: a machine that others use is not the same a minute later
        pairs.append(asyncio.run(_enqueued(sizes.requests, folder)))
        inside.append(asyncio.run(_enqueued_here(sizes.requests, new(folder))))
    delays = asyncio.run(_answered(sizes.alone, new(folder)))
    note = f"{_CONNECTIONS} connections, from another process; no worker"
    return [
        figure("enqueued/s", "/s", [pair.measured.rate for pair in pairs], note=note),
        figure("CPU a run", "µs", [pair.measured.cpu_microseconds for pair in pairs], note="of the server"),
        figure("x raw", "x", [pair.ratio for pair in pairs], note="one insert a run, committed in groups"),
        figure("x in process", "x", _ratios(pairs, inside), note="the same runs, enqueued without HTTP"),
        figure("event to next step", "ms", [1000 * delay for delay in delays], note="one after another"),
    ]


async def _enqueued(runs: int, folder: Path) -> Paired:
    return await paired(
        lambda: raw.concurrent(new(folder), runs, _CONNECTIONS, 1), lambda: _enqueuing(runs, new(folder))
    )


async def _enqueuing(runs: int, folder: Path) -> Timed:
    runtime = Runtime(database(folder), workflows=[adding("one", 1)], worker=False)
    async with _served(runtime) as port:
        arguments = "-m", "benchmarks.http_client", str(port), str(runs), str(_CONNECTIONS)
        cpu = time.process_time()
        client = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
        seconds, _ = await client.communicate()
        return Timed(runs, float(seconds), time.process_time() - cpu)


async def _enqueued_here(runs: int, folder: Path) -> Timed:
    """The same without a server, and with as many at a time."""
    one = adding("one", 1)

    async def enqueue(count: int) -> None:
        for _ in range(count):
            await (await one.create_run()).enqueue(Number(n=1))

    async with Runtime(database(folder), workflows=[one], worker=False):
        shares = [runs // _CONNECTIONS + (number < runs % _CONNECTIONS) for number in range(_CONNECTIONS)]
        return await timed(runs, asyncio.gather(*map(enqueue, shares)))


def _ratios(pairs: Sequence[Paired], inside: Sequence[Timed]) -> list[float]:
    return [pair.measured.rate / here.rate for pair, here in zip(pairs, inside, strict=True)]


async def _answered(count: int, folder: Path) -> Sequence[float]:
    """Seconds from before the event is sent to the beginning of the step behind it."""
    sent: list[float] = []
    _began.clear()
    async with _served(Runtime(database(folder), workflows=[_waiting])) as port:
        runs: list[Run[Number, Number, None]] = [await _waiting.create_run() for _ in range(count)]
        for run in runs:
            await run.start(Number(n=1))
        client = await Connection.to(port)
        for run in runs:
            sent.append(time.perf_counter())
            await client.post(f"/api/runs/{run.run_id}/events/go?wait=10s", b'{"n":1}')
        await client.close()
    return [began - at for at, began in zip(sent, _began, strict=True)]


@asynccontextmanager
async def _served(runtime: Runtime) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with runtime:
            serving = asyncio.ensure_future(serve(runtime, sockets=[listener]))
            yield listener.getsockname()[1]
            serving.cancel()
            await asyncio.wait({serving})
