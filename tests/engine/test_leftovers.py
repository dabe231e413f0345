"""What a run held goes with it, at once: a collector that looks for it takes a third of a busy process's time."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import Runtime, StepContext, StepFailedError, StepTools, SuspendContext, Workflow, create_workflow, workflow
from wrkflw import step as a_step
from wrkflw.engine.drive import Drive
from wrkflw.engine.program import Program


@a_step
async def double(number: int) -> int:
    return 2 * number


@a_step
def in_thread(number: int) -> int:
    return number


@a_step
async def up_to(number: int) -> list[int]:
    return list(range(number))


@a_step
async def fail(number: int) -> int:
    raise ValueError(number)


@a_step
async def ask(number: int, ctx: SuspendContext[int, int]) -> int:
    return ctx.suspend(number)


@a_step
async def stream(number: int, ctx: StepContext[Any]) -> int:
    ctx.write("a chunk")
    return number


@workflow
async def program(step: StepTools, number: int) -> int:
    await asyncio.gather(step.run(double, number), step.run(double, number, name="again"))
    await step.sleep("nap", "1s")
    try:
        await step.run(fail, number)
    except StepFailedError:
        return step.random().randrange(10)
    return 0


def made(id: str) -> Any:
    return create_workflow(id=id, input_schema=int, output_schema=object)


inner = made("inner").then(double).commit()
FLOWS: list[Workflow[Any, Any, Any]] = [
    made("chain").then(double).then(in_thread).commit(),
    made("fan").then(up_to).foreach(double).commit(),
    made("block").parallel(double, in_thread).commit(),
    made("nested").then(inner).commit(),
    made("loop").do_until(double, lambda number: number > 20).commit(),
    made("failing").then(fail).commit(),
    made("suspended").then(ask).commit(),
    made("streaming").then(stream).commit(),
    made("asleep").sleep("1h").then(double).commit(),
    program,
]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.id)
async def test_what_a_run_held_goes_with_it(
    flow: Workflow[Any, Any, Any], runtime: Runtime, clock: ManualClock
) -> None:
    async def play() -> None:
        starting = asyncio.ensure_future((await flow.create_run()).start(3))
        while not starting.done():
            await settle(20)
            clock.turn("1s")
        await starting
        await settle(20)

    await play()  # whatever is made once is made now
    gc.collect()
    gc.disable()
    try:
        await play()
        assert [each for each in gc.get_objects() if isinstance(each, Drive | Program)] == []
    finally:
        gc.enable()
