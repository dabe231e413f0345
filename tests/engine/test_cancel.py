"""Cancel: durable at once, heard by the body that runs, from any process, and without effect on what has ended."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    Cancelled,
    Retry,
    RunNotFinishedError,
    RunNotFoundError,
    Runtime,
    StepContext,
    Waiting,
    Workflow,
    create_workflow,
    step,
)


@step
async def after(data: int) -> int:
    raise AssertionError("nothing starts after a cancel")


class Blocking:
    """A workflow whose first step waits until it is cancelled or let go."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.go_on = asyncio.Event()

        @step
        async def block(data: int) -> int:
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.heard.append("cancelled")
                raise
            return data

        self.step = block
        self.workflow: Workflow[int, int, None] = (
            create_workflow(id="blocking", input_schema=int, output_schema=int).then(block).then(after).commit()
        )


async def test_a_running_body_is_cancelled(runtime: Runtime) -> None:
    blocking = Blocking()
    run = await blocking.workflow.create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()

    assert await run.cancel("no longer needed")
    await settle()
    result = await starting

    assert isinstance(result, Cancelled)
    assert result.reason == "no longer needed"
    assert blocking.heard == ["cancelled"]
    assert (await run.snapshot()).execution_path == ["block"]


async def test_unwrapping_a_cancelled_run_says_so(runtime: Runtime) -> None:
    blocking = Blocking()
    run = await (await blocking.workflow.create_run(run_id="r-17")).enqueue(1)
    await run.cancel("too late")

    with pytest.raises(RunNotFinishedError) as refused:
        (await run.result()).unwrap()

    assert str(refused.value) == "run 'r-17' is cancelled (too late); start another"


async def test_a_cancel_is_durable_when_it_returns(runtime: Runtime) -> None:
    blocking = Blocking()
    run = await (await blocking.workflow.create_run()).enqueue(1)

    await run.cancel()

    assert (await runtime.runs.get(run.run_id)).status == "cancelled"


async def test_a_run_is_cancelled_before_it_begins(runtime: Runtime) -> None:
    blocking = Blocking()
    run = await (await blocking.workflow.create_run()).enqueue(1, delay="1h")

    assert await run.cancel()
    result = await run.result()

    assert isinstance(result, Cancelled)
    assert result.reason is None
    assert (await run.snapshot()).execution_path == []


async def test_cancelling_twice_says_yes_twice_and_keeps_the_first_reason(runtime: Runtime) -> None:
    run = await (await Blocking().workflow.create_run()).enqueue(1)

    assert [await run.cancel("first"), await run.cancel("second")] == [True, True]
    result = await run.result()
    assert isinstance(result, Cancelled)
    assert result.reason == "first"


async def test_a_finished_run_is_left_as_it_is(runtime: Runtime) -> None:
    @step
    async def double(data: int) -> int:
        return data * 2

    workflow = create_workflow(id="doubling", input_schema=int, output_schema=int).then(double).commit()
    run = await workflow.create_run()
    await run.start(2)
    before = await run.snapshot()

    assert await run.cancel() is False
    assert await run.snapshot() == before
    assert (await run.result()).unwrap() == 4


async def test_a_failed_run_is_left_as_it_is(runtime: Runtime) -> None:
    workflow = create_workflow(id="failing", input_schema=int, output_schema=int).then(after).commit()
    run = await workflow.create_run()
    await run.start(2)

    assert await run.cancel() is False
    assert (await run.snapshot()).status == "failed"


async def test_a_run_that_never_was_cannot_be_cancelled(runtime: Runtime) -> None:
    run = await Blocking().workflow.create_run(run_id="r-17")

    with pytest.raises(RunNotFoundError) as missing:
        await run.cancel()

    assert str(missing.value) == "run 'r-17' was not started; call start() or enqueue()"


async def test_a_sync_body_sees_that_it_should_stop(runtime: Runtime) -> None:
    begun, stopped, given_up = threading.Event(), threading.Event(), threading.Event()

    @step
    def work(data: int, ctx: StepContext) -> int:
        begun.set()
        while not ctx.stopping and not given_up.wait(0.001):
            pass
        stopped.set()
        return data

    workflow = create_workflow(id="working", input_schema=int, output_schema=int).then(work).then(after).commit()
    run = await workflow.create_run()
    starting = asyncio.ensure_future(run.start(1))
    try:
        assert await asyncio.to_thread(begun.wait, 10)
        await run.cancel()
        assert isinstance(await starting, Cancelled)
        assert await asyncio.to_thread(stopped.wait, 10)
    finally:
        given_up.set()


async def test_raise_if_stopping_leaves_the_body(runtime: Runtime) -> None:
    begun, left, given_up = threading.Event(), threading.Event(), threading.Event()

    @step
    def work(data: int, ctx: StepContext) -> int:
        begun.set()
        try:
            while not given_up.wait(0.001):
                ctx.raise_if_stopping()
        except asyncio.CancelledError:
            left.set()
            raise
        return data

    workflow = create_workflow(id="working", input_schema=int, output_schema=int).then(work).then(after).commit()
    run = await workflow.create_run()
    starting = asyncio.ensure_future(run.start(1))
    try:
        assert await asyncio.to_thread(begun.wait, 10)
        await run.cancel()
        assert isinstance(await starting, Cancelled)
        assert await asyncio.to_thread(left.wait, 10)
    finally:
        given_up.set()


