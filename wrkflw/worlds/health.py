"""What can be said of a database file from outside, by reading it: for ``wrkflw doctor``."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote

from wrkflw.clock import from_microseconds
from wrkflw.world.entities import Wait
from wrkflw.world.errors import StoreRefusedError

from . import places
from .bells import is_bell
from .locks import HAS_FLOCK, flock
from .sql import compiled as sql
from .sql.rows import wait_from
from .sql.schema import REVISIONS, TABLES, VERSION_TABLE

Verdict: TypeAlias = Literal["ok", "note", "bad"]

PATIENCE = 5
"""Seconds that a reader waits for whoever holds the file."""
_SPARE = 256 * 1024 * 1024
"""Bytes of free disk below which it is worth saying so."""
_FIXED = (3, 51, 3)
_BACKPORTS = ((3, 50, 7), (3, 44, 6))
_MODE_OF_OTHERS = 0o077
_RESTORE = "restore a backup with wrkflw db restore"
_RUN_NO = "SELECT run_no FROM runs WHERE run_id = ?"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: ``bad`` is to be mended, ``note`` is worth knowing."""

    check: str
    verdict: Verdict
    detail: str


def sqlite_finding(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Finding:
    """Whether the library has the bug by which two checkpoints at one moment may damage a database."""
    shown = ".".join(map(str, version))
    if version >= _FIXED or any(version[:2] == one[:2] and version >= one for one in _BACKPORTS):
        return Finding("sqlite", "ok", shown)
    cure = "wrkflw writes and checkpoints under one lock, which keeps it away; let nothing else write to the file"
    return Finding("sqlite", "note", f"{shown} has the WAL-reset bug (fixed in 3.51.3); {cure}")


def examine(path: Path) -> list[Finding]:
    """The file, what holds it, its schema, and who uses it.  Nothing is written."""
    path = path.resolve()  # what belongs to it lies there, whatever links lead to it
    found = [_place(path), _mode(path), _room(path)]
    try:
        with closing(reading(path)) as connection:
            found += [_schema(connection), _integrity(connection), *_owners(connection, path)]
    except (sqlite3.Error, UnicodeDecodeError, StoreRefusedError) as error:
        found.append(Finding("database", "bad", f"{path} cannot be read: {error}"))
    return found


def revision_of(path: Path) -> str | None:
    """The schema of the database; None where it is none of ours.  Raises StoreRefusedError when it cannot be read."""
    try:
        with closing(reading(path)) as connection:
            return _revision(connection)
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error


def reading(path: Path) -> sqlite3.Connection:
    """A connection that can do nothing but read.  It takes part in SQLite's own locking, and checkpoints nothing."""
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=PATIENCE, isolation_level=None)
    connection.execute("PRAGMA query_only = 1").close()
    return connection


def _unreadable(path: Path, error: sqlite3.Error) -> StoreRefusedError:
    what = f"{path} cannot be read"
    if "not a database" in str(error):
        return StoreRefusedError(f"{what}: {error}; give the file of a wrkflw database")
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):  # who reads has a file beside it too
        cure = "copy it, with its -wal file if it has one, to another folder"
        return StoreRefusedError(f"{what} where it is read-only ({error}); {cure}")
    return StoreRefusedError(f"{what}: {error}; wrkflw doctor tells more")


def references(path: Path) -> Finding:
    """Whether what belongs to a run has one; tables of others, which may be in the file too, are not looked at."""
    try:
        with closing(reading(path)) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            ours = [connection.execute(f"PRAGMA foreign_key_check({name})") for name in sorted(names & TABLES)]
            lost = Counter(table for rows in ours for table, *_ in rows)
    except sqlite3.Error as error:
        return Finding("references", "bad", f"{path} cannot be read: {error}")
    if not lost:
        return Finding("references", "ok", "whatever belongs to a run has one")
    told = ", ".join(f"{times:,} of {table}" for table, times in sorted(lost.items()))
    return Finding("references", "bad", f"there are rows that belong to no run: {told}; {_RESTORE}")


def waits_of(connection: sqlite3.Connection, run_id: str) -> list[Wait]:
    """The waits of a run as their own table has them.  Raises StoreError when they cannot be read."""
    try:
        run_no = connection.execute(_RUN_NO, (run_id,)).fetchone()
        found = connection.execute(sql.WAITS_OF_RUN.text, run_no or (None,)).fetchall()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StoreRefusedError(f"the waits of run {run_id!r} cannot be read: {error}; {_RESTORE}") from error
    return [wait_from(run_id, row) for row in found]


def _place(path: Path) -> Finding:
    kind = places.file_system_of(path.parent)
    try:
        places.check(path)
    except StoreRefusedError as error:
        return Finding("file system", "bad", str(error))
    if kind in places.MEMORY:
        lost = "and what is there is gone when the machine is; use a disk for what is to stay"
        return Finding("file system", "note", f"{kind} is memory, {lost}")
    return Finding("file system", "ok", kind or "unknown: this system does not say")


def _mode(path: Path) -> Finding:
    mode = path.stat().st_mode & 0o777
    if not os.access(path, os.R_OK | os.W_OK):
        return Finding("file", "bad", f"{path} cannot be written by this user; give it to them")
    if mode & _MODE_OF_OTHERS:
        return Finding("file", "note", f"others can read or write it (mode {mode:o}); chmod 600 {path}")
    return Finding("file", "ok", f"{path}, {_size(path):,} bytes")


def _room(path: Path) -> Finding:
    free, wal = shutil.disk_usage(path.parent).free, _size(path.with_name(f"{path.name}-wal"))
    detail = f"{free:,} bytes free; the write-ahead log has {wal:,}"
    return Finding("disk", "note" if free < _SPARE else "ok", detail)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _revision(connection: sqlite3.Connection) -> str | None:
    named = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    if connection.execute(named, (VERSION_TABLE,)).fetchone() is None:
        return None
    row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608  # a constant
    return None if row is None else str(row[0])


def _schema(connection: sqlite3.Connection) -> Finding:
    revision = _revision(connection)
    if revision is None:
        return Finding("schema", "bad", "this is no database of wrkflw; give it a file of its own")
    if revision not in REVISIONS:
        return Finding("schema", "bad", f"{revision} is of a newer version; upgrade wrkflw")
    if revision != REVISIONS[-1]:
        return Finding("schema", "note", f"{revision}; opening brings it to {REVISIONS[-1]}, as wrkflw db upgrade does")
    return Finding("schema", "ok", revision)


def _integrity(connection: sqlite3.Connection) -> Finding:
    said = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    return Finding("pages", "ok", "in order") if said == "ok" else Finding("pages", "bad", f"{said}; {_RESTORE}")


def _owners(connection: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    """Processes that have runs, or had them when they died."""
    if _revision(connection) is None:
        return
    folder = path.with_name(f"{path.name}-owners")
    rows: list[tuple[str, int]] = connection.execute("SELECT owner, lease_until FROM owners ORDER BY owner").fetchall()
    if not rows:
        yield Finding("processes", "ok", "none")
    for owner, lease_until in rows:
        left = from_microseconds(lease_until) - datetime.now(UTC)
        if HAS_FLOCK and not is_held(folder / owner):
            yield Finding("processes", "note", f"{owner} has died; others take its runs")
        elif left.total_seconds() < 0:
            yield Finding(
                "processes", "note", f"{owner} has stopped: its lease ran out {-left} ago; others take its runs"
            )
        else:
            yield Finding("processes", "ok", f"{owner} is at work")


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of this file, and so lives."""
    if is_bell(path.name):
        return False
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not flock(descriptor, wait=False)
    finally:
        os.close(descriptor)
