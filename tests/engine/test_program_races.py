"""What a program does side by side: asyncio's combinators over step calls, decided by the log and nothing else."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import Event, Retry, Runtime, StepContext, StepFailedError, StepTools, Workflow, step, workflow
from wrkflw.engine import program as engine_program
from wrkflw.world.events import WaitCreated

from .desk import Desk
from .lost import kill
from .retelling import RUN, Sending, Told, log_of, retell, tell

go = Event("go", int)
Do = Callable[..., Awaitable[Any]]
Code = Callable[[StepTools, Do], Awaitable[object]]


def made_of(code: Code) -> Callable[[list[str]], Workflow[int, object, None]]:
    """A workflow whose code calls ``do(name)``: a step that gives its own key, and fails if its name says so."""

    def make(calls: list[str]) -> Workflow[int, object, None]:
        def step_of(name: str) -> Any:
            @step(id=name)
            async def body(data: int, ctx: StepContext) -> str:
                calls.append(ctx.key)
                for _ in range(data):
                    await asyncio.sleep(0)
                if name.startswith("bad"):
                    raise OSError(ctx.key)
                return ctx.key

            return body

        @workflow(id="flow")
        async def flow(step: StepTools, data: int) -> object:
            def do(name: str, slow: int = 0) -> Awaitable[Any]:
                return step.run(step_of(name), slow)

            return await code(step, do)

        return flow

    return make


# ------------------------------------------------------------------ each combinator, live, killed and replayed
async def gathered(step: StepTools, do: Do) -> object:
    return await asyncio.gather(do("a"), do("b", 5), do("a"), step.sleep("nap", "1m"))


async def gathered_with_errors(step: StepTools, do: Do) -> object:
    results = await asyncio.gather(do("a"), do("bad"), step.wait_for_event(go), return_exceptions=True)
    return [str(result) for result in results]


async def gathered_and_failing(step: StepTools, do: Do) -> object:
    try:
        await asyncio.gather(do("a"), do("bad"), step.sleep("nap", "1m"))
    except StepFailedError as error:
        return [error.error.key, await do("after")]
    return None


async def grouped(step: StepTools, do: Do) -> object:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part) for part in (do("a", 3), do("b"), step.wait_for_event(go))]  # type: ignore[arg-type]
    return [task.result() for task in tasks]


async def grouped_and_failing(step: StepTools, do: Do) -> object:
    failed: list[str] = []
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(step.sleep("nap", "1h"))
            group.create_task(step.wait_for_event(go, timeout="1h"))
            group.create_task(do("bad"))  # type: ignore[arg-type]
    except* StepFailedError as errors:
        failed.extend(str(error) for error in errors.exceptions)
    return [*failed, await do("after")]


async def raced(step: StepTools, do: Do) -> object:
    tasks = [asyncio.ensure_future(part) for part in (step.sleep("slow", "1h"), do("a"), step.wait_for_event(go))]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return [[task.result() for task in done], len(pending), await do("after")]


async def until_the_first_failure(step: StepTools, do: Do) -> object:
    tasks = [asyncio.ensure_future(part) for part in (step.sleep("slow", "1h"), do("a"), do("bad"))]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    return [len(done), len(pending), await asyncio.gather(*pending), await do("after")]


async def as_they_complete(step: StepTools, do: Do) -> object:
    async def nap(minutes: int) -> int:
        await step.sleep("nap", f"{minutes}m")
        return minutes

    parts = (nap(3), nap(1), do("a"), step.wait_for_event(go), nap(2))
    # Tasks: of coroutines it makes these itself, in the order of a set, which is another in every process.
    tasks = [asyncio.ensure_future(part) for part in parts]
    return [await part for part in asyncio.as_completed(tasks)]


async def as_the_calls_complete(step: StepTools, do: Do) -> object:
    """A call has its key when it is made: it does not matter in which order they begin."""
    parts = [step.sleep("nap", f"{minutes}m") for minutes in (3, 1)]
    calls: list[Any] = [step.wait_for_event(go), *parts, step.wait_for_event(go)]
    return [await part for part in asyncio.as_completed(calls)]


async def shielded(step: StepTools, do: Do) -> object:
    napping = asyncio.ensure_future(step.sleep("nap", "1h"))
    try:
        await asyncio.wait_for(asyncio.shield(napping), 60)
    except TimeoutError:
        before = step.now()
        await napping
        return [await do("a"), (step.now() - before).total_seconds()]
    return None


async def in_time(step: StepTools, do: Do) -> object:
    async with asyncio.timeout(60):
        await do("a")
        await step.sleep("nap", "30s")
    await step.sleep("nap", "1h")
    return await do("after")


async def out_of_time(step: StepTools, do: Do) -> object:
    try:
        async with asyncio.timeout(60):
            await do("a")
            await step.sleep("nap", "1h")
    except TimeoutError:
        return ["late", await do("after"), step.now().isoformat()]
    return None


async def waited_for_in_vain(step: StepTools, do: Do) -> object:
    try:
        return await asyncio.wait_for(step.wait_for_event(go), 30)
    except TimeoutError:
        return [await do("after"), await step.wait_for_event(go)]


async def slept_by_asyncio(step: StepTools, do: Do) -> object:
    first = await asyncio.sleep(60, "slept")
    both = await asyncio.gather(asyncio.sleep(60, "one"), asyncio.sleep(30, "two"), do("a"))
    await asyncio.sleep(0)
    return [first, *both, step.now().isoformat()]


async def cancelled_by_itself(step: StepTools, do: Do) -> object:
    """At the next step that it waits for, also where that is in the record and long since over."""
    me = asyncio.current_task()
    assert me is not None
    await do("a")
    me.cancel()
    try:
        await do("b")
    except asyncio.CancelledError:
        me.uncancel()
        return ["cancelled", await do("after")]
    return None


async def cancelled_and_taken_back(step: StepTools, do: Do) -> object:
    """To take a cancellation back unsays it as of Python 3.13; before, asyncio raises it at the next wait."""
    me = asyncio.current_task()
    assert me is not None
    me.cancel()
    me.uncancel()
    try:
        await do("a")
    except asyncio.CancelledError:
        return ["cancelled", await do("after")]
    return "taken back"


async def late_twice(step: StepTools, do: Do) -> object:
    """Two limits of one moment: who hears of the first gives the second up, which is over all the same."""
    try:
        async with asyncio.timeout(60), asyncio.timeout(60):
            await step.wait_for_event(go)
    except TimeoutError:
        await step.sleep("then", "1m")
        return ["late", await do("after")]
    return None


async def first_of_equals(step: StepTools, do: Do) -> object:
    sleeps = [asyncio.ensure_future(step.sleep(name, "1m")) for name in "ab"]
    done, pending = await asyncio.wait(sleeps, return_when=asyncio.FIRST_COMPLETED)
    for one in pending:
        one.cancel()
    await step.sleep("then", "1m")
    return [len(done), await do("after")]


async def beside_one_that_counts(step: StepTools, do: Do) -> object:
    """Whoever needs no step moves as far as it can before the next thing is told."""
    turns: list[int] = []

    async def count() -> None:
        for turn in range(5):
            await asyncio.sleep(0)
            turns.append(turn)

    seen: list[int] = []
    for name in "ab":
        counting = asyncio.create_task(count())
        await do(name)
        seen.append(len(turns))
        await counting
    return seen


async def queued(step: StepTools, do: Do) -> object:
    """Two workers, a queue, a lock and a semaphore: all of asyncio that needs no outside."""
    todo: asyncio.Queue[str] = asyncio.Queue()
    done: list[str] = []
    lock, two = asyncio.Lock(), asyncio.Semaphore(2)

    async def work() -> None:
        while True:
            name = await todo.get()
            async with two:
                given = await do(name)
            async with lock:
                done.append(given)
            todo.task_done()

    for name in "abcde":
        todo.put_nowait(name)
    workers = [asyncio.create_task(work()) for _ in range(2)]
    await todo.join()
    for worker in workers:
        worker.cancel()
    return sorted(done)


CODES: dict[str, tuple[Code, list[Sending]]] = {
    code.__name__: (code, list(sends))
    for code, sends in (
        (gathered, []), (gathered_with_errors, [("5m", go, 7)]), (gathered_and_failing, []),
        (grouped, [("5m", go, 7)]), (grouped_and_failing, []), (raced, []), (until_the_first_failure, []),
        (as_they_complete, [("90s", go, 7)]),
        (as_the_calls_complete, [("30s", go, 7), ("90s", go, 8)]), (shielded, []), (in_time, []), (out_of_time, []),
        (waited_for_in_vain, [("45s", go, 7)]), (slept_by_asyncio, []), (queued, []),
        (cancelled_by_itself, []), (cancelled_and_taken_back, []), (late_twice, []), (first_of_equals, []),
        (beside_one_that_counts, []),
    )
}  # fmt: skip


OUTCOMES: dict[str, object] = {
    "gathered": ["a", "b", "a#2", None],
    "gathered_with_errors": ["a", "step 'bad' failed: OSError: bad", "7"],
    "gathered_and_failing": ["bad", "after"],
    "grouped": ["a", "b", 7],
    "grouped_and_failing": ["step 'bad' failed: OSError: bad", "after"],
    "raced": [["a"], 2, "after"],
    "until_the_first_failure": [2, 1, [None], "after"],
    "as_they_complete": ["a", 1, 7, 2, 3],
    "as_the_calls_complete": [7, None, 8, None],
    "shielded": ["a", 3540.0],
    "in_time": "after",
    "out_of_time": ["late", "after", "2026-03-01T12:01:00+00:00"],
    "waited_for_in_vain": ["after", 7],
    "slept_by_asyncio": ["slept", "one", "two", "a", "2026-03-01T12:02:00+00:00"],
    "queued": ["a", "b", "c", "d", "e"],
    "cancelled_by_itself": ["cancelled", "after"],
    "cancelled_and_taken_back": ["cancelled", "after"] if sys.version_info < (3, 13) else "taken back",
    "late_twice": ["late", "after"],
    "first_of_equals": [1, "after"],
    "beside_one_that_counts": [5, 10],
}


@pytest.mark.parametrize("name", CODES)
async def test_it_comes_to_the_same_live_after_a_kill_anywhere_and_on_replay(name: str) -> None:
    code, sends = CODES[name]

    told = await retell(made_of(code), 1, *sends)

    assert told.outcome == OUTCOMES[name]


@pytest.mark.parametrize("name", ["raced", "out_of_time", "queued"])
async def test_it_is_the_same_where_tasks_of_two_loops_cannot_nest(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of Python 3.14."""
    code, sends = CODES[name]
    before = await tell(made_of(code)([]), 1, *sends)
    monkeypatch.setattr(engine_program, "_TASKS_NEST", False)
    told = await retell(made_of(code), 1, *sends)

    assert told.outcome == before.outcome == OUTCOMES[name]
    assert [stored.event for stored in told.log] == [stored.event for stored in before.log]


