"""The write-ahead log as a file: whether it is still the one that was written to, and when it is to be emptied.

What is committed to a log that somebody has removed is lost although nothing complains; copying or opening the database
with other tools is enough for that.  So is what is committed to a database that was moved away, or that had a backup
put in its place.  So both files are looked at after each commit, before anybody is answered.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from wrkflw.errors import StoreError

from .sql.database import Connection

LIMIT = 4 * 1024 * 1024
"""Bytes beyond which the log is emptied into the database.  It keeps that size and is written to again from its start:
growing a file costs more than writing over it."""
_MORE = LIMIT // 4

# SQLite cuts the log to this size when it begins at its start again: who finds it larger knows that it is full.
SETTINGS: dict[str, object] = {"wal_autocheckpoint": 0, "journal_size_limit": LIMIT}


class LogLostError(StoreError):
    """What was committed last is in a file that nobody will read again: the log, or the database under it."""


class Wal:
    """The log of the database at ``path``."""

    def __init__(self, path: Path) -> None:
        self._database, self._log = str(path), f"{path}-wal"
        self._files: dict[str, tuple[int, int]] = {}
        self._size = 0
        self._full_at = LIMIT
        self._found(self._database)

    def check(self) -> None:
        """To be called after each commit.  Raises LogLostError when it did not go to the same files as the first."""
        self._found(self._database)
        found = self._found(self._log)
        if found.st_size < self._size:
            self._full_at = LIMIT
        self._size = found.st_size

    def look(self) -> None:
        """Raises LogLostError when the files that were written to are no longer there."""
        for path in tuple(self._files):
            self._found(path)

    @property
    def is_full(self) -> bool:
        return self._size > self._full_at

    def empty(self, connection: Connection) -> None:
        """Move what is in the log to the database.  Nobody may write meanwhile, in any process."""
        # Readers may still need the log, and then it grows on: not to be tried again with every commit.
        self._full_at = self._size + _MORE
        try:
            connection.text("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error:  # all that was committed is still in the log; tried again when it has grown
            return

    def _found(self, path: str) -> os.stat_result:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            raise lost(path, "removed") from None
        file = (found.st_dev, found.st_ino)
        if self._files.setdefault(path, file) != file:
            raise lost(path, "replaced")
        return found


def lost(path: str, how: str) -> LogLostError:
    return LogLostError(
        f"{path} was {how} while it was in use, and what was written since may be lost; "
        "stop every process that uses the database, check it, and open a Runtime again"
    )
