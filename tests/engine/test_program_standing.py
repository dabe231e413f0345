"""Programs that are paused, cancelled, woken, out of time, or left by their process; and how they end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    Cancelled,
    Completed,
    Event,
    Failed,
    Paused,
    Retry,
    Run,
    RunFinishedError,
    Runtime,
    StepContext,
    StepInterruptedError,
    StepNotRunError,
    StepTools,
    step,
    workflow,
)
from wrkflw.world import events as e

from .desk import Desk, types
from .lost import kill
from .retelling import RUN, log_of

go = Event("go", int)


def two_steps(desk: Desk) -> Any:
    """first, which waits to be let go, and second."""
    first, second = desk.slow("first"), desk.quick("second")

    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> int:
        return await step.run(second, await step.run(first, data))

    return flow


async def begun(flow: Any, data: int = 1) -> Run[Any, Any, Any]:
    run: Run[Any, Any, Any] = await (await flow.create_run(run_id=RUN)).enqueue(data)
    await settle()
    return run


# ------------------------------------------------------------------ pause
async def test_on_a_paused_run_results_are_recorded_and_not_told(runtime: Runtime) -> None:
    desk, told = Desk(), list[int]()
    slow = desk.slow("slow")

    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> int:
        told.append(await step.run(slow, data))
        return await step.run(desk.quick("after"), told[-1])

    run = await begun(flow)
    await run.pause("lunch")
    desk.let("slow")
    result = await run.result()
    assert isinstance(result, Paused)
    assert (result.by, result.reason) == ("user", "lunch")
    assert (await run.snapshot()).step_results["slow"].output == 2
    assert told == []
    assert desk.calls == ["slow"]
    await run.unpause()

    assert (await run.result()).unwrap() == 3
    assert desk.calls == ["slow", "after"]


async def test_a_pause_survives_a_restart_and_so_does_what_came_meanwhile(clock: ManualClock, database: str) -> None:
    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> list[int]:
        await step.sleep("nap", "1h")
        return [await step.wait_for_event(go), data]

    async with Runtime(database, clock=clock) as runtime:
        run = await begun(flow)
        await run.pause()
        await run.send_event(go, 7, wait="0s")
        kill(runtime)
    clock.turn("2h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        await settle()
        run = await flow.get_run(RUN)
        assert isinstance(await run.result(), Paused)
        await run.unpause()

        assert (await run.result()).unwrap() == [7, 1]


async def test_a_pause_between_the_end_of_one_step_and_the_start_of_the_next(clock: ManualClock) -> None:
    """Whenever it comes, the run stands still, and goes on where it stood."""
    for turns in range(0, 40, 3):
        desk = Desk()
        desk.let("first")
        async with Runtime(":memory:", clock=clock):
            flow = two_steps(desk)
            run = await (await flow.create_run()).enqueue(1)
            await settle(turns)
            with contextlib.suppress(RunFinishedError):
                await run.pause()
            result = await asyncio.wait_for(run.result(), 5)
            if isinstance(result, Paused):
                calls = list(desk.calls)
                await settle()
                assert desk.calls == calls
                await run.unpause()
            assert (await asyncio.wait_for(run.result(), 5)).unwrap() == 3
            assert desk.calls == ["first", "second"]


# ------------------------------------------------------------------ cancel
async def test_a_cancelled_program_goes_no_further(runtime: Runtime) -> None:
    desk, seen = Desk(), list[str]()

    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> int:
        try:
            await step.run(desk.slow("slow"), data)
        finally:
            seen.append("finally")
            await step.run(desk.quick("undo"), data)
        return 1

    run = await begun(flow)
    assert await run.cancel("no more")
    result = await run.result()
    await settle()

    assert isinstance(result, Cancelled)
    assert result.reason == "no more"
    assert (seen, desk.calls) == (["finally"], ["slow"])
    assert runtime.driver.driving == 0


async def test_nothing_wakes_a_cancelled_program(runtime: Runtime, clock: ManualClock) -> None:
    desk = Desk()

    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> int:
        waiting = asyncio.ensure_future(step.wait_for_event(go))
        await asyncio.wait([asyncio.ensure_future(step.sleep("nap", "1h")), waiting], return_when="FIRST_COMPLETED")
        return await step.run(desk.quick("after"), data)

    run = await begun(flow)
    await run.cancel()
    before = await types(run)
    for late in (run.send_event(go, 1), run.unpause(), run.pause(), run.wake()):
        with pytest.raises(RunFinishedError):
            await late
    clock.turn("2h")
    await settle()

    assert isinstance(await run.result(), Cancelled)
    assert await types(run) == before
    assert desk.calls == []


# ------------------------------------------------------------------ wake
async def test_a_woken_sleep_ends_at_once_and_so_on_replay(clock: ManualClock, database: str) -> None:
    seen: list[str] = []

    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> str:
        await asyncio.gather(step.sleep("long", "30d"), step.sleep("short", "1h"))
        seen.append(f"{step.now():%H:%M}")
        await step.wait_for_event(go)
        return seen[-1]

    async with Runtime(database, clock=clock) as runtime:
        run = await begun(flow)
        with pytest.raises(StepNotRunError):
            await run.wake("lunch")
        await run.wake("long")
        clock.turn("10m")
        await run.wake()
        await settle()
        kill(runtime)
    clock.turn("1d")
    async with Runtime(database, clock=clock, workflows=[flow]):
        result = await (await flow.get_run(RUN)).send_event(go, 1)

    assert result.unwrap() == "12:10"
    assert seen == ["12:10", "12:10"]


# ------------------------------------------------------------------ out of time
async def test_a_program_out_of_time_fails_and_names_what_it_waited_at(runtime: Runtime, clock: ManualClock) -> None:
    @workflow(id="flow", timeout="1h")
    async def flow(step: StepTools, data: int) -> int:
        try:
            return await step.wait_for_event(go)
        except BaseException:  # noqa: BLE001  # what is tried
            return 0

    run = await begun(flow)
    clock.turn("1h")
    result = await run.result()

    assert isinstance(result, Failed)
    assert result.error.type == "RunTimeoutError"
    assert "'go'" in result.error.message


async def test_a_deadline_passes_while_no_process_is_there(clock: ManualClock, database: str) -> None:
    @workflow(id="flow", timeout="1h")
    async def flow(step: StepTools, data: int) -> int:
        await step.sleep("nap", "30m")
        return data

    async with Runtime(database, clock=clock) as runtime:
        await begun(flow)
        kill(runtime)
    clock.turn("2h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        result = await (await flow.get_run(RUN)).result()

    assert isinstance(result, Failed)
    assert result.error.type == "RunTimeoutError"


async def test_a_body_that_runs_when_the_time_is_up_is_stopped(runtime: Runtime, clock: ManualClock) -> None:
    desk = Desk()

    @workflow(id="flow", timeout="1h")
    async def flow(step: StepTools, data: int) -> int:
        await asyncio.gather(step.run(desk.slow("a"), data), step.run(desk.slow("b"), data))
        return data

    run = await begun(flow)
    clock.turn("1h")
    result = await run.result()

    assert isinstance(result, Failed)
    assert result.error.type == "RunTimeoutError"


# ------------------------------------------------------------------ how it ends
async def test_started_steps_are_awaited_when_the_program_returns(runtime: Runtime) -> None:
    desk = Desk()

    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> str:
        running = asyncio.create_task(step.run(desk.slow("slow"), data))
        await step.run(desk.quick("quick"), data)
        return f"done {running.done()}"

    run = await begun(flow)
    assert (await run.snapshot()).status == "running"
    desk.let("slow")
    result = await run.result()
    snapshot = await run.snapshot()

    assert result.unwrap() == "done False"
    assert snapshot.step_results["slow"].output == 2
    assert (await types(run))[-2:] == ["step_completed", "run_completed"]


async def test_started_steps_are_awaited_when_the_program_raises(runtime: Runtime) -> None:
    desk = Desk()

    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> None:
        _ = asyncio.create_task(step.run(desk.slow("slow"), data))  # noqa: RUF006  # what is tried
        await step.run(desk.quick("quick"), data)
        raise ValueError("no")

    run = await begun(flow)
    desk.let("slow")
    result = await run.result()

    assert isinstance(result, Failed)
    assert result.error.type == "ValueError"
    assert (await run.snapshot()).step_results["slow"].output == 2


async def test_a_step_that_would_be_tried_again_is_not_once_the_program_has_returned(
    runtime: Runtime, clock: ManualClock
) -> None:
    desk = Desk()

    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> str:
        _ = asyncio.create_task(step.run(desk.stumbling("stumbling"), data))  # noqa: RUF006  # what is tried
        await step.sleep("nap", "1m")
        return "done"

    run = await begun(flow)
    clock.turn("1m")

    assert (await run.result()).unwrap() == "done"
    assert desk.calls == ["stumbling"]


async def test_a_program_may_return_before_it_ever_waits(runtime: Runtime) -> None:
    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> int:
        _ = [asyncio.create_task(step.do("never", lambda: 1)) for _ in range(2)]
        return data

    run = await flow.create_run()
    result = await run.start(1)

    assert isinstance(result, Completed)
    assert (await run.snapshot()).execution_path == []


async def test_after_the_end_nothing_of_the_program_is_left(runtime: Runtime) -> None:
    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> int:
        _ = asyncio.create_task(step.sleep("nap", "1h"))  # noqa: RUF006  # what is tried
        await asyncio.sleep(0)
        return data

    await settle()
    before = asyncio.all_tasks()
    for number in range(5):
        assert (await (await flow.create_run()).start(number)).unwrap() == number
    await settle()

    assert asyncio.all_tasks() == before


# ------------------------------------------------------------------ processes
async def test_closing_in_the_midst_is_no_try_of_the_step(clock: ManualClock, database: str) -> None:
    desk = Desk()
    seen: list[int] = []

    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> list[int]:
        a, b = await asyncio.gather(step.run(desk.slow("a"), data), step.run(desk.slow("b"), data))
        return [a, b]

    for _ in range(7):  # more often than a step may be interrupted
        async with Runtime(database, clock=clock, workflows=[flow]):
            if not seen:
                await (await flow.create_run(run_id=RUN)).enqueue(1)
            await settle()
            seen.append(len(desk.calls))
    desk.let("a", "b")
    async with Runtime(database, clock=clock, workflows=[flow]):
        result = await (await flow.get_run(RUN)).result()

    assert result.unwrap() == [2, 2]
    assert seen == [2, 4, 6, 8, 10, 12, 14]


async def test_a_step_that_kills_its_process_again_and_again_fails_in_the_program(
    clock: ManualClock, database: str
) -> None:
    calls: list[str] = []

    @step(id="deadly")
    async def deadly(data: int, ctx: StepContext) -> int:
        calls.append(ctx.key)
        await asyncio.Event().wait()
        return data

    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> list[object]:
        try:
            await step.options(retry=Retry(attempts=2)).run(deadly, data)
        except Exception as error:  # noqa: BLE001
            return [error.matches(StepInterruptedError), await step.do("after", lambda: 1)]  # type: ignore[attr-defined]
        return []

    for number in range(5):
        async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
            if not number:
                await (await flow.create_run(run_id=RUN)).enqueue(1)
            await settle()
            kill(runtime)
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        result = await (await flow.get_run(RUN)).result()
        starts = sum(isinstance(stored.event, e.StepStarted) for stored in await log_of(runtime))

    assert result.unwrap() == [True, 1]
    assert (len(calls), starts) == (5, 6)


async def test_a_runtime_that_is_killed_in_the_midst_is_followed_by_another(clock: ManualClock, database: str) -> None:
    desk = Desk()
    flow = two_steps(desk)
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await begun(flow)
        kill(runtime)
    desk.let("first")
    async with Runtime(database, clock=clock, workflows=[flow]):
        result = await (await flow.get_run(RUN)).result()

    assert result.unwrap() == 3
    assert desk.calls == ["first", "first", "second"]


async def test_a_hundred_programs_go_on_side_by_side(runtime: Runtime, clock: ManualClock) -> None:
    async def add(left: int, right: int) -> int:
        await asyncio.sleep(0)
        return left + right

    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> int:
        both = await asyncio.gather(*(step.do("add", add, data, number) for number in range(3)))
        await step.sleep("nap", "1h")
        return await step.do("sum", add, sum(both), 0)

    runs = [await (await flow.create_run()).enqueue(number) for number in range(100)]
    await settle(400)
    clock.turn("1h")

    assert [(await run.result()).unwrap() for run in runs] == [3 * number + 3 for number in range(100)]
