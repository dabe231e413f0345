"""The bodies of messages as their rows hold them: as they are, or encoded by the codec, each for its own message.

A message may carry what a run is created from, or is handed in, so nothing of it stands there in the clear.
"""

from __future__ import annotations

from wrkflw.errors import StoreError
from wrkflw.world.errors import PayloadTooLargeError, WorldError
from wrkflw.world.messages import decode, encode
from wrkflw.world.payloads import Place
from wrkflw.world.queue import Message, NewMessage

from .sealing import Sealing

_MARK = b"\x00"
"""Before and behind the name of the codec.  No JSON begins with it."""


class Bodies:
    """``largest`` is how many bytes a body may have."""

    def __init__(self, sealing: Sealing, largest: int) -> None:
        self._sealing = sealing
        self._largest = largest

    def check(self, message: NewMessage) -> None:
        """Raises PayloadTooLargeError, and WorldError (400) for what is no message, or holds what is no text."""
        try:
            size = len(encode(message.message))
        except (ValueError, AttributeError, TypeError) as error:
            raise WorldError("this cannot be queued: it is no message, or what it holds is no Unicode text") from error
        if size > self._largest:
            raise PayloadTooLargeError(message.run_id or "no run", "message", size, self._largest)

    def sealed(self, message_id: str, run_id: str | None, body: bytes) -> bytes:
        codec = self._sealing.codec
        if codec is None:
            return body
        return _MARK + codec.id.encode() + _MARK + self._sealing.encode(body, self._place(message_id, run_id))

    def opened(self, message_id: str, run_id: str | None, stored: bytes) -> Message:
        """The message.

        Raises StoreError when the codec or its key is missing, or should not be; DamagedPayloadError when it was not
        written there, WorldError when it is no message.
        """
        part = (run_id or "no run", f"message {message_id}")
        if not stored.startswith(_MARK):
            self._sealing.check_plain(part)
            return decode(stored)
        codec_id, _, encoded = stored[1:].partition(_MARK)
        place = self._place(message_id, run_id)
        return decode(self._sealing.decode(encoded, place, codec_id.decode(errors="replace"), part))

    def read(self, message_id: str, run_id: str | None, stored: bytes) -> Message | None:
        """The message, if it can be read."""
        try:
            return self.opened(message_id, run_id, stored)
        except (WorldError, StoreError):
            return None

    def _place(self, message_id: str, run_id: str | None) -> Place:
        return Place(self._sealing.namespace, run_id, None, f"message {message_id}")
