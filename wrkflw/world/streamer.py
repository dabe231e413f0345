"""Streams: chunks of bytes that steps write while they run, each numbered, none lost and none twice.

A chunk has its place in its stream, ``index`` from 0, and its place in all that happens to its run: it stands behind
the event that was the last when it was written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, TypeAlias

from .events import StoredEvent
from .storage import Fence

CHUNK_WRITTEN: Literal["chunk_written"] = "chunk_written"
"""What listeners are told of chunks, in place of an event type."""
STREAM_CLOSED: Literal["stream_closed"] = "stream_closed"
LONGEST_NAME = 256


class Position(NamedTuple):
    """A place among the events and chunks of a run: behind event ``slot``, and chunk ``number`` if that follows it."""

    slot: int = 0
    number: int = 0


class NewChunk(NamedTuple):
    """``key`` and ``attempt`` say which step wrote it, and at which try."""

    stream: str
    data: bytes
    key: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    run_id: str
    stream: str
    index: int
    """In its stream, dense from 0."""
    data: bytes
    key: str | None
    attempt: int | None
    epoch: int | None
    """The claim under which the run's owner wrote it."""
    after_slot: int
    number: int
    """In its run, dense from 1."""
    created_at: datetime

    @property
    def position(self) -> Position:
        return Position(self.after_slot, self.number)


Item: TypeAlias = StoredEvent | Chunk


def can_be_called(stream: object) -> bool:
    """Whether a stream may have this name: 1 to ``LONGEST_NAME`` printable characters."""
    return isinstance(stream, str) and 0 < len(stream) <= LONGEST_NAME and stream.isprintable()


def position_of(item: Item) -> Position:
    """Where to go on from, once this has been read."""
    return item.position if isinstance(item, Chunk) else Position(item.slot)


class StreamInfo(NamedTuple):
    """``tail_index`` is that of the last chunk, -1 without one; no chunk follows once it is ``done``."""

    tail_index: int
    done: bool


class ChunkPage(NamedTuple):
    """``cursor`` gives what follows, also what is yet to be written; once it is ``done`` and has no more, none does."""

    data: list[Chunk]
    cursor: str
    has_more: bool
    done: bool


class Streamer(Protocol):
    """The streams of runs, each known by its name within its run.

    Every call raises WorkflowRunNotFoundError for an unknown run.  Who writes owns the run, or executes the step that a
    StepFence names; without a fence nobody alive may own the run.  What was written is durable when a write returns.
    """

    async def write(self, run_id: str, name: str, chunk: bytes | str, *, fence: Fence | None = None) -> int:
        """Append a chunk, text as UTF-8; its index.  An empty one is left out, and gives the index of the next.

        Refused as :meth:`write_many` is.
        """
        ...

    async def write_many(self, run_id: str, chunks: Sequence[NewChunk], *, fence: Fence | None = None) -> int:
        """Append chunks, all or none, in one transaction; the number of the last chunk of the run then.

        Empty ones are left out.  Raises FencedError for who does not own the run, or is at another attempt of the step,
        RunExpiredError once the run has ended, EntityConflictError once a stream is closed or the step is over.
        """
        ...

    async def close(self, run_id: str, name: str, *, fence: Fence | None = None) -> None:
        """End a stream, which need not have a chunk.  Refused as a chunk is; closing again changes nothing."""
        ...

    def read(self, run_id: str, name: str, *, start_index: int = 0) -> AsyncIterator[bytes]:
        """The chunks from ``start_index`` on, live, whichever process writes them; ends when the stream does.

        A stream ends when it is closed, and with its run.  A negative index counts from the end, and begins at 0 where
        there are fewer; beyond the end nothing comes before that index is written.  Leaving it leaves nothing behind.

        Raises StreamExpiredError when the chunks were removed, StoreError when the World is closed meanwhile.
        """
        ...

    async def get_chunks(
        self, run_id: str, name: str, *, limit: int = 100, cursor: str | None = None, start_index: int = 0
    ) -> ChunkPage:
        """Up to ``limit`` chunks, at most 1,000: what follows ``cursor``, else from ``start_index`` as :meth:`read`.

        A cursor that is none of this stream begins again at 0.  Raises StreamExpiredError when they were removed.
        """
        ...

    async def info(self, run_id: str, name: str) -> StreamInfo: ...

    async def list(self, run_id: str) -> list[str]:
        """The names of its streams."""
        ...

    async def wrote(self, run_id: str, key: str, *, before_slot: int) -> bool:
        """Whether the step at ``key`` has written chunks that stand before this event."""
        ...

    async def items(self, run_id: str, *, after: Position | None = None, limit: int = 1000) -> Sequence[Item]:
        """Events and chunks in one order, as they stood at one moment: what follows ``after``."""
        ...
