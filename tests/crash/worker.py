"""A worker to be killed: ``python -m tests.crash.worker DATABASE WITNESS``.

It reads one command a line and forks a child for each, because a fork starts in a hundredth of the time of a process.
The child tells ``ready`` once its Runtime is open, the parent ``pid N`` and, when the child is gone, ``dead STATUS``.
What really happened is told to the witness file, in single writes that survive a kill.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from wrkflw import Completed, Limits, Retry, Runtime, StepContext, create_workflow, step

PATIENCE = Limits(interruptions=100_000)  # kills are all there is here; none must end a step

_witness = -1


def tell(what: str, **facts: object) -> None:
    """One fact, one write, at the end of the file."""
    os.write(_witness, (json.dumps({"what": what, "pid": os.getpid(), **facts}) + "\n").encode())


def effect(ctx: StepContext) -> None:
    tell("EFFECT", run=ctx.run_id, key=ctx.key, attempt=ctx.attempt, epoch=ctx.fence)


# --- a chain that is killed anywhere ------------------------------------------------------------------


@step
async def add(number: int, ctx: StepContext) -> int:
    effect(ctx)
    await asyncio.sleep(0.015)
    return number + 1


@step
def double(number: int, ctx: StepContext) -> int:
    effect(ctx)
    time.sleep(0.01)
    return number * 2


@step(retry=Retry(attempts=3, delay="10ms"))
async def stumble(number: int, ctx: StepContext) -> int:
    effect(ctx)
    await asyncio.sleep(0.008)
    if ctx.attempt < 3:
        raise OSError(f"try {ctx.attempt}")
    return number - 3


@step
async def square(number: int, ctx: StepContext) -> int:
    effect(ctx)
    await asyncio.sleep(0.02)
    return number * number


@step
def negate(number: int, ctx: StepContext) -> int:
    effect(ctx)
    time.sleep(0.01)
    return -number


journey = (
    create_workflow(id="journey", input_schema=int, output_schema=int)
    .then(add)
    .then(double)
    .map(lambda number: number)
    .then(stumble)
    .then(square)
    .then(negate)
    .commit()
)


def expected(number: int) -> int:
    return -(((number + 1) * 2 - 3) ** 2)


async def ask_for(number: int) -> None:
    """Ask for the run of this number, in one of the two ways, and tell when it is acknowledged."""
    run = await journey.create_run(idempotency_key=f"key-{number}")
    if number % 2:
        await run.enqueue(number)
    else:
        await run.start(number)
    tell("ACK", key=f"key-{number}", run=run.run_id)


async def live(database: str, numbers: list[int]) -> None:
    """Work until the end, which is a SIGKILL."""
    async with Runtime(database, workflows=[journey], limits=PATIENCE):
        ready()
        await asyncio.gather(*map(ask_for, numbers))
        await asyncio.Event().wait()


async def drain(database: str, numbers: list[int], acknowledged: list[int]) -> None:
    """Work until every run has ended.  What was acknowledged is not asked for again: that might mask its loss."""
    async with Runtime(database, workflows=[journey], limits=PATIENCE):
        ready()
        await asyncio.gather(*map(ask_for, numbers))
        for number in [*numbers, *acknowledged]:
            run = await journey.create_run(idempotency_key=f"key-{number}")
            result = await run.result("30s")
            tell("END", key=f"key-{number}", run=run.run_id, status=result.status)


# --- a body that stops its own process, and one that waits ---------------------------------------------


@step
async def hold(mode: str, ctx: StepContext) -> str:
    effect(ctx)
    if mode == "zombie" and ctx.fence == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif mode == "zombie":
        while not Path("go").exists():  # noqa: ASYNC110, ASYNC240  # the test says when
            await asyncio.sleep(0.002)
    elif mode == "wait" and ctx.fence <= 7:
        await asyncio.Event().wait()
    return f"epoch {ctx.fence}, attempt {ctx.attempt}"


holding = create_workflow(id="holding", input_schema=str, output_schema=str).then(hold).commit()


class Fenced(logging.Handler):
    """Tells when this process is told that it lost the run."""

    def emit(self, record: logging.LogRecord) -> None:
        if "taken over" in record.getMessage():
            tell("FENCED")


async def carry(database: str, mode: str) -> None:
    """Drive the run until it ends, or a SIGTERM asks to leave."""
    logging.getLogger("wrkflw").setLevel(logging.INFO)
    logging.getLogger("wrkflw").addHandler(Fenced())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)  # type: ignore[union-attr]
    try:
        async with Runtime(database, workflows=[holding], lease="1s"):
            ready()
            run = await holding.create_run(run_id="r-17", idempotency_key="the-run")
            result = await run.start(mode, wait=None)
            assert isinstance(result, Completed), result
            tell("END", run=run.run_id, output=result.output)
    except asyncio.CancelledError:
        tell("LEFT")


async def offer(database: str) -> None:
    """Leave a run to whoever takes it, and wait for its end."""
    async with Runtime(database, workflows=[holding], worker=False):
        ready()
        run = await (await holding.create_run()).enqueue("now")
        tell("OFFERED", run=run.run_id)
        tell("END", run=run.run_id, output=(await run.result()).unwrap())


# --- the fork -----------------------------------------------------------------------------------------


def ready() -> None:
    os.write(1, b"ready\n")


def execute(database: str, command: list[str]) -> None:
    match command:
        case ["live", numbers]:
            asyncio.run(live(database, json.loads(numbers)))
        case ["drain", numbers, acknowledged]:
            asyncio.run(drain(database, json.loads(numbers), json.loads(acknowledged)))
        case ["carry", mode]:
            asyncio.run(carry(database, mode))
        case ["offer"]:
            asyncio.run(offer(database))
        case _:
            raise ValueError(f"unknown command {command}")


async def warm_up() -> None:
    """What is made when first used is made before the forks, so that the kills meet the work and not the making."""
    async with Runtime(":memory:", workflows=[journey]):
        assert await journey.run(1) == expected(1)


def main() -> None:
    global _witness  # noqa: PLW0603  # the one file of the process
    database, witness = sys.argv[1:]
    folder = Path(witness).parent
    _witness = os.open(os.devnull, os.O_WRONLY)
    asyncio.run(warm_up())
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join()  # none may be lost in a fork
    os.chdir(folder)
    _witness = os.open(witness, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                execute(database, line.split())
                status = 0
            except BaseException as error:
                tell("DIED", error=repr(error))
                raise
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.write(1, f"pid {pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        os.write(1, f"dead {os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    main()
