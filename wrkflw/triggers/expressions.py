"""Cron expressions, read as cron reads them: which minutes, hours, days, months and weekdays one names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from wrkflw.errors import DefinitionError
from wrkflw.suggestions import did_you_mean

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Days that each month can have."""
_MOST_DIGITS = 4
_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class _Field(NamedTuple):
    """A field, the numbers that it takes, and their names, beginning with that of the first."""

    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()
    wraps: bool = False
    """Whether a range may go on behind its end: ``fri-mon``."""


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 7, _WEEKDAYS, wraps=True),  # Sunday is both 0 and 7
)


@dataclass(frozen=True, slots=True)
class Expression:
    """What an expression names.  Weekdays count from Sunday, 0, to Saturday, 6."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    """Whether a day of the month or a weekday is enough, as when both fields are restricted; else it must be both."""
    fixed: bool
    """Whether it names times of the day, which come once a day, and not minutes that come round and round."""

    @property
    def names_no_date(self) -> bool:
        """Whether none of the months has such a day."""
        return min(self.days) > max(_LONGEST[month - 1] for month in self.months)


def read_expression(text: str) -> Expression:
    """Five fields with ``* , - /``, names and ``?``, or one of ``@yearly @monthly @weekly @daily @hourly``.

    Raises:
        DefinitionError: it is nothing of the kind, or names a date that there is not.
    """
    fields = _ALIASES.get(text.strip().lower(), text).lower().replace("?", "*").split()
    if text.lstrip().startswith("@") and len(fields) == 1:
        cure = did_you_mean(fields[0], _ALIASES) or f"; there are {', '.join(_ALIASES)}"
        raise DefinitionError(f"cron expression {text!r} is not known{cure}")
    if len(fields) != len(_FIELDS):
        cure = "write minute, hour, day of month, month and weekday, as in '0 9 * * mon-fri'"
        raise DefinitionError(f"cron expression {text!r} has {_count(len(fields))}, not five; {cure}")
    minutes, hours, days, months, weekdays = (
        _numbers(field, part, text) for field, part in zip(_FIELDS, fields, strict=True)
    )
    expression = Expression(
        minutes,
        hours,
        days,
        months,
        frozenset(number % 7 for number in weekdays),
        either_day=not (fields[2].startswith("*") or fields[4].startswith("*")),
        fixed=not (fields[0].startswith("*") or fields[1].startswith("*")),
    )
    if not expression.either_day and expression.names_no_date:
        raise DefinitionError(f"cron expression {text!r} names no date that there is; it would never start a run")
    return expression


def _numbers(field: _Field, text: str, expression: str) -> frozenset[int]:
    return frozenset(number for part in text.split(",") for number in _part(field, part, expression))


def _part(field: _Field, text: str, expression: str) -> list[int]:
    """The numbers of ``*``, ``5``, ``1-5``, or one of these with ``/2``."""
    range_text, slash, step_text = text.partition("/")
    first_text, dash, last_text = range_text.partition("-")
    if slash and (not _is_number(step_text) or int(step_text) == 0):
        _refuse(field, text, expression)
    if range_text == "*":
        first, last = field.first, field.last
    else:
        first = last = _number(field, first_text, text, expression)
        if dash:
            last = _number(field, last_text, text, expression)
        elif slash:  # '5/15' goes on to the end
            last = field.last
    numbers = list(range(first, last + 1))
    if last < first:
        if not field.wraps:
            _refuse(field, text, expression)
        numbers = [number % 7 for number in range(first, last + 8)]
    return numbers[:: int(step_text) if slash else 1]


def _number(field: _Field, word: str, text: str, expression: str) -> int:
    if word in field.names:
        return field.first + field.names.index(word)
    if not (_is_number(word) and field.first <= int(word) <= field.last):
        _refuse(field, text, expression)
    return int(word)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= _MOST_DIGITS


def _refuse(field: _Field, text: str, expression: str) -> NoReturn:
    named = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
    cure = f"it takes {field.first} to {field.last}{named}, lists, ranges and steps"
    raise DefinitionError(f"cron expression {expression!r} has {field.name} {text!r}; {cure}")


def _count(number: int) -> str:
    return f"{number or 'no'} field{'' if number == 1 else 's'}"
