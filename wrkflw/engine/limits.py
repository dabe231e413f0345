"""How much of something is too much."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Each past its limit is a typed failure.  ``value_bytes``: one value, as stored; ``events``: the log of a run."""

    items: int = 10_000
    iterations: int = 10_000
    events: int = 25_000
    nesting: int = 32
    value_bytes: int = 64 * 1024 * 1024
    interruptions: int = 5
