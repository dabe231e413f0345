"""The one place through which SQL reaches the driver."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, NoReturn, Protocol, TypeAlias, cast

from wrkflw.errors import StoreError
from wrkflw.world.errors import StoreBusyError

from .statement import Statement

Row: TypeAlias = tuple[Any, ...]
Notice: TypeAlias = tuple[str, Sequence[str]]
"""A run id, and the types of the events that were appended to it."""
OnStatement: TypeAlias = Callable[[str], None]


class Reads(Protocol):
    """What reading takes of a connection."""

    def all(self, statement: Statement, **values: object) -> list[Row]: ...
    def one(self, statement: Statement, **values: object) -> Row | None: ...


class Connection:
    """A driver's connection in autocommit mode.  Rows are fetched whole: no read stays open.

    ``on_statement`` is called with the text before each statement, so that a simulation can interleave, fail or stop
    there.
    """

    def __init__(self, driver: sqlite3.Connection, on_statement: OnStatement | None = None) -> None:
        self._driver = driver
        self._on_statement = on_statement
        self.notices: list[Notice] = []
        """What the open transaction appended, by run."""
        self._waiting: dict[Statement, list[Sequence[object]]] = {}
        self._rows_waiting = 0
        self._waited_for: set[int] = set()
        """The numbers of the runs to which they belong."""

    @property
    def changes(self) -> int:
        """Rows changed since the connection was opened, with those that wait to be written."""
        return self._driver.total_changes + self._rows_waiting

    @property
    def in_transaction(self) -> bool:
        return self._driver.in_transaction

    def all(self, statement: Statement, **values: object) -> list[Row]:
        return self._execute(statement, values).fetchall()

    def one(self, statement: Statement, **values: object) -> Row | None:
        row: Row | None = self._execute(statement, values).fetchone()
        return row

    def of_run(self, statement: Statement, **values: object) -> list[Row]:
        """As :meth:`all`, of what belongs to the run of ``run_no``: what waits for others need not be written first.

        Without a number, of rows of ``runs``, which never wait.
        """
        if values.get("run_no") in self._waited_for:
            self.flush()
        return self._driver.execute(self._said(statement), statement.bind(values)).fetchall()

    def run(self, statement: Statement, **values: object) -> int:
        """Rows changed."""
        return self._execute(statement, values).rowcount

    def insert(self, statement: Statement, **values: object) -> int:
        """The number of the new row; it is there before the rows that wait, which may belong to it."""
        return self._driver.execute(self._said(statement), statement.bind(values)).lastrowid or 0

    def many(self, statement: Statement, rows: Iterable[Sequence[object]]) -> None:
        """Once for each row, whose values stand in the order of the statement's placeholders."""
        self.flush()
        self._driver.executemany(self._said(statement), rows)

    def later(self, run_no: int, statement: Statement, rows: Sequence[Sequence[object]]) -> None:
        """As :meth:`many`, of one run, but not before the next statement that could tell, or the commit.

        Rows of many runs cost less together.
        Statements are executed in the order in which they were first given here, be it without rows.
        """
        self._rows_waiting += len(rows)
        self._waited_for.add(run_no)
        waiting = self._waiting.get(statement)
        if waiting is None:
            self._waiting[statement] = [*rows]
        else:
            waiting += rows

    def ahead(self, statement: Statement, row: Sequence[object]) -> int:
        """As :meth:`run`, but with its values in order, and before the rows that wait, which must not depend on it."""
        return self._driver.execute(self._said(statement), row).rowcount

    def flush(self) -> None:
        """Write the rows that wait."""
        if not self._waiting:
            return
        waiting = self._waiting
        self.forget()
        for statement, rows in waiting.items():
            if rows:
                self._driver.executemany(self._said(statement), rows)

    def forget(self) -> None:
        """Drop the rows that wait: their transaction is undone."""
        self._waiting, self._rows_waiting = {}, 0
        self._waited_for.clear()

    def text(self, sql: str) -> list[Row]:
        """A statement without values: BEGIN, COMMIT, PRAGMA, DDL."""
        if self._on_statement is not None:
            self._on_statement(sql)
        return self._driver.execute(sql).fetchall()

    def wait_for_others(self, seconds: float) -> None:
        """How long a statement waits for those who hold the database and take no part in :class:`WriteLock`."""
        self.text(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")

    def image(self) -> bytes:
        """The database as it is committed, byte for byte."""
        return self._driver.serialize()

    def close(self) -> None:
        self._driver.close()

    def in_child(self) -> None:
        """In a forked child the driver's connection is the parent's: not to be used, nor ever to be closed."""
        import ctypes  # noqa: PLC0415  # nothing else keeps an object beyond the end of the interpreter

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._driver))
        self._driver = cast(sqlite3.Connection, _OfTheParent())

    def _execute(self, statement: Statement, values: dict[str, object]) -> sqlite3.Cursor:
        self.flush()
        return self._driver.execute(self._said(statement), statement.bind(values))

    def _said(self, statement: Statement) -> str:
        if self._on_statement is not None:
            self._on_statement(statement.text)
        return statement.text


class _OfTheParent:
    def __getattr__(self, name: str) -> NoReturn:
        raise forked()


def forked() -> StoreError:
    return StoreError("this process was forked from the one that opened the database; open a Runtime of its own here")


class NoTextError(StoreError):
    """A row holds text that is none: it is not what was written.  Who reads knows of what."""


class WordedReads:
    """A connection as it is read outside of transactions: none of the driver's errors leave it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self, statement: Statement, **values: object) -> list[Row]:
        try:
            return self._connection.all(statement, **values)
        except UnicodeEncodeError:  # half a character: no row has it
            return []
        except sqlite3.Error as error:
            raise worded(error, "could not be read", "try again") from error

    def one(self, statement: Statement, **values: object) -> Row | None:
        try:
            return self._connection.one(statement, **values)
        except UnicodeEncodeError:
            return None
        except sqlite3.Error as error:
            raise worded(error, "could not be read", "try again") from error


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else held the database for longer than the connection waits."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def worded(error: sqlite3.Error, what: str, cure: str) -> StoreError:
    """An error of the driver as the World words it."""
    if is_busy(error):
        return StoreBusyError("another process holds the database; try again", timedelta(seconds=1))
    if isinstance(error, sqlite3.OperationalError) and str(error).startswith("Could not decode to UTF-8"):
        return NoTextError(f"the database {what}: a row holds text that is none; restore a backup")
    if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        cure = "restore a backup"
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        cure = f"make room, and {cure}"
    return StoreError(f"the database {what}: {error}; {cure}")
