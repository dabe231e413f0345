"""The garbage collector of Python, told what it need not look for: what is under way is no garbage."""

from __future__ import annotations

import gc
import threading
from collections.abc import Generator
from contextlib import contextmanager

_OF_PYTHON = frozenset({700, 2_000})
"""How many new objects Python itself lets gather before it looks through them; who has set another number keeps it."""
_RARELY = 10_000


@contextmanager
def collecting_later() -> Generator[None]:
    """Put it off, for the whole process, for a moment in which nothing that is made is garbage.

    To look for some among thousands of new objects, again and again, takes as long as to make them.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class CollectingRarely:
    """From ``begin`` to ``end`` more may gather before it is looked through, in the whole process.

    A run that is being answered holds some 80 objects for a few milliseconds, and gives them back without a collector.
    Looked through 700 at a time they seem to stay, and then everything that the process holds is looked through.
    """

    _lock = threading.RLock()  # which may be held when one that was forgotten is collected
    _under_way = 0
    _before: tuple[int, int, int] | None = None

    def __init__(self) -> None:
        self._begun = False

    def begin(self) -> None:
        cls = CollectingRarely
        with cls._lock:
            if self._begun:
                return
            self._begun = True
            cls._under_way += 1
            before = gc.get_threshold()
            if cls._under_way == 1 and before[0] in _OF_PYTHON:
                cls._before = before
                gc.set_threshold(_RARELY, *before[1:])

    def end(self) -> None:
        """What was set meanwhile by somebody else is left as it is."""
        cls = CollectingRarely
        with cls._lock:
            if not self._begun:
                return
            self._begun = False
            cls._under_way -= 1
            if cls._under_way == 0 and cls._before is not None:
                if gc.get_threshold()[0] == _RARELY:
                    gc.set_threshold(*cls._before)
                cls._before = None

    def __del__(self) -> None:
        self.end()
