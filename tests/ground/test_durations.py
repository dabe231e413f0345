"""Durations: what is read, what is refused and how, and how they are written."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from wrkflw.durations import format_duration, parse_duration

EXPECTED = "expected a duration like '30s', '5m', '24h' or a timedelta, got "


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0s", timedelta(0)),
        ("500ms", timedelta(milliseconds=500)),
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("24h", timedelta(hours=24)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("1.5h", timedelta(minutes=90)),
        ("1h30m", timedelta(minutes=90)),
        ("1h 30m", timedelta(minutes=90)),
        ("1 hour, 30 minutes", timedelta(minutes=90)),
        ("2 days", timedelta(days=2)),
        ("1 day", timedelta(days=1)),
        ("5 Minutes", timedelta(minutes=5)),
        ("10 secs", timedelta(seconds=10)),
        ("3 hrs", timedelta(hours=3)),
        (" 30s ", timedelta(seconds=30)),
        ("PT5M", timedelta(minutes=5)),
        ("PT0.5S", timedelta(milliseconds=500)),
        ("P1DT2H", timedelta(days=1, hours=2)),
        ("P2W", timedelta(weeks=2)),
    ],
)
def test_text_is_read_as_a_duration(text: str, duration: timedelta) -> None:
    assert duration == parse_duration(text)


def test_a_timedelta_is_taken_as_it_is() -> None:
    assert timedelta(hours=3) == parse_duration(timedelta(hours=3))


@pytest.mark.parametrize("text", ["", "s", "5", "5x", "5m!", "m5", "five minutes", "P", "PT", "P1Y", "1h 30", "٣s"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{EXPECTED}{text!r}")):
        parse_duration(text)


@pytest.mark.parametrize("value", [5, 1.5, None, True])
def test_a_number_is_refused_because_it_has_no_unit(value: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{EXPECTED}{value!r}")):
        parse_duration(value)


def test_a_misspelt_unit_is_guessed_at() -> None:
    with pytest.raises(ValueError, match=re.escape(f"{EXPECTED}'5 minuts'; did you mean '5 minutes'?") + "$"):
        parse_duration("5 minuts")


@pytest.mark.parametrize("value", ["-5s", timedelta(seconds=-5)])
def test_a_duration_is_zero_or_more(value: str | timedelta) -> None:
    with pytest.raises(ValueError, match=re.escape("cannot wait for -5s; a duration is zero or more")):
        parse_duration(value)


def test_a_negative_duration_is_refused_in_the_words_of_its_use() -> None:
    with pytest.raises(ValueError, match=re.escape("cannot sleep for -5s; a duration is zero or more")):
        parse_duration("-5s", "sleep for")


def test_a_duration_too_long_for_a_timedelta_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape(f"{EXPECTED}'99999999999999w'")):
        parse_duration("99999999999999w")


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(milliseconds=500), "500ms"),
        (timedelta(milliseconds=1.5), "1.5ms"),
        (timedelta(seconds=1.5), "1.5s"),
        (timedelta(seconds=30), "30s"),
        (timedelta(minutes=5), "5m"),
        (timedelta(minutes=90), "1h 30m"),
        (timedelta(hours=24), "1 day"),
        (timedelta(days=7), "7 days"),
        (timedelta(days=1, hours=2, seconds=3), "1 day 2h 3s"),
        (timedelta(seconds=-5), "-5s"),
    ],
)
def test_messages_write_a_duration_as_people_do(duration: timedelta, text: str) -> None:
    assert text == format_duration(duration)


@pytest.mark.parametrize("seconds", [0.001, 1, 61, 3661, 90061, 604800])
def test_what_is_written_can_be_read(seconds: float) -> None:
    duration = timedelta(seconds=seconds)

    assert duration == parse_duration(format_duration(duration))
