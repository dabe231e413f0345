"""When a failed attempt is followed by another, and how much later.  Pure: randomness is handed in."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast

from .durations import parse_duration
from .errors import (
    FatalError,
    InvalidValueError,
    LimitError,
    OutcomeUnknownError,
    StateConflictError,
    SuspendSwallowedError,
)
from .ids import Randomness

_NEVER = (
    FatalError,
    InvalidValueError,
    StateConflictError,
    LimitError,
    SuspendSwallowedError,
    OutcomeUnknownError,
)
_BACKOFFS = {word: word for word in ("fixed", "linear", "exponential")} | {"constant": "fixed"}


@dataclass(frozen=True)
class Retry:
    """How often, and how far apart, a step is tried.

    ``attempts`` counts all tries. Durable: a crash or restart neither resets the count nor the delay.

    Attributes:
        attempts: all tries together, at least 1.
        delay: before the second try.
        backoff: how the delay grows: not, by ``delay``, twofold, or as a function of the failures so far (from 1).
        max_delay: no delay is longer.
        jitter: the part of a delay, 0 to 1, by which it is spread at random to either side.
        on: the exceptions worth another try; others fail the step at once.

    Raises:
        ValueError: a value is out of its range.
    """

    attempts: int = 3
    delay: timedelta | str = "1s"
    backoff: Literal["fixed", "linear", "exponential"] | Callable[[int], timedelta] = "exponential"
    max_delay: timedelta | str = "5m"
    jitter: float = 0.1
    on: type[Exception] | tuple[type[Exception], ...] = Exception

    def __post_init__(self) -> None:
        if not _is_count(self.attempts):
            raise ValueError(f"attempts counts all tries and is at least 1, got {self.attempts!r}; use 1 for no retry")
        if not _is_part(self.jitter):
            raise ValueError(f"jitter is a part of the delay from 0 to 1, got {self.jitter!r}; 0.1 is a tenth of it")
        parse_duration(self.delay)
        parse_duration(self.max_delay)
        object.__setattr__(self, "backoff", _known_backoff(self.backoff))
        for kind in self.on if isinstance(self.on, tuple) else (self.on,):
            if not _is_exception_class(kind):
                raise ValueError(f"on= takes exception classes, got {kind!r}; pass one, or a tuple of them")


def next_delay(retry: Retry, failures: int, random: Randomness) -> timedelta:
    """How long to wait before the next try, when ``failures`` tries (from 1) have failed.

    Raises:
        ValueError: a function given as ``backoff`` gave less than zero.
    """
    longest = parse_duration(retry.max_delay)
    seconds = min(_backoff(retry, failures), longest).total_seconds()
    spread = seconds * (1 + retry.jitter * (2 * random.random() - 1))
    return longest if spread >= longest.total_seconds() else timedelta(seconds=spread)


def retries_error(retry: Retry, error: BaseException) -> bool:
    """Whether ``error`` is worth another try under this policy, attempts permitting."""
    return isinstance(error, retry.on) and not _is_final(error)


def _is_final(error: BaseException) -> bool:
    """Whether no other try can mend it; of a group, if that is so of one of them."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).subgroup(_NEVER) is not None
    return isinstance(error, _NEVER)


def _backoff(retry: Retry, failures: int) -> timedelta:
    delay = parse_duration(retry.delay)
    if callable(retry.backoff):
        return parse_duration(retry.backoff(failures))
    try:
        match retry.backoff:
            case "fixed":
                return delay
            case "linear":
                return delay * failures
            case "exponential":
                return delay * (1 << (failures - 1))
    except OverflowError:  # longer than a timedelta can be, so max_delay it is
        return timedelta.max


# What follows takes any object: not all callers are typed.
def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 1


def _is_part(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _is_exception_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def _takes_a_number(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind(1)
    except TypeError:
        return False
    except ValueError:  # one of those in C, which do not say
        return True
    return True


def _known_backoff(value: object) -> object:
    """``value``; ``"constant"`` is the word of other libraries for ``"fixed"``."""
    if callable(value):
        if inspect.iscoroutinefunction(value) or not _takes_a_number(value):
            raise ValueError(f"a function as backoff is a plain one of the failures so far, an int, got {value!r}")
        return value
    if isinstance(value, str) and value in _BACKOFFS:
        return _BACKOFFS[value]
    raise ValueError(f"backoff is 'fixed', 'linear', 'exponential' or a function of the failures so far, got {value!r}")
