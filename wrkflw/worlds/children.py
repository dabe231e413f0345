"""What a forked child must not use: the connections, locks and bells of its parent.

A connection that two processes share corrupts the file, and even closing it in the child may.  A lock that the child
holds on to would outlive the parent.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class OfOneProcess(Protocol):
    def in_child(self) -> None:
        """Let go of what is the parent's; called in a child that was just forked."""
        ...


_alive: WeakSet[OfOneProcess] = WeakSet()


def belongs_here(thing: OfOneProcess) -> None:
    """Call its ``in_child`` in every child that is forked while it exists."""
    _alive.add(thing)


def _in_child() -> None:
    for thing in list(_alive):
        thing.in_child()
    _alive.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
