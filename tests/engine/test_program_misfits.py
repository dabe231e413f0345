"""Code that asks for something else than was recorded: the engine pauses the run, and says what was and what is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.clocks import START, ManualClock, settle
from wrkflw import (
    Completed,
    Event,
    Failed,
    ForeignAwaitError,
    Paused,
    Run,
    Runtime,
    StepContext,
    StepTools,
    Waiting,
    WaitTimeoutError,
    step,
    workflow,
)
from wrkflw.world import events as e

from .desk import types
from .lost import kill
from .retelling import RUN, log_of

go = Event("go", int)
other = Event("other", int)

Code = Callable[[StepTools], Awaitable[Any]]
CURE = "deploy the old code, or guard what is new with step.patched('...')"


def plus(data: int, more: int = 1) -> int:
    return data + more


@step
async def charge(data: int, ctx: StepContext) -> int:
    return data


@step
async def refund(data: int, ctx: StepContext) -> int:
    return -data


@workflow
async def inner(step: StepTools, data: int) -> int:
    return await step.run(charge, data)


def flow_of(code: Code, **options: Any) -> Any:
    @workflow(id="flow", **options)
    async def flow(step: StepTools, data: int) -> Any:
        return await code(step)

    return flow


async def old(step: StepTools) -> list[int]:
    """fetch, charge, a nap and an event; where it stays."""
    fetched = await step.do("fetch", plus, 1)
    charged = await step.run(charge, fetched)
    await step.sleep("nap", "1m")
    return [fetched, charged, await step.wait_for_event(go)]


async def park(database: str, clock: ManualClock, code: Code = old) -> None:
    async with Runtime(database, clock=clock) as runtime:
        run = await flow_of(code).create_run(run_id=RUN)
        await run.start(1, wait="0s")
        clock.turn("1m")
        await settle()
        kill(runtime)


async def go_on(database: str, clock: ManualClock, code: Code, **options: Any) -> Any:
    flow = flow_of(code, **options)
    async with Runtime(database, clock=clock, workflows=[flow]):
        await settle()
        return await (await flow.get_run(RUN)).send_event(go, 7, wait="0s")


# ------------------------------------------------------------------ what is noticed
async def another_kind(step: StepTools) -> object:
    await step.do("fetch", plus, 1)
    await step.sleep("charge", "1m")
    await step.sleep("nap", "1m")
    return await step.wait_for_event(go)


async def another_kind_of_wait(step: StepTools) -> object:
    await step.do("fetch", plus, 1)
    await step.run(charge, 2)
    await step.sleep("nap", "1m")
    return await step.sleep("go", "1h")  # type: ignore[func-returns-value]


async def a_workflow_for_a_step(step: StepTools) -> object:
    await step.do("fetch", plus, 1)
    await step.run(inner, 2, name="charge")
    return None


async def another_step_under_the_name(step: StepTools) -> object:
    await step.do("fetch", plus, 1)
    await step.run(refund, 2, name="charge")
    return None


async def another_input(step: StepTools) -> object:
    await step.do("fetch", plus, 1)
    await step.run(charge, 3)
    return None


async def another_argument(step: StepTools) -> object:
    await step.do("fetch", plus, 1, more=5)
    return None


async def another_name(step: StepTools) -> object:
    await step.do("load", plus, 1)
    return None


async def one_more_before_what_is_recorded(step: StepTools) -> object:
    fetched = await step.do("fetch", plus, 1)
    await step.do("check", plus, 1)
    await step.run(charge, fetched)
    await step.sleep("nap", "1m")
    return await step.wait_for_event(go)


async def one_less(step: StepTools) -> object:
    await step.do("fetch", plus, 1)
    await step.sleep("nap", "1m")
    return await step.wait_for_event(go)


async def one_less_at_the_end(step: StepTools) -> object:
    fetched = await step.do("fetch", plus, 1)
    await step.run(charge, fetched)
    await step.sleep("nap", "1m")
    return fetched


async def two_changed_places(step: StepTools) -> object:
    fetched = 2
    await step.run(charge, fetched)
    await step.do("fetch", plus, 1)
    await step.sleep("nap", "1m")
    return await step.wait_for_event(go)


async def nothing_at_all(step: StepTools) -> object:
    return 1


async def another_event(step: StepTools) -> object:
    fetched = await step.do("fetch", plus, 1)
    await step.run(charge, fetched)
    await step.sleep("nap", "1m")
    return await step.wait_for_event(other)


CASES: list[tuple[Code, str, str]] = [
    (another_kind, "charge", "recorded step 'charge' at 'charge', and workflow 'flow' now asks for a sleep there"),
    (another_kind_of_wait, "go", "recorded event 'go' at 'go', and workflow 'flow' now asks for a sleep there"),
    (
        a_workflow_for_a_step,
        "charge",
        "recorded step 'charge' at 'charge', and workflow 'flow' now asks for workflow 'inner' there",
    ),
    (
        another_step_under_the_name,
        "charge",
        "recorded step 'charge' at 'charge', and workflow 'flow' now asks for step 'refund' there",
    ),
    (
        another_input,
        "charge",
        "recorded step 'charge' with another input at 'charge', and workflow 'flow' now asks for step 'charge' there",
    ),
    (
        another_argument,
        "fetch",
        "recorded step 'fetch' with another input at 'fetch', and workflow 'flow' now asks for step 'fetch' there",
    ),
    (
        another_name,
        "fetch",
        "recorded 'fetch', which workflow 'flow' does not ask for at that point; it asks for 'load'",
    ),
    (
        one_more_before_what_is_recorded,
        "charge",
        "recorded 'charge', which workflow 'flow' does not ask for at that point; it asks for 'check'",
    ),
    (one_less, "charge", "recorded 'charge', which workflow 'flow' does not ask for at that point"),
    (one_less_at_the_end, "go", "recorded 'go', which workflow 'flow' does not ask for at that point"),
    (two_changed_places, "fetch", "recorded 'fetch', which workflow 'flow' does not ask for at that point"),
    (nothing_at_all, "fetch", "recorded 'fetch', which workflow 'flow' does not ask for at that point"),
    (another_event, "go", "recorded 'go', which workflow 'flow' does not ask for at that point; it asks for 'other'"),
]


@pytest.mark.parametrize(("code", "key", "what"), CASES, ids=[code.__name__ for code, _, _ in CASES])
async def test_code_that_asks_for_something_else_pauses_the_run(
    clock: ManualClock, database: str, code: Code, key: str, what: str
) -> None:
    await park(database, clock)
    result = await go_on(database, clock, code)

    assert isinstance(result, Paused)
    assert result.by == "engine"
    assert re.sub(r" \(test_program_misfits.py:\d+\)", "", result.reason or "") == f"run 'r-17' {what}; {CURE}"


async def test_the_line_that_asks_for_something_else_is_told(clock: ManualClock, database: str) -> None:
    await park(database, clock)
    result = await go_on(database, clock, another_input)

    line = another_input.__code__.co_firstlineno + 2
    assert f"now asks for step 'charge' there (test_program_misfits.py:{line}); " in result.reason


async def test_a_line_that_is_not_known_is_left_out(clock: ManualClock, database: str) -> None:
    async def at_once(step: StepTools) -> object:
        await step.do("fetch", plus, 1)
        return await asyncio.gather(step.run(charge, 3))

    await park(database, clock)
    result = await go_on(database, clock, at_once)

    assert f"now asks for step 'charge' there; {CURE}" in result.reason


async def test_no_more_than_three_new_keys_are_named(clock: ManualClock, database: str) -> None:
    async def many(step: StepTools) -> object:
        return await asyncio.gather(*(step.do(f"new-{number}", plus, 1) for number in range(9)))

    await park(database, clock)
    result = await go_on(database, clock, many)

    assert f"at that point; it asks for 'new-0' and 'new-1' and 'new-2'; {CURE}" in result.reason


async def test_a_sleep_that_has_begun_keeps_its_moment_whatever_the_code_says_now(
    clock: ManualClock, database: str
) -> None:
    def napping(length: str) -> Code:
        async def code(step: StepTools) -> object:
            await step.sleep("nap", length)
            return str(step.now())

        return code

    async with Runtime(database, clock=clock):
        await (await flow_of(napping("1h")).create_run(run_id=RUN)).start(1, wait="0s")
    flow = flow_of(napping("30d"))
    async with Runtime(database, clock=clock, workflows=[flow]):
        clock.turn("1h")

        assert (await (await flow.get_run(RUN)).result()).unwrap() == str(START + timedelta(hours=1))


@pytest.mark.parametrize("code", [code for code, _, _ in CASES], ids=[code.__name__ for code, _, _ in CASES])
async def test_nothing_is_done_by_code_that_does_not_fit_and_the_old_code_goes_on(
    clock: ManualClock, database: str, code: Code
) -> None:
    await park(database, clock)
    assert isinstance(await go_on(database, clock, code), Paused)
    flow = flow_of(old)
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await settle()
        result = await (await flow.get_run(RUN)).result()
        log = await log_of(runtime)

    assert result.unwrap() == [2, 2, 7]
    assert sum(isinstance(stored.event, e.StepStarted) for stored in log) == 2
    assert not [stored for stored in log if isinstance(stored.event, e.StepCreated) and stored.event.key == "check"]


async def a_nap_and_a_go(step: StepTools) -> object:
    await asyncio.sleep(60)
    return await step.wait_for_event(go)


async def a_go_within_a_week(step: StepTools) -> object:
    try:
        async with asyncio.timeout(7 * 86400):
            return await step.wait_for_event(go)
    except TimeoutError:
        return "nobody came within a week"


async def a_go_in_time(step: StepTools) -> object:
    try:
        return await step.wait_for_event(go, timeout="1m")
    except WaitTimeoutError:
        return await step.wait_for_event(other)


async def a_go_at_any_time(step: StepTools) -> object:
    return await step.wait_for_event(go)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (a_nap_and_a_go, a_go_within_a_week, "recorded 'timer', which workflow 'flow' does not ask for at that point"),
        (a_go_in_time, a_go_at_any_time, "recorded event 'go' with a timeout at 'go', and workflow 'flow' now asks"),
    ],
    ids=["the end of a sleep is none of a limit", "a wait without a timeout does not run out"],
)
async def test_time_that_was_up_is_not_told_to_code_that_waits_for_something_else(
    clock: ManualClock, database: str, before: Code, after: Code, reason: str
) -> None:
    await park(database, clock, before)

    paused = await go_on(database, clock, after)

    assert isinstance(paused, Paused)
    assert reason in str(paused.reason)


async def test_the_log_says_who_paused_it_and_why(clock: ManualClock, database: str) -> None:
    await park(database, clock)
    await go_on(database, clock, another_kind)
    async with Runtime(database, clock=clock, worker=False) as runtime:
        paused = [stored.event for stored in await log_of(runtime) if isinstance(stored.event, e.RunPaused)]
        info = await runtime.runs.get(RUN)

    assert paused[-1].detail == {"by": "engine", "error": "NondeterminismError"}
    assert (info.status, info.waiting_for) == ("running", "paused")


async def test_with_the_policy_of_failing_the_run_fails(clock: ManualClock, database: str) -> None:
    await park(database, clock)
    result = await go_on(database, clock, another_kind, on_mismatch="fail")

    assert isinstance(result, Failed)
    assert result.error.type == "NondeterminismError"
    assert result.error.attributes["key"] == "charge"


async def test_what_comes_after_the_record_may_change(clock: ManualClock, database: str) -> None:
    async def new(step: StepTools) -> object:
        return [*await old(step), await step.do("check", plus, 1)]

    await park(database, clock)

    assert (await go_on(database, clock, new)).unwrap() == [2, 2, 7, 2]


async def test_a_patch_guards_what_was_inserted(clock: ManualClock, database: str) -> None:
    async def new(step: StepTools) -> object:
        fetched = await step.do("fetch", plus, 1)
        if step.patched("check"):
            await step.do("check", plus, 1)
        charged = await step.run(charge, fetched)
        await step.sleep("nap", "1m")
        return [fetched, charged, await step.wait_for_event(go)]

    await park(database, clock)

    assert (await go_on(database, clock, new)).unwrap() == [2, 2, 7]


async def test_a_patch_may_stand_for_what_was_removed(clock: ManualClock, database: str) -> None:
    async def new(step: StepTools) -> object:
        fetched = await step.do("fetch", plus, 1)
        if not step.patched("free"):
            await step.run(charge, fetched)
        await step.sleep("nap", "1m")
        return [fetched, await step.wait_for_event(go)]

    await park(database, clock)

    assert (await go_on(database, clock, new)).unwrap() == [2, 7]


async def test_an_input_that_is_only_written_differently_is_the_same(clock: ManualClock, database: str) -> None:
    class Money(dict[str, int]):
        pass

    @step(id="pay")
    async def pay(data: dict[str, int], ctx: StepContext) -> int:
        return data["a"]

    def paying(names: str) -> Code:
        async def code(step: StepTools) -> object:
            return await step.run(pay, dict.fromkeys(names, 1)) + await step.wait_for_event(go)

        return code

    await park(database, clock, paying("ab"))

    assert (await go_on(database, clock, paying("ba"))).unwrap() == 8


async def test_chance_outside_of_steps_is_noticed(clock: ManualClock, database: str) -> None:
    amounts = iter(range(100))

    async def rolling(step: StepTools) -> object:
        rolled = await step.do("roll", plus, next(amounts))
        return rolled + await step.wait_for_event(go)

    await park(database, clock, rolling)
    result = await go_on(database, clock, rolling)

    assert isinstance(result, Paused)
    assert "recorded step 'roll' with another input at 'roll'" in (result.reason or "")


async def test_it_cannot_be_caught(clock: ManualClock, database: str) -> None:
    seen: list[str] = []

    async def greedy(step: StepTools) -> object:
        try:
            await step.sleep("fetch", "1s")
        except BaseException:  # noqa: BLE001  # what is tried
            seen.append("caught")
        await step.do("more", plus, 1)
        return 1

    await park(database, clock)
    result = await go_on(database, clock, greedy)
    async with Runtime(database, clock=clock, worker=False) as runtime:
        keys = [stored.event.key for stored in await log_of(runtime) if isinstance(stored.event, e.StepCreated)]

    assert isinstance(result, Paused)
    assert keys == ["fetch", "charge"]


async def test_a_recorded_step_inside_a_block_that_is_gone_is_noticed_at_the_end(
    clock: ManualClock, database: str
) -> None:
    async def two(step: StepTools) -> object:
        await asyncio.gather(step.wait_for_event(go), step.wait_for_event(other))
        return 1

    async def one(step: StepTools) -> object:
        return await step.wait_for_event(go)

    await park(database, clock, two)
    result = await go_on(database, clock, one)

    assert isinstance(result, Paused)
    assert "recorded 'other', which workflow 'flow' does not ask for" in (result.reason or "")


async def test_a_result_that_the_code_can_no_longer_read_pauses_the_run(clock: ManualClock, database: str) -> None:
    async def new(step: StepTools) -> object:
        def fetch(data: int, more: int = 1) -> list[str]:
            return []

        return await step.do("fetch", fetch, 1)

    await park(database, clock)
    result = await go_on(database, clock, new)

    assert isinstance(result, Paused)
    assert "cannot be read by workflow 'flow' as it is now" in (result.reason or "")


async def test_a_wait_that_code_which_does_not_fit_has_given_up_is_still_open(
    clock: ManualClock, database: str
) -> None:
    async def new(step: StepTools) -> object:
        waiting = asyncio.create_task(step.wait_for_event(go))
        await step.do("first", plus, 1)
        waiting.cancel()
        await step.sleep("nap", "1m")
        return await step.do("third", plus, 1)

    async def before(step: StepTools) -> object:
        waiting = asyncio.create_task(step.wait_for_event(go))
        await step.do("first", plus, 1)
        await step.sleep("nap", "1m")
        await step.run(charge, 1)
        return await waiting

    await park(database, clock, before)
    flow = flow_of(new)
    async with Runtime(database, clock=clock, workflows=[flow]):
        await settle()
        assert isinstance(await (await flow.get_run(RUN)).send_event(other, 1, wait="0s"), Paused)

    flow = flow_of(before)
    async with Runtime(database, clock=clock, workflows=[flow]):
        await settle()
        result = await (await flow.get_run(RUN)).send_event(go, 7)
    assert result.unwrap() == 7


# ------------------------------------------------------------------ what is foreign
async def to_a_thread(step: StepTools) -> object:
    await step.do("first", plus, 1)
    return await asyncio.to_thread(plus, 1)


async def for_nobody(step: StepTools) -> object:
    await step.do("first", plus, 1)
    return await asyncio.Event().wait()


async def for_a_future_of_its_own(step: StepTools) -> object:
    step.do("never", plus, 1).close()
    return await asyncio.get_running_loop().create_future()


async def to_a_workflow_called_by_itself(step: StepTools) -> object:
    return await inner.run(1)


async def for_a_run_of_another_workflow(step: StepTools) -> object:
    return await (await inner.create_run()).start(1)


@step
async def never_called(number: int) -> int:
    raise AssertionError("the body of a step, of which nothing is recorded")


async def to_a_step_called_by_itself(step: StepTools) -> object:
    return await never_called(1)


async def to_steps_called_side_by_side(step: StepTools) -> object:
    return await asyncio.gather(*map(never_called, range(3)), return_exceptions=True)


UNBROUGHT = (
    "that none of its steps will bring, which is not recorded; await step.* calls only, and do other work in a step"
)
FOREIGN: list[tuple[Code, str]] = [
    (
        to_a_step_called_by_itself,
        "run 'r-17' calls step 'never-called' as a function at "
        f"test_program_misfits.py:{to_a_step_called_by_itself.__code__.co_firstlineno + 1}, "
        "which is not recorded; await step.run(never_called, ...)",
    ),
    (
        to_steps_called_side_by_side,
        "run 'r-17' calls step 'never-called' as a function, which is not recorded; await step.run(never_called, ...)",
    ),
    (
        to_a_workflow_called_by_itself,
        "run 'r-17' awaits wrkflw.Workflow.run() at "
        f"test_program_misfits.py:{to_a_workflow_called_by_itself.__code__.co_firstlineno + 1}, "
        "which is not recorded; put it in a step",
    ),
    (
        for_a_run_of_another_workflow,
        "run 'r-17' awaits wrkflw.Workflow.create_run() at "
        f"test_program_misfits.py:{for_a_run_of_another_workflow.__code__.co_firstlineno + 1}, "
        "which is not recorded; put it in a step",
    ),
    (
        to_a_thread,
        f"run 'r-17' awaits asyncio.to_thread() at test_program_misfits.py:{to_a_thread.__code__.co_firstlineno + 2}, "
        "which is not recorded; put it in a step",
    ),
    (
        for_nobody,
        f"workflow 'flow' awaits something at test_program_misfits.py:{for_nobody.__code__.co_firstlineno + 2} "
        + UNBROUGHT,
    ),
    (
        for_a_future_of_its_own,
        "workflow 'flow' awaits something at "
        f"test_program_misfits.py:{for_a_future_of_its_own.__code__.co_firstlineno + 2} " + UNBROUGHT,
    ),
]


@pytest.mark.parametrize(("code", "reason"), FOREIGN, ids=[code.__name__ for code, _ in FOREIGN])
async def test_what_is_not_recorded_cannot_be_awaited(runtime: Runtime, code: Code, reason: str) -> None:
    run = await flow_of(code).create_run(run_id=RUN)
    result = await run.start(1)
    paused = [stored.event for stored in await log_of(runtime) if isinstance(stored.event, e.RunPaused)]

    assert isinstance(result, Paused)
    assert (result.by, result.reason) == ("engine", reason)
    assert paused[0].detail == {"by": "engine", "error": "ForeignAwaitError"}


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda _, run: run.send_event(go, 7), "wrkflw.Run.send_event()"),
        (lambda _, run: run.cancel(), "wrkflw.Run.cancel()"),
        (lambda _, run: run.result(), "wrkflw.Run.result()"),
        (lambda runtime, _: runtime.runs.list(), "wrkflw.Runs.list()"),
    ],
    ids=["an event", "a cancel", "a result", "a list"],
)
async def test_other_runs_are_out_of_reach_of_the_code_itself(
    runtime: Runtime, ask: Callable[[Runtime, Run[Any, Any, Any]], Awaitable[object]], what: str
) -> None:
    async def waiting(step: StepTools) -> object:
        return await step.wait_for_event(go)

    async def reaching(step: StepTools) -> object:
        return await ask(runtime, neighbour)

    neighbour = await flow_of(waiting).with_id("other").create_run(run_id="other")
    await neighbour.start(1)
    before = await log_of(runtime, "other")
    result = await (await flow_of(reaching).create_run(run_id=RUN)).start(1)

    assert isinstance(result, Paused)
    assert f"run 'r-17' awaits {what} at test_program_misfits.py:" in (result.reason or "")
    assert await log_of(runtime, "other") == before


async def test_a_foreign_await_cannot_be_swallowed(runtime: Runtime) -> None:
    async def greedy(step: StepTools) -> object:
        try:
            await asyncio.to_thread(plus, 1)
        except BaseException:  # noqa: BLE001  # what is tried
            await step.do("after", plus, 1)
        return 1

    run = await flow_of(greedy).create_run()

    assert isinstance(await run.start(1), Paused)
    assert await types(run) == ["run_created", "run_started", "run_paused"]


async def test_what_runs_beside_a_foreign_await_is_finished_and_recorded(clock: ManualClock, database: str) -> None:
    async def beside(step: StepTools) -> object:
        running = asyncio.create_task(step.do("first", plus, 1))
        await step.do("second", plus, 1)
        await asyncio.to_thread(plus, 1)
        return await running

    async def mended(step: StepTools) -> object:
        running = asyncio.create_task(step.do("first", plus, 1))
        await step.do("second", plus, 1)
        return await running

    async with Runtime(database, clock=clock):
        assert isinstance(await (await flow_of(beside).create_run(run_id=RUN)).start(1), Paused)
    flow = flow_of(mended)
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await settle()
        result = await (await flow.get_run(RUN)).result()
        log = await log_of(runtime)

    assert isinstance(result, Completed)
    assert sum(isinstance(stored.event, e.StepStarted) for stored in log) == 2


async def test_a_foreign_await_fails_the_run_with_that_policy(runtime: Runtime) -> None:
    result = await (await flow_of(to_a_thread, on_mismatch="fail").create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.type == ForeignAwaitError.__name__


async def test_a_program_that_never_rests_is_paused(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wrkflw.engine.program_loop.RUNAWAY", 1000)

    async def spinning(step: StepTools) -> object:
        while True:  # noqa: ASYNC110  # what is tried
            await asyncio.sleep(0)

    result = await (await flow_of(spinning).create_run(run_id=RUN)).start(1)

    assert isinstance(result, Paused)
    assert "awaits nothing but itself" in (result.reason or "")


async def test_a_run_that_only_waits_is_no_misfit(runtime: Runtime) -> None:
    async def waiting(step: StepTools) -> object:
        return await step.wait_for_event(go)

    assert isinstance(await (await flow_of(waiting).create_run()).start(1), Waiting)


async def test_a_run_goes_on_by_itself_with_mended_code_whose_next_step_is_new(
    clock: ManualClock, database: str
) -> None:
    """That it fits is found by going through it, which must not begin that step."""

    async def outside(step: StepTools) -> object:
        await step.sleep("nap", "1m")
        return await asyncio.to_thread(plus, 1)

    async def mended(step: StepTools) -> object:
        await step.sleep("nap", "1m")
        return await step.do("plus", plus, 1)

    await park(database, clock, outside)
    async with Runtime(database, clock=clock, workflows=[flow_of(outside)]) as runtime:
        await settle()
        assert (await runtime.runs.get(RUN)).waiting_for == "paused"
    flow = flow_of(mended)
    async with Runtime(database, clock=clock, workflows=[flow]):
        await settle()
        result = await (await flow.get_run(RUN)).result()
    assert result.unwrap() == 2
