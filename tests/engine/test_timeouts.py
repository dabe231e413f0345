"""Timeouts: of one try of a body, and of a whole run; both by the clock that was handed in."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from datetime import timedelta

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import Failed, Retry, Runtime, StepContext, Waiting, create_workflow, step


@step
async def once() -> int:
    return 1


quick = create_workflow(id="late", input_schema=None, output_schema=int, timeout="1h").then(once).commit()


async def test_an_async_body_is_cancelled_when_its_time_is_up(runtime: Runtime, clock: ManualClock) -> None:
    seen: list[str] = []

    @step(timeout="30s")
    async def charge() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return 1

    workflow = create_workflow(id="slow", input_schema=None, output_schema=int).then(charge).commit()
    starting = asyncio.ensure_future((await workflow.create_run()).start())
    await settle()
    clock.turn("29s")
    await settle()
    assert seen == []
    clock.turn("1s")
    await settle()
    result = await starting

    assert isinstance(result, Failed)
    assert seen == ["cancelled"]
    assert result.error.type == "StepTimeoutError"
    assert result.error.message == "step 'charge' took longer than 30s (attempt 1); raise timeout= or split it"


async def test_a_body_in_time_is_left_alone(runtime: Runtime, clock: ManualClock) -> None:
    @step(timeout="30s")
    async def quick() -> int:
        return 1

    workflow = create_workflow(id="quick", input_schema=None, output_schema=int).then(quick).commit()

    assert await workflow.run() == 1
    clock.turn("1h")
    await settle()


async def test_a_timeout_is_a_failure_that_is_retried(runtime: Runtime, clock: ManualClock) -> None:
    @step(timeout="30s", retry=Retry(attempts=2, delay="0s"))
    async def charge(ctx_input: None, ctx: StepContext) -> int:
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        return ctx.attempt

    workflow = create_workflow(id="slow-once", input_schema=None, output_schema=int).then(charge).commit()
    run = await workflow.create_run()
    starting = asyncio.ensure_future(run.start())
    await settle()
    clock.turn("30s")
    await settle()

    assert (await starting).unwrap() == 2


async def test_each_try_has_its_own_time(runtime: Runtime, clock: ManualClock) -> None:
    @step(timeout="30s", retry=Retry(attempts=2, delay="0s"))
    async def charge() -> int:
        await asyncio.Event().wait()
        return 1

    workflow = create_workflow(id="slow-twice", input_schema=None, output_schema=int).then(charge).commit()
    starting = asyncio.ensure_future((await workflow.create_run()).start(wait=None))
    for _ in range(2):
        await settle()
        assert not starting.done()
        clock.turn("30s")
    await settle()
    result = await starting

    assert isinstance(result, Failed)
    assert result.error.message == "step 'charge' took longer than 30s (attempt 2); raise timeout= or split it"


async def test_a_sync_body_is_left_behind_and_not_heard(runtime: Runtime, clock: ManualClock) -> None:
    late, begun = threading.Event(), threading.Event()
    ended = threading.Event()

    @step(timeout="30s", retry=Retry(attempts=2, delay="0s"))
    def charge(ctx_input: None, ctx: StepContext) -> str:
        if ctx.attempt == 1:
            begun.set()
            late.wait(10)
            ended.set()
        return f"try {ctx.attempt}"

    workflow = create_workflow(id="stuck", input_schema=None, output_schema=str).then(charge).commit()
    run = await workflow.create_run()
    starting = asyncio.ensure_future(run.start())
    await asyncio.to_thread(begun.wait, 10)
    clock.turn("30s")
    result = await starting
    late.set()
    await asyncio.to_thread(ended.wait, 10)
    await settle()

    assert result.unwrap() == "try 2"
    assert [event.event_type async for event in run.events()][-4:] == [
        "step_retrying", "step_started", "step_completed", "run_completed"
    ]  # fmt: skip


async def test_a_sync_body_that_is_left_behind_is_told_to_stop(runtime: Runtime, clock: ManualClock) -> None:
    begun, told, given_up = threading.Event(), threading.Event(), threading.Event()

    @step(timeout="30s")
    def work(ctx_input: None, ctx: StepContext) -> int:
        begun.set()
        while not ctx.stopping and not given_up.wait(0.001):
            pass
        if ctx.stopping:
            told.set()
        return 1

    workflow = create_workflow(id="stuck", input_schema=None, output_schema=int).then(work).commit()
    starting = asyncio.ensure_future((await workflow.create_run()).start())
    try:
        await asyncio.to_thread(begun.wait, 10)
        clock.turn("30s")
        result = await starting
        assert await asyncio.to_thread(told.wait, 10)
    finally:
        given_up.set()

    assert isinstance(result, Failed)
    assert result.error.type == "StepTimeoutError"


async def test_a_run_past_its_deadline_fails(runtime: Runtime, clock: ManualClock) -> None:
    cancelled: list[bool] = []

    @step
    async def approve() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)
        return 1

    workflow = create_workflow(id="late", input_schema=None, output_schema=int, timeout="7d").then(approve).commit()
    run = await workflow.create_run(run_id="r-17")
    starting = asyncio.ensure_future(run.start())
    await settle()
    clock.turn("7d")
    await settle()
    result = await starting

    assert isinstance(result, Failed)
    assert cancelled == [True]
    assert result.error.type == "RunTimeoutError"
    assert result.error.message == "run 'r-17' passed its 7 days, waiting at 'approve'; raise timeout="
    assert (await runtime.world.storage.runs.get("r-17")).error_code == "DEADLINE_EXCEEDED"


async def test_a_sync_body_is_told_that_the_run_is_past_its_deadline(runtime: Runtime, clock: ManualClock) -> None:
    begun, told = threading.Event(), threading.Event()
    given_up = threading.Event()

    @step
    def work(ctx_input: None, ctx: StepContext) -> int:
        begun.set()
        while not ctx.stopping and not given_up.wait(0.001):
            pass
        told.set()
        return 1

    workflow = create_workflow(id="late", input_schema=None, output_schema=int, timeout="1h").then(work).commit()
    starting = asyncio.ensure_future((await workflow.create_run()).start())
    try:
        await asyncio.to_thread(begun.wait, 10)
        clock.turn("1h")
        assert isinstance(await starting, Failed)
        assert await asyncio.to_thread(told.wait, 10)
    finally:
        given_up.set()


async def test_a_short_wait_before_a_retry_ends_at_the_deadline(runtime: Runtime, clock: ManualClock) -> None:
    @step(retry=Retry(attempts=5, delay="4s", backoff="fixed", jitter=0))
    async def charge() -> int:
        raise OSError("down")

    workflow = create_workflow(id="late", input_schema=None, output_schema=int, timeout="6s").then(charge).commit()
    starting = asyncio.ensure_future((await workflow.create_run(run_id="r-17")).start())
    for _ in range(6):
        await settle()
        assert not starting.done()
        clock.turn("1s")
    await settle()
    result = await starting

    assert isinstance(result, Failed)
    assert result.error.message == "run 'r-17' passed its 6s, waiting at 'charge'; raise timeout="
    assert (await runtime.runs.snapshot("r-17")).step_results["charge"].status == "cancelled"


async def test_a_parked_run_fails_at_its_deadline(runtime: Runtime, clock: ManualClock) -> None:
    tries: list[int] = []

    @step(retry=Retry(attempts=2, delay="3h", max_delay="3h", jitter=0))
    async def charge() -> int:
        tries.append(1)
        raise OSError("down")

    workflow = create_workflow(id="late", input_schema=None, output_schema=int, timeout="1h").then(charge).commit()
    run = await workflow.create_run(run_id="r-17")
    assert isinstance(await run.start(wait="0s"), Waiting)
    waiting = asyncio.ensure_future(run.result())
    await settle()
    clock.turn("1h")
    await settle()
    result = await waiting

    assert isinstance(result, Failed)
    assert result.error.message == "run 'r-17' passed its 1h, waiting at 'charge'; raise timeout="
    assert tries == [1]


async def test_a_deadline_that_passed_while_nobody_ran_is_noticed(clock: ManualClock, database: str) -> None:
    begun: list[int] = []

    @step
    async def work() -> int:
        begun.append(1)
        await asyncio.Event().wait()
        return 1

    workflow = create_workflow(id="late", input_schema=None, output_schema=int, timeout="1h").then(work).commit()
    async with Runtime(database, clock=clock, workflows=[workflow]):
        starting = asyncio.ensure_future((await workflow.create_run(run_id="r-17")).start())
        await settle()
        starting.cancel()
    clock.turn("2h")
    async with Runtime(database, clock=clock, workflows=[workflow]):
        result = await (await workflow.get_run("r-17")).result()

    assert isinstance(result, Failed)
    assert result.error.type == "RunTimeoutError"
    assert begun == [1]


async def test_the_deadline_counts_from_the_creation_of_the_run(database: str, clock: ManualClock) -> None:
    """However late somebody comes to take it."""
    async with Runtime(database, clock=clock, worker=False):
        await (await quick.create_run(run_id="r-17")).enqueue()
    clock.turn("2h")
    async with Runtime(database, clock=clock, workflows=[quick]):
        result = await (await quick.get_run("r-17")).result()

    assert isinstance(result, Failed)
    assert result.error.type == "RunTimeoutError"


async def test_the_deadline_of_a_run_that_is_to_begin_later_counts_from_then(database: str, clock: ManualClock) -> None:
    async with Runtime(database, clock=clock, workflows=[quick]):
        run = await (await quick.create_run(run_id="r-17")).enqueue(delay="2h")
        clock.turn("2h")
        await settle()
        assert (await run.result()).unwrap() == 1

        clock.turn("2h")
        assert (await (await run.fork(once).enqueue()).result()).unwrap() == 1

    async with Runtime(database, clock=clock, worker=False):
        await (await quick.create_run(run_id="r-18")).enqueue(delay="2h")
    clock.turn("3h")
    async with Runtime(database, clock=clock, workflows=[quick]):
        result = await (await quick.get_run("r-18")).result()

    assert isinstance(result, Failed)
    assert result.error.type == "RunTimeoutError"


async def test_a_body_that_goes_on_past_the_deadline_is_recorded_and_nothing_follows(
    runtime: Runtime, clock: ManualClock
) -> None:
    @step
    async def stubborn() -> int:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return 1

    @step
    async def after(data: int) -> int:
        raise AssertionError("the run is over")

    chain = create_workflow(id="late", input_schema=None, output_schema=int, timeout="1h").then(stubborn).then(after)
    run = await chain.commit().create_run()
    starting = asyncio.ensure_future(run.start())
    await settle()
    clock.turn("1h")
    await settle()
    result = await starting

    assert isinstance(result, Failed)
    assert result.error.type == "RunTimeoutError"
    assert result.get_step_result(stubborn) == 1
    assert (await run.snapshot()).execution_path == ["stubborn"]


async def test_a_body_that_fails_of_being_stopped_does_not_hide_the_deadline(
    runtime: Runtime, clock: ManualClock
) -> None:
    @step(retry=Retry(attempts=3, delay="0s"))
    async def clumsy() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise OSError("could not clean up") from None
        return 1

    workflow = create_workflow(id="late", input_schema=None, output_schema=int, timeout="1h").then(clumsy).commit()
    starting = asyncio.ensure_future((await workflow.create_run()).start())
    await settle()
    clock.turn("1h")
    await settle()
    result = await starting

    assert isinstance(result, Failed)
    assert result.error.type == "RunTimeoutError"


@pytest.mark.parametrize("limit", [timedelta.max, timedelta(days=3_000_000)], ids=["forever", "for-ages"])
async def test_what_would_end_after_the_end_of_time_goes_on_till_then(runtime: Runtime, limit: timedelta) -> None:
    @step(timeout=limit, retry=Retry(attempts=2, delay=limit, max_delay=limit, jitter=0))
    async def charge(data: str, ctx: StepContext) -> str:
        if data == "down" and ctx.attempt == 1:
            raise OSError(data)
        return data

    form = create_workflow(id="ages", input_schema=str, output_schema=str, timeout=limit)
    workflow = form.then(charge).commit()

    run = await (await workflow.create_run()).enqueue("up")
    assert (await run.result(timeout=limit)).unwrap() == "up"
    assert (await (await workflow.create_run()).start("up", wait=limit)).unwrap() == "up"
    assert isinstance(await (await workflow.create_run()).start("down"), Waiting)
    late = await (await workflow.create_run(run_id="late")).enqueue("up", delay=limit)
    await settle()
    assert (await late.snapshot()).status == "pending"
    ended = await runtime.world.storage.runs.wait_for_terminal(run.run_id, timeout=limit)
    assert ended.status == "completed"
