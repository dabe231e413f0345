"""The write path: one transaction that judges events, appends them and changes the entities.

Everything here runs inside the transaction that the writer opened.  It first reads and judges, in memory, and writes
only when nothing can be refused any more.
"""

from __future__ import annotations

from wrkflw.clock import Clock
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.errors import EventLimitError, WorldError
from wrkflw.world.fold import Image, apply
from wrkflw.world.storage import BatchItem, RunFence
from wrkflw.world.transitions import judge

from .admission import Admission
from .database import Connection
from .images import Images, Opened
from .log import event_columns
from .persist import persist
from .request import Append, Appended


class Appender:
    def __init__(self, images: Images, admission: Admission, namespace: str, clock: Clock, max_events: int) -> None:
        self._images = images
        self._namespace = namespace
        self._clock = clock
        self._admission = admission
        self._max_events = max_events

    def __call__(self, connection: Connection, request: Append) -> Appended:
        epoch = request.epoch
        opened = self._images.open(connection, request.run_id, request.events, epoch, self._clock.now())
        run = opened.image.run
        opened.found_slot = run.last_slot if run is not None else 0
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
                    return self(connection, request)  # it may be the image that is out of date: judge again
                if request.atomic:
                    raise
                appended.items.append(BatchItem(refusal=refusal))
        run = opened.image.run
        assert run is not None
        if opened.rows:
            appended.claimed = self._settle_owner(connection, run, request, opened)
            if not persist(connection, opened, epoch, self._namespace):
                return self(connection, request)  # the image was out of date, and is forgotten
            connection.notices.append((request.run_id, opened.types))
        appended.run_no = opened.run_no
        if request.atomic and isinstance(request.events[-1], e.OfStep):
            appended.step = opened.image.steps.get(request.events[-1].correlation_id)
        if run.owner is not None and (epoch is not None or appended.claimed):
            self._images.keep(opened)
        return appended

    def _take(
        self, connection: Connection, opened: Opened, event: e.NewEvent, request: Append, appended: Appended
    ) -> None:
        """Judge one event and append it, in memory."""
        image = opened.image
        if not judge(image, event, opened.now, fenced=request.fence is not None or request.claim is not None):
            appended.items.append(BatchItem())
            return
        if image.run is not None and image.run.last_slot >= self._max_events and not _always_fits(image, event):
            raise EventLimitError(image.run.run_id, self._max_events)
        epoch = request.epoch
        if isinstance(event, e.OfStep):
            if isinstance(event, e.StepStarted) and event.step_name is not None:
                self._append(opened, _created_by(event), epoch, None)
                appended.step_created = True
                event = e.StepStarted(correlation_id=event.correlation_id, attempt=event.attempt, owner=event.owner)
        elif isinstance(event, e.RunStarted):
            if event.creation is not None and image.run is None:
                self._admission.check_creation(connection, event.creation)
                self._append(opened, event.creation, epoch, None)
            event = e.RunStarted()
        else:
            prepared = self._admission.prepared(connection, opened, event)
            if isinstance(prepared, e.StoredEvent):
                appended.again = prepared
                appended.items.append(_item(prepared.slot, prepared.event))
                return
            event = prepared
        slot = self._append(opened, event, epoch, request.resume_id)
        appended.last = (slot, event)
        appended.items.append(_item(slot, event))

    def _append(self, opened: Opened, event: e.NewEvent, epoch: int | None, resume_id: str | None) -> int:
        """Apply the event to the image, and note its row."""
        image = opened.image
        slot = image.run.last_slot + 1 if image.run is not None else 1
        apply(image, event, slot, opened.now)
        if isinstance(event, e.OfStep):
            opened.steps.add(event.correlation_id)
            subject: int | None = image.steps[event.correlation_id].created_slot
            name = event.correlation_id if subject == slot else None  # it stands where the subject was created
        else:
            subject, name = _subject(opened, event, slot)
        data, payload = event_columns(event)
        opened.rows.append(
            (opened.run_no, slot, event.event_type, subject, name, data, payload, epoch, resume_id, opened.at)
        )
        opened.types.append(event.event_type)
        return slot

    def _settle_owner(self, connection: Connection, run: Run, request: Append, opened: Opened) -> bool:
        """Who has the run from now on, and when it is due.  Whether this write has claimed it."""
        if run.ended:
            run.owner, run.wake_at = None, None
        elif request.claim is not None and self._admission.may_claim(connection, run, opened):
            run.owner, run.epoch, run.wake_at = request.claim.owner, run.epoch + 1, None
            return True
        elif "run_created" in opened.types:
            run.wake_at = max(request.wake_at or opened.now, opened.now)
        elif not isinstance(request.fence, RunFence) and (run.status != "pending" or run.wake_at is None):
            # Whatever comes from outside gives the run's owner, or the next one, something to look at; but a run that
            # is to start later starts then.
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


def _item(slot: int, event: e.NewEvent) -> BatchItem:
    return BatchItem(slot, None, event.conflicting_run_id if isinstance(event, e.HookConflict) else None)


def _subject(opened: Opened, event: e.NewEvent, slot: int) -> tuple[int | None, str | None]:
    """The slot that created what the event is about, and the name of that where it stands nowhere else."""
    image = opened.image
    if isinstance(event, e.OfHook):
        name = event.correlation_id
        if isinstance(event, e.HookConflict):
            opened.conflicts[name] = e.StoredEvent(
                run_id=image.run_id, slot=slot, event=event, epoch=None, created_at=opened.now
            )
            return None, name
        hook = image.hooks[name]
        opened.hooks.add(name)
        if isinstance(event, e.HookCreated):
            opened.tokens[hook.token] = image.run_id
        elif isinstance(event, e.HookDisposed):
            opened.tokens[hook.token] = None
        return hook.created_slot, name if hook.created_slot == slot else None
    if isinstance(event, e.OfWait):
        created = image.waits[event.correlation_id].created_slot
        opened.waits.add(event.correlation_id)
        return created, event.correlation_id if created == slot else None
    opened.attributes = opened.attributes or isinstance(event, e.AttrSet | e.RunCreated)
    return None, event.correlation_id if isinstance(event, e.AttrSet) else None


def _always_fits(image: Image, event: e.NewEvent) -> bool:
    """What may still be written when the log is full: ends, and the outcomes of what runs."""
    if isinstance(event, e.StepCompleted | e.StepFailed):
        step = image.steps.get(event.correlation_id)
        return step is not None and step.status == "running"
    return event.event_type in e.RUN_ENDS
