"""How much a request may be, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What is more is refused: a body with 413, headers with 431, one that is late with 408, one too many with 429."""

    body_bytes: int = 1024 * 1024
    header_bytes: int = 64 * 1024
    header_time: timedelta = timedelta(seconds=10)
    """From the first byte of a request to the last of its headers; only :func:`~wrkflw.server.serve` sees to it."""
    body_time: timedelta = timedelta(seconds=10)
    """For the whole of a body."""
    idle_time: timedelta = timedelta(seconds=5)
    """That a connection is kept for another request."""
    unread_time: timedelta = timedelta(seconds=30)
    """That a client may leave what it is sent unread; only :func:`~wrkflw.server.serve` sees to it."""
    wait: timedelta = timedelta(seconds=60)
    """The longest that ``?wait=`` waits; it asks for more in vain."""
    requests: int = 1000
    """That are answered at a time, streams among them; a quarter to whom nobody knows, half to what is mounted."""
    streams: int = 100
    """That are open at a time."""
