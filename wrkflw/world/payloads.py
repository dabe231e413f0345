"""Payloads on their way to storage: what encodes them, and where the large ones are kept.

A payload is opaque bytes.  It may go through a codec, which sees the place it is stored at; and one that is large is
kept once, under the hash of what is stored, however many events refer to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

INLINE_MAX = 10_240
"""Bytes up to which a payload stands in its event."""
PAYLOAD_MAX = 64 * 1024 * 1024
"""Bytes that no payload may exceed."""
GRACE = timedelta(hours=24)
"""How long a blob that nothing refers to is kept."""


class Place(NamedTuple):
    """Where a payload is stored.

    In a run, ``number`` is the slot of its event or the index of its chunk, and ``field`` says what it is there.  A
    large payload belongs to no run: whatever refers to it shares it.
    """

    namespace: str
    run_id: str | None = None
    number: int | None = None
    field: str = "blob"


class PayloadCodec(Protocol):
    """Between the bytes of a payload and those that are stored: compression, encryption."""

    @property
    def id(self) -> str:
        """Stored beside each payload; a codec reads what has its id and nothing else."""
        ...

    @property
    def reads_plain(self) -> bool:
        """Whether what is stored without a codec is read as it stands, or refused: anybody may have put it there."""
        ...

    def encode(self, data: bytes, place: Place, /) -> bytes:
        """What is to be stored at ``place``.

        For a place without a run it should give the same for the same data, or equal payloads are not kept once.
        """
        ...

    def decode(self, stored: bytes, place: Place, /) -> bytes:
        """What ``encode`` was given.

        Raises LookupError when something is missing that an operator can supply, such as a key; ValueError when
        ``stored`` is not what ``encode`` gave for this place.
        """
        ...


class BlobStore(Protocol):
    """Named bytes outside of the database.  It belongs to one database alone, whose collector deletes the rest.

    Its calls block, and come from several threads at a time.
    """

    def put(self, name: str, data: bytes, /) -> None:
        """Keep ``data``, unless the name is there: a name stands for its content.  Durable when it returns."""
        ...

    def get(self, name: str, /) -> bytes:
        """Raises FileNotFoundError when there is no such name."""
        ...

    def delete(self, name: str, /) -> None:
        """Deleting what is not there changes nothing."""
        ...

    def list(self) -> Iterable[tuple[str, datetime]]:
        """Every name, and when it was last written; also of what a crash left half written."""
        ...


class Payloads(Protocol):
    """The large payloads of a store."""

    async def collect(self, *, grace: timedelta = GRACE) -> int:
        """Delete those that no event refers to; how many there were.

        Those of a blob store only if nobody has written them for ``grace``, which must be longer than any write takes.
        None while another collector is at work, here or in another process.
        """
        ...
