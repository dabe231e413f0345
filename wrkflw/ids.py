"""Ids: of runs, from a source that is handed in; of everything inside a run, from the run and the key.

A run id is ``wrun_`` and a ULID (https://github.com/ulid/spec): 48 bits of milliseconds, then 80 random bits, in
Crockford's base 32, so that ids sort by the time they were made.
"""

from __future__ import annotations

import base64
import hashlib
import random
import re
from datetime import datetime, timedelta
from typing import Protocol

from .clock import from_microseconds, to_microseconds

RUN_ID = r"[A-Za-z0-9_-]{1,128}"
"""What the id of a run looks like: one of ours, or one of the caller's own, such as an order's number."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID_LENGTH = 26
_PAIRS = [high + low for high in _CROCKFORD for low in _CROCKFORD]
_MINTED = re.compile(r"wrun_([0-7][0-9A-HJKMNP-TV-Z]{9})[0-9A-HJKMNP-TV-Z]{16}")
_TO_BASE_32 = str.maketrans("ABCDEFGHJKMNPQRSTVWXYZ", "abcdefghijklmnopqrstuv")
_OLDEST = timedelta(hours=24)
_NEWEST = timedelta(minutes=5)


class Randomness(Protocol):
    """The part of :class:`random.Random` that ids, tokens and backoff need."""

    def getrandbits(self, k: int, /) -> int: ...
    def random(self) -> float: ...


def system_randomness() -> random.Random:
    """Randomness nobody can predict."""
    return random.SystemRandom()


def new_ulid(now: datetime, randomness: Randomness) -> str:
    """A ULID of this moment: 26 characters, sortable by time to the millisecond."""
    return _crockford((to_microseconds(now) // 1000) << 80 | randomness.getrandbits(80))


def made_another_time(run_id: str, now: datetime) -> datetime | None:
    """When a run id of this form was made, if that is not about now: no new run can have it.

    Ids of the caller's own, such as an order's number, are as old as they like.
    """
    found = _MINTED.fullmatch(run_id)
    if found is None:
        return None
    made = from_microseconds(int(found[1].translate(_TO_BASE_32), 32) * 1000)
    return None if now - _OLDEST <= made <= now + _NEWEST else made


def new_token(randomness: Randomness) -> str:
    """256 random bits for URLs: nobody can guess it, if nobody can predict them."""
    return base64.urlsafe_b64encode(randomness.getrandbits(256).to_bytes(32)).rstrip(b"=").decode()


def correlation_id(kind: str, run_id: str, key: str) -> str:
    """The World's id of ``key`` in ``run_id``: ``step_`` and the first 104 bits of their SHA-256, in hexadecimal.

    The same for every attempt, replay and recovery, and safe to hand to others as an idempotency key.
    """
    return f"{kind}_{hashlib.sha256(f'{run_id}/{key}'.encode()).hexdigest()[:26]}"


def _crockford(number: int) -> str:
    pairs: list[str] = []
    for _ in range(_ULID_LENGTH // 2):
        number, low = divmod(number, 1024)
        pairs.append(_PAIRS[low])
    return "".join(reversed(pairs))
