"""The event loop on which a program runs: it does nothing by itself, and all it does is in one order.

``turn()`` runs what is ready, first come first served, until nothing is: then the program can only move when its owner
resolves a future or fires a timer.  Nothing of the outside gets in, so the same futures resolved in the same order
lead a program the same way again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import weakref
import zlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Context
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple, Unpack, cast

from wrkflw.errors import ForeignAwaitError

from .foreign import Watched, begins_in_no_order, line_of_program, running_frames, told
from .undying import end

if TYPE_CHECKING:
    from asyncio import BaseEventLoop as _EventLoop  # has in the stubs what the abstract one leaves open; see _OUTSIDE
else:
    from asyncio import AbstractEventLoop as _EventLoop

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

RUNAWAY: Final = 1_000_000
"""Calls in one turn after which a program is taken to wait for nothing but itself."""
_LAST_ROUNDS: Final = 5  # how often a task is cancelled at close()
_LAST_CALLS: Final = 10_000  # and how many calls it has in each
_FROM_OUTSIDE: Final = (asyncio.wrap_future.__code__,)

_log = logging.getLogger("wrkflw")


_ENDS_WAIT: object = getattr(asyncio.tasks, "_release_waiter", None)
"""What a timer of ``asyncio.wait`` calls, and on Python 3.11 that of ``wait_for``; later ones use ``timeout`` there."""


class Outside(BaseException):
    """Leaves a program where it reached for the outside.  Not to be caught: the loop has noted it by then."""


class ProgramTask(asyncio.Task[_T]):
    """A task that a set holds in the same place every time: ``asyncio.wait`` gives sets."""

    def __init__(self, coroutine: Watched, *, number: int, **options: Any) -> None:
        self._number = number  # at first: asyncio puts the task into a set
        super().__init__(coroutine, **options)

    @property
    def is_to_be_cancelled(self) -> bool:
        """Whether it hears of it where it waits next: also after an ``uncancel()``, which does not take that back."""
        task: Any = self  # asyncio has no other word for it
        return bool(task._must_cancel)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class ProgramLoop(_EventLoop):
    """An event loop that is turned by hand, from a plain callback of the real loop (never from inside a task of it).

    ``now`` is the time on the program's own clock, in seconds.  ``arm`` is told of a timer that the program set,
    and what it is, for ``fire()`` to be called when it is time; ``disarm`` that it is no longer wanted.
    """

    def __init__(
        self,
        run_id: str,
        now: Callable[[], float],
        arm: Callable[[asyncio.TimerHandle, str], None],
        disarm: Callable[[asyncio.TimerHandle], None],
    ) -> None:
        self.run_id = run_id
        self.foreign: ForeignAwaitError | None = None
        """What the program reached for first that is not recorded.  It does not move after that."""
        self.poisoned = False
        """Whether the program is being torn down: whatever it still does must have no effect."""
        self._now, self._arm, self._disarm = now, arm, disarm
        self._ready: deque[asyncio.Handle] = deque()
        self._alive: dict[Watched, asyncio.Task[Any]] = {}
        self._generators: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self._handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None
        self._tasks_made = 0
        # Runs differ, or tasks of all runs would meet in one slot of asyncio's own sets; a run stays the same.
        self._first_number = zlib.crc32(run_id.encode()) << 20
        self._turning = False
        self._starting = 0
        """How many tasks are just being made: some begin at once, in the middle of the one that makes them."""
        self._closed = False

    # --- what the owner does -----------------------------------------------------------------------

    def turn(self) -> None:
        """Run everything that is ready, until nothing is, or the program reached for the outside."""
        if not self._ready or (self.foreign is not None and not self.poisoned):
            return
        if not self._turn(RUNAWAY if not self.poisoned else _LAST_CALLS) and not self.poisoned:
            self._note(f"nothing but itself ({RUNAWAY:,} calls without a pause)", [])

    def fire(self, timer: asyncio.TimerHandle) -> None:
        """The time of an armed timer has come: its call is ready.  Takes effect with the next turn."""
        timer._scheduled = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue] -- as every loop does
        if not timer.cancelled():
            self._ready.append(timer)

    def poison(self) -> None:
        """From here on nothing the program does may have effect; its timers are never armed."""
        self.poisoned = True

    def close(self) -> None:
        """Tear the program down: cancel its tasks, let them end, and forget those that will not."""
        if self._turning:
            raise RuntimeError("the loop of a program cannot be closed from inside")
        self.poison()
        for _ in range(_LAST_ROUNDS):
            if not self._alive:
                break
            for task in list(self._alive.values()):
                task.cancel()
            self._turn(_LAST_CALLS)
        if self._generators:
            _ = self.create_task(self.shutdown_asyncgens())
            self._turn(_LAST_CALLS)
        if self._alive:
            self._end_all()
        self._closed = True
        self._ready.clear()
        self._alive.clear()
        stopped_at = self._now()
        self._now, self._arm, self._disarm = lambda: stopped_at, _nobody, _nobody  # the owner is held no longer

    def _end_all(self) -> None:
        """Close what does not end when it is cancelled.

        It sees this loop run, and its own task: what catches everything is to come to rest in what it awaits next, not
        to be refused it, again and again.
        """
        outer = asyncio._get_running_loop()
        self._turning = True
        asyncio._set_running_loop(self)
        try:
            for _ in range(_LAST_ROUNDS):  # its last words may begin tasks
                alive, self._alive = self._alive, {}
                for coroutine, task in alive.items():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue] -- it is, and we know
                    end(coroutine, task, self)
        finally:
            asyncio._set_running_loop(outer)
            self._turning = False

    def _turn(self, budget: int) -> bool:
        """Whether it came to rest within so many calls."""
        if self._turning:
            raise RuntimeError("the loop of a program cannot be turned from inside")
        ready = self._ready
        outer = asyncio._get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        self._turning = True
        sys.set_asyncgen_hooks(self._generators.add, self._finalize)
        asyncio._set_running_loop(self)
        try:
            while ready and budget:
                handle = ready.popleft()
                if handle._cancelled:
                    continue
                budget -= 1
                handle._run()
                del handle  # as of Python 3.13 what was raised in it leads back here, and on to itself
                if self.foreign is not None and not self.poisoned:
                    return True
        finally:
            asyncio._set_running_loop(outer)
            sys.set_asyncgen_hooks(*hooks)
            self._turning = False
        return not ready

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing could move if the task that runs now were to wait: no other is ready, it is not cancelled."""
        if self._ready or self._starting or self.foreign is not None:
            return False
        task = asyncio.current_task(self)  # one that is not of here was begun by another, who has not come to an end
        return isinstance(task, ProgramTask) and not task.cancelling() and not task.is_to_be_cancelled

    # --- what is foreign ---------------------------------------------------------------------------

    def is_own(self, future: object, /) -> bool:
        """Whether ``future`` belongs to this loop."""
        return isinstance(future, asyncio.Future) and future.get_loop() is self

    def refuse(self, what: str | None, frames: list[FrameType], /) -> asyncio.Future[Any]:
        """Note what is foreign; gives a future that never comes, to be awaited in its place."""
        self._note(what, frames)
        never = self.create_future()
        never._asyncio_future_blocking = True  # as if it had been awaited
        return never

    def refuse_step(self, id: str) -> asyncio.Future[Any]:
        """Note that a step was called as a function; gives a future that never comes, to be awaited in its place."""
        line = line_of_program()  # none where it was made a task, whose code is that of the step
        what = f"calls step {id!r} as a function{f' at {line}' if line else ''}, which is not recorded"
        self._note_foreign(f"run {self.run_id!r} {what}; await step.run({id.replace('-', '_')}, ...)")
        return self.create_future()

    def ended(self, coroutine: Watched, /) -> None:
        """``coroutine`` will not be sent anything more."""
        self._alive.pop(coroutine, None)

    def _reached_outside(self, name: str) -> Outside:
        return self._note(f"loop.{name}()", running_frames()[:-1])

    def _note(self, what: str | None, frames: list[FrameType]) -> Outside:
        what, where = told(what, frames)
        place = f" at {where}" if frames else ""
        sentence = f"run {self.run_id!r} awaits {what}{place}, which is not recorded; put it in a step"
        self._note_foreign(sentence)
        return Outside(sentence)

    def _note_foreign(self, sentence: str) -> None:
        if self.foreign is None and not self.poisoned:
            self.foreign = ForeignAwaitError(self.run_id, "", sentence)

    def _note_disorder(self) -> None:
        """Coroutines of the program's own were given to ``asyncio.as_completed``, which makes tasks of a set."""
        _, where = told(None, running_frames()[:-1])
        what = f"gives coroutines to asyncio.as_completed() at {where}, which begins them in no order"
        self._note_foreign(f"run {self.run_id!r} {what}; give it tasks of asyncio.create_task()")

    # --- calls and timers --------------------------------------------------------------------------

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self._closed:
            self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        if self.poisoned or self._closed or when == math.inf:  # it never rings
            return timer
        if when <= self._now():
            self._ready.append(timer)
        else:
            timer._scheduled = True  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue] -- as every loop does
            # A limit and a sleep have names of their own, lest one that is new takes the other's place in the record.
            self._arm(timer, "timeout" if _is_limit(callback) else "timer")
        return timer

    def _timer_handle_cancelled(self, timer: asyncio.TimerHandle) -> None:
        if timer._scheduled:  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
            timer._scheduled = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
            self._disarm(timer)

    def time(self) -> float:
        return self._now()

    # --- futures, tasks, generators ----------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        if sys._getframe(1).f_code in _FROM_OUTSIDE:  # pyright: ignore[reportPrivateUsage] -- the fastest way to know
            raise self._note("a future of another thread", running_frames()[:-1])
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
        *,
        name: object = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[_T]:
        coroutine = cast("Coroutine[Any, Any, _T]", coro)
        if begins_in_no_order(coroutine):
            self._note_disorder()
        if self._closed:
            coroutine.close()
            raise RuntimeError("the loop of a program is closed")
        self._tasks_made += 1
        watched = Watched(coroutine, self)
        self._starting += 1
        try:
            task = ProgramTask[_T](
                watched,
                number=self._first_number + self._tasks_made,
                loop=self,
                name=f"Task-{self._tasks_made}" if name is None else str(name),
                context=context,
                **options,
            )
        finally:
            self._starting -= 1
        if not task.done():
            self._alive[watched] = task
        return task

    async def shutdown_asyncgens(self) -> None:
        generators = list(self._generators)
        self._generators.clear()
        await asyncio.gather(*(generator.aclose() for generator in generators), return_exceptions=True)

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generators.discard(generator)
        if not self.poisoned:
            _ = self.create_task(generator.aclose())

    # --- the rest of what asyncio asks -------------------------------------------------------------

    def is_running(self) -> bool:
        return self._turning

    def is_closed(self) -> bool:
        return self._closed

    def get_debug(self) -> bool:
        return False

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None:
        return self._handler

    def set_exception_handler(
        self, handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None
    ) -> None:
        self._handler = handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error that nobody in the program took; none counts while it is torn down."""
        if self.poisoned:
            return
        if self._handler is None:
            self.default_exception_handler(context)
            return
        try:
            self._handler(self, context)
        except Exception:  # noqa: BLE001  # it is the user's
            _log.exception("run %s: the program's exception handler raised", self.run_id)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        error: BaseException | None = context.get("exception")
        if not isinstance(error, Outside):
            _log.error("run %s: %s", self.run_id, context.get("message"), exc_info=error)

    def __repr__(self) -> str:
        return f"<ProgramLoop of run {self.run_id!r}>"

    if TYPE_CHECKING:

        def __del__(self) -> None: ...


def _nobody(*_: object) -> None: ...


def _is_limit(callback: object) -> bool:
    """Whether a timer that calls it bounds a wait; the others are sleeps, and calls of the user's."""
    return callback is _ENDS_WAIT or isinstance(getattr(callback, "__self__", None), asyncio.Timeout)


def _outside(name: str) -> Callable[..., Any]:
    def refuse(self: ProgramLoop, *_: object, **__: object) -> None:
        raise self._reached_outside(name)  # pyright: ignore[reportPrivateUsage] -- it is a method

    refuse.__name__ = name
    refuse.__qualname__ = f"ProgramLoop.{name}"
    return refuse


_OUTSIDE: Final = sorted(
    name for name in dir(asyncio.AbstractEventLoop) if not name.startswith("_") and name not in vars(ProgramLoop)
)
"""Threads, sockets, processes, signals: everything of a loop that a program has no use for."""

for _name in _OUTSIDE:
    setattr(ProgramLoop, _name, _outside(_name))
