"""Durations: what people write ('30s', '1h 30m', 'PT5M') as a timedelta, and back for messages."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache

from .suggestions import did_you_mean

FOREVER = timedelta.max

_UNITS = {
    "millisecond": ("ms", timedelta(milliseconds=1)),
    "second": ("s", timedelta(seconds=1)),
    "minute": ("m", timedelta(minutes=1)),
    "hour": ("h", timedelta(hours=1)),
    "day": ("d", timedelta(days=1)),
    "week": ("w", timedelta(weeks=1)),
}
_ABBREVIATIONS = {"sec": "second", "min": "minute", "hr": "hour"}
_BY_WORD: dict[str, timedelta] = {
    word: size
    for name, (letter, size) in _UNITS.items()
    for word in (letter, name, f"{name}s")
} | {word: _UNITS[name][1] for short, name in _ABBREVIATIONS.items() for word in (short, f"{short}s")}  # fmt: skip

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)[\s,]*", re.ASCII)
_ISO = re.compile(
    r"P(?=.)(?:(\d+)W)?(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.ASCII
)  # no years or months: their length is not fixed
_ISO_SIZES = [_UNITS[name][1] for name in ("week", "day", "hour", "minute", "second")]
_EXPECTED = "expected a duration like '30s', '5m', '24h' or a timedelta"
_EXPECTED_RETENTION = "expected 'forever', a duration like '30d' or a timedelta"


def parse_duration(value: timedelta | str, purpose: str = "wait for", *, expected: str = _EXPECTED) -> timedelta:
    """``value`` as a timedelta of zero or more.

    Text is one or more of ``ms s m h d w`` (or the words, ``2 days``) with their numbers, or ISO 8601 (``PT5M``).
    ``purpose`` is the verb of the message about a negative one, ``cannot sleep for -5s``; ``expected`` the beginning of
    the message about what is none.

    Raises:
        ValueError: it is not a duration, or less than zero.
    """
    if isinstance(value, timedelta):
        if value < timedelta(0):
            raise _negative(purpose, format_duration(value))
        return value
    if not _is_text(value):
        raise ValueError(f"{expected}, got {value!r}")
    text = value.strip()
    duration = _read(text)
    if duration is not None:
        return duration
    if text.startswith("-") and _read(text[1:].strip()) is not None:
        raise _negative(purpose, text)
    raise ValueError(f"{expected}, got {value!r}{_suggestion(text)}")


def parse_retention(value: timedelta | str) -> timedelta:
    """How long something is kept, as :func:`parse_duration` reads it; ``"forever"`` is the longest there is."""
    if value == "forever":
        return FOREVER
    return parse_duration(value, "keep anything for", expected=_EXPECTED_RETENTION)


def format_duration(duration: timedelta) -> str:
    """A duration as messages write it: ``30s``, ``7 days``, ``1h 30m``, ``500ms``."""
    if duration < timedelta(0):
        return f"-{format_duration(-duration)}"
    days, rest = duration.days, duration - timedelta(days=duration.days)
    hours, rest = divmod(rest, timedelta(hours=1))
    minutes, rest = divmod(rest, timedelta(minutes=1))
    parts = [f"{days} day{'' if days == 1 else 's'}"] if days else []
    parts += [f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m")) if number]
    if rest and not parts and rest < timedelta(seconds=1):
        parts.append(f"{rest / timedelta(milliseconds=1):g}ms")
    elif rest:
        parts.append(f"{rest.total_seconds():.6f}".rstrip("0").rstrip(".") + "s")
    return " ".join(parts) or "0s"


def _is_text(value: object) -> bool:  # of any object: not all callers are typed
    return isinstance(value, str)


@lru_cache
def _read(text: str) -> timedelta | None:
    try:
        return _read_iso(text) if text.startswith("P") else _read_parts(text.lower())
    except OverflowError:
        return None


def _read_iso(text: str) -> timedelta | None:
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    numbers = [float(number or 0) for number in found.groups()]
    return sum((number * size for number, size in zip(numbers, _ISO_SIZES, strict=True)), timedelta(0))


def _read_parts(text: str) -> timedelta | None:
    total, position = timedelta(0), 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None or part[2] not in _BY_WORD:
            return None
        total += float(part[1]) * _BY_WORD[part[2]]
        position = part.end()
    return total if text else None


def _suggestion(text: str) -> str:
    """``; did you mean '5 minutes'?`` when one misspelt unit is all that is wrong."""
    wrong = [part for part in _PART.finditer(text.lower()) if part[2] not in _BY_WORD]
    if len(wrong) != 1:
        return ""
    words = [word for word in _BY_WORD if len(word) > 2]
    start, end = wrong[0].span(2)
    return did_you_mean(wrong[0][2], words, lambda word: repr(text[:start] + word + text[end:]))


def _negative(purpose: str, text: str) -> ValueError:
    return ValueError(f"cannot {purpose} {text}; a duration is zero or more")
