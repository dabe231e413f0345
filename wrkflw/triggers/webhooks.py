"""Signed requests, as Standard Webhooks has them: who sent one, when, and whether it is a repetition."""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from datetime import datetime, timedelta
from hashlib import sha256

from wrkflw.clock import from_microseconds, to_microseconds
from wrkflw.durations import parse_duration

from .endpoints import HttpRequest

_PREFIX = "whsec_"
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,256}")
"""Without a dot: one ends it in what is signed, so that of two ids one could pass for the other with half a body."""
_SECONDS = re.compile(r"[0-9]{1,11}")
_SHORTEST = 24
"""Bytes of a secret: what the specification asks for."""
_VERSION = "v1,"
_MOST_SIGNATURES = 20
"""Of a request, that are looked at."""


class StandardWebhooks:
    """``verify=`` of an endpoint: accepts what was signed with any of ``secrets`` less than ``tolerance`` ago.

    A secret is ``whsec_`` and base64, of 24 bytes or more; several let you change one while both are in use.

    Raises:
        ValueError: there is no secret, or one is none.
    """

    def __init__(self, *secrets: str, tolerance: timedelta | str = "5m") -> None:
        if not secrets:
            raise ValueError("StandardWebhooks() needs a secret; pass the one that the sender has")
        self._keys = [_key_of(secret) for secret in secrets]
        self._tolerance = parse_duration(tolerance)

    def __call__(self, request: HttpRequest, now: datetime, /) -> str:
        """The ``webhook-id``.  Raises ValueError when the request is not signed, or not of now."""
        id, seconds, signatures = (
            request.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
        )
        if not _ID.fullmatch(id) or not _SECONDS.fullmatch(seconds):
            raise ValueError("a signed request has a webhook-id, in which there is no '.', and a webhook-timestamp")
        if abs(now - from_microseconds(int(seconds) * 1_000_000)) > self._tolerance:
            raise ValueError(f"webhook-timestamp {seconds!r} is not of now")
        given = [text.encode() for text in signatures.split(" ") if text.startswith(_VERSION)][:_MOST_SIGNATURES]
        expected = [_signature(key, id, seconds, request.body) for key in self._keys if given]
        # All of them, whichever fits: how long it takes must not tell.
        fits = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in given]
        if not any(fits):
            raise ValueError("webhook-signature fits no secret")
        return id

    def sign(self, id: str, at: datetime, body: bytes) -> dict[str, str]:
        """The headers of a request that is accepted, made with the first secret: for senders, and for tests.

        Raises ValueError for an id that would not be.
        """
        if not _ID.fullmatch(id):
            raise ValueError(
                f"{id[:256]!r} cannot be a webhook-id; use 1 to 256 letters of ASCII, without blank or '.'"
            )
        seconds = str(to_microseconds(at) // 1_000_000)
        signature = _signature(self._keys[0], id, seconds, body).decode()
        return {"webhook-id": id, "webhook-timestamp": seconds, "webhook-signature": signature}


def _signature(key: bytes, id: str, seconds: str, body: bytes) -> bytes:
    signing = hmac.new(key, f"{id}.{seconds}.".encode(), sha256)
    signing.update(body)
    return _VERSION.encode() + b64encode(signing.digest())


def _key_of(secret: str) -> bytes:
    try:
        key = b64decode(secret.removeprefix(_PREFIX), validate=True)
    except NotBase64:
        key = b""
    if len(key) < _SHORTEST:
        raise ValueError(f"a secret is {_PREFIX!r} and base64, of at least {_SHORTEST} bytes; this one is not")
    return key
