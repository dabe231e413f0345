"""What the author of a World hands in: one empty store, and Worlds over it, as many as a check opens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol, TypeAlias

from wrkflw.clock import Clock
from wrkflw.world import World


class Opening(NamedTuple):
    """How a World is to be made.  Each is a setting that the contract names; a World may not ignore one."""

    clock: Clock
    """What time it is for the store; a check turns it by hand."""
    namespace: str = "default"
    max_events: int = 25_000
    max_deliveries: int = 48


class Worlds(Protocol):
    """One store.  Everything that is made here reads and writes the same."""

    @property
    def lasting(self) -> bool:
        """Whether what one World wrote is found by those made later, and two may be open at once.

        False for a store that goes with its World; checks that need more than one are then skipped.
        """
        ...

    def make(self, opening: Opening, /) -> World:
        """A World that is not started yet.  Checks call ``start()`` and ``close()`` themselves."""
        ...


Maker: TypeAlias = Callable[[], AbstractAsyncContextManager[Worlds]]
"""Gives a store that is empty, and takes it away afterwards.  Called once for every check."""
