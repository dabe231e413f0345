"""Runs: finding them, listing them, and who owns them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, get_args

from wrkflw.clock import Clock, to_microseconds
from wrkflw.world import events as e
from wrkflw.world.entities import Detail, Run, RunStatus
from wrkflw.world.errors import (
    EntityConflictError,
    FencedError,
    RunExpiredError,
    RunPausedError,
    WorkflowRunNotFoundError,
    WorldError,
)
from wrkflw.world.live import Subscribe
from wrkflw.world.storage import RUN_DUE, RUN_PARKED, Events, Page, PageRequest, Resolve, RunFence, RunFilter
from wrkflw.world.writers import RunWriters
from wrkflw.worlds.writer import Writer

from . import compiled as sql
from . import rows
from .arguments import aware, one_of
from .database import Connection, Reads, Row
from .identifiers import is_run_id
from .images import Images
from .log import event_from
from .mailbox import Mailbox
from .pages import FAR, decode_cursor, encode_cursor, limit_of, page_of
from .payloads import LargePayloads
from .sealing import Reading
from .statement import Statement

_MOST_SOUGHT = 8
"""Attributes that one listing can ask for."""


class RunReads(RunWriters):
    def __init__(
        self,
        writer: Writer,
        read: Reads,
        images: Images,
        mailbox: Mailbox,
        payloads: LargePayloads,
        clock: Clock,
        owner_is_live: Callable[[Connection, str], bool],
        subscribe: Subscribe,
        *,
        recovers: bool,
    ) -> None:
        self._writer = writer
        self._read = read
        self._images = images
        self._mailbox = mailbox
        self._recovers = recovers
        self._namespace = payloads.namespace
        self._payloads = payloads
        self._clock = clock
        self._owner_is_live = owner_is_live
        self._subscribe = subscribe

    def writes_to(self, events: Events) -> None:
        """Where what is written by name goes: the log, which is made of these reads."""
        self._events = events

    # --- reading -----------------------------------------------------------------------------------

    def located(self, run_id: str, connection: Reads | None = None) -> tuple[int, Run]:
        """The run's number in this database, and the run.  Raises WorkflowRunNotFoundError."""
        if not is_run_id(run_id):
            raise WorkflowRunNotFoundError(run_id)
        row = (connection or self._read).one(sql.RUN_BY_ID, run_id=run_id, namespace=self._namespace)
        if row is None:
            raise WorkflowRunNotFoundError(run_id)
        run = rows.run_from(row)
        if run.ended:  # perhaps by another process, behind its owner's back
            self._images.forget(run_id)
        return row[0], run

    async def get(self, run_id: str, *, resolve_data: Resolve = "all") -> Run:
        run_no, run = self.located(run_id)
        run = await self.resolved(run_no, run, resolve_data)
        if resolve_data == "all":
            self.check_kept(run_id, run_no)
        return run

    def read(self, run_id: str, connection: Connection) -> Run:
        """The run with all that belongs to it, inside of a transaction."""
        run_no, run = self.located(run_id, connection)
        self._add_small(connection, run_no, run)
        return _filled(run, _ends(connection, run_no, run), self._payloads.reading(connection))

    def check_kept(
        self, run_id: str, run_no: int, refusal: Callable[[str, str, datetime], WorldError] = RunExpiredError.purged
    ) -> None:
        """Raises ``refusal`` when the run has begun to lose its payloads.

        To be asked when its rows have been read, not before: somebody may empty them in between, and the mark is
        committed with the first that is emptied.
        """
        expired_at = self._expired_at(self._read, run_no)
        if expired_at is not None:
            raise refusal(run_id, self.located(run_id)[1].status, expired_at)

    def _expired_at(self, connection: Reads, run_no: int) -> datetime | None:
        row = connection.one(sql.EXPIRED_AT, run_no=run_no)
        return None if row is None else rows.moment(row[0])

    async def locate(self, run_id: str) -> Run:
        return self.located(run_id)[1]

    async def get_many(self, run_ids: Sequence[str], *, resolve_data: Resolve = "none") -> list[Run | None]:
        ids = [run_id for run_id in run_ids if is_run_id(run_id)]
        rows_by_id = {
            row[1]: row for row in self._read.all(sql.RUNS_BY_ID, namespace=self._namespace, run_ids=json.dumps(ids))
        }
        found = [rows_by_id.get(run_id) for run_id in run_ids]
        return [None if row is None else await self.resolved(row[0], rows.run_from(row), resolve_data) for row in found]

    async def find(self, workflow_name: str, idempotency_key: str) -> Run | None:
        row = self._read.one(
            sql.RUN_BY_KEY,
            namespace=self._namespace,
            workflow_name=workflow_name,
            idempotency_key=idempotency_key,
        )
        return None if row is None else await self.resolved(row[0], rows.run_from(row), "none")

    async def list(
        self, where: RunFilter | None = None, *, page: PageRequest | None = None, resolve_data: Resolve = "none"
    ) -> Page[Run]:
        request, where = page or PageRequest(), where or RunFilter()
        ascending = request.sort_order == "asc"
        listing = "runs asc" if ascending else "runs"
        if len(where.attributes or ()) > _MOST_SOUGHT:
            raise WorldError(f"runs are found by at most {_MOST_SOUGHT} attributes at a time; ask for fewer")
        statuses = _checked(where)
        created, number = decode_cursor(request.cursor, listing, (-FAR, -FAR) if ascending else (FAR, FAR))
        limit = limit_of(request)
        found = self._read.all(
            _listing(where, ascending=ascending),
            now=to_microseconds(self._clock.now()),
            namespace=self._namespace,
            workflow_name=where.workflow_name,
            statuses=None if statuses is None else json.dumps(statuses),
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
            run = await self.resolved(row[0], rows.run_from(row), resolve_data)
            run.detail = row[-1]
            runs.append(run)
        return Page(runs, listed.cursor, listed.has_more)

    async def wait_for_terminal(self, run_id: str, *, timeout: timedelta) -> Run:
        news = asyncio.Event()
        end = self._subscribe(lambda told, _: news.set() if told in (run_id, "") else None)
        deadline = self._clock.now() + timeout
        timer = self._clock.call_at(deadline, news.set)
        try:
            while not (run := self.located(run_id)[1]).ended and self._clock.now() < deadline:
                await news.wait()  # a hint: what is true stands in the row
                news.clear()
        finally:
            timer.cancel()
            end()
        run_no, run = self.located(run_id)
        return await self.resolved(run_no, run, "all")

    async def resolved(self, run_no: int, run: Run, resolve_data: Resolve) -> Run:
        """The run with attributes, detail and, if they are asked for, payloads; none of one that has expired."""
        found = [] if resolve_data == "none" else _ends(self._read, run_no, run)
        self._add_small(self._read, run_no, run)  # last, so that it knows why a payload was not there
        if not found:
            return run
        return _filled(run, found, await self._payloads.read_ahead(run.run_id, found))

    def _add_small(self, connection: Reads, run_no: int, run: Run) -> None:
        """Attributes, detail, and whether it has expired."""
        run.attributes = dict(connection.all(sql.ATTRIBUTES_OF_RUN, run_no=run_no))
        if run.ended:
            run.expired_at = self._expired_at(connection, run_no)
        elif run.paused_at is not None:
            run.detail = "paused"
        elif run.owner is not None or run.last_slot > run.seen_slot:
            run.detail = None  # as RUN_DETAIL would say, of which these are the first cases
        else:
            found = connection.one(sql.RUN_DETAIL, no=run_no, now=to_microseconds(self._clock.now()))
            run.detail = found[0] if found is not None else None

    # --- owning ------------------------------------------------------------------------------------

    async def claim(self, run_id: str, *, owner: str) -> Run:
        if not owner:
            raise WorldError("a run is claimed by somebody; give owner=, such as world.owner")

        def work(connection: Connection) -> Run:
            run_no, run = self.located(run_id, connection)
            if run.ended:
                raise RunExpiredError(run_id, run.status, "claim")
            if run.paused_at is not None:
                raise RunPausedError(run_id, "claim")
            if run.owner is not None:
                if self._owner_is_live(connection, run.owner):
                    raise EntityConflictError(f"run {run_id} is being worked on by {run.owner}")
                self._take_over(connection, run.owner)
                run_no, run = self.located(run_id, connection)
            return run if run.ended else self._take(connection, run_no, run, owner)

        run = await self._writer.submit(work)
        if run.ended:  # just now: it has lost too many processes
            raise RunExpiredError(run_id, run.status, "claim")
        return run

    async def claim_due(self, *, owner: str, workflow_names: Sequence[str], limit: int) -> Sequence[Run]:
        if limit < 0:  # which to SQL is no limit at all
            raise WorldError(f"{limit} runs cannot be claimed; give a limit from 0")

        def work(connection: Connection) -> list[Run]:
            if self._recovers:
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
            if run.ended:
                self._images.forget(run_id)
            else:
                run.owner, run.wake_at, run.seen_slot = None, wake_at, seen_slot
                self._save(connection, run_no, run)
                self._images.park(run)
                due = wake_at is not None and wake_at <= self._clock.now()
                connection.notices.append((run_id, [RUN_DUE if due else RUN_PARKED]))
                self._mailbox.forgive(connection, run_no)
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
            self._mailbox.run_deleted(connection, run_id, run_no)
            for statement in (
                sql.EVENTS_DELETE, sql.STEPS_DELETE, sql.HOOKS_DELETE, sql.WAITS_DELETE, sql.SIGNALS_DELETE,
                sql.ATTRIBUTES_CLEAR, sql.CHUNKS_DELETE, sql.STREAMS_DELETE, sql.EXPIRED_DELETE, sql.RUNS_DELETE,
            ):  # fmt: skip
                connection.run(statement, run_no=run_no)

        await self._writer.submit(work)

    async def wake(self, run_id: str) -> bool:
        def work(connection: Connection) -> bool:
            now = to_microseconds(self._clock.now())
            woken = connection.run(sql.RUN_WAKE, id=run_id, namespace=self._namespace, now=now) > 0
            if woken:
                connection.notices.append((run_id, [RUN_DUE]))
            return woken

        return await self._writer.submit(work)

    def _take(self, connection: Connection, run_no: int, run: Run, owner: str) -> Run:
        claimed = replace(run, owner=owner, epoch=run.epoch + 1, wake_at=None)
        self._save(connection, run_no, claimed)
        return claimed

    def _save(self, connection: Connection, run_no: int, run: Run) -> None:
        values: dict[str, Any] = rows.run_values(run, self._namespace)
        connection.run(sql.RUN_UPDATE, no=run_no, **values)

    def _free_the_dead(self, connection: Connection) -> None:
        for (owner,) in connection.all(sql.OWNERS, namespace=self._namespace):
            if not self._owner_is_live(connection, owner):
                self._take_over(connection, owner)

    def _take_over(self, connection: Connection, gone: str) -> None:
        """Runs of a process that is gone become due now; one that has lost too many processes is given up.

        Those of another namespace are left to its own workers, who count what they have lost.
        """
        hopeless = self._mailbox.count_crashes(connection, gone)
        now = to_microseconds(self._clock.now())
        connection.run(sql.RUNS_TAKE_OVER, owner=None, now=now, gone=gone, namespace=self._namespace)
        connection.run(sql.OWNER_DELETE, owner=gone)
        for run_id, workflow_name, times in hopeless:
            self._mailbox.give_up(connection, run_id, workflow_name, times)


def _checked(where: RunFilter) -> list[str] | None:
    """The statuses that are asked for.  Raises WorldError (400) for what no run can ever be."""
    statuses = [where.statuses] if isinstance(where.statuses, str) else where.statuses
    for status in statuses or ():
        one_of("statuses", status, get_args(RunStatus))
    if where.detail is not None:
        one_of("detail", where.detail, get_args(Detail))
    for name, moment in (("since", where.since), ("until", where.until)):
        if moment is not None:
            aware(name, moment)
    return None if statuses is None else [*statuses]


def _ends(connection: Reads, run_no: int, run: Run) -> list[Row]:
    """The events that hold the payloads of a run: its first and its last."""
    found = [connection.one(sql.EVENT_AT, run_no=run_no, slot=slot) for slot in (1, run.ended_slot) if slot is not None]
    return [row for row in found if row is not None]


def _filled(run: Run, found: Sequence[Row], reading: Reading) -> Run:
    for row in found:
        match event_from(run.run_id, row, reading).event:
            case e.RunCreated(input=input_data, execution_context=context):
                run.input, run.execution_context = input_data, context
            case e.RunCompleted(output=output):
                run.output = output
            case e.RunFailed(error=error):
                run.error = error
            case _:
                pass
    return run


def _listing(where: RunFilter, *, ascending: bool) -> Statement:
    if ascending:
        return sql.RUNS_LIST_ASC
    return sql.RUNS_LIST_PAUSED if where.detail == "paused" else sql.RUNS_LIST
