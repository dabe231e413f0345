"""From synchronous code into the async API: one loop of our own, in a thread."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import os
import threading
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import TypeVar

from . import current

T = TypeVar("T")


def sync(awaitable: Awaitable[T], /, *, instead: str | None = None) -> T:
    """Run one call of the async API from synchronous code, on the default runtime's own loop.

    In a sync step body it runs on the loop of the runtime that executes the body.  Raises RuntimeError, saying what to
    await instead, when called where an event loop is running.
    """
    if _a_loop_runs_here():
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        name = "run_sync()" if instead else "sync()"
        raise RuntimeError(f"{name} was called where an event loop runs; use {instead or 'await'!r}")
    runtime = current.entered()
    loop = runtime.loop if runtime is not None and runtime.loop is not None else _portal().loop
    future: Future[T] = asyncio.run_coroutine_threadsafe(_awaited(awaitable), loop)
    return future.result()


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _a_loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Portal:
    """A loop that runs in a thread until the process ends."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wrkflw-loop", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def _run(self) -> None:
        # The runner ends the loop as asyncio.run() does: tasks cancelled, async generators closed.
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            self._stop = asyncio.Event()
            runner.run(self._stop.wait())

    def close(self) -> None:
        if self.pid != os.getpid():  # a forked child has the object, not the thread
            return
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


_lock = threading.Lock()
_only: _Portal | None = None


def _portal() -> _Portal:
    global _only  # noqa: PLW0603  # one portal a process
    with _lock:
        if _only is None or _only.pid != os.getpid():
            _only = _Portal()
        return _only
