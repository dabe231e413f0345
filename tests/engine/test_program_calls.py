"""What a program asks for, one after another: do, run, sleep, options; by which keys it is recorded."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from tests.clocks import START, ManualClock, settle
from wrkflw import (
    Completed,
    Event,
    Failed,
    FatalError,
    InvalidValueError,
    Limits,
    Retry,
    RetryAfter,
    Runtime,
    StepContext,
    StepFailedError,
    StepTimeoutError,
    StepTools,
    Waiting,
    step,
    workflow,
)
from wrkflw.world import events as e
from wrkflw.worlds.sqlite import SqliteWorld

from .desk import types
from .retelling import retell


class Point(BaseModel):
    x: int


class Pair(NamedTuple):
    left: int
    right: Point


go = Event("go", int)


def add(left: int, right: int = 1) -> int:
    return left + right


async def moved(point: Point, *, by: int) -> Point:
    return Point(x=point.x + by)


# ------------------------------------------------------------------ do
async def test_what_a_function_gives_is_recorded_under_the_name(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> int:
        more = await step.do("more", add, data, right=2)
        return (await step.do("moved", moved, Point(x=more), by=10)).x

    run = await flow.create_run()
    result = await run.start(1)
    snapshot = await run.snapshot()

    assert result.unwrap() == 13
    assert snapshot.execution_path == ["more", "moved"]
    assert snapshot.step_results["moved"].output == {"x": 13}
    assert [each.attempt for each in snapshot.step_results.values()] == [1, 1]


async def test_a_serial_program_writes_one_start_and_one_end_for_each_step(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> int:
        return await step.do("more", add, await step.do("add", add, data))

    run = await flow.create_run()
    await run.start(1)

    assert await types(run) == [
        "run_created", "run_started",
        "step_created", "step_started", "step_completed",
        "step_created", "step_started", "step_completed",
        "run_completed",
    ]  # fmt: skip


async def test_lambdas_partials_classes_and_methods_can_be_done(runtime: Runtime) -> None:
    class Counter:
        def __init__(self, base: int) -> None:
            self.base = base

        def plus(self, more: int) -> int:
            return self.base + more

    async def counted(number: int) -> int:
        return number + 1

    @workflow
    async def flow(step: StepTools, data: int) -> list[object]:
        return [
            await step.do("lambda", lambda: {"a": [data, None]}),
            await step.do("lambda-with", lambda a, b: a + b, data, 2),
            await step.do("method", Counter(10).plus, data),
            (await step.do("class", Point, x=data)).x,
            await step.do("awaitable", lambda: counted(data)),
        ]

    result = await (await flow.create_run()).start(1)

    assert result.unwrap() == [{"a": [1, None]}, 3, 11, 1, 2]


async def test_sync_functions_run_in_a_thread_and_async_ones_on_the_loop(runtime: Runtime) -> None:
    threads: dict[str, bool] = {}

    def sync() -> None:
        threads["sync"] = threading.current_thread() is threading.main_thread()

    async def coroutine() -> None:
        await asyncio.sleep(0)  # the loop of the runtime, not that of the program
        threads["async"] = threading.current_thread() is threading.main_thread()

    @workflow
    async def flow(step: StepTools, data: None) -> None:
        await step.do("sync", sync)
        await step.do("async", coroutine)

    await (await flow.create_run()).start(None)

    assert threads == {"sync": False, "async": True}


async def test_a_value_is_what_a_replay_would_see_from_the_first_time_on(runtime: Runtime) -> None:
    given = Pair(1, Point(x=2))
    kept: list[Pair] = []
    seen: list[Pair] = []

    async def keep(pair: Pair) -> Pair:
        kept.append(pair)
        return pair

    @workflow
    async def flow(step: StepTools, data: None) -> None:
        pair = await step.do("keep", keep, given)
        seen.append(pair)
        pair.right.x = 99

    run = await flow.create_run()
    await run.start(None)

    assert kept == [Pair(1, Point(x=2))]
    assert kept[0].right is not given.right
    assert (type(seen[0]), seen[0].right is kept[0].right) == (Pair, False)
    assert (await run.snapshot()).step_results["keep"].output == [1, {"x": 2}]


async def test_falsy_results_are_results() -> None:
    values: list[object] = [None, 0, "", False, [], {}, 0.0]

    def make(calls: list[str]) -> Any:
        def giving(value: object) -> Callable[[], object]:
            async def give() -> object:
                calls.append("called")
                return value

            return give

        @workflow(id="flow")
        async def flow(step: StepTools, data: None) -> list[object]:
            given = [await step.do("give", giving(value)) for value in values]
            return [given, [type(value).__name__ for value in given]]

        return flow

    told = await retell(make, None)

    assert told.outcome == [values, [type(value).__name__ for value in values]]
    assert told.calls == {"called": len(values)}


async def test_an_argument_that_cannot_be_stored_raises_at_the_call_and_records_nothing(runtime: Runtime) -> None:
    seen: list[str] = []

    def take(what: Any) -> None: ...

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        for call in (
            lambda: step.do("take", take, object()),
            lambda: step.do("add", add, "many"),  # type: ignore[call-overload]
            lambda: step.do("add", add, 1, 2, 3),  # type: ignore[call-overload]
            lambda: step.run(increased, "many"),  # type: ignore[misc]
        ):
            try:
                await call()
            except (InvalidValueError, TypeError) as error:
                seen.append(f"{type(error).__name__}: {error}")
        return await step.do("add", add, data)

    run = await flow.create_run()
    result = await run.start(1)

    assert result.unwrap() == 2
    assert (await run.snapshot()).execution_path == ["add"]  # not add#3: what raised was no use of the name
    assert seen[0].startswith("InvalidValueError: argument 'what' of step 'take' does not fit object")
    assert [line.partition(":")[0] for line in seen] == [
        "InvalidValueError", "InvalidValueError", "TypeError", "InvalidValueError"
    ]  # fmt: skip


async def test_a_result_that_does_not_fit_fails_the_step_and_is_not_tried_again(runtime: Runtime) -> None:
    calls: list[int] = []

    async def lying() -> int:
        calls.append(1)
        return "many"  # type: ignore[return-value]

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        return await step.options(retry=Retry(attempts=5)).do("lying", lying)

    result = await (await flow.create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.type, calls) == ("lying", "InvalidValueError", [1])


async def test_an_output_that_does_not_fit_fails_the_run(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> int:
        return "many"  # type: ignore[return-value]

    result = await (await flow.create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.type == "InvalidValueError"
    assert result.error.message.startswith("output of workflow 'flow'")


async def test_an_output_over_the_limit_fails_the_run(clock: ManualClock) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> str:
        return "x" * data

    async with Runtime(":memory:", clock=clock, limits=Limits(value_bytes=1000)):
        result = await (await flow.create_run()).start(2000)

    assert isinstance(result, Failed)
    assert result.error.type == "LimitError"


async def test_the_body_sees_its_own_arguments_at_every_try(runtime: Runtime) -> None:
    seen: list[list[int]] = []

    async def spoil(numbers: list[int]) -> int:
        seen.append(list(numbers))
        numbers.clear()
        if len(seen) < 3:
            raise OSError("again")
        return len(seen)

    @workflow
    async def flow(step: StepTools, data: int) -> list[int]:
        numbers = [1, 2]
        tries = await step.options(retry=Retry(attempts=3, delay="0s")).do("spoil", spoil, numbers)
        return [*numbers, tries]

    assert (await (await flow.create_run()).start(1)).unwrap() == [1, 2, 3]
    assert seen == [[1, 2]] * 3


# ------------------------------------------------------------------ run
@step
async def increased(data: int, ctx: StepContext) -> int:
    return data + 1


async def test_steps_run_by_their_id_or_by_another_name(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> int:
        return await step.run(increased, await step.run(increased, data, name="first"))

    run = await flow.create_run()
    result = await run.start(1)

    assert isinstance(result, Completed)
    assert result.output == 3
    assert (await run.snapshot()).execution_path == ["first", "increased"]
    assert run.get_step_results(increased) == [2, 3]


async def test_a_step_knows_its_key_attempt_and_idempotency_key(runtime: Runtime) -> None:
    seen: list[tuple[str, str, int, str]] = []

    @step(retry=Retry(attempts=2, delay="0s"))
    async def look(data: int, ctx: StepContext) -> int:
        seen.append((ctx.step_id, ctx.key, ctx.attempt, ctx.idempotency_key))
        if len(seen) == 1:
            raise OSError("again")
        return data

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        await step.run(look, data)
        return await step.run(look, data)

    await (await flow.create_run()).start(1)

    assert [line[:3] for line in seen] == [("look", "look", 1), ("look", "look", 2), ("look", "look#2", 1)]
    assert seen[0][3] == seen[1][3] != seen[2][3]


async def test_a_step_of_a_program_asks_for_results_of_those_before_it(runtime: Runtime) -> None:
    @step
    async def report(data: None, ctx: StepContext) -> int:
        return ctx.get_step_result(increased) * 10 + ctx.get_init_data(int)

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        await step.run(increased, data)
        return await step.run(report, None)

    assert (await (await flow.create_run()).start(4)).unwrap() == 54


# ------------------------------------------------------------------ keys
async def test_repeated_names_are_counted_over_all_kinds_in_the_order_of_the_calls() -> None:
    def make(calls: list[str]) -> Any:
        def charge(name: str) -> Callable[[], str]:
            async def body() -> str:
                calls.append(name)
                return name

            return body  # type: ignore[return-value]

        @workflow(id="flow")
        async def flow(step: StepTools, data: int) -> list[str]:
            first = await step.do("charge", charge("charge"))
            await step.sleep("charge", "1m")
            again = [await step.do("charge", charge(f"charge#{number}")) for number in (3, 4)]
            await step.wait_for_event(Event("charge", int), timeout="1m", default=0)
            return [first, *again]

        return flow

    told = await retell(make, 1)

    assert told.endings == ["charge", "charge#2", "charge#3", "charge#4", "charge#5"]
    assert told.outcome == ["charge", "charge#3", "charge#4"]


async def test_a_name_is_used_when_it_is_called_not_when_it_is_awaited(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> list[int]:
        first, second = step.do("add", add, 1), step.do("add", add, 10)
        return [await second, await first]

    run = await flow.create_run()
    result = await run.start(1)
    results = (await run.snapshot()).step_results

    assert result.unwrap() == [11, 2]
    assert {key: each.output for key, each in results.items()} == {"add#2": 11, "add": 2}


async def test_a_call_that_is_never_awaited_never_begins(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> int:
        never = step.do("add", add, 1)
        never.close()
        return await step.do("add", add, data)

    run = await flow.create_run()
    await run.start(1)

    assert (await run.snapshot()).execution_path == ["add#2"]


async def test_a_call_that_is_forgotten_is_named_by_the_warning(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> int:
        # No await: that is the mistake, which checkers see.
        step.do("charge", add, 1)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
        return data

    with pytest.warns(RuntimeWarning, match=re.escape("""coroutine 'step.do("charge")' was never awaited""")):
        assert await flow.run(1) == 1


async def test_a_call_awaited_twice_is_an_error_of_the_program(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> int:
        call = step.do("add", add, 1)
        return await call + await call

    result = await (await flow.create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == ("RuntimeError", "cannot reuse already awaited coroutine")


# ------------------------------------------------------------------ sleep
async def test_a_sleep_is_recorded_with_its_end_and_is_not_begun_anew(clock: ManualClock, database: str) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> int:
        await step.sleep("nap", "1h 30m")
        return data

    async with Runtime(database, clock=clock):
        parked = await (await flow.create_run(run_id="r")).start(1)
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        await settle()
        run = await flow.get_run("r")
        clock.turn("29m")
        await settle()
        assert (await run.snapshot()).status == "running"
        clock.turn("1m")
        assert (await run.result()).unwrap() == 1

    assert isinstance(parked, Waiting)
    assert (parked.reason, parked.until) == ("sleep", START + timedelta(minutes=90))


async def test_sleeping_until_a_past_moment_passes_at_once(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> datetime:
        await step.sleep_until("past", datetime(2020, 1, 1, tzinfo=UTC))
        await step.sleep("none", "0s")
        return step.now()

    assert (await (await flow.create_run()).start(1)).unwrap() == START


async def test_a_moment_without_a_timezone_raises_at_the_call(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> str:
        try:
            await step.sleep_until("when", datetime(2020, 1, 1))  # noqa: DTZ001  # what is tried
        except InvalidValueError as error:
            return str(error)
        return ""

    assert "timezone" in str((await (await flow.create_run()).start(1)).unwrap())


async def test_a_program_of_thirty_days_takes_no_time(runtime: Runtime, clock: ManualClock) -> None:
    async def count(number: int) -> int:
        return number + 1

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        for _ in range(30):
            data = await step.do("count", count, data)
            await step.sleep("night", "1d")
        return data

    run = await (await flow.create_run()).enqueue(0)
    for _ in range(30):
        await settle(40)
        assert runtime.driver.driving == 0
        clock.turn("1d")

    assert (await run.result()).unwrap() == 30
    assert clock.now() - START == timedelta(days=30)


# ------------------------------------------------------------------ options, retries, timeouts
async def test_retries_are_those_of_the_call_then_the_step_then_the_workflow(
    runtime: Runtime, clock: ManualClock
) -> None:
    tries: dict[str, int] = {}

    def failing(name: str) -> Callable[[], None]:
        async def body() -> None:
            tries[name] = tries.get(name, 0) + 1
            raise OSError(name)

        return body  # type: ignore[return-value]

    @step(id="own", retry=Retry(attempts=2, delay="0s"))
    async def own(data: str) -> None:
        await failing(data)()  # type: ignore[misc]

    @workflow(retry=Retry(attempts=4, delay="0s"))
    async def flow(step: StepTools, data: int) -> list[int]:
        attempts: list[int] = []
        patient = step.options(retry=Retry(attempts=3, delay="0s"))
        for call in (
            step.do("of-workflow", failing("of-workflow")),
            patient.do("of-call", failing("of-call")),
            patient.options(timeout="1s").do("of-both", failing("of-both")),
            step.run(own, "of-step"),
            patient.run(own, "of-call-not-step"),
        ):
            try:
                await call
            except StepFailedError as error:
                attempts.append(error.error.attempts)
        return attempts

    result = await (await flow.create_run()).start(1)

    assert result.unwrap() == [4, 3, 3, 2, 3]
    assert tries == {"of-workflow": 4, "of-call": 3, "of-both": 3, "of-step": 2, "of-call-not-step": 3}


async def test_without_a_policy_a_step_is_tried_once(runtime: Runtime) -> None:
    tries: list[int] = []

    async def failing() -> None:
        tries.append(1)
        raise OSError("down")

    @workflow
    async def flow(step: StepTools, data: int) -> None:
        await step.do("failing", failing)

    assert isinstance(await (await flow.create_run()).start(1), Failed)
    assert tries == [1]


async def test_a_retry_is_a_timer_in_the_record_and_outlasts_the_process(clock: ManualClock, database: str) -> None:
    tries: list[int] = []

    async def stumble() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("not yet")
        return len(tries)

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        hourly = Retry(attempts=2, delay="1h", max_delay="1h", jitter=0)
        return await step.options(retry=hourly).do("stumble", stumble)

    async with Runtime(database, clock=clock):
        parked = await (await flow.create_run(run_id="r")).start(1)
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        result = await (await flow.get_run("r")).result()

    assert isinstance(parked, Waiting)
    assert (parked.reason, parked.until) == ("retry", START + timedelta(hours=1))
    assert result.unwrap() == 2


async def test_a_fatal_error_is_not_tried_again_and_retry_after_waits(runtime: Runtime, clock: ManualClock) -> None:
    tries: list[str] = []

    async def fatal() -> None:
        tries.append("fatal")
        raise FatalError("no")

    async def later() -> str:
        tries.append("later")
        if tries.count("later") == 1:
            raise RetryAfter("10m")
        return "there"

    @workflow(retry=Retry(attempts=3, delay="0s"))
    async def flow(step: StepTools, data: int) -> str:
        try:
            await step.do("fatal", fatal)
        except StepFailedError as error:
            tries.append(f"is fatal: {error.matches(FatalError)}")
        return await step.do("later", later)

    run = await flow.create_run()
    parked = await run.start(1)
    clock.turn("10m")

    assert isinstance(parked, Waiting)
    assert (await run.result()).unwrap() == "there"
    assert [line for line in tries if not line.startswith("is")] == ["fatal", "later", "later"]
    assert "is fatal: True" in tries
    assert "is fatal: False" not in tries


async def test_a_try_that_takes_too_long_is_stopped(runtime: Runtime, clock: ManualClock) -> None:
    stopped: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append("stopped")
            raise

    @workflow
    async def flow(step: StepTools, data: int) -> bool:
        try:
            await step.options(timeout="1m").do("slow", slow)
        except StepFailedError as error:
            return error.matches(StepTimeoutError) and error.matches(TimeoutError)
        return False

    run = await (await flow.create_run()).enqueue(1)
    await settle()
    clock.turn("1m")

    assert (await run.result()).unwrap() is True
    assert stopped == ["stopped"]


# ------------------------------------------------------------------ size
class Statements:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _: str) -> None:
        self.count += 1


async def test_a_long_program_costs_the_same_for_each_step(clock: ManualClock) -> None:
    """A replay for every step would make the cost of a step grow with their number."""
    beginnings: list[int] = []

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        beginnings.append(data)
        total = 0
        for number in range(data):
            total = await step.do("add", lambda left, right: left + right, total, number)
        return total

    counted: dict[int, tuple[int, int]] = {}
    for number in (200, 2000):
        statements = Statements()
        async with Runtime(world=SqliteWorld(":memory:", clock=clock, on_statement=statements), clock=clock):
            run = await flow.create_run()
            before = statements.count
            assert (await run.start(number)).unwrap() == sum(range(number))
            counted[number] = statements.count - before, len([event async for event in run.events()])

    assert beginnings == [200, 2000]
    assert counted[2000][1] == 3 * 2000 + 3
    assert counted[2000][0] < 10 * counted[200][0] * 1.05


async def test_a_long_program_is_told_again_in_one_piece(clock: ManualClock, database: str) -> None:
    bodies: list[int] = []

    async def work(number: int) -> int:
        bodies.append(number)
        return number

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        total = sum([await step.do("work", work, number) for number in range(data)])
        return total + await step.wait_for_event(go)

    async with Runtime(database, clock=clock, durability="normal"):
        await (await flow.create_run(run_id="r")).start(300)
    async with Runtime(database, clock=clock, worker=False):
        result = await (await flow.get_run("r")).send_event(go, 1)

    assert result.unwrap() == sum(range(300)) + 1
    assert bodies == list(range(300))


async def test_what_is_recorded_of_a_call_is_its_name_key_and_input(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> int:
        return await step.do("add", add, data, right=5)

    run = await flow.create_run()
    await run.start(1)
    created = [stored.event async for stored in run.events() if isinstance(stored.event, e.StepCreated)]

    assert [(event.step_name, event.key, event.input) for event in created] == [("add", "add", b'{"left":1,"right":5}')]


# ------------------------------------------------------------------ asked for where it must not be
@pytest.mark.parametrize("ask", ["do", "run", "sleep", "wait", "patched", "now", "uuid", "random", "choice"])
@pytest.mark.parametrize("in_a_thread", [False, True])
async def test_what_a_step_asks_for_inside_a_step_fails_that_step(
    runtime: Runtime, ask: str, in_a_thread: bool
) -> None:
    tries: list[int] = []

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        asking: dict[str, Callable[[], Any]] = {
            "do": lambda: step.do("inner", add, 1),
            "run": lambda: step.run(increased, 1, name="inner"),
            "sleep": lambda: step.sleep("inner", "1s"),
            "wait": lambda: step.wait_for_event(go),
            "patched": lambda: step.patched("inner"),
            "now": step.now,
            "uuid": step.uuid,
            "random": step.random().random,
            "choice": lambda: step.random().choice("ab"),
        }

        def in_thread() -> int:
            tries.append(1)
            asking[ask]()
            return 1

        async def on_the_loop() -> int:
            tries.append(1)
            await asking[ask]()
            return 1

        if in_a_thread:
            return await step.options(retry=Retry(attempts=3, delay="1s")).do("outer", in_thread)
        return await step.options(retry=Retry(attempts=3, delay="1s")).do("outer", on_the_loop)

    result = await (await flow.create_run()).start(1)

    assert isinstance(result, Failed)
    hand_it_in = "ask for it in the workflow itself, and hand it in"
    what, cure = {
        "wait": ("step 'go'", "steps cannot call steps, await it in the workflow itself"),
        "patched": ("patch 'inner'", "ask for it in the workflow itself"),
        "now": ("step.now()", hand_it_in),
        "uuid": ("step.uuid()", hand_it_in),
        "random": ("step.random()", hand_it_in),
        "choice": ("step.random()", hand_it_in),
    }.get(ask, ("step 'inner'", "steps cannot call steps, await it in the workflow itself"))
    sentence = f"{what} was asked for inside a step; {cure}"
    assert (result.error.key, result.error.type, result.error.message) == ("outer", "FatalError", sentence)
    assert tries == [1]


@pytest.mark.parametrize("ask", ["do", "sleep", "wait", "patched", "now", "uuid", "random"])
async def test_who_keeps_the_tools_of_a_run_asks_in_vain_when_it_is_over(runtime: Runtime, ask: str) -> None:
    kept: list[StepTools] = []

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        kept.append(step)
        return data

    await (await flow.create_run()).start(1)
    asking: dict[str, Callable[[StepTools], Any]] = {
        "do": lambda step: step.do("late", add, 1),
        "sleep": lambda step: step.sleep("late", "1s"),
        "wait": lambda step: step.wait_for_event(go),
        "patched": lambda step: step.patched("late"),
        "now": lambda step: step.now(),
        "uuid": lambda step: step.uuid(),
        "random": lambda step: step.random().random(),
    }

    with pytest.raises(FatalError, match="was asked for when its workflow was not running; "):
        asking[ask](kept[0])
