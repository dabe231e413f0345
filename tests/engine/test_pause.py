"""Pause: nothing new starts, what runs is finished, and what fell due meanwhile happens at unpause."""

from __future__ import annotations

import asyncio

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    Completed,
    InvalidValueError,
    Paused,
    Retry,
    RunFinishedError,
    RunNotFoundError,
    Runtime,
    StepContext,
    Workflow,
    create_workflow,
    step,
)


class Two:
    """first, which waits to be let go, and second."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.go_on = asyncio.Event()

        @step
        async def first(data: int) -> int:
            self.calls.append("first")
            await self.go_on.wait()
            return data + 1

        @step
        async def second(data: int) -> int:
            self.calls.append("second")
            return data * 2

        self.first = first
        self.workflow: Workflow[int, int, None] = (
            create_workflow(id="two", input_schema=int, output_schema=int).then(first).then(second).commit()
        )


async def test_a_running_body_is_finished_and_nothing_follows(runtime: Runtime) -> None:
    two = Two()
    run = await two.workflow.create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    await run.pause("for lunch")
    two.go_on.set()
    await settle()
    result = await starting

    assert isinstance(result, Paused)
    assert (result.by, result.reason) == ("user", "for lunch")
    assert result.get_step_result(two.first) == 2
    assert two.calls == ["first"]


async def test_an_unpaused_run_goes_on(runtime: Runtime) -> None:
    two = Two()
    two.go_on.set()
    run = await (await two.workflow.create_run()).enqueue(1)
    await run.pause()
    await settle()
    assert two.calls == []

    await run.unpause()
    assert (await run.result()).unwrap() == 4


async def test_a_pause_survives_a_restart(clock: ManualClock, database: str) -> None:
    two = Two()
    two.go_on.set()
    async with Runtime(database, clock=clock, worker=False):
        await (await (await two.workflow.create_run(run_id="r-17")).enqueue(1)).pause()
    async with Runtime(database, clock=clock, workflows=[two.workflow]):
        run = await two.workflow.get_run("r-17")
        await settle()
        assert isinstance(await run.result(), Paused)
        assert two.calls == []
        await run.unpause()
        assert isinstance(await run.result(), Completed)


async def test_a_retry_that_fell_due_meanwhile_happens_at_unpause(runtime: Runtime, clock: ManualClock) -> None:
    attempts: list[int] = []

    @step(retry=Retry(attempts=2, delay="1h", max_delay="1h", jitter=0))
    async def charge(data: int, ctx: StepContext) -> int:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise OSError("down")
        return data

    run = await create_workflow(id="charging", input_schema=int, output_schema=int).then(charge).commit().create_run()
    await run.start(1)
    await run.pause()
    clock.turn("2h")
    await settle()
    assert attempts == [1]

    await run.unpause()
    assert (await run.result()).unwrap() == 1
    assert attempts == [1, 2]


async def test_pausing_twice_and_unpausing_what_runs_do_nothing(runtime: Runtime) -> None:
    run = await (await Two().workflow.create_run()).enqueue(1, delay="1h")
    await run.unpause()
    await run.pause("first")
    await run.pause("second")

    assert [event.event_type async for event in run.events()] == ["run_created", "run_paused"]


@pytest.mark.parametrize("call", ["pause", "cancel"])
async def test_a_reason_is_text(call: str, runtime: Runtime) -> None:
    run = await (await Two().workflow.create_run()).enqueue(1, delay="1h")

    with pytest.raises(InvalidValueError) as refused:
        await getattr(run, call)("caf\udce9")
    assert str(refused.value) == r"reason= is no Unicode text: 'caf\udce9'; decode it"
    assert (await run.snapshot()).status == "pending"


async def test_a_run_that_has_ended_is_not_paused(runtime: Runtime) -> None:
    @step
    async def fail(data: int) -> int:
        raise OSError("down")

    workflow = create_workflow(id="failing", input_schema=int, output_schema=int).then(fail).commit()
    run = await workflow.create_run(run_id="r-17")
    await run.start(1)

    for call in (run.pause, run.unpause):
        with pytest.raises(RunFinishedError) as refused:
            await call()
        assert str(refused.value) == "run 'r-17' is already failed; fork it instead"


async def test_a_paused_run_is_cancelled(runtime: Runtime) -> None:
    run = await (await Two().workflow.create_run()).enqueue(1)
    await run.pause()

    assert await run.cancel()
    assert (await run.result()).status == "cancelled"


async def test_an_unpause_is_heard_at_whatever_moment_it_comes(runtime: Runtime) -> None:
    for turns in range(25):
        two = Two()
        two.workflow = two.workflow.with_id(f"two-{turns}")
        run = await two.workflow.create_run()
        starting = asyncio.ensure_future(run.start(1))
        await settle()
        await run.pause()
        two.go_on.set()
        await settle(turns)
        await run.unpause()
        await settle()
        starting.cancel()

        assert (await runtime.runs.get(run.run_id)).status == "completed", f"unpaused after {turns} turns"
        assert two.calls == ["first", "second"]


async def test_a_pause_is_heard_at_whatever_moment_it_comes(runtime: Runtime) -> None:
    for turns in range(25):
        two = Two()
        two.workflow = two.workflow.with_id(f"two-{turns}")
        two.go_on.set()
        run = await two.workflow.create_run()
        starting = asyncio.ensure_future(run.start(1))
        await settle(turns)
        try:
            await run.pause()
        except (RunFinishedError, RunNotFoundError):
            continue
        finally:
            await settle()
            starting.cancel()
        calls = list(two.calls)
        await run.unpause()
        await settle()

        assert (await runtime.runs.get(run.run_id)).status == "completed", f"paused after {turns} turns: {calls}"
        assert two.calls == ["first", "second"]
