"""The loop of a program: one order, and asyncio as everybody knows it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import math
from collections.abc import AsyncIterator, Iterator

import pytest

from .turning import Owner


@pytest.fixture
def owner() -> Iterator[Owner]:
    owner = Owner()
    yield owner
    owner.loop.close()
    gc.collect()  # what is left over complains when it is freed


# ------------------------------------------------------------------ order
def test_what_is_ready_runs_first_come_first_served_until_nothing_is(owner: Owner) -> None:
    seen: list[int] = []

    def first() -> None:
        seen.append(1)
        owner.loop.call_soon(seen.append, 3)

    owner.loop.call_soon(first)
    owner.loop.call_soon(seen.append, 2)
    owner.loop.turn()

    assert seen == [1, 2, 3]


def test_a_cancelled_call_does_not_run(owner: Owner) -> None:
    seen: list[int] = []
    handle = owner.loop.call_soon(seen.append, 1)
    handle.cancel()
    owner.loop.turn()

    assert seen == []


def test_a_program_waits_for_what_its_owner_gives(owner: Owner) -> None:
    asked = owner.future()

    async def program() -> int:
        return int(await asked) + 1

    task = owner.start(program())
    assert not task.done()
    owner.give(asked, 1)

    assert task.result() == 2


def test_gather_starts_in_the_order_of_its_arguments_and_gives_in_it(owner: Owner) -> None:
    futures = [owner.future() for _ in range(3)]
    started: list[int] = []

    async def part(index: int) -> object:
        started.append(index)
        return await futures[index]

    async def program() -> list[object]:
        return list(await asyncio.gather(part(0), part(1), part(2)))

    task = owner.start(program())
    for index in (2, 0, 1):
        owner.give(futures[index], index)

    assert started == [0, 1, 2]
    assert task.result() == [0, 1, 2]


def test_the_first_completed_is_told_from_the_others(owner: Owner) -> None:
    futures = [owner.future() for _ in range(3)]

    async def part(index: int) -> object:
        return await futures[index]

    async def program() -> tuple[object, list[str]]:
        tasks = [asyncio.create_task(part(index), name=str(index)) for index in range(3)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return done.pop().result(), sorted(task.get_name() for task in pending)

    task = owner.start(program())
    owner.give(futures[1], "second")

    assert task.result() == ("second", ["0", "2"])


def test_sets_of_tasks_have_the_same_order_every_time() -> None:
    async def program() -> list[str]:
        tasks = [asyncio.create_task(asyncio.sleep(0), name=str(index)) for index in range(50)]
        done, _ = await asyncio.wait(tasks)
        return [task.get_name() for task in done]

    orders: set[tuple[str, ...]] = set()
    kept: list[object] = []
    for _ in range(5):
        owner = Owner()
        orders.add(tuple(owner.start(program()).result()))
        kept.append([object() for _ in range(1001)])  # whatever comes next lies elsewhere
        owner.loop.close()

    assert len(orders) == 1


def test_tasks_are_numbered_by_their_run_alone(owner: Owner) -> None:
    async def program() -> str:
        return asyncio.create_task(asyncio.sleep(0)).get_name()

    assert owner.start(program()).result() == "Task-2"


# ------------------------------------------------------------------ combinators
def test_a_failing_task_of_a_group_cancels_its_siblings(owner: Owner) -> None:
    asked = owner.future()
    seen: list[str] = []

    async def failing() -> None:
        await asked
        raise ValueError("no")

    async def waiting() -> None:
        try:
            await owner.future()
        finally:
            seen.append("cancelled")

    async def program() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(failing())
                group.create_task(waiting())
        except* ValueError as errors:
            seen.append(repr(errors.exceptions))

    owner.begin(program())
    owner.give(asked)

    assert seen == ["cancelled", "(ValueError('no'),)"]


def test_a_timeout_is_a_timer_of_the_owner(owner: Owner) -> None:
    async def program() -> str:
        try:
            async with asyncio.timeout(60):
                await owner.future()
        except TimeoutError:
            return "too late"
        return "in time"

    task = owner.start(program())
    owner.pass_time(59)
    assert not task.done()
    owner.pass_time(1)

    assert task.result() == "too late"


def test_a_timer_that_is_no_longer_wanted_is_disarmed(owner: Owner) -> None:
    asked = owner.future()

    async def program() -> object:
        return await asyncio.wait_for(asked, 60)

    task = owner.start(program())
    assert [timer.when() for timer in owner.timers] == [60]
    owner.give(asked, "in time")

    assert task.result() == "in time"
    assert owner.timers == []


def test_a_timer_that_is_due_needs_no_owner(owner: Owner) -> None:
    seen: list[int] = []
    owner.loop.call_later(0, seen.append, 1)
    owner.loop.turn()

    assert (seen, owner.timers) == ([1], [])


def test_a_timer_of_infinity_is_never_armed(owner: Owner) -> None:
    task = owner.start(asyncio.sleep(math.inf))

    assert not task.done()
    assert owner.timers == []


def test_a_fired_timer_may_still_be_cancelled(owner: Owner) -> None:
    seen: list[int] = []
    timer = owner.loop.call_later(1, seen.append, 1)
    owner.timers.clear()
    owner.loop.fire(timer)
    timer.cancel()
    owner.loop.turn()

    assert seen == []


def test_the_time_is_the_programs_own(owner: Owner) -> None:
    async def program() -> float:
        return asyncio.get_running_loop().time()

    owner.seconds = 17.5

    assert owner.start(program()).result() == 17.5


def test_queues_events_locks_and_shields_work(owner: Owner) -> None:
    async def produce(queue: asyncio.Queue[int], go: asyncio.Event, lock: asyncio.Lock) -> None:
        await go.wait()
        for number in range(3):
            async with lock:
                await queue.put(number)

    async def program() -> list[int]:
        queue, go, lock = asyncio.Queue[int](maxsize=1), asyncio.Event(), asyncio.Lock()
        producing = asyncio.create_task(produce(queue, go, lock))
        go.set()
        numbers = [await queue.get() for _ in range(3)]
        await asyncio.shield(producing)
        return numbers

    assert owner.start(program()).result() == [0, 1, 2]


def test_tasks_come_as_they_complete(owner: Owner) -> None:
    futures = [owner.future() for _ in range(3)]

    async def part(index: int) -> object:
        return await futures[index]

    async def program() -> list[object]:
        tasks = [asyncio.create_task(part(index)) for index in range(3)]
        return [await earliest for earliest in asyncio.as_completed(tasks)]

    task = owner.start(program())
    for index in (1, 2, 0):
        owner.give(futures[index], index)

    assert task.result() == [1, 2, 0]


def test_async_generators_work_and_are_closed_when_dropped(owner: Owner) -> None:
    seen: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(10):
                await asyncio.sleep(0)
                yield number
        finally:
            seen.append("closed")

    async def program() -> int:
        async for number in numbers():
            if number == 3:
                return number
        return -1

    assert owner.start(program()).result() == 3
    gc.collect()
    owner.loop.turn()
    assert seen == ["closed"]


def test_context_variables_are_those_of_the_task(owner: Owner) -> None:
    variable = contextvars.ContextVar("variable", default=0)

    async def part() -> int:
        variable.set(variable.get() + 1)
        await asyncio.sleep(0)
        return variable.get()

    async def program() -> tuple[int, int, int]:
        variable.set(10)
        return await asyncio.create_task(part()), await asyncio.create_task(part()), variable.get()

    assert owner.start(program()).result() == (11, 11, 10)
    assert variable.get() == 0


def test_it_turns_from_a_callback_of_the_real_loop(owner: Owner) -> None:
    asked = owner.future()
    loops: list[object] = []

    async def program() -> object:
        loops.append(asyncio.get_running_loop())
        return await asked

    async def main() -> None:
        real = asyncio.get_running_loop()
        ended = real.create_future()
        task = owner.loop.create_task(program())
        task.add_done_callback(lambda task: ended.set_result(task.result()))
        real.call_soon(owner.loop.turn)
        real.call_soon(owner.give, asked, "given")
        loops.append(await ended)
        loops.append(asyncio.get_running_loop() is real)

    asyncio.run(main())

    assert loops == [owner.loop, "given", True]


def test_it_runs_only_while_it_turns(owner: Owner) -> None:
    async def program() -> bool:
        return owner.loop.is_running()

    assert owner.start(program()).result()
    assert not owner.loop.is_running()
    assert not owner.loop.get_debug()


def test_it_cannot_be_turned_or_closed_from_inside(owner: Owner) -> None:
    errors: list[str] = []

    async def program() -> None:
        for call in (owner.loop.turn, owner.loop.close):
            try:
                await asyncio.sleep(0)
                owner.loop.call_soon(int)
                call()
            except RuntimeError as error:
                errors.append(str(error))

    owner.begin(program())

    assert errors == [
        "the loop of a program cannot be turned from inside",
        "the loop of a program cannot be closed from inside",
    ]
