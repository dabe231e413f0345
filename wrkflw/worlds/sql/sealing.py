"""Payloads as their rows hold them: as they are, encoded by a codec, or a reference to a large one.

With a codec all that a person may have put into an event is encoded, each for its own place: the payload, the data
beside it, and the reference to a large payload as well, so that none can be put in the place of another.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from wrkflw.errors import StoreError
from wrkflw.world.errors import DamagedPayloadError
from wrkflw.world.payloads import PayloadCodec, Place

Part: TypeAlias = tuple[str, str]
"""A run and a part of it in words, for who is told that it cannot be read."""
LargeOf: TypeAlias = Callable[[str, Part], bytes]
"""The large payload of a hash as it is stored, for the part of a run that refers to it."""
OPEN_WITH_IT = "open the world with that codec=, or name it for the command line in [tool.wrkflw] of pyproject.toml"
"""What to do without a codec that is needed."""


class Sealed(NamedTuple):
    """The columns of an event: ``codec`` is None for what is plain, ``payload_ref`` for what stands in the row."""

    data: str | None
    payload: bytes | None
    codec: str | None
    payload_ref: str | None


_NOTHING = Sealed(None, None, None, None)


class Sealing:
    """``codec`` encodes what is written from now on, and says whether what was written without one is read."""

    def __init__(self, namespace: str, codec: PayloadCodec | None) -> None:
        self.namespace = namespace
        self.codec = codec
        self.reads_plain = codec is None or codec.reads_plain

    def seal(
        self, run_id: str, slot: int, event_type: str, data: str | None, payload: bytes | None, ref: str | None
    ) -> Sealed:
        """``ref`` is given when the payload is kept elsewhere."""
        codec = self.codec
        inline = None if ref is not None else payload
        if codec is None or (data is None and payload is None):
            return Sealed(data, inline, None, ref)
        if data is not None:
            place = Place(self.namespace, run_id, slot, f"data of {event_type}")
            data = b64encode(self.encode(data.encode(), place)).decode()
        if ref is not None:
            inline = ref.encode()
        if inline is not None:
            inline = self.encode(inline, Place(self.namespace, run_id, slot, event_type))
        return Sealed(data, inline, codec.id, ref)

    def seal_chunk(self, run_id: str, stream: str, index: int, data: bytes) -> tuple[bytes, str | None]:
        """What goes into the row of a chunk, and the codec."""
        if self.codec is None:
            return data, None
        return self.encode(data, _chunk_place(self.namespace, run_id, stream, index)), self.codec.id

    def encode(self, data: bytes, place: Place) -> bytes:
        """Raises StoreError when the codec fails."""
        assert self.codec is not None
        try:
            return self.codec.encode(data, place)
        except Exception as error:
            raise StoreError(f"codec {self.codec.id!r} could not encode a payload: {error}; mend it") from error

    def decode(self, stored: bytes, place: Place, codec_id: str, part: Part) -> bytes:
        """Raises StoreError when the codec or its key is missing, DamagedPayloadError when it was not written here."""
        run_id, what = part
        if self.codec is None or self.codec.id != codec_id:
            given = "none was given" if self.codec is None else f"{self.codec.id!r} was given"
            raise StoreError(f"{what} of run {run_id!r} was written by codec {codec_id!r}, and {given}; {OPEN_WITH_IT}")
        try:
            return self.codec.decode(stored, place)
        except LookupError as error:
            why = error.args[0] if error.args else error
            raise StoreError(f"{what} of run {run_id!r} cannot be decoded: {why}") from error
        except ValueError as error:
            raise DamagedPayloadError(run_id, what, str(error)) from error

    def check_plain(self, part: Part) -> None:
        """What was written without a codec is to be read.  Raises StoreError when it is not."""
        if not self.reads_plain:
            run_id, what = part
            raise StoreError(
                f"{what} of run {run_id!r} was written without a codec, or put there; if it is older than the codec, "
                "let that read it, as AesGcm(..., plaintext='read') does"
            )


class Reading:
    """How rows are read: with their payloads, if ``large_of`` is given, or without."""

    def __init__(self, sealing: Sealing, large_of: LargeOf | None) -> None:
        self._sealing = sealing
        self._large_of = large_of
        self.payloads = large_of is not None
        self.reads_plain = sealing.reads_plain

    def opened(self, run_id: str, slot: int, event_type: str, sealed: Sealed) -> tuple[str | None, bytes | None]:
        """Data and payload of an event that is not plain, or is not to be."""
        data, payload, codec_id, ref = sealed
        sealing, part = self._sealing, (run_id, f"slot {slot}")
        if codec_id is None and sealed != _NOTHING:
            sealing.check_plain(part)
        if codec_id is not None and data is not None:
            place = Place(sealing.namespace, run_id, slot, f"data of {event_type}")
            data = sealing.decode(b64decode(data), place, codec_id, part).decode()
        if self._large_of is None:
            return data, None
        if codec_id is not None and payload is not None:
            place = Place(sealing.namespace, run_id, slot, event_type)
            payload = sealing.decode(payload, place, codec_id, part)
        if ref is None:
            return data, payload
        if codec_id is not None and payload != ref.encode():
            raise DamagedPayloadError(*part, "it refers to another payload than it was written with")
        stored = self._large_of(ref, part)
        return data, stored if codec_id is None else sealing.decode(stored, Place(sealing.namespace), codec_id, part)

    def chunk(self, run_id: str, stream: str, index: int, data: bytes, codec_id: str | None) -> bytes:
        """The data of a chunk."""
        part = (run_id, f"chunk {index} of stream {stream!r}")
        if codec_id is None:
            self._sealing.check_plain(part)
            return data
        return self._sealing.decode(data, _chunk_place(self._sealing.namespace, run_id, stream, index), codec_id, part)


def _chunk_place(namespace: str, run_id: str, stream: str, index: int) -> Place:
    return Place(namespace, run_id, index, f"chunk of {stream}")
