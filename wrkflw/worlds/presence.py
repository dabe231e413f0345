"""This process as other processes on the same file see it, and they as it sees them.

A process that claims runs holds a lock on a file of its own, which the operating system drops when the process dies, so
that others take over at once.  It also moves a lease on, from a thread, so that a process which is merely stopped, and
keeps its lock, is replaced when the lease runs out: once it has also let pass a time in which it could have moved it
on, for a clock may have been set, or all processes of a machine have slept together.  Only one such leap is allowed
for: the time is told by the same clock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from wrkflw.clock import Clock, to_microseconds
from wrkflw.errors import StoreError

from .bells import bell_of, is_bell
from .locks import HAS_FLOCK, WriteLock, flock
from .loop_watch import LoopWatch
from .sql import compiled as sql
from .sql.database import Connection

_PROBE_SECONDS = 0.001  # far more than a probe takes
_PATIENCE = 1.0  # seconds

_log = logging.getLogger("wrkflw")


def _lock_at_once(descriptor: int) -> bool:
    return flock(descriptor, wait=False)


class Presence:
    """``folder`` holds the lock files; without one (a database in memory) there are no other processes.

    ``lock`` locks an open file; False when another process, or another World of this one, holds it.
    """

    def __init__(
        self,
        owner: str,
        clock: Clock,
        lease: timedelta,
        folder: Path | None,
        *,
        lock: Callable[[int], bool] = _lock_at_once,
    ) -> None:
        self.owner = owner
        self._clock = clock
        self._lease = lease
        self._folder = folder
        self._lock = lock
        self._descriptor: int | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: LoopWatch | None = None
        self._overdue: dict[str, tuple[int, datetime]] = {}
        """Leases of others that were found to have run out, and when."""

    def announce(self, connection: Connection) -> None:
        """Count as alive from the end of this transaction on."""
        self.hold_lock()
        self._tidy(connection)
        self.renew(connection)

    def renew(self, connection: Connection) -> None:
        """Move the lease on; should others have declared this process dead, it is announced again."""
        until = to_microseconds(self._clock.now() + self._lease)
        connection.run(sql.OWNER_RENEW, owner=self.owner, lease_until=until)

    def retire(self, connection: Connection) -> None:
        """Give up everything this process has claimed."""
        now = to_microseconds(self._clock.now())
        connection.run(sql.RUNS_FREE, owner=None, now=now, gone=self.owner)
        connection.run(sql.OWNER_DELETE, owner=self.owner)

    def is_live(self, connection: Connection, owner: str) -> bool:
        if owner == self.owner:
            return True
        # The lock first, in any case: who has died left the file behind, which is removed here.
        if self._folder is None or not self.holds_its_lock(self._folder / owner):
            self._overdue.pop(owner, None)
            return False
        row = connection.one(sql.OWNER_BY_NAME, owner=owner)
        return row is not None and not self._is_over(owner, row[0])

    def _is_over(self, owner: str, lease_until: int) -> bool:
        now = self._clock.now()
        if lease_until > to_microseconds(now):
            self._overdue.pop(owner, None)
            return False
        lease, found = self._overdue.get(owner, (None, now))
        if lease != lease_until:
            found = now
            self._overdue[owner] = lease_until, now
        if now - found < self._lease / 2:  # a beat comes each third of it
            return False
        _log.warning("process %s lives, but has not moved its lease on; its runs are taken over", owner)
        return True

    # --- staying alive -----------------------------------------------------------------------------

    def keep_alive(self, open_connection: Callable[[], Connection], lock: WriteLock) -> None:
        """Renew the lease from a thread until :meth:`rest`: a blocked event loop must not lose it, but is reported."""
        beat = self._lease.total_seconds() / 3
        self._loop = loop = LoopWatch(min(_PATIENCE, beat / 2))

        def run() -> None:
            connection: Connection | None = None
            while not self._stop.wait(beat):
                try:
                    connection = connection or open_connection()
                except (sqlite3.Error, StoreError, OSError):
                    continue  # it may open at the next beat
                self.beat(connection, lock)
                loop.look()
            if connection is not None:
                connection.close()

        self._stop.clear()
        self._thread = threading.Thread(target=run, name="wrkflw-lease", daemon=True)
        self._thread.start()

    def beat(self, connection: Connection, lock: WriteLock) -> bool:
        """Renew the lease in a transaction of its own.  False when that failed: the next beat may succeed."""
        try:
            self.hold_lock()
            with lock:
                if self._stop.is_set():
                    return False  # it may have waited long for its turn
                try:
                    connection.text("BEGIN IMMEDIATE")
                    self.renew(connection)
                    connection.text("COMMIT")
                except sqlite3.Error:
                    with contextlib.suppress(sqlite3.Error):  # it may not have begun
                        connection.text("ROLLBACK")
                    raise
        except (sqlite3.Error, OSError):
            return False
        return True

    def rest(self) -> None:
        """End the thread: the lease moves on no more."""
        self._stop.set()
        if self._loop is not None:
            self._loop.end()
        if self._thread is not None:
            self._thread.join(_PATIENCE)  # it may stand behind a process that hangs, and then does nothing in its turn
            self._thread = None

    def resign(self) -> None:
        """Count as dead from now on: others take over, although this process goes on."""
        self._stop.set()
        self.drop()

    # --- the lock ----------------------------------------------------------------------------------

    def let_go(self) -> None:
        """Take the lock file away, which tells the others that this process is gone and writes no more."""
        if self._descriptor is None or self._folder is None:
            return
        _remove(self._folder / self.owner)
        self.drop()
        with contextlib.suppress(OSError):  # not empty: others are at work
            self._folder.rmdir()

    def drop(self) -> None:
        """Lose the lock, as a process does that dies."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def hold_lock(self) -> None:
        """Lock a file of this process's name, again if somebody has tidied the file away."""
        if self._folder is None:
            return
        path = self._folder / self.owner
        if self._descriptor is not None:
            if _is_at(path, self._descriptor):
                return
            os.close(self._descriptor)
            self._descriptor = None
        while self._descriptor is None:
            descriptor = _open_in(self._folder, path)
            # Whoever probes the file just now holds its lock, and removes it.
            if (self._lock(descriptor) or not HAS_FLOCK) and _is_at(path, descriptor):
                self._descriptor = descriptor
            else:
                os.close(descriptor)
                time.sleep(_PROBE_SECONDS)

    def holds_its_lock(self, path: Path) -> bool:
        """Whether the process whose lock file this is lives; when it does not, the file is removed."""
        while True:
            try:
                descriptor = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                return False
            try:
                if not self._lock(descriptor):
                    return True
                if _is_at(path, descriptor):  # else somebody removed it, and its owner may have made another
                    _remove(path)
                    return False
            finally:
                os.close(descriptor)

    def _tidy(self, connection: Connection) -> None:
        """Remove the files of those who died before they were announced: nobody else asks whether they are alive."""
        if self._folder is None:
            return
        for name in set(os.listdir(self._folder)) - {self.owner}:
            if not is_bell(name) and connection.one(sql.OWNER_BY_NAME, owner=name) is None:
                self.holds_its_lock(self._folder / name)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one of that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    """The lock file last: as long as it is there, somebody will come to tidy up."""
    bell_of(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _open_in(folder: Path, path: Path) -> int:
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the last to leave removes the folder, perhaps just now
            return os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
