"""When timings come round: against cronsim, which is another's, and against the minutes of a zone, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError

from wrkflw.triggers import Cron, at, every
from wrkflw.triggers.expressions import Expression, read_expression
from wrkflw.triggers.instants import instants_between, latest_instants, next_instant

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


# --- against cronsim ---------------------------------------------------------------------------------


def test_thousands_of_random_expressions_come_when_cronsim_says() -> None:
    chance, compared = Random(1), 0
    while compared < 2000:
        expression = " ".join(_field(chance, *limits) for limits in FIELDS)
        begin = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(10**9))
        try:
            simulated = CronSim(expression, begin)
        except CronSimError:
            continue  # it names no date that there is
        expected = [next(simulated) for _ in range(3)]

        got, instant = [], begin
        for _ in expected:
            following = next_instant(Cron(expression), instant)
            assert following is not None
            got.append(instant := following)

        assert got == expected, f"{expression} from {begin}"
        compared += 1


def _field(chance: Random, first: int, last: int) -> str:
    return ",".join(_part(chance, first, last) for _ in range(chance.choice((1, 1, 1, 2))))


def _part(chance: Random, first: int, last: int) -> str:
    """No range of one number with a step: cronsim takes ``5-5/2`` for ``5/2``."""
    low, high = sorted(chance.sample(range(first, last + 1), 2))
    step = chance.randint(1, last)
    return chance.choice(("*", f"*/{step}", f"{low}-{high}", f"{low}-{high}/{step}", f"{low}/{step}", str(low)))


# --- against the clock of a zone ---------------------------------------------------------------------

EXPRESSIONS = (
    "30 2 * * *", "15,30 1-3 * * *", "0 0 * * *", "0,5,10 0-23 * * *",
    "*/30 * * * *", "0 * * * *", "*/20 1-3 * * *", "5 */2 * * *",
)  # fmt: skip


@pytest.mark.parametrize(
    ("timezone", "year"),
    [
        ("America/New_York", 2026),
        ("Europe/Berlin", 2026),
        ("Europe/Dublin", 2026),
        ("Africa/Casablanca", 2026),
        ("America/St_Johns", 2026),
        ("Antarctica/Troll", 2026),  # by two hours
        ("Australia/Lord_Howe", 2026),  # by half an hour
        ("Pacific/Apia", 2011),  # and a whole day
    ],
)
def test_around_every_change_of_the_clock_each_instant_comes_once_and_in_order(timezone: str, year: int) -> None:
    zone = ZoneInfo(timezone)
    changes = list(_changes(zone, year))

    assert changes
    for change in changes:
        begin, end = change - 1.2 * DAY, change + DAY / 4
        for text in EXPRESSIONS:
            expected = _minute_by_minute(read_expression(text), zone, begin, end)
            assert list(instants_between(Cron(text, timezone), begin, end)) == expected, f"{text} around {change}"


def _changes(zone: ZoneInfo, year: int) -> Iterator[datetime]:
    """The days at whose beginning, in UTC, the clock is another than the day before."""
    day = datetime(year, 1, 1, tzinfo=UTC)
    while day.year == year:
        if (day - DAY).astimezone(zone).utcoffset() != day.astimezone(zone).utcoffset():
            yield day
        day += DAY


def _minute_by_minute(expression: Expression, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """Later than ``begin`` and up to ``end``; the long way."""
    minutes = (begin + number * MINUTE for number in range(-1500, (end - begin) // MINUTE + 1500))
    if expression.fixed:  # each time that a clock on the wall could show, and the first moment it means
        walls = (minute.replace(tzinfo=None) for minute in minutes)
        found = {wall.replace(tzinfo=zone).astimezone(UTC) for wall in walls if _named(expression, wall)}
    else:  # each minute that passes, and what the clock shows then
        found = {minute for minute in minutes if _named(expression, minute.astimezone(zone))}
    return sorted(instant for instant in found if begin < instant <= end)


def _named(expression: Expression, wall: datetime) -> bool:
    days = (wall.day in expression.days, wall.isoweekday() % 7 in expression.weekdays)
    return (
        wall.minute in expression.minutes
        and wall.hour in expression.hours
        and wall.month in expression.months
        and (any(days) if expression.either_day else all(days))
    )


def test_a_time_that_the_clock_leaves_out_comes_as_if_it_had_not_been_put_forward() -> None:
    night = list(
        instants_between(Cron("30 2 * * *", "America/New_York"), utc("2026-03-07T12:00"), utc("2026-03-09T12:00"))
    )

    assert night == [utc("2026-03-08T07:30"), utc("2026-03-09T06:30")]


def test_a_time_that_comes_twice_is_the_first() -> None:
    night = list(
        instants_between(Cron("30 1 * * *", "America/New_York"), utc("2026-10-31T12:00"), utc("2026-11-02T12:00"))
    )

    assert night == [utc("2026-11-01T05:30"), utc("2026-11-02T06:30")]


def test_what_comes_every_half_an_hour_does_so_in_both_of_the_two_hours() -> None:
    night = list(
        instants_between(Cron("*/30 * * * *", "America/New_York"), utc("2026-11-01T04:59"), utc("2026-11-01T07:00"))
    )

    assert night == [utc(f"2026-11-01T{time}") for time in ("05:00", "05:30", "06:00", "06:30", "07:00")]


@pytest.mark.parametrize(("day", "months"), [("31", "4,6,9,11"), ("30,31", "2")])
def test_where_a_day_never_comes_the_weekday_alone_counts(day: str, months: str) -> None:
    both, alone = Cron(f"0 0 {day} {months} mon"), Cron(f"0 0 * {months} mon")
    year = (START, START + 365 * DAY)

    assert list(instants_between(both, *year)) == list(instants_between(alone, *year))


def test_a_leap_day_comes_every_four_years() -> None:
    assert next_instant(Cron("0 0 29 2 *"), START) == utc("2028-02-29T00:00")


# --- distances, moments, and what has passed ---------------------------------------------------------


def test_distances_are_counted_from_1970_and_not_from_now() -> None:
    assert next_instant(every("5m"), utc("2026-03-01T12:01:30")) == utc("2026-03-01T12:05")
    assert next_instant(every("5m"), utc("2026-03-01T12:05")) == utc("2026-03-01T12:10")
    assert next_instant(every("1 day"), START) == utc("2026-03-02T00:00")


def test_a_moment_comes_once() -> None:
    assert next_instant(at(START), START - MINUTE) == START
    assert next_instant(at(START), START) is None


def test_the_latest_are_found_however_long_it_has_been() -> None:
    decade = START - 3650 * DAY

    assert latest_instants(every("1s"), decade, START, 2) == [START - timedelta(seconds=1), START]
    assert latest_instants(Cron("0 9 * * mon"), decade, START, 2) == [utc("2026-02-16T09:00"), utc("2026-02-23T09:00")]
    assert latest_instants(Cron("0 0 29 2 *"), decade, START, 1) == [utc("2024-02-29T00:00")]
    assert latest_instants(Cron("0 0 29 2 *"), START - DAY, START, 1) == []
    assert len(latest_instants(Cron("@yearly"), decade, START, 100)) == 10
