"""A runtime that is drained begins nothing more, lets bodies come to their end, and leaves the rest to others."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import Completed, Event, Run, Runtime, StepTools, StoreError, Workflow, create_workflow, step, workflow


class Doors:
    """Two bodies side by side, each of which waits until its door is open, and one after them."""

    def __init__(self) -> None:
        self.left, self.right = asyncio.Event(), asyncio.Event()
        self.passed: list[str] = []
        self.workflow = self._workflow()

    def _workflow(self) -> Workflow[None, int]:
        @step
        async def left() -> int:
            await self.left.wait()
            self.passed.append("left")
            return 1

        @step
        async def right() -> int:
            await self.right.wait()
            self.passed.append("right")
            return 2

        @step
        async def add(both: tuple[int, int]) -> int:
            self.passed.append("add")
            return sum(both)

        chain = create_workflow(id="doors", input_schema=None, output_schema=int)
        return chain.parallel(left, right).then(add).commit()

    async def enqueue(self) -> Run[None, int]:
        run = await (await self.workflow.create_run()).enqueue()
        await settle()
        return run


async def test_bodies_come_to_their_end_and_nothing_follows_them(database: str) -> None:
    doors = Doors()
    async with Runtime(database, workflows=[doors.workflow]) as runtime:
        run = await doors.enqueue()
        draining = asyncio.ensure_future(runtime.drain())
        doors.left.set()
        await settle()
        doors.right.set()
        await draining
        snapshot = await run.snapshot()

    assert doors.passed == ["left", "right"]
    assert {key: call.status for key, call in snapshot.step_results.items()} == {
        "left": "completed",
        "right": "completed",
    }


async def test_another_process_goes_on_where_it_was_left(database: str) -> None:
    doors = Doors()
    async with Runtime(database, workflows=[doors.workflow]) as leaving:
        run_id = (await doors.enqueue()).run_id
        async with Runtime(database, workflows=[doors.workflow]):
            draining = asyncio.ensure_future(leaving.drain())
            doors.left.set()
            doors.right.set()
            await draining
            result = await (await doors.workflow.get_run(run_id)).result()

    assert isinstance(result, Completed)
    assert doors.passed == ["left", "right", "add"]


async def test_who_has_no_more_patience_leaves_the_bodies_to_the_closing(clock: ManualClock) -> None:
    doors = Doors()
    async with Runtime(":memory:", workflows=[doors.workflow], clock=clock) as runtime:
        await doors.enqueue()
        draining = asyncio.ensure_future(runtime.drain("10s"))
        await settle()
        assert not draining.done()

        clock.turn(timedelta(seconds=10))
        await draining

        assert runtime.driver.driving == 1
    assert doors.passed == []


async def test_a_run_that_waits_in_place_is_let_go_at_once(runtime: Runtime) -> None:
    @step
    async def nothing(data: None) -> None: ...

    napping = create_workflow(id="napping", input_schema=None, output_schema=None).sleep("2s", id="nap").then(nothing)
    runtime.define(workflow := napping.commit())
    await (await workflow.create_run()).enqueue()
    await settle()
    assert runtime.driver.driving == 1

    await runtime.drain()

    assert runtime.driver.driving == 0


async def test_the_code_of_a_program_begins_nothing_more_either(database: str) -> None:
    door, passed = asyncio.Event(), list[str]()

    @workflow(id="two-doors")
    async def program(step: StepTools, data: None) -> int:
        async def first() -> int:
            await door.wait()
            passed.append("first")
            return 1

        async def second(number: int) -> int:
            passed.append("second")
            return number + 1

        return await step.do("second", second, await step.do("first", first))

    async with Runtime(database, workflows=[program]) as runtime:
        run = await (await program.create_run()).enqueue()
        await settle()
        draining = asyncio.ensure_future(runtime.drain())
        door.set()
        await draining
        assert passed == ["first"]
        await run.refresh()
    async with Runtime(database, workflows=[program]):
        result = await (await program.get_run(run.run_id)).result()

    assert result.unwrap() == 2
    assert passed == ["first", "second"]


async def test_code_may_give_up_a_wait_that_it_asks_for_meanwhile(database: str) -> None:
    first_door, door, never = asyncio.Event(), asyncio.Event(), Event("never", int)

    @workflow(id="racing")
    async def racing(step: StepTools, data: None) -> str:
        working = asyncio.create_task(step.do("work", door.wait))
        await step.do("first", first_door.wait)
        waiting = asyncio.create_task(step.wait_for_event(never))
        await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        return await step.do("last", lambda: "done")

    async with Runtime(database, workflows=[racing]) as runtime:
        run = await (await racing.create_run()).enqueue()
        await settle()
        draining = asyncio.ensure_future(runtime.drain())
        first_door.set()
        await settle()
        door.set()
        await draining
        snapshot = await run.snapshot()
    async with Runtime(database, workflows=[racing]):
        result = await (await racing.get_run(run.run_id)).result()

    assert snapshot.status == "running"
    assert sorted(snapshot.step_results) == ["first", "work"]
    assert result.unwrap() == "done"


async def test_nothing_is_started_any_more_however_often_it_is_tried(runtime: Runtime) -> None:
    run = await Doors().workflow.create_run()
    await runtime.drain()

    for _ in range(2):
        with pytest.raises(StoreError, match=r"the runtime is being closed; start run '.*' with another"):
            await run.start()
    await run.enqueue()
    assert (await run.snapshot()).status == "pending"
