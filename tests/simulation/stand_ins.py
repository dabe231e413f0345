"""What stands in for the threads, locks, bells and clocks of a real machine while a simulation runs.

All else is what is shipped.  Files of locks and of the database are real; two Worlds of one process hold locks against
each other as two processes do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from wrkflw.worlds import database_file, locks, neighbours, places, presence, sqlite, wal, watch, writer
from wrkflw.worlds.bells import Heard
from wrkflw.worlds.sql.database import Connection, Notice

from .machine import Blocked, Crash, Machine
from .tempers import MS, SECOND

if TYPE_CHECKING:
    from .processes import Process

_FEW_PAGES = 40 * 4120
_LATEST_RING = 20 * MS

_SETTINGS = f"""
    PRAGMA busy_timeout = 0;
    PRAGMA synchronous = OFF;
    PRAGMA foreign_keys = ON;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA journal_size_limit = {_FEW_PAGES};
"""

_check = wal.Wal.check
_flock, _unlock = locks.flock, locks._unlock
_open_in, _remove = presence._open_in, presence._remove

_on: Machine | None = None
"""The machine that runs."""


def machine() -> Machine:
    assert _on is not None
    return _on


def process() -> Process:
    current = machine().current
    assert current is not None
    return current


def switch_to(new: Machine | None) -> None:
    global _on, _changes  # there is one at a time
    _on, _changes = new, 0
    Bell.by_name.clear()


def install(patch: pytest.MonkeyPatch) -> None:
    """Until ``patch`` is undone."""
    patch.setattr(wal, "LIMIT", _FEW_PAGES)
    patch.setattr(wal, "_MORE", _FEW_PAGES)
    patch.setattr(places, "file_system_of", lambda _folder, _mounts: "")
    patch.setattr(database_file.DatabaseFile, "configure", _configure)
    patch.setattr(wal.Wal, "check", _check_that_may_fail)
    patch.setattr(writer, "Hand", Hand)
    patch.setattr(sqlite, "Writer", partial(writer.Writer, measure=_measure))
    patch.setattr(locks, "threading", SimpleNamespace(Lock=Lock))
    patch.setattr(locks, "flock", _flock_or_blocked)
    patch.setattr(locks, "_unlock", _unlock_and_tell)
    time = SimpleNamespace(monotonic=lambda: machine().elapsed / SECOND, sleep=lambda seconds: machine().sleep(seconds))
    patch.setattr(locks, "time", time)
    patch.setattr(presence, "time", time)
    patch.setattr(presence, "_open_in", _open_in_and_count)
    patch.setattr(presence, "_remove", _remove_and_count)
    patch.setattr(presence.Presence, "keep_alive", _keep_alive)
    patch.setattr(presence.Presence, "rest", lambda self: self._stop.set())
    patch.setattr(neighbours, "os", SimpleNamespace(stat=_stat, listdir=os.listdir))
    patch.setattr(neighbours, "time", SimpleNamespace(time_ns=lambda: 1 << 62))
    patch.setattr(watch, "OwnBell", Bell)
    patch.setattr(watch, "OthersBells", OthersBells)


# --- the database ------------------------------------------------------------------------------------


def _configure(_file: database_file.DatabaseFile, connection: Connection) -> None:
    """As shipped, but for the disk that is in memory, and at once: nothing is to be seen between two settings."""
    connection._driver.executescript(_SETTINGS)


def _check_that_may_fail(log: wal.Wal) -> None:
    """After a commit: as if somebody had replaced the log.  The process counts as dead; somebody stops it some day."""
    here = machine()
    _check(log)
    if here.temper.landed and here.random.random() < here.temper.landed:
        mistaken = process()
        here.later(here.random.randrange(40 * SECOND), lambda: mistaken.die(Crash()))
        raise wal.lost(log._log, "replaced")


def _measure() -> float:
    """The watch of the writer, by which a slow disk takes long."""
    here = machine()
    if here.temper.slow_disk:
        here.elapsed += 50 * MS
    return here.elapsed / SECOND


# --- threads and locks -------------------------------------------------------------------------------


class Hand:
    """The writer's thread."""

    def __init__(self, name: str) -> None:
        self.do = process().hand.do

    def end(self) -> None:
        pass


