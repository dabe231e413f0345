"""Which event goes to which wait: first in, first out, one line for each name.

The same rule as the World's fold: a function of the log, so that no two readers see it differently.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field

from .records import WaitRecord


@dataclass(slots=True)
class Signals:
    _waits: dict[str, WaitRecord] = field(default_factory=dict)
    """All waits, by id."""
    _lines: dict[str, dict[str, WaitRecord]] = field(default_factory=dict)
    """Those that have no event yet, by its name, oldest first."""
    _arrived: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    """Slot and payload of the events that no wait has taken."""

    def open(self, wait: WaitRecord) -> bool:
        """A wait begins.  True when its event was there before."""
        self._waits[wait.wait_id] = wait
        if wait.kind != "signal" or wait.signal_type is None:
            return False
        if arrived := self._arrived.get(wait.signal_type):
            wait.taken, wait.payload = arrived.pop(0)
            return True
        self._lines.setdefault(wait.signal_type, {})[wait.wait_id] = wait
        return False

    def arrive(self, name: str, slot: int, payload: bytes) -> WaitRecord | None:
        """An event arrives.  The wait that takes it, if one does."""
        line = self._lines.get(name)
        if not line:
            bisect.insort(self._arrived.setdefault(name, []), (slot, payload))
            return None
        wait = line.pop(next(iter(line)))
        wait.taken, wait.payload = slot, payload
        return wait

    def find(self, wait_id: str) -> WaitRecord | None:
        return self._waits.get(wait_id)

    def close(self, wait_id: str) -> WaitRecord | None:
        """A wait is over without its event; None when it was already."""
        wait = self._waits.get(wait_id)
        if wait is None or wait.cause is not None:
            return None
        if wait.signal_type is not None:
            self._lines.get(wait.signal_type, {}).pop(wait_id, None)
        return wait

    def give_back(self, wait: WaitRecord) -> WaitRecord | None:
        """The wait had an event but nobody looked: it goes to the next in line, which is given."""
        assert wait.taken is not None
        assert wait.payload is not None
        slot, payload, name = wait.taken, wait.payload, wait.signal_type or ""
        wait.taken = wait.payload = wait.ended = None
        return self.arrive(name, slot, payload)

    def copy(self, twins: Mapping[str, WaitRecord]) -> Signals:
        """The same of other waits, by id."""
        lines = {name: {wait_id: twins[wait_id] for wait_id in line} for name, line in self._lines.items()}
        return Signals(dict(twins), lines, {name: arrived.copy() for name, arrived in self._arrived.items()})
