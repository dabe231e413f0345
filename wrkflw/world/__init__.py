"""The World: everything the engine knows about the outside.

A World is an event log with its entities.  :mod:`~wrkflw.world.events` says what can happen,
:mod:`~wrkflw.world.transitions` when it may, :mod:`~wrkflw.world.fold` what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from .storage import Storage
from .streamer import Streamer

SPEC_VERSION = 1
"""The format of the log that this version writes; it refuses to touch a newer one."""


Listener: TypeAlias = Callable[[str, Sequence[str]], None]


class World(Protocol):
    """Storage and streams, and the life of the process that uses them."""

    @property
    def storage(self) -> Storage: ...

    @property
    def streamer(self) -> Streamer: ...

    @property
    def owner(self) -> str:
        """The name under which this process claims runs."""
        ...

    def subscribe(self, listener: Listener, /) -> Callable[[], None]:
        """Call ``listener(run_id, event_types)`` after each commit of this process; the answer ends it.

        Chunks of streams are told as ``chunk_written`` and ``stream_closed``.  A hint for those who wait; the log is
        the record.
        """
        ...

    def written_elsewhere(self) -> object:
        """A mark that changes when another process has committed; None where there are no others."""
        ...

    @property
    def alone(self) -> bool:
        """Nobody else uses the store, nor has of late: there is nobody's work to take over.  Costs no statement."""
        ...

    async def start(self) -> None:
        """Open the store and announce this process.  Raises StoreRefusedError when it cannot be used."""
        ...

    async def close(self) -> None:
        """Finish what is being written, give up what this process owns, and close.  Idempotent."""
        ...