class Lock:
    """Between the threads of a process: one that would have to wait begins again when it need not."""

    def __init__(self) -> None:
        self._held = self._wanted = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not self._held:
            self._held = True
            return True
        if blocking and timeout < 0:
            self._wanted = True
            raise Blocked
        return False

    def release(self) -> None:
        self._held = False
        if self._wanted:
            self._wanted = False
            machine().releases += 1


def _flock_or_blocked(descriptor: int, *, wait: bool) -> bool:
    if _flock(descriptor, wait=False):
        return True
    if wait:
        raise Blocked
    return False


def _unlock_and_tell(descriptor: int) -> None:
    _unlock(descriptor)
    machine().releases += 1


def _keep_alive(self: presence.Presence, open_connection: Callable[[], Connection], lock: locks.WriteLock) -> None:
    """The thread of the lease: a beat each third of it."""
    here = process()
    seconds = self._lease.total_seconds() / 3

    def beat() -> None:
        if self._stop.is_set():
            return
        if here.lease_connection is None:
            here.lease_connection = open_connection()
        self.beat(here.lease_connection, lock)

    def work() -> None:
        if not self._stop.is_set():
            here.lease.do(beat).add_done_callback(lambda future: future.exception())
            here.loop.call_later(seconds, work)

    here.loop.call_later(seconds, work)


# --- the folder of lock files --------------------------------------------------------------------------

_changes = 0
"""How often something was made or removed there: what the file system tells by its time."""


def _open_in_and_count(folder: Path, path: Path) -> int:
    global _changes  # noqa: PLW0603
    _changes += 1
    return _open_in(folder, path)


def _remove_and_count(path: Path) -> None:
    global _changes  # noqa: PLW0603
    _changes += 1
    _remove(path)


def _stat(path: str) -> Any:
    os.stat(path)  # whether it exists
    return SimpleNamespace(st_mtime_ns=_changes)


# --- bells -------------------------------------------------------------------------------------------


class Bell:
    """Rung by others: each ring comes a little later, and perhaps twice, in another order, or not at all."""

    by_name: dict[str, Bell] = {}  # noqa: RUF012  # of the processes whose bells hang; there is one machine at a time

    def __init__(self, path: Path, heard: Heard) -> None:
        self._name = path.stem
        self._heard = heard
        self._process = process()
        self.ringers: list[tuple[OthersBells, str]] = []

    def hang(self) -> bool:
        Bell.by_name[self._name] = self
        return True

    def close(self) -> None:
        if Bell.by_name.pop(self._name, None) is not None:
            for others, name in self.ringers:
                others.told_of_death(name)

    drop = close

    def ring(self, run_id: str, types: Sequence[str]) -> None:
        here = machine()
        if here.temper.deaf and here.random.random() < here.temper.deaf:
            return
        for _ in range(2 if here.temper.doubled and here.random.random() < here.temper.doubled else 1):
            self._process.loop.call_later(here.random.random() * _LATEST_RING / SECOND, self._hear, run_id, types)

    def _hear(self, run_id: str, types: Sequence[str]) -> None:
        if self._name in Bell.by_name:
            self._heard(run_id, types)


class OthersBells:
    def __init__(self, _folder: Path, died: Callable[[], None]) -> None:
        self._died = died
        self._process = process()
        self._open: dict[str, Bell] = {}

    def find(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            bell = Bell.by_name.get(name)
            if name not in self._open and bell is not None:
                self._open[name] = bell
                bell.ringers.append((self, name))
                bell.ring("", ())

    def ring(self, notices: Iterable[Notice], *, brief: frozenset[str]) -> None:
        for run_id, types in notices:
            told = tuple(kind for kind in types if kind not in brief)
            for bell in self._open.values():
                bell.ring(run_id, told)

    def told_of_death(self, name: str) -> None:
        if self._open.pop(name, None) is not None and not self._process.dead:
            self._process.loop.call_soon(self._died)

    def close(self) -> None:
        self._open.clear()

    drop = close


__all__ = ["install", "machine", "process", "switch_to"]
