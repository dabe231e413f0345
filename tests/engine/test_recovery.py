"""Recovery: another process goes on where the log ends, and does again only what has no outcome."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from typing import Any

import pytest
from pydantic import BaseModel

from tests.clocks import ManualClock, settle
from wrkflw import (
    Completed,
    Failed,
    MapContext,
    Retry,
    Runtime,
    StepContext,
    StoreError,
    Workflow,
    create_workflow,
    step,
)

from .lost import kill


class Name(BaseModel):
    name: str


class Journey:
    """first, a map, second, which waits, and third; and how often each was called."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.go_on = asyncio.Event()
        self.seen: list[object] = []

        @step
        async def first(data: str) -> Name:
            self.calls["first"] += 1
            return Name(name=data)

        @step
        async def second(data: Name, ctx: StepContext) -> set[int]:
            self.calls["second"] += 1
            self.seen.append(data)
            await self.go_on.wait()
            return {len(data.name), ctx.attempt}

        @step
        def third(data: set[int], ctx: StepContext) -> list[str]:
            self.calls["third"] += 1
            self.seen.append(data)
            return [ctx.get_step_result(first).name, str(sorted(data)), ctx.get_init_data(str)]

        def grow(name: Name, ctx: MapContext[str, None]) -> Name:
            self.calls["map"] += 1
            return Name(name=name.name + ctx.init_data)

        self.first, self.second, self.third = first, second, third
        self.workflow: Workflow[str, list[str], None] = (
            create_workflow(id="journey", input_schema=str, output_schema=list[str])
            .then(first).map_ctx(grow).then(second).then(third).commit()
        )  # fmt: skip


async def leave_in_second(journey: Journey, database: str, clock: ManualClock, *, killed: bool) -> None:
    async with Runtime(database, clock=clock, workflows=[journey.workflow]) as runtime:
        await (await journey.workflow.create_run(run_id="r-17")).enqueue("ada")
        await settle()
        assert journey.calls["second"] == 1
        if killed:
            kill(runtime)


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "closed"])
async def test_the_next_runtime_goes_on_where_the_last_one_ended(
    clock: ManualClock, database: str, killed: bool
) -> None:
    journey = Journey()
    await leave_in_second(journey, database, clock, killed=killed)
    journey.go_on.set()
    async with Runtime(database, clock=clock, workflows=[journey.workflow]):
        result = await (await journey.workflow.get_run("r-17")).result()

    assert isinstance(result, Completed)
    assert result.output == ["ada", "[1, 6]", "ada"]
    assert journey.calls == {"first": 1, "map": 1, "second": 2, "third": 1}


async def test_a_recovered_run_sees_what_an_undisturbed_one_sees(clock: ManualClock, database: str) -> None:
    recovered, undisturbed = Journey(), Journey()
    await leave_in_second(recovered, database, clock, killed=True)
    recovered.go_on.set()
    undisturbed.go_on.set()
    async with Runtime(database, clock=clock, workflows=[recovered.workflow]):
        there = await (await recovered.workflow.get_run("r-17")).result()
    async with Runtime(":memory:", clock=clock):
        here = await (await undisturbed.workflow.create_run(run_id="r-17")).start("ada")

    assert here == there
    assert recovered.seen[1:] == undisturbed.seen
    assert [type(value) for value in recovered.seen[1:]] == [type(value) for value in undisturbed.seen]


async def test_a_run_that_is_closed_leaves_nothing_owned(clock: ManualClock, database: str) -> None:
    journey = Journey()
    await leave_in_second(journey, database, clock, killed=False)
    async with Runtime(database, clock=clock, worker=False) as runtime:
        entity = await runtime.world.storage.runs.get("r-17")
        log = (await runtime.world.storage.events.list("r-17")).data

    assert (entity.owner, entity.wake_at) == (None, clock.now())
    assert log[-1].event.model_dump(exclude_none=True, exclude={"correlation_id"}) == {
        "event_type": "step_retrying", "reason": "released"
    }  # fmt: skip


async def test_whoever_awaits_a_run_when_its_runtime_closes_is_told(clock: ManualClock, database: str) -> None:
    journey = Journey()
    async with Runtime(database, clock=clock):
        starting = asyncio.ensure_future((await journey.workflow.create_run(run_id="r-17")).start("ada"))
        await settle()

    with pytest.raises(StoreError) as closed:
        await asyncio.wait_for(starting, 10)
    assert str(closed.value) == "the runtime was closed while run 'r-17' goes on; take it with wf.get_run('r-17')"


async def test_a_start_under_its_key_goes_on_with_a_run_that_was_left(clock: ManualClock, database: str) -> None:
    journey = Journey()
    async with Runtime(database, clock=clock, worker=False) as runtime:
        run = await journey.workflow.create_run(idempotency_key="k")
        starting = asyncio.ensure_future(run.start("ada"))
        await settle()
        kill(runtime)
        starting.cancel()
    journey.go_on.set()
    async with Runtime(database, clock=clock, worker=False):
        again = await journey.workflow.create_run(idempotency_key="k")
        result = await again.start("ada")

    assert result.unwrap() == ["ada", "[1, 6]", "ada"]
    assert journey.calls["first"] == 1


async def test_one_of_two_runtimes_owns_the_run(clock: ManualClock, database: str) -> None:
    journey = Journey()
    async with (
        Runtime(database, clock=clock, workflows=[journey.workflow]) as one,
        Runtime(database, clock=clock, workflows=[journey.workflow]) as other,
    ):
        runs = [await (await journey.workflow.create_run()).enqueue("ada") for _ in range(10)]
        for _ in range(20):
            one.driver.workflow_known()
            other.driver.workflow_known()
            await settle()
        assert journey.calls["second"] == 10
        journey.go_on.set()
        for run in runs:
            assert isinstance(await run.result(), Completed)

    assert journey.calls == {"first": 10, "map": 10, "second": 10, "third": 10}