# ------------------------------------------------------------------ the log decides
async def first_of(step: StepTools, do: Do) -> object:
    """Who comes first of two steps, a sleep and an event; and all of them afterwards."""

    async def nap() -> str:
        await step.sleep("nap", "1m")
        return "nap"

    async def wait() -> str:
        payload = await step.wait_for_event(go)
        return f"go {payload}"

    tasks = [asyncio.ensure_future(part) for part in (do("a", 9), do("b", 3), nap(), wait())]
    order: list[str] = []
    waiting = set(tasks)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1, "one thing is told at a time"
        order += [task.result() for task in done]
    return order


def in_order_of(told: Told) -> list[str]:
    return [ending.replace("go", "go 7") for ending in told.endings]


async def test_the_order_of_the_log_is_the_order_of_the_program() -> None:
    told = await retell(made_of(first_of), 1, ("0s", go, 7), same=in_order_set)

    assert told.outcome == ["b", "a", "go 7", "nap"] == in_order_of(told)


def in_order_set(told: Told) -> object:
    """A step that was killed begins again, and may come later; but the program is told what the log says."""
    assert told.outcome == in_order_of(told)
    return sorted(in_order_of(told))


@pytest.mark.parametrize("first", ["event", "step"])
async def test_an_event_and_the_end_of_a_step_at_one_moment_are_told_by_the_log(
    clock: ManualClock, database: str, first: str
) -> None:
    """Neither may be told before both are in the log: the other might stand before it there."""
    desk = Desk()
    slow = desk.slow("slow")

    @workflow
    async def flow(step: StepTools, data: int) -> list[str]:
        tasks = {
            asyncio.create_task(step.run(slow, data), name="slow"): "slow",
            asyncio.create_task(step.wait_for_event(go), name="go"): "go",
        }
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winners = [tasks[task] for task in done]
        await step.sleep("nap", "1h")
        return winners

    async with Runtime(database, clock=clock) as runtime:
        run = await (await flow.create_run(run_id=RUN)).enqueue(1)
        await settle()
        if first == "step":
            desk.let("slow")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        sending = asyncio.ensure_future(run.send_event(go, 7, wait="0s"))
        desk.let("slow")
        await sending
        await settle()
        log = await log_of(runtime)
        kill(runtime)
    told = await tell(flow, 1, log=log)
    endings = [ending for ending in told.endings if ending in ("slow", "go")]

    assert told.outcome == endings[:1]