async def test_a_body_that_finishes_all_the_same_is_recorded(runtime: Runtime) -> None:
    @step
    async def stubborn(data: int) -> int:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return data + 1

    workflow = create_workflow(id="stubborn", input_schema=int, output_schema=int).then(stubborn).then(after).commit()
    run = await workflow.create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    await run.cancel()

    assert isinstance(await starting, Cancelled)
    assert run.get_step_result(stubborn) == 2
    assert (await run.snapshot()).status == "cancelled"


async def test_a_sync_body_that_finishes_all_the_same_is_recorded(runtime: Runtime) -> None:
    begun, given_up = threading.Event(), threading.Event()

    @step
    def stubborn(data: int, ctx: StepContext) -> int:
        begun.set()
        while not ctx.stopping and not given_up.wait(0.001):
            pass
        return data + 1

    workflow = create_workflow(id="stubborn", input_schema=int, output_schema=int).then(stubborn).then(after).commit()
    run = await workflow.create_run()
    starting = asyncio.ensure_future(run.start(1))
    try:
        assert await asyncio.to_thread(begun.wait, 10)
        await run.cancel()
        assert isinstance(await starting, Cancelled)
    finally:
        given_up.set()

    await run.refresh()
    assert run.get_step_result(stubborn) == 2


async def test_a_wait_before_a_retry_ends_at_once(runtime: Runtime, clock: ManualClock) -> None:
    tries: list[int] = []

    @step(retry=Retry(attempts=5, delay="4s", jitter=0))
    async def charge(data: int) -> int:
        tries.append(1)
        raise OSError("down")

    workflow = create_workflow(id="charging", input_schema=int, output_schema=int).then(charge).commit()
    run = await workflow.create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    await run.cancel()
    await settle()

    assert isinstance(await starting, Cancelled)
    assert (await run.snapshot()).step_results["charge"].status == "cancelled"
    clock.turn("1h")
    await settle()
    assert tries == [1]


async def test_a_parked_run_is_cancelled(runtime: Runtime, clock: ManualClock) -> None:
    @step(retry=Retry(attempts=5, delay="1h", max_delay="1h", jitter=0))
    async def charge(data: int) -> int:
        raise OSError("down")

    workflow = create_workflow(id="charging", input_schema=int, output_schema=int).then(charge).commit()
    run = await workflow.create_run()
    assert isinstance(await run.start(1), Waiting)
    waiting = asyncio.ensure_future(run.result())
    await settle()
    await run.cancel()
    await settle()

    assert isinstance(await waiting, Cancelled)


async def test_a_cancelled_run_leaves_nothing_on_the_clock(clock: ManualClock) -> None:
    blocking = Blocking()
    async with Runtime(":memory:", clock=clock, worker=False):
        run = await blocking.workflow.create_run()
        starting = asyncio.ensure_future(run.start(1))
        await settle()
        await run.cancel()
        await starting

        assert clock.next_call is None


async def test_another_runtime_on_the_same_file_cancels(clock: ManualClock, database: str) -> None:
    blocking = Blocking()
    async with Runtime(database, clock=clock):
        run = await blocking.workflow.create_run(run_id="r-17")
        starting = asyncio.ensure_future(run.start(1))
        await settle()
        async with Runtime(database, clock=clock, worker=False) as other:
            assert await other.runs.cancel("r-17", "from afar")
            result = await starting

    assert isinstance(result, Cancelled)
    assert result.reason == "from afar"
    assert blocking.heard == ["cancelled"]


async def test_to_stop_awaiting_is_not_to_cancel(runtime: Runtime) -> None:
    blocking = Blocking()
    run = await blocking.workflow.create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    starting.cancel()
    await settle()
    assert (await run.snapshot()).status == "running"
    assert blocking.heard == []

    blocking.go_on.set()
    assert (await run.result()).status == "failed"  # of the step after it: the run went on


async def test_many_runs_are_cancelled_with_an_outcome_each(runtime: Runtime) -> None:
    @step
    async def double(data: int) -> int:
        return data * 2

    workflow = create_workflow(id="doubling", input_schema=int, output_schema=int).then(double).commit()
    done = await workflow.create_run(run_id="done")
    await done.start(1)
    await (await workflow.create_run(run_id="open")).enqueue(1, delay="1h")

    outcomes = await runtime.runs.cancel_many(["done", "open", "open", "none"], "spring cleaning")

    assert outcomes == {"done": "finished", "open": "cancelled", "none": "not_found"}


async def test_a_cancel_is_heard_at_whatever_moment_it_comes(runtime: Runtime) -> None:
    @step
    async def first(data: int) -> int:
        await asyncio.sleep(0)
        return data

    @step(retry=Retry(attempts=2, delay="0s"))
    async def second(data: int, ctx: StepContext) -> int:
        if ctx.attempt == 1:
            raise OSError("not yet")
        return data

    workflow = create_workflow(id="short", input_schema=int, output_schema=int).then(first).then(second).commit()
    seen: set[str] = set()
    for turns in range(40):
        run = await workflow.create_run()
        starting = asyncio.ensure_future(run.start(1))
        await settle(turns)
        try:
            cancelled = await run.cancel()
        except RunNotFoundError:
            await starting
            continue
        result = await asyncio.wait_for(starting, 10)
        status = "cancelled" if cancelled else "completed"
        seen.add(status)

        assert result.status == (await run.result()).status == status, f"cancelled after {turns} turns"
        log = [event.event_type async for event in run.events()]
        assert sum(each in {"run_completed", "run_failed", "run_cancelled"} for each in log) == 1
        assert not cancelled or set(log[log.index("run_cancelled") + 1 :]) <= {"step_completed"}
    assert seen == {"cancelled", "completed"}
    assert runtime.driver.driving == 0
