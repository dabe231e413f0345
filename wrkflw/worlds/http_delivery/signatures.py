"""Who sent a delivery: an HMAC with the key of the deployment, over all that is acted upon.

A signature is good for a few minutes, by the clocks of either side, and once for each process that takes deliveries.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from wrkflw.clock import Clock, from_microseconds, to_microseconds
from wrkflw.world.queue import ENVIRONMENT

QUEUE_NAME = "x-vqs-queue-name"
MESSAGE_ID = "x-vqs-message-id"
ATTEMPT = "x-vqs-message-attempt"
TIMESTAMP = "x-wkf-timestamp"
NONCE = "x-wkf-nonce"
SIGNATURE = "x-wkf-signature"

WINDOW = timedelta(minutes=5)
SHORTEST_KEY = 32
_SIGNED = (TIMESTAMP, NONCE, QUEUE_NAME, MESSAGE_ID, ATTEMPT, ENVIRONMENT)
_SECONDS = re.compile(r"[0-9]{1,11}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,128}")


def checked_keys(keys: Sequence[bytes], *, insecure: bool) -> tuple[bytes, ...]:
    """Raises ValueError without a key, unless that is meant, and for one that can be guessed."""
    if not keys and not insecure:
        raise ValueError("deliveries need a key, or anybody could make them; give keys=, or say insecure=True")
    if keys and insecure:
        raise ValueError("deliveries are either signed or insecure; leave out keys= or insecure=True")
    if any(len(key) < SHORTEST_KEY for key in keys):
        raise ValueError(
            f"a key of deliveries has at least {SHORTEST_KEY} bytes; make one with secrets.token_bytes(32)"
        )
    return tuple(keys)


def sign(headers: Mapping[str, str], body: bytes, key: bytes, now: datetime) -> dict[str, str]:
    """The headers, signed."""
    seconds = to_microseconds(now) // 1_000_000
    signed = {**headers, TIMESTAMP: str(seconds), NONCE: secrets.token_urlsafe(24)}
    return {**signed, SIGNATURE: _signature(signed, body, key)}


class Verifier:
    """Accepts what was signed with any of ``keys``, so that they can be changed one by one."""

    def __init__(self, keys: Sequence[bytes], clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._seen: set[str] = set()
        self._in_order: deque[tuple[datetime, str]] = deque()

    def accepts(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the headers are signed, now, for the first time."""
        given, nonce, seconds = (headers.get(name, "") for name in (SIGNATURE, NONCE, TIMESTAMP))
        if not _NONCE.fullmatch(nonce) or not _SECONDS.fullmatch(seconds):
            return False
        now = self._clock.now()
        if abs(now - from_microseconds(int(seconds) * 1_000_000)) > WINDOW:
            return False
        # All of them, whichever fits: how long it takes must not tell.
        fits = [hmac.compare_digest(_signature(headers, body, key).encode(), given.encode()) for key in self._keys]
        return any(fits) and self._is_new(nonce, now)

    def _is_new(self, nonce: str, now: datetime) -> bool:
        while self._in_order and now - self._in_order[0][0] > 2 * WINDOW:
            self._seen.discard(self._in_order.popleft()[1])
        if nonce in self._seen:
            return False
        self._seen.add(nonce)
        self._in_order.append((now, nonce))
        return True


def _signature(headers: Mapping[str, str], body: bytes, key: bytes) -> str:
    # No header holds a line break, so the parts cannot run into one another.
    parts = [headers.get(name, "") for name in _SIGNED]
    return "v1=" + hmac.new(key, "\n".join([*parts, ""]).encode() + body, hashlib.sha256).hexdigest()
