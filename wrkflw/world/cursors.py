"""How far something outside of the database was read, so that each of its entries is taken in once: a mailbox, a feed.

One process at a time reads a source.  It has it until it gives it back, or is gone; where it is gone in the middle, the
next one goes on behind the last position that was recorded.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Held(NamedTuple):
    """A source that this process may read, behind ``position``; None where nobody has read it before."""

    position: str | None


class Cursors(Protocol):
    """Sources of a namespace, by names.  What a position means is the reader's; a World keeps it as it is."""

    async def take(self, source: str) -> Held | None:
        """Have the source; None while a process that is alive has it, this one included.  Durable when it returns."""
        ...

    async def advance(self, source: str, position: str) -> bool:
        """It was read up to there.  Durable when it returns; False, and nothing changes, where others have it."""
        ...

    async def release(self, source: str) -> None:
        """Others may read it.  Durable when it returns."""
        ...
