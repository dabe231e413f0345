"""Nested workflows: scopes of the same run, with ids, state, input, time and way out of their own."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from tests.clocks import ManualClock, settle
from wrkflw import (
    Cancelled,
    Completed,
    Event,
    Failed,
    Limits,
    Paused,
    Retry,
    Runtime,
    StepContext,
    StepNotRunError,
    StepTools,
    Suspended,
    UnknownStepError,
    Waiting,
    step,
    workflow,
)

from .desk import Desk, chain, open_keys, statuses
from .lost import kill


class Outer(BaseModel):
    n: int = 0


class Inner(BaseModel):
    m: int = 100


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_it_is_a_step_that_gives_its_output(runtime: Runtime, desk: Desk) -> None:
    inner = chain("inner").then(desk.quick("a")).then(desk.quick("b")).commit()
    run = await chain().then(desk.quick("first")).then(inner).then(desk.quick("last")).commit().create_run()

    assert (await run.start(1)).unwrap() == 5
    assert desk.calls == ["first", "inner/a", "inner/b", "last"]
    assert (await run.snapshot()).execution_path == desk.calls
    assert run.get_step_result(inner) == 4


# --- values ----------------------------------------------------------------------------------------


class Base(BaseModel):
    n: int = 0


class More(Base):
    m: int = 0


@step
async def make(data: int) -> More:
    return More(n=data, m=data)


@step
async def check(data: int, ctx: StepContext) -> More:
    if data == 0:
        ctx.bail(Base(n=-1))
    return More(n=data, m=data)


@step
async def lessen(data: Base) -> Base:
    return Base(n=data.n - 1)


@step
async def show(data: Base) -> str:
    return repr(data)


@pytest.mark.parametrize("promised", [Base, Base | int, object, Any, Base | None])
@pytest.mark.parametrize(
    ("take", "given", "gives"),
    [
        (lambda chain, inner: chain.then(inner), 1, More(n=1, m=1)),
        (lambda chain, inner: chain.then(inner.only_if(lambda data: data > 0)), 1, More(n=1, m=1)),
        (lambda chain, inner: chain.foreach(inner), [1, 2], [More(n=1, m=1), More(n=2, m=2)]),
        (lambda chain, inner: chain.foreach(inner, concurrency=2), [1], [More(n=1, m=1)]),
        (lambda chain, inner: chain.parallel_all([inner]), 1, [More(n=1, m=1)]),
        (lambda chain, inner: chain.branch().when(lambda data: True, inner).otherwise(make), 1, More(n=1, m=1)),
    ],
)
async def test_what_it_gives_comes_out_as_it_would_of_its_last_step(
    runtime: Runtime, promised: Any, take: Any, given: Any, gives: object
) -> None:
    inner = chain("inner", gives=promised).then(make).commit()
    seen: list[object] = []

    await take(chain(takes=Any, gives=Any), inner).map(lambda data: seen.append(data)).commit().run(given)

    assert repr(seen) == repr([gives])


async def test_what_it_gives_and_what_it_is_ended_with_both_survive_a_restart(
    clock: ManualClock, database: str, desk: Desk
) -> None:
    inner = chain("inner", gives=Base).then(check).commit()
    wait = desk.asking("wait")
    flow = chain(takes=list[int], gives=Any).foreach(inner).map(lambda _: 0).then(wait).commit()
    async with Runtime(database, clock=clock):
        await (await flow.create_run(run_id="r-17")).start([0, 1])
    async with Runtime(database, clock=clock):
        run = await flow.get_run("r-17")
        assert isinstance(await run.resume(wait, 1), Completed)
        assert run.get_step_results(inner) == [Base(n=-1), More(n=1, m=1)]
        assert (await run.snapshot()).status == "completed"


async def test_a_whole_number_stays_one_where_a_float_is_promised(runtime: Runtime, desk: Desk) -> None:
    inner = chain("inner", gives=float).then(desk.quick("a")).commit()

    assert repr(await chain(gives=float).then(inner).commit().run(1)) == "2"


async def test_what_flows_in_reaches_its_first_step_as_it_is(runtime: Runtime) -> None:
    inner = chain("inner", takes=Base, gives=str).sleep("0s").then(show).commit()
    deeper = chain("deeper", takes=Base, gives=str).then(inner).commit()

    assert await chain(gives=str).then(make).then(show).commit().run(1) == repr(More(n=1, m=1))
    assert await chain("nested", gives=str).then(make).then(deeper).commit().run(1) == repr(More(n=1, m=1))


async def test_what_passes_through_it_stays_what_it_is(runtime: Runtime) -> None:
    inner = chain("inner", takes=Base, gives=Base).branch().when(lambda _: False, lessen).otherwise_pass().commit()
    loop = chain("again", takes=Base, gives=Base).then(lessen).commit()

    assert await chain(gives=Base).then(make).then(inner).commit().run(1) == More(n=1, m=1)
    flow = chain("looping", gives=Base).then(make).do_until(loop, lambda data: data.n <= -1).commit()
    assert await flow.run(1) == Base(n=-1)


async def test_a_fork_puts_another_value_in_place_of_what_it_gave(runtime: Runtime) -> None:
    inner = chain("inner", gives=Base).then(make).commit()
    run = await chain(gives=str).then(inner).then(show).commit().create_run()
    await run.start(1)

    for other in (Base(n=5), More(n=5, m=6)):
        assert (await run.fork(at=show).with_output(inner, other).start()).unwrap() == repr(other)


async def test_a_program_gets_what_its_last_step_gives(runtime: Runtime) -> None:
    inner = chain("inner", gives=Base).then(make).commit()

    @workflow
    async def code(tools: StepTools, data: int) -> str:
        return repr(await tools.run(inner, data))

    assert await code.run(1) == repr(More(n=1, m=1))


async def test_its_ids_are_its_own(runtime: Runtime, desk: Desk) -> None:
    fetch = desk.quick("fetch")
    inner = chain("inner").then(fetch).sleep("0s").map(lambda data: data).commit()
    flow = chain().then(fetch).then(inner).then(inner.with_id("again")).sleep("0s").commit()

    assert await flow.run(1) == 4
    assert desk.calls == ["fetch", "inner/fetch", "again/fetch"]


async def test_within_looks_inside_and_outside_sees_the_output_only(runtime: Runtime, desk: Desk) -> None:
    a, b = desk.quick("a"), desk.quick("b")
    deep = chain("deep").then(b).commit()
    inner = chain("inner").then(a).then(deep).commit()
    run = await chain().then(inner).commit().create_run()
    await run.start(1)

    assert run.within("inner").get_step_result(a) == 2
    assert run.within("inner").get_step_result(deep) == 3
    assert run.within("inner/deep").get_step_result(b) == 3
    with pytest.raises(UnknownStepError):
        run.get_step_result(a)


async def test_a_step_sees_the_steps_and_the_input_of_its_own_workflow(runtime: Runtime, desk: Desk) -> None:
    first = desk.quick("first")
    seen: list[object] = []

    @step
    async def look(data: int, ctx: StepContext) -> int:
        seen.extend([ctx.workflow_id, ctx.key, ctx.get_init_data(int)])
        try:
            ctx.get_step_result(first)
        except (StepNotRunError, UnknownStepError) as error:
            seen.append(type(error).__name__)
        return data

    inner = chain("inner").map_ctx(lambda data, ctx: data + ctx.init_data).then(look).commit()
    await chain("outer").then(first).then(inner).commit().run(10)

    assert seen == ["inner", "inner/look", 11, "UnknownStepError"]


async def test_its_state_is_made_afresh_for_each_call(runtime: Runtime) -> None:
    seen: list[object] = []

    @step
    async def count(data: int, ctx: StepContext[Inner]) -> int:
        ctx.state.m += data
        return ctx.state.m

    @step
    async def outer_count(data: int, ctx: StepContext[Outer]) -> int:
        seen.append(ctx.state.n)
        ctx.state.n += 1
        return data

    inner = chain("inner", state_schema=Inner).then(count).then(count.with_id("more")).commit()
    begun = chain(state_schema=Outer).then(outer_count).then(inner).then(inner.with_id("second"))
    run = await begun.then(outer_count.with_id("last")).commit().create_run()

    assert (await run.start(1)).unwrap() == 604
    assert seen == [0, 1]
    assert run.state == Outer(n=2)


async def test_its_state_survives_a_restart(clock: ManualClock, database: str, desk: Desk) -> None:
    @step
    async def count(data: int, ctx: StepContext[Inner]) -> int:
        ctx.state.m += data
        return ctx.state.m

    ask = desk.asking("ask")
    inner = chain("inner", state_schema=Inner).then(count).then(ask).then(count.with_id("more")).commit()
    flow = chain().then(inner).commit()
    async with Runtime(database, clock=clock):
        await (await flow.create_run(run_id="r-17")).start(1)
    async with Runtime(database, clock=clock):
        assert (await (await flow.get_run("r-17")).resume(ask, 10)).unwrap() == 101 + 111


# --- settings --------------------------------------------------------------------------------------


async def test_its_retries_are_its_own(runtime: Runtime, clock: ManualClock) -> None:
    calls: list[str] = []

    @step
    async def fail(data: int, ctx: StepContext) -> int:
        calls.append(ctx.key)
        raise OSError("down")

    inner = chain("inner", retry=Retry(attempts=3, delay="0s")).then(fail).commit()
    bare = chain("bare").then(fail).commit()
    assert isinstance(await (await chain("one").then(inner).commit().create_run()).start(1), Failed)
    outer = chain("two", retry=Retry(attempts=3, delay="0s")).then(bare).commit()
    assert isinstance(await (await outer.create_run()).start(1), Failed)

    assert calls == ["inner/fail"] * 3 + ["bare/fail"]


@pytest.mark.parametrize("hold", ["sleep", "event"])
async def test_past_its_time_it_tells_where_it_waits(hold: str, runtime: Runtime, clock: ManualClock) -> None:
    inner = chain("inner", timeout="1h")
    inner = inner.sleep("9h", id="hold") if hold == "sleep" else inner.wait_for_event(Event("go", int), id="hold")
    run = await chain().then(inner.commit()).commit().create_run(run_id="r-17")
    await run.start(1, wait="0s")
    clock.turn("1h")
    result = await run.result()

    assert isinstance(result, Failed)
    assert result.error.message == "run 'r-17' passed its 1h, waiting at 'inner/hold'; raise timeout="


async def test_past_its_time_it_fails_and_what_runs_in_it_is_cancelled(runtime: Runtime, clock: ManualClock) -> None:
    desk = Desk()
    inner = chain("inner", timeout="1h").then(desk.slow("slow")).commit()
    run = await chain().then(inner).commit().create_run(run_id="r-17")
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    clock.turn("1h")
    result = await starting

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.type) == ("inner", "RunTimeoutError")
    assert result.error.message == "run 'r-17' passed its 1h, waiting at 'inner/slow'; raise timeout="
    assert await statuses(run) == {"inner/slow": "cancelled"}


@pytest.mark.parametrize("restarted", [False, True])
async def test_past_its_time_what_is_parked_in_it_is_closed(clock: ManualClock, database: str, restarted: bool) -> None:
    desk = Desk()
    members = [desk.asking("ask"), desk.stumbling("again"), chain("nap").sleep("9d").commit()]
    inner = chain("inner", gives=list[int], timeout="30m").parallel_all(members).commit()
    flow = chain(gives=Any).parallel(inner, desk.asking("other")).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        run = await flow.create_run(run_id="r-17")
        assert open_keys(await run.start(1)) == ["other", "inner/ask"]
        if not restarted:
            clock.turn("30m")
            await settle()
        kill(runtime)
    clock.turn("30m")
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run("r-17")
        await settle()
        result = await run.result()
        assert await statuses(run) == {
            "other": "cancelled", "inner/ask": "cancelled", "inner/again": "failed"
        }  # fmt: skip

    assert isinstance(result, Failed)
    assert result.error.type == "RunTimeoutError"
    assert result.error.key == "inner"


async def test_in_time_it_is_left_alone(runtime: Runtime, clock: ManualClock, desk: Desk) -> None:
    inner = chain("inner", timeout="1h").sleep("59m").then(desk.quick("a")).commit()
    run = await chain().then(inner).sleep("1d").commit().create_run()
    assert isinstance(await run.start(1), Waiting)
    clock.turn("59m")
    await settle()
    clock.turn("1d")

    assert (await run.result()).unwrap() == 2


# --- failure ---------------------------------------------------------------------------------------


async def test_its_error_is_that_of_the_run(runtime: Runtime, desk: Desk) -> None:
    deep = chain("deep").then(desk.failing("charge")).commit()
    inner = chain("inner").then(deep).commit()
    run = await chain().then(inner).then(desk.quick("last")).commit().create_run()
    result = await run.start(1)

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.step_id) == ("inner/deep/charge", "charge")
    assert (result.error.type, result.error.message) == ("OSError", "inner/deep/charge is down")
    assert result.errors == [result.error]
    assert desk.calls == ["inner/deep/charge"]


async def test_what_goes_wrong_between_its_steps_is_an_error_at_its_key(runtime: Runtime) -> None:
    inner = chain("inner").map(lambda data: data / 0).commit()
    result = await (await chain().then(inner).commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.type) == ("inner", "MapError")
    assert result.errors == [result.error]


async def test_an_output_that_it_does_not_promise_fails_it(runtime: Runtime) -> None:
    inner = chain("inner").map(lambda data: "text").commit()
    result = await (await chain().then(inner).commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.type) == ("inner", "InvalidValueError")


async def test_workflows_may_stand_within_workflows_but_not_for_ever(clock: ManualClock, desk: Desk) -> None:
    flow = chain("a").then(desk.quick("x")).commit()
    for id in ("b", "c", "d"):
        flow = chain(id).then(flow).commit()
    async with Runtime(":memory:", clock=clock, limits=Limits(nesting=4)):
        assert (await (await flow.create_run()).start(1)).unwrap() == 2
        deeper = chain("e").then(flow).commit()
        result = await (await deeper.create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.type == "LimitError"
    assert result.error.message == (
        "workflow 'e/d/c/b/a' is nested 5 deep, the limit is 4; flatten it or raise Limits.nesting"
    )


# --- suspension, waiting, crash --------------------------------------------------------------------


async def test_a_suspension_at_any_depth_is_answered_like_any_other(runtime: Runtime, desk: Desk) -> None:
    ask = desk.asking("approve")
    deep = chain("deep").then(ask).commit()
    inner = chain("inner").then(deep).then(desk.quick("b")).commit()
    run = await chain().then(inner).commit().create_run()
    result = await run.start(1)

    assert isinstance(result, Suspended)
    assert [(each.key, each.step_id) for each in result.suspensions] == [("inner/deep/approve", "approve")]
    assert (await run.resume(ask, 10)).unwrap() == 12


async def test_one_step_inside_and_outside_is_told_apart_by_its_key(runtime: Runtime, desk: Desk) -> None:
    ask = desk.asking("ask")
    inner = chain("inner").then(ask).commit()
    run = await chain(gives=Any).parallel(ask, inner).commit().create_run()

    assert open_keys(await run.start(1)) == ["ask", "inner/ask"]
    assert open_keys(await run.resume(ask, 10, at="inner/ask")) == ["ask"]
    assert (await run.resume(ask, 20)).unwrap() == (21, 11)


async def test_after_a_crash_it_goes_on_inside(clock: ManualClock, database: str) -> None:
    desk = Desk()
    deep = chain("deep").then(desk.quick("a")).then(desk.slow("b")).then(desk.quick("c")).commit()
    inner = chain("inner").then(desk.quick("first")).then(deep).commit()
    flow = chain().then(inner).then(desk.quick("last")).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).enqueue(1)
        await settle()
        kill(runtime)
    desk.let("inner/deep/b")
    async with Runtime(database, clock=clock, workflows=[flow]):
        assert (await (await flow.get_run("r-17")).result()).unwrap() == 6

    assert desk.calls == [
        "inner/first", "inner/deep/a", "inner/deep/b", "inner/deep/b", "inner/deep/c", "last"
    ]  # fmt: skip


async def test_a_retry_inside_waits_where_the_chain_would(runtime: Runtime, desk: Desk, clock: ManualClock) -> None:
    inner = chain("inner").then(desk.stumbling("again")).commit()
    run = await chain().then(inner).commit().create_run()
    result = await run.start(1)

    assert isinstance(result, Waiting)
    assert (result.reason, result.until) == ("retry", clock.now() + timedelta(hours=1))
    clock.turn("1h")
    assert (await run.result()).unwrap() == 2


async def test_a_cancel_reaches_inside(runtime: Runtime, desk: Desk) -> None:
    inner = chain("inner").then(desk.asking("ask")).commit()
    run = await chain().then(inner).commit().create_run()
    await run.start(1)
    await run.cancel()

    assert isinstance(await run.result(), Cancelled)
    assert await statuses(run) == {"inner/ask": "cancelled"}


async def test_a_pause_reaches_inside(runtime: Runtime, desk: Desk) -> None:
    inner = chain("inner").then(desk.slow("a")).then(desk.quick("b")).commit()
    run = await chain().then(inner).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    await run.pause()
    desk.let("inner/a")

    assert isinstance(await starting, Paused)
    assert desk.calls == ["inner/a"]
    await run.unpause()
    assert (await run.result()).unwrap() == 3


async def test_what_flows_in_is_validated_into_what_it_takes(runtime: Runtime) -> None:
    class Named(BaseModel):
        name: str

    @step
    async def greet(data: Named) -> str:
        return f"hello {data.name}"

    inner = chain("inner", Named, str).then(greet).commit()
    flow = chain(takes=str, gives=str).map(lambda name: {"name": name}).then(inner).commit()

    assert await flow.run("ada") == "hello ada"


async def test_what_may_be_anything_flows_on(runtime: Runtime) -> None:
    @step
    async def give(data: int) -> int:
        return data

    @step
    async def see(data: Any) -> str:
        return repr(data)

    anything = chain("anything", int, Any).then(give).commit()
    taking = chain("taking", Any, str).then(see).commit()
    plain = chain("plain", int, str).then(give).then(see).commit()
    nested = chain("nested", int, str).then(anything).then(see).commit()
    within = chain("within", int, str).then(taking).commit()

    assert [await one.run(1) for one in (plain, nested, within)] == ["1", "1", "1"]


async def test_loops_within_loops_are_defined_in_no_time(runtime: Runtime) -> None:
    """Each would ask twice for what the one inside gives: 2 to the power of 24 definitions, and it never began."""
    loop = chain("loop-0").map(lambda data: data + 1).commit()
    for depth in range(1, 25):
        loop = chain(f"loop-{depth}").do_until(loop, lambda _: True).commit()

    assert await loop.run(1) == 2
