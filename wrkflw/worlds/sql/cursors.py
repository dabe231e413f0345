"""Cursors over SQL: a row for each source, with the process that reads it."""

from __future__ import annotations

from collections.abc import Callable

from wrkflw.world.cursors import Held
from wrkflw.worlds.writer import Writer

from . import compiled as sql
from .database import Connection


class SqlCursors:
    def __init__(
        self, writer: Writer, namespace: str, owner: str, owner_is_live: Callable[[Connection, str], bool]
    ) -> None:
        self._writer = writer
        self._namespace = namespace
        self._owner = owner
        self._owner_is_live = owner_is_live

    async def take(self, source: str, *, again: bool = False) -> Held | None:
        """``again``: also when it is this process that has it."""

        def work(connection: Connection) -> Held | None:
            row = connection.one(sql.CURSOR_BY_SOURCE, here=self._namespace, source=source)
            holder = None if row is None or (again and row[1] == self._owner) else row[1]
            if holder is not None and self._owner_is_live(connection, holder):
                return None
            connection.run(sql.CURSOR_TAKE, namespace=self._namespace, source=source, position=None, owner=self._owner)
            return Held(None if row is None else row[0])

        return await self._writer.submit(work)

    async def advance(self, source: str, position: str) -> bool:
        def work(connection: Connection) -> bool:
            where = {"here": self._namespace, "of_source": source, "mine": self._owner}
            return connection.run(sql.CURSOR_ADVANCE, **where, position=position) == 1

        return await self._writer.submit(work)

    async def release(self, source: str) -> None:
        def work(connection: Connection) -> None:
            connection.run(sql.CURSOR_RELEASE, here=self._namespace, of_source=source, mine=self._owner)

        await self._writer.submit(work)
