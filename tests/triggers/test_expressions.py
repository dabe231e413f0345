"""What cron expressions mean, and which are refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from wrkflw import DefinitionError
from wrkflw.triggers import At, Cron, Every, at, every
from wrkflw.triggers.expressions import read_expression
from wrkflw.triggers.timings import timing_of


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * sun"),
        ("@Daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
        ("0 9 * * 0", "0 9 * * 7"),
        ("0 9 * * SUN", "0 9 * * 0"),
        ("0 9 * JAN-mar *", "0 9 * 1-3 *"),
        ("0 9 * * fri-mon", "0 9 * * 5,6,0,1"),
        ("0 9 * * sat-7", "0 9 * * 6,0"),
        ("0 9 * * fri-mon/2", "0 9 * * 5,0"),
        ("0 9 ? * ?", "0 9 * * *"),
        ("5/20 9 * * *", "5,25,45 9 * * *"),
        ("0-10/5,30 9 * * *", "0,5,10,30 9 * * *"),
    ],
)
def test_there_are_many_ways_to_write_one(text: str, same: str) -> None:
    assert read_expression(text) == read_expression(same)


def test_with_day_and_weekday_restricted_either_is_enough() -> None:
    assert read_expression("0 9 13 * fri").either_day
    assert not read_expression("0 9 */2 * fri").either_day
    assert not read_expression("0 9 13 * *").either_day


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no fields, not five; write minute, hour, day of month, month and weekday, as in '0 9 * * mon-fri'"),
        ("0 9 * *", "has 4 fields, not five"),
        ("0 0 9 * * *", "has 6 fields, not five"),
        ("daily", "has 1 field, not five"),
        ("@dailly", "is not known; did you mean '@daily'?"),
        ("@reboot", "is not known; there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly"),
        ("60 9 * * *", "has minute '60'; it takes 0 to 59, lists, ranges and steps"),
        ("0 24 * * *", "has hour '24'; it takes 0 to 23, lists, ranges and steps"),
        ("0 9 L * *", "has day of month 'l'; it takes 1 to 31, lists, ranges and steps"),
        ("0 9 * foo *", "has month 'foo'; it takes 1 to 12 or jan to dec, lists, ranges and steps"),
        ("0 9 * * 8", "has weekday '8'; it takes 0 to 7 or sun to sat, lists, ranges and steps"),
        ("0 9 * * fri#2", "has weekday 'fri#2'"),
        ("0 17-9 * * *", "has hour '17-9'"),
        ("*/0 9 * * *", "has minute '*/0'"),
        ("*/x 9 * * *", "has minute '*/x'"),
        ("1, 9 * * *", "has minute ''"),
        ("٣ 9 * * *", "has minute '٣'"),
        ("*/٣ 9 * * *", "has minute '*/٣'"),
        ("*/99999 9 * * *", "has minute '*/99999'"),
        ("0 0 31 2 *", "names no date that there is; it would never start a run"),
        ("0 0 31 2,4,6 *", "names no date that there is"),
    ],
)
def test_what_is_no_expression_is_refused(text: str, problem: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(problem)):
        Cron(text)


def test_spaces_make_no_other_timing() -> None:
    assert Cron(" 0  9\t* * mon\n") == Cron("0 9 * * mon")


def test_a_date_that_comes_every_four_years_is_one() -> None:
    assert read_expression("0 0 29 2 *").days == {29}


def test_an_unknown_timezone_is_refused_with_a_guess() -> None:
    with pytest.raises(
        DefinitionError, match="timezone 'Europe/Berln' is not known here; did you mean 'Europe/Berlin'"
    ):
        Cron("0 9 * * *", "Europe/Berln")
    with pytest.raises(DefinitionError, match=r"timezone '../x' is not known here; use a name such as"):
        Cron("0 9 * * *", "../x")
    berlin: Any = ZoneInfo("Europe/Berlin")
    with pytest.raises(DefinitionError, match="is not known here; did you mean 'Europe/Berlin'"):
        Cron("0 9 * * *", berlin)


def test_distances_and_moments_are_checked() -> None:
    with pytest.raises(DefinitionError, match="a schedule cannot come every 500ms; give it a second"):
        every("500ms")
    with pytest.raises(DefinitionError, match="a schedule cannot come every 36526 days; give it 100 years"):
        every("36526d")
    with pytest.raises(ValueError, match="expected a duration"):
        every("often")
    with pytest.raises(DefinitionError, match=r"at\('9999-12-31T23:59:00-12:00'\) is no moment in UTC; give one in"):
        at(datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-12))))
    with pytest.raises(DefinitionError, match=r"at\('2026-03-01T12:00:00'\) has no timezone; add tzinfo="):
        at(datetime(2026, 3, 1, 12))  # noqa: DTZ001
    text: Any = "2026-03-01"
    with pytest.raises(DefinitionError, match=r"at\(\) takes a datetime, got '2026-03-01'; write at\(datetime\("):
        at(text)


@pytest.mark.parametrize(
    "timing",
    [
        Cron("0 9 * * mon-fri", "Europe/Berlin"),
        Every(timedelta(days=7, hours=1, seconds=1.5)),
        At(datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))),
    ],
    ids=str,
)
def test_a_timing_is_written_as_text_and_read_again(timing: Cron | Every | At) -> None:
    assert timing_of(str(timing), "Europe/Berlin") == timing


def test_moments_are_kept_in_utc() -> None:
    assert str(at(datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2))))) == "at 2026-03-01T10:00:00+00:00"
    assert at(datetime(2026, 3, 1, tzinfo=UTC)).moment.tzinfo is UTC