async def test_two_steps_that_end_in_one_commit_are_told_one_after_the_other(clock: ManualClock) -> None:
    """The code between two endings runs before the second is told, live as on replay."""

    async def code(step: StepTools, do: Do) -> object:
        seen: list[str] = []

        async def part(name: str) -> None:
            seen.append(await do(name))
            await asyncio.sleep(0)
            seen.append(f"{name} went on")

        await asyncio.gather(part("a"), part("b"))
        return seen

    told = await retell(made_of(code), 1, same=lambda told: set(told.outcome))  # type: ignore[call-overload]

    assert told.outcome == ["a", "a went on", "b", "b went on"]


async def test_a_step_whose_await_was_cancelled_goes_on_and_is_recorded(runtime: Runtime) -> None:
    desk = Desk()
    slow = desk.slow("slow")

    @workflow
    async def flow(step: StepTools, data: int) -> str:
        running = asyncio.create_task(step.run(slow, data))
        await step.wait_for_event(go)
        running.cancel()
        await asyncio.wait([running])
        return f"cancelled {running.cancelled()}"

    run = await (await flow.create_run()).enqueue(1)
    await settle()
    sending = asyncio.ensure_future(run.send_event(go, 1))
    await settle()
    assert not sending.done()  # started steps are awaited
    desk.let("slow")
    result = await sending

    assert result.unwrap() == "cancelled True"
    assert (await run.snapshot()).step_results["slow"].output == 2


