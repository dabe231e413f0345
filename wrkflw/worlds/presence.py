"""This process as other processes on the same file see it, and they as it sees them.

A process that claims runs holds a lock on a file of its own, which the operating system drops when the process dies, so
that others take over at once.  It also moves a lease on, from a thread, so that a process which is merely stopped, and
keeps its lock, is replaced when the lease runs out.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from wrkflw.clock import Clock, to_microseconds

from .sql import compiled as sql
from .sql.database import Connection

try:
    import fcntl
except ImportError:  # Windows: leases alone decide
    fcntl = None  # type: ignore[assignment]  # a module or nothing


class Presence:
    """``folder`` holds the lock files; without one (a database in memory) there are no other processes."""

    def __init__(self, owner: str, clock: Clock, lease: timedelta, folder: Path | None) -> None:
        self.owner = owner
        self._clock = clock
        self._lease = lease
        self._folder = folder
        self._descriptor: int | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def announce(self, connection: Connection) -> None:
        """Count as alive from the end of this transaction on."""
        if self._folder is not None and self._descriptor is None and fcntl is not None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._descriptor = os.open(self._folder / self.owner, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.renew(connection)

    def renew(self, connection: Connection) -> None:
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
        row = connection.one(sql.OWNER_BY_NAME, owner=owner)
        if row is None or row[0] <= to_microseconds(self._clock.now()):
            return False
        return self._folder is None or self._holds_its_lock(self._folder / owner)

    def keep_alive(self, open_connection: Callable[[], Connection], lock: threading.Lock) -> None:
        """Renew the lease from a thread until :meth:`stop`: a blocked event loop must not lose it."""

        def run() -> None:
            connection = open_connection()
            try:
                while not self._stop.wait(self._lease.total_seconds() / 3):
                    with lock:
                        connection.text("BEGIN IMMEDIATE")
                        self.renew(connection)
                        connection.text("COMMIT")
            finally:
                connection.close()

        self._thread = threading.Thread(target=run, name="wrkflw-lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and let go of the lock."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._descriptor is not None and self._folder is not None:
            (self._folder / self.owner).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None
            with contextlib.suppress(OSError):  # not empty: others are at work
                self._folder.rmdir()

    def _holds_its_lock(self, path: Path) -> bool:
        if fcntl is None:
            return True
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(descriptor)
