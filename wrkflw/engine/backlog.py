"""What fell due while nobody went on with a run, because it was paused or its process dead: in order of its time.

What is due first goes on first, as far as it can at once: a body that it calls is not waited for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from .journal import Journal

_MOST = 64
"""Moments that are told apart; of more, neighbours are taken together: each costs a look at all that waits."""


@dataclass(slots=True)
class Backlog:
    """Several things that are overdue."""

    moments: list[datetime]
    """In order."""
    reached: datetime
    """By this it is judged what is due, in place of now."""
    awaited: dict[object, datetime] = field(default_factory=dict[object, datetime])
    """Who, of those that go on side by side, waits for which of the moments."""

    @classmethod
    def of(cls, journal: Journal, now: datetime, reached: datetime | None) -> Backlog | None:
        """None when not even two are, which need no order.

        ``reached`` is how far an earlier look has led: what was due by then was told, and may be nobody's.
        """
        overdue = {moment for moment in _open_until(journal) if moment <= now and (not reached or moment > reached)}
        if reached is not None:
            overdue.add(reached)
        if len(overdue) < 2:
            return None
        moments = sorted(overdue)
        moments = moments[:: -(-len(moments) // _MOST)] + moments[-1:]
        return cls(moments, moments[0])

    def reach(self, moment: datetime) -> bool:
        """Nothing moves any more before that.  Whether more is to come."""
        at = bisect_left(self.moments, max(moment, self.reached))
        self.reached = self.moments[min(at, len(self.moments) - 1)]
        return self.reached < self.moments[-1]

    def comes_before(self, moment: datetime) -> bool:
        """Whether somebody is to go on first."""
        return any(each < moment for each in self.awaited.values())


def _open_until(journal: Journal) -> Iterator[datetime]:
    for wait in journal.waits.values():
        if wait.ended is None and wait.resume_at is not None:
            yield wait.resume_at
    for record in journal.records.values():
        if record.ended is None:
            if (asked := record.suspension) is not None and asked.until is not None:
                yield asked.until
            elif record.status == "retrying" and record.retry_after is not None:
                yield record.retry_after
