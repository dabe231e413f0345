"""A copy of a database file, as it is at one moment, made while others go on writing to it; and the way back."""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack, closing, suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

from wrkflw.world.errors import StoreRefusedError

from . import places
from .blobs import sync_folder
from .health import is_held, reading, revision_of
from .locks import WriteLock, lock_out
from .sql.schema import REVISIONS


class Restored(NamedTuple):
    """A database that was put in the place of another."""

    size: int
    aside: Path | None
    """Where the other is now, with its write-ahead log beside it; None when there was none."""


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
            # Of one moment; and whoever holds the file is waited for here, where it is not for ever.
            source.execute("BEGIN").close()
            source.execute("SELECT 1 FROM sqlite_master").close()
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


def restore(backup: Path, path: Path) -> Restored:
    """Put a copy of ``backup`` in the place of the database at ``path``, which is moved aside.

    The copy is whole, and on the disk, before it takes the name.  Payloads in a blob store are not touched.

    Raises:
        StoreRefusedError: a process uses the database, or one of the two files cannot be used; nothing was changed.
    """
    path = Path(os.path.realpath(path))
    places.check(path)
    _check_backup(backup, path)
    copy = path.with_name(f"{path.name}.restoring")
    lock = WriteLock(path.with_name(f"{path.name}.lock"))
    with ExitStack() as held:
        lock.open()
        held.callback(lock.close)
        if not lock.acquire(wait=False):
            raise _in_use(path)
        held.callback(lock.release)
        _keep_others_out(path, held)
        copy.unlink(missing_ok=True)  # of one that died
        size = back_up(backup, copy)
        try:
            return Restored(size, _exchange(path, copy))
        except OSError as error:
            copy.unlink(missing_ok=True)
            raise StoreRefusedError(
                f"{path} could not be replaced: {error.strerror}; {places.cure_of(error)}"
            ) from error


def _check_backup(backup: Path, path: Path) -> None:
    if not backup.is_file():
        raise StoreRefusedError(f"{backup} is no file; name a backup")
    if os.path.realpath(backup) == str(path):
        raise StoreRefusedError(f"{backup} is the database itself; name a backup")
    revision = revision_of(backup)
    if revision is None:
        raise StoreRefusedError(f"{backup} is no database of wrkflw; name a backup")
    if revision not in REVISIONS:
        raise StoreRefusedError(f"{backup} has schema {revision!r}, which is of a newer version; upgrade wrkflw")


def _keep_others_out(path: Path, held: ExitStack) -> None:
    """Raises StoreRefusedError when anybody uses the database, be it with tools of their own."""
    folder = path.with_name(f"{path.name}-owners")
    with suppress(FileNotFoundError):
        if any(is_held(one) for one in folder.iterdir()):
            raise _in_use(path)
    _empty_log(path)
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDWR)
        held.callback(os.close, descriptor)
        if not lock_out(descriptor):
            raise _in_use(path)


def _empty_log(path: Path) -> None:
    """What a process that died has left in the log goes into its database: they part soon, perhaps in the middle."""
    if path.exists():
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as old:  # one that is damaged keeps its log
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _in_use(path: Path) -> StoreRefusedError:
    return StoreRefusedError(f"{path} is in use; stop every process that works on it, wrkflw doctor names them")


def _exchange(path: Path, copy: Path) -> Path | None:
    """Give ``copy`` the name of the database.  The old log goes before: a database that has another's is lost."""
    aside = next(one for number in count(1) if not os.path.lexists(one := _aside(path, number)))
    there = path.exists()
    if there:
        os.link(path, aside)
    Path(f"{path}-shm").unlink(missing_ok=True)
    with ExitStack() as undo:
        undo.callback(aside.unlink, missing_ok=True)
        for log in ("-wal", "-journal"):
            with suppress(FileNotFoundError):
                os.rename(f"{path}{log}", f"{aside}{log}")
                undo.callback(os.rename, f"{aside}{log}", f"{path}{log}")
        copy.replace(path)
        undo.pop_all()
    sync_folder(path.parent)
    return aside if there else None


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.before-restore{'' if number == 1 else f'-{number}'}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)
