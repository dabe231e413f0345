"""When a timing comes round, in UTC; the only module that knows APScheduler, whose triggers are the calendar.

A trigger is asked about the wall clock alone.  What the wall clock of a zone means is decided here, because that is
where the hours of spring and autumn are lost and found:

* An expression that names times of the day (``30 1 * * *``) comes once for each of them.  Of an hour that comes twice
  it is the first, and a time that the clock leaves out counts as if it had not been put forward yet.
* One that comes round and round (``*/30 * * * *``) goes by the hours that pass: it comes in both of the two, and not
  in the one that is left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from apscheduler.triggers.combining import OrTrigger  # pyright: ignore[reportMissingTypeStubs]  # it has none
from apscheduler.triggers.cron import CronTrigger  # pyright: ignore[reportMissingTypeStubs]

from .expressions import Expression, read_expression
from .timings import At, Cron, Every, Timing

_Trigger: TypeAlias = Any  # APScheduler has no types
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)
"""The most by which a zone has ever moved its clocks."""
_SPAN = timedelta(minutes=1)
_NONE = timedelta(0)


def next_instant(timing: Timing, after: datetime) -> datetime | None:
    """The first instant later than ``after``; None when there is none any more."""
    match timing:
        case Cron():
            return _next_of_cron(timing, after)
        case Every(period):
            return _EPOCH + ((after - _EPOCH) // period + 1) * period
        case At(moment):
            return moment if moment > after else None


def instants_between(timing: Timing, after: datetime, until: datetime) -> Iterator[datetime]:
    """Those later than ``after``, up to ``until`` and that included."""
    instant = next_instant(timing, after)
    while instant is not None and instant <= until:
        yield instant
        instant = next_instant(timing, instant)


def latest_instants(timing: Timing, after: datetime, until: datetime, most: int) -> list[datetime]:
    """The last ``most`` of them, oldest first; what it costs depends on ``most``, not on how long it has been."""
    span = _SPAN
    while True:
        begin = until - span if until - after > span else after
        found = deque(instants_between(timing, begin, until), maxlen=most)
        if len(found) == most or begin == after:
            return list(found)
        span *= 4


# --- the wall clock ------------------------------------------------------------------------------------


def _next_of_cron(timing: Cron, after: datetime) -> datetime | None:
    zone, expression = ZoneInfo(timing.timezone), _expression(timing.expression)
    trigger = _trigger(timing.expression)
    wall = after.astimezone(zone).replace(tzinfo=None) - _moved(zone, after)
    found: datetime | None = None
    while True:
        wall_time = trigger.get_next_fire_time(None, wall.replace(tzinfo=UTC) + _MICROSECOND)
        if wall_time is None:
            return found
        wall = wall_time.replace(tzinfo=None)
        if found is not None and wall > found.astimezone(zone).replace(tzinfo=None) + _moved(zone, found):
            return found
        for instant in _meant_by(wall, zone, fixed=expression.fixed):
            if instant > after and (found is None or instant < found):
                found = instant
        if found is not None and not _moved(zone, found):
            return found


def _meant_by(wall: datetime, zone: ZoneInfo, *, fixed: bool) -> list[datetime]:
    """The instants at which the clock of the zone shows, or should show, this."""
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if fixed or first == second:
        return [first]
    return [instant for instant in (first, second) if instant.astimezone(zone).replace(tzinfo=None) == wall]


def _moved(zone: ZoneInfo, instant: datetime) -> timedelta:
    """By how much the clock of the zone is moved on the days around."""
    offsets = [(instant + days).astimezone(zone).utcoffset() or _NONE for days in (-_DAY, _NONE, _DAY)]
    return max(offsets) - min(offsets)


# --- the calendar --------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _expression(text: str) -> Expression:
    return read_expression(text)


@lru_cache(maxsize=4096)
def _trigger(text: str) -> _Trigger:
    """A trigger that takes the wall clock for UTC."""
    expression = _expression(text)
    # Weekdays count from Monday there.
    days, weekdays = _listed(expression.days, 31), _listed({(day + 6) % 7 for day in expression.weekdays}, 7)
    if expression.either_day and expression.names_no_date:  # the calendar would be searched for one, to its end
        return _cron(expression, day_of_week=weekdays)
    if expression.either_day:
        return OrTrigger([_cron(expression, day=days), _cron(expression, day_of_week=weekdays)])
    return _cron(expression, day=days, day_of_week=weekdays)


def _cron(expression: Expression, **days: str) -> _Trigger:
    return CronTrigger(
        **days,
        month=_listed(expression.months, 12),
        hour=_listed(expression.hours, 24),
        minute=_listed(expression.minutes, 60),
        second="0",
        timezone=UTC,
    )


def _listed(numbers: frozenset[int] | set[int], all_of_them: int) -> str:
    """As short as can be: a trigger tries the members of a list one by one."""
    if len(numbers) == all_of_them:
        return "*"
    ordered = sorted(numbers)
    steps = {later - earlier for earlier, later in pairwise(ordered)}
    if len(steps) == 1:
        return f"{ordered[0]}-{ordered[-1]}/{steps.pop()}"
    return ",".join(map(str, ordered))
