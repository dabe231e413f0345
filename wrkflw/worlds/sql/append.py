"""The write path: one transaction that judges events, appends them and changes the entities.

Everything here runs inside the transaction that the writer opened.  It first reads and judges, in memory, and writes
only when nothing can be refused any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, get_args

from wrkflw.clock import Clock
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.errors import EntityConflictError, EventLimitError, PayloadTooLargeError, WorldError
from wrkflw.world.fold import Image, apply
from wrkflw.world.schedules import waits_in_line
from wrkflw.world.storage import BatchItem, RunFence
from wrkflw.world.transitions import judge

from .admission import Admission
from .database import Connection
from .images import Images, Opened
from .log import event_columns
from .mailbox import Mailbox
from .payloads import LargePayloads
from .persist import persist
from .request import Append, Appended
from .retention import SqlRetention
from .statement import ABSENT

_Subject: TypeAlias = tuple[int | None, str | None]
"""The slot that created what an event is about, and the name of that where it stands nowhere else."""

_AS_THEY_COME = e.RUN_ENDS | {"step_created", "step_completed", "step_failed", "step_retrying"}
"""Events that are stored as they are given, once they are judged."""


class Appender:
    def __init__(
        self,
        images: Images,
        admission: Admission,
        payloads: LargePayloads,
        mailbox: Mailbox,
        retention: SqlRetention,
        clock: Clock,
        max_events: int,
    ) -> None:
        self._images = images
        self._namespace = payloads.namespace
        self._sealing = payloads.sealing
        self._codec, self._inline_max = payloads.options.codec, payloads.options.inline_max
        self._largest = payloads.largest_beside
        self._clock = clock
        self._admission = admission
        self._mailbox = mailbox
        self._retention = retention
        self._max_events = max_events

    def __call__(self, connection: Connection, request: Append) -> Appended:
        """Judge and write the events of ``request``; raises what refuses them.

        What an image that was kept refuses, or cannot write, may be the fault of the image: it is judged once more, and
        from the rows, for ``Images.open`` has let go of the image.
        """
        epoch = request.epoch
        opened = self._images.open(connection, request, self._clock.now())
        run = opened.image.run
        opened.found_slot, opened.found_epoch = (run.last_slot, run.epoch) if run is not None else (0, 0)
        opened.epoch = epoch
        if opened.kept and request.expect_slot not in (None, opened.found_slot):
            return self(connection, request)
        self._admission.check_writer(connection, request, opened)
        appended = Appended(opened.image, opened.now)
        if request.resume_id is not None:
            appended.again = self._admission.received_before(connection, opened, request.resume_id, request.events[0])
            if appended.again is not None:
                return appended
        for event in request.events:
            try:
                self._take(connection, opened, event, request, appended)
            except WorldError as refusal:
                if opened.kept:
                    return self(connection, request)
                if request.atomic:
                    raise
                appended.outcomes.append(BatchItem(refusal=refusal))
                appended.refused = True
            if request.takes_over and opened.epoch is None:
                self._take_over(connection, opened, request)
        run = opened.image.run
        assert run is not None
        if opened.rows and not self._write(connection, request, opened, run, appended):
            return self(connection, request)
        if request.messages and (opened.rows or not appended.refused):
            self._mailbox.post(connection, request.messages)
        appended.run_no = opened.run_no
        if len(request.events) == 1 and isinstance(request.events[0], e.OfStep):
            appended.step = opened.image.steps.get(request.events[0].correlation_id)
        if run.owner is not None and (epoch is not None or appended.claimed):
            self._images.keep(opened)
        return appended

    def _write(self, connection: Connection, request: Append, opened: Opened, run: Run, appended: Appended) -> bool:
        """Write what was taken.  False, and nothing written, when the image turns out to be out of date."""
        appended.claimed = self._settle_owner(connection, run, request, opened)
        ends = run.ended and not e.RUN_ENDS.isdisjoint(opened.types)
        if ends:
            self._images.label(connection, opened)  # now: later it would have to wait for the rows of the run
        if not persist(connection, opened, request.epoch, self._namespace):
            return False
        connection.notices.append((request.run_id, opened.types))
        if run.ended:
            self._mailbox.run_ended(connection, request.run_id, opened.run_no)
            if ends:
                self._retention.run_ended(connection, opened)
            else:
                self._retention.written_late(connection, opened)
        return True

    def _take(
        self, connection: Connection, opened: Opened, event: e.NewEvent, request: Append, appended: Appended
    ) -> None:
        """Judge one event and append it, in memory."""
        image, event_type = opened.image, event.event_type
        if not judge(image, event, opened.now, fenced=request.fence is not None or request.claim is not None):
            appended.outcomes.append(BatchItem())
            return
        run = image.run
        if run is not None and run.last_slot >= self._max_events and not _always_fits(image, event):
            raise EventLimitError(run.run_id, self._max_events)
        if event_type not in _AS_THEY_COME:
            prepared = self._prepared(connection, opened, event, request, appended)
            if isinstance(prepared, e.StoredEvent):
                appended.again = prepared
                appended.outcomes.append(_outcome(prepared.slot, prepared.event))
                return
            event = prepared
        slot = self._append(opened, event, request)
        appended.last = (slot, event)
        appended.outcomes.append(slot if event_type != "hook_created" else _outcome(slot, event))

    def _prepared(
        self, connection: Connection, opened: Opened, event: e.NewEvent, request: Append, appended: Appended
    ) -> e.NewEvent | e.StoredEvent:
        """The event as it is to be stored, with what it implies stored before it; or as it was stored already."""
        if event.event_type == "step_started":
            if event.step_name is None:
                step = opened.image.steps[event.correlation_id]
                if step.status == "running":
                    self._admission.check_lease(connection, opened, step, event)
                return event
            self._append(opened, _created_by(event), request)
            appended.step_created = True
            return e.StepStarted(correlation_id=event.correlation_id, attempt=event.attempt, owner=event.owner)
        if event.event_type == "run_started":
            if event.creation is None:
                return event
            if opened.image.run is None:
                self._admission.check_creation(connection, event.creation)
                self._append(opened, event.creation, request)
            return e.RunStarted()
        return self._admission.prepared(connection, opened, event)

    def _append(self, opened: Opened, event: e.NewEvent, request: Append) -> int:
        """Apply the event to the image, and note its row."""
        image, event_type = opened.image, event.event_type
        slot = image.run.last_slot + 1 if image.run is not None else 1
        data, payload = event_columns(event)  # before anything changes: it may be refused
        if data is not None and len(data) > self._largest:
            raise PayloadTooLargeError(image.run_id, f"data of {event_type}", len(data.encode()), self._largest)
        codec: object = ABSENT
        ref: object = ABSENT
        if self._codec is not None or (payload is not None and len(payload) > self._inline_max):
            data, payload, codec, ref = self._sealed(opened, request, event_type, slot, data, payload)
        apply(image, event, slot, opened.now)
        subject, name = _SUBJECTS[event_type](opened, event, slot)
        epoch, resume_id = opened.epoch, request.resume_id
        opened.rows.append((
            opened.run_no, slot, event_type, ABSENT if subject is None else subject, ABSENT if name is None else name,
            ABSENT if data is None else data, ABSENT if payload is None else bytearray(payload),
            ABSENT if epoch is None else epoch, ABSENT if resume_id is None else resume_id, opened.at, codec, ref,
        ))  # fmt: skip
        opened.types.append(event_type)
        return slot

    def _sealed(
        self, opened: Opened, request: Append, event_type: str, slot: int, data: str | None, payload: bytes | None
    ) -> tuple[str | None, bytes | None, object, object]:
        """What of an event goes into its row: encoded, or as a reference to what was kept ahead."""
        large = request.large.get(payload) if payload is not None and request.large else None
        if large is not None:
            opened.large.append(large)
        name = None if large is None else large.sha256
        sealed = self._sealing.seal(opened.image.run_id, slot, event_type, data, payload, name)
        return sealed.data, sealed.payload, sealed.codec or ABSENT, sealed.payload_ref or ABSENT

    def _take_over(self, connection: Connection, opened: Opened, request: Append) -> None:
        """Claim a run of nobody, in memory, for who writes what follows as its owner."""
        run = opened.image.run
        assert run is not None
        assert request.claim is not None
        if run.owner is not None or not self._admission.may_claim(connection, run, opened):
            raise EntityConflictError(f"run {run.run_id} cannot be claimed by a batch; append the first event alone")
        run.owner, run.epoch, run.wake_at = request.claim.owner, run.epoch + 1, None
        opened.epoch = run.epoch

    def _settle_owner(self, connection: Connection, run: Run, request: Append, opened: Opened) -> bool:
        """Who has the run from now on, and when it is due.  Whether this write has claimed it."""
        if run.ended:
            run.owner, run.wake_at = None, None
        elif request.takes_over:
            return True
        elif request.claim is not None and self._admission.may_claim(connection, run, opened):
            if run.owner is not None:  # whose process is gone
                self._mailbox.count_crash(connection, opened.run_no)
            run.owner, run.epoch, run.wake_at = request.claim.owner, run.epoch + 1, None
            return True
        elif "run_created" in opened.types:
            run.wake_at = max(request.wake_at or opened.now, opened.now)
        elif not isinstance(request.fence, RunFence) and not _starts_later(run):
            # Whatever comes from outside gives the run's owner, or the next one, something to look at.
            run.wake_at = opened.now
        return False


def _created_by(event: e.StepStarted) -> e.StepCreated:
    """What a lazy start implies."""
    assert event.step_name is not None
    return e.StepCreated(
        correlation_id=event.correlation_id,
        step_name=event.step_name,
        key=event.key or event.step_name,
        input=event.input,
        meta=event.meta,
    )


def _outcome(slot: int, event: e.NewEvent) -> BatchItem:
    return BatchItem(slot, None, event.conflicting_run_id if isinstance(event, e.HookConflict) else None)


def _step(opened: Opened, event: e.StepEvent, slot: int) -> _Subject:
    step_id = event.correlation_id
    created = opened.image.steps[step_id].created_slot
    opened.steps.add(step_id)
    return created, step_id if created == slot else None


def _hook(opened: Opened, event: e.HookEvent, slot: int) -> _Subject:
    name = event.correlation_id
    hook = opened.image.hooks[name]
    opened.hooks.add(name)
    if event.event_type == "hook_created":
        opened.tokens[hook.token] = opened.image.run_id
    elif event.event_type == "hook_disposed":
        opened.tokens[hook.token] = None
    return hook.created_slot, name if hook.created_slot == slot else None


def _conflict(opened: Opened, event: e.HookConflict, slot: int) -> _Subject:
    name = event.correlation_id
    opened.conflicts[name] = e.StoredEvent(opened.image.run_id, slot, event, None, opened.now)
    return None, name


def _wait(opened: Opened, event: e.WaitEvent, slot: int) -> _Subject:
    created = opened.image.waits[event.correlation_id].created_slot
    opened.waits.add(event.correlation_id)
    return created, event.correlation_id if created == slot else None


def _attributes(opened: Opened, event: e.RunCreated | e.AttrSet, _slot: int) -> _Subject:
    opened.attributes = True
    return None, event.correlation_id if event.event_type == "attr_set" else None


def _the_run(_opened: Opened, _event: e.RunEvent, _slot: int) -> _Subject:
    return None, None


# What an event is about, and what is to be written of it besides its row in the log.
_SUBJECTS: dict[str, Callable[[Opened, Any, int], _Subject]] = {
    **dict.fromkeys(get_args(e.EventType), _the_run),
    **dict.fromkeys(e.STEP_EVENTS, _step),
    **dict.fromkeys(("hook_created", "hook_received", "hook_disposed"), _hook),
    "hook_conflict": _conflict,
    **dict.fromkeys(("wait_created", "wait_completed"), _wait),
    **dict.fromkeys(("run_created", "attr_set"), _attributes),
}


def _starts_later(run: Run) -> bool:
    """Whether it starts when that is due, or when it is its turn, whatever comes meanwhile."""
    return run.status == "pending" and (run.wake_at is not None or waits_in_line(run))


def _always_fits(image: Image, event: e.NewEvent) -> bool:
    """What may still be written when the log is full: ends, and the outcomes of what runs."""
    if isinstance(event, e.StepCompleted | e.StepFailed):
        step = image.steps.get(event.correlation_id)
        return step is not None and step.status == "running"
    return event.event_type in e.RUN_ENDS
