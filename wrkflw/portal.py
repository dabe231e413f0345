"""From synchronous code into the async API: one loop of our own, in a thread."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import os
import threading
from collections.abc import Awaitable
from concurrent.futures import CancelledError
from typing import TypeVar

from . import current

T = TypeVar("T")


def sync(awaitable: Awaitable[T], /, *, instead: str | None = None) -> T:
    """Run one call of the async API from synchronous code, on the default runtime's own loop.

    In a sync step body it runs on the loop of the runtime that executes the body, and on other threads, such as a web
    server's, on that of the one that is open in this process.  Raises RuntimeError, saying what to do instead, when
    called where an event loop is running, on the thread of one that stands still, or beside several open runtimes.
    """
    if _a_loop_runs_here():
        raise _refusal(awaitable, "was called where an event loop runs; use", instead)
    runtime = current.entered() or current.standing_here()
    if runtime is None and (others := current.open_on_other_threads()):
        if len(others) > 1:
            which = f"was called on a thread of none of the {len(others)} runtimes that are open here; take one's loop:"
            raise _refusal(awaitable, which, "asyncio.run_coroutine_threadsafe(..., rt.loop)")
        runtime = others[0]
    if runtime is not None and runtime.loop is not None:
        # As between two awaits of a test; another thread may wait until they go on, this one would wait for itself.
        if not runtime.loop.is_running() and runtime.loop_thread == threading.get_ident():
            stands = "was called while the event loop of its runtime stands still; make the caller async, and use"
            raise _refusal(awaitable, stands, instead)
        return asyncio.run_coroutine_threadsafe(_awaited(awaitable), runtime.loop).result()
    return _portal().run(awaitable)


def _refusal(awaitable: Awaitable[object], why: str, instead: str | None) -> RuntimeError:
    if inspect.iscoroutine(awaitable):
        awaitable.close()
    name = "run_sync()" if instead else "sync()"
    use = "await step.run(...)" if _within_a_program() else instead or "await"
    return RuntimeError(f"{name} {why} {use!r}")


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _a_loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _within_a_program() -> bool:
    """Whether it is a workflow written as code that asks, which may await steps alone."""
    from .engine.program_loop import ProgramLoop  # noqa: PLC0415  # to define workflows takes no engine

    return isinstance(asyncio._get_running_loop(), ProgramLoop)


class _Portal:
    """A loop that runs in a thread until the process ends, or a body on it raises what ends a loop."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.ended_by: SystemExit | KeyboardInterrupt | None = None
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wrkflw-loop", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def _run(self) -> None:
        # The runner ends the loop as asyncio.run() does: tasks cancelled, async generators closed.
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            self._stop = asyncio.Event()
            try:
                runner.run(self._stop.wait())
            except (SystemExit, KeyboardInterrupt) as error:  # for who waits: here it would end nothing but the loop
                self.ended_by = error

    def run(self, awaitable: Awaitable[T]) -> T:
        """What is awaited on the loop gives.  Raises what ends it meanwhile."""
        try:
            return asyncio.run_coroutine_threadsafe(_awaited(awaitable), self.loop).result()
        except CancelledError:
            if self.ended_by is not None:
                raise self.ended_by from None
            raise

    def close(self) -> None:
        if self.pid != os.getpid():  # a forked child has the object, not the thread
            return
        if self.ended_by is None:
            self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


_lock = threading.Lock()
_only: _Portal | None = None


def _portal() -> _Portal:
    global _only  # noqa: PLW0603  # one portal a process
    with _lock:
        if _only is not None and _only.ended_by is not None:
            atexit.unregister(_only.close)
            _only.close()  # its runtime may still be about to let go of the file
            _only = None
        if _only is None or _only.pid != os.getpid():
            _only = _Portal()
        return _only
