"""Streams over SQL: chunks are written as events are, through the writer and by the run's owner alone."""

from __future__ import annotations

from collections.abc import Sequence

from wrkflw.clock import Clock, to_microseconds
from wrkflw.world.entities import Run
from wrkflw.world.errors import EntityConflictError, RunExpiredError, WorldError
from wrkflw.world.storage import RunFence
from wrkflw.world.streamer import (
    CHUNK_WRITTEN,
    LONGEST_NAME,
    STREAM_CLOSED,
    Chunk,
    Item,
    NewChunk,
    Position,
    StreamInfo,
    can_be_called,
)
from wrkflw.worlds.writer import Writer

from . import compiled as sql
from .admission import Admission
from .database import Connection, Reads
from .log import chunk_from, items_from
from .runs import RunReads


class SqlStreamer:
    def __init__(self, writer: Writer, read: Reads, runs: RunReads, admission: Admission, clock: Clock) -> None:
        self._writer = writer
        self._read = read
        self._runs = runs
        self._admission = admission
        self._clock = clock

    # --- writing -----------------------------------------------------------------------------------

    async def write_many(self, run_id: str, chunks: Sequence[NewChunk], *, fence: RunFence | None = None) -> int:
        lengths = dict.fromkeys((chunk.stream for chunk in chunks), 0)
        for stream in lengths:
            _check_name(stream)

        def work(connection: Connection) -> int:
            run_no, run = self._open(connection, run_id, fence)
            for stream in lengths:
                lengths[stream] = self._length(connection, run_no, run_id, stream)
            last = connection.one(sql.CHUNK_LAST, run_no=run_no)
            number = 0 if last is None else int(last[0])
            at = to_microseconds(max(self._clock.now(), run.updated_at))
            new: list[tuple[object, ...]] = []
            for stream, data, key, attempt in chunks:
                if not data:
                    continue
                number += 1
                epoch = None if fence is None else fence.epoch
                new.append((run_no, run.last_slot, number, stream, lengths[stream], data, key, attempt, epoch, at))
                lengths[stream] += 1
            if new:
                connection.later(sql.STREAM_WRITE, [(run_no, name, length, 0) for name, length in lengths.items()])
                connection.later(sql.CHUNK_INSERT, new)
                connection.notices.append((run_id, [CHUNK_WRITTEN]))
            return number

        return await self._writer.submit(work)

    async def close(self, run_id: str, stream: str, *, fence: RunFence | None = None) -> None:
        _check_name(stream)

        def work(connection: Connection) -> None:
            run_no, _ = self._open(connection, run_id, fence)
            row = connection.one(sql.STREAM_BY_NAME, run_no=run_no, stream=stream)
            if row is None or not row[1]:
                length = 0 if row is None else row[0]
                connection.later(sql.STREAM_WRITE, [(run_no, stream, length, 1)])
                connection.notices.append((run_id, [STREAM_CLOSED]))

        await self._writer.submit(work)

    def _open(self, connection: Connection, run_id: str, fence: RunFence | None) -> tuple[int, Run]:
        run_no, run = self._runs.located(run_id, connection)
        self._admission.check_owner(connection, run, fence)
        if run.ended:
            raise RunExpiredError(run_id, run.status, CHUNK_WRITTEN)
        return run_no, run

    def _length(self, connection: Connection, run_no: int, run_id: str, stream: str) -> int:
        row = connection.one(sql.STREAM_BY_NAME, run_no=run_no, stream=stream)
        if row is None:
            return 0
        length, done = row
        if done:
            raise EntityConflictError(f"stream {stream!r} of {run_id} is closed; write to another one")
        return int(length)

    # --- reading -----------------------------------------------------------------------------------

    async def read(self, run_id: str, stream: str, *, start_index: int = 0, limit: int = 100) -> list[Chunk]:
        run_no, _ = self._runs.located(run_id)
        if start_index < 0:
            row = self._read.one(sql.STREAM_BY_NAME, run_no=run_no, stream=stream)
            start_index = max(0, start_index + (0 if row is None else row[0]))
        found = self._read.all(
            sql.CHUNKS_OF_STREAM, run_no=run_no, stream=stream, start_index=start_index, row_limit=limit
        )
        return [chunk_from(run_id, row) for row in found]

    async def info(self, run_id: str, stream: str) -> StreamInfo:
        run_no, run = self._runs.located(run_id)
        row = self._read.one(sql.STREAM_BY_NAME, run_no=run_no, stream=stream)
        length, done = (0, 0) if row is None else row
        return StreamInfo(length - 1, bool(done) or run.ended)

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
        return items_from(run_id, run_no, found, self._read)


def _check_name(stream: str) -> None:
    if not can_be_called(stream):
        raise WorldError(f"a stream cannot be called {stream[:80]!r}; use 1 to {LONGEST_NAME} printable characters")
