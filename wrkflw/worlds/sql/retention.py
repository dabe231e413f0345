"""What runs lose some time after their end: payloads, and the chunks of their streams.

The terminal transaction notes when that is due.  A run is marked as expired first, so that nobody reads half of it, and
then loses what it holds in short transactions; a crash between two of them leaves it due.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from wrkflw.clock import Clock, to_microseconds
from wrkflw.errors import StoreError
from wrkflw.world.retention import expiry_of
from wrkflw.worlds.writer import Writer

from . import compiled as sql
from . import rows
from .database import Connection, Reads
from .images import Opened
from .log import without_values
from .pages import FAR
from .payloads import LargePayloads, release
from .sealing import Sealed

_AT_ONCE = 1000
"""Rows that one transaction changes, about."""
_ROW = 8192
"""Bytes of a large payload that cost as much as a row."""


class _Purge(NamedTuple):
    """A run on the way to lose its payloads; ``after`` is the last event that has."""

    run_no: int
    due_at: int
    run_id: str
    after: int = 0


class SqlRetention:
    """``default`` is how long runs are kept that do not say so themselves."""

    def __init__(self, writer: Writer, read: Reads, payloads: LargePayloads, clock: Clock, default: timedelta) -> None:
        self.default = default
        self._writer = writer
        self._read = read
        self._payloads = payloads
        self._namespace = payloads.namespace
        self._clock = clock

    # --- the end of a run --------------------------------------------------------------------------

    def run_ended(self, connection: Connection, opened: Opened) -> None:
        """Note when the run, which has ended just now and has its attributes, is to expire."""
        run = opened.image.run
        assert run is not None
        assert run.completed_at is not None
        due = expiry_of(run.completed_at, run.attributes, self.default)
        if due is not None:
            row = (self._namespace, to_microseconds(due), opened.run_no)
            connection.later(opened.run_no, sql.RETAINED_INSERT, [row])

    def written_late(self, connection: Connection, opened: Opened) -> None:
        """A body that outlived its run has ended: if that has expired, what it gave goes at once."""
        if connection.one(sql.EXPIRED_AT, run_no=opened.run_no) is not None:
            late = _Purge(opened.run_no, opened.at, opened.image.run_id, after=opened.found_slot)
            self._purge(connection, late, FAR)

    # --- afterwards --------------------------------------------------------------------------------

    async def next_due(self) -> datetime | None:
        row = self._read.one(sql.RETAINED_NEXT, namespace=self._namespace)
        return None if row is None else rows.moment(row[0])

    async def expire(self, *, limit: int = 100) -> int:
        done = 0
        purge: _Purge | None = None
        while done < limit:
            finished, purge = await self._purge_some(purge, limit - done)
            done += finished
            if purge is None:
                break
        return done

    async def _purge_some(self, begun: _Purge | None, most: int) -> tuple[int, _Purge | None]:
        """As much as one transaction may do: how many runs were done with, and the one that was not."""

        def work(connection: Connection) -> tuple[int, _Purge | None]:
            finished, room = 0, _AT_ONCE
            purge = begun or self._next(connection)
            while purge is not None:
                changed, purge = self._purge(connection, purge, room)
                room -= changed
                if room <= 0:
                    break
                key = {"namespace": self._namespace, "due_at": purge.due_at, "run_no": purge.run_no}
                connection.run(sql.RETAINED_DELETE, **key)
                finished, room = finished + 1, room - 1
                purge = self._next(connection) if finished < most else None
            return finished, purge

        return await self._writer.submit(work)

    def _next(self, connection: Connection) -> _Purge | None:
        """The run that is due for longest, marked as expired."""
        now = to_microseconds(self._clock.now())
        row = connection.one(sql.RETAINED_DUE, namespace=self._namespace, now=now)
        if row is None:
            return None
        due_at, run_no, run_id = row
        if run_id is not None:  # else it was deleted, and there is nothing to be found
            connection.run(sql.EXPIRED_INSERT, run_no=run_no, expired_at=now)
        return _Purge(run_no, due_at, run_id or "")

    def _purge(self, connection: Connection, purge: _Purge, room: int) -> tuple[int, _Purge]:
        """Remove what up to ``room`` rows hold; how many there were, and how far it came."""
        held = {"namespace": self._namespace, "run_no": purge.run_no, "after": purge.after}
        emptied: list[tuple[object, ...]] = []
        large: set[str] = set()
        left = room
        for slot, event_type, data, codec, name, size in connection.all(sql.EVENTS_HELD, **held, row_limit=room):
            if left <= 0:
                break
            kept, kept_codec = self._bare(purge.run_id, slot, event_type, data, codec)
            emptied.append((kept, kept_codec, purge.run_no, slot))
            purge = purge._replace(after=slot)
            left -= 1
            if name is not None and name not in large:
                large.add(name)
                left -= (size or 0) // _ROW
        if emptied:
            connection.many(sql.EVENT_EMPTY, emptied)
            release(connection, self._namespace, large)
        if left > 0:
            left -= connection.run(sql.CHUNKS_FORGET, run_no=purge.run_no, row_limit=left)
        return room - left, purge

    def _bare(
        self, run_id: str, slot: int, event_type: str, data: str | None, codec: str | None
    ) -> tuple[str | None, str | None]:
        """The data of an event without the values of its run, and the codec."""
        if data is None:
            return None, None
        if codec is None:
            try:
                return without_values(data), None
            except ValueError:  # it is damaged, and must not keep the others from losing theirs
                return None, None
        try:
            data_read, _ = self._payloads.without.opened(run_id, slot, event_type, Sealed(data, None, codec, None))
        except StoreError:  # the key is gone: it cannot be read by anybody
            return data, codec
        sealed = self._payloads.sealing.seal(run_id, slot, event_type, without_values(data_read or ""), None, None)
        return sealed.data, sealed.codec
