"""What fell due while nobody went on with a run, because it was paused or its process dead: in order of its time.

What is due first goes on first, as far as it can at once: a body that it calls is not waited for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime

from wrkflw.clock import Clock

from .journal import Journal

_MOST = 64
"""Moments that are told apart; of more, neighbours are taken together: each costs a look at all that waits."""


class Backlog:
    """By what time it is judged what of a run is due: now, unless several things are overdue."""

    __slots__ = ("_awaited", "_clock", "_journal", "_moments", "_reached", "_stale")

    def __init__(self, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal
        self._moments: Sequence[datetime] = ()
        """What is overdue, in order; none where it is not two at least, which need an order."""
        self._reached: datetime | None = None
        """How far it has led: what was due by then was told, and may be nobody's."""
        self._awaited: dict[object, datetime] | None = None
        """Who, of those that go on side by side, waits for which of the moments."""
        self._stale = False

    @property
    def is_open(self) -> bool:
        """Whether something is overdue that is not due yet."""
        return bool(self._moments)

    def look(self) -> None:
        """See what is overdue: the run goes on from its record."""
        now, reached = self._clock.now(), self._reached
        self._stale = False
        overdue = {moment for moment in _open_until(self._journal) if moment <= now}
        if reached is not None:
            overdue = {reached, *(moment for moment in overdue if moment > reached)}
        if len(overdue) < 2:
            self._moments = ()
            return
        moments = sorted(overdue)
        self._moments = moments[:: -(-len(moments) // _MOST)] + moments[-1:]
        self._reached = moments[0]

    def look_again(self) -> None:
        """The run was unpaused, though its journal may not say so yet."""
        self._stale = True

    def due(self) -> datetime:
        """What was to happen by this is due."""
        if self._stale and self._journal.paused_by is None:
            self.look()
        return self._reached if self._moments and self._reached is not None else self._clock.now()

    def reach(self, moment: datetime) -> bool:
        """Nothing moves any more before that.  Whether it was overdue."""
        moments = self._moments
        if not moments or self._reached is None:
            return False
        at = bisect_left(moments, max(moment, self._reached))
        self._reached = moments[min(at, len(moments) - 1)]
        if self._reached == moments[-1]:
            self._moments = ()
        return True

    def expect(self, who: object, moment: datetime) -> None:
        """Somebody goes on at that moment, and says when it no longer waits for it."""
        if self._moments:
            self._awaited = self._awaited or {}
            self._awaited[who] = moment

    def forget(self, who: object) -> None:
        if self._awaited is not None:
            self._awaited.pop(who, None)

    def comes_before(self, moment: datetime) -> bool:
        """Whether somebody is to go on first."""
        return self.is_open and any(each < moment for each in (self._awaited or {}).values())


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