@pytest.mark.parametrize("within", ["", "a workflow of its own"])
async def test_a_body_hears_that_nobody_waits_for_it_any_more(
    runtime: Runtime, clock: ManualClock, within: str
) -> None:
    heard = asyncio.Event()

    @step
    async def stubborn(data: int, ctx: StepContext) -> int:
        while not ctx.stopping:  # noqa: ASYNC110  # there is nothing else to ask
            await asyncio.sleep(0)
        heard.set()
        return data

    @workflow(id="inner")
    async def inner(step: StepTools, data: int) -> int:
        return await step.run(stubborn, data)

    @workflow(id="outer")
    async def outer(step: StepTools, data: int) -> str:
        try:
            async with asyncio.timeout(3600):
                await step.run(inner if within else stubborn, data)
        except TimeoutError:
            await asyncio.sleep(0)
            return "too late"
        return "in time"

    starting = asyncio.ensure_future((await outer.create_run()).start(1))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not heard.is_set()
    clock.turn("1h")

    assert (await starting).unwrap() == "too late"
    assert heard.is_set()


async def test_the_outcome_of_a_step_that_was_given_up_is_ignored_on_replay_too() -> None:
    async def code(step: StepTools, do: Do) -> object:
        running = asyncio.ensure_future(do("bad", 30))
        await asyncio.wait([running], timeout=0)
        await do("a")
        running.cancel()
        await asyncio.sleep(60)
        return [running.cancelled(), await do("b")]

    told = await retell(made_of(code), 1)

    assert told.outcome == [True, "b"]
    assert "bad" in told.endings


async def test_a_step_that_is_cancelled_before_it_was_recorded_begins_all_the_same() -> None:
    """Asked for and given up in one breath: whether it runs must not hang on when the process died."""

    async def code(step: StepTools, do: Do) -> object:
        running = asyncio.ensure_future(do("a"))
        await asyncio.sleep(0)
        running.cancel()
        return [await do("b"), await do("a")]

    told = await retell(made_of(code), 1)

    assert told.outcome == ["b", "a#2"]
    assert sorted(told.endings) == ["a", "a#2", "b"]


