"""Bodies that wait for other runs: these are taken though as many are driven as may be."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import Runtime, StepContext, create_workflow, step, sync

from .desk import Desk, called, chain


@step
async def double(data: int) -> int:
    return 2 * data


doubling = create_workflow(id="doubling", input_schema=int, output_schema=int).then(double).commit()


@step
async def ask_another(data: int, ctx: StepContext) -> int:
    run = await doubling.create_run(idempotency_key=ctx.idempotency_key)
    await run.enqueue(data)
    return (await run.result()).unwrap()


@step
def ask_another_in_a_thread(data: int, ctx: StepContext) -> int:
    run = sync(doubling.create_run(idempotency_key=ctx.idempotency_key))
    sync(run.enqueue(data))
    return sync(run.result()).unwrap()


@pytest.mark.parametrize("asking", [ask_another, ask_another_in_a_thread], ids=["async", "sync"])
@pytest.mark.parametrize("count", [1, 2, 5])
async def test_runs_that_wait_for_others_do_not_keep_their_places(clock: ManualClock, asking: Any, count: int) -> None:
    parent: Any = create_workflow(id="parent", input_schema=int, output_schema=int).then(asking).commit()
    async with Runtime(":memory:", clock=clock, workflows=[doubling, parent], concurrency=count):
        runs = [await (await parent.create_run()).enqueue(number) for number in range(3 * count)]

        assert [(await run.result()).unwrap() for run in runs] == [2 * number for number in range(3 * count)]


async def test_a_run_of_which_several_bodies_wait_makes_room_for_one(clock: ManualClock) -> None:
    desk = Desk()
    slow = chain("slow").then(desk.slow("work")).commit()

    @step
    async def wait(data: int) -> int:
        run: Any = await slow.create_run(idempotency_key="first")
        await run.enqueue(data)
        output: int = (await run.result()).unwrap()
        return output

    parent = chain("parent", gives=list[int]).parallel_all([wait, wait.with_id("too")]).commit()
    async with Runtime(":memory:", clock=clock, workflows=[slow, parent], concurrency=1):
        waiting = await (await parent.create_run()).enqueue(1)
        await called(desk, "work")
        others = [await (await slow.create_run()).enqueue(number) for number in range(3)]
        await settle()
        assert desk.calls == ["work"]
        desk.let("work")

        assert (await waiting.result()).unwrap() == [2, 2]
        assert [(await run.result()).unwrap() for run in others] == [1, 2, 3]
