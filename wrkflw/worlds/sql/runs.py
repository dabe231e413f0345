"""Runs: finding them, listing them, and who owns them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from wrkflw.clock import Clock, to_microseconds
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.errors import (
    EntityConflictError,
    FencedError,
    RunExpiredError,
    RunPausedError,
    WorkflowRunNotFoundError,
)
from wrkflw.world.storage import Page, PageRequest, Resolve, RunFence, RunFilter
from wrkflw.worlds.writer import Writer

from . import compiled as sql
from . import rows
from .database import Connection, Reads, Row
from .images import Images
from .log import event_from
from .pages import FAR, decode_cursor, encode_cursor, limit_of, page_of
from .statement import Statement


class RunReads:
    def __init__(
        self,
        writer: Writer,
        read: Reads,
        images: Images,
        namespace: str,
        clock: Clock,
        owner_is_live: Callable[[Connection, str], bool],
    ) -> None:
        self._writer = writer
        self._read = read
        self._images = images
        self._namespace = namespace
        self._clock = clock
        self._owner_is_live = owner_is_live

    # --- reading -----------------------------------------------------------------------------------

    def located(self, run_id: str, connection: Reads | None = None) -> tuple[int, Run]:
        """The run's number in this database, and the run.  Raises WorkflowRunNotFoundError."""
        row = (connection or self._read).one(sql.RUN_BY_ID, run_id=run_id, namespace=self._namespace)
        if row is None:
            raise WorkflowRunNotFoundError(run_id)
        run = rows.run_from(row)
        if run.ended:  # perhaps by another process, behind its owner's back
            self._images.forget(run_id)
        return row[0], run

    async def get(self, run_id: str, *, resolve_data: Resolve = "all") -> Run:
        return self.read(run_id, resolve_data)

    def read(self, run_id: str, resolve_data: Resolve, connection: Reads | None = None) -> Run:
        run_no, run = self.located(run_id, connection)
        return self._resolved(connection or self._read, run_no, run, resolve_data)

    async def locate(self, run_id: str) -> Run:
        return self.located(run_id)[1]

    async def get_many(self, run_ids: Sequence[str], *, resolve_data: Resolve = "none") -> list[Run | None]:
        found: list[Run | None] = []
        for run_id in run_ids:
            row = self._read.one(sql.RUN_BY_ID, run_id=run_id, namespace=self._namespace)
            found.append(None if row is None else self._resolved(self._read, row[0], rows.run_from(row), resolve_data))
        return found

    async def find(self, workflow_name: str, idempotency_key: str) -> Run | None:
        row = self._read.one(
            sql.RUN_BY_KEY,
            namespace=self._namespace,
            workflow_name=workflow_name,
            idempotency_key=idempotency_key,
        )
        return None if row is None else self._resolved(self._read, row[0], rows.run_from(row), "none")

    async def list(
        self, where: RunFilter | None = None, *, page: PageRequest | None = None, resolve_data: Resolve = "none"
    ) -> Page[Run]:
        request, where = page or PageRequest(), where or RunFilter()
        ascending = request.sort_order == "asc"
        listing = "runs asc" if ascending else "runs"
        created, number = decode_cursor(request.cursor, listing, (-FAR, -FAR) if ascending else (FAR, FAR))
        limit = limit_of(request)
        found = self._read.all(
            _listing(where, ascending=ascending),
            now=to_microseconds(self._clock.now()),
            namespace=self._namespace,
            workflow_name=where.workflow_name,
            statuses=None if where.statuses is None else json.dumps(list(where.statuses)),
            detail=where.detail,
            attributes=None if not where.attributes else json.dumps(dict(where.attributes)),
            since=to_microseconds(where.since) if where.since is not None else -FAR,
            until=to_microseconds(where.until) if where.until is not None else FAR,
            edge_created=created,
            edge_no=number,
            row_limit=limit + 1,
        )

        def cursor_of(row: Row) -> str:
            return encode_cursor(listing, row[5], row[0])

        listed = page_of(found, limit, request.cursor, cursor_of)
        runs: list[Run] = []
        for row in listed.data:
            run = self._resolved(self._read, row[0], rows.run_from(row), resolve_data)
            run.detail = row[-1]
            runs.append(run)
        return Page(runs, listed.cursor, listed.has_more)

    def _resolved(self, connection: Reads, run_no: int, run: Run, resolve_data: Resolve) -> Run:
        run.attributes = dict(connection.all(sql.ATTRIBUTES_OF_RUN, run_no=run_no))
        if not run.ended:
            found = connection.one(sql.RUN_DETAIL, no=run_no, now=to_microseconds(self._clock.now()))
            run.detail = found[0] if found is not None else None
        if resolve_data == "none":
            return run
        for slot in (1, run.ended_slot):
            row = None if slot is None else connection.one(sql.EVENT_AT, run_no=run_no, slot=slot)
            if row is None:
                continue
            match event_from(run.run_id, row, payloads=True).event:
                case e.RunCreated(input=input_data):
                    run.input = input_data
                case e.RunCompleted(output=output):
                    run.output = output
                case e.RunFailed(error=error):
                    run.error = error
                case _:
                    pass
        return run

    # --- owning ------------------------------------------------------------------------------------

    async def claim(self, run_id: str, *, owner: str) -> Run:
        def work(connection: Connection) -> Run:
            run_no, run = self.located(run_id, connection)
            if run.ended:
                raise RunExpiredError(run_id, run.status, "claim")
            if run.paused_at is not None:
                raise RunPausedError(run_id, "claim")
            if run.owner is not None and self._owner_is_live(connection, run.owner):
                raise EntityConflictError(f"run {run_id} is being worked on by {run.owner}")
            return self._take(connection, run_no, run, owner)

        return await self._writer.submit(work)

    async def claim_due(self, *, owner: str, workflow_names: Sequence[str], limit: int) -> Sequence[Run]:
        def work(connection: Connection) -> list[Run]:
            self._free_the_dead(connection)
            due = connection.all(
                sql.RUNS_DUE,
                namespace=self._namespace,
                workflow_names=json.dumps(list(workflow_names)),
                now=to_microseconds(self._clock.now()),
                row_limit=limit,
            )
            return [self._take(connection, row[0], rows.run_from(row), owner) for row in due]

        return await self._writer.submit(work)

    async def release(self, run_id: str, fence: RunFence, *, seen_slot: int, wake_at: datetime | None) -> bool:
        def work(connection: Connection) -> bool:
            run_no, run = self.located(run_id, connection)
            if run.epoch != fence.epoch:
                self._images.forget(run_id)
                raise FencedError(run_id, f"epoch {fence.epoch}", f"epoch {run.epoch}")
            if run.last_slot > seen_slot:
                return False
            self._images.forget(run_id)
            if not run.ended:
                run.owner, run.wake_at, run.seen_slot = None, wake_at, seen_slot
                self._save(connection, run_no, run)
            return True

        return await self._writer.submit(work)

    async def next_due(self, workflow_names: Sequence[str]) -> datetime | None:
        row = self._read.one(sql.NEXT_DUE, namespace=self._namespace, workflow_names=json.dumps(list(workflow_names)))
        return rows.moment(row[0]) if row is not None else None

    async def delete(self, run_id: str) -> None:
        def work(connection: Connection) -> None:
            run_no, run = self.located(run_id, connection)
            if not run.ended:
                raise EntityConflictError(f"run {run_id} is {run.status!r}; cancel it before you delete it")
            for statement in (
                sql.EVENTS_DELETE, sql.STEPS_DELETE, sql.HOOKS_DELETE, sql.WAITS_DELETE, sql.SIGNALS_DELETE,
                sql.ATTRIBUTES_CLEAR, sql.CHUNKS_DELETE, sql.STREAMS_DELETE, sql.RUNS_DELETE,
            ):  # fmt: skip
                connection.run(statement, run_no=run_no)

        await self._writer.submit(work)

    def _take(self, connection: Connection, run_no: int, run: Run, owner: str) -> Run:
        claimed = replace(run, owner=owner, epoch=run.epoch + 1, wake_at=None)
        self._save(connection, run_no, claimed)
        return claimed

    def _save(self, connection: Connection, run_no: int, run: Run) -> None:
        values: dict[str, Any] = rows.run_values(run, self._namespace)
        connection.run(sql.RUN_UPDATE, no=run_no, **values)

    def _free_the_dead(self, connection: Connection) -> None:
        """Runs of a process that is gone become due now; whoever takes one raises its epoch."""
        for (owner,) in connection.all(sql.OWNERS):
            if not self._owner_is_live(connection, owner):
                now = to_microseconds(self._clock.now())
                connection.run(sql.RUNS_FREE, owner=None, now=now, gone=owner)
                connection.run(sql.OWNER_DELETE, owner=owner)


def _listing(where: RunFilter, *, ascending: bool) -> Statement:
    if ascending:
        return sql.RUNS_LIST_ASC
    return sql.RUNS_LIST_PAUSED if where.detail == "paused" else sql.RUNS_LIST
