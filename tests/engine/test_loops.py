"""Loops: a step again and again, with its own output, each iteration recorded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import AlreadyResumedError, Cancelled, Failed, Limits, Paused, Runtime, StepContext, Waiting, step

from .desk import Desk, chain, open_keys, statuses
from .lost import kill


@pytest.fixture
def desk() -> Desk:
    return Desk()


def until(step: Any, end: int, id: str = "flow", **options: Any) -> Any:
    return chain(id).do_until(step, lambda output: output >= end, **options).commit()


# --- data ------------------------------------------------------------------------------------------


async def test_each_iteration_gets_the_output_of_the_one_before(runtime: Runtime, desk: Desk) -> None:
    run = await until(desk.quick("poll", 2), 7).create_run()

    assert (await run.start(1)).unwrap() == 7
    assert desk.calls == ["poll#1", "poll#2", "poll#3"]
    assert await statuses(run) == dict.fromkeys(desk.calls, "completed")


async def test_do_while_goes_on_as_long_as_the_condition_holds(runtime: Runtime, desk: Desk) -> None:
    assert await chain().do_while(desk.quick("poll"), lambda output: output < 4).commit().run(1) == 4
    assert desk.calls == ["poll#1", "poll#2", "poll#3"]


async def test_the_body_runs_at_least_once(runtime: Runtime, desk: Desk) -> None:
    flow = (
        chain().do_until(desk.quick("a"), lambda output: True).do_while(desk.quick("b"), lambda output: False).commit()
    )

    assert await flow.run(1) == 3
    assert desk.calls == ["a#1", "b#1"]


async def test_an_iteration_knows_its_number(runtime: Runtime) -> None:
    seen: list[tuple[int | None, int | None, str]] = []

    @step
    async def poll(data: int, ctx: StepContext) -> int:
        seen.append((ctx.iteration, ctx.index, ctx.idempotency_key))
        return data + 1

    await (await until(poll, 3).create_run(run_id="r-17")).start(1)

    assert seen == [(1, None, "r-17:poll#1"), (2, None, "r-17:poll#2")]


async def test_an_iteration_reads_those_before_it(runtime: Runtime) -> None:
    seen: list[object] = []

    @step
    async def poll(data: int, ctx: StepContext) -> int:
        seen.append((ctx.get_step_result(poll, default=None), ctx.get_step_results(poll)))
        return data + 1

    run = await until(poll, 4).create_run()
    await run.start(1)

    assert seen == [(None, []), (2, [2]), (3, [2, 3])]
    assert (run.get_step_result(poll), run.get_step_results(poll)) == (4, [2, 3, 4])


# --- conditions, limits ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (
            lambda output: output / (output - 3) > 5,
            "the condition of loop 'poll' raised ZeroDivisionError: division by zero after iteration 2; "
            "conditions must not raise",
        ),
        (lambda output: output - 3, "the condition of loop 'poll' gave -1, not a bool; compare explicitly"),
    ],
    ids=["raises", "no bool"],
)
async def test_a_condition_that_is_none_fails_the_run(runtime: Runtime, desk: Desk, condition: Any, text: str) -> None:
    result = await (await chain().do_until(desk.quick("poll"), condition).commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == ("ConditionError", text)


async def test_a_loop_that_does_not_end_ends_at_its_limit(runtime: Runtime, desk: Desk) -> None:
    result = await (await until(desk.quick("poll"), 100, max_iterations=3).create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == (
        "LimitError",
        "loop 'poll' reached 3 iterations; raise max_iterations= or mend the condition",
    )
    assert len(desk.calls) == 3


async def test_a_loop_may_end_right_at_its_limit(runtime: Runtime, desk: Desk) -> None:
    assert await until(desk.quick("poll"), 4, max_iterations=3).run(1) == 4


async def test_the_runtime_has_a_limit_too(clock: ManualClock, desk: Desk) -> None:
    async with Runtime(":memory:", clock=clock, limits=Limits(iterations=2)):
        result = await (await until(desk.quick("poll"), 100).create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.message == "loop 'poll' reached 2 iterations; raise Limits.iterations or mend the condition"


async def test_an_iteration_that_fails_fails_the_run(runtime: Runtime) -> None:
    @step
    async def poll(data: int, ctx: StepContext) -> int:
        if ctx.iteration == 2:
            raise OSError("down")
        return data + 1

    run = await until(poll, 5).create_run()
    result = await run.start(1)

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.step_id) == ("poll#2", "poll")
    assert await statuses(run) == {"poll#1": "completed", "poll#2": "failed"}


async def test_each_iteration_has_tries_of_its_own(runtime: Runtime, desk: Desk, clock: ManualClock) -> None:
    run = await (await until(desk.stumbling("poll"), 3).create_run()).enqueue(1)
    for _ in range(2):
        await settle()
        clock.turn("1h")

    assert (await run.result()).unwrap() == 3
    assert desk.calls == ["poll#1", "poll#1", "poll#2", "poll#2"]


# --- suspension, waiting ---------------------------------------------------------------------------


async def test_an_answer_belongs_to_its_iteration(runtime: Runtime, desk: Desk) -> None:
    ask = desk.asking("ask")
    run = await until(ask, 10).create_run()

    assert open_keys(await run.start(1)) == ["ask#1"]
    assert open_keys(await run.resume(ask, 4)) == ["ask#2"]
    with pytest.raises(AlreadyResumedError) as answered:
        await run.resume(ask, 4, at="ask#1")
    assert str(answered.value).startswith("'ask#1' of run ")
    assert (await run.resume(ask, 5)).unwrap() == 10


async def test_waiting_in_a_loop_is_a_nested_workflow_with_a_sleep(runtime: Runtime, clock: ManualClock) -> None:
    desk = Desk()
    inner = chain("poll").then(desk.quick("look")).sleep("1h").commit()
    run = await until(inner, 4).create_run()
    assert isinstance(await run.start(1), Waiting)
    for number in (2, 3):
        clock.turn("59m")
        await settle()
        assert len(desk.calls) == number - 1
        clock.turn("1m")
        await settle()
        assert len(desk.calls) == number
    clock.turn("1h")

    assert (await run.result()).unwrap() == 4
    assert desk.calls == ["poll#1/look", "poll#2/look", "poll#3/look"]


# --- crash -----------------------------------------------------------------------------------------


async def test_after_a_crash_the_interrupted_iteration_goes_on(clock: ManualClock, database: str) -> None:
    desk = Desk()
    asked: list[int] = []

    def condition(output: int) -> bool:
        asked.append(output)
        return output >= 4

    flow = chain().do_until(desk.slow("poll"), condition).then(desk.quick("end")).commit()
    desk.let("poll#1")
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).enqueue(1)
        await settle()
        kill(runtime)
    desk.let("poll#2", "poll#3")
    async with Runtime(database, clock=clock, workflows=[flow]):
        assert (await (await flow.get_run("r-17")).result()).unwrap() == 5

    assert desk.calls == ["poll#1", "poll#2", "poll#2", "poll#3", "end"]
    assert asked == [2, 3, 4]


async def test_a_loop_that_is_over_is_not_asked_again(clock: ManualClock, database: str, desk: Desk) -> None:
    ask, done = desk.asking("ask"), [2]
    flow = chain().do_until(desk.quick("poll"), lambda output: output >= done[0]).then(ask).commit()
    async with Runtime(database, clock=clock):
        await (await flow.create_run(run_id="r-17")).start(1)
    done[0] = 100
    async with Runtime(database, clock=clock):
        assert (await (await flow.get_run("r-17")).resume(ask, 10)).unwrap() == 12

    assert desk.calls == ["poll#1", "ask", "ask"]


async def test_a_crash_at_any_moment_gives_what_no_crash_gives(clock: ManualClock, database: str) -> None:
    for turns in range(1, 50, 9):
        desk = Desk()
        inner = chain("inner").then(desk.quick("a")).then(desk.quick("b")).commit()
        flow = chain(f"flow-{turns}").do_until(inner, lambda output: output >= 8).then(desk.quick("end")).commit()
        async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
            await (await flow.create_run(run_id=f"r-{turns}")).enqueue(1)
            await settle(turns)
            kill(runtime)
        async with Runtime(database, clock=clock, workflows=[flow]):
            result = await (await flow.get_run(f"r-{turns}")).result()
        assert result.unwrap() == 10, f"killed after {turns} turns"
        assert sorted(set(desk.calls)) == ["end", *[f"inner#{n}/{id}" for n in range(1, 5) for id in "ab"]]
        assert sum(desk.counts.values()) <= 10


# --- cancel, pause ---------------------------------------------------------------------------------


async def test_a_cancel_takes_effect_between_iterations(runtime: Runtime, desk: Desk) -> None:
    run = await until(desk.slow("poll"), 100).create_run()
    desk.let("poll#1")
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    await run.cancel()

    assert isinstance(await starting, Cancelled)
    assert desk.calls == ["poll#1", "poll#2"]


async def test_a_pause_takes_effect_between_iterations(runtime: Runtime, desk: Desk) -> None:
    run = await until(desk.slow("poll"), 4).create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    await run.pause()
    desk.let("poll#1", "poll#2", "poll#3")
    assert isinstance(await starting, Paused)
    assert desk.calls == ["poll#1"]

    await run.unpause()
    assert (await run.result()).unwrap() == 4
