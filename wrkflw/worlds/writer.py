"""The one writer of a process: whatever has gathered becomes one transaction.

Callers hand in work and await its result, which they get only once the transaction is on disk.  While commits are fast
they happen on the event loop, where a hop to a thread would cost more than the commit.  When the disk is slow, or
another process is writing, they move to a thread, which waits its turn; what arrives meanwhile is committed with them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar, TypeVarTuple

from wrkflw.errors import StoreError
from wrkflw.world.errors import StoreBusyError

from .hand import Hand
from .locks import WriteLock
from .sql.database import Connection, Notice
from .transactions import Committed, Request, Transactions
from .wal import Wal

T = TypeVar("T")
GivenT = TypeVarTuple("GivenT")
SLOW_COMMIT = 0.010
FAST_COMMIT = 0.002
PATIENCE = 5.0
"""Seconds that callers wait for a process that holds the database."""
_MEMORY = 0.8  # weight of the past in the running mean of commit times
_MOST_AT_ONCE = 1000
_MOST_TURNS = 4
"""Turns of the loop in which work may gather before it is committed."""


class Writer:
    """Runs work in transactions, in the order it was submitted; made and used on one event loop.

    ``lock`` keeps all others who write out.  ``notify`` is told of every commit, after those who wait for it.  ``wal``
    is looked at after every commit, and emptied here.  ``measure`` is the watch, in seconds, by which a disk is slow.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        lock: WriteLock,
        notify: Callable[[list[Notice]], None],
        threads: bool,
        wal: Wal | None = None,
        measure: Callable[[], float] = time.perf_counter,
        patience: float = PATIENCE,
    ) -> None:
        self.transactions = Transactions(connection, wal, measure)
        self._connection = connection
        self._lock = lock
        self._notify = notify
        self._threads = threads
        self._wal = wal
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._pending: deque[Request] = deque()
        self._scheduled = False
        self._seen = self._turns = 0
        """How much had gathered a turn of the loop ago, and in how many turns."""
        self._last = 0
        """How much the last transaction was of."""
        self._hand = Hand("wrkflw-writer")
        self._in_thread: asyncio.Future[Any] | None = None
        self._has_turn = False
        """Whether the thread is past waiting for others."""
        self._patience_ends: asyncio.TimerHandle | None = None
        self._slow = False
        self._mean = 0.0

    def submit(self, work: Callable[[Connection, *GivenT], T], *given: *GivenT) -> asyncio.Future[T]:
        """A future of the result of ``work``, which gets what is ``given``; done when its transaction is durable.

        It raises what ``work`` raised, in which case nothing of it was written, or StoreError when the transaction
        could not be committed.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self.transactions.closed is not None:
            future.set_exception(self.transactions.closed)
            return future
        self._pending.append(Request(work, given, future))
        self._flush_soon()
        return future

    async def close(self, beside: Sequence[Connection] = ()) -> None:
        """Commit what was submitted, then refuse more, and close the connections."""
        while self._pending or self._in_thread is not None:
            if self._in_thread is None:
                await asyncio.sleep(0)
                continue
            done, _ = await asyncio.wait([self._in_thread], timeout=self._patience)
            if not done and not self._has_turn:
                self._refuse_pending(_busy())
                break
        self.transactions.refuse(StoreError("the database is closed; open a Runtime again"))
        locked = False
        with suppress(OSError):
            locked = self._lock.acquire(wait=False)
        if locked:
            try:
                self._close_all(beside)
            finally:
                self._lock.release()
        else:
            await self._loop.run_in_executor(None, self._close_in_turn, beside)

    def stop(self) -> None:
        """As when the process dies here: nothing more is written, and the connection goes with what it held."""
        self.transactions.refuse(StoreError("the process was stopped"))
        for request in self._pending:
            request.future.cancel()
        self._pending.clear()
        # SQLite must not be closed under the thread that commits: then it is as if the process died a moment later.
        at_rest = self._lock.threads.acquire(timeout=self._patience)
        self._connection.close()
        if at_rest:
            self._lock.threads.release()

    # --- one flush ---------------------------------------------------------------------------------

    def _flush(self) -> None:
        if self._gathers():
            self._loop.call_soon(self._flush)
            return
        self._scheduled = False
        if self._in_thread is not None or not self._pending:
            return
        if self.transactions.closed is not None:
            self._refuse_pending(self.transactions.closed)
        elif self._threads and self._is_slow() and self._begin(self._take_turn, self._took_turn):
            return
        elif (committed := self._commit_at_once()) is not None:
            self._settle(committed)
        elif self._begin(self._take_turn, self._took_turn):
            self._patience_ends = self._loop.call_later(self._patience, self._lose_patience)
            return
        else:  # the interpreter is ending, and takes no more work for threads
            self._settle(self._take_turn())
            self._has_turn = False
        self._go_on()

    def _gathers(self) -> bool:
        """Whether the next turn of the loop may bring more: a commit does for all.

        So it is when the last turn has brought some, or when fewer are here than were answered last: they come again.
        """
        seen, count = self._seen, len(self._pending)
        more = (count > max(seen, 1) or count < self._last) and self._turns < _MOST_TURNS
        self._seen, self._turns = (count, self._turns + 1) if more else (0, 0)
        return more

    def _go_on(self) -> None:
        if self._in_thread is None and self.transactions.closed is None and self._wal is not None and self._wal.is_full:
            self._begin(self._empty_wal, self._emptied_wal)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._pending and not self._scheduled and self._in_thread is None:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _gathered(self) -> list[Request]:
        """Also called on the thread, while others are added, or refused."""
        gathered: list[Request] = []
        with suppress(IndexError):  # how many there are may have changed since one could ask
            while len(gathered) < _MOST_AT_ONCE:
                gathered.append(self._pending.popleft())
        return gathered

    def _begin(self, work: Callable[[], T], then: Callable[[asyncio.Future[T]], None]) -> bool:
        """Do it in the thread.  False when the interpreter is ending, and makes no more threads."""
        try:
            future = self._hand.do(work)
        except RuntimeError:
            return False
        self._in_thread = future
        future.add_done_callback(then)
        return True

    def _commit_at_once(self) -> Committed | None:
        """None when somebody else has the lock, or writes without it."""
        try:
            if not self._lock.acquire(wait=False):
                return None
        except OSError as error:
            return self._not_locked(error)
        try:
            committed = self.transactions.commit(self._gathered())
        finally:
            self._lock.release()
        self._pending.extendleft(reversed(committed.left))
        return committed if committed.outcomes or not committed.left else None

    def _take_turn(self) -> Committed:
        try:
            with self._turn():
                return self.transactions.commit(self._gathered(), self._patience)
        except OSError as error:  # of the lock: whatever a transaction raises is an outcome
            return self._not_locked(error)

    def _not_locked(self, error: OSError) -> Committed:
        """Whoever waits hears of it, and nobody is left waiting for somebody else to come."""
        refusal = StoreError(
            f"the database could not be locked: {error.strerror or error}; repeat the call, "
            "and keep the database on a local disk if it happens again"
        )
        refusal.__cause__ = error
        return Committed([(request, None, refusal) for request in self._gathered()], [], 0.0)

    @contextmanager
    def _turn(self) -> Generator[None]:
        with self._lock:
            self._has_turn = True
            yield

    def _took_turn(self, taken: asyncio.Future[Committed]) -> None:
        self._back_from_thread()
        if self._patience_ends is not None:
            self._patience_ends.cancel()
            self._patience_ends = None
        self._settle(taken.result())
        self._go_on()

    def _lose_patience(self) -> None:
        """Whoever waits is told; the thread waits on, because only so will its turn come."""
        self._patience_ends = self._loop.call_later(self._patience, self._lose_patience)
        if not self._has_turn:
            self._refuse_pending(_busy())

    def _empty_wal(self) -> None:
        assert self._wal is not None
        with suppress(OSError), self._turn():  # without the lock it stays full until after the next commit
            if self.transactions.closed is None:
                self._wal.empty(self._connection)

    def _emptied_wal(self, _: asyncio.Future[None]) -> None:
        self._back_from_thread()
        self._flush_soon()

    def _back_from_thread(self) -> None:
        # Its turn ends here, not there: who came since waits for nobody who hangs.
        self._in_thread, self._has_turn = None, False

    def _is_slow(self) -> bool:
        # Two limits, so that it does not swing: above the upper one in the thread, below the lower one back.
        self._slow = self._mean > (FAST_COMMIT if self._slow else SLOW_COMMIT)
        return self._slow

    def _refuse_pending(self, error: BaseException) -> None:
        while self._pending:
            for request in self._gathered():
                if not request.future.done():
                    request.future.set_exception(error)

    def _settle(self, committed: Committed) -> None:
        self._last = len(committed.outcomes)
        if committed.outcomes:
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

    def _close_in_turn(self, beside: Iterable[Connection]) -> None:
        # Who closes last empties the log, which is a write.  While somebody hangs with the lock, this is not the last.
        locked = False
        with suppress(OSError):
            locked = self._lock.acquire_within(self._patience)
        try:
            self._close_all(beside)
        finally:
            if locked:
                self._lock.release()

    def _close_all(self, beside: Iterable[Connection]) -> None:
        self._hand.end()
        self._connection.close()
        for connection in beside:
            connection.close()


def _busy() -> StoreBusyError:
    return StoreBusyError("another process holds the database; try again", timedelta(seconds=1))
