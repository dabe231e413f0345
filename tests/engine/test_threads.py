"""Sync bodies and their threads: when one begins, what it costs to give it up, and what never begins."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import StepTimeoutError, step
from wrkflw.durations import parse_duration
from wrkflw.engine.executor import Executable, Executor

LIMIT = parse_duration("30s")


class Call:
    """As much of a call as the executor looks at."""

    step_id, attempt = "work", 1

    def __init__(self) -> None:
        self.run_was_cancelled = False


class Bodies:
    """Bodies that note their names as they begin, and may be held up."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go_on = threading.Event()
        self._held_up = threading.Event()

    def quick(self, name: str) -> Callable[[], str]:
        def work() -> str:
            self.begun.append(name)
            return name

        return work

    def held(self, name: str) -> Callable[[], str]:
        def work() -> str:
            self.begun.append(name)
            self._held_up.set()
            self.go_on.wait(20)
            return name

        return work

    async def has_begun(self) -> None:
        """Wait until a body that is held up has begun."""
        assert await asyncio.to_thread(self._held_up.wait, 10)


@pytest.fixture
def bodies() -> Iterator[Bodies]:
    bodies = Bodies()
    yield bodies
    bodies.go_on.set()


@pytest.fixture
def executor(clock: ManualClock) -> Iterator[Executor]:
    """With a single thread."""
    executor = Executor(clock, 1)
    yield executor
    executor.close()


def running(
    executor: Executor, function: Callable[..., Any], call: Call | None = None, *, limited: bool = True
) -> asyncio.Task[object]:
    work = executor.run(step(function).body, None, cast(Executable, call or Call()), LIMIT if limited else None)
    return asyncio.ensure_future(work)


async def test_the_time_of_a_body_begins_with_it(executor: Executor, bodies: Bodies, clock: ManualClock) -> None:
    first = running(executor, bodies.held("first"), limited=False)
    await bodies.has_begun()
    second = running(executor, bodies.quick("second"))
    await settle()
    clock.turn("1h")
    await settle()
    assert not second.done()

    bodies.go_on.set()
    assert await asyncio.wait_for(first, 10) == "first"
    assert await asyncio.wait_for(second, 10) == "second"


@pytest.mark.parametrize("run_was_cancelled", [True, False], ids=["the run was cancelled", "the process leaves"])
async def test_a_body_given_up_while_it_waits_for_a_thread_never_begins(
    executor: Executor, bodies: Bodies, run_was_cancelled: bool
) -> None:
    first = running(executor, bodies.held("first"))
    await bodies.has_begun()
    call = Call()
    second, third = running(executor, bodies.quick("second"), call), running(executor, bodies.quick("third"))
    await settle()
    call.run_was_cancelled = run_was_cancelled
    second.cancel()
    await settle()
    assert second.cancelled()

    bodies.go_on.set()
    await asyncio.wait_for(asyncio.gather(first, third), 10)
    assert bodies.begun == ["first", "third"]


async def test_a_thread_that_was_given_up_makes_room(executor: Executor, bodies: Bodies, clock: ManualClock) -> None:
    stuck = running(executor, bodies.held("stuck"))
    await bodies.has_begun()
    waiting = running(executor, bodies.quick("next"))
    await settle()
    clock.turn(LIMIT)

    assert await asyncio.wait_for(waiting, 10) == "next"
    with pytest.raises(StepTimeoutError):
        await stuck


async def test_no_more_than_the_threads_run_at_once(clock: ManualClock) -> None:
    lock, counts = threading.Lock(), [0, 0]

    def work() -> None:
        with lock:
            counts[0] += 1
            counts[1] = max(counts)
        threading.Event().wait(0.005)
        with lock:
            counts[0] -= 1

    executor = Executor(clock, 2)
    await asyncio.gather(*(running(executor, work) for _ in range(8)))
    executor.close()

    assert counts == [0, 2]


async def test_a_try_that_is_cancelled_before_it_begins_costs_no_thread(executor: Executor, bodies: Bodies) -> None:
    for turns in range(6):
        given_up = running(executor, bodies.quick("given up"))
        for _ in range(turns):
            await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)

    assert await asyncio.wait_for(running(executor, bodies.quick("next")), 10) == "next"


async def test_nothing_begins_once_it_is_closed(executor: Executor, bodies: Bodies) -> None:
    assert await running(executor, bodies.quick("before")) == "before"
    executor.close()

    with pytest.raises(RuntimeError, match="the runtime was closed"):
        await running(executor, bodies.quick("after"))
    assert bodies.begun == ["before"]


async def test_what_a_plain_function_hands_on_has_the_rest_of_the_time(executor: Executor, clock: ManualClock) -> None:
    begun = asyncio.Event()

    async def forever() -> None:
        begun.set()
        await asyncio.Event().wait()

    def work() -> object:
        return forever()

    handed_on = running(executor, work)
    await asyncio.wait_for(begun.wait(), 10)
    clock.turn(LIMIT)

    with pytest.raises(StepTimeoutError):
        await asyncio.wait_for(handed_on, 10)


async def test_a_body_that_swallows_its_timeout_has_timed_out(executor: Executor, clock: ManualClock) -> None:
    async def stubborn() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "too late"

    body = running(executor, stubborn)
    await settle()
    clock.turn(LIMIT)

    with pytest.raises(StepTimeoutError):
        await body
