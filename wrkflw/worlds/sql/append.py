"""The write path: one transaction that judges events, appends them and changes the entities.

Everything here runs inside the transaction that the writer opened.  It first reads and judges, in memory, and writes
only when nothing can be refused any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from wrkflw.clock import Clock, to_microseconds
from wrkflw.world import SPEC_VERSION
from wrkflw.world import events as e
from wrkflw.world.entities import Hook, Run, Step
from wrkflw.world.errors import (
    EventLimitError,
    FencedError,
    KeyTakenError,
    PreconditionFailedError,
    RunNotSupportedError,
    WorkflowRunNotFoundError,
    WorldError,
)
from wrkflw.world.fold import Image, apply
from wrkflw.world.storage import BatchItem, Claim, Fence, RunFence, StepFence
from wrkflw.world.transitions import OWNER_ONLY, judge

from . import compiled as sql
from . import rows
from .database import Connection

MAX_RETENTION = timedelta(days=30)
_MAX_ATTRIBUTES = 64
_MAX_ATTRIBUTE_BYTES = 256
_MAX_CHANGE_BYTES = 8 * 1024
# What the owner may still write when the log is full: ends, and the outcomes of what runs.
_ALWAYS_FIT = e.RUN_ENDS | {"step_completed", "step_failed"}
# An event from outside gives the run's owner, or the next one, something to do.
_WAKES = frozenset({"hook_received", "signal_received", "run_resumed", "wait_completed", "step_completed", "step_failed"})


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
    items: list[BatchItem] = field(default_factory=list[BatchItem])
    last: e.StoredEvent | None = None
    """The event that was asked for last; None when nothing was appended for it."""
    step_created: bool = False


@dataclass(slots=True)
class _Open:
    """A transaction on one run, half done."""

    image: Image
    now: datetime
    epoch: int | None
    run_no: int = 0
    rows: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])
    touched: dict[str, set[str]] = field(default_factory=lambda: {"step": set(), "hook": set(), "wait": set()})
    attributes: bool = False
    types: list[str] = field(default_factory=list[str])


class Appender:
    """``owner_is_live`` tells whether the process of that name still works on what it claimed."""

    def __init__(
        self, namespace: str, clock: Clock, owner_is_live: Callable[[Connection, str], bool], max_events: int
    ) -> None:
        self._namespace = namespace
        self._clock = clock
        self._owner_is_live = owner_is_live
        self._max_events = max_events

    def __call__(self, connection: Connection, request: Append) -> Appended:
        opened = self._open(connection, request)
        before = opened.image.run.last_slot if opened.image.run is not None else 0
        self._check_conditions(connection, request, opened)
        appended = Appended(opened.image)
        for event in request.events:
            try:
                self._take(connection, opened, event, request, appended)
            except WorldError as refusal:
                if request.atomic:
                    raise
                appended.items.append(BatchItem(refusal=refusal))
        run = opened.image.run
        assert run is not None
        if opened.rows:
            self._set_operational(run, request, opened)
            self._write(connection, opened, created=before == 0)
            connection.notices.extend((request.run_id, event_type) for event_type in opened.types)
        return appended

    # --- reading -----------------------------------------------------------------------------------

    def _open(self, connection: Connection, request: Append) -> _Open:
        row = connection.one(sql.RUN_BY_ID, run_id=request.run_id, namespace=self._namespace)
        now = self._clock.now()
        epoch = request.fence.epoch if isinstance(request.fence, RunFence) else None
        opened = _Open(Image(request.run_id), now, epoch)
        if row is None:
            return opened
        run = opened.image.run = rows.run_from(row)
        opened.run_no = row[0]
        opened.now = max(now, run.updated_at)
        if run.spec_version > SPEC_VERSION:
            raise RunNotSupportedError(run.run_id, run.spec_version, SPEC_VERSION)
        if request.fence is None or any(event.subject != "step" for event in request.events):
            self._load_neighbours(connection, opened, request.events)
        for event in request.events:
            if event.subject == "step":
                self._load_step(connection, opened, event.correlation_id)  # type: ignore[union-attr]  # steps have one
        return opened

    def _load_step(self, connection: Connection, opened: _Open, step_id: str) -> None:
        if step_id in opened.image.steps:
            return
        row = connection.one(sql.STEP_BY_ID, run_no=opened.run_no, step_id=step_id)
        if row is not None:
            step = opened.image.steps[step_id] = rows.step_from(opened.image.run_id, row)
            if step.hook_id is not None and step.hook_id not in opened.image.hooks:
                self._load_hooks(connection, opened)

    def _load_hooks(self, connection: Connection, opened: _Open) -> None:
        for row in connection.all(sql.HOOKS_OF_RUN, run_no=opened.run_no):
            opened.image.hooks[row[1]] = rows.hook_from(opened.image.run_id, row)

    def _load_neighbours(self, connection: Connection, opened: _Open, events: Sequence[e.NewEvent]) -> None:
        """What the rarer events are judged by: all hooks, waits and untaken signals of the run, its attributes."""
        image, run_no = opened.image, opened.run_no
        subjects = {event.subject for event in events}
        types = {event.event_type for event in events}
        if "hook" in subjects:
            self._load_hooks(connection, opened)
            for event in events:
                if isinstance(event, e.HookCreated) and event.step_id is not None:
                    self._load_step(connection, opened, event.step_id)
        if "wait" in subjects or "signal_received" in types:
            for row in connection.all(sql.WAITS_OF_RUN, run_no=run_no):
                image.waits[row[1]] = rows.wait_from(image.run_id, row)
            taken = {wait.matched_slot for wait in image.waits.values()}
            for slot, data in connection.all(sql.SIGNALS, run_no=run_no):
                if slot not in taken:
                    signal = rows.event_from(image.run_id, (slot, "signal_received", None, data, None, None, 0), payloads=False)
                    assert isinstance(signal.event, e.SignalReceived)
                    image.signals.append((slot, signal.event.signal_type))
        if "attribute" in subjects:
            assert image.run is not None
            image.run.attributes = dict(connection.all(sql.ATTRIBUTES_OF_RUN, run_no=run_no))
            for event in events:
                if isinstance(event, e.AttrSet) and event.correlation_id is not None:
                    if connection.one(sql.ATTRIBUTE_CLAIM, run_no=run_no, correlation_id=event.correlation_id):
                        image.attribute_claims.add(event.correlation_id)

    # --- judging -----------------------------------------------------------------------------------

    def _check_conditions(self, connection: Connection, request: Append, opened: _Open) -> None:
        run = opened.image.run
        creates = any(isinstance(event, e.RunCreated | e.RunStarted) for event in request.events)
        if run is None:
            if not creates:
                raise WorkflowRunNotFoundError(request.run_id)
            return
        if request.expect_slot is not None and run.last_slot != request.expect_slot:
            raise PreconditionFailedError(run.run_id, request.expect_slot, run.last_slot)
        match request.fence:
            case RunFence(epoch) if epoch != run.epoch:
                raise FencedError(run.run_id, f"epoch {epoch}", f"epoch {run.epoch}")
            case StepFence(step_id, attempt):
                step = opened.image.steps.get(step_id)
                if step is not None and step.attempt != attempt:
                    raise FencedError(run.run_id, f"attempt {attempt}", f"attempt {step.attempt}")
            case None if run.owner is not None and any(event.event_type in OWNER_ONLY for event in request.events):
                if self._owner_is_live(connection, run.owner):
                    raise FencedError(run.run_id, "no claim", f"epoch {run.epoch}")
            case _:
                pass

    def _take(
        self, connection: Connection, opened: _Open, event: e.NewEvent, request: Append, appended: Appended
    ) -> None:
        image = opened.image
        if isinstance(event, e.HookConflict):
            raise WorldError("'hook_conflict' is written by the World alone; create the hook")
        if not judge(image, event, opened.now, fenced=request.fence is not None or request.claim is not None):
            appended.items.append(BatchItem())
            return
        if isinstance(event, e.RunCreated) and event.idempotency_key is not None:
            self._check_key(connection, event.workflow_name, event.idempotency_key)
        self._check_limits(opened, event)
        match event:
            case e.RunStarted(creation=e.RunCreated() as creation):
                if image.run is None:
                    self._append(opened, creation)
                event = e.RunStarted()
            case e.StepStarted(step_name=str() as name):
                key = event.key or name
                created = e.StepCreated(
                    correlation_id=event.correlation_id, step_name=name, key=key, input=event.input, meta=event.meta
                )
                self._append(opened, created)
                appended.step_created = True
                event = e.StepStarted(correlation_id=event.correlation_id, attempt=event.attempt, owner=event.owner)
            case e.HookCreated():
                holder = connection.one(sql.HOOK_BY_TOKEN, namespace=self._namespace, token=event.token)
                if holder is not None:
                    event = e.HookConflict(
                        correlation_id=event.correlation_id, token=event.token, conflicting_run_id=holder[-1]
                    )
            case _:
                pass
        appended.last = self._append(opened, event, request.resume_id)
        appended.items.append(BatchItem(slot=appended.last.slot))

    def _check_key(self, connection: Connection, workflow_name: str, key: str) -> None:
        row = connection.one(
            sql.RUN_BY_KEY, namespace=self._namespace, workflow_name=workflow_name, idempotency_key=key
        )
        if row is not None:
            raise KeyTakenError(key, row[1])

    def _check_limits(self, opened: _Open, event: e.NewEvent) -> None:
        run = opened.image.run
        if run is not None and run.last_slot >= self._max_events and event.event_type not in _ALWAYS_FIT:
            raise EventLimitError(run.run_id, self._max_events)
        match event:
            case e.RunCreated(attributes=dict() as attributes):
                _check_attributes(attributes, event.allow_reserved_attributes)
            case e.AttrSet():
                assert run is not None
                keys = [change.key for change in event.changes]
                if len(set(keys)) < len(keys):
                    raise WorldError("an attribute is set twice in one change; set it once")
                merged = {**run.attributes, **{c.key: c.value for c in event.changes if c.value is not None}}
                changed = {c.key: c.value or "" for c in event.changes}
                _check_attributes(merged, True)
                _check_attributes(changed, event.allow_reserved_attributes)
            case e.HookCreated(token_retention_until=datetime() as until) if until > opened.now + MAX_RETENTION:
                raise WorldError("a token can be kept for at most 30 days; shorten token_retention_until")
            case _:
                pass

    def _append(self, opened: _Open, event: e.NewEvent, resume_id: str | None = None) -> e.StoredEvent:
        """Apply the event to the image, and note its row."""
        image = opened.image
        slot = image.run.last_slot + 1 if image.run is not None else 1
        waits_before = len(image.waits)
        apply(image, event, slot, opened.now)
        correlation_id: str | None = getattr(event, "correlation_id", None)
        subject = self._subject(opened, event, correlation_id)
        creates = subject == slot or subject is None
        data, payload = rows.event_columns(event)
        opened.rows.append((
            opened.run_no, slot, event.event_type, subject, correlation_id if creates else None, data, payload,
            opened.epoch, resume_id, to_microseconds(opened.now),
        ))  # fmt: skip
        opened.types.append(event.event_type)
        if isinstance(event, e.SignalReceived) or waits_before:
            opened.touched["wait"].update(image.waits)
        return e.StoredEvent.model_construct(
            run_id=image.run_id, slot=slot, event=event, epoch=opened.epoch, created_at=opened.now
        )

    def _subject(self, opened: _Open, event: e.NewEvent, correlation_id: str | None) -> int | None:
        """The slot that created what the event is about."""
        if correlation_id is None or event.subject not in opened.touched:
            opened.attributes = opened.attributes or isinstance(event, e.AttrSet | e.RunCreated)
            return None
        entities: dict[str, Step] | dict[str, Hook] = (
            opened.image.steps if event.subject == "step" else opened.image.hooks
        )
        about = opened.image.waits.get(correlation_id) if event.subject == "wait" else entities.get(correlation_id)
        if about is None:  # a hook that was not created, because of a conflict
            return None
        opened.touched[event.subject].add(correlation_id)
        return about.created_slot

    # --- writing -----------------------------------------------------------------------------------

    def _set_operational(self, run: Run, request: Append, opened: _Open) -> None:
        if run.ended:
            run.owner, run.wake_at = None, None
        elif request.claim is not None:
            run.owner, run.epoch, run.wake_at = request.claim.owner, run.epoch + 1, None
            opened.epoch = run.epoch
        elif "run_created" in opened.types:
            run.wake_at = max(request.wake_at or opened.now, opened.now)
        elif request.fence is None and any(event_type in _WAKES for event_type in opened.types):
            run.wake_at = opened.now

    def _write(self, connection: Connection, opened: _Open, *, created: bool) -> None:
        image, run = opened.image, opened.image.run
        assert run is not None
        if created:
            opened.run_no = connection.insert(sql.RUN_INSERT, **rows.run_values(run, self._namespace))
            opened.rows = [(opened.run_no, *row[1:7], opened.epoch, *row[8:]) for row in opened.rows]
        elif set(opened.types) <= _STEP_EVENTS:
            connection.run(
                sql.RUN_ADVANCE, no=opened.run_no, last_slot=run.last_slot, updated_at=to_microseconds(run.updated_at)
            )
        else:
            connection.run(sql.RUN_UPDATE, no=opened.run_no, **rows.run_values(run, self._namespace))
        connection.many(sql.EVENT_INSERT, opened.rows)
        if opened.touched["step"]:
            connection.many(
                sql.STEP_WRITE, [rows.step_row(opened.run_no, image.steps[name]) for name in opened.touched["step"]]
            )
        for name in opened.touched["hook"]:
            connection.run(sql.HOOK_WRITE, **rows.hook_values(opened.run_no, self._namespace, image.hooks[name]))
        for name in opened.touched["wait"]:
            connection.run(sql.WAIT_WRITE, **rows.wait_values(opened.run_no, image.waits[name]))
        if opened.attributes and (run.attributes or not created):
            self._write_attributes(connection, opened.run_no, run)
        if run.ended and not created:
            connection.run(sql.HOOKS_RELEASE, no=opened.run_no, slot=run.ended_slot)
            connection.run(sql.WAITS_CLOSE, no=opened.run_no, slot=run.ended_slot)

    def _write_attributes(self, connection: Connection, run_no: int, run: Run) -> None:
        connection.run(sql.ATTRIBUTES_CLEAR, run_no=run_no)
        connection.many(
            sql.ATTRIBUTE_INSERT, [(run_no, key, self._namespace, value) for key, value in run.attributes.items()]
        )


_STEP_EVENTS = frozenset({"step_created", "step_started", "step_completed", "step_failed", "step_retrying"})


def _check_attributes(attributes: dict[str, str], reserved: bool) -> None:
    if len(attributes) > _MAX_ATTRIBUTES:
        raise WorldError(f"a run has at most {_MAX_ATTRIBUTES} attributes, this makes {len(attributes)}")
    size = 0
    for key, value in attributes.items():
        if not 1 <= len(key) <= _MAX_ATTRIBUTE_BYTES:
            raise WorldError(f"attribute name {key[:80]!r} must have 1 to {_MAX_ATTRIBUTE_BYTES} characters")
        if key.startswith("$") and not reserved:
            raise WorldError(f"attribute {key!r} begins with '$', which is reserved; take another name")
        if len(value.encode()) > _MAX_ATTRIBUTE_BYTES:
            raise WorldError(f"attribute {key!r} is longer than {_MAX_ATTRIBUTE_BYTES} bytes; store it in a step result")
        size += len(key.encode()) + len(value.encode())
    if size > _MAX_CHANGE_BYTES * 4:
        raise WorldError("attributes are labels for finding runs; keep them small")


def claim(run: Run, owner: str) -> Run:
    """The run as it is once ``owner`` has claimed it."""
    return replace(run, owner=owner, epoch=run.epoch + 1, wake_at=None)
