"""Programs in programs, graphs in programs, programs in graphs; and questions asked inside of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    Completed,
    Event,
    Failed,
    InvalidValueError,
    Limits,
    Retry,
    Runtime,
    StepContext,
    StepFailedError,
    StepTools,
    SuspendContext,
    Suspended,
    Waiting,
    step,
    workflow,
)

from .desk import Desk, chain
from .lost import kill
from .retelling import RUN, Told, retell

go = Event("go", int)


def stepping(calls: list[str]) -> Callable[[str], Any]:
    """A maker of steps that tell their keys, and give one more."""

    def make(name: str) -> Any:
        @step(id=name)
        async def body(data: int, ctx: StepContext) -> int:
            calls.append(ctx.key)
            if name.startswith("bad"):
                raise OSError(ctx.key)
            return data + 1

        return body

    return make


def program(calls: list[str], id: str = "inner") -> Any:
    make = stepping(calls)

    @workflow(id=id)
    async def inner(step: StepTools, data: int) -> Any:
        first = await step.run(make("a"), data)
        await step.sleep("nap", "1m")
        return first + await step.run(make("a"), first)

    return inner


def graph(calls: list[str], id: str = "inner") -> Any:
    make = stepping(calls)
    return chain(id).then(make("a")).sleep("1m", id="nap").then(make("b")).commit()


# ------------------------------------------------------------------ in a program
@pytest.mark.parametrize("inner", [program, graph])
async def test_a_workflow_in_a_program(inner: Callable[..., Any]) -> None:
    def make(calls: list[str]) -> Any:
        @workflow(id="outer")
        async def outer(step: StepTools, data: int) -> list[int]:
            one = await step.run(inner(calls), data)
            two, three = await asyncio.gather(step.run(inner(calls), one), step.run(inner(calls), one, name="other"))
            return [one, two, three]

        return outer

    told = await retell(make, 1)

    assert told.endings == ["inner", "inner#2", "other"]
    assert told.outcome == ([5, 13, 13] if inner is program else [3, 5, 5])
    names = ["a", "a#2"] if inner is program else ["a", "b"]
    assert sorted(told.calls) == sorted(f"{key}/{name}" for key in told.endings for name in names)


async def test_programs_in_programs_in_programs() -> None:
    def make(calls: list[str]) -> Any:
        @workflow(id="middle")
        async def middle(step: StepTools, data: int) -> Any:
            return await step.run(program(calls), data) + await step.wait_for_event(go)

        @workflow(id="outer")
        async def outer(step: StepTools, data: int) -> list[int]:
            return list(await asyncio.gather(step.run(middle, data), step.run(middle, data + 1)))

        return outer

    told = await retell(make, 1, ("0s", go, 100), ("0s", go, 200), same=sorted_outcome)

    assert told.outcome in ([105, 207], [205, 107])
    assert "middle#2/inner/a#2" in told.calls


def sorted_outcome(told: Told) -> object:
    return sorted(value % 100 for value in told.result.unwrap())


async def test_two_workflows_of_one_id_may_be_run_by_one_program() -> None:
    def make(calls: list[str]) -> Any:
        @workflow(id="outer")
        async def outer(step: StepTools, data: int) -> list[int]:
            return [
                await step.run(program(calls), data),
                await step.run(graph(calls), data),
                await step.run(program(calls), data),
            ]

        return outer

    assert (await retell(make, 1)).outcome == [5, 3, 5]


async def test_a_failure_inside_is_caught_outside() -> None:
    def make(calls: list[str]) -> Any:
        make_step = stepping(calls)

        @workflow(id="inner")
        async def inner(step: StepTools, data: int) -> int:
            napping = asyncio.create_task(step.sleep("nap", "1d"))
            await asyncio.gather(step.run(make_step("a"), data), step.run(make_step("bad"), data))
            await napping
            return data

        @workflow(id="outer")
        async def outer(step: StepTools, data: int) -> list[object]:
            try:
                await step.run(inner, data)
            except StepFailedError as error:
                return [error.error.key, error.error.type, error.matches(OSError), await step.run(make_step("c"), 1)]
            return []

        return outer

    told = await retell(make, 1)

    assert told.outcome == ["inner/bad", "OSError", True, 2]


async def test_an_exception_inside_names_the_workflow_it_left() -> None:
    def make(calls: list[str]) -> Any:
        @workflow(id="inner")
        async def inner(step: StepTools, data: int) -> int:
            raise LookupError("gone")

        @workflow(id="outer")
        async def outer(step: StepTools, data: int) -> int:
            return await step.run(inner, data)

        return outer

    told = await retell(make, 1)

    assert isinstance(told.result, Failed)
    assert (told.result.error.key, told.result.error.type) == ("inner", "LookupError")


async def test_an_output_inside_that_does_not_fit_fails_the_inner_workflow() -> None:
    def make(calls: list[str]) -> Any:
        @workflow(id="inner")
        async def inner(step: StepTools, data: int) -> int:
            return "many"  # type: ignore[return-value]

        @workflow(id="outer")
        async def outer(step: StepTools, data: int) -> list[object]:
            try:
                await step.run(inner, data)
            except StepFailedError as error:
                return [error.error.key, error.matches(InvalidValueError)]
            return []

        return outer

    assert (await retell(make, 1)).outcome == ["inner", True]


async def test_a_bail_inside_ends_the_inner_workflow_only() -> None:
    def make(calls: list[str]) -> Any:
        @step(id="bailing")
        async def bailing(data: int, ctx: StepContext) -> int:
            calls.append(ctx.key)
            ctx.bail(42)

        @workflow(id="inner")
        async def inner(step: StepTools, data: int) -> int:
            await step.run(bailing, data)
            raise AssertionError("it went on")

        @workflow(id="outer")
        async def outer(step: StepTools, data: int) -> list[int]:
            return [await step.run(inner, data), await step.run(inner, data)]

        return outer

    assert (await retell(make, 1)).outcome == [42, 42]


async def test_a_bail_of_its_own_step_ends_the_run() -> None:
    caught: list[str] = []

    def make(calls: list[str]) -> Any:
        @step(id="bailing")
        async def bailing(data: int, ctx: StepContext) -> int:
            calls.append(ctx.key)
            ctx.bail(42)

        @workflow(id="outer")
        async def outer(step: StepTools, data: int) -> int:
            try:
                await asyncio.gather(step.run(bailing, data), step.sleep("nap", "1h"))
            except BaseException:  # noqa: BLE001  # what is tried
                caught.append("caught")
            return 1

        return outer

    told = await retell(make, 1)

    assert told.outcome == 42
    assert told.calls == {"bailing": 1}


async def test_what_happened_inside_is_read_by_its_key(runtime: Runtime, clock: ManualClock) -> None:
    calls: list[str] = []
    a: Any = stepping(calls)("a")

    @workflow(id="inner")
    async def inner(step: StepTools, data: int) -> int:
        return await step.run(a, data)

    @workflow(id="outer")
    async def outer(step: StepTools, data: int) -> list[int]:
        return [await step.run(inner, data), await step.run(inner, data + 10)]

    run = await outer.create_run()
    result = await run.start(1)

    assert isinstance(result, Completed)
    assert (run.within("inner").get_step_result(a), run.within("inner#2").get_step_result(a)) == (2, 12)
    assert run.get_step_results(inner) == [2, 12]
    assert (await run.snapshot()).execution_path == ["inner/a", "inner#2/a"]


async def test_time_and_chance_inside_are_its_own() -> None:
    def make(calls: list[str]) -> Any:
        @workflow(id="inner")
        async def inner(step: StepTools, data: int) -> list[object]:
            return [str(step.uuid()), step.random().random(), step.now().isoformat(), step.patched("new")]

        @workflow(id="outer")
        async def outer(step: StepTools, data: int) -> list[list[object]]:
            own: list[object] = [str(step.uuid()), step.random().random(), step.now().isoformat(), step.patched("new")]
            await step.sleep("nap", "1h")
            return [own, await step.run(inner, 1), await step.run(inner, 2)]

        return outer

    told = await retell(make, 1)
    outputs = told.result.unwrap()

    assert len({output[0] for output in outputs}) == len({output[1] for output in outputs}) == 3
    assert [output[2][11:13] for output in outputs] == ["12", "13", "13"]
    assert [output[3] for output in outputs] == [True] * 3


async def test_nesting_has_a_limit(clock: ManualClock) -> None:
    @workflow(id="deep")
    async def deep(step: StepTools, data: int) -> int:
        return await step.run(deep, data + 1)

    async with Runtime(":memory:", clock=clock, limits=Limits(nesting=5)):
        result = await (await deep.create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.type == "LimitError"


async def test_a_time_limit_inside_ends_the_inner_workflow_only() -> None:
    def make(calls: list[str]) -> Any:
        @workflow(id="inner", timeout="1h")
        async def inner(step: StepTools, data: int) -> int:
            await step.run(stepping(calls)("a"), data)
            await step.wait_for_event(go)
            return 1

        @workflow(id="outer")
        async def outer(step: StepTools, data: int) -> list[object]:
            try:
                await step.run(inner, data)
            except StepFailedError as error:
                return [error.error.type, error.error.key, step.now().hour, await step.wait_for_event(go)]
            return []

        return outer

    told = await retell(make, 1, ("2h", go, 7))

    assert told.outcome == ["RunTimeoutError", "inner", 13, 7]


@pytest.mark.parametrize("limited_first", [False, True])
async def test_the_options_of_one_call_of_a_workflow_are_not_those_of_another(
    runtime: Runtime, clock: ManualClock, limited_first: bool
) -> None:
    desk = Desk()
    inner = chain("inner").then(desk.slow("work")).commit()

    @workflow(id="outer")
    async def outer(step: StepTools, data: int) -> list[object]:
        async def told(tools: StepTools, name: str) -> object:
            try:
                return await tools.run(inner, data, name=name)
            except StepFailedError as error:
                return error.error.type

        limited, free = (step.options(timeout="1h"), "limited"), (step, "free")
        calls = [limited, free] if limited_first else [free, limited]
        return await asyncio.gather(*(told(tools, name) for tools, name in calls))

    starting = asyncio.ensure_future((await outer.create_run()).start(1, wait=None))
    await settle()
    clock.turn("2h")
    await settle()
    desk.let("free/work", "limited/work")

    assert sorted(map(str, (await starting).unwrap())) == ["2", "RunTimeoutError"]


async def test_the_policy_of_one_call_of_a_workflow_is_not_that_of_another(runtime: Runtime) -> None:
    desk = Desk()
    inner = chain("inner").then(desk.failing("work")).commit()

    @workflow(id="outer")
    async def outer(step: StepTools, data: int) -> None:
        for tools, name in ((step, "once"), (step.options(retry=Retry(3, delay="0s")), "thrice"), (step, "again")):
            with suppress(StepFailedError):
                await tools.run(inner, data, name=name)

    await outer.run(1)

    assert desk.counts == {"once/work": 1, "thrice/work": 3, "again/work": 1}


async def test_a_time_limit_inside_that_is_beyond_all_time_is_none(runtime: Runtime) -> None:
    inner = chain("inner", timeout=timedelta.max).then(Desk().quick("work")).commit()

    assert await chain("outer").then(inner).commit().run(1) == 2


# ------------------------------------------------------------------ in a graph
@pytest.mark.parametrize("shape", ["then", "parallel", "foreach", "until"])
async def test_a_program_in_a_graph(shape: str) -> None:
    def make(calls: list[str]) -> Any:
        step_of = stepping(calls)
        inner, outer = program(calls), chain("outer", gives=Any)
        match shape:
            case "then":
                return outer.then(step_of("before")).then(inner).then(step_of("after")).commit()
            case "parallel":
                return outer.parallel(inner, program(calls, "other"), step_of("b")).map(list).commit()
            case "foreach":
                return outer.map(spread).foreach(inner, concurrency=3).commit()
            case _:
                return outer.do_until(inner, lambda value: value > 10).commit()

    told = await retell(make, 1)

    assert told.outcome == {
        "then": 8, "parallel": [5, 5, 2], "foreach": [5, 7, 9], "until": 13
    }[shape]  # fmt: skip


def spread(data: int) -> list[int]:
    return [data, data + 1, data + 2]


async def test_a_program_in_a_graph_in_a_program() -> None:
    def make(calls: list[str]) -> Any:
        middle = chain("middle", gives=Any).map(spread).foreach(program(calls), concurrency=2).commit()

        @workflow(id="outer")
        async def outer(step: StepTools, data: int) -> list[int]:
            return list(await step.run(middle, data))

        return outer

    told = await retell(make, 1)

    assert told.outcome == [5, 7, 9]
    assert "middle/inner[2]/a#2" in told.calls


# ------------------------------------------------------------------ questions
def asking(calls: list[str]) -> Any:
    @step(id="ask")
    async def ask(data: int, ctx: SuspendContext[int, str]) -> int:
        calls.append(ctx.key)
        return data + ctx.suspend(f"{ctx.key}?")

    return ask


async def test_a_step_of_a_program_asks_and_is_answered_after_a_restart(clock: ManualClock, database: str) -> None:
    calls: list[str] = []
    ask = asking(calls)

    @workflow
    async def flow(step: StepTools, data: int) -> list[int]:
        first = await step.run(ask, data)
        return [first, await step.run(ask, first)]

    async with Runtime(database, clock=clock) as runtime:
        parked = await (await flow.create_run(run_id=RUN)).start(1)
        kill(runtime)
    async with Runtime(database, clock=clock, workflows=[flow]):
        again = await (await flow.get_run(RUN)).resume(ask, 10)
    async with Runtime(database, clock=clock, workflows=[flow]):
        result = await (await flow.get_run(RUN)).resume(ask, 100)

    assert isinstance(parked, Suspended)
    assert [(each.key, each.payload) for each in parked.suspensions] == [("ask", "ask?")]
    assert isinstance(again, Suspended)
    assert [each.key for each in again.suspensions] == ["ask#2"]
    assert result.unwrap() == [11, 111]
    assert calls == ["ask", "ask", "ask#2", "ask#2"]


async def test_several_ask_at_once_and_each_goes_on_by_itself(runtime: Runtime) -> None:
    calls: list[str] = []
    ask = asking(calls)

    @workflow(id="inner")
    async def inner(step: StepTools, data: int) -> int:
        return await step.run(ask, data)

    @workflow
    async def flow(step: StepTools, data: int) -> list[int]:
        parts = [step.run(ask, data), step.run(ask, data), step.run(inner, data)]
        return [await part for part in asyncio.as_completed([asyncio.ensure_future(part) for part in parts])]

    run = await flow.create_run()
    parked = await run.start(0)
    assert isinstance(parked, Suspended)
    assert [each.key for each in parked.suspensions] == ["ask", "ask#2", "inner/ask"]
    await run.resume(ask, 3, at="inner/ask")
    await run.resume(ask, 2, at="ask#2")
    result = await run.resume(ask, 1)

    assert result.unwrap() == [3, 2, 1]


async def test_a_question_may_be_given_up_after_a_while(runtime: Runtime, clock: ManualClock) -> None:
    """Nobody answers: the program goes on, and the question is closed when it ends."""
    ask = asking([])

    @workflow
    async def flow(step: StepTools, data: int) -> str:
        try:
            async with asyncio.timeout(3600):
                await step.run(ask, data)
        except TimeoutError:
            await step.sleep("nap", "1m")
            return "nobody"
        return "somebody"

    run = await flow.create_run()
    assert isinstance(await run.start(1), Suspended)
    clock.turn("1h")
    await settle()
    clock.turn("1m")

    assert (await asyncio.wait_for(run.result(), 5)).unwrap() == "nobody"


async def test_waiting_inside_shows_outside(runtime: Runtime, clock: ManualClock) -> None:
    desk = Desk()

    @workflow(id="inner")
    async def inner(step: StepTools, data: int) -> int:
        await step.sleep("nap", "1h")
        return await step.run(desk.quick("a"), data)

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        return await step.run(inner, data)

    run = await flow.create_run()
    parked = await run.start(1)
    clock.turn("1h")
    await settle()

    assert isinstance(parked, Waiting)
    assert parked.reason == "sleep"
    assert (await run.result()).unwrap() == 2
    assert desk.calls == ["inner/a"]
