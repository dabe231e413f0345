"""Who else is at work on the file, from the folder of lock files alone: the database is not asked.

Whoever opens the file puts a lock file into the folder before it writes, and takes it away after its last write.
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from pathlib import Path

from wrkflw.clock import Clock

from .bells import is_bell

_TICK = 100_000_000
"""Nanoseconds; more than the step in which file systems count time, within which a change leaves no trace."""


class Neighbours:
    """``folder`` holds a file for each process, ``owner`` is that of this one; without a folder there are no others.

    Who has died leaves its file behind, until its runs have been taken over.
    """

    def __init__(self, folder: Path | None, owner: str, clock: Clock, lease: timedelta) -> None:
        self._folder = None if folder is None else str(folder)  # asked before each read: a path is spelled out once
        self._owner = owner
        self._clock = clock
        self._lease = lease
        self._names: frozenset[str] | None = None
        self._changed: int = 0
        self._settled = False
        self._unasked = True
        self._moved_at: datetime | None = None

    @property
    def alone(self) -> bool:
        """Nobody else is here, and for as long as a lease nobody has come or gone."""
        if self._folder is None:
            return True
        self._look()
        if self._names:
            return False
        return self._moved_at is None or self._clock.now() - self._moved_at > self._lease

    @property
    def may_have_written(self) -> bool:
        """Whether somebody else is here, or has been since :meth:`asked`."""
        if self._folder is None:
            return False
        self._look()
        return self._unasked or bool(self._names)

    @property
    def names(self) -> frozenset[str]:
        """Who else is here."""
        if self._folder is not None:
            self._look()
        return self._names or frozenset()

    def asked(self) -> None:
        """The database has told what others wrote until now."""
        self._unasked = False

    def _look(self) -> None:
        assert self._folder is not None
        try:
            changed = os.stat(self._folder).st_mtime_ns
            if self._settled and changed == self._changed:
                return
            names = frozenset(name for name in os.listdir(self._folder) if not is_bell(name)) - {self._owner}
        except FileNotFoundError:  # somebody tidies up; a lock file will make it again
            changed, names = 0, self._names or frozenset()
        except OSError:  # without a descriptor nothing can be seen: somebody may have come
            self._settled, self._unasked, self._moved_at = False, True, self._clock.now()
            return
        if self._names is not None and (changed != self._changed or names != self._names):
            self._moved_at = self._clock.now()
        self._names, self._changed, self._unasked = names, changed, True
        self._settled = abs(time.time_ns() - changed) > _TICK
