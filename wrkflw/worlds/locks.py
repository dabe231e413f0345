"""The right to write to the file: one thread of one process at a time, and whoever waits gets his turn.

SQLite's own lock lets whoever is running have it again, and may starve the others.  This one is taken first, round each
transaction and each checkpoint: of a thread of this process, then of a lock file, which is never removed and never the
database itself, whose locks die when it is opened and closed beside SQLite.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from wrkflw.world.errors import StoreRefusedError

from . import places

_LONGEST_STEP = 0.005  # seconds
_SHARED_FIRST, _SHARED_BYTES = 0x40000002, 510
"""Where SQLite locks a database for as long as it has it open, to be shared by all who do."""

if sys.platform == "win32":

    def flock(descriptor: int, *, wait: bool) -> bool:
        """False when somebody else holds it, which counts as being so always: leases and SQLite's own lock decide."""
        return False

    def _unlock(descriptor: int) -> None:
        pass

    def lock_out(descriptor: int) -> bool:
        """True: a file that is open cannot be replaced there."""
        return True

else:
    import fcntl

    def flock(descriptor: int, *, wait: bool) -> bool:
        """Lock the open file.  False when somebody else holds it: another process, or another opening in this one."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    def lock_out(descriptor: int) -> bool:
        """Keep SQLite from opening this database, until it is closed.  False when another process has it open."""
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_BYTES, _SHARED_FIRST)
        except (BlockingIOError, PermissionError):
            return False
        return True


HAS_FLOCK = sys.platform != "win32"


class WriteLock:
    """``path`` is the lock file; without one, or without such locks, only the threads of this process are kept apart.

    With ``with`` it waits, as long as it takes, in turn with all others who do.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.threads = threading.Lock()
        """Held by the thread that uses the writing connection, or waits for other processes to be able to."""
        self._path = path if HAS_FLOCK else None
        self._descriptor: int | None = None

    def open(self) -> None:
        """Open the lock file.  Raises StoreRefusedError when it cannot be."""
        if self._path is None or self._descriptor is not None:
            return
        try:
            self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise StoreRefusedError(
                f"{self._path} cannot be opened: {error.strerror}; {places.cure_of(error)}"
            ) from error

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def acquire(self, *, wait: bool = True) -> bool:
        """False when somebody has it, and one is not to wait."""
        if not self.threads.acquire(wait):
            return False
        if self._descriptor is None:
            return True
        try:
            got = flock(self._descriptor, wait=wait)
        except BaseException:
            self.threads.release()
            raise
        if not got:
            self.threads.release()
        return got

    def acquire_within(self, seconds: float) -> bool:
        """Wait for so long, out of turn: for those who would rather do without than wait for a process that hangs."""
        until, step = time.monotonic() + seconds, _LONGEST_STEP / 16
        while not self.acquire(wait=False):
            if time.monotonic() >= until:
                return False
            time.sleep(step)
            step = min(2 * step, _LONGEST_STEP)
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            # What was written stands, and its writer must hear so; the lock is let go of after the next beat at latest.
            with suppress(OSError):
                _unlock(self._descriptor)
        self.threads.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()
