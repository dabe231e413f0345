"""One transaction of whatever has gathered; when somebody in it breaks, one for each, so that only he fails."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from wrkflw.errors import StoreError
from wrkflw.world.errors import WorldError

from .sql.database import Connection, Notice, is_busy, worded
from .wal import LogLostError, Wal


@dataclass(slots=True)
class Request:
    work: Callable[..., Any]
    """It reads and judges first, and writes only when nothing can be refused any more."""
    given: tuple[object, ...]
    """What it gets besides the connection."""
    future: asyncio.Future[Any]


@dataclass(slots=True)
class Committed:
    """What became of a batch: a value or an exception for each request, and what to tell the listeners."""

    outcomes: list[tuple[Request, object, BaseException | None]]
    notices: list[Notice]
    seconds: float
    """That the database took for its part."""
    left: list[Request] = field(default_factory=list[Request])
    """Those whose turn has not come: somebody else began to write."""


class HeldError(Exception):
    """A tool of somebody else's is writing, and nothing was done."""


class Transactions:
    """Of one connection, whose caller keeps all others out, but for tools that know nothing of ours.

    ``wal`` is looked at after every commit.  ``measure`` is the watch, in seconds.
    """

    def __init__(self, connection: Connection, wal: Wal | None, measure: Callable[[], float]) -> None:
        self._connection = connection
        self._patience: float | None = None
        """How long the connection waits, if that was said."""
        self._wal = wal
        self._measure = measure
        self.closed: BaseException | None = None
        """Why nothing is written any more."""
        self.on_rollback: Callable[[], None] = _nothing
        """Called when a transaction was undone: what was remembered from it is not true."""
        self.on_lost: Callable[[], None] = _nothing
        """Called, on whatever thread, when nothing can be written any more."""

    def refuse(self, error: StoreError) -> None:
        """From now on, ``error`` is the answer to everything."""
        self.closed = error

    def lose(self, error: LogLostError) -> None:
        """The same, for nothing can be written any more."""
        if self.closed is None:
            self.closed = error
            self.on_lost()

    def commit(self, batch: list[Request], patience: float | None = None) -> Committed:
        """Write it, in order.  What was written is durable when this returns.

        ``patience`` is how many seconds a tool that is writing is waited for; those whom it kept are refused then.
        Without any they are what is left.
        """
        if not batch:  # those who waited were refused meanwhile
            return Committed([], [], 0.0)
        if self.closed is not None:
            return Committed([(request, None, self.closed) for request in batch], [], 0.0)
        try:
            committed = self._attempt(batch, patience)
        except HeldError as held:
            return _held_up(batch, held, patience)
        return committed or self._one_by_one(batch, patience)

    def _one_by_one(self, batch: list[Request], patience: float | None) -> Committed:
        """Somebody in the batch broke it: each in a transaction of its own, so that only that one fails."""
        parts: list[Committed] = []
        for number, request in enumerate(batch):
            try:
                parts.append(cast(Committed, self._attempt([request], patience)))
            except HeldError as held:
                parts.append(_held_up(batch[number:], held, patience))
                break
        return Committed(
            [outcome for part in parts for outcome in part.outcomes],
            [notice for part in parts for notice in part.notices],
            sum(part.seconds for part in parts),
            parts[-1].left,
        )

    def _attempt(self, batch: list[Request], patience: float | None) -> Committed | None:
        """One transaction of the whole batch; None when it must be split.  Raises HeldError."""
        connection = self._connection
        connection.notices = []
        outcomes: list[tuple[Request, object, BaseException | None]] = []
        seconds = 0.0
        at_work = False
        try:
            began = self._measure()
            self._begin(patience)
            seconds += self._measure() - began
            at_work = True
            for request in batch:
                before = connection.changes
                try:
                    outcomes.append((request, request.work(connection, *request.given), None))
                except WorldError as refusal:
                    if connection.changes != before:
                        raise  # it wrote before it refused: undo it with all the rest
                    outcomes.append((request, None, refusal))
            connection.flush()
            at_work = False
            began = self._measure()
            connection.text("COMMIT")
            seconds += self._measure() - began
            if self._wal is not None:
                self._wal.check()
        except HeldError:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever it is, its requester hears of it
            self._roll_back()
            self.on_rollback()
            if isinstance(error, LogLostError):
                self.lose(error)
            connection.notices = []
            if at_work and len(batch) > 1:
                return None
            # A disk that failed is not asked again for those who are waiting: they hear of it.
            return Committed([(request, None, _worded(error)) for request in batch], [], seconds)
        return Committed(outcomes, connection.notices, seconds)

    def _begin(self, patience: float | None) -> None:
        try:
            if self._patience != (patience or 0):
                self._connection.wait_for_others(patience or 0)
                self._patience = patience or 0
            self._connection.text("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if is_busy(error):
                raise HeldError from error
            raise

    def _roll_back(self) -> None:
        self._connection.forget()
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            self._connection.text("ROLLBACK")
        if self._connection.in_transaction:
            self.closed = StoreError("the database could not undo a transaction; open a Runtime again")


def _nothing() -> None:
    pass


def _held_up(batch: list[Request], held: HeldError, patience: float | None) -> Committed:
    if patience is None:
        return Committed([], [], 0.0, batch)
    assert held.__cause__ is not None
    refusal = _worded(held.__cause__)
    return Committed([(request, None, refusal) for request in batch], [], 0.0)


def _worded(error: BaseException) -> BaseException:
    cure = "repeat the call with the same idempotency key"
    if isinstance(error, sqlite3.Error):
        refusal = worded(error, "could not commit", cure)
    elif isinstance(error, OSError):  # of the files beside the database: no descriptors are left, for one
        refusal = StoreError(f"the database could not commit: {error}; {cure}")
    else:
        return error
    refusal.__cause__ = error
    return refusal
