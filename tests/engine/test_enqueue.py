"""Enqueue: durable when it returns, taken by any worker, not before its delay has passed."""

from __future__ import annotations

import asyncio

from tests.clocks import ManualClock, settle
from wrkflw import Runtime, Waiting, Workflow, create_workflow, step


class Doubling:
    def __init__(self) -> None:
        self.begun: list[int] = []

        @step
        async def double(data: int) -> int:
            self.begun.append(data)
            return data * 2

        self.workflow: Workflow[int, int, None] = (
            create_workflow(id="doubling", input_schema=int, output_schema=int).then(double).commit()
        )


async def test_a_queued_run_is_taken_by_the_worker(runtime: Runtime) -> None:
    doubling = Doubling()
    run = await (await doubling.workflow.create_run()).enqueue(4)

    assert (await run.result()).unwrap() == 8


async def test_enqueue_returns_before_the_body_begins(runtime: Runtime) -> None:
    doubling = Doubling()
    run = await (await doubling.workflow.create_run()).enqueue(4)

    assert doubling.begun == []
    assert (await run.snapshot()).status == "pending"
    await settle()
    assert doubling.begun == [4]


async def test_a_delayed_run_begins_when_its_delay_has_passed(runtime: Runtime, clock: ManualClock) -> None:
    doubling = Doubling()
    await (await doubling.workflow.create_run()).enqueue(4, delay="90s")
    await settle()
    clock.turn("89s")
    await settle()
    assert doubling.begun == []

    clock.turn("1s")
    await settle()
    assert doubling.begun == [4]


async def test_runs_begin_in_the_order_in_which_they_fall_due(runtime: Runtime, clock: ManualClock) -> None:
    doubling = Doubling()
    for data, delay in ((3, "3m"), (1, "1m"), (2, "2m")):
        await (await doubling.workflow.create_run()).enqueue(data, delay=delay)
    await settle()
    for _ in range(3):
        clock.turn("1m")
        await settle()

    assert doubling.begun == [1, 2, 3]


async def test_a_runtime_that_takes_no_runs_leaves_it_to_others(clock: ManualClock, database: str) -> None:
    doubling = Doubling()
    async with Runtime(database, clock=clock, worker=False):
        run = await (await doubling.workflow.create_run(run_id="r-17")).enqueue(4)
        await settle()
        assert doubling.begun == []
        async with Runtime(database, clock=clock, workflows=[doubling.workflow]):
            assert (await run.result()).unwrap() == 8


async def test_a_worker_takes_only_workflows_that_it_knows(clock: ManualClock, database: str) -> None:
    doubling = Doubling()
    async with Runtime(database, clock=clock, worker=False):
        await (await doubling.workflow.create_run(run_id="r-17")).enqueue(4)
    async with Runtime(database, clock=clock) as runtime:
        await settle()
        assert doubling.begun == []
        runtime.define(doubling.workflow)
        assert (await (await doubling.workflow.get_run("r-17")).result()).unwrap() == 8


async def test_a_queued_run_survives_a_restart(clock: ManualClock, database: str) -> None:
    doubling = Doubling()
    async with Runtime(database, clock=clock, worker=False):
        await (await doubling.workflow.create_run(run_id="r-17")).enqueue(4, delay="1h")
    clock.turn("2h")
    async with Runtime(database, clock=clock, workflows=[doubling.workflow]):
        assert (await (await doubling.workflow.get_run("r-17")).result()).unwrap() == 8


async def test_no_more_runs_are_driven_at_once_than_allowed(clock: ManualClock) -> None:
    most, now = 0, 0
    go_on = asyncio.Event()

    @step
    async def meet(data: int) -> int:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await go_on.wait()
        now -= 1
        return data

    workflow = create_workflow(id="meeting", input_schema=int, output_schema=int).then(meet).commit()
    async with Runtime(":memory:", clock=clock, concurrency=3):
        runs = [await (await workflow.create_run()).enqueue(data) for data in range(10)]
        await settle()
        assert now == 3
        go_on.set()
        assert [(await run.result()).unwrap() for run in runs] == list(range(10))

    assert most == 3


async def test_start_under_the_key_of_a_delayed_run_tells_when_it_begins(runtime: Runtime, clock: ManualClock) -> None:
    doubling = Doubling()
    await (await doubling.workflow.create_run(idempotency_key="k")).enqueue(4, delay="1h")
    result = await (await doubling.workflow.create_run(idempotency_key="k")).start(4)

    assert isinstance(result, Waiting)
    assert doubling.begun == []


async def test_a_runtime_that_takes_no_runs_takes_a_delayed_one_that_it_was_asked_for(clock: ManualClock) -> None:
    doubling = Doubling()
    async with Runtime(":memory:", clock=clock, worker=False):
        await (await doubling.workflow.create_run(idempotency_key="k")).enqueue(4, delay="1h")
        starting = asyncio.ensure_future((await doubling.workflow.create_run(idempotency_key="k")).start(4, wait=None))
        await settle()
        assert doubling.begun == []
        clock.turn("1h")
        await settle()

        assert (await starting).unwrap() == 8
