"""What wrkflw might do wrong as one of several processes: each of these is to be found by tests/crash."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from wrkflw.world.entities import Run
from wrkflw.world.storage import RunFence
from wrkflw.worlds.locks import WriteLock
from wrkflw.worlds.presence import Presence
from wrkflw.worlds.sql.admission import Admission
from wrkflw.worlds.sql.database import Connection, Row

_MOMENT = 0.003  # seconds
_text, _close = Connection.text, Connection.close


def ignores_the_fence(patch: pytest.MonkeyPatch) -> None:
    """Whoever has lost a run may go on writing to it."""

    def check_owner(_: Admission, _connection: Connection, _run: Run, _fence: RunFence | None) -> None:
        pass

    patch.setattr(Admission, "check_owner", check_owner)


def acknowledges_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """Whoever waits is answered, and what it waited for is committed a moment later."""
    owing, turn = set[Connection](), threading.Lock()

    def pay(connection: Connection) -> None:
        with turn:
            if connection in owing:
                owing.discard(connection)
                _text(connection, "COMMIT")

    def text(connection: Connection, sql: str) -> list[Row]:
        if sql == "COMMIT":
            owing.add(connection)
            timer = threading.Timer(_MOMENT, pay, (connection,))
            timer.daemon = True
            timer.start()
            return []
        pay(connection)
        return _text(connection, sql)

    def close(connection: Connection) -> None:
        pay(connection)  # SQLite does not bear to be closed under a thread that commits
        _close(connection)

    patch.setattr(Connection, "text", text)
    patch.setattr(Connection, "close", close)


def renews_its_lease_on_the_loop(patch: pytest.MonkeyPatch) -> None:
    """Instead of from a thread."""

    def keep_alive(presence: Presence, open_connection: Callable[[], Connection], lock: WriteLock) -> None:
        loop, connection = asyncio.get_running_loop(), open_connection()

        def beat() -> None:
            if presence._stop.is_set():
                connection.close()
            else:
                presence.beat(connection, lock)
                loop.call_later(presence._lease.total_seconds() / 3, beat)

        presence._stop.clear()
        beat()

    patch.setattr(Presence, "keep_alive", keep_alive)


MISTAKES = {
    mistake.__name__: mistake
    for mistake in (ignores_the_fence, acknowledges_before_the_commit, renews_its_lease_on_the_loop)
}


def make(name: str) -> None:
    """Make this mistake from now on, until the process ends."""
    MISTAKES[name](pytest.MonkeyPatch())
