"""One try of one body: async on the loop, sync in a thread, both under the clock's timeout."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import itertools
import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import coroutine
from typing import Protocol, cast

from wrkflw.bodies import Body
from wrkflw.clock import Clock, later
from wrkflw.context import Call, StepContext, SuspendContext
from wrkflw.errors import StepTimeoutError
from wrkflw.logs import trying

from .observers import Observer


class Executable(Call, Protocol):
    """A call, as its execution sees it."""

    @property
    def run_was_cancelled(self) -> bool: ...
    @property
    def is_too_fast(self) -> bool: ...
    async def room(self) -> None: ...


class Executor:
    """Runs bodies.  ``threads`` is how many sync ones may run at once, without those that were given up."""

    observer: Observer | None = None
    """Who watches them."""

    def __init__(self, clock: Clock, threads: int) -> None:
        self._clock = clock
        self._free = asyncio.Semaphore(threads)
        self._idle: list[ThreadPoolExecutor] = []
        """Threads that have nothing to do, each in a pool of its own.

        A pool of many begins another while one that has just finished has not said so yet, and another, and another.
        """
        self._threads = itertools.count(1)
        self._closed = False

    async def run(self, body: Body, value: object, call: Executable, timeout: timedelta | None) -> object:
        """What the body returns, or raises.

        Raises StepTimeoutError when it took longer than ``timeout`` from its beginning: an async body has been
        cancelled by then, a sync one goes on in its thread, unheard.  A body that waits for a thread has not begun,
        and never does when the try is given up meanwhile.
        """
        token = trying.set(call)
        try:
            if self.observer is None:
                return await self._begin(body, value, call, timeout)
            with self.observer.trying(call):
                return await self._begin(body, value, call, timeout)
        finally:
            try:  # noqa: SIM105  # it is passed with every try: suppress() would cost ten times as much
                trying.reset(token)
            except ValueError:  # a loop that was left behind is torn down from elsewhere
                pass

    def _begin(self, body: Body, value: object, call: Executable, timeout: timedelta | None) -> Awaitable[object]:
        """The body called; what it gives, or raises, comes of awaiting it."""
        given = arguments(body, value, call)
        if not body.is_async:
            return self._run_in_thread(body, given, call, timeout)
        begin = cast("Callable[..., Awaitable[object]]", body.function)
        running = _paced(begin, given, call) if body.arity == 2 else begin(*given)  # with a context it can write
        return running if timeout is None else _Limit(self._clock, timeout, call).on(running)

    async def _run_in_thread(
        self, body: Body, given: tuple[object, ...], call: Executable, timeout: timedelta | None
    ) -> object:
        work = functools.partial(contextvars.copy_context().run, _in_its_thread, body.function, *given)
        async with self._free:  # until the thread is done, or given up: then another may take its place
            limit = _Limit(self._clock, timeout, call)
            result = await limit.on(self._in_thread(work, call))
        # A plain function may have handed on the awaitable of another.
        return await limit.on(result) if inspect.isawaitable(result) else result

    def close(self) -> None:
        """Give up the threads; a sync body that still runs is not waited for."""
        self._closed = True
        while self._idle:
            self._idle.pop().shutdown(wait=False)

    def _new_thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix=f"wrkflw-step-{next(self._threads)}")

    async def _in_thread(self, work: Callable[[], object], call: Executable) -> object:
        """What a plain function gave.

        A thread cannot be cancelled: when the run is, the body is told by ``ctx.stopping``, and what it still gives
        counts.
        """
        if self._closed:
            raise RuntimeError("the runtime was closed; begin it with another one")
        thread = self._idle.pop() if self._idle else self._new_thread()
        try:
            body = thread.submit(work)
        except RuntimeError:
            # When the main thread is over Python begins no work in threads.  A loop that does not keep the process from
            # ending is closed next, which lets go of the run; nothing is wrong with the step.
            thread.shutdown(wait=False, cancel_futures=True)
            if threading.main_thread().is_alive():
                raise
            if threading.current_thread().daemon:
                await asyncio.get_running_loop().create_future()
            problem = "the main thread has ended, and Python begins no work in threads any more"
            raise RuntimeError(f"{problem}; let it wait for the loop, or make the step async") from None
        running = asyncio.wrap_future(body)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if not body.cancel() and call.run_was_cancelled:
                return await running
            running.cancel()  # nobody listens any more
            raise
        finally:
            if body.done() and not self._closed:
                self._idle.append(thread)
            else:
                thread.shutdown(wait=False)  # it ends with the body that was given up


def _in_its_thread(function: Callable[..., object], *given: object) -> object:
    """What a plain function gives.  In a thread, ``sys.exit()`` is a word of the body alone: no signal comes there."""
    try:
        return function(*given)
    except SystemExit as error:
        raise RuntimeError(f"the body called sys.exit({error.code!r}); raise an error instead") from error
    except (StopIteration, GeneratorExit) as error:  # to the coroutine that waits for it, these say something else
        raise RuntimeError(f"the body raised {type(error).__name__}; raise an error of your own instead") from error


@coroutine
def _paced(
    begin: Callable[..., Awaitable[object]], given: tuple[object, ...], call: Executable
) -> Generator[object, None, object]:
    """What the body gives; from what it awaits it goes on only when there is room for what it writes."""
    steps = cast("Generator[object, None, object]", begin(*given).__await__())
    go_on: Callable[[], object] = steps.__next__
    while True:
        try:
            awaited = go_on()
        except StopIteration as end:
            return end.value
        try:
            yield awaited
            if call.is_too_fast:
                yield from call.room().__await__()
            go_on = steps.__next__
        except BaseException as error:  # noqa: BLE001  # a cancellation, which is the body's to hear
            go_on = functools.partial(steps.throw, error)


class _Limit:
    """The time that one try has, from now on."""

    def __init__(self, clock: Clock, timeout: timedelta | None, call: Executable) -> None:
        self._clock = clock
        self._timeout = timeout
        self._call = call
        self._until = None if timeout is None else later(clock.now(), timeout)

    async def on(self, running: Awaitable[object]) -> object:
        """What ``running`` gives.  Raises StepTimeoutError when it is cancelled, or gives it, too late."""
        if self._timeout is None or self._until is None:
            return await running
        task = asyncio.ensure_future(running)
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = task.cancel()

        timer = self._clock.call_at(self._until, expire)
        try:
            result = await task
        except asyncio.CancelledError:
            if not expired:
                task.cancel()
                raise
        else:
            if not expired:
                return result
        finally:
            timer.cancel()
        raise StepTimeoutError(self._call.step_id, self._timeout, self._call.attempt)


def arguments(body: Body, value: object, call: Executable) -> tuple[object, ...]:
    """What the body's parameters get: nothing, its input, or its input and a context."""
    match body.arity:
        case 0:
            return ()
        case 1:
            return (value,)
        case _:
            if body.context == "suspend":
                suspending: SuspendContext[object, object, object] = SuspendContext(call)
                return (value, suspending)
            context: StepContext[object] = StepContext(call)
            return (value, context)
