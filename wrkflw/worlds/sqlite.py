"""A World in one SQLite file, or in memory: no server.

Every setting that durability rests on is set and read back on every connection; a database that answers otherwise is
refused.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from wrkflw.clock import Clock, SystemClock
from wrkflw.ids import Randomness, new_ulid, system_randomness
from wrkflw.world import Listener
from wrkflw.world.errors import StoreRefusedError
from wrkflw.world.storage import Storage
from wrkflw.world.streamer import Streamer

from .neighbours import Neighbours
from .presence import Presence
from .sql import schema
from .sql.database import Connection, Notice, OnStatement
from .sql.storage import SqlStorage
from .writer import Writer

Durability: TypeAlias = Literal["full", "normal"]

_BUSY_SECONDS = 5
_SYNCHRONOUS = {"full": 2, "normal": 1}
_DATABASE_VERSION = "PRAGMA data_version"


class SqliteWorld:
    """Runs in the SQLite file at ``path``, which is made if need be; ``":memory:"`` keeps them in this process.

    ``durability="full"`` puts every commit on the disk before it is acknowledged; ``"normal"`` may lose the last ones
    when the power fails, never when the process dies.  ``lease`` is how long a process that stopped keeps its runs.
    ``on_statement`` is called with each SQL text before it is executed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        namespace: str = "default",
        durability: Durability = "full",
        clock: Clock | None = None,
        randomness: Randomness | None = None,
        lease: timedelta = timedelta(seconds=30),
        max_events: int = 25_000,
        on_statement: OnStatement | None = None,
    ) -> None:
        self._path = None if str(path) == ":memory:" else Path(path).absolute()
        self._namespace = namespace
        self._durability: Durability = durability
        self._clock = clock or SystemClock()
        self._randomness = randomness or system_randomness()
        self._max_events = max_events
        self._on_statement = on_statement
        folder = None if self._path is None else self._path.with_name(self._path.name + "-owners")
        owner = f"own_{new_ulid(self._clock.now(), self._randomness)}"
        self._presence = Presence(owner, self._clock, lease, folder)
        self._neighbours = Neighbours(folder, owner, self._clock, lease)
        self._listeners: dict[int, Listener] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._storage: SqlStorage | None = None
        self._writer: Writer | None = None
        self._write: Connection | None = None
        self._read: Connection | None = None
        self._seen_version: object = 0

    @property
    def storage(self) -> Storage:
        if self._storage is None:
            raise _not_open()
        return self._storage

    @property
    def streamer(self) -> Streamer:
        if self._storage is None:
            raise _not_open()
        return self._storage.streamer

    @property
    def owner(self) -> str:
        return self._presence.owner

    def subscribe(self, listener: Listener, /) -> Callable[[], None]:
        number = next(self._numbers)
        self._listeners[number] = listener

        def end() -> None:
            self._listeners.pop(number, None)

        return end

    async def start(self) -> None:
        if self._storage is not None:
            return
        self._write = self._connect()
        try:
            self._prepare(self._write)
            # A database in memory belongs to its one connection.
            self._read = self._write if self._path is None else self._connect()
        except BaseException:
            self._write.close()
            raise
        self._writer = Writer(self._write, lock=self._lock, notify=self._notify, threads=self._path is not None)
        self._storage = SqlStorage(
            writer=self._writer,
            read=self._read,
            namespace=self._namespace,
            clock=self._clock,
            randomness=self._randomness,
            owner_is_live=self._presence.is_live,
            max_events=self._max_events,
        )
        try:
            await self._writer.submit(self._presence.announce)
        except BaseException:
            await self._give_up()
            raise
        if self._path is not None:
            self._presence.keep_alive(self._connect, self._lock)

    async def close(self) -> None:
        if self._storage is None or self._writer is None:
            return
        self._presence.rest()
        try:
            await self._writer.submit(self._presence.retire)
        finally:  # others free what could not be given up, once the lock is gone
            await self._give_up()

    def abandon(self) -> None:
        """Leave as a process leaves that is killed: nothing more is written, and nothing is given up.

        For tests of what others then find.
        """
        self._storage = None
        self._presence.rest()
        if self._read is not None and self._read is not self._write:
            self._read.close()
        if self._writer is not None:
            self._writer.stop()
        self._presence.drop()

    async def _give_up(self) -> None:
        assert self._writer is not None
        assert self._read is not None
        self._storage = None
        try:
            await self._writer.close()
        finally:
            self._presence.let_go()
            if self._read is not self._write:
                self._read.close()

    def written_elsewhere(self) -> object:
        """A mark that changes when another process has committed to the file.

        While nobody else is at work on the file, the database is not asked.
        """
        if self._write is None or self._path is None or self._storage is None:
            return None
        if not self._neighbours.may_have_written:
            return self._seen_version
        # Asked of the writing connection, whose own commits do not count; while its thread commits, the last answer.
        if self._lock.acquire(blocking=False):
            try:
                self._seen_version = self._write.text(_DATABASE_VERSION)[0][0]
                self._neighbours.asked()
            except sqlite3.Error:  # asked again soon; who reads then hears what is wrong
                pass
            finally:
                self._lock.release()
        return self._seen_version

    @property
    def alone(self) -> bool:
        return self._neighbours.alone

    def _notify(self, notices: list[Notice]) -> None:
        for listener in tuple(self._listeners.values()):
            for run_id, event_types in notices:
                try:
                    listener(run_id, event_types)
                except Exception as error:  # noqa: BLE001  # what a listener does wrong is no matter of the writer's
                    context = {"message": f"a listener failed on {event_types!r} of {run_id}", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(context)

    # --- connections -------------------------------------------------------------------------------

    def _connect(self) -> Connection:
        if self._path is None:
            return Connection(_driver(":memory:"), self._on_statement)
        _create(self._path)
        try:
            driver = _driver(str(self._path))
        except sqlite3.OperationalError as error:
            raise StoreRefusedError(
                f"{self._path} cannot be opened: {error}; check its folder and permissions"
            ) from error
        connection = Connection(driver, self._on_statement)
        try:
            self._configure(connection)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise self._refusal(error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: Connection) -> None:
        try:
            schema.prepare(connection, self._path)
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from error

    def _configure(self, connection: Connection) -> None:
        settings: dict[str, object] = {
            "busy_timeout": _BUSY_SECONDS * 1000,
            "journal_mode": "wal",
            "synchronous": _SYNCHRONOUS[self._durability],
            "foreign_keys": 1,
        }
        for name, wanted in settings.items():
            connection.text(f"PRAGMA {name} = {wanted}")
            got = connection.text(f"PRAGMA {name}")[0][0]
            if got != wanted:
                raise StoreRefusedError(
                    f"{self._path} keeps {name} = {got} where {wanted} is needed; use a local disk that can be written"
                )

    def _refusal(self, error: sqlite3.DatabaseError) -> StoreRefusedError:
        text = str(error)
        if "not a database" in text:
            return StoreRefusedError(f"{self._path} is not a SQLite database; give wrkflw a file of its own")
        if "readonly" in text:
            return _read_only(self._path)
        if "locked" in text:
            return StoreRefusedError(f"{self._path} is held by another process; try again when it is done")
        return StoreRefusedError(f"{self._path} cannot be used: {text}; run PRAGMA integrity_check on a copy")


def _not_open() -> StoreRefusedError:
    return StoreRefusedError("the world is not open; call start(), or use 'async with Runtime(...)'")


def _driver(path: str) -> sqlite3.Connection:
    # The writer's connection moves between the loop and its thread, never in use by both.
    return sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS, cached_statements=256
    )


def _create(path: Path) -> None:
    """Make the file readable by its owner alone.  SQLite gives its side files the same mode."""
    if not path.parent.is_dir():
        raise StoreRefusedError(f"{path.parent} is not a folder; make it, or put the database elsewhere")
    try:  # never opened once it exists: closing it would drop SQLite's locks
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not os.access(path, os.W_OK):
            raise _read_only(path) from None
    except OSError as error:
        raise StoreRefusedError(
            f"{path} cannot be made: {error.strerror}; make its folder writable for this user, or use another file"
        ) from error


def _read_only(path: Path | None) -> StoreRefusedError:
    return StoreRefusedError(f"{path} is read-only; make it writable for this user, or use another file")
