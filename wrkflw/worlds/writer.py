"""The one writer of a process: whatever has gathered becomes one transaction.

Callers hand in work and await its result, which they get only once the transaction is on disk.  While commits are fast
they happen on the event loop, where a hop to a thread would cost more than the commit; when the disk is slow they move
to a thread, and what arrives meanwhile gathers for the next.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

from wrkflw.errors import StoreError
from wrkflw.world.errors import WorldError

from .sql.database import Connection, Notice, worded

T = TypeVar("T")
Work: TypeAlias = Callable[[Connection], T]
"""Reads and judges first, and writes only when nothing can be refused any more."""

SLOW_COMMIT = 0.010
FAST_COMMIT = 0.002
_MEMORY = 0.8  # weight of the past in the running mean of commit times
_MOST_AT_ONCE = 1000


@dataclass(slots=True)
class _Request:
    work: Work[Any]
    future: asyncio.Future[Any]


@dataclass(slots=True)
class _Committed:
    """What became of a batch: a value or an exception for each request, and what to tell the listeners."""

    outcomes: list[tuple[_Request, object, BaseException | None]]
    notices: list[Notice]
    seconds: float


class Writer:
    """Runs work in transactions, in the order it was submitted; made and used on one event loop.

    ``lock`` keeps other writers of this process out (the thread that renews leases).  ``notify`` is told of every
    commit, after those who wait for it.  ``measure`` is the watch, in seconds, by which a disk is slow.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        lock: threading.Lock,
        notify: Callable[[list[Notice]], None],
        threads: bool,
        measure: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._connection = connection
        self._lock = lock
        self._notify = notify
        self._threads = threads
        self._measure = measure
        self._loop = asyncio.get_running_loop()
        self._pending: list[_Request] = []
        self._scheduled = False
        self._executor: ThreadPoolExecutor | None = None
        self._in_thread: asyncio.Future[_Committed] | None = None
        self._mean = 0.0
        self._closed: BaseException | None = None
        self.on_rollback: Callable[[], None] = _nothing
        """Called when a transaction was undone: what was remembered from it is not true."""

    def submit(self, work: Work[T]) -> asyncio.Future[T]:
        """A future of the result of ``work``, done when its transaction is durable.

        It raises what ``work`` raised, in which case nothing of it was written, or StoreError when the transaction
        could not be committed.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed is not None:
            future.set_exception(self._closed)
            return future
        self._pending.append(_Request(work, future))
        if not self._scheduled and self._in_thread is None:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return future

    async def close(self) -> None:
        """Commit what was submitted, then refuse more."""
        while self._pending or self._in_thread is not None:
            if self._in_thread is not None:
                await asyncio.wait([self._in_thread])
            else:
                await asyncio.sleep(0)
        self._closed = StoreError("the database is closed; open a Runtime again")
        if self._executor is not None:
            self._executor.shutdown()
        self._connection.close()

    def stop(self) -> None:
        """As when the process dies here: nothing more is written, and the connection goes with what it held."""
        self._closed = StoreError("the process was stopped")
        for request in self._pending:
            request.future.cancel()
        self._pending.clear()
        self._connection.close()

    # --- one flush ---------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._scheduled = False
        if self._in_thread is not None or not self._pending:
            return
        batch, self._pending = self._pending[:_MOST_AT_ONCE], self._pending[_MOST_AT_ONCE:]
        if self._closed is not None:
            self._refuse(batch, self._closed)
        elif self._threads and self._is_slow() and self._commit_in_thread(batch):
            return
        else:
            self._settle(self._commit(batch))
        if self._pending and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _commit_in_thread(self, batch: list[_Request]) -> bool:
        """Hand the batch to the thread.  False when the interpreter is ending, and takes no more work for threads."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="wrkflw-writer")
        try:
            # A future and not a task: a loop that ends cancels its tasks, and those who wait would never hear.
            self._in_thread = self._loop.run_in_executor(self._executor, self._commit, batch)
        except RuntimeError:
            return False
        self._in_thread.add_done_callback(self._committed_in_thread)
        return True

    def _committed_in_thread(self, committed: asyncio.Future[_Committed]) -> None:
        self._in_thread = None
        self._settle(committed.result())
        if self._pending:
            self._flush()

    def _is_slow(self) -> bool:
        # Two limits, so that it does not swing: above the upper one in the thread, below the lower one back.
        limit = FAST_COMMIT if self._executor is not None else SLOW_COMMIT
        if self._mean <= limit:
            if self._executor is not None:
                self._executor.shutdown(wait=False)
                self._executor = None
            return False
        return True

    def _refuse(self, batch: list[_Request], error: BaseException) -> None:
        for request in batch:
            if not request.future.done():
                request.future.set_exception(error)

    def _settle(self, committed: _Committed) -> None:
        self._mean = _MEMORY * self._mean + (1 - _MEMORY) * committed.seconds
        for request, value, error in committed.outcomes:
            if request.future.done():  # its caller has gone; what it wrote stands
                continue
            if error is not None:
                request.future.set_exception(error)
            else:
                request.future.set_result(value)
        if committed.notices:
            self._notify(committed.notices)

    # --- one transaction ---------------------------------------------------------------------------

    def _commit(self, batch: list[_Request]) -> _Committed:
        with self._lock:
            committed = self._attempt(batch)
            if committed is None:
                # Somebody in the batch broke it: each in a transaction of its own, so that only that one fails.
                parts = [self._attempt([request]) for request in batch]
                alone = [cast(_Committed, part) for part in parts]
                return _Committed(
                    [outcome for part in alone for outcome in part.outcomes],
                    [notice for part in alone for notice in part.notices],
                    sum(part.seconds for part in alone),
                )
            return committed

    def _attempt(self, batch: list[_Request]) -> _Committed | None:
        """One transaction of the whole batch; None when it must be split."""
        connection = self._connection
        connection.notices = []
        outcomes: list[tuple[_Request, object, BaseException | None]] = []
        seconds = 0.0
        at_work = False
        try:
            began = self._measure()
            connection.text("BEGIN IMMEDIATE")
            seconds += self._measure() - began
            at_work = True
            for request in batch:
                before = connection.changes
                try:
                    outcomes.append((request, request.work(connection), None))
                except WorldError as refusal:
                    if connection.changes != before:
                        raise  # it wrote before it refused: undo it with all the rest
                    outcomes.append((request, None, refusal))
            connection.flush()
            at_work = False
            began = self._measure()
            connection.text("COMMIT")
            seconds += self._measure() - began
        except BaseException as error:  # noqa: BLE001  # whatever it is, its requester hears of it
            self._roll_back()
            self.on_rollback()
            connection.notices = []
            if at_work and len(batch) > 1:
                return None
            # A disk that failed is not asked again for those who are waiting: they hear of it.
            return _Committed([(request, None, _worded(error)) for request in batch], [], seconds)
        return _Committed(outcomes, connection.notices, seconds)

    def _roll_back(self) -> None:
        self._connection.forget()
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            self._connection.text("ROLLBACK")
        if self._connection.in_transaction:
            self._closed = StoreError("the database could not undo a transaction; open a Runtime again")


def _nothing() -> None:
    pass


def _worded(error: BaseException) -> BaseException:
    if not isinstance(error, sqlite3.Error):
        return error
    refusal = worded(error, "could not commit", "repeat the call with the same idempotency key")
    refusal.__cause__ = error
    return refusal
