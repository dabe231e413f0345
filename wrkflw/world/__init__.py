"""The World: everything the engine knows about the outside.

A World is an event log with its entities.  :mod:`~wrkflw.world.events` says what can happen,
:mod:`~wrkflw.world.transitions` when it may, :mod:`~wrkflw.world.fold` what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from .queue import Queue
from .storage import Storage
from .streamer import Streamer

SPEC_VERSION = 1
"""The format of the log that this version writes; it refuses to touch a newer one."""


Listener: TypeAlias = Callable[[str, Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a World can do beyond what every World must.  What is not named here it cannot."""

    batch: bool = False
    """Append many events in one transaction."""
    transactional_enqueue: bool = False
    """Queue messages in the transaction of the events that they belong to."""
    hook_retention: bool = False
    """Keep a token reserved beyond its hook."""
    resume_dedupe: bool = False
    """Record what comes from outside once for a ``resume_id``."""
    locks: bool = False
    search: bool = False
    """Find runs by their attributes."""
    schedules: bool = False
    """Keep schedules, and create the runs of their instants."""
    cursors: bool = False
    """Keep how far sources outside of it were read."""


class World(Protocol):
    """Storage, queue and streams, and the life of the process that uses them."""

    @property
    def spec_version(self) -> int:
        """The newest format of the log that it can read, and the one that it writes."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do beyond what every World must."""
        ...

    @property
    def storage(self) -> Storage:
        """Runs and all that belongs to them."""
        ...

    @property
    def queue(self) -> Queue:
        """Messages that ask for work."""
        ...

    @property
    def streamer(self) -> Streamer:
        """What steps write while they run."""
        ...

    @property
    def owner(self) -> str:
        """The name under which this process claims runs."""
        ...

    def subscribe(self, listener: Listener, /, *, own: bool = False) -> Callable[[], None]:
        """Call ``listener(run_id, event_types)`` after each commit, of this process or another; the answer ends it.

        ``own``: of this process alone.

        Chunks of streams are told as ``chunk_written`` and ``stream_closed``, that a run was given up as ``run_due`` or
        ``run_parked``, messages as ``message_queued``.  Of the steps in another process only the run is told.  An empty
        ``run_id`` is about no single run: with ``schedules_changed``, a schedule was defined, paused or resumed, or a
        run of one has to wait its turn; with ``store_lost``, this process can write nothing any more; without types,
        anything may have been written anywhere, or the World was closed.  A hint for those who wait; the log is the
        record.
        """
        ...

    @property
    def alone(self) -> bool:
        """Nobody else uses the store, nor has of late: there is nobody's work to take over.  Costs no statement."""
        ...

    def get_deployment_id(self) -> str:
        """The deployment that this process belongs to."""
        ...

    async def start(self, *, consume: bool = True, recover: bool = True) -> None:
        """Open the store and announce this process.  Raises StoreRefusedError when it cannot be used.

        Without ``consume`` it only produces: no message is delivered here.  Without ``recover`` it leaves to others
        the runs of processes that died, when it takes what is due.  Idempotent: what a World was started as, it stays.
        """
        ...

    async def close(self) -> None:
        """Deliver no more, finish what is being written, give up what this process owns, and close.  Idempotent."""
        ...
