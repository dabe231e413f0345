"""Errors of a program that nobody takes, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from .turning import Owner


@pytest.fixture
def owner() -> Iterator[Owner]:
    owner = Owner()
    yield owner
    owner.loop.close()
    gc.collect()  # what is left over complains when it is freed


def foreign() -> asyncio.Future[None]:
    """Something to be awaited elsewhere."""
    loop = asyncio.new_event_loop()
    loop.close()
    return asyncio.Future(loop=loop)


# ------------------------------------------------------------------ errors
def test_an_error_in_a_callback_is_logged_and_stops_nothing(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    def failing() -> None:
        raise ValueError("no")

    owner.loop.call_soon(failing)
    owner.loop.call_soon(seen.append, 1)
    with caplog.at_level(logging.ERROR, "wrkflw"):
        owner.loop.turn()

    assert seen == [1]
    assert [(record.name, record.levelname) for record in caplog.records] == [("wrkflw", "ERROR")]
    assert "run r-1: Exception in callback" in caplog.text


def test_the_error_of_one_task_is_its_own(owner: Owner) -> None:
    async def failing() -> None:
        raise ValueError("no")

    async def program() -> str:
        results = await asyncio.gather(failing(), asyncio.sleep(0, "yes"), return_exceptions=True)
        return repr(results)

    assert owner.start(program()).result() == "[ValueError('no'), 'yes']"


def test_an_error_nobody_took_is_logged(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    async def failing() -> None:
        raise ValueError("no")

    owner.begin(failing())
    gc.collect()

    assert "Task exception was never retrieved" in caplog.text


def test_an_error_nobody_took_is_silent_after_the_end(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    async def failing() -> None:
        raise ValueError("no")

    task = owner.start(failing())
    owner.loop.close()
    del task
    gc.collect()

    assert caplog.records == []


def test_a_program_may_handle_errors_itself(owner: Owner) -> None:
    seen: list[object] = []
    owner.loop.set_exception_handler(lambda loop, context: seen.append(context["message"]))
    owner.loop.call_exception_handler({"message": "no"})

    assert seen == ["no"]
    assert owner.loop.get_exception_handler() is not None


def test_a_handler_that_fails_is_logged(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        raise ValueError("no")

    owner.loop.set_exception_handler(handler)
    owner.loop.call_exception_handler({"message": "no"})

    assert "the program's exception handler raised" in caplog.text


def test_a_task_shows_where_it_stands(owner: Owner) -> None:
    async def program() -> None:
        await owner.future()

    task = owner.start(program())

    assert "program() running at" in repr(task)
    assert [frame.f_code.co_name for frame in task.get_stack()] == ["program"]


# ------------------------------------------------------------------ the end
def test_the_end_cancels_every_task(owner: Owner) -> None:
    seen: list[str] = []

    async def part() -> None:
        try:
            await owner.future()
        finally:
            seen.append("poisoned" if owner.loop.poisoned else "alive")

    async def program() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(part())

    task = owner.start(program())
    owner.loop.close()

    assert seen == ["poisoned", "poisoned"]
    assert task.cancelled()
    assert owner.loop.is_closed()


def test_a_task_that_never_began_ends_without_a_warning(owner: Owner) -> None:
    async def program() -> None:
        raise AssertionError("it ran")

    _ = owner.loop.create_task(program())
    owner.loop.close()


def test_a_task_that_swallows_its_cancellation_once_still_ends(owner: Owner) -> None:
    seen: list[str] = []

    async def program() -> None:
        try:
            await owner.future()
        except asyncio.CancelledError:
            seen.append("swallowed")
        await owner.future()

    task = owner.start(program())
    owner.loop.close()

    assert seen == ["swallowed"]
    assert task.cancelled()


def test_a_task_that_refuses_to_end_is_forgotten(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    async def program() -> None:
        while True:
            with contextlib.suppress(BaseException):
                await owner.future()

    owner.begin(program())
    owner.loop.close()
    gc.collect()

    assert owner.loop.is_closed()
    assert caplog.records == []


def test_a_task_that_spins_at_the_end_is_forgotten(owner: Owner) -> None:
    async def program() -> None:
        try:
            await owner.future()
        finally:
            while True:  # noqa: ASYNC110  # it spins
                await asyncio.sleep(0)

    owner.begin(program())
    owner.loop.close()

    assert owner.loop.is_closed()


def test_what_the_end_reaches_for_is_not_foreign_and_arms_no_timer(owner: Owner) -> None:
    async def program() -> None:
        try:
            await owner.future()
        finally:
            try:
                await foreign()
            finally:
                await asyncio.sleep(60)

    task = owner.start(program())
    owner.loop.close()

    assert task.done()
    assert owner.loop.foreign is None
    assert owner.timers == []


def test_armed_timers_are_disarmed_by_the_end(owner: Owner) -> None:
    owner.begin(asyncio.sleep(60))
    assert len(owner.timers) == 1
    owner.loop.close()

    assert owner.timers == []


def test_a_program_that_reached_outside_is_torn_down_like_any_other(owner: Owner) -> None:
    seen: list[str] = []

    async def program() -> None:
        try:
            await foreign()
        finally:
            seen.append("ended")

    owner.begin(program())
    owner.loop.close()

    assert seen == ["ended"]
    assert owner.loop.foreign is not None


def test_open_generators_are_closed_at_the_end(owner: Owner) -> None:
    seen: list[str] = []
    kept: list[object] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            seen.append("closed")

    async def program() -> None:
        generator = numbers()
        kept.append(generator)
        await anext(generator)

    owner.begin(program())
    owner.loop.close()

    assert seen == ["closed"]


def test_after_the_end_nothing_begins(owner: Owner) -> None:
    async def program() -> None:
        raise AssertionError("it ran")

    asked = owner.future()
    seen: list[object] = []
    asked.add_done_callback(seen.append)
    owner.loop.close()
    owner.loop.close()
    owner.give(asked, "late")

    assert seen == []
    with pytest.raises(RuntimeError, match="the loop of a program is closed"):
        _ = owner.loop.create_task(program())
