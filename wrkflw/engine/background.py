"""Work beside the runs: tasks that nobody waits for, or that go on when who waited for them has left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from datetime import timedelta
from typing import Any, TypeVar

from wrkflw.errors import StoreError

GRACE = timedelta(seconds=10)
"""How long what is cancelled may take to end."""

T = TypeVar("T")

_log = logging.getLogger("wrkflw")


class Background:
    """The tasks are kept here until they end: asyncio itself holds none of them."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self._to_finish: set[asyncio.Task[Any]] = set()
        """Those of them that are not to be cut short: whoever asked is to be told whether it is recorded."""
        self._hushed = False
        self._sentinel: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._sentinel = self.begin(_for_ever())

    @property
    def loop_ends(self) -> bool:
        """Whether the loop is at its end, and cancels every task."""
        sentinel = self._sentinel
        return sentinel is not None and (sentinel.done() or sentinel.cancelling() > 0)

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Do it beside; that it failed is logged."""
        _ = self.begin(work)

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """The same, for who wants to hear of it as well."""
        task = self._task(work)
        task.add_done_callback(self._log_failure)
        return task

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it to its end, also when who asked for it stops waiting; what goes wrong is his to hear.

        Raises StoreError when it could not be waited for any longer.
        """
        task = self._task(work)
        self._to_finish.add(task)
        task.add_done_callback(self._to_finish.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            asking = asyncio.current_task()
            if task.cancelled() and asking is not None and not asking.cancelling():
                problem = "the runtime was closed before the database had answered"
                raise StoreError(f"{problem}; look whether it is in the log of the run") from None
            raise

    def hush(self) -> None:
        """What fails from now on is logged no more: it is being ended."""
        self._hushed = True

    async def end(self) -> None:
        """Wait for what is to be finished, but not for ever, and cancel the rest."""
        if self._to_finish:
            await asyncio.wait(self._to_finish, timeout=GRACE.total_seconds())
        await ended(self.tasks)

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _log_failure(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and not self._hushed and (error := task.exception()) is not None:
            _log.error("work beside the runs failed: %s", error, exc_info=error)


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks, and wait until they have ended; not for ever."""
    cancelled = set(tasks)
    for task in cancelled:
        task.cancel()
    await gone(cancelled)


async def gone(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait until the tasks, which are about to end, have ended; not for ever."""
    ending = set(tasks)
    if ending:
        _, stubborn = await asyncio.wait(ending, timeout=GRACE.total_seconds())
        for task in stubborn:
            _log.error("%s does not end; it is left behind", task.get_name())


async def _for_ever() -> None:
    await asyncio.Event().wait()
