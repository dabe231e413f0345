"""Streams over SQL: chunks are written as events are, through the writer and by the run's owner alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import cast

from typing_extensions import Buffer

from wrkflw.clock import Clock, to_microseconds
from wrkflw.world.entities import Run, Step
from wrkflw.world.errors import EntityConflictError, FencedError, RunExpiredError, StreamExpiredError, WorldError
from wrkflw.world.live import Subscribe, chunks_of, listening_to
from wrkflw.world.storage import Fence, PageRequest, RunFence, StepFence
from wrkflw.world.streamer import (
    CHUNK_WRITTEN,
    LONGEST_NAME,
    STREAM_CLOSED,
    ChunkPage,
    Item,
    NewChunk,
    Position,
    StreamInfo,
    can_be_called,
)
from wrkflw.worlds.writer import Writer

from . import compiled as sql
from . import rows
from .admission import Admission
from .arguments import utf8
from .database import Connection, Reads
from .log import chunk_from, items_from
from .pages import FAR, decode_cursor, encode_cursor, limit_of
from .payloads import LargePayloads
from .run_reads import RunReads


class SqlStreamer:
    """``subscribe`` is that of the World."""

    def __init__(
        self,
        writer: Writer,
        read: Reads,
        runs: RunReads,
        admission: Admission,
        payloads: LargePayloads,
        clock: Clock,
        subscribe: Subscribe,
    ) -> None:
        self._writer = writer
        self._read = read
        self._runs = runs
        self._admission = admission
        self._payloads = payloads
        self._clock = clock
        self._subscribe = subscribe

    # --- writing -----------------------------------------------------------------------------------

    async def write(self, run_id: str, name: str, chunk: bytes | str, *, fence: Fence | None = None) -> int:
        _check_name(name)
        data = _bytes_of(chunk)
        self._payloads.check_size(run_id, "chunk", data)

        def work(connection: Connection) -> int:
            _, lengths = self._append(connection, run_id, [NewChunk(name, data)], fence)
            return lengths[name] - 1 if data else lengths[name]

        return await self._writer.submit(work)

    async def write_many(self, run_id: str, chunks: Sequence[NewChunk], *, fence: Fence | None = None) -> int:
        for name in {chunk.stream for chunk in chunks}:
            _check_name(name)
        chunks = [chunk._replace(data=_bytes_of(chunk.data)) for chunk in chunks]
        for chunk in chunks:
            self._payloads.check_size(run_id, "chunk", chunk.data)
        return await self._writer.submit(lambda connection: self._append(connection, run_id, chunks, fence)[0])

    def _append(
        self, connection: Connection, run_id: str, chunks: Sequence[NewChunk], fence: Fence | None
    ) -> tuple[int, dict[str, int]]:
        """The number of the last chunk of the run, and the lengths of the streams."""
        run_no, run, step = self._open(connection, run_id, fence)
        names = dict.fromkeys(chunk.stream for chunk in chunks)
        lengths = {name: self._length(connection, run_no, run_id, name) for name in names}
        last = connection.one(sql.CHUNK_LAST, run_no=run_no)
        number = 0 if last is None else int(last[0])
        at = to_microseconds(max(self._clock.now(), run.updated_at))
        epoch = fence.epoch if isinstance(fence, RunFence) else None
        new: list[tuple[object, ...]] = []
        for name, data, key, attempt in chunks:
            if not data:
                continue
            number += 1
            if step is not None:
                key, attempt = step.key, step.attempt  # noqa: PLW2901  # who executes a step writes as that step
            kept, codec = self._payloads.sealing.seal_chunk(run_id, name, lengths[name], data)
            new.append((run_no, run.last_slot, number, name, lengths[name], kept, key, attempt, epoch, at, codec))
            lengths[name] += 1
        if new:
            connection.later(run_no, sql.STREAM_WRITE, [(run_no, name, length, 0) for name, length in lengths.items()])
            connection.later(run_no, sql.CHUNK_INSERT, new)
            connection.notices.append((run_id, [CHUNK_WRITTEN]))
        return number, lengths

    async def close(self, run_id: str, name: str, *, fence: Fence | None = None) -> None:
        _check_name(name)

        def work(connection: Connection) -> None:
            run_no, _, _ = self._open(connection, run_id, fence)
            row = connection.one(sql.STREAM_BY_NAME, run_no=run_no, stream=name)
            if row is None or not row[1]:
                length = 0 if row is None else row[0]
                connection.later(run_no, sql.STREAM_WRITE, [(run_no, name, length, 1)])
                connection.notices.append((run_id, [STREAM_CLOSED]))

        await self._writer.submit(work)

    def _open(self, connection: Connection, run_id: str, fence: Fence | None) -> tuple[int, Run, Step | None]:
        """The run, and the step that its writer executes if that is how it writes.  Raises what refuses the writer."""
        run_no, run = self._runs.located(run_id, connection)
        step = None
        if isinstance(fence, StepFence):
            step = _step_of(connection, run_no, run_id, fence)
        else:
            self._admission.check_owner(connection, run, fence)
        if run.ended:
            raise RunExpiredError(run_id, run.status, CHUNK_WRITTEN)
        return run_no, run, step

    def _length(self, connection: Connection, run_no: int, run_id: str, name: str) -> int:
        row = connection.one(sql.STREAM_BY_NAME, run_no=run_no, stream=name)
        if row is None:
            return 0
        length, done = row
        if done:
            raise EntityConflictError(f"stream {name!r} of {run_id} is closed; write to another one")
        return int(length)

    # --- reading -----------------------------------------------------------------------------------

    async def read(self, run_id: str, name: str, *, start_index: int = 0) -> AsyncIterator[bytes]:
        listening = partial(listening_to, run_id, self._subscribe)
        async for page in chunks_of(self, run_id, name, start_index, listening):
            for chunk in page:
                yield chunk.data

    async def get_chunks(
        self, run_id: str, name: str, *, limit: int = 100, cursor: str | None = None, start_index: int = 0
    ) -> ChunkPage:
        run_no, run = self._runs.located(run_id)
        most = limit_of(PageRequest(limit))
        length, done = self._standing(run_no, run, name)
        listing = f"chunks of {utf8('the name of a stream', name).hex()} of {run_no}"
        if cursor is not None:
            index = _index_of(cursor, listing)
        else:
            index = min(start_index, FAR - 1) if start_index >= 0 else max(0, length + start_index)
        found = self._read.all(sql.CHUNKS_OF_STREAM, run_no=run_no, stream=name, start_index=index, row_limit=most + 1)
        if length:
            self._runs.check_kept(run_id, run_no, StreamExpiredError.purged)
        reading = self._payloads.reading(self._read)
        chunks = [chunk_from(run_id, row, reading) for row in found[:most]]
        return ChunkPage(chunks, encode_cursor(listing, index + len(chunks)), len(found) > most, done)

    async def info(self, run_id: str, name: str) -> StreamInfo:
        run_no, run = self._runs.located(run_id)
        length, done = self._standing(run_no, run, name)
        return StreamInfo(length - 1, done)

    def _standing(self, run_no: int, run: Run, name: str) -> tuple[int, bool]:
        """How many chunks the stream has, and whether none follows.  To be asked before they are read."""
        row = self._read.one(sql.STREAM_BY_NAME, run_no=run_no, stream=name)
        length, done = (0, 0) if row is None else row
        return int(length), bool(done) or run.ended

    async def list(self, run_id: str) -> list[str]:
        run_no, _ = self._runs.located(run_id)
        return [row[0] for row in self._read.all(sql.STREAMS_OF_RUN, run_no=run_no)]

    async def wrote(self, run_id: str, key: str, *, before_slot: int) -> bool:
        run_no, _ = self._runs.located(run_id)
        return self._read.one(sql.CHUNK_BY_KEY, run_no=run_no, key=key, before_slot=before_slot) is not None

    async def items(self, run_id: str, *, after: Position | None = None, limit: int = 1000) -> Sequence[Item]:
        run_no, _ = self._runs.located(run_id)
        slot, number = after or Position()
        # One statement, and so one moment: two would lose what is written between them.
        found = self._read.all(sql.ITEMS_AFTER, run_no=run_no, after=slot, after_number=number, row_limit=limit)
        self._runs.check_kept(run_id, run_no)
        reading = await self._payloads.read_ahead(run_id, found)
        return items_from(run_id, run_no, found, self._read, reading)


def _bytes_of(chunk: object) -> bytes:  # of anything: not all callers are typed
    """The chunk as it is stored: text as UTF-8.  Raises WorldError (400) for what is neither text nor bytes."""
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, str):
        return utf8("a chunk", chunk)
    if isinstance(chunk, bytearray | memoryview):
        return bytes(cast("Buffer", chunk))
    raise WorldError(f"a chunk is bytes or a str, not {type(chunk).__name__}; encode it before you write it")


def _check_name(stream: str) -> None:
    if not can_be_called(stream):
        raise WorldError(f"a stream cannot be called {stream[:80]!r}; use 1 to {LONGEST_NAME} printable characters")


def _step_of(connection: Connection, run_no: int, run_id: str, fence: StepFence) -> Step:
    row = connection.one(sql.STEP_BY_ID, run_no=run_no, step_id=fence.step_id)
    if row is None:
        raise WorldError(f"run {run_id} has no step {fence.step_id!r}", status=404)
    step = rows.step_from(run_id, row)
    if step.attempt != fence.attempt:
        raise FencedError(run_id, f"attempt {fence.attempt}", f"attempt {step.attempt}")
    if step.status != "running":
        raise EntityConflictError(f"step {fence.step_id!r} of {run_id} is {step.status!r}; write while it runs")
    return step


def _index_of(cursor: str, listing: str) -> int:
    try:
        (index,) = decode_cursor(cursor, listing, (0,))
    except WorldError:  # of streams alone: who has lost the place reads again from the beginning
        return 0
    return index
