"""One thread that does one thing after another for an event loop.

It is a daemon, because it may stand behind a process that hangs, and must not keep this one from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Hand:
    """The thread is made when it is first needed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """A future of what ``work`` returns.  Raises RuntimeError when the interpreter ends and makes no more threads.

        Not a task: a loop that ends cancels its tasks, and who waits would never hear.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            thread.start()
            self._thread = thread
        future: asyncio.Future[T] = self._loop.create_future()
        self._work.put((work, future))
        return future

    def end(self) -> None:
        """When it has done what it was given."""
        self._work.put(None)
        self._thread = None

    def _run(self) -> None:
        while (given := self._work.get()) is not None:
            work, future = given
            try:
                told = (future.set_result, work())
            except BaseException as error:  # noqa: BLE001  # who waits for it hears of it
                told = (future.set_exception, error)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(_tell, future, *told)


def _tell(future: asyncio.Future[Any], how: Callable[[Any], None], what: object) -> None:
    if not future.done():
        how(what)