async def test_a_run_is_awaited_in_one_runtime_and_driven_in_another(clock: ManualClock, database: str) -> None:
    journey = Journey()
    journey.go_on.set()
    async with Runtime(database, clock=clock, worker=False):
        run = await (await journey.workflow.create_run(run_id="r-17")).enqueue("ada")
        waiting = asyncio.ensure_future(run.result())
        await settle()
        async with Runtime(database, clock=clock, workflows=[journey.workflow]):
            result = await waiting

    assert isinstance(result, Completed)
    assert run.get_step_result(journey.first) == Name(name="ada")


async def test_a_step_that_failed_for_good_is_not_run_again(clock: ManualClock, database: str) -> None:
    calls: list[int] = []

    @step
    async def fail(data: int) -> int:
        calls.append(data)
        raise OSError("down")

    workflow = create_workflow(id="failing", input_schema=int, output_schema=int).then(fail).commit()
    async with Runtime(database, clock=clock) as runtime:
        await (await workflow.create_run(run_id="r-17", idempotency_key="k")).start(1)
        kill(runtime)
    async with Runtime(database, clock=clock, workflows=[workflow]):
        result = await (await workflow.create_run(idempotency_key="k")).start(1)

    assert isinstance(result, Failed)
    assert (calls, result.error.message) == ([1], "down")


async def test_a_map_after_the_last_recorded_step_runs_again_and_those_before_it_do_not(
    clock: ManualClock, database: str
) -> None:
    calls: list[str] = []

    def told(name: str) -> Any:
        def map(data: int) -> int:
            calls.append(name)
            return data

        return map

    @step
    async def begin(data: int) -> int:
        return data

    @step(retry=Retry(attempts=2, delay="1h", max_delay="1h", jitter=0))
    async def stumble(data: int, ctx: StepContext) -> int:
        if ctx.attempt == 1:
            raise OSError("not yet")
        return data

    workflow: Workflow[int, int, None] = (
        create_workflow(id="maps", input_schema=int, output_schema=int)
        .map(told("a")).then(begin).map(told("b")).then(stumble).map(told("c")).commit()
    )  # fmt: skip
    async with Runtime(database, clock=clock):
        await (await workflow.create_run(run_id="r-17")).start(1)
    assert calls == ["a", "b"]
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[workflow]):
        assert (await (await workflow.get_run("r-17")).result()).unwrap() == 1

    assert calls == ["a", "b", "c"]


async def test_a_body_that_finishes_while_its_runtime_closes_is_recorded_and_the_rest_is_left(
    clock: ManualClock, database: str
) -> None:
    calls: list[str] = []

    @step
    async def stubborn(data: int) -> int:
        calls.append("stubborn")
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return data + 1

    @step
    async def after(data: int) -> int:
        calls.append("after")
        return data * 2

    chain = create_workflow(id="closing", input_schema=int, output_schema=int).then(stubborn).then(after)
    workflow = chain.commit()
    async with Runtime(database, clock=clock):
        await (await workflow.create_run(run_id="r-17")).enqueue(1)
        await settle()
    assert calls == ["stubborn"]
    async with Runtime(database, clock=clock, workflows=[workflow]):
        assert (await (await workflow.get_run("r-17")).result()).unwrap() == 4

    assert calls == ["stubborn", "after"]


async def test_a_sync_body_that_its_runtime_leaves_behind_is_told_to_stop() -> None:
    begun, told, given_up = threading.Event(), threading.Event(), threading.Event()

    @step
    def work(data: int, ctx: StepContext) -> int:
        begun.set()
        while not ctx.stopping and not given_up.wait(0.001):
            pass
        if ctx.stopping:
            told.set()
        return data

    workflow = create_workflow(id="closing", input_schema=int, output_schema=int).then(work).commit()
    try:
        async with Runtime(":memory:", clock=ManualClock()):
            await (await workflow.create_run()).enqueue(1)
            assert await asyncio.to_thread(begun.wait, 10)
        assert await asyncio.to_thread(told.wait, 10)
    finally:
        given_up.set()


async def test_a_body_that_fails_while_its_runtime_closes_is_retried_by_the_next(
    clock: ManualClock, database: str
) -> None:
    attempts: list[int] = []

    @step(retry=Retry(attempts=3, delay="0s"))
    async def clumsy(data: int, ctx: StepContext) -> int:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise OSError("could not clean up") from None
        return data

    workflow = create_workflow(id="closing", input_schema=int, output_schema=int).then(clumsy).commit()
    async with Runtime(database, clock=clock):
        await (await workflow.create_run(run_id="r-17")).enqueue(1)
        await settle()
    assert attempts == [1]
    async with Runtime(database, clock=clock, workflows=[workflow]):
        assert (await (await workflow.get_run("r-17")).result()).unwrap() == 1

    assert attempts == [1, 2]


async def test_a_runtime_that_closes_at_once_leaves_the_run_whole(clock: ManualClock, database: str) -> None:
    journey = Journey()
    journey.go_on.set()
    for turns in range(12):
        run_id = f"r-{turns}"
        async with Runtime(database, clock=clock, worker=False):
            run = await journey.workflow.create_run(run_id=run_id, idempotency_key=run_id)
            starting = asyncio.ensure_future(run.start("ada"))
            await settle(turns)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(starting, 10)
        async with Runtime(database, clock=clock, worker=False):
            again = await journey.workflow.create_run(run_id=run_id, idempotency_key=run_id)
            assert (await again.start("ada")).unwrap() == ["ada", "[1, 6]", "ada"], f"closed after {turns} turns"
