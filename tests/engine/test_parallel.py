"""Parallel: members side by side, each with its own copy of what flows in."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    Cancelled,
    Failed,
    Limits,
    Paused,
    Runtime,
    StepContext,
    StepNotRunError,
    StepTools,
    Suspended,
    Waiting,
    step,
    workflow,
)

from .desk import Desk, assert_nothing_moves, called, chain, open_keys, recorded, statuses, total, types
from .lost import kill


@pytest.fixture
def desk() -> Desk:
    return Desk()


def two(a: Any, b: Any, **options: Any) -> Any:
    return chain(gives=tuple[Any, Any], **options).parallel(a, b).commit()


# --- data ------------------------------------------------------------------------------------------


async def test_outputs_flow_on_in_the_order_of_the_arguments(runtime: Runtime, desk: Desk) -> None:
    flow = chain(gives=tuple[int, int, int]).parallel(desk.slow("a", 1), desk.slow("b", 2), desk.slow("c", 3)).commit()
    starting = asyncio.ensure_future((await flow.create_run()).start(10))
    for key in ("c", "a", "b"):
        await settle()
        desk.let(key)

    assert (await starting).unwrap() == (11, 12, 13)


async def test_all_members_are_under_way_at_once(runtime: Runtime, desk: Desk) -> None:
    members = [desk.slow(f"m{number}") for number in range(20)]
    run = await (await chain(gives=list[int]).parallel_all(members).commit().create_run()).enqueue(0)
    await settle()

    assert desk.calls == [f"m{number}" for number in range(20)]
    desk.let(*desk.calls)
    assert (await run.result()).unwrap() == [1] * 20


async def test_parallel_all_of_one_gives_a_list_of_one(runtime: Runtime, desk: Desk) -> None:
    assert await chain(gives=list[int]).parallel_all([desk.quick("a")]).commit().run(1) == [2]


async def test_each_member_has_its_own_copy(runtime: Runtime) -> None:
    @step
    async def greedy(data: list[int]) -> int:
        data.clear()
        await asyncio.sleep(0)
        return len(data)

    @step
    async def modest(data: list[int]) -> int:
        await asyncio.sleep(0)
        return len(data)

    flow = chain(takes=list[int], gives=tuple[int, int]).parallel(greedy, modest).commit()

    assert await flow.run([1, 2, 3]) == (0, 3)


async def test_a_map_before_it_gives_each_member_a_copy_too(runtime: Runtime) -> None:
    """What a map gives was never stored: there is only one of it."""

    @step
    async def greedy(data: list[int]) -> int:
        data.clear()
        return len(data)

    @step
    async def modest(data: list[int]) -> int:
        return len(data)

    flow = chain(takes=list[int], gives=tuple[int, int]).map(list).parallel(greedy, modest).commit()

    assert await flow.run([1, 2, 3]) == (0, 3)


async def test_join_spreads_the_values(runtime: Runtime, desk: Desk) -> None:
    flow = chain().parallel(desk.quick("a", 1), desk.quick("b", 2)).join(lambda a, b: a * 100 + b).commit()

    assert await flow.run(1) == 203


async def test_a_join_that_raises_fails_the_run(runtime: Runtime, desk: Desk) -> None:
    flow = chain().parallel(desk.quick("a"), desk.quick("b")).join(lambda a, b: a / (a - b)).commit()
    result = await (await flow.create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == (
        "MapError",
        "join 'join-1' raised ZeroDivisionError: division by zero; do fallible work in a step, which can be retried",
    )


async def test_a_nested_workflow_is_a_member_of_several_steps(runtime: Runtime, desk: Desk) -> None:
    inner = chain("inner").then(desk.quick("a")).then(desk.quick("b")).commit()
    result = await (await two(inner, desk.quick("c")).create_run()).start(1)

    assert result.unwrap() == (3, 2)
    assert sorted(desk.calls) == ["c", "inner/a", "inner/b"]


class HasReal(Protocol):
    """What pydantic cannot validate, which behind an untyped map comes out at run time only."""

    @property
    def real(self) -> int: ...


async def test_no_member_begins_beside_one_that_cannot(runtime: Runtime, desk: Desk) -> None:
    @step
    async def odd(data: HasReal) -> int:
        return data.real

    def untyped(data: Any) -> Any:
        return data

    begun = chain(gives=list[int]).map(untyped)
    flow = begun.parallel_all([desk.quick("a"), desk.quick("b"), odd], concurrency=2).commit()
    result = await (await flow.create_run()).start(1)

    assert isinstance(result, Failed)
    assert "HasReal" in result.error.message
    assert desk.calls == []


async def test_sync_members_run_in_threads_side_by_side(runtime: Runtime) -> None:
    @step
    def first(data: int) -> int:
        return data + 1

    @step
    def second(data: int) -> int:
        return data + 2

    assert await two(first, second).run(1) == (2, 3)


async def test_a_member_never_sees_those_beside_it(runtime: Runtime, desk: Desk) -> None:
    stock = desk.quick("stock")

    @step
    async def price(data: int, ctx: StepContext) -> int:
        await settle(20)
        return int(ctx.get_step_result(stock))

    result = await (await two(stock, price).create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.type == "StepNotRunError"
    assert result.error.message == "step 'stock' runs beside step 'price'; read its result after the parallel block"


async def test_what_stands_behind_the_block_reads_its_members(runtime: Runtime, desk: Desk) -> None:
    a, b = desk.quick("a", 1), desk.quick("b", 2)

    @step
    async def after(data: tuple[int, int], ctx: StepContext) -> list[int]:
        return [ctx.get_step_result(b), ctx.get_step_result(a)]

    assert await chain(gives=list[int]).parallel(a, b).then(after).commit().run(1) == [3, 2]


# --- how many at once ------------------------------------------------------------------------------


async def test_concurrency_counts_those_that_are_not_finished(runtime: Runtime, desk: Desk) -> None:
    members = [desk.slow(f"m{number}") for number in range(5)]
    run = await (await chain(gives=list[int]).parallel_all(members, concurrency=2).commit().create_run()).enqueue(0)
    await settle()
    assert desk.calls == ["m0", "m1"]
    desk.let("m1")
    await settle()
    assert desk.calls == ["m0", "m1", "m2"]

    desk.let("m0", "m2", "m3", "m4")
    assert (await run.result()).unwrap() == [1] * 5


async def test_a_parked_member_keeps_its_place(runtime: Runtime, desk: Desk) -> None:
    ask = desk.asking("m0")
    members = [ask, desk.quick("m1"), desk.stumbling("m2"), desk.quick("m3")]
    flow = chain(gives=list[int]).parallel_all(members, concurrency=2).commit()
    run = await flow.create_run()
    result = await run.start(0)

    assert open_keys(result) == ["m0"]
    assert desk.calls == ["m0", "m1", "m2"]
    await run.resume(ask, 5)
    assert desk.calls == ["m0", "m1", "m2", "m0", "m3"]


# --- failure ---------------------------------------------------------------------------------------


async def test_a_failure_waits_for_the_bodies_that_run_and_starts_nothing_more(runtime: Runtime, desk: Desk) -> None:
    a, b, d = desk.quick("a"), desk.slow("b"), desk.quick("d")
    members = [a, b, desk.slow_to_fail("c"), d]
    run = await chain(gives=list[int]).parallel_all(members, concurrency=2).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    desk.let("c")
    await settle()
    assert not starting.done()
    desk.let("b")
    result = await starting

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.type, result.error.message) == ("c", "OSError", "c is down")
    assert desk.calls == ["a", "b", "c"]
    assert desk.stopped == ["b"]
    assert await statuses(run) == {"a": "completed", "b": "completed", "c": "failed"}
    assert (run.get_step_result(a), run.get_step_result(b)) == (2, 2)
    with pytest.raises(StepNotRunError):
        run.get_step_result(d)


async def test_parked_members_of_a_failed_block_are_closed(runtime: Runtime, desk: Desk) -> None:
    inner = chain("inner").then(desk.asking("deep")).commit()
    members = [desk.asking("ask"), desk.stumbling("again"), inner, desk.slow_to_fail("fail")]
    run = await chain(gives=list[int]).parallel_all(members).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    assert await statuses(run) == {"ask": "waiting", "again": "retrying", "fail": "running", "inner/deep": "waiting"}
    desk.let("fail")
    result = await starting

    assert isinstance(result, Failed)
    assert [error.key for error in result.errors] == ["fail", "again"]
    assert [error.message for error in result.errors] == ["fail is down", "again is not yet up"]
    assert await statuses(run) == {"ask": "cancelled", "again": "failed", "fail": "failed", "inner/deep": "cancelled"}
    assert (await types(run)).count("hook_disposed") == 2


async def test_sleeps_and_waits_in_a_failed_block_are_closed(runtime: Runtime, desk: Desk) -> None:
    sleeper = chain("sleeper").sleep("30d").then(desk.quick("late")).commit()
    run = await two(sleeper, desk.slow_to_fail("fail")).create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    desk.let("fail")

    assert isinstance(await starting, Failed)
    assert "wait_completed" in await types(run)
    assert desk.calls == ["fail"]


async def test_of_several_failures_the_one_recorded_first_is_the_error(runtime: Runtime, desk: Desk) -> None:
    members = [desk.slow_to_fail("a"), desk.slow_to_fail("b"), desk.slow_to_fail("c")]
    run = await chain(gives=list[int]).parallel_all(members).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    for key in ("c", "a", "b"):
        await settle()
        desk.let(key)
    result = await starting

    assert isinstance(result, Failed)
    assert result.error.key == "c"
    assert [error.key for error in result.errors] == ["c", "a", "b"]


async def test_the_output_of_a_member_that_does_not_fit_fails_the_block(runtime: Runtime, desk: Desk) -> None:
    @step
    async def wrong(data: int) -> int:
        return "text"  # type: ignore[return-value]

    result = await (await two(desk.quick("a"), wrong).create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.type) == ("wrong", "InvalidValueError")


@pytest.mark.parametrize("order", [("bail", "fail"), ("fail", "bail")])
async def test_a_failure_outranks_a_bail_whichever_came_first(
    runtime: Runtime, desk: Desk, order: tuple[str, str]
) -> None:
    run = await two(desk.slow_to_bail("bail", [0, 0]), desk.slow_to_fail("fail")).create_run()
    starting = asyncio.ensure_future(run.start(1))
    for key in order:
        await settle()
        desk.let(key)
    result = await starting

    assert isinstance(result, Failed)
    assert result.error.key == "fail"


async def test_a_bail_outranks_a_suspension(runtime: Runtime, desk: Desk) -> None:
    run = await two(desk.asking("ask"), desk.bailing("bail", [7, 7])).create_run()

    assert (await run.start(1)).unwrap() == (7, 7)
    assert await statuses(run) == {"ask": "cancelled", "bail": "completed"}


async def test_a_suspension_outranks_a_wait(runtime: Runtime, desk: Desk) -> None:
    run = await two(desk.stumbling("again"), desk.asking("ask")).create_run()

    assert isinstance(await run.start(1), Suspended)


async def test_an_only_if_that_raises_fails_the_block_when_it_has_drained(runtime: Runtime, desk: Desk) -> None:
    run = await two(desk.slow("slow"), desk.quick("never").only_if(lambda data: bool(1 / (data - data)))).create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    assert not starting.done()
    desk.let("slow")
    result = await starting

    assert isinstance(result, Failed)
    assert result.error.type == "ConditionError"
    assert await statuses(run) == {"slow": "completed"}


async def test_an_error_that_no_step_has_is_among_the_errors(runtime: Runtime, desk: Desk) -> None:
    """The condition failed first, and a step while the block drained."""
    guarded = desk.quick("never").only_if(lambda data: bool(1 / (data - data)))
    run = await two(desk.slow_to_fail("fail"), guarded).create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    desk.let("fail")
    result = await starting

    assert isinstance(result, Failed)
    assert result.error.type == "ConditionError"
    assert [error.type for error in result.errors] == ["OSError", "ConditionError"]


# --- suspension ------------------------------------------------------------------------------------


async def test_the_others_go_on_while_one_is_suspended(runtime: Runtime, desk: Desk, clock: ManualClock) -> None:
    ask = desk.asking("ask")
    run = await two(ask, desk.slow("slow")).create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    assert not starting.done()
    desk.let("slow")
    result = await starting

    assert isinstance(result, Suspended)
    (suspension,) = result.suspensions
    assert (suspension.key, suspension.step_id, suspension.payload) == ("ask", "ask", "ask?")
    assert (suspension.since, len(suspension.token)) == (clock.now(), 43)
    assert result.payload_of(ask) == "ask?"
    assert_nothing_moves(runtime, run)


async def test_an_answered_member_goes_on_while_its_siblings_run(runtime: Runtime, desk: Desk) -> None:
    ask = desk.asking("ask")
    inner = chain("inner").then(ask).then(desk.slow("then")).commit()
    run = await two(inner, desk.slow("slow")).create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    resuming = asyncio.ensure_future(run.resume(ask, 10))
    await settle()
    assert desk.calls == ["inner/ask", "slow", "inner/ask", "inner/then"]

    desk.let("slow", "inner/then")
    assert (await resuming).unwrap() == (await starting).unwrap() == (12, 2)


async def test_each_suspension_is_answered_on_its_own(runtime: Runtime, desk: Desk) -> None:
    first, second = desk.asking("first"), desk.asking("second")
    run = await two(first, second).create_run()

    assert open_keys(await run.start(1)) == ["first", "second"]
    assert open_keys(await run.resume(second, 20)) == ["first"]
    assert (await run.resume(first, 10)).unwrap() == (11, 21)


async def test_an_answer_is_heard_at_whatever_moment_it_comes(runtime: Runtime, clock: ManualClock) -> None:
    """Beside it a sleep ends, a step is retried, and another suspends: all of that is written meanwhile."""
    for turns in range(40):
        desk = Desk()
        ask = desk.asking("ask")
        nap = chain("nap").sleep("1h").then(desk.quick("x")).then(desk.quick("y")).sleep("0s").commit()
        members = [
            ask,
            nap,
            desk.stumbling("again"),
            chain("chain").then(desk.quick("p")).then(desk.slow("q")).commit(),
        ]
        run = await chain(f"flow-{turns}", gives=list[int]).parallel_all(members).commit().create_run()
        starting = asyncio.ensure_future(run.start(0))
        await settle(60)
        clock.turn("1h")
        await settle(turns)
        resuming = asyncio.ensure_future(run.resume(ask, 5))
        await settle()
        assert desk.counts["ask"] == 2, f"answered after {turns} turns"
        desk.let("chain/q")

        assert (await resuming).unwrap() == [5, 2, 1, 2], f"answered after {turns} turns"
        assert (await starting).unwrap() == [5, 2, 1, 2]


async def test_an_answer_is_heard_while_the_run_gets_under_way(runtime: Runtime) -> None:
    """As soon as the suspension is recorded it can be answered, whatever its siblings do at that moment."""
    for turns in range(40):
        desk = Desk()
        ask = desk.asking("ask")
        members = [ask, chain("chain").then(desk.quick("p")).then(desk.slow("q")).commit(), desk.quick("z")]
        run = await chain(f"flow-{turns}", gives=list[int]).parallel_all(members).commit().create_run()
        starting = asyncio.ensure_future(run.start(0))
        await called(desk, "ask")
        await recorded(run, "hook_created")
        await settle(turns)
        resuming = asyncio.ensure_future(run.resume(ask, 5))
        await settle()
        assert desk.counts["ask"] == 2, f"answered after {turns} turns"
        desk.let("chain/q")

        assert (await resuming).unwrap() == (await starting).unwrap() == [5, 2, 1], f"answered after {turns} turns"


async def test_waits_of_all_members_are_one_wait(runtime: Runtime, desk: Desk, clock: ManualClock) -> None:
    short = chain("short").sleep("1h").then(desk.quick("a")).commit()
    long = chain("long").sleep("2h").then(desk.quick("b")).commit()
    run = await two(long, short).create_run()
    result = await run.start(1)
    start = clock.now()

    assert isinstance(result, Waiting)
    assert (result.reason, result.until.isoformat()) == ("sleep", "2026-03-01T13:00:00+00:00")  # type: ignore[union-attr]
    clock.turn("1h")
    await settle()
    assert desk.calls == ["short/a"]
    clock.turn("1h")
    assert (await run.result()).unwrap() == (2, 2)
    assert (clock.now() - start).total_seconds() == 7200


# --- crash -----------------------------------------------------------------------------------------


async def test_after_a_crash_finished_members_are_not_run_again_and_parked_ones_stay_parked(
    clock: ManualClock, database: str
) -> None:
    desk = Desk()
    ask = desk.asking("ask")
    inner = chain("inner").then(desk.quick("done")).then(desk.slow("open")).commit()
    members = [desk.quick("quick"), desk.slow("slow"), ask, desk.stumbling("again"), inner]
    flow = chain(gives=list[int]).parallel_all(members).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).enqueue(0)
        await settle()
        kill(runtime)
    desk.calls.clear()
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run("r-17")
        await settle()
        assert sorted(desk.calls) == ["inner/open", "slow"]
        desk.let("inner/open", "slow")
        assert open_keys(await run.result()) == ["ask"]
        clock.turn("1h")
        await settle()
        assert (await run.resume(ask, 5)).unwrap() == [1, 1, 5, 1, 2]

    assert sorted(desk.calls) == ["again", "ask", "inner/open", "slow"]


async def test_a_finished_member_is_durable_while_a_sibling_runs(runtime: Runtime, desk: Desk) -> None:
    run = await (await two(desk.quick("a"), desk.slow("b")).create_run()).enqueue(1)
    await settle()

    assert await statuses(run) == {"a": "completed", "b": "running"}
    desk.let("b")
    await run.result()


async def test_of_a_block_that_drained_when_the_process_died_what_ran_is_waited_for_and_what_waited_is_closed(
    clock: ManualClock, database: str
) -> None:
    desk = Desk()
    inner = chain("inner").then(desk.asking("deep")).commit()
    busy = chain("busy").then(desk.slow("half")).then(desk.quick("rest")).commit()
    members = [desk.failing("fail"), desk.slow("slow"), desk.asking("ask"), inner, busy]
    flow = chain(gives=list[int]).parallel_all(members).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).enqueue(0)
        await settle()
        kill(runtime)
    desk.calls.clear()
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run("r-17")
        await settle()
        assert sorted(desk.calls) == ["busy/half", "slow"]
        desk.let("slow", "busy/half")
        result = await run.result()
        assert await statuses(run) == {
            "fail": "failed", "slow": "completed", "ask": "cancelled", "inner/deep": "cancelled",
            "busy/half": "completed",
        }  # fmt: skip

    assert isinstance(result, Failed)
    assert result.error.key == "fail"
    assert sorted(desk.stopped) == ["busy/half", "slow"]
    assert sorted(desk.calls) == ["busy/half", "slow"]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("inside", [False, True])
async def test_a_failure_outranks_a_bail_though_the_process_dies_while_the_block_drains(
    clock: ManualClock, database: str, *, killed: bool, inside: bool
) -> None:
    desk = Desk()
    slow = desk.slow_to_fail("slow")
    key = "inner/slow" if inside else "slow"
    beside = chain("inner", gives=Any).parallel(slow, desk.quick("quick")).commit() if inside else slow
    flow = chain(gives=Any).parallel(desk.bailing("bail", 5), beside).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).enqueue(0)
        await settle()
        if killed:
            kill(runtime)
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run("r-17")
        await settle()
        desk.let(key)
        result = await run.result()

    assert isinstance(result, Failed)
    assert result.error.message == f"{key} is down"
    assert desk.counts[key] == 2


async def test_a_program_that_was_cut_off_while_its_block_drained_finishes_what_ran(
    clock: ManualClock, database: str
) -> None:
    desk = Desk()
    slow, next_one = desk.slow("slow"), desk.quick("next")

    @workflow(id="inner")
    async def inner(tools: StepTools, data: int) -> int:
        return await tools.run(next_one, await tools.run(slow, data))

    flow = chain(gives=Any).parallel(desk.bailing("bail", 5), inner).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).enqueue(0)
        await settle()
        kill(runtime)
    desk.let("inner/slow")
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run("r-17")
        assert (await run.result()).unwrap() == 5
        assert await statuses(run) == {"bail": "completed", "inner/slow": "completed"}


async def test_an_at_most_once_body_that_died_while_its_block_drained_has_failed(
    clock: ManualClock, database: str
) -> None:
    begun: list[int] = []

    @step(at_most_once=True)
    async def pay(data: int) -> int:
        begun.append(data)
        await asyncio.Event().wait()
        return data

    flow = chain(gives=Any).parallel(Desk().bailing("bail", 5), pay).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).enqueue(1)
        await settle()
        kill(runtime)
    async with Runtime(database, clock=clock, workflows=[flow]):
        result = await (await flow.get_run("r-17")).result()

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.key) == ("OutcomeUnknownError", "pay")
    assert begun == [1]


async def test_what_a_bail_leaves_open_after_a_crash_does_not_outlive_its_workflow(
    clock: ManualClock, database: str
) -> None:
    """The nested workflow ends early, and the run goes on: nobody may answer what stood beside the bail."""
    desk = Desk()
    deep = chain("deep").then(desk.asking("ask")).commit()
    inner = chain("inner", gives=Any).parallel(desk.bailing("bail", 9), desk.slow("slow"), deep).commit()
    last = desk.asking("last")
    flow = chain().then(inner).map(lambda output: int(output)).then(last).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).enqueue(0)
        await settle()
        kill(runtime)
    async with Runtime(database, clock=clock, workflows=[flow]):
        desk.let("inner/slow")
        run = await flow.get_run("r-17")
        assert open_keys(await run.result()) == ["last"]
        assert (await run.resume(last, 1)).unwrap() == 10


async def test_a_crash_at_any_moment_gives_what_no_crash_gives(clock: ManualClock, database: str) -> None:
    for turns in range(0, 40, 7):
        desk = Desk()
        first = chain("first").then(desk.quick("a")).then(desk.quick("b")).commit()
        second = chain("second").then(desk.quick("a")).then(desk.quick("b")).then(desk.quick("c")).commit()
        flow = chain(f"flow-{turns}", gives=int).parallel(first, second).join(total).then(desk.quick("end")).commit()
        async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
            await (await flow.create_run(run_id=f"r-{turns}")).enqueue(0)
            await settle(turns)
            kill(runtime)
        async with Runtime(database, clock=clock, workflows=[flow]):
            run = await flow.get_run(f"r-{turns}")
            assert (await run.result()).unwrap() == 6, f"killed after {turns} turns"
            assert max(desk.counts.values()) <= 2


# --- cancel, pause ---------------------------------------------------------------------------------


async def test_a_cancel_ends_every_member(runtime: Runtime, desk: Desk) -> None:
    ask = desk.asking("ask")
    members = [desk.quick("done"), desk.slow("slow"), ask, desk.stumbling("again")]
    run = await chain(gives=list[int]).parallel_all(members).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    await run.cancel("enough")
    result = await starting

    assert isinstance(result, Cancelled)
    assert result.reason == "enough"
    assert await statuses(run) == {"done": "completed", "slow": "cancelled", "ask": "cancelled", "again": "cancelled"}
    assert desk.calls == ["done", "slow", "ask", "again"]
    assert desk.stopped == []


async def test_a_paused_block_finishes_what_runs_and_starts_nothing(runtime: Runtime, desk: Desk) -> None:
    inner = chain("inner").then(desk.slow("a")).then(desk.quick("b")).commit()
    run = await two(inner, desk.quick("c")).create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    await run.pause()
    desk.let("inner/a")
    result = await starting

    assert isinstance(result, Paused)
    assert desk.calls == ["inner/a", "c"]
    await run.unpause()
    assert (await run.result()).unwrap() == (3, 2)
    assert desk.calls == ["inner/a", "c", "inner/b"]


async def test_a_run_that_is_unpaused_while_a_sibling_still_runs_goes_on_at_once(runtime: Runtime, desk: Desk) -> None:
    inner = chain("inner").then(desk.slow("a")).then(desk.quick("b")).commit()
    run = await (await two(inner, desk.slow("c")).create_run()).enqueue(1)
    await settle()
    await run.pause()
    desk.let("inner/a")
    await settle()
    assert "inner/b" not in desk.calls
    await run.unpause()
    await settle()
    assert "inner/b" in desk.calls

    desk.let("c")
    assert (await run.result()).unwrap() == (3, 2)


async def test_many_members_are_parked_and_answered(clock: ManualClock) -> None:
    desk = Desk()
    ask = desk.asking("ask")
    members = [ask.with_id(f"ask-{number}") for number in range(50)]
    flow = chain(gives=list[int]).parallel_all(members).commit()
    async with Runtime(":memory:", clock=clock, limits=Limits(items=10)) as runtime:
        run = await flow.create_run()
        assert len(open_keys(await run.start(0))) == 50
        for number, member in enumerate(members):
            await run.resume(member, number)
        assert (await run.result()).unwrap() == list(range(50))
        assert_nothing_moves(runtime, run)
