"""What wrkflw might do wrong with a disk: each of these is to be caught by the tests beside."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import TypeAlias

import pytest

from wrkflw.world import events as e
from wrkflw.worlds.sql.append import Appender
from wrkflw.worlds.sql.database import Connection, Row
from wrkflw.worlds.sql.request import Append, Appended

Mutant: TypeAlias = Callable[[pytest.MonkeyPatch], None]

_text = Connection.text
_close = Connection.close


def acknowledges_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is answered, and what it waited for is committed a little later."""
    owing: set[Connection] = set()

    def pay(connection: Connection) -> None:
        if connection in owing:
            owing.discard(connection)
            _text(connection, "COMMIT")

    def after(turns: int, connection: Connection) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(after, turns - 1, connection)
        else:
            pay(connection)

    def text(connection: Connection, sql: str) -> list[Row]:
        if sql == "COMMIT":
            owing.add(connection)
            after(60, connection)
            return []
        pay(connection)
        return _text(connection, sql)

    def close(connection: Connection) -> None:
        owing.discard(connection)
        _close(connection)

    monkeypatch.setattr(Connection, "text", text)
    monkeypatch.setattr(Connection, "close", close)


def writes_event_and_view_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table in a transaction of its own."""

    def flush(connection: Connection) -> None:
        waiting, connection._waiting, connection._rows_waiting = connection._waiting, {}, 0
        for statement, rows in waiting.items():
            if rows:
                connection._driver.executemany(statement.text, rows)
                _text(connection, "COMMIT")
                _text(connection, "BEGIN IMMEDIATE")

    monkeypatch.setattr(Connection, "flush", flush)


def commits_then_enqueues(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is recorded in one transaction, and made due in the next."""
    append = Appender.__call__

    def apart(appender: Appender, connection: Connection, request: Append) -> Appended:
        appended = append(appender, connection, request)
        if request.claim is None and any(isinstance(event, e.RunCreated) for event in request.events):
            connection.flush()
            run = f"run_no = {appended.run_no}"
            ((due,),) = _text(connection, f"SELECT wake_at FROM runs WHERE {run}")  # noqa: S608
            for sql in (
                f"UPDATE runs SET wake_at = NULL WHERE {run}",  # noqa: S608
                "COMMIT",
                "BEGIN IMMEDIATE",
                f"UPDATE runs SET wake_at = {due} WHERE {run}",  # noqa: S608
            ):
                _text(connection, sql)
        return appended

    monkeypatch.setattr(Appender, "__call__", apart)


def swallows_errors_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that failed is taken for one that did not."""

    def text(connection: Connection, sql: str) -> list[Row]:
        try:
            return _text(connection, sql)
        except sqlite3.OperationalError:
            if sql != "COMMIT":
                raise
            connection._driver.rollback()
            return []

    monkeypatch.setattr(Connection, "text", text)
