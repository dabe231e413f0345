"""Deleting large payloads that nothing refers to: marked by looking at what refers to them, never by counting.

What stands in the database went with its last event, or else goes in the transaction that sees it unused.  A blob is
doomed first, in a transaction of its own; whoever writes the same payload from then on puts it into the row instead,
and the row stays.  One process at a time collects: what another had doomed might be deleted, written anew, and deleted
again by who is slower.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any

from wrkflw.clock import Clock, to_microseconds
from wrkflw.errors import StoreError
from wrkflw.world.payloads import GRACE, BlobStore
from wrkflw.worlds.writer import Writer

from . import compiled as sql
from .cursors import SqlCursors
from .database import Connection, Reads
from .payloads import blob_name, release

_log = logging.getLogger("wrkflw")

_SOURCE = "$payloads"
"""The cursor that whoever collects holds."""
_AT_ONCE = 200
"""Rows that one transaction deletes, and one statement looks at."""


class Collector:
    """``blobs`` is where large payloads are that the database has not."""

    def __init__(
        self,
        writer: Writer,
        read: Reads,
        cursors: SqlCursors,
        namespace: str,
        clock: Clock,
        blobs: BlobStore | None,
    ) -> None:
        self._cursors = cursors
        self._collects = False
        self._writer = writer
        self._read = read
        self._namespace = namespace
        self._clock = clock
        self._blobs = blobs
        self._prefix = blob_name(namespace, "")

    async def collect(self, *, grace: timedelta = GRACE) -> int:
        if self._collects:
            return 0
        self._collects = True
        try:
            if await self._cursors.take(_SOURCE, again=True) is None:
                return 0  # another process is at it
            return await self._collect(grace)
        finally:
            await self._let_others()

    async def _let_others(self) -> None:
        try:
            await asyncio.shield(self._cursors.release(_SOURCE))
        except StoreError as error:  # the next one here lets go of it, or the end of this process
            _log.warning("other processes cannot collect payloads for now: %s", error)
        finally:
            self._collects = False

    async def _collect(self, grace: timedelta) -> int:
        cutoff = self._clock.now() - grace
        gone, after = 0, ""
        while rows := self._read.all(
            sql.PAYLOADS_MARKED,
            namespace=self._namespace,
            after=after,
            cutoff=to_microseconds(cutoff),
            row_limit=_AT_ONCE,
        ):
            gone += await self._sweep([row[0] for row in rows if row[1]], cutoff)
            after = rows[-1][0]
        if self._blobs is not None:
            gone += await self._sweep_strays(self._blobs, cutoff)
        return gone

    async def _sweep(self, unused: Sequence[str], cutoff: datetime) -> int:
        """Delete those that are still unused when it is their turn."""
        if not unused:
            await asyncio.sleep(0)  # the loop has others to serve, between one look and the next
            return 0

        def work(connection: Connection) -> tuple[int, list[str]]:
            deleted = release(connection, self._namespace, unused)
            about = {"namespace": self._namespace, "cutoff": to_microseconds(cutoff)}
            blobs = () if self._blobs is None else unused
            return deleted, [name for name in blobs if connection.run(sql.PAYLOAD_DOOM, sha256=name, **about)]

        deleted, doomed = await self._writer.submit(work)
        return deleted + await self._delete(doomed)

    async def _sweep_strays(self, blobs: BlobStore, cutoff: datetime) -> int:
        """Blobs whose writer died before it referred to them, or while it wrote."""

        def old() -> list[str]:
            return [name for name, at in blobs.list() if at < cutoff and name.startswith(self._prefix)]

        try:
            strays = await asyncio.to_thread(old)
        except Exception as error:
            raise StoreError(f"the blob store could not be listed: {error}; try again") from error
        gone = 0
        for first in range(0, len(strays), _AT_ONCE):
            names = [name.removeprefix(self._prefix) for name in strays[first : first + _AT_ONCE]]
            gone += await self._delete(await self._writer.submit(self._doom, names))
        return gone

    def _doom(self, connection: Connection, names: Sequence[str]) -> list[str]:
        """Those that have no row get one that keeps others from relying on the blob."""
        return [name for name in names if connection.run(sql.PAYLOAD_STRAY, namespace=self._namespace, sha256=name)]

    async def _delete(self, doomed: Sequence[str]) -> int:
        if not doomed:
            return 0
        assert self._blobs is not None
        try:
            for name in doomed:
                await _to_its_end(asyncio.to_thread(self._blobs.delete, self._prefix + name))
        except Exception as error:
            raise StoreError(f"a blob could not be deleted: {error}; try again") from error

        def work(connection: Connection) -> None:
            for name in doomed:
                connection.run(sql.PAYLOAD_GONE, namespace=self._namespace, sha256=name)

        await self._writer.submit(work)
        return len(doomed)


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Who is cancelled waits all the same: nobody else is to collect while something is being deleted."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
