"""The lanes of a process: an event loop that waits for nothing, and what its threads would do."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

from .machine import START, Blocked, Machine
from .tempers import SECOND

if TYPE_CHECKING:
    from .processes import Process

T = TypeVar("T")
_Ts = TypeVarTuple("_Ts")


class Task(asyncio.Task[Any]):
    """Its place in a set is by its number, not by its address: sets of tasks have the same order each time."""

    def __new__(cls, *_args: object, loop: Loop, **_kwargs: object) -> Task:
        task = super().__new__(cls)
        task.number = next(loop.numbers)
        return task

    number: int

    def __hash__(self) -> int:
        return self.number


class Loop(asyncio.BaseEventLoop):
    """Calls one thing at a time, when it is told to."""

    is_thread = False
    _ready: deque[asyncio.Handle]
    _scheduled: list[Any]
    """Handles of timers, as BaseEventLoop keeps them."""

    def __init__(self, machine: Machine, process: Process) -> None:
        self.process = process
        super().__init__()
        self.busy = False
        self._machine = machine
        self.numbers = machine.numbers
        self._calls: list[tuple[int, int, asyncio.Handle]] = []
        """What the clock on the wall is to call."""
        self.tasks: list[Task] = []
        self.set_exception_handler(lambda _loop, context: process.hear_of(context))

    def time(self) -> float:
        return self._machine.elapsed / SECOND

    def is_running(self) -> bool:
        return not self.process.dead

    def _check_closed(self) -> None:
        """Of a dead process: what is called on it is never done."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who had to be woken."""

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> Any:
        task = Task(coro, loop=self, name=None if name is None else str(name), context=context)
        self.tasks.append(task)
        if len(self.tasks) > 200:
            self.tasks = [task for task in self.tasks if not task.done()]
        return task

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], T], *args: *_Ts
    ) -> asyncio.Future[T]:
        return self.process.bodies.do(partial(func, *args))

    # --- as a lane ---------------------------------------------------------------------------------

    def is_ready(self) -> bool:
        machine, ready, scheduled, calls = self._machine, self._ready, self._scheduled, self._calls
        # The wall clock is added up in place below: this is asked for more often than anything else.
        while scheduled and ((first := scheduled[0])._cancelled or first._when * SECOND <= machine.elapsed):
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        while calls and (calls[0][2]._cancelled or calls[0][0] <= machine.elapsed + machine.set_by):
            ready.append(heapq.heappop(calls)[2])
        while ready and ready[0]._cancelled:
            ready.popleft()
        return bool(ready)

    def next_due(self) -> int | None:
        """By the time that has passed since the machine was switched on."""
        dues: list[int] = []
        if self._scheduled:
            dues.append(int(self._scheduled[0].when() * SECOND) + 1)
        if self._calls:
            dues.append(self._calls[0][0] - self._machine.wall + self._machine.elapsed)
        return min(dues, default=None)

    def run_next(self) -> None:
        ready, machine = self._ready, self._machine
        if machine.temper.shuffles and len(ready) > 1:
            index = int(machine.random.random() * len(ready))
            handle = ready[index]
            del ready[index]
        else:
            handle = ready.popleft()
        if handle._cancelled:
            return
        machine.run_lane(self.process, self, handle._run)

    # --- as a clock --------------------------------------------------------------------------------

    def call_at_wall(self, when: int, callback: Callable[[], None]) -> asyncio.Handle:
        handle = asyncio.Handle(callback, (), self)
        heapq.heappush(self._calls, (when, next(self.numbers), handle))
        return handle


class WallClock:
    """The clock that all processes read; each has its own calls."""

    def __init__(self, machine: Machine, loop: Loop) -> None:
        self._machine = machine
        self._loop = loop

    def now(self) -> datetime:
        return self._machine.now

    def call_at(self, when: datetime, callback: Callable[[], None], /) -> asyncio.Handle:
        return self._loop.call_at_wall((when - START) // timedelta(microseconds=1), callback)


class Thread:
    """A thread of a process as a lane: does one piece of work after another."""

    is_thread = True

    def __init__(self, machine: Machine, process: Process) -> None:
        self.busy = False
        self._machine = machine
        self._process = process
        self._work: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._waits_since: int | None = None
        """How many locks had been given up when it began to wait for one."""

    def do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """A future, on the loop of the process, of what ``work`` gives."""
        future: asyncio.Future[T] = self._process.loop.create_future()
        self._work.append((work, future))
        self._process.threads_at_work += 1
        return future

    def forget(self, future: asyncio.Future[Any]) -> bool:
        """Whether the work had not begun, and now never does."""
        for piece in self._work:
            if piece[1] is future:
                self._work.remove(piece)
                self._process.threads_at_work -= 1
                return True
        return False

    def is_ready(self) -> bool:
        return bool(self._work) and self._waits_since != self._machine.releases

    def run_next(self) -> None:
        self._machine.run_lane(self._process, self, self._do_next)

    def _do_next(self) -> None:
        work, future = self._work.popleft()
        try:
            told = (future.set_result, work())
        except Blocked:
            self._waits_since = self._machine.releases
            self._work.appendleft((work, future))
            return
        except BaseException as error:  # noqa: BLE001  # who waits for it hears of it
            told = (future.set_exception, error)
        self._waits_since = None
        self._process.threads_at_work -= 1
        self._process.loop.call_soon(_tell, future, *told)

    def drop(self) -> None:
        self._work.clear()


def _tell(future: asyncio.Future[Any], how: Callable[[Any], None], what: object) -> None:
    if not future.done():
        how(what)
