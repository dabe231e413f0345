"""Interruptions: a step that was started and has no outcome is started again, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    Completed,
    Failed,
    Limits,
    Retry,
    RunInfo,
    Runtime,
    StepContext,
    StepTools,
    Workflow,
    create_workflow,
    step,
    workflow,
)

from .lost import interrupt, kill, leave_run


class Bodies:
    def __init__(self, *, at_most_once: bool = False) -> None:
        self.attempts: list[int] = []
        self.keys: list[str] = []

        @step(at_most_once=at_most_once, retry=Retry(attempts=3, delay="0s"))
        async def charge(data: int, ctx: StepContext) -> int:
            self.attempts.append(ctx.attempt)
            self.keys.append(ctx.idempotency_key)
            return data * 2

        self.workflow: Workflow[int, int, None] = (
            create_workflow(id="paying", input_schema=int, output_schema=int).then(charge).commit()
        )


async def test_an_interrupted_step_runs_again_with_its_input(runtime: Runtime) -> None:
    bodies = Bodies()
    await leave_run(runtime, "paying", "r-17", "charge", b"21")
    runtime.define(bodies.workflow)
    result = await (await bodies.workflow.get_run("r-17")).result()

    assert isinstance(result, Completed)
    assert result.output == 42


async def test_an_interrupted_try_keeps_its_number_and_its_key(runtime: Runtime) -> None:
    bodies = Bodies()
    await leave_run(runtime, "paying", "r-17", "charge", b"21")
    await interrupt(runtime, "r-17", "charge")
    runtime.define(bodies.workflow)
    run = await bodies.workflow.get_run("r-17")
    await run.result()

    assert bodies.attempts == [1]
    assert bodies.keys == ["r-17:charge"]
    assert (await run.snapshot()).step_results["charge"].attempt == 1
    assert [step.attempt for step in (await runtime.world.storage.steps.list("r-17")).data] == [3]  # of all starts


async def test_four_interruptions_are_borne(runtime: Runtime) -> None:
    bodies = Bodies()
    await leave_run(runtime, "paying", "r-17", "charge", b"21")
    for _ in range(3):
        await interrupt(runtime, "r-17", "charge")
    runtime.define(bodies.workflow)

    assert (await (await bodies.workflow.get_run("r-17")).result()).unwrap() == 42


async def test_the_fifth_interruption_ends_the_step(runtime: Runtime) -> None:
    bodies = Bodies()
    await leave_run(runtime, "paying", "r-17", "charge", b"21")
    for _ in range(4):
        await interrupt(runtime, "r-17", "charge")
    runtime.define(bodies.workflow)
    result = await (await bodies.workflow.get_run("r-17")).result()

    assert isinstance(result, Failed)
    assert bodies.attempts == []
    assert result.error.type == "StepInterruptedError"
    assert result.error.message == (
        "step 'charge' was interrupted 5 times without an outcome; it may be killing its worker"
    )


async def test_the_limit_of_interruptions_can_be_set() -> None:
    bodies = Bodies()
    async with Runtime(":memory:", limits=Limits(interruptions=1)) as runtime:
        await leave_run(runtime, "paying", "r-17", "charge", b"21")
        runtime.define(bodies.workflow)
        result = await (await bodies.workflow.get_run("r-17")).result()

    assert isinstance(result, Failed)
    assert result.error.message.startswith("step 'charge' was interrupted 1 times")


async def test_an_at_most_once_step_is_not_run_again(runtime: Runtime) -> None:
    bodies = Bodies(at_most_once=True)
    await leave_run(runtime, "paying", "r-17", "charge", b"21")
    runtime.define(bodies.workflow)
    result = await (await bodies.workflow.get_run("r-17")).result()

    assert isinstance(result, Failed)
    assert bodies.attempts == []
    assert result.error.type == "OutcomeUnknownError"
    assert result.error.message == (
        "step 'charge' may or may not have happened and must not run twice; check it by hand, then fork"
    )


async def test_an_at_most_once_step_that_is_not_interrupted_runs(runtime: Runtime) -> None:
    bodies = Bodies(at_most_once=True)

    assert await bodies.workflow.run(4) == 8
    assert bodies.attempts == [1]


async def test_an_at_most_once_step_that_failed_is_not_tried_again(runtime: Runtime) -> None:
    tries: list[int] = []

    @step(at_most_once=True)
    async def charge(data: int) -> int:
        tries.append(data)
        raise OSError("refused")

    retry = Retry(attempts=5, delay="0s")  # meant for the others
    paying = create_workflow(id="paying", input_schema=int, output_schema=int, retry=retry).then(charge).commit()
    result = await (await paying.create_run()).start(4)

    assert isinstance(result, Failed)
    assert (tries, result.error.type) == ([4], "OSError")


def graph_of(charge: Any, id: str = "paying") -> Any:
    return create_workflow(id=id, input_schema=int, output_schema=int).then(charge).commit()


def program_of(charge: Any, id: str = "paying") -> Any:
    @workflow(id=id)
    async def paying(step: StepTools, data: int) -> int:
        charged: int = await step.run(charge, data)
        return charged

    return paying


SHAPES: dict[str, Callable[[Any], Any]] = {
    "graph": graph_of,
    "program": program_of,
    "graph in a program": lambda charge: program_of(graph_of(charge, "inner")),
    "program in a graph": lambda charge: graph_of(program_of(charge, "inner")),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("at_most_once", [False, True])
@pytest.mark.parametrize("left_by", ["close", "drain", "kill"])
async def test_only_a_kill_counts_as_an_interruption(
    clock: ManualClock, database: str, left_by: str, at_most_once: bool, shape: Callable[[Any], Any]
) -> None:
    begun: list[int] = []
    release = asyncio.Event()

    @step(at_most_once=at_most_once)
    async def charge(data: int, ctx: StepContext) -> int:
        begun.append(ctx.attempt)
        await release.wait()
        return data

    paying = shape(charge)
    for life in range(4):
        async with Runtime(database, clock=clock, workflows=[paying], limits=Limits(interruptions=2)) as runtime:
            if life == 0:
                await (await paying.create_run(run_id="r-17")).enqueue(5)
            if life == 3:
                release.set()
                result = await (await paying.get_run("r-17")).result()
                break
            await settle()
            if left_by == "drain":
                await runtime.drain("0s")
            elif left_by == "kill":
                kill(runtime)
    else:
        raise AssertionError("unreachable")

    if left_by != "kill":
        # An at-most-once body that was begun is not begun again, however politely its worker left.
        assert isinstance(result, Failed if at_most_once else Completed)
        assert begun == ([1] if at_most_once else [1, 1, 1, 1])
    else:
        assert isinstance(result, Failed)
        assert result.error.type == ("OutcomeUnknownError" if at_most_once else "StepInterruptedError")
        assert begun == ([1] if at_most_once else [1, 1])


@pytest.mark.parametrize("turns", range(16))
async def test_a_step_that_ends_as_the_runtime_is_closed_costs_the_one_beside_it_nothing(
    turns: int, database: str, clock: ManualClock
) -> None:
    """Its run is let go at once; those that go on are interrupted when what goes on beside the runs has ended."""
    closing = asyncio.Event()
    tries: list[int] = []

    async def clean_up(_: RunInfo) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closing.set()
            await settle(turns)

    @step
    async def quick(data: int) -> int:
        await closing.wait()
        return data + 1

    @step
    async def slow(data: int, ctx: StepContext) -> int:
        tries.append(ctx.attempt)
        if len(tries) == 1:
            await asyncio.Event().wait()
        return data * 2

    nothing = create_workflow(id="nothing", input_schema=int, output_schema=int, on_completed=clean_up)
    empty = nothing.map(lambda data: data).commit()
    both = create_workflow(id="both", input_schema=int, output_schema=int).parallel(quick, slow).join(int.__add__)
    adding, strict = both.commit(), Limits(interruptions=1)
    async with Runtime(database, clock=clock, workflows=[adding], limits=strict):
        assert await empty.run(1) == 1
        run = await (await adding.create_run()).enqueue(20)
        await settle()
    async with Runtime(database, clock=clock, workflows=[adding], limits=strict):
        result = await (await adding.get_run(run.run_id)).result()

    assert isinstance(result, Completed), result
    assert result.output == 61
    assert tries == [1, 1]


async def test_a_body_that_hears_of_nothing_but_the_second_cancellation_does_not_hold_the_closing(
    database: str, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    @step
    async def stubborn(data: int) -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append("first")
        try:
            await asyncio.Event().wait()
        finally:
            heard.append("second")
        return data

    @step
    async def quick(data: int) -> int:
        return data

    both = create_workflow(id="both", input_schema=int, output_schema=int).parallel(stubborn, quick).join(int.__add__)
    adding = both.commit()
    async with Runtime(database, clock=clock, workflows=[adding]):
        run = await (await adding.create_run()).enqueue(1)
        await settle()
        await run.cancel()
        await settle()

    assert heard == ["first", "second"]
    assert "does not end" not in caplog.text
