"""What the processes of the crash tests do, by the word they are forked with."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from wrkflw import Completed, Limits, Runtime, StepContext, StoreError, create_workflow, step
from wrkflw.worlds.sqlite import SqliteWorld

from .errands import WORKFLOWS, AnyWorkflow, Errand, journey, kind_of
from .witness import Fenced, effect, ready, tell

PATIENCE = Limits(interruptions=100_000)  # where kills are all there is, none must end a step
STRICT = Limits(interruptions=1)
LEASE = timedelta(milliseconds=300)  # some are stopped for longer
_BLINK = 0.002


def runtime(
    database: str, *, workflows: Sequence[AnyWorkflow] = WORKFLOWS, worker: bool = True, limits: Limits = PATIENCE
) -> Runtime:
    """Of one that may be killed again and again, and so may all the others."""
    world = SqliteWorld(database.removeprefix("sqlite:///"), lease=LEASE, max_deliveries=100_000)
    return Runtime(world=world, workflows=workflows, limits=limits, worker=worker)


def errands_of(told: str) -> list[Errand]:
    return [Errand(number, run_id, set(said)) for number, run_id, said in json.loads(told)]


def tells_of_fences() -> None:
    logging.getLogger("wrkflw").setLevel(logging.INFO)
    logging.getLogger("wrkflw").addHandler(Fenced())


# --- who is killed -------------------------------------------------------------------------------------


async def live(database: str, told: str, *, worker: bool) -> None:
    """Say what there is to say, and work until the end, which is a SIGKILL."""
    tells_of_fences()
    async with runtime(database, worker=worker):
        ready()
        await asyncio.gather(*(errand.tend() for errand in errands_of(told)))
        await asyncio.Event().wait()


async def work(database: str, told: str) -> None:
    await live(database, told, worker=True)


async def ask(database: str, told: str) -> None:
    """Drives what it has asked for, and takes nothing else."""
    await live(database, told, worker=False)


async def vow(database: str, number: str) -> None:
    """Tell what was acknowledged, and die at once."""
    async with runtime(database):
        run = await journey.create_run(idempotency_key=f"key-{number}")
        await run.enqueue(int(number))
        tell("ACK", name=f"key-{number}", key=f"key-{number}", run=run.run_id)
        os.kill(os.getpid(), signal.SIGKILL)


async def drain(database: str, told: str) -> None:
    """Work until every run has ended."""
    errands = errands_of(told)
    async with runtime(database):
        ready()
        await asyncio.gather(*(errand.tend() for errand in errands))
        for errand in errands:
            assert errand.run_id is not None
            run = await kind_of(errand.number).workflow.get_run(errand.run_id)
            result = await run.result("30s")
            tell("END", key=errand.key, run=run.run_id, status=result.status)


async def leave(database: str, told: str, *, limits: Limits = STRICT) -> None:
    """Say what there is to say, and work until a SIGTERM; a second one is a kill."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def end() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        async with runtime(database, limits=limits):
            ready()
            await asyncio.gather(*(errand.tend() for errand in errands_of(told)))
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        tell("LEFT")


async def leave_in_haste(database: str, told: str) -> None:
    """As one to whom the second comes soon: what it interrupts counts, and must not end a step."""
    await leave(database, told, limits=PATIENCE)


# --- who is stopped ------------------------------------------------------------------------------------


def held(ctx: StepContext) -> bool:
    """Whether the body stays where it is until the test says that it may go on; its successors need not ask."""
    return ctx.fence == 1 and not Path(f"go-{ctx.run_id}-{ctx.key}").exists()


@step
async def first(_: str, ctx: StepContext) -> str:
    effect(ctx)
    while held(ctx):  # noqa: ASYNC110  # the test says when, from another process
        await asyncio.sleep(_BLINK)
    return f"{ctx.fence}"


@step
def second(before: str, ctx: StepContext) -> str:
    effect(ctx)
    while held(ctx):
        time.sleep(_BLINK)  # in a thread
    return f"{before} {ctx.fence}"


@step
async def third(before: str, ctx: StepContext) -> str:
    effect(ctx)
    while held(ctx):  # noqa: ASYNC110  # the test says when, from another process
        await asyncio.sleep(_BLINK)
    return f"{before} {ctx.fence}"


walk = create_workflow(id="walk", input_schema=str, output_schema=str).then(first).then(second).then(third).commit()


@step
async def hog(_: str, ctx: StepContext) -> str:
    effect(ctx)
    while held(ctx):
        time.sleep(_BLINK)  # noqa: ASYNC251  # nothing else of this process goes on, which is the point
    return f"{ctx.fence}"


hogging = create_workflow(id="hogging", input_schema=str, output_schema=str).then(hog).commit()


async def carry(database: str, run_id: str) -> None:
    await _drive(database, walk, run_id)


async def block(database: str, run_id: str) -> None:
    await _drive(database, hogging, run_id)


async def _drive(database: str, workflow: AnyWorkflow, run_id: str) -> None:
    """Drive one run to its end, whoever takes it meanwhile."""
    tells_of_fences()
    async with runtime(database, workflows=[workflow], worker=False):
        ready()
        run = await workflow.create_run(run_id=run_id)
        result = await run.start("", wait=None)
        assert isinstance(result, Completed), result
        tell("END", run=run_id, output=result.output)


