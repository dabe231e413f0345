"""When a schedule comes round, as values: by a cron expression, at equal distances, or once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias
from zoneinfo import ZoneInfo, available_timezones

from wrkflw.durations import format_duration, parse_duration
from wrkflw.errors import DefinitionError
from wrkflw.suggestions import did_you_mean

from .expressions import read_expression

_SHORTEST = timedelta(seconds=1)
_LONGEST = timedelta(days=36_525)
"""A hundred years: counted from 1970, the next instant is one that can be written."""


@dataclass(frozen=True, slots=True)
class Cron:
    """By a cron expression, on the wall clock of a zone.

    Raises DefinitionError for an expression or a zone that there is not.
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        object.__setattr__(self, "expression", " ".join(self.expression.split()))  # spaces make no other timing
        read_expression(self.expression)
        check_timezone(self.timezone)

    def __str__(self) -> str:
        return self.expression


@dataclass(frozen=True, slots=True)
class Every:
    """At equal distances, counted from the first of January 1970, UTC: every process counts alike."""

    period: timedelta

    def __post_init__(self) -> None:
        if not _SHORTEST <= self.period <= _LONGEST:
            cure = "give it a second" if self.period < _SHORTEST else "give it 100 years"
            raise DefinitionError(f"a schedule cannot come every {format_duration(self.period)}; {cure}")

    def __str__(self) -> str:
        return f"every {format_duration(self.period)}"


@dataclass(frozen=True, slots=True)
class At:
    """Once.  The moment is kept in UTC."""

    moment: datetime

    def __post_init__(self) -> None:
        if not _is_moment(self.moment):
            raise DefinitionError(f"at() takes a datetime, got {self.moment!r}; write at(datetime(..., tzinfo=UTC))")
        if self.moment.tzinfo is None:
            raise DefinitionError(f"at({self.moment.isoformat()!r}) has no timezone; add tzinfo=")
        try:
            object.__setattr__(self, "moment", self.moment.astimezone(UTC))
        except OverflowError:
            cure = "give one in the years from 1 to 9999 there"
            raise DefinitionError(f"at({self.moment.isoformat()!r}) is no moment in UTC; {cure}") from None

    def __str__(self) -> str:
        return f"at {self.moment.isoformat()}"


Timing: TypeAlias = Cron | Every | At


def every(period: timedelta | str, /) -> Every:
    """At equal distances: ``every("5m")``, wherever a cron expression can stand.

    They are counted from the first of January 1970, UTC, and not from when a process began.

    Raises:
        DefinitionError: it is less than a second, or more than 100 years.
        ValueError: it is not a duration.
    """
    return Every(parse_duration(period, "come every"))


def at(moment: datetime, /) -> At:
    """Once, at a moment: wherever a cron expression can stand.

    A moment that has passed when the schedule is first known to a database starts nothing.

    Raises:
        DefinitionError: it is no datetime, has no timezone, or is not one of the years that UTC has here.
    """
    return At(moment)


def timing_of(text: str, timezone: str) -> Timing:
    """What was written as ``str(timing)``."""
    if text.startswith("every "):
        return Every(parse_duration(text.removeprefix("every ")))
    if text.startswith("at "):
        return At(datetime.fromisoformat(text.removeprefix("at ")))
    return Cron(text, timezone)


def _is_moment(value: object) -> bool:  # of any object: not all callers are typed
    return isinstance(value, datetime)


@lru_cache(maxsize=1024)
def check_timezone(name: str) -> None:
    """Raises DefinitionError unless it is the name of a zone."""
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError, TypeError) as error:  # not all callers are typed
        guess = did_you_mean(str(name), available_timezones())
        cure = guess.removeprefix("; ") or "use a name such as 'Europe/Berlin'"
        raise DefinitionError(f"timezone {name!r} is not known here; {cure}") from error
