"""Storage over SQL: every write through the writer, every read whole and at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from wrkflw.clock import Clock
from wrkflw.ids import Randomness, new_ulid
from wrkflw.world import events as e
from wrkflw.world.entities import Hook, Run, Step
from wrkflw.world.errors import HookNotFoundError, KeyTakenError, WorldError
from wrkflw.world.storage import (
    CREATES,
    BatchResult,
    Claim,
    EventResult,
    Fence,
    Page,
    PageRequest,
    Resolve,
    RunFence,
    RunFilter,
)

from ..writer import Writer
from . import compiled as sql
from . import rows
from .append import Append, Appended, Appender
from .database import Connection
from .images import Images
from .pages import MOST, decode_cursor, encode_cursor, page_of
from .runs import RunReads

_FAR = 2**62
# Refused in a batch: they answer their writer with more than a slot, or must not be judged in passing.
_NEVER_IN_A_BATCH = frozenset({
    "run_created", "run_started", "run_cancelled", "run_paused", "run_resumed",
    "hook_created", "hook_disposed", "hook_received", "signal_received", "attr_set",
})  # fmt: skip


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
        images = Images(namespace)
        writer.on_rollback = images.forget_all
        appender = Appender(images, namespace, clock, owner_is_live, max_events)
        self.runs = RunReads(writer, read, images, namespace, clock, owner_is_live)
        self.events = SqlEvents(writer, read, self.runs, appender, clock, randomness)
        self.steps = SqlSteps(read, self.runs, self.events)
        self.hooks = SqlHooks(read, self.runs, namespace)


class SqlEvents:
    def __init__(
        self, writer: Writer, read: Connection, runs: RunReads, append: Appender, clock: Clock, randomness: Randomness
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
        expect_slot: int | None = None,
        resume_id: str | None = None,
        wake_at: datetime | None = None,
        on_conflict: CREATES = "fail",
    ) -> EventResult:
        if run_id is None:
            if not isinstance(event, e.RunCreated):
                raise WorldError(f"{event.event_type!r} needs a run id; only 'run_created' may leave it to the World")
            run_id = f"wrun_{new_ulid(self._clock.now(), self._randomness)}"
        request = Append(run_id, [event], fence, None, expect_slot, resume_id, wake_at)

        def work(connection: Connection) -> EventResult:
            try:
                return _result(self._append(connection, request), event)
            except KeyTakenError as taken:
                if on_conflict == "fail":
                    raise
                return EventResult(self._runs.located(taken.run_id, connection)[1])

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
        for event in events[2:] if claim is not None else events:
            if event.event_type in _NEVER_IN_A_BATCH:
                raise WorldError(f"{event.event_type!r} cannot be part of a batch; append it with create()")
        request = Append(run_id, events, fence, claim, expect_slot, atomic=claim is not None)
        appended = await self._writer.submit(lambda connection: self._append(connection, request))
        run = appended.image.run
        assert run is not None
        return BatchResult(run.epoch, run.last_slot, appended.items)

    async def get(self, run_id: str, event_id: str, *, resolve_data: Resolve = "all") -> e.StoredEvent:
        run_no, _ = self._runs.located(run_id)
        digits = event_id.removeprefix("evnt_")
        row = self._read.one(sql.EVENT_AT, run_no=run_no, slot=int(digits)) if digits.isdigit() else None
        if row is None:
            raise WorldError(f"run {run_id} has no event {event_id!r}", status=404)
        return rows.event_from(run_id, row, payloads=resolve_data == "all")

    async def list(
        self, run_id: str, *, page: PageRequest | None = None, resolve_data: Resolve = "all"
    ) -> Page[e.StoredEvent]:
        run_no, _ = self._runs.located(run_id)
        request = page or PageRequest(limit=_FAR)
        descending = request.sort_order == "desc"
        (edge,) = decode_cursor(request.cursor, "events", (_FAR if descending else 0,))
        limit = request.limit if page is None else min(request.limit, MOST)
        if descending:
            found = self._read.all(sql.EVENTS_BEFORE, run_no=run_no, before=edge, row_limit=limit + 1)
        else:
            found = self._read.all(sql.EVENTS_AFTER, run_no=run_no, after=edge, row_limit=limit + 1)
        log = [rows.event_from(run_id, row, payloads=resolve_data == "all") for row in found]
        return page_of(log, limit, request.cursor, lambda event: encode_cursor("events", event.slot))

    async def list_by_correlation_id(
        self, run_id: str, correlation_id: str, *, page: PageRequest | None = None, resolve_data: Resolve = "all"
    ) -> Page[e.StoredEvent]:
        run_no, _ = self._runs.located(run_id)
        request = page or PageRequest()
        (edge,) = decode_cursor(request.cursor, "events", (0,))
        limit = min(request.limit, MOST)
        found = self._read.all(
            sql.EVENTS_ABOUT, run_no=run_no, after=edge, correlation_id=correlation_id, row_limit=limit + 1
        )
        log = [rows.event_from(run_id, row, payloads=resolve_data == "all") for row in found]
        return page_of(log, limit, request.cursor, lambda event: encode_cursor("events", event.slot))


class SqlSteps:
    """Steps point into the log; times and payloads are read from there."""

    def __init__(self, read: Connection, runs: RunReads, events: SqlEvents) -> None:
        self._read = read
        self._runs = runs

    async def get(self, run_id: str, step_id: str, *, resolve_data: Resolve = "all") -> Step:
        run_no, _ = self._runs.located(run_id)
        row = self._read.one(sql.STEP_BY_ID, run_no=run_no, step_id=step_id)
        if row is None:
            raise WorldError(f"run {run_id} has no step {step_id!r}", status=404)
        return self._resolved(run_no, rows.step_from(run_id, row), resolve_data)

    async def list(
        self, run_id: str, *, page: PageRequest | None = None, resolve_data: Resolve = "none"
    ) -> Page[Step]:
        run_no, _ = self._runs.located(run_id)
        request = page or PageRequest()
        (edge,) = decode_cursor(request.cursor, "steps", (_FAR,))
        limit = min(request.limit, MOST)
        found = self._read.all(sql.STEPS_BEFORE, run_no=run_no, before=edge, row_limit=limit + 1)
        steps = [rows.step_from(run_id, row) for row in found]
        listed = page_of(steps, limit, request.cursor, lambda step: encode_cursor("steps", step.created_slot))
        return Page([self._resolved(run_no, step, resolve_data) for step in listed.data], listed.cursor, listed.has_more)

    def _resolved(self, run_no: int, step: Step, resolve_data: Resolve) -> Step:
        def event_at(slot: int | None) -> e.StoredEvent | None:
            row = None if slot is None else self._read.one(sql.EVENT_AT, run_no=run_no, slot=slot)
            return None if row is None else rows.event_from(step.run_id, row, payloads=resolve_data == "all")

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


class SqlHooks:
    def __init__(self, read: Connection, runs: RunReads, namespace: str) -> None:
        self._read = read
        self._runs = runs
        self._namespace = namespace

    async def get(self, hook_id: str, *, run_id: str) -> Hook:
        run_no, _ = self._runs.located(run_id)
        row = self._read.one(sql.HOOK_BY_ID, run_no=run_no, hook_id=hook_id)
        if row is None:
            raise HookNotFoundError
        return rows.hook_from(run_id, row)

    async def get_by_token(self, token: str) -> Hook:
        row = self._read.one(sql.HOOK_BY_TOKEN, namespace=self._namespace, token=token)
        if row is None:
            raise HookNotFoundError
        return rows.hook_from(row[-1], row)

    async def list(self, run_id: str) -> Sequence[Hook]:
        run_no, _ = self._runs.located(run_id)
        return [rows.hook_from(run_id, row) for row in self._read.all(sql.HOOKS_OF_RUN, run_no=run_no)]


def _result(appended: Appended, event: e.NewEvent) -> EventResult:
    image = appended.image
    assert image.run is not None
    about = getattr(event, "correlation_id", None) or ""
    last = None
    if appended.last is not None:
        slot, stored = appended.last
        last = e.StoredEvent(
            run_id=image.run_id, slot=slot, event=stored, epoch=image.run.epoch or None, created_at=appended.at
        )
    return EventResult(
        image.run,
        last,
        image.steps.get(about),
        image.hooks.get(about),
        image.waits.get(about),
        appended.step_created,
    )
