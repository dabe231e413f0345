"""Hooks over SQL: those that are live, and those that keep their token past the end of their run."""

from __future__ import annotations

from wrkflw.clock import Clock, to_microseconds
from wrkflw.world import events as e
from wrkflw.world.entities import Hook
from wrkflw.world.errors import HookNotFoundError, WorldError
from wrkflw.world.storage import Events, Page, PageRequest, Resolve
from wrkflw.world.writers import HookWriters

from . import compiled as sql
from . import rows
from .database import Reads, Row
from .log import event_from
from .pages import FAR, decode_cursor, encode_cursor, limit_of, page_of
from .payloads import LargePayloads
from .run_reads import RunReads

_ENDED, _RUN_ID, _CREATED_AT = 11, 12, 13
"""Columns behind those of the hook: of its run, and when it was created."""


class SqlHooks(HookWriters):
    def __init__(self, read: Reads, runs: RunReads, payloads: LargePayloads, clock: Clock, events: Events) -> None:
        self._read = read
        self._runs = runs
        self._payloads = payloads
        self._namespace = payloads.namespace
        self._clock = clock
        self._events = events

    async def get(self, hook_id: str, *, run_id: str | None = None, resolve_data: Resolve = "all") -> Hook:
        if run_id is not None:
            run_no, run = self._runs.located(run_id)
            row = self._read.one(sql.HOOK_BY_ID, run_no=run_no, hook_id=hook_id)
            return await self._read_out(row and (*row, run.ended_slot, run_id), resolve_data)
        found = self._read.all(sql.HOOKS_BY_ID, namespace=self._namespace, hook_id=hook_id, now=self._now())
        if len(found) > 1:
            raise WorldError(f"several runs have a hook {hook_id[:140]!r}; say which with run_id=")
        return await self._read_out(found[0] if found else None, resolve_data)

    async def get_by_token(self, token: str, *, resolve_data: Resolve = "all") -> Hook:
        row = self._read.one(sql.HOOK_BY_TOKEN, namespace=self._namespace, token=token)
        return await self._read_out(row, resolve_data)

    async def list(
        self, run_id: str | None = None, *, page: PageRequest | None = None, resolve_data: Resolve = "none"
    ) -> Page[Hook]:
        request = page or PageRequest()
        descending = request.sort_order == "desc"
        of_run = {} if run_id is None else {"run_no": self._runs.located(run_id)[0]}
        listing = f"hooks {'desc ' if descending else ''}of {of_run.get('run_no', 'all')}"
        created, number, slot = decode_cursor(request.cursor, listing, ((FAR if descending else -FAR),) * 3)
        limit = limit_of(request)
        found = self._read.all(
            _LISTS[run_id is not None, descending],
            namespace=self._namespace,
            now=self._now(),
            edge_created=created,
            edge_no=number,
            edge_slot=slot,
            row_limit=limit + 1,
            **of_run,
        )

        def cursor_of(row: Row) -> str:
            return encode_cursor(listing, row[_CREATED_AT], row[0], row[5])

        listed = page_of(found, limit, request.cursor, cursor_of)
        hooks = [await self._resolved(row, resolve_data) for row in listed.data]
        return Page(hooks, listed.cursor, listed.has_more)

    async def _read_out(self, row: Row | None, resolve_data: Resolve) -> Hook:
        """Raises HookNotFoundError for one that is neither live nor keeps its token."""
        if row is None:
            raise HookNotFoundError
        hook = rows.hook_from(row[_RUN_ID], row)
        if hook.released_slot is not None or (row[_ENDED] is not None and not hook.outlasts(self._clock.now())):
            raise HookNotFoundError
        hook = await self._resolved(row, resolve_data)
        if resolve_data == "all":
            self._runs.check_kept(hook.run_id, row[0])
        return hook

    async def _resolved(self, row: Row, resolve_data: Resolve) -> Hook:
        hook = rows.hook_from(row[_RUN_ID], row, row[_ENDED])
        found = self._read.one(sql.EVENT_AT, run_no=row[0], slot=hook.created_slot)
        if found is not None:
            all_of_it = resolve_data == "all"
            reading = await self._payloads.read_ahead(hook.run_id, [found]) if all_of_it else self._payloads.without
            add_created(hook, event_from(hook.run_id, found, reading))
        return hook

    def _now(self) -> int:
        return to_microseconds(self._clock.now())


_LISTS = {
    (False, False): sql.HOOKS_LIVE,
    (False, True): sql.HOOKS_LIVE_DESC,
    (True, False): sql.HOOKS_LIVE_OF_RUN,
    (True, True): sql.HOOKS_LIVE_OF_RUN_DESC,
}
"""By whether they are of one run, and newest first."""


def add_created(hook: Hook, created: e.StoredEvent) -> None:
    """What only the event says by which it was created."""
    hook.created_at = created.created_at
    if isinstance(created.event, e.HookCreated):
        hook.metadata = created.event.metadata
        hook.owner_id, hook.project_id = created.event.owner_id, created.event.project_id
        hook.environment = created.event.environment
