"""What a program reaches for that is not recorded: named, with its line, and the end of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from wrkflw.engine import program_loop
from wrkflw.engine.program_loop import Outside

from .turning import Owner


@pytest.fixture
def owner() -> Iterator[Owner]:
    owner = Owner()
    yield owner
    owner.loop.close()
    gc.collect()  # what is left over complains when it is freed


class Trio:
    """Awaitable, by something that asyncio does not know."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield self


async def in_a_thread() -> None:
    await asyncio.to_thread(print)


async def in_an_executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, print)


async def look_up() -> None:
    await asyncio.get_running_loop().getaddrinfo("example.org", 80)


async def connect() -> None:
    await asyncio.open_connection("example.org", 80)


async def start_a_process() -> None:
    await asyncio.create_subprocess_exec("true")


async def listen() -> None:
    asyncio.get_running_loop().add_reader(0, print)


async def handle_signals() -> None:
    asyncio.get_running_loop().add_signal_handler(1, print)


async def call_from_a_thread() -> None:
    asyncio.get_running_loop().call_soon_threadsafe(print)


async def wait_for_another_library() -> None:
    await Trio()


async def wait_for_a_thread() -> None:
    with ThreadPoolExecutor() as pool:
        await asyncio.wrap_future(pool.submit(int))


async def by_way_of_a_helper() -> None:
    await in_a_thread()


@pytest.mark.parametrize(
    ("program", "what"),
    [
        (in_a_thread, "asyncio.to_thread()"),
        (in_an_executor, "loop.run_in_executor()"),
        (look_up, "loop.getaddrinfo()"),
        (connect, "asyncio.open_connection()"),
        (start_a_process, "asyncio.create_subprocess_exec()"),
        (listen, "loop.add_reader()"),
        (handle_signals, "loop.add_signal_handler()"),
        (call_from_a_thread, "loop.call_soon_threadsafe()"),
        (wait_for_another_library, f"{__name__}.Trio"),
        (wait_for_a_thread, "a future of another thread"),
    ],
)
def test_what_is_foreign_is_named_with_its_line(
    owner: Owner, program: Callable[[], Coroutine[Any, Any, None]], what: str
) -> None:
    task = owner.start(program())

    line = program.__code__.co_firstlineno + (2 if program is wait_for_a_thread else 1)
    assert owner.foreign() == (
        f"run 'r-1' awaits {what} at test_foreign_awaits.py:{line}, which is not recorded; put it in a step"
    )
    if task.done():
        assert isinstance(task.exception(), Outside)


def test_the_line_is_the_innermost_of_the_program(owner: Owner) -> None:
    owner.begin(by_way_of_a_helper())

    assert f"asyncio.to_thread() at test_foreign_awaits.py:{in_a_thread.__code__.co_firstlineno + 1}" in owner.foreign()


def test_a_future_of_another_loop_is_foreign(owner: Owner) -> None:
    real = asyncio.new_event_loop()
    future = real.create_future()

    async def program() -> None:
        await future

    task = owner.start(program())
    real.close()

    assert "awaits a future of another event loop at test_foreign_awaits.py" in owner.foreign()
    assert not task.done()


def test_a_task_of_another_loop_is_foreign_by_its_name(owner: Owner) -> None:
    async def main() -> None:
        other = asyncio.create_task(asyncio.sleep(0), name="other")

        async def program() -> None:
            await other

        asyncio.get_running_loop().call_soon(owner.begin, program())
        await other
        await asyncio.sleep(0)

    asyncio.run(main())

    assert "awaits task 'other' of another event loop" in owner.foreign()


def test_what_is_foreign_cannot_be_swallowed(owner: Owner) -> None:
    seen: list[str] = []

    async def program() -> None:
        try:
            await asyncio.to_thread(print)
        except BaseException:  # noqa: BLE001
            seen.append("caught")
        await asyncio.sleep(0)
        seen.append("went on")

    owner.begin(program())
    owner.loop.turn()

    assert seen == ["caught"]
    assert "asyncio.to_thread()" in owner.foreign()


def test_nothing_else_moves_once_something_foreign_was_awaited(owner: Owner) -> None:
    seen: list[str] = []

    async def other() -> None:
        seen.append("other")

    async def program() -> None:
        _ = asyncio.create_task(other())  # noqa: RUF006  # the loop holds it
        await Trio()

    owner.begin(program())

    assert seen == []


def test_the_first_foreign_await_is_the_one_that_is_told(owner: Owner) -> None:
    async def program() -> None:
        try:
            await asyncio.to_thread(print)
        finally:
            asyncio.get_running_loop().add_reader(0, print)

    owner.begin(program())

    assert "asyncio.to_thread()" in owner.foreign()


def test_a_task_made_of_a_librarys_coroutine_is_named_by_it(owner: Owner) -> None:
    owner.begin(asyncio.to_thread(print))

    assert "awaits asyncio.to_thread() at threads.py" in owner.foreign()


def test_a_callback_that_reaches_outside_is_named(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    def callback() -> None:
        _ = owner.loop.run_in_executor(None, print)

    owner.loop.call_soon(callback)
    owner.loop.turn()

    assert f"loop.run_in_executor() at test_foreign_awaits.py:{callback.__code__.co_firstlineno + 1}" in owner.foreign()
    assert caplog.records == []


def test_a_program_that_waits_for_nothing_but_itself_is_stopped(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_loop, "RUNAWAY", 1000)

    async def program() -> None:
        while True:  # noqa: ASYNC110  # it spins
            await asyncio.sleep(0)

    owner.begin(program())

    assert owner.foreign() == (
        "run 'r-1' awaits nothing but itself (1,000 calls without a pause), which is not recorded; put it in a step"
    )
