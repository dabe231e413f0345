"""Storage over SQL: every write through the writer, every read whole and at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from wrkflw.clock import Clock
from wrkflw.ids import Randomness, new_ulid
from wrkflw.world import events as e
from wrkflw.world.entities import Hook, Step
from wrkflw.world.errors import HookNotFoundError, KeyTakenError, WorldError
from wrkflw.world.storage import (
    BatchResult,
    Claim,
    EventResult,
    Fence,
    OnConflict,
    Page,
    PageRequest,
    Resolve,
    RunFence,
)
from wrkflw.worlds.writer import Writer

from . import compiled as sql
from . import rows
from .admission import Admission
from .append import Appender
from .database import Connection, Reads, Row, WordedReads
from .identifiers import check_new_run_id, slot_of
from .images import Images
from .log import event_from, log_from
from .pages import FAR, decode_cursor, encode_cursor, limit_of, page_of
from .request import Append, Appended
from .runs import RunReads
from .streamer import SqlStreamer

# What a batch may hold: any, one of the owner's, and one with a claim behind ``run_created`` and ``run_started``.
_BATCHABLE = frozenset({
    "run_completed", "run_failed", "step_created", "step_started", "step_completed", "step_failed", "step_retrying",
    "wait_created", "wait_completed",
})  # fmt: skip
_BY_THE_OWNER = _BATCHABLE | {"hook_created", "hook_disposed"}
_AT_BIRTH = _BY_THE_OWNER | {"signal_received"}
_FROM_OUTSIDE = frozenset({"hook_received", "signal_received", "wait_completed", "run_resumed"})


class SqlStorage:
    """``write`` is the writer of the process, ``read`` a connection to read from; both see what was committed."""

    def __init__(
        self,
        *,
        writer: Writer,
        read: Connection,
        namespace: str,
        clock: Clock,
        randomness: Randomness,
        owner_is_live: Callable[[Connection, str], bool],
        max_events: int,
    ) -> None:
        images, reads = Images(namespace), WordedReads(read)
        writer.on_rollback = images.forget_all
        admission = Admission(namespace, owner_is_live)
        appender = Appender(images, admission, namespace, clock, max_events)
        self._writer = writer
        self.runs = RunReads(writer, reads, images, namespace, clock, owner_is_live)
        self.events = SqlEvents(writer, reads, self.runs, appender, clock, randomness)
        self.steps = SqlSteps(reads, self.runs)
        self.hooks = SqlHooks(reads, self.runs, namespace)
        self.streamer = SqlStreamer(writer, reads, self.runs, admission, clock)

    async def settled(self) -> None:
        await self._writer.submit(_nothing)


def _nothing(_connection: Connection) -> None:
    """Writers work in order: when this is done, so is what came before."""


class SqlEvents:
    def __init__(
        self, writer: Writer, read: Reads, runs: RunReads, append: Appender, clock: Clock, randomness: Randomness
    ) -> None:
        self._writer = writer
        self._read = read
        self._runs = runs
        self._append = append
        self._clock = clock
        self._randomness = randomness

    async def create(
        self,
        run_id: str | None,
        event: e.NewEvent,
        *,
        fence: Fence | None = None,
        claim: Claim | None = None,
        expect_slot: int | None = None,
        resume_id: str | None = None,
        wake_at: datetime | None = None,
        on_conflict: OnConflict = "fail",
    ) -> EventResult:
        if run_id is None:
            if not isinstance(event, e.RunCreated):
                raise WorldError(f"{event.event_type!r} needs a run id; only 'run_created' may leave it to the World")
            run_id = f"wrun_{new_ulid(self._clock.now(), self._randomness)}"
        elif isinstance(event, e.RunCreated):
            check_new_run_id(run_id, self._clock.now())
        if claim is not None and (fence is not None or event.event_type not in _FROM_OUTSIDE):
            raise WorldError(f"who writes {event.event_type!r} cannot claim the run by it; use runs.claim()")
        request = Append(run_id, [event], fence, claim, expect_slot, resume_id, wake_at)

        def work(connection: Connection) -> EventResult:
            try:
                return _result(connection, self._append(connection, request), request)
            except KeyTakenError as taken:
                existing = self._runs.read(taken.run_id, "all", connection)
                if on_conflict == "fail" or not isinstance(event, e.RunCreated) or existing.input != event.input:
                    raise
                return EventResult(existing)

        return await self._writer.submit(work)

    async def create_batch(
        self,
        run_id: str,
        events: Sequence[e.NewEvent],
        *,
        fence: RunFence | None = None,
        claim: Claim | None = None,
        expect_slot: int | None = None,
    ) -> BatchResult:
        _check_batch(events, fence=fence, claim=claim)
        if claim is not None:
            check_new_run_id(run_id, self._clock.now())
        request = Append(run_id, events, fence, claim, expect_slot, atomic=claim is not None)
        appended = await self._writer.submit(lambda connection: self._append(connection, request))
        run = appended.image.run
        assert run is not None
        return BatchResult(run.epoch, run.last_slot, appended.outcomes, appended.at, appended.refused)

    async def get(self, run_id: str, event_id: str, *, resolve_data: Resolve = "all") -> e.StoredEvent:
        run_no, _ = self._runs.located(run_id)
        slot = slot_of(event_id)
        row = None if slot is None else self._read.one(sql.EVENT_AT, run_no=run_no, slot=slot)
        if row is None:
            raise WorldError(f"run {run_id} has no event {event_id!r}", status=404)
        return event_from(run_id, row, payloads=resolve_data == "all")

    async def list(
        self, run_id: str, *, after_slot: int = 0, page: PageRequest | None = None, resolve_data: Resolve = "all"
    ) -> Page[e.StoredEvent]:
        run_no, _ = self._runs.located(run_id)
        request = page or PageRequest(limit=FAR)
        descending = request.sort_order == "desc"
        listing = f"events {'desc ' if descending else ''}of {run_no}"
        (edge,) = decode_cursor(request.cursor, listing, (FAR if descending else 0,))
        limit = request.limit if page is None else limit_of(request)
        if descending:
            found = self._read.all(sql.EVENTS_BEFORE, run_no=run_no, after=after_slot, before=edge, row_limit=limit + 1)
        else:
            after = max(edge, after_slot)
            found = self._read.all(sql.EVENTS_AFTER, run_no=run_no, after=after, row_limit=limit + 1)
        log = log_from(run_id, run_no, found, self._read, payloads=resolve_data == "all")
        return page_of(log, limit, request.cursor, lambda event: encode_cursor(listing, event.slot))

    async def list_by_correlation_id(
        self, run_id: str, correlation_id: str, *, page: PageRequest | None = None, resolve_data: Resolve = "all"
    ) -> Page[e.StoredEvent]:
        run_no, _ = self._runs.located(run_id)
        request = page or PageRequest()
        descending = request.sort_order == "desc"
        listing = f"events {'desc ' if descending else ''}about {correlation_id} of {run_no}"
        (edge,) = decode_cursor(request.cursor, listing, (FAR if descending else 0,))
        limit = limit_of(request)
        about = {"run_no": run_no, "correlation_id": correlation_id, "row_limit": limit + 1}
        if descending:
            found = self._read.all(sql.EVENTS_ABOUT_BEFORE, before=edge, **about)
        else:
            found = self._read.all(sql.EVENTS_ABOUT, after=edge, **about)
        log = [event_from(run_id, row, payloads=resolve_data == "all") for row in found]
        return page_of(log, limit, request.cursor, lambda event: encode_cursor(listing, event.slot))


class SqlSteps:
    """Steps point into the log; times and payloads are read from there."""

    def __init__(self, read: Reads, runs: RunReads) -> None:
        self._read = read
        self._runs = runs

    async def get(self, run_id: str, step_id: str, *, resolve_data: Resolve = "all") -> Step:
        run_no, _ = self._runs.located(run_id)
        row = self._read.one(sql.STEP_BY_ID, run_no=run_no, step_id=step_id)
        if row is None:
            raise WorldError(f"run {run_id} has no step {step_id!r}", status=404)
        return _resolved(self._read, run_no, rows.step_from(run_id, row), resolve_data)

    async def list(self, run_id: str, *, page: PageRequest | None = None, resolve_data: Resolve = "none") -> Page[Step]:
        run_no, _ = self._runs.located(run_id)
        request = page or PageRequest()
        ascending = request.sort_order == "asc"
        listing = f"steps {'asc ' if ascending else ''}of {run_no}"
        (edge,) = decode_cursor(request.cursor, listing, (0 if ascending else FAR,))
        limit = limit_of(request)
        if ascending:
            found = self._read.all(sql.STEPS_AFTER, run_no=run_no, after=edge, row_limit=limit + 1)
        else:
            found = self._read.all(sql.STEPS_BEFORE, run_no=run_no, before=edge, row_limit=limit + 1)
        steps = [rows.step_from(run_id, row) for row in found]
        listed = page_of(steps, limit, request.cursor, lambda step: encode_cursor(listing, step.created_slot))
        return Page(
            [_resolved(self._read, run_no, step, resolve_data) for step in listed.data], listed.cursor, listed.has_more
        )


class SqlHooks:
    def __init__(self, read: Reads, runs: RunReads, namespace: str) -> None:
        self._read = read
        self._runs = runs
        self._namespace = namespace

    async def get(self, hook_id: str, *, run_id: str) -> Hook:
        run_no, _ = self._runs.located(run_id)
        row = self._read.one(sql.HOOK_BY_ID, run_no=run_no, hook_id=hook_id)
        if row is None:
            raise HookNotFoundError
        return self._resolved(run_id, row)

    async def get_by_token(self, token: str) -> Hook:
        row = self._read.one(sql.HOOK_BY_TOKEN, namespace=self._namespace, token=token)
        if row is None:
            raise HookNotFoundError
        return self._resolved(row[-1], row)

    async def list(self, run_id: str) -> Sequence[Hook]:
        run_no, _ = self._runs.located(run_id)
        return [self._resolved(run_id, row) for row in self._read.all(sql.HOOKS_OF_RUN, run_no=run_no)]

    def _resolved(self, run_id: str, row: Row) -> Hook:
        hook = rows.hook_from(run_id, row)
        found = self._read.one(sql.EVENT_AT, run_no=row[0], slot=hook.created_slot)
        if found is not None:
            created = event_from(run_id, found, payloads=True)
            hook.created_at = created.created_at
            hook.metadata = created.event.metadata if isinstance(created.event, e.HookCreated) else None
        return hook


def _check_batch(events: Sequence[e.NewEvent], *, fence: RunFence | None, claim: Claim | None) -> None:
    rest, allowed = events, _BATCHABLE if fence is None else _BY_THE_OWNER
    if claim is not None:
        if fence is not None:
            raise WorldError("a batch has a fence or a claim; give one of them")
        if not events or not isinstance(events[0], e.RunCreated):
            raise WorldError(
                "a batch with a claim begins with 'run_created'; claim a run that exists with runs.claim()"
            )
        rest = events[2:] if len(events) > 1 and isinstance(events[1], e.RunStarted) else events[1:]
        allowed = _AT_BIRTH
    for event in rest:
        if event.event_type not in allowed:
            raise WorldError(f"{event.event_type!r} cannot be part of a batch; append it with create()")


def _result(connection: Connection, appended: Appended, request: Append) -> EventResult:
    """Copies: what is kept of the run goes on changing."""
    image, event = appended.image, request.events[0]
    assert image.run is not None
    about = getattr(event, "correlation_id", None) or ""
    stored = appended.again
    if stored is None and appended.last is not None:
        slot, last = appended.last
        stored = e.StoredEvent(run_id=image.run_id, slot=slot, event=last, epoch=request.epoch, created_at=appended.at)
    step, hook, wait = appended.step, image.hooks.get(about), image.waits.get(about)
    attributes: dict[str, str] = dict(connection.all(sql.ATTRIBUTES_OF_RUN, run_no=appended.run_no))
    return EventResult(
        replace(image.run, attributes=attributes),
        stored,
        None if step is None else _resolved(connection, appended.run_no, replace(step), "all"),
        None if hook is None else replace(hook),
        None if wait is None else replace(wait),
        appended.step_created,
        appended.claimed,
    )


def _resolved(connection: Reads, run_no: int, step: Step, resolve_data: Resolve) -> Step:
    """The step with its times and payloads, from the log."""

    def event_at(slot: int | None) -> e.StoredEvent | None:
        row = None if slot is None else connection.one(sql.EVENT_AT, run_no=run_no, slot=slot)
        return None if row is None else event_from(step.run_id, row, payloads=resolve_data == "all")

    created, started = event_at(step.created_slot), event_at(step.started_slot)
    ended, updated, error = event_at(step.ended_slot), event_at(step.updated_slot), event_at(step.error_slot)
    step.created_at = created.created_at if created is not None else None
    step.started_at = started.created_at if started is not None else None
    step.completed_at = ended.created_at if ended is not None else None
    step.updated_at = updated.created_at if updated is not None else None
    step.input = created.event.input if created is not None and isinstance(created.event, e.StepCreated) else None
    step.output = ended.event.result if ended is not None and isinstance(ended.event, e.StepCompleted) else None
    if error is not None and isinstance(error.event, e.StepFailed | e.StepRetrying):
        step.error = error.event.error
    return step
