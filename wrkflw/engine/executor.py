"""One try of one body: async on the loop, sync in a thread, both under the clock's timeout."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Protocol, cast

from wrkflw.clock import Clock
from wrkflw.context import Call, StepContext, SuspendContext
from wrkflw.errors import StepTimeoutError
from wrkflw.steps import Body


class Executable(Call, Protocol):
    """A call, as its execution sees it."""

    @property
    def run_was_cancelled(self) -> bool: ...


class Executor:
    """Runs bodies.  ``threads`` is how many sync ones may run at once."""

    def __init__(self, clock: Clock, threads: int) -> None:
        self._clock = clock
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, body: Body, value: object, call: Executable, timeout: timedelta | None) -> object:
        """What the body returns, or raises.

        Raises StepTimeoutError when it took longer than ``timeout``: an async body has been cancelled by then, a sync
        one goes on in its thread, unheard.
        """
        run = self._start_async if body.is_async else self._start_in_thread
        if timeout is None:
            return await run(body, value, call)
        return await self._limited(run(body, value, call), timeout, call)

    def close(self) -> None:
        """Give up the threads; a sync body that still runs is not waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _start_async(self, body: Body, value: object, call: Executable) -> Awaitable[object]:
        return cast("Awaitable[object]", body.function(*arguments(body, value, call)))

    def _start_in_thread(self, body: Body, value: object, call: Executable) -> Awaitable[object]:
        work = functools.partial(contextvars.copy_context().run, body.function, *arguments(body, value, call))
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="wrkflw-step")
        return _settled(asyncio.wrap_future(self._pool.submit(work)), call)

    async def _limited(self, running: Awaitable[object], timeout: timedelta, call: Executable) -> object:
        task = asyncio.ensure_future(running)
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        timer = self._clock.call_at(self._clock.now() + timeout, expire)
        try:
            return await task
        except asyncio.CancelledError:
            if not expired:
                task.cancel()
                raise
            raise StepTimeoutError(call.step_id, timeout, call.attempt) from None
        finally:
            timer.cancel()


def arguments(body: Body, value: object, call: Executable) -> tuple[object, ...]:
    """What the body's parameters get: nothing, its input, or its input and a context."""
    match body.arity:
        case 0:
            return ()
        case 1:
            return (value,)
        case _:
            if body.context == "suspend":
                return (value, SuspendContext[object, object, object](call))
            return (value, StepContext[object](call))


async def _settled(running: asyncio.Future[object], call: Executable) -> object:
    """What a plain function gave; it may have handed on the awaitable of another.

    A thread cannot be cancelled: when the run is, the body is told by ``ctx.stopping``, and what it still gives counts.
    """
    try:
        value = await asyncio.shield(running)
    except asyncio.CancelledError:
        if not call.run_was_cancelled:
            raise
        value = await running
    return await value if inspect.isawaitable(value) else value