async def test_a_wait_that_is_cancelled_before_it_was_recorded_is_not_recorded() -> None:
    async def code(step: StepTools, do: Do) -> object:
        waiting = asyncio.ensure_future(step.wait_for_event(go))
        await asyncio.sleep(0)
        waiting.cancel()
        return [await do("a"), await step.wait_for_event(go)]

    told = await retell(made_of(code), 1, ("1m", go, 7))

    assert told.outcome == ["a", 7]
    assert told.endings == ["a", "go#2"]


async def test_many_steps_go_on_at_once(runtime: Runtime) -> None:
    desk = Desk()
    slow = desk.slow("slow")

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        return sum(await asyncio.gather(*(step.run(slow, number) for number in range(data))))

    run = await (await flow.create_run()).enqueue(50)
    await settle()
    keys = ["slow", *(f"slow#{number}" for number in range(2, 51))]
    assert desk.calls == keys
    desk.let(*keys)

    assert (await run.result()).unwrap() == sum(range(1, 51))


async def test_a_timer_inside_a_retry_delay_fires_while_another_step_runs(runtime: Runtime, clock: ManualClock) -> None:
    desk = Desk()
    slow, stumbling = desk.slow("slow"), desk.stumbling("stumbling")

    @workflow
    async def flow(step: StepTools, data: int) -> list[int]:
        return list(await asyncio.gather(step.run(slow, 1), step.run(stumbling, 2)))

    run = await (await flow.create_run()).enqueue(1)
    await settle()
    clock.turn("1h")
    await settle()
    assert desk.calls == ["slow", "stumbling", "stumbling"]
    desk.let("slow")

    assert (await run.result()).unwrap() == [2, 3]


@pytest.mark.parametrize("seconds", [10.0**12, float(sys.maxsize), math.inf])
async def test_a_timer_may_lie_beyond_the_end_of_time(runtime: Runtime, seconds: float) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> int:
        return await asyncio.wait_for(step.wait_for_event(go), seconds)

    run = await flow.create_run()
    await run.start(1)

    assert (await run.send_event(go, 7)).unwrap() == 7


async def test_of_two_timers_alike_the_one_that_was_not_cancelled_rings() -> None:
    def make(_: list[str]) -> Workflow[int, list[str], None]:
        @workflow(id="flow")
        async def flow(step: StepTools, data: int) -> list[str]:
            rang = list[str]()
            first, _ = [asyncio.get_running_loop().call_later(60, rang.append, "rang") for _ in range(2)]
            first.cancel()
            await step.sleep("nap", "2m")
            return rang

        return flow

    assert (await retell(make, 1)).outcome == ["rang"]


async def test_what_a_race_left_open_is_closed_when_the_program_returns(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> str:
        tasks = [
            asyncio.create_task(step.sleep("nap", "1h")),
            asyncio.create_task(step.do("quick", lambda: None)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return "done"

    run = await flow.create_run()

    assert (await run.start(1)).unwrap() == "done"
    assert await runtime.world.storage.runs.next_due(["flow"]) is None


async def test_retries_side_by_side_are_told_in_the_order_of_their_ends() -> None:
    def make(calls: list[str]) -> Any:
        def step_of(name: str, minutes: int) -> Any:
            @step(id=name, retry=Retry(attempts=2, delay=f"{minutes}m", jitter=0))
            async def body(data: int, ctx: StepContext) -> str:
                calls.append(ctx.key)
                if ctx.attempt == 1:
                    raise OSError("not yet")
                return name

            return body

        @workflow(id="flow")
        async def flow(step: StepTools, data: int) -> list[str]:
            parts = [step.run(step_of(name, minutes), 1) for name, minutes in (("c", 3), ("a", 1), ("b", 2))]
            return [await part for part in asyncio.as_completed(parts)]

        return flow

    assert (await retell(make, 1)).outcome == ["a", "b", "c"]


async def test_whatever_limits_a_wait_is_recorded_as_a_limit(runtime: Runtime) -> None:
    """On Python 3.11 ``wait_for`` sets a timer itself, on later ones it is written with ``timeout``."""

    @workflow
    async def waiting(step: StepTools, data: int) -> int:
        return await asyncio.wait_for(step.wait_for_event(go), 3600)

    run = await waiting.create_run(run_id="r-17")
    await run.start(1, wait="0s")
    events = (await runtime.world.storage.events.list("r-17")).data

    assert [stored.event.key for stored in events if isinstance(stored.event, WaitCreated)] == ["timeout", "go"]
