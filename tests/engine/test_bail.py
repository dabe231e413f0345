"""Bail: a step ends the innermost workflow early, wherever it stands."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import Completed, Failed, Runtime, StepContext, StepNotRunError, SuspendContext, step

from .desk import Desk, chain, open_keys, statuses
from .lost import kill


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_in_a_chain_nothing_follows(runtime: Runtime, desk: Desk) -> None:
    bail = desk.bailing("bail", 7)
    run = await chain().then(desk.quick("a")).then(bail).then(desk.quick("b")).commit().create_run()
    result = await run.start(1)

    assert isinstance(result, Completed)
    assert result.output == 7
    assert desk.calls == ["a", "bail"]


async def test_the_step_itself_has_no_result(runtime: Runtime, desk: Desk) -> None:
    bail = desk.bailing("bail", 7)
    run = await chain().then(bail).commit().create_run()
    result = await run.start(1)

    with pytest.raises(StepNotRunError):
        result.get_step_result(bail)
    assert (await run.snapshot()).step_results["bail"].output is None


async def test_no_line_after_it_runs(runtime: Runtime) -> None:
    lines: list[str] = []

    @step
    async def check(data: int, ctx: StepContext) -> int:
        try:
            ctx.bail(7)
        except Exception:  # noqa: BLE001  # what leaves the body is none
            lines.append("caught")
        lines.append("after")
        return data

    assert await chain().then(check).commit().run(1) == 7
    assert lines == []


async def test_a_task_of_the_body_bails_too(runtime: Runtime) -> None:
    @step
    async def check(data: int, ctx: SuspendContext[int, str]) -> int:
        async def ask() -> None:
            ctx.suspend("q")

        async def enough() -> None:
            ctx.bail(7)

        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            group.create_task(enough())
        return data

    assert await chain().then(check).commit().run(1) == 7


async def test_a_sync_body_bails_too(runtime: Runtime) -> None:
    @step
    def check(data: int, ctx: StepContext) -> int:
        ctx.bail(7)

    assert await chain().then(check).commit().run(1) == 7


async def test_an_output_that_the_workflow_does_not_promise_fails_the_step(runtime: Runtime, desk: Desk) -> None:
    flow = chain("campaign").then(desk.bailing("check", "text")).commit()
    result = await (await flow.create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.type, result.error.message) == (
        "check",
        "InvalidValueError",
        "bail in step 'check' gives str, but workflow 'campaign' promises int; give a int",
    )


async def test_in_an_arm(runtime: Runtime, desk: Desk) -> None:
    begun = chain().branch().when(lambda data: True, desk.bailing("bail", 7)).otherwise(desk.quick("a"))

    assert await begun.then(desk.quick("b")).commit().run(1) == 7
    assert desk.calls == ["bail"]


async def test_in_a_loop(runtime: Runtime) -> None:
    @step
    async def poll(data: int, ctx: StepContext) -> int:
        if ctx.iteration == 3:
            ctx.bail(-1)
        return data + 1

    run = await chain().do_until(poll, lambda output: output > 100).commit().create_run()

    assert (await run.start(1)).unwrap() == -1
    assert run.get_step_results(poll) == [2, 3]


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_in_an_item(runtime: Runtime, concurrency: int) -> None:
    keys: list[str] = []

    @step
    async def send(data: int, ctx: StepContext) -> int:
        keys.append(ctx.key)
        if data == 2:
            ctx.bail([-1])
        return data

    flow = chain("flow", list[int], list[int]).foreach(send, concurrency=concurrency).commit()

    assert await flow.run([1, 2, 3, 4, 5]) == [-1]
    assert keys == ["send[0]", "send[1]"]


async def test_in_a_member_the_others_are_drained(runtime: Runtime, desk: Desk) -> None:
    slow = desk.slow("slow")
    members = [desk.bailing("bail", [7]), slow, desk.asking("ask")]
    run = await chain(gives=list[int]).parallel_all(members).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    assert not starting.done()
    desk.let("slow")

    assert (await starting).unwrap() == [7]
    assert desk.stopped == ["slow"]
    assert run.get_step_result(slow) == 2
    assert await statuses(run) == {"bail": "completed", "slow": "completed", "ask": "cancelled"}


@pytest.mark.parametrize("nested", [False, True])
async def test_a_member_that_gives_up_its_next_try_has_failed_which_outranks_the_bail(
    runtime: Runtime, desk: Desk, nested: bool
) -> None:
    """As does one that fails while the block drains: it must not depend on which of the two it was."""
    again = desk.stumbling("again")
    member = chain("inner").then(again).commit() if nested else again
    run = await chain(gives=list[int]).parallel_all([desk.slow_to_bail("bail", [7]), member]).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    desk.let("bail")
    result = await starting

    assert isinstance(result, Failed)
    assert result.error.key == ("inner/again" if nested else "again")
    assert result.errors == [result.error]


async def test_of_several_bails_the_first_counts(runtime: Runtime, desk: Desk) -> None:
    members = [desk.slow_to_bail("a", [1]), desk.slow_to_bail("b", [2])]
    run = await chain(gives=list[int]).parallel_all(members).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    for key in ("b", "a"):
        await settle()
        desk.let(key)

    assert (await starting).unwrap() == [2]


async def test_in_a_nested_workflow_it_ends_that_one_only(runtime: Runtime, desk: Desk) -> None:
    inner = chain("inner").then(desk.bailing("bail", 7)).then(desk.quick("a")).commit()
    run = await chain().then(inner).then(desk.quick("b")).commit().create_run()

    assert (await run.start(1)).unwrap() == 8
    assert desk.calls == ["inner/bail", "b"]
    assert run.get_step_result(inner) == 7


async def test_a_nested_member_that_bails_is_a_member_that_has_finished(runtime: Runtime, desk: Desk) -> None:
    ask = desk.asking("ask")
    inner = chain("inner").then(desk.bailing("bail", 7)).commit()
    run = await chain(gives=Any).parallel(inner, ask).commit().create_run()

    assert open_keys(await run.start(1)) == ["ask"]
    assert (await run.resume(ask, 1)).unwrap() == (7, 2)


async def test_what_is_bailed_with_in_a_nested_workflow_must_be_what_that_one_promises(
    runtime: Runtime, desk: Desk
) -> None:
    inner = chain("inner").then(desk.bailing("check", "text")).commit()
    result = await (await chain(gives=str).then(inner).map(str).commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.key == "inner/check"
    assert result.error.message == "bail in step 'check' gives str, but workflow 'inner' promises int; give a int"


async def test_a_bail_in_a_block_of_a_nested_workflow_closes_only_that_block(runtime: Runtime, desk: Desk) -> None:
    inside, outside = desk.asking("inside"), desk.asking("outside")
    inner = chain("inner", gives=Any).parallel(desk.slow_to_bail("bail", 7), inside).commit()
    flow = chain(gives=list[int]).parallel(inner, outside).map(list).commit()
    run = await (await flow.create_run()).enqueue(1)
    await settle()
    assert await statuses(run) == {"outside": "waiting", "inner/bail": "running", "inner/inside": "waiting"}
    desk.let("inner/bail")
    await settle()

    assert open_keys(await run.result()) == ["outside"]
    assert (await run.resume(outside, 1)).unwrap() == [7, 2]


async def test_a_bail_that_was_recorded_before_a_crash_holds(clock: ManualClock, database: str) -> None:
    desk = Desk()
    members = [desk.bailing("bail", [7]), desk.slow("slow")]
    flow = chain(gives=list[int]).parallel_all(members).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).enqueue(1)
        await settle()
        kill(runtime)
    desk.let("slow")
    async with Runtime(database, clock=clock, workflows=[flow]):
        assert (await (await flow.get_run("r-17")).result()).unwrap() == [7]

    assert desk.calls == ["bail", "slow", "slow"]
