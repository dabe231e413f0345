"""How much of something is too much."""

from __future__ import annotations

from dataclasses import dataclass

from wrkflw.errors import InvalidValueError


@dataclass(frozen=True)
class Limits:
    """Each past its limit is a typed failure.  ``value_bytes``: one value, as stored; ``events``: the log of a run.

    Raises InvalidValueError for what is no number from 1.
    """

    items: int = 10_000
    iterations: int = 10_000
    events: int = 25_000
    nesting: int = 32
    value_bytes: int = 64 * 1024 * 1024
    interruptions: int = 5

    def __post_init__(self) -> None:
        given: dict[str, object] = vars(self)  # of anything: not all callers are typed
        for name, value in given.items():
            if not isinstance(value, int) or value < 1:
                raise InvalidValueError.because(f"{name}=", f"cannot be {value!r}", cure="give a whole number from 1")
