"""Retry policies: what they accept, how delays grow, and what is never tried again."""

from __future__ import annotations

import random
import re
from datetime import timedelta
from typing import Any

import pytest

from wrkflw.errors import (
    FatalError,
    InvalidValueError,
    LimitError,
    OutcomeUnknownError,
    RetryAfter,
    StateConflictError,
    SuspendSwallowedError,
)
from wrkflw.retries import Retry, next_delay, retries_error


def delays(retry: Retry, count: int) -> list[float]:
    """The first delays, in seconds."""
    chance = random.Random(0)
    return [next_delay(retry, failures, chance).total_seconds() for failures in range(1, count + 1)]


def test_the_default_is_three_attempts_and_exponential_backoff_from_a_second() -> None:
    retry = Retry()

    assert (
        retry.attempts,
        retry.delay,
        retry.backoff,
        retry.max_delay,
        retry.jitter,
    ) == (3, "1s", "exponential", "5m", 0.1)


def test_exponential_delays_double() -> None:
    assert delays(Retry(delay="2s", jitter=0), 4) == [2, 4, 8, 16]


def test_linear_delays_grow_by_the_first() -> None:
    assert delays(Retry(delay="2s", backoff="linear", jitter=0), 4) == [2, 4, 6, 8]


def test_fixed_delays_stay() -> None:
    assert delays(Retry(delay="2s", backoff="fixed", jitter=0), 3) == [2, 2, 2]


def test_constant_is_another_word_for_fixed() -> None:
    word: Any = "constant"
    retry = Retry(backoff=word)

    assert retry.backoff == "fixed"


def test_a_function_gets_the_number_of_failures() -> None:
    assert delays(Retry(backoff=lambda failures: timedelta(seconds=10 * failures), jitter=0), 3) == [10, 20, 30]


def test_no_delay_is_longer_than_max_delay() -> None:
    assert delays(Retry(delay="4s", max_delay="10s", jitter=0), 4) == [4, 8, 10, 10]


def test_a_thousand_failures_do_not_overflow() -> None:
    assert timedelta(minutes=5) == next_delay(Retry(jitter=0), 1000, random.Random(0))


def test_jitter_spreads_to_both_sides_and_no_further() -> None:
    chance = random.Random(0)
    retry = Retry(delay="10s", backoff="fixed", jitter=0.5)
    spread = [next_delay(retry, 1, chance).total_seconds() for _ in range(1000)]

    assert min(spread) >= 5
    assert max(spread) <= 15
    assert min(spread) < 6
    assert max(spread) > 14


def test_jitter_does_not_lift_a_delay_over_max_delay() -> None:
    assert max(delays(Retry(delay="10s", max_delay="10s", jitter=1), 100)) <= 10


def test_the_same_randomness_gives_the_same_delays() -> None:
    assert delays(Retry(), 5) == delays(Retry(), 5)


def test_a_backoff_function_may_not_go_back_in_time() -> None:
    with pytest.raises(ValueError, match=re.escape("cannot wait for -5s; a duration is zero or more")):
        next_delay(Retry(backoff=lambda _: timedelta(seconds=-5)), 1, random.Random(0))


async def _waits(failures: int) -> timedelta:
    return timedelta(failures)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"attempts": 0}, "attempts counts all tries and is at least 1, got 0; use 1 for no retry"),
        ({"attempts": "3"}, "attempts counts all tries and is at least 1, got '3'; use 1 for no retry"),
        ({"jitter": 1.5}, "jitter is a part of the delay from 0 to 1, got 1.5"),
        ({"jitter": -0.1}, "jitter is a part of the delay from 0 to 1, got -0.1"),
        ({"jitter": "x"}, "jitter is a part of the delay from 0 to 1, got 'x'"),
        ({"delay": "soon"}, "expected a duration like '30s', '5m', '24h' or a timedelta, got 'soon'"),
        ({"max_delay": 5}, "expected a duration like '30s', '5m', '24h' or a timedelta, got 5"),
        ({"backoff": "fibonacci"}, "backoff is 'fixed', 'linear', 'exponential' or a function of the failures so far"),
        ({"backoff": _waits}, "a function as backoff is a plain one of the failures so far, an int, got <"),
        ({"backoff": lambda failures, error: "1s"}, "a function as backoff is a plain one"),
        ({"on": ["x"]}, "on= takes exception classes, got ['x']; pass one, or a tuple of them"),
        ({"on": (ValueError, 3)}, "on= takes exception classes, got 3; pass one, or a tuple of them"),
        ({"on": KeyboardInterrupt}, "on= takes exception classes, got <class 'KeyboardInterrupt'>"),
    ],
)
def test_a_policy_out_of_its_range_is_refused_where_it_is_written(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        Retry(**options)


def test_any_exception_is_retried_unless_on_names_others() -> None:
    assert retries_error(Retry(), KeyError("x"))
    assert retries_error(Retry(on=LookupError), KeyError("x"))
    assert retries_error(Retry(on=(OSError, LookupError)), KeyError("x"))
    assert not retries_error(Retry(on=OSError), KeyError("x"))


def test_an_interruption_is_not_retried() -> None:
    assert not retries_error(Retry(), KeyboardInterrupt())


def test_retry_after_is_a_failure_like_others() -> None:
    assert retries_error(Retry(), RetryAfter("30s"))


@pytest.mark.parametrize(
    "error",
    [
        FatalError("no"),
        InvalidValueError("input of step 'send'", "Letter", ["to: field required"]),
        StateConflictError("total", ("price", "stock"), (12, 15)),
        LimitError("too much", limit=1, got=2),
        SuspendSwallowedError("approve"),
        OutcomeUnknownError("pay"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_some_errors_are_never_retried(error: Exception) -> None:
    assert not retries_error(Retry(on=Exception), error)
