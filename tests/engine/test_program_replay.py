"""What a program sees on replay: the same failures, the same time, the same chance."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.clocks import START, ManualClock, settle
from wrkflw import Completed, Event, Failed, Runtime, StepContext, StepFailedError, StepTools, Workflow, step, workflow

from .desk import Desk
from .lost import kill
from .retelling import RUN, assert_replays, log_of, retell, tell

go = Event("go", int)
Code = Callable[[StepTools, Callable[[str], Awaitable[str]]], Awaitable[object]]


class OddError(OSError):
    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is odd")
        self.place = key


def made_of(code: Code, **options: Any) -> Callable[[list[str]], Workflow[int, object, None]]:
    """A workflow whose code calls ``do(name)``: a step that gives its own key, and fails if its name says so."""

    def make(calls: list[str]) -> Workflow[int, object, None]:
        def step_of(name: str) -> Any:
            @step(id=name)
            async def body(data: None, ctx: StepContext) -> str:
                calls.append(ctx.key)
                if name.startswith("odd"):
                    raise OddError(ctx.key)
                return ctx.key

            return body

        @workflow(id="flow", **options)
        async def flow(step: StepTools, data: int) -> object:
            def do(name: str) -> Awaitable[str]:
                return step.run(step_of(name), None)

            return await code(step, do)

        return flow

    return make


# ------------------------------------------------------------------ failures
async def test_a_failing_step_is_caught_the_same_live_and_on_replay() -> None:
    seen: list[tuple[object, ...]] = []

    async def code(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
        try:
            await do("odd")
        except StepFailedError as error:
            facts = error.error
            seen.append((type(error), str(error), facts, error.matches(OddError), error.matches(OSError)))
            seen[-1] += (error.matches(ValueError), facts.attributes, facts.attempts)
        await step.sleep("nap", "1h")
        return await do("after")

    told = await retell(made_of(code), 1)

    assert told.outcome == "after"
    assert all(line == seen[0] for line in seen)
    assert seen[0][1] == "step 'odd' failed: OddError: odd is odd"
    assert seen[0][3:] == (True, True, False, {"place": "odd"}, 1)


async def test_a_failure_that_was_caught_is_never_tried_again() -> None:
    """A recorded failure is final: code that goes on after it must not find it succeeding later."""

    async def code(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
        caught = []
        for _ in range(3):
            try:
                await do("odd")
            except StepFailedError as error:
                caught.append(error.error.key)
        await step.sleep("nap", "1h")
        return caught

    told = await retell(made_of(code), 1)

    assert told.outcome == ["odd", "odd#2", "odd#3"]


async def test_a_step_that_failed_for_good_and_was_not_caught_fails_the_run_with_its_own_error() -> None:
    async def code(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
        await do("fine")
        await do("odd")
        return None

    told = await retell(made_of(code), 1)

    assert isinstance(told.result, Failed)
    assert (told.result.error.type, told.result.error.key) == ("OddError", "odd")
    assert [error.key for error in told.result.errors] == ["odd"]


async def test_an_exception_of_the_program_fails_the_run_and_shows_the_line() -> None:
    async def code(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
        await do("fine")
        raise OddError("the program")  # here

    told = await retell(made_of(code), 1)

    error = told.result.error
    assert (error.type, error.message, error.key, error.step_id) == ("OddError", "the program is odd", "", "")
    assert 'raise OddError("the program")  # here' in error.traceback
    assert "wrkflw/engine" not in error.traceback


async def test_an_exception_raised_from_a_failed_step_keeps_its_cause() -> None:
    async def code(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
        try:
            await do("odd")
        except StepFailedError as error:
            raise ValueError("no good") from error
        return None

    told = await retell(made_of(code), 1)

    assert told.result.error.type == "ValueError"
    assert told.result.error.cause.type == "StepFailedError"
    assert [error.key for error in told.result.errors] == ["odd", ""]


async def test_a_group_of_failures_fails_the_run() -> None:
    async def code(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
        async with asyncio.TaskGroup() as group:
            group.create_task(do("odd"))  # type: ignore[arg-type]
            group.create_task(step.sleep("nap", "1h"))
        return None

    told = await retell(made_of(code), 1)

    assert isinstance(told.result, Failed)
    error = told.result.error
    assert (error.type, error.message) == ("ExceptionGroup", "unhandled errors in a TaskGroup (1 sub-exception)")
    assert error.cause is not None
    assert error.cause.type == "StepFailedError"
    assert "step 'odd' failed" in error.traceback


async def test_a_program_that_raises_something_that_is_no_exception_fails_the_run() -> None:
    class Rude(BaseException):
        pass

    async def code(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
        await do("fine")
        raise Rude("rude")

    told = await retell(made_of(code), 1)

    assert isinstance(told.result, Failed)
    assert told.result.error.message == "rude"


@pytest.mark.parametrize("rude", [GeneratorExit, asyncio.CancelledError])
async def test_a_program_that_ends_itself_fails_the_run_and_nothing_else(
    runtime: Runtime, rude: type[BaseException]
) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> int:
        await step.sleep("nap", "0s")
        raise rude

    result = await (await flow.create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.type == rude.__name__


# ------------------------------------------------------------------ time
async def test_the_time_moves_when_something_is_told_and_only_then(clock: ManualClock, database: str) -> None:
    desk, seen = Desk(), list[list[datetime]]()

    @workflow
    async def flow(step: StepTools, data: int) -> list[datetime]:
        times = [step.now()]
        seen.append(times)
        times.append(step.now())
        slow = asyncio.create_task(step.run(desk.slow("slow"), data))
        await step.wait_for_event(go)
        times.append(step.now())
        await slow
        times.append(step.now())
        await step.sleep("nap", "1h")
        times.append(step.now())
        return times

    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        run = await (await flow.create_run(run_id=RUN)).enqueue(1)
        await settle()
        clock.turn("1m")
        await settle()
        sending = asyncio.ensure_future(run.send_event(go, 1, wait="0s"))
        await settle()
        clock.turn("1m")
        desk.let("slow")
        await sending
        kill(runtime)
    clock.turn("3h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        result = await (await flow.get_run(RUN)).result()

    minutes = [(time - START) / timedelta(minutes=1) for time in result.unwrap()]
    assert minutes[:4] == [0, 0, 1, 2]
    assert minutes[4] == 182
    assert seen[0] == seen[1][:4]
    assert result.unwrap() == sorted(result.unwrap())


async def test_the_time_of_a_delayed_run_begins_when_it_does(clock: ManualClock, database: str) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> list[str]:
        began = step.now()
        await step.sleep_until("nap", began + timedelta(hours=1))
        return [str(began), str(step.now())]

    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id=RUN)).enqueue(1, delay="1d")
        clock.turn("1d")
        await settle()
        kill(runtime)
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        result = await (await flow.get_run(RUN)).result()

    assert result.unwrap() == [str(START + timedelta(hours=hours)) for hours in (24, 25)]


async def test_a_fork_of_a_delayed_run_begins_at_the_same_time(runtime: Runtime, clock: ManualClock) -> None:
    desk = Desk()
    last = desk.quick("last")

    @workflow
    async def flow(step: StepTools, data: int) -> list[object]:
        return [await step.do("began", str, step.now()), await step.run(last, data)]

    runtime.define(flow)
    run = await (await flow.create_run(run_id=RUN)).enqueue(1, delay="1d")
    clock.turn("1d")
    await settle()
    fork = await run.fork(at=last).start()

    assert fork.unwrap() == (await run.result()).unwrap() == [str(START + timedelta(days=1)), 2]


async def test_the_time_is_the_same_on_every_replay() -> None:
    async def code(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
        times = [step.now()]
        await do("a")
        times.append(step.now())
        await step.sleep("nap", "1h")
        times.append(step.now())
        await asyncio.gather(do("b"), step.wait_for_event(go, timeout="2h", default=0), asyncio.sleep(60))
        times.append(step.now())
        assert asyncio.get_running_loop().time() == step.now().timestamp()
        return [time.isoformat() for time in times]

    told = await retell(made_of(code), 1, ("90m", go, 1))

    hours = [(datetime.fromisoformat(time) - START) / timedelta(hours=1) for time in told.result.output]
    assert hours == [0, 0, 1, 1.5]


async def test_the_time_of_a_program_does_not_go_back_with_that_of_the_machine(
    runtime: Runtime, clock: ManualClock
) -> None:
    times: list[datetime] = []

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        for _ in range(2):
            await step.wait_for_event(go)
            times.append(step.now())
        return 1

    run = await (await flow.create_run()).enqueue(1)
    clock.turn("1h")
    await run.send_event(go, 1)
    clock.turn(timedelta(minutes=-30))
    await run.send_event(go, 1)

    assert [time - START for time in times] == [timedelta(hours=1)] * 2 or times == sorted(times)


# ------------------------------------------------------------------ chance
async def test_chance_is_the_same_on_every_replay() -> None:
    async def code(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
        before = [step.random().random(), str(step.uuid())]
        await do("a")
        return [*before, step.random().randint(1, 10**9), str(step.uuid())]

    told = await retell(made_of(code), 1)

    assert len(set(told.result.output)) == 4


async def test_uuids_and_random_numbers_do_not_disturb_each_other(runtime: Runtime, clock: ManualClock) -> None:
    def asking(id: str, uuids: int) -> Any:
        @workflow(id=id)
        async def flow(step: StepTools, data: int) -> list[float]:
            for _ in range(uuids):
                step.uuid()
            return [step.random().random() for _ in range(3)]

        return flow

    few = (await (await asking("few", 0).create_run(run_id=RUN)).start(1)).unwrap()
    async with Runtime(":memory:", clock=clock):
        many = (await (await asking("many", 5).create_run(run_id=RUN)).start(1)).unwrap()

    assert few == many


async def test_two_runs_have_their_own_chance(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> tuple[str, float]:
        return str(step.uuid()), step.random().random()

    outputs = [(await (await flow.create_run()).start(1)).unwrap() for _ in range(2)]

    assert outputs[0][0] != outputs[1][0]
    assert outputs[0][1] != outputs[1][1]


# ------------------------------------------------------------------ suspension cannot be caught
async def test_code_that_catches_everything_does_not_swallow_a_sleep() -> None:
    async def code(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
        seen = []
        for number in range(3):
            try:
                await step.sleep("nap", "1h")
                seen.append(await step.wait_for_event(go))
            except BaseException:  # noqa: BLE001  # what is tried
                await do(f"caught-{number}")
        return seen

    told = await retell(made_of(code), 1, ("0s", go, 1), ("10h", go, 2), ("20h", go, 3))

    assert told.outcome == [1, 2, 3]
    assert told.calls == {}


async def test_what_a_program_does_while_it_is_torn_down_has_no_effect(clock: ManualClock, database: str) -> None:
    seen: list[str] = []

    @workflow
    async def flow(step: StepTools, data: int) -> str:
        try:
            await step.sleep("nap", "1h")
        except BaseException:  # noqa: BLE001  # what is tried
            seen.append("caught")
            await step.do("undo", seen.append, "undone")
            return "swallowed"
        finally:
            seen.append("finally")
            assert not step.patched("new") or data
            step.uuid()
            await asyncio.sleep(0.5)
            await step.do("last", seen.append, "last words")
        return "slept"

    async with Runtime(database, clock=clock) as runtime:
        await (await flow.create_run(run_id=RUN)).start(1)
        before = [str(stored.event.event_type) for stored in await log_of(runtime)]
    assert before == ["run_created", "run_started", "wait_created"]
    assert seen == ["caught", "finally"]
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run(RUN)
        await settle()
        clock.turn("1s")
        result = await run.result()

    assert result.unwrap() == "slept"
    assert seen[2:] == ["finally", "last words"]


async def test_a_parked_program_leaves_no_task_behind(clock: ManualClock, database: str) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> int:
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(step.sleep("nap", "1h"))
            group.create_task(step.wait_for_event(go))
        return data

    async with Runtime(database, clock=clock) as runtime:
        await settle()
        before = asyncio.all_tasks()
        for number in range(3):
            await (await flow.create_run()).start(number)
        await settle()

        assert asyncio.all_tasks() == before
        assert runtime.driver.driving == 0
    gc.collect()


# ------------------------------------------------------------------ patches
def patched_code(*patches: str) -> Code:
    """``first`` and ``last``, and what each patch puts between them."""

    async def code(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
        seen = [await do("first")]
        for patch in patches:
            if step.patched(patch):
                seen += [await do(patch)]
        await step.sleep("nap", "1h")
        seen.append(await do("last"))
        return seen

    return code


async def test_a_patch_is_taken_by_runs_that_come_to_it_with_the_present_code() -> None:
    told = await retell(made_of(patched_code("tax", "fee")), 1)

    assert told.outcome == ["first", "tax", "fee", "last"]


async def test_a_patch_is_not_taken_by_runs_that_were_past_it() -> None:
    calls: list[str] = []
    old = await tell(made_of(patched_code())(calls), 1, calls=calls)
    sleeping = next(stored.slot for stored in old.log if stored.event.event_type == "wait_created")

    new = await tell(made_of(patched_code("tax"))(calls), 1, log=old.log[:sleeping], calls=calls)
    await assert_replays(made_of(patched_code("tax"))(calls), new, calls)

    assert new.outcome == ["first", "last"]


async def test_a_second_patch_does_not_disturb_the_first() -> None:
    calls: list[str] = []
    old = await tell(made_of(patched_code("tax"))(calls), 1, calls=calls)
    sleeping = next(stored.slot for stored in old.log if stored.event.event_type == "wait_created")

    new = await tell(made_of(patched_code("tax", "fee"))(calls), 1, log=old.log[:sleeping], calls=calls)

    assert new.outcome == ["first", "tax", "last"]


async def test_a_patch_is_recorded_once_and_is_no_step_of_the_run(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> list[bool]:
        return [step.patched("new"), await step.do("between", lambda: True), step.patched("new")]

    run = await flow.create_run()
    result = await run.start(1)
    snapshot = await run.snapshot()
    log = await log_of(runtime, run.run_id)

    assert isinstance(result, Completed)
    assert result.output == [True, True, True]
    assert snapshot.execution_path == ["between"]
    assert list(snapshot.step_results) == ["between"]
    assert sum(getattr(stored.event, "key", None) == "?new" for stored in log) == 1


async def test_an_answer_of_no_is_the_same_all_through_the_run() -> None:
    """Asked again later, where nothing recorded lies ahead, an old run is still an old run."""
    calls: list[str] = []

    async def before(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
        await do("first")
        await step.sleep("nap", "1h")
        return await do("last")

    async def now(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
        seen = [step.patched("new")]
        await do("first")
        await step.sleep("nap", "1h")
        seen.append(step.patched("new"))
        return [*seen, await do("last")]

    old = await tell(made_of(before)(calls), 1, calls=calls)
    sleeping = next(stored.slot for stored in old.log if stored.event.event_type == "wait_created")
    new = await tell(made_of(now)(calls), 1, log=old.log[:sleeping], calls=calls)

    assert new.outcome == [False, False, "last"]
    await assert_replays(made_of(now)(calls), new, calls)


async def test_a_patch_at_the_very_end_of_what_is_recorded_is_taken_only_with_what_follows() -> None:
    """A run that stands right before the patch takes it, whether it parked there or died there."""
    calls: list[str] = []
    whole = await tell(made_of(patched_code("tax"))(calls), 1, calls=calls)
    old = await tell(made_of(patched_code())(calls), 1, calls=calls)
    first_ended = next(stored.slot for stored in old.log if stored.event.event_type == "step_completed")

    new = await tell(made_of(patched_code("tax"))(calls), 1, log=old.log[:first_ended], calls=calls)

    assert new.outcome == whole.outcome == ["first", "tax", "last"]


async def test_a_patch_in_a_loop_is_not_taken_halfway() -> None:
    calls: list[str] = []

    def looping(patched: bool) -> Code:
        async def code(step: StepTools, do: Callable[[str], Awaitable[str]]) -> object:
            seen = []
            for _ in range(3):
                seen.append(await do("turn"))
                if patched and step.patched("extra"):
                    seen.append(await do("extra"))
                await step.sleep("nap", "1h")
            return seen

        return code

    old = await tell(made_of(looping(patched=False))(calls), 1, calls=calls)
    turns = ["turn", "turn#2", "turn#3"]
    for slot in range(4, len(old.log)):
        new = await tell(made_of(looping(patched=True))(calls), 1, log=old.log[:slot], calls=calls)
        await assert_replays(made_of(looping(patched=True))(calls), new, calls)
        taken = ["turn", "extra", "turn#2", "extra#2", "turn#3", "extra#3"]
        assert new.outcome == (taken if slot < 6 else turns), f"deployed after slot {slot}"
