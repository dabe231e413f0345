"""What is logged where nobody has configured logging: on stderr, as Python does it, but without ever waiting for it.

Who reads stderr may have stopped reading.  A pipe that is full would hold whoever writes to it, and with the event loop
every run of the process, whose lease is renewed all the same; so what finds no room is dropped.
"""

from __future__ import annotations

import logging
import os
import select
import sys
from typing import TextIO

_AT_ONCE = 4096
"""Bytes for which there is room in a pipe that says it has room."""


class LastResort(logging.Handler):
    """In place of :data:`logging.lastResort`; silent as soon as there is another handler."""

    def emit(self, record: logging.LogRecord) -> None:
        if self._is_alone(record.name) and sys.stderr is not None and _has_room(sys.stderr):
            line = self.format(record).encode(errors="backslashreplace")[: _AT_ONCE - len(os.linesep)]
            sys.stderr.write(line.decode(errors="ignore") + "\n")

    def _is_alone(self, name: str) -> bool:
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return True


def _has_room(stream: TextIO) -> bool:
    try:
        return bool(select.select([], [stream], [], 0)[1])
    except (OSError, ValueError):  # no pipe, or a system that cannot say
        return True


_last_resort = LastResort(logging.WARNING)


def be_heard() -> None:
    """Make complaints of the engine heard.  May be repeated."""
    logging.getLogger("wrkflw").addHandler(_last_resort)
