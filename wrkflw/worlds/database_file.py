"""The SQLite file: made, opened, and refused when it cannot keep what durability rests on.

Every setting is set and read back on every connection.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote

from wrkflw.world.errors import StoreRefusedError

from . import places
from .children import belongs_here
from .sql import schema
from .sql.database import Connection, OnStatement
from .wal import SETTINGS as WAL_SETTINGS

Durability: TypeAlias = Literal["full", "normal"]

_BUSY_SECONDS = 5
_SYNCHRONOUS = {"full": 2, "normal": 1}

_UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""The driver cannot decode what SQLite says of a damaged schema, where it quotes the damage."""


class DatabaseFile:
    """``path`` is None for a database in memory, which begins with ``image``."""

    def __init__(
        self, path: Path | None, durability: Durability, on_statement: OnStatement | None, image: bytes | None = None
    ) -> None:
        self._path = path
        self._durability: Durability = durability
        self._on_statement = on_statement
        self._image = image

    def connect(self) -> Connection:
        """A new connection.  Raises StoreRefusedError."""
        if self._path is None:
            driver = _driver(":memory:")
            if self._image is not None:
                driver.deserialize(self._image)
            return Connection(driver, self._on_statement)
        try:  # it was made once: where it is gone, none is to stand in its place
            driver = _driver(f"file:{quote(os.fsencode(self._path))}?mode=rw", uri=True)
        except sqlite3.OperationalError as error:
            raise self._refusal(error) from error
        connection = Connection(driver, self._on_statement)
        belongs_here(connection)
        try:
            self.configure(connection)
        except _UNREADABLE as error:
            connection.close()
            raise self._refusal(error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def prepare(self, connection: Connection) -> None:
        """Make the tables, or bring them up to date.  Raises StoreRefusedError."""
        try:
            schema.prepare(connection, self._path)
        except _UNREADABLE as error:
            raise self._refusal(error) from error

    def configure(self, connection: Connection) -> None:
        settings: dict[str, object] = {
            "busy_timeout": _BUSY_SECONDS * 1000,
            "journal_mode": "wal",
            "synchronous": _SYNCHRONOUS[self._durability],
            "foreign_keys": 1,
            "secure_delete": 1,  # what is removed is overwritten, and not only forgotten
            **WAL_SETTINGS,
        }
        if sys.platform == "darwin":  # else fsync leaves it in the drive's cache
            settings |= {"fullfsync": 1, "checkpoint_fullfsync": 1}
        for name, wanted in settings.items():
            connection.text(f"PRAGMA {name} = {wanted}")
            got = connection.text(f"PRAGMA {name}")[0][0]
            if got != wanted:
                raise StoreRefusedError(
                    f"{self._path} keeps {name} = {got} where {wanted} is needed; use a local disk that can be written"
                )

    def _refusal(self, error: sqlite3.DatabaseError | UnicodeDecodeError) -> StoreRefusedError:
        text = error.object.decode(errors="replace") if isinstance(error, UnicodeDecodeError) else str(error)
        if "not a database" in text:
            return StoreRefusedError(f"{self._path} is not a SQLite database; give wrkflw a file of its own")
        if "readonly" in text:
            return _read_only(self._path)
        if "locked" in text:
            return self.held()
        if "unable to open" in text and self._path is not None:
            return StoreRefusedError(f"{self._path} cannot be opened: {places.hindrance(self._path)}")
        cure = "make room on its disk" if "disk is full" in text else "wrkflw doctor tells more"
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF == sqlite3.SQLITE_CORRUPT:
            cure = "restore a backup"
        return StoreRefusedError(f"{self._path} cannot be used: {text}; {cure}")

    def held(self) -> StoreRefusedError:
        return StoreRefusedError(f"{self._path} is held by another process; try again when it is done")


def _driver(path: str, *, uri: bool = False) -> sqlite3.Connection:
    # The writer's connection moves between the loop and its thread, never in use by both.
    return sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS, cached_statements=256, uri=uri
    )


def create(path: Path) -> None:
    """Make the file readable by its owner alone.  SQLite gives its side files the same mode."""
    if not path.parent.is_dir():
        raise StoreRefusedError(f"{path.parent} is not a folder; make it, or put the database elsewhere")
    try:  # never opened once it exists: closing it would drop SQLite's locks
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not os.access(path, os.W_OK):
            raise _read_only(path) from None
    except OSError as error:
        raise StoreRefusedError(f"{path} cannot be made: {error.strerror}; {places.cure_of(error)}") from error


def _read_only(path: Path | None) -> StoreRefusedError:
    return StoreRefusedError(f"{path} is read-only; make it writable for this user, or use another file")
