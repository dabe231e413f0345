"""Runs as they are read: found by id or key, listed, and with what belongs to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import get_args

from wrkflw.clock import Clock, later, to_microseconds
from wrkflw.world import events as e
from wrkflw.world.entities import Detail, Run, RunStatus
from wrkflw.world.errors import RunExpiredError, WorkflowRunNotFoundError, WorldError
from wrkflw.world.live import Subscribe
from wrkflw.world.storage import Page, PageRequest, Resolve, RunFilter

from . import compiled as sql
from . import rows
from .arguments import aware, one_of
from .database import Connection, Reads, Row
from .identifiers import is_run_id
from .images import Images
from .log import event_from
from .pages import FAR, decode_cursor, encode_cursor, limit_of, page_of
from .payloads import LargePayloads
from .sealing import Reading
from .statement import Statement

_MOST_SOUGHT = 8
"""Attributes that one listing can ask for."""
_FEW = 1000
"""Runs with an attribute that are looked through and put in order sooner than a page of them is found among all."""


class RunReads:
    def __init__(
        self, read: Reads, images: Images, payloads: LargePayloads, clock: Clock, subscribe: Subscribe
    ) -> None:
        self._read = read
        self._images = images
        self._namespace = payloads.namespace
        self._payloads = payloads
        self._clock = clock
        self._subscribe = subscribe

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
        few = self._few_with(where.attributes)
        found = self._read.all(
            _listing(where, ascending=ascending, among=few is not None),
            run_nos=None if few is None else json.dumps(few),
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

    def _few_with(self, attributes: Mapping[str, str] | None) -> Sequence[int] | None:
        """The numbers of the runs that have one of the attributes; None when many have each of them."""
        for key, value in (attributes or {}).items():
            about = {"namespace": self._namespace, "key": key, "value": value}
            found = self._read.all(sql.RUNS_WITH, **about, row_limit=_FEW + 1)
            if len(found) <= _FEW:
                return [row[0] for row in found]
        return None

    async def wait_for_terminal(self, run_id: str, *, timeout: timedelta) -> Run:
        news = asyncio.Event()
        end = self._subscribe(lambda told, _: news.set() if told in (run_id, "") else None)
        deadline = later(self._clock.now(), timeout)
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


def _listing(where: RunFilter, *, ascending: bool, among: bool) -> Statement:
    if among:
        return sql.RUNS_AMONG_ASC if ascending else sql.RUNS_AMONG
    if ascending:
        return sql.RUNS_LIST_ASC
    return sql.RUNS_LIST_PAUSED if where.detail == "paused" else sql.RUNS_LIST
