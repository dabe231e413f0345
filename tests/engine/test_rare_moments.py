"""What happens rarely: things that fall together, limits that are met elsewhere than usual, values of odd kinds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from unittest.mock import patch

import pytest
from typing_extensions import TypedDict

from tests.clocks import ManualClock, settle
from wrkflw import (
    Event,
    Failed,
    LimitError,
    Limits,
    Paused,
    Retry,
    Runtime,
    StepContext,
    StepTools,
    SuspendContext,
    Suspended,
    Workflow,
    create_workflow,
    step,
    workflow,
)
from wrkflw.engine.branches import Branches
from wrkflw.world import events as e


@step
async def double(number: int) -> int:
    return 2 * number


@step
async def ask(number: int, ctx: SuspendContext[int, None]) -> int:
    return number + ctx.suspend(None)


async def test_a_worker_that_is_often_full_takes_all_there_is(database: str) -> None:
    """Runs may end while others are being claimed: the worker is not full then, though it was about to be."""
    chain = create_workflow(id="chain", input_schema=int, output_schema=int).then(double).commit()
    async with Runtime(database, workflows=[chain], concurrency=2) as runtime:
        runs = [await (await chain.create_run()).enqueue(number) for number in range(120)]
        results = await asyncio.wait_for(asyncio.gather(*(run.result() for run in runs)), 60)

        assert [result.unwrap() for result in results] == [2 * number for number in range(120)]
        assert (await runtime.runs.list(status="running")).data == []


async def test_a_step_that_a_program_skipped_is_skipped_on_replay(runtime: Runtime) -> None:
    @workflow
    async def program(step: StepTools, number: int) -> int:
        skipped = await step.run(double.only_if(lambda number: number > 5), number)
        answered = await step.run(ask, number)
        return answered if skipped is None else -1

    run = await program.create_run()
    assert isinstance(await run.start(1), Suspended)

    assert (await run.resume(ask, 10)).unwrap() == 11


async def test_an_end_that_falls_together_with_a_refused_commit_is_not_forgotten(runtime: Runtime) -> None:
    """A program's step parks, somebody has written to the run, and what stands beside it meets a pause: all at once."""
    go_on, moments = asyncio.Event(), list[str]()

    @step
    async def slow(number: int) -> int:
        await go_on.wait()
        return number

    @step(retry=Retry(attempts=2, delay="1h", max_delay="1h", jitter=0))
    async def stumble(number: int) -> int:
        raise OSError("not yet")

    @workflow
    async def program(tools: StepTools, number: int) -> int:
        return await tools.run(stumble, number)

    beside = create_workflow(id="beside", input_schema=int, output_schema=int).then(slow).then(double).commit()
    both = create_workflow(id="both", input_schema=int, output_schema=list[int])
    flow = both.parallel_all([program, beside]).commit()
    events, one_ended = runtime.world.storage.events, Branches._one_ended
    create_batch = events.create_batch

    async def meeting_a_pause(run_id: str, batch: Sequence[e.NewEvent], **options: Any) -> Any:
        kinds = {event.event_type for event in batch}
        if not moments and "step_retrying" in kinds:
            moments.append("parks")
            result = await create_batch(run_id, batch, **options)
            go_on.set()
            await settle(8)
            return result
        if moments == ["parks"] and "step_started" in kinds:
            moments.append("refused")
            await events.create(run_id, e.RunPaused())
            await settle(20)
        return await create_batch(run_id, batch, **options)

    def hearing_of_news(branches: Branches, task: asyncio.Task[Any]) -> None:
        one_ended(branches, task)
        if moments == ["parks"] and branches._ended:
            branches._ring()

    runtime.driver._unsubscribe()  # of the pause it is told by the refusal alone
    with patch.object(events, "create_batch", meeting_a_pause), patch.object(Branches, "_one_ended", hearing_of_news):
        await (await flow.create_run(run_id="r-17")).enqueue(1)
        await settle()

    assert moments == ["parks", "refused"]
    assert runtime.driver.drive_of("r-17") is None


class CountingClock(ManualClock):
    calls = 0

    def now(self) -> datetime:
        self.calls += 1
        return super().now()


async def test_a_paused_block_does_not_spin_when_a_timer_in_it_falls_due() -> None:
    clock, go_on = CountingClock(), asyncio.Event()

    @step
    async def work(number: int) -> int:
        await go_on.wait()
        return number

    napping = create_workflow(id="napping", input_schema=int, output_schema=int).sleep("1m").then(double).commit()
    both = (
        create_workflow(id="both", input_schema=int, output_schema=int)
        .parallel(work, napping)
        .join(lambda one, two: one + two)
        .commit()
    )
    async with Runtime(":memory:", clock=clock):
        run = await both.create_run()
        starting = asyncio.ensure_future(run.start(1))
        await settle()
        await run.pause()
        await settle()
        clock.turn("1m")
        before = clock.calls
        await settle(500)
        assert clock.calls - before < 20  # it looks at the clock when it turns

        go_on.set()
        assert isinstance(await starting, Paused)
        await run.unpause()
        assert (await run.result()).unwrap() == 3


