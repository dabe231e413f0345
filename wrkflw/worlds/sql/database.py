"""The one place through which SQL reaches the driver."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from .statement import Statement

Row: TypeAlias = tuple[Any, ...]
Notice: TypeAlias = tuple[str, Sequence[str]]
"""A run id, and the types of the events that were appended to it."""
OnStatement: TypeAlias = Callable[[str], None]


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

    @property
    def changes(self) -> int:
        """Rows changed since the connection was opened."""
        return self._driver.total_changes

    @property
    def in_transaction(self) -> bool:
        return self._driver.in_transaction

    def all(self, statement: Statement, **values: object) -> list[Row]:
        return self._execute(statement, values).fetchall()

    def one(self, statement: Statement, **values: object) -> Row | None:
        row: Row | None = self._execute(statement, values).fetchone()
        return row

    def run(self, statement: Statement, **values: object) -> int:
        """Rows changed."""
        return self._execute(statement, values).rowcount

    def insert(self, statement: Statement, **values: object) -> int:
        """The number of the new row."""
        return self._execute(statement, values).lastrowid or 0

    def many(self, statement: Statement, rows: Iterable[Sequence[object]]) -> None:
        """Once for each row, whose values stand in the order of the statement's placeholders."""
        if self._on_statement is not None:
            self._on_statement(statement.text)
        self._driver.executemany(statement.text, rows)

    def text(self, sql: str) -> list[Row]:
        """A statement without values: BEGIN, COMMIT, PRAGMA, DDL."""
        if self._on_statement is not None:
            self._on_statement(sql)
        return self._driver.execute(sql).fetchall()

    def interrupt(self) -> None:
        self._driver.interrupt()

    def close(self) -> None:
        self._driver.close()

    def _execute(self, statement: Statement, values: dict[str, object]) -> sqlite3.Cursor:
        if self._on_statement is not None:
            self._on_statement(statement.text)
        return self._driver.execute(statement.text, statement.bind(values))