async def succeed(database: str, run_ids: str) -> None:
    """Take over whatever may be taken, start as many runs anew, and work until all of them have ended."""
    async with runtime(database, workflows=[walk]):
        ready()
        for run_id in json.loads(run_ids):
            await (await walk.create_run()).enqueue("")
            run = await walk.get_run(run_id)
            tell("SUCCEEDED", run=run_id, output=(await run.result("30s")).unwrap())


# --- who lives beside others ---------------------------------------------------------------------------


@step
async def hold(mode: str, ctx: StepContext) -> str:
    effect(ctx)
    if mode == "wait":
        await asyncio.Event().wait()
    return f"epoch {ctx.fence}, attempt {ctx.attempt}"


holding = create_workflow(id="holding", input_schema=str, output_schema=str).then(hold).commit()


async def keep(database: str) -> None:
    """Have a run that does not end."""
    async with runtime(database, workflows=[holding]):
        ready()
        await (await holding.create_run()).start("wait", wait=None)


async def offer(database: str) -> None:
    """Leave a run to whoever takes it, and wait for its end."""
    async with runtime(database, workflows=[holding], worker=False):
        ready()
        run = await (await holding.create_run()).enqueue("now")
        tell("OFFERED", run=run.run_id)
        tell("END", run=run.run_id, output=(await run.result()).unwrap())


async def press(database: str) -> None:
    """Leave runs to others, one after another, from when the test says so until it says that these are enough."""
    async with runtime(database, worker=False):
        ready()
        while not Path("go").exists():  # noqa: ASYNC110, ASYNC240  # the test says when
            await asyncio.sleep(_BLINK)
        while not Path("enough").exists():  # noqa: ASYNC240
            await (await journey.create_run()).enqueue(0)
            tell("LEFT_ONE")


async def look(database: str) -> None:
    """Take whatever may be taken, at once and after a time in which everybody who lives moves his lease on."""
    async with runtime(database, workflows=[holding, hogging]):
        ready()
        for _ in range(2):
            run = await (await holding.create_run()).enqueue("now")
            tell("LOOKED", output=(await run.result()).unwrap())
            await asyncio.sleep(LEASE.total_seconds())


# --- who has no space ----------------------------------------------------------------------------------


@step
async def measure(text: str, ctx: StepContext) -> int:
    effect(ctx)
    return len(text)


measuring = create_workflow(id="measuring", input_schema=str, output_schema=int).then(measure).commit()
_REFUSALS = 3
_LONG = "x" * 9_000


async def fill(database: str, limit: str) -> None:
    """Start runs until the disk is full, wait until there is space, and go on.

    ``limit`` is how large a file may be meanwhile, in bytes; 0 when it is the disk that is small.
    """
    _limit_files(int(limit))
    asked, is_open = dict[str, bool](), False
    try:
        async with runtime(database, workflows=[measuring]):
            is_open = True
            while list(asked.values()).count(False) < _REFUSALS:
                key = f"key-{len(asked)}"
                asked[key] = await _start(key)
            tell("FULL")
            await _space()
            return await _finish(asked)
    except StoreError as error:
        if is_open:
            raise
        tell("REFUSED", error=repr(error))  # there is not even space for the tables
    tell("FULL")
    await _space()
    async with runtime(database, workflows=[measuring]):
        await _finish({"key-0": False})


async def _finish(asked: dict[str, bool]) -> None:
    for key, acknowledged in asked.items():
        assert acknowledged or await _start(key), f"{key} is refused although there is space"
    for key in asked:
        run = await measuring.create_run(idempotency_key=key)
        output = (await run.start(_LONG, wait="30s")).unwrap()
        tell("END", name=key, key=key, run=run.run_id, output=output, wanted=len(_LONG))


async def _start(key: str) -> bool:
    """Whether it was acknowledged."""
    run = await measuring.create_run(idempotency_key=key)
    try:
        result = await run.start(_LONG, wait="5s")
    except StoreError as error:
        tell("REFUSED", key=key, error=repr(error))
        return False
    tell(
        "ACK", name=key, key=key, run=run.run_id, **({"output": result.output} if isinstance(result, Completed) else {})
    )
    return True


async def _space() -> None:
    while not Path("space").exists():  # noqa: ASYNC110, ASYNC240  # the test says when
        await asyncio.sleep(_BLINK)
    _limit_files(resource.RLIM_INFINITY)


def _limit_files(size: int) -> None:
    if size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


# --- who is not heard ----------------------------------------------------------------------------------


def _complain(_: object) -> None:
    raise OSError("nobody is there")


complaining = (
    create_workflow(id="complaining", input_schema=str, output_schema=str, on_completed=_complain).then(hold).commit()
)


async def mutter(database: str) -> None:
    """Have something to say on stderr, which is a full pipe that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 65536)
    os.set_blocking(writing, True)
    os.dup2(writing, 2)
    async with runtime(database, workflows=[complaining]):
        for number in range(3):
            run = await complaining.create_run()
            tell("END", number=number, output=(await run.start("now")).unwrap())
    assert reading  # so far it was open


ROLES: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    role.__name__: role
    for role in (
        work,
        ask,
        vow,
        drain,
        leave,
        leave_in_haste,
        carry,
        block,
        succeed,
        keep,
        offer,
        press,
        look,
        fill,
        mutter,
    )
}
