"""Which of the instants that have passed make a run: of many that are late, as many as the schedule wants."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from wrkflw.world.schedules import Catchup

from .instants import instants_between, latest_instants, next_instant
from .timings import Timing

ON_TIME = timedelta(minutes=1)
"""How late an instant may be without being late: a process may be busy, or begin at just that moment."""


class Passed(NamedTuple):
    """The instants that are to make a run, oldest first, and the last one that is done with."""

    instants: list[datetime]
    until: datetime
    first_skipped: datetime | None = None
    """The first of those that make none."""


def passed(timing: Timing, after: datetime, now: datetime, catchup: Catchup, most: int) -> Passed | None:
    """What came later than ``after`` and no later than ``now``; None when that is nothing."""
    found = latest_instants(timing, after, now, most if catchup == "all" else 1)
    if not found:
        return None
    first, until = next_instant(timing, after), found[-1]
    if catchup == "skip":
        found = list(instants_between(timing, max(after, now - ON_TIME - datetime.resolution), now))
    return Passed(found, until, first if first not in found[:1] else None)
