"""The journals of runs that this process has parked: a run that it takes up again is not read from its first event on.

Only what nobody else has driven meanwhile: a claim raises the epoch, so the next claim here is one above the last.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.storage import Storage

from .journal import Journal

_MOST = 2_000
_MOST_EVENTS = 50_000
_MOST_BYTES = 32 * 1024 * 1024


@dataclass(slots=True)
class _Kept:
    journal: Journal
    epoch: int
    size: int
    """Bytes."""
    is_lent: bool = False
    """Whether handles look at it: what they see must not change under them."""

    def to_go_on_from(self) -> Journal:
        return self.journal.copy() if self.is_lent else self.journal


class KeptJournals:
    """A bounded number of them; who was kept longest goes first."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._events = self._bytes = 0

    def keep(self, journal: Journal, epoch: int) -> None:
        """``journal`` holds the log of a run that was driven at ``epoch`` and is given up.

        Who goes on with the run writes into it, or into a copy once it was lent.
        """
        self.forget(journal.run_id)
        kept = self._kept[journal.run_id] = _Kept(journal, epoch, journal.size)
        self._events += journal.last_slot
        self._bytes += kept.size
        while len(self._kept) > _MOST or self._events > _MOST_EVENTS or self._bytes > _MOST_BYTES:
            self.forget(next(iter(self._kept)))

    def forget(self, run_id: str) -> None:
        kept = self._kept.pop(run_id, None)
        if kept is not None:
            self._events -= kept.journal.last_slot
            self._bytes -= kept.size

    def peek(self, run: Run) -> Journal | None:
        """The journal of a run as it stands, if it is here.  Not to be written to."""
        kept = self._kept.get(run.run_id)
        if kept is None or (kept.epoch, kept.journal.last_slot) != (run.epoch, run.last_slot):
            return None
        self.lend(kept.journal)
        return kept.journal

    def has(self, run_id: str) -> bool:
        return run_id in self._kept

    def keeps(self, journal: Journal) -> bool:
        """Whether this one is kept, so that nobody has gone on from it."""
        kept = self._kept.get(journal.run_id)
        return kept is not None and kept.journal is journal

    def lend(self, journal: Journal) -> None:
        """Somebody looks at this one from now on, which matters while it is kept."""
        if self.keeps(journal):
            self._kept[journal.run_id].is_lent = True

    def take(self, run_id: str) -> Journal | None:
        """The journal of a run as it was parked here, to go on from; others may have written to the run since."""
        kept = self._kept.get(run_id)
        self.forget(run_id)
        return None if kept is None else kept.to_go_on_from()

    async def journal_of(self, run: Run, latest: e.StoredEvent | None = None) -> Journal:
        """The journal of a run that was just claimed; ``latest`` is an event of it that is known to be its last.

        Raises StoreError when the log cannot be read.
        """
        kept = self._kept.get(run.run_id)
        self.forget(run.run_id)
        if kept is None or kept.epoch + 1 != run.epoch:
            log = await self._storage.events.list(run.run_id)
            journal = Journal.of(run.run_id, log.data)
            journal.check_whole(run.last_slot)
            return journal
        journal = kept.to_go_on_from()
        if latest is not None and latest.slot == journal.last_slot + 1 == run.last_slot:
            journal.add_next(latest)
            return journal
        tail = await self._storage.events.list(run.run_id, after_slot=journal.last_slot)
        for stored in tail.data:
            journal.add_next(stored)
        journal.check_whole(run.last_slot)
        return journal