async def test_a_log_that_is_full_before_a_sleep_fails_the_run(clock: ManualClock) -> None:
    chain = create_workflow(id="chain", input_schema=int, output_schema=int).then(double).sleep("1h").commit()
    for events in range(4, 6):
        async with Runtime(":memory:", clock=clock, limits=Limits(events=events)):
            run = await chain.create_run()
            starting = asyncio.ensure_future(run.start(1, wait=None))
            await settle()
            clock.turn("1h")
            result = await asyncio.wait_for(starting, 5)

        assert isinstance(result, Failed)
        assert result.error.type == "LimitError"


async def test_a_run_that_begins_with_more_than_its_log_may_hold_is_refused(clock: ManualClock) -> None:
    chain = create_workflow(id="chain", input_schema=int, output_schema=int).then(double).commit()
    async with Runtime(":memory:", clock=clock, limits=Limits(events=2)) as runtime:
        with pytest.raises(LimitError):
            await (await chain.create_run()).start(1)
        assert (await runtime.runs.list()).data == []


async def test_sets_are_the_same_items_in_whatever_order_they_come(clock: ManualClock, database: str) -> None:
    """Another process, with another hash seed, has them in another order."""

    @step
    async def total(numbers: set[int], ctx: SuspendContext[int, None]) -> int:
        return sum(numbers) + ctx.suspend(None)

    def summing(order: list[int]) -> Workflow[None, list[int], None]:
        def sets(_: None) -> list[set[int]]:
            return [set(order)]

        workflow = create_workflow(id="summing", input_schema=None, output_schema=list[int])
        return workflow.map(sets).foreach(total).commit()

    assert [*set([0, 8])] != [*set([8, 0])]  # noqa: C405  # as two processes may have it
    async with Runtime(database, clock=clock):
        assert isinstance(await (await summing([0, 8]).create_run(run_id="r-1")).start(), Suspended)
    async with Runtime(database, clock=clock):
        run = await summing([8, 0]).get_run("r-1")
        assert (await run.resume(total, 1)).unwrap() == [9]


async def test_a_default_is_nobodys_to_change(runtime: Runtime, clock: ManualClock) -> None:
    numbers = Event("numbers", list[int])

    def add_one(given: list[int]) -> list[int]:
        given.append(1)
        return given

    waiting = create_workflow(id="waiting", input_schema=None, output_schema=list[int])
    chain = waiting.wait_for_event(numbers, timeout="1m", default=[]).map(add_one).commit()
    for _ in range(2):
        run = await chain.create_run()
        await run.start()
        clock.turn("1m")
        assert (await run.result()).unwrap() == [1]


class Basket(TypedDict, total=False):
    coupon: str


async def test_members_that_both_remove_a_field_agree(runtime: Runtime) -> None:
    @step
    async def spend(data: None, ctx: StepContext[Basket]) -> bool:
        return ctx.state.pop("coupon", None) is not None

    shop = (
        create_workflow(id="shop", input_schema=None, output_schema=tuple[bool, bool], state_schema=Basket)
        .parallel(spend, spend.with_id("again"))
        .commit()
    )
    run = await shop.create_run()
    result = await run.start(None, initial_state={"coupon": "ten"})

    assert result.unwrap() == (True, True)
    assert run.state == {}


@pytest.mark.parametrize("nested", [False, True])
async def test_a_deadline_that_passes_during_a_pause_fails_the_run_when_it_goes_on(
    runtime: Runtime, clock: ManualClock, nested: bool
) -> None:
    go_on = asyncio.Event()

    @step
    async def work() -> int:
        await go_on.wait()
        return 1

    inner = create_workflow(id="inner", input_schema=object, output_schema=int, timeout="5s").then(work).commit()
    outer = create_workflow(id="outer", input_schema=None, output_schema=int, timeout="10s")
    chain = (outer.then(inner) if nested else outer.then(work)).commit()
    run = await chain.create_run()
    starting = asyncio.ensure_future(run.start())
    await settle()
    await run.pause()
    clock.turn("11s")
    await settle()
    assert not starting.done()  # the body is not touched: it is finished and recorded

    go_on.set()
    assert isinstance(await starting, Paused)
    assert (run.within("inner") if nested else run).get_step_result(work) == 1
    await run.unpause()
    result = await run.result()
    assert isinstance(result, Failed)
    assert result.error.type == "RunTimeoutError"
