"""Codecs for payloads, handed to ``Runtime(codec=…)``.  Needs ``wrkflw[crypto]``."""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from .world.payloads import Place

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES = 32
_NONCE_BYTES = 12
_LONGEST_ID = 255
_CHECK_BYTES = 8


class AesGcm:
    """Encrypts payloads with AES-256-GCM, each for the one place it is stored at.

    ``keys`` are 32 bytes each, by an id that is stored with every payload; ``current`` is the id of the one that
    encrypts.  To rotate, add a key everywhere, then make it the current one.  A key is needed as long as there are
    payloads that it encrypted; it should encrypt fewer than four thousand million.

    Large payloads are kept once for each content and key: who can see their names can see which are equal.

    What is stored without a codec is refused, for whoever can write the file may have put it there.  In a database that
    is older than its codec, ``plaintext="read"`` reads it as it stands.

    Example:
        ``Runtime(codec=AesGcm(keys={"2026-01": key}, current="2026-01"))``

    Raises:
        ValueError: a key that is not 32 bytes long, a ``current`` that is not among them, or another ``plaintext``.
        ImportError: ``cryptography`` is not installed.
    """

    id = "aes-256-gcm"

    def __init__(
        self, keys: Mapping[str, bytes], current: str, *, plaintext: Literal["refuse", "read"] = "refuse"
    ) -> None:
        if plaintext not in ("refuse", "read"):
            raise ValueError(f"plaintext={plaintext!r} is neither 'refuse' nor 'read'; give one of these")
        if current not in keys:
            raise ValueError(f"there is no key {current!r}; add it to keys=")
        for key_id, key in keys.items():
            if not isinstance(cast(object, key), bytes):  # an environment variable, as it is
                raise ValueError(f"key {key_id!r} is a {type(key).__name__}; AES-256 needs {_KEY_BYTES} bytes")
            if len(key) != _KEY_BYTES:
                raise ValueError(f"key {key_id!r} has {len(key)} bytes; AES-256 needs {_KEY_BYTES}")
            if not 0 < len(key_id.encode()) <= _LONGEST_ID:
                raise ValueError(f"{key_id[:80]!r} cannot be the id of a key; use 1 to {_LONGEST_ID} bytes")
        self._keys = {key_id: _Key(_aead(key), _nonce_key(key), _check(key)) for key_id, key in keys.items()}
        self._current = current
        self.reads_plain = plaintext == "read"

    def encode(self, data: bytes, place: Place, /) -> bytes:
        key_id = self._current.encode()
        aead, nonce_key, check = self._keys[self._current]
        bound = _bound(key_id, place)
        # What many refer to must come out the same; else the nonce is chance, for a place may be written twice.
        nonce = os.urandom(_NONCE_BYTES) if place.run_id is not None else _nonce(nonce_key, bound, data)
        return bytes([len(key_id)]) + key_id + check + nonce + aead.encrypt(nonce, data, bound)

    def decode(self, stored: bytes, place: Place, /) -> bytes:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # an extra

        key_id, rest = _split(stored[1:], stored[0] if stored else 0)
        check, rest = _split(rest, _CHECK_BYTES)
        nonce, sealed = _split(rest, _NONCE_BYTES)
        name = key_id.decode(errors="replace")
        if name not in self._keys:
            raise LookupError(f"there is no key {name!r}; add it to keys=")
        key = self._keys[name]
        if check != key.check:  # no damage: who took it for damage would pause the run, under a key nobody else has
            raise LookupError(f"another key that was called {name!r} wrote it; give that one")
        try:
            return key.aead.decrypt(nonce, sealed, _bound(key_id, place))
        except (InvalidTag, ValueError) as error:
            raise ValueError(f"key {name!r} did not write it here: it was changed, or belongs elsewhere") from error


class _Key(NamedTuple):
    aead: AESGCM
    nonce_key: bytes
    check: bytes
    """Stored with every payload: it tells whether this is the key that encrypted it."""


def _split(data: bytes, at: int) -> tuple[bytes, bytes]:
    return data[:at], data[at:]


def _aead(key: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise ImportError("AesGcm needs cryptography; install wrkflw[crypto]") from error
    return AESGCM(key)


def _nonce_key(key: bytes) -> bytes:
    """A key of its own for nonces that follow from the content: one key should do one thing."""
    return hmac.digest(key, b"wrkflw nonce of a large payload", "sha256")


def _check(key: bytes) -> bytes:
    return hmac.digest(key, b"wrkflw check of a key", "sha256")[:_CHECK_BYTES]


def _nonce(key: bytes, bound: bytes, data: bytes) -> bytes:
    return hmac.digest(key, len(bound).to_bytes(8, "big") + bound + data, "sha256")[:_NONCE_BYTES]


def _bound(key_id: bytes, place: Place) -> bytes:
    """What a payload is bound to.  As JSON, so that no two places are the same text."""
    return json.dumps([key_id.hex(), *place]).encode()
