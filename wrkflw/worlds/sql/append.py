"""The write path: one transaction that judges events, appends them and changes the entities.

Everything here runs inside the transaction that the writer opened.  It first reads and judges, in memory, and writes
only when nothing can be refused any more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from wrkflw.clock import Clock
from wrkflw.world import events as e
from wrkflw.world.entities import Run, Step
from wrkflw.world.errors import (
    EntityConflictError,
    EventLimitError,
    FencedError,
    KeyTakenError,
    PreconditionFailedError,
    WorkflowRunNotFoundError,
    WorldError,
)
from wrkflw.world.fold import Image, apply
from wrkflw.world.storage import BatchItem, Claim, Fence, RunFence, StepFence
from wrkflw.world.transitions import OWNER_ONLY, judge

from . import compiled as sql
from . import rows
from .attributes import check_attributes, check_changes
from .database import Connection
from .images import Images, Opened

MAX_RETENTION = timedelta(days=30)
_STEP_EVENTS = frozenset({"step_created", "step_started", "step_completed", "step_failed", "step_retrying"})


@dataclass(slots=True)
class Append:
    """What is to be appended to one run, and under which conditions."""

    run_id: str
    events: Sequence[e.NewEvent]
    fence: Fence | None = None
    claim: Claim | None = None
    expect_slot: int | None = None
    resume_id: str | None = None
    wake_at: datetime | None = None
    atomic: bool = True
    """Whether the first refusal refuses all."""


@dataclass(slots=True)
class Appended:
    image: Image
    at: datetime
    items: list[BatchItem] = field(default_factory=list[BatchItem])
    last: tuple[int, e.NewEvent] | None = None
    """Slot and form of the event that was asked for last; None when nothing was appended for it."""
    step_created: bool = False
    again: e.StoredEvent | None = None
    """The event as it was recorded by an earlier call that asked for the same."""
    run_no: int = 0
    step: Step | None = None


class Appender:
    """``owner_is_live`` tells whether the process of that name still works on what it claimed."""

    def __init__(
        self,
        images: Images,
        namespace: str,
        clock: Clock,
        owner_is_live: Callable[[Connection, str], bool],
        max_events: int,
    ) -> None:
        self._images = images
        self._namespace = namespace
        self._clock = clock
        self._owner_is_live = owner_is_live
        self._max_events = max_events

    def __call__(self, connection: Connection, request: Append) -> Appended:
        epoch = request.fence.epoch if isinstance(request.fence, RunFence) else None
        opened = self._images.open(connection, request.run_id, request.events, epoch, self._clock.now())
        run = opened.image.run
        opened.found_slot = run.last_slot if run is not None else 0
        if opened.kept and request.expect_slot not in (None, opened.found_slot):
            return self(connection, request)
        self._check_conditions(connection, request, opened)
        appended = Appended(opened.image, opened.now)
        if request.resume_id is not None:
            appended.again = self._received_before(connection, opened, request.resume_id, request.events[0])
            if appended.again is not None:
                return appended
        for event in request.events:
            try:
                self._take(connection, opened, event, request, epoch, appended)
            except WorldError as refusal:
                if opened.kept:
                    return self(connection, request)  # it may be the image that is out of date: judge again
                if request.atomic:
                    raise
                appended.items.append(BatchItem(refusal=refusal))
        run = opened.image.run
        assert run is not None
        if opened.rows:
            self._set_operational(run, request, opened)
            if not self._write(connection, opened, epoch):
                return self(connection, request)  # the image was out of date, and is forgotten
            connection.notices.append((request.run_id, opened.types))
        appended.run_no = opened.run_no
        if request.atomic and isinstance(request.events[-1], e.OfStep):
            appended.step = opened.image.steps.get(request.events[-1].correlation_id)
        if run.owner is not None and (epoch is not None or request.claim is not None):
            self._images.keep(opened)
        return appended

    # --- judging -----------------------------------------------------------------------------------

    def _check_conditions(self, connection: Connection, request: Append, opened: Opened) -> None:
        run = opened.image.run
        if run is None:
            if not any(isinstance(event, e.RunCreated | e.RunStarted) for event in request.events):
                raise WorkflowRunNotFoundError(request.run_id)
            return
        if request.expect_slot is not None and run.last_slot != request.expect_slot:
            raise PreconditionFailedError(run.run_id, request.expect_slot, run.last_slot)
        match request.fence:
            case RunFence(epoch):
                if epoch != run.epoch:
                    raise FencedError(run.run_id, f"epoch {epoch}", f"epoch {run.epoch}")
            case StepFence():
                self._check_step_fence(opened, request.fence, request.events)
            case None if run.owner is not None and any(event.event_type in OWNER_ONLY for event in request.events):
                if self._owner_is_live(connection, run.owner):
                    raise FencedError(run.run_id, "no claim", f"epoch {run.epoch}")
            case _:
                pass

    def _check_step_fence(self, opened: Opened, fence: StepFence, events: Sequence[e.NewEvent]) -> None:
        for event in events:
            about = event.step_id if isinstance(event, e.HookCreated) else getattr(event, "correlation_id", None)
            if about != fence.step_id:
                raise WorldError(f"who executes step {fence.step_id!r} may not record this {event.event_type!r}")
        step = opened.image.steps.get(fence.step_id)
        if step is not None and step.attempt != fence.attempt:
            raise FencedError(opened.image.run_id, f"attempt {fence.attempt}", f"attempt {step.attempt}")

    def _received_before(
        self, connection: Connection, opened: Opened, resume_id: str, event: e.NewEvent
    ) -> e.StoredEvent | None:
        if not isinstance(event, e.HookReceived | e.SignalReceived):
            raise WorldError(f"{event.event_type!r} takes no resume id; only what comes from outside does")
        row = connection.one(sql.EVENT_RESUMED, run_no=opened.run_no, resume_id=resume_id)
        if row is None:
            return None
        before = rows.event_from(opened.image.run_id, row, payloads=True)
        if event.model_dump(exclude={"token"}) != before.event.model_dump(exclude={"token"}):
            raise EntityConflictError(f"resume id {resume_id!r} of {opened.image.run_id} was used for something else")
        return before

    def _take(
        self,
        connection: Connection,
        opened: Opened,
        event: e.NewEvent,
        request: Append,
        epoch: int | None,
        appended: Appended,
    ) -> None:
        image = opened.image
        fenced = request.fence is not None or request.claim is not None
        if not judge(image, event, opened.now, fenced=fenced):
            appended.items.append(BatchItem())
            return
        if image.run is not None and image.run.last_slot >= self._max_events and not _always_fits(image, event):
            raise EventLimitError(image.run.run_id, self._max_events)
        if event.event_type not in _STEP_EVENTS:
            prepared = self._prepared(connection, opened, event, epoch)
            if isinstance(prepared, e.StoredEvent):
                appended.again = prepared
                appended.items.append(BatchItem(prepared.slot))
                return
            event = prepared
        elif isinstance(event, e.StepStarted) and event.step_name is not None:
            created = e.StepCreated(
                correlation_id=event.correlation_id,
                step_name=event.step_name,
                key=event.key or event.step_name,
                input=event.input,
                meta=event.meta,
            )
            self._append(opened, created, epoch, None)
            appended.step_created = True
            event = e.StepStarted(correlation_id=event.correlation_id, attempt=event.attempt, owner=event.owner)
        slot = self._append(opened, event, epoch, request.resume_id)
        appended.last = (slot, event)
        appended.items.append(BatchItem(slot))

    def _prepared(
        self, connection: Connection, opened: Opened, event: e.NewEvent, epoch: int | None
    ) -> e.NewEvent | e.StoredEvent:
        """The rarer events: checked further, and as they will be stored, or were when the same was asked for before."""
        match event:
            case e.RunCreated():
                self._check_creation(connection, event)
            case e.RunStarted(creation=e.RunCreated() as creation):
                if opened.image.run is None:
                    self._check_creation(connection, creation)
                    self._append(opened, creation, epoch, None)
                return e.RunStarted()
            case e.AttrSet():
                assert opened.image.run is not None
                check_changes(opened.image.run.attributes, event)
            case e.HookCreated():
                if event.token_retention_until is not None and event.token_retention_until > opened.now + MAX_RETENTION:
                    raise WorldError("a token can be kept for at most 30 days; shorten token_retention_until")
                before = connection.one(
                    sql.EVENTS_ABOUT, run_no=opened.run_no, after=0, row_limit=1, correlation_id=event.correlation_id
                )
                if before is not None:
                    return rows.event_from(opened.image.run_id, before, payloads=True)  # it is a conflict still
                holder = connection.one(sql.HOOK_BY_TOKEN, namespace=self._namespace, token=event.token)
                if holder is not None:
                    return e.HookConflict(
                        correlation_id=event.correlation_id, token=event.token, conflicting_run_id=holder[-1]
                    )
            case e.WaitCreated(kind="sleep", resume_at=None):
                raise WorldError(f"wait {event.correlation_id!r} has no end; give it resume_at")
            case e.WaitCreated(kind="signal", signal_type=None):
                raise WorldError(f"wait {event.correlation_id!r} waits for no signal; give it signal_type")
            case e.HookConflict():
                raise WorldError("'hook_conflict' is written by the World alone; create the hook")
            case _:
                pass
        return event

    def _check_creation(self, connection: Connection, event: e.RunCreated) -> None:
        check_attributes(event.attributes or {}, reserved=event.allow_reserved_attributes)
        if event.idempotency_key is None:
            return
        row = connection.one(
            sql.RUN_BY_KEY,
            namespace=self._namespace,
            workflow_name=event.workflow_name,
            idempotency_key=event.idempotency_key,
        )
        if row is not None:
            raise KeyTakenError(event.idempotency_key, row[1])

    def _append(self, opened: Opened, event: e.NewEvent, epoch: int | None, resume_id: str | None) -> int:
        """Apply the event to the image, and note its row."""
        image = opened.image
        slot = image.run.last_slot + 1 if image.run is not None else 1
        apply(image, event, slot, opened.now)
        subject, correlation_id = self._subject(opened, event)
        data, payload = rows.event_columns(event)
        opened.rows.append((
            opened.run_no, slot, event.event_type, subject,
            correlation_id if subject is None or subject == slot else None,  # it stands where the subject was created
            data, payload, epoch, resume_id, opened.at,
        ))  # fmt: skip
        opened.types.append(event.event_type)
        return slot

    def _subject(self, opened: Opened, event: e.NewEvent) -> tuple[int | None, str | None]:
        """The slot that created what the event is about, and its id."""
        image = opened.image
        if isinstance(event, e.OfStep):
            opened.steps.add(event.correlation_id)
            return image.steps[event.correlation_id].created_slot, event.correlation_id
        if isinstance(event, e.OfHook):
            hook = image.hooks.get(event.correlation_id)
            if hook is not None:
                opened.hooks.add(event.correlation_id)
            return hook.created_slot if hook is not None else None, event.correlation_id
        if isinstance(event, e.OfWait):
            opened.waits.update(image.waits)
            return image.waits[event.correlation_id].created_slot, event.correlation_id
        if isinstance(event, e.SignalReceived):
            opened.waits.update(image.waits)
        opened.attributes = opened.attributes or isinstance(event, e.AttrSet | e.RunCreated)
        return None, event.correlation_id if isinstance(event, e.AttrSet) else None

    # --- writing -----------------------------------------------------------------------------------

    def _set_operational(self, run: Run, request: Append, opened: Opened) -> None:
        if run.ended:
            run.owner, run.wake_at = None, None
        elif request.claim is not None:
            run.owner, run.epoch, run.wake_at = request.claim.owner, run.epoch + 1, None
        elif "run_created" in opened.types:
            run.wake_at = max(request.wake_at or opened.now, opened.now)
        elif not isinstance(request.fence, RunFence) and (run.status != "pending" or run.wake_at is None):
            # Whatever comes from outside gives the run's owner, or the next one, something to look at; but a run that
            # is to start later starts then.
            run.wake_at = opened.now

    def _write(self, connection: Connection, opened: Opened, epoch: int | None) -> bool:
        """False, and nothing written, when the image turns out to be out of date."""
        image, run = opened.image, opened.image.run
        assert run is not None
        only_steps = epoch is not None and _STEP_EVENTS.issuperset(opened.types)
        if opened.found_slot == 0:
            try:
                opened.run_no = connection.insert(sql.RUN_INSERT, **rows.run_values(run, self._namespace))
            except sqlite3.IntegrityError as error:  # another namespace has it
                raise EntityConflictError(f"run {run.run_id!r} already exists; take another id") from error
            epoch = run.epoch or None
            opened.rows = [(opened.run_no, *row[1:7], epoch, *row[8:]) for row in opened.rows]
        elif opened.kept or only_steps:
            moved = connection.ahead(
                sql.RUN_ADVANCE,
                no=opened.run_no,
                found_slot=opened.found_slot,
                found_epoch=run.epoch,
                last_slot=run.last_slot,
                updated_at=opened.at,
            )
            if moved == 0:
                return False
        if opened.found_slot and not only_steps:
            connection.run(sql.RUN_UPDATE, no=opened.run_no, **rows.run_values(run, self._namespace))
        connection.later(sql.EVENT_INSERT, opened.rows)
        if opened.steps:
            connection.later(sql.STEP_WRITE, [rows.step_row(opened.run_no, image.steps[name]) for name in opened.steps])
        if opened.hooks or opened.waits or opened.attributes:
            self._write_neighbours(connection, opened, run)
        if run.ended and opened.found_slot and not opened.complete:  # else it has neither
            connection.run(sql.HOOKS_RELEASE, no=opened.run_no, slot=run.ended_slot)
            connection.run(sql.WAITS_CLOSE, no=opened.run_no, slot=run.ended_slot)
        return True

    def _write_neighbours(self, connection: Connection, opened: Opened, run: Run) -> None:
        image, run_no = opened.image, opened.run_no
        for name in opened.hooks:
            connection.run(sql.HOOK_WRITE, **rows.hook_values(run_no, self._namespace, image.hooks[name]))
        for name in opened.waits:
            connection.run(sql.WAIT_WRITE, **rows.wait_values(run_no, image.waits[name]))
        if opened.attributes and (run.attributes or opened.found_slot):
            connection.run(sql.ATTRIBUTES_CLEAR, run_no=run_no)
            named = [(run_no, key, self._namespace, value) for key, value in run.attributes.items()]
            connection.many(sql.ATTRIBUTE_INSERT, named)


def _always_fits(image: Image, event: e.NewEvent) -> bool:
    """What may still be written when the log is full: ends, and the outcomes of what runs."""
    if isinstance(event, e.StepCompleted | e.StepFailed):
        step = image.steps.get(event.correlation_id)
        return step is not None and step.status == "running"
    return event.event_type in e.RUN_ENDS


def claim(run: Run, owner: str) -> Run:
    """The run as it is once ``owner`` has claimed it."""
    return replace(run, owner=owner, epoch=run.epoch + 1, wake_at=None)
