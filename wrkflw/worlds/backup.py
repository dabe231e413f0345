"""A copy of a database file, as it is at one moment, made while others go on writing to it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from wrkflw.world.errors import StoreRefusedError

from .health import reading


def back_up(path: Path, to: Path) -> int:
    """Copy the database to a new file that its owner alone can read; the size of the copy.

    It is whole and on the disk when this returns; when it raises there is no copy.  Payloads in a blob store are not in
    it.

    Raises:
        StoreRefusedError: there is such a file already, or one of the two cannot be used.
    """
    try:
        os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        raise StoreRefusedError(f"{to} is there already; name a file that is not") from None
    except OSError as error:
        raise StoreRefusedError(f"{to} cannot be made: {error.strerror}; name another place") from error
    try:
        with closing(reading(path)) as source, closing(sqlite3.connect(to)) as copy:
            copy.execute("PRAGMA synchronous = FULL").close()
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE").close()  # one file alone, whatever the original has beside it
            if (said := copy.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise StoreRefusedError(f"{path} is damaged: {said}; nothing was copied")
        _sync(to)
    except sqlite3.Error as error:
        to.unlink(missing_ok=True)
        raise StoreRefusedError(f"{path} could not be copied: {error}; try again, or make room at {to}") from error
    except BaseException:
        to.unlink(missing_ok=True)
        raise
    return to.stat().st_size


def _sync(path: Path) -> None:
    for one in (path, path.parent):
        descriptor = os.open(one, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
