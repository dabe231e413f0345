"""What a write is refused for besides the guards: who writes it, and what the rarer events must be like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from wrkflw.clock import from_microseconds
from wrkflw.world import events as e
from wrkflw.world.entities import Run, Step
from wrkflw.world.errors import (
    EntityConflictError,
    FencedError,
    KeyTakenError,
    PreconditionFailedError,
    RunExpiredError,
    StoreRefusedError,
    WorkflowRunNotFoundError,
    WorldError,
)
from wrkflw.world.schedules import waits_in_line
from wrkflw.world.storage import RunFence, Stamp, StepFence
from wrkflw.world.transitions import OWNER_ONLY

from . import compiled as sql
from . import rows
from .arguments import utf8
from .attributes import check_attributes, check_changes
from .database import Connection
from .identifiers import check_run_id
from .images import Opened
from .log import event_from
from .payloads import LargePayloads
from .request import Append
from .sealing import OPEN_WITH_IT

MAX_RETENTION = timedelta(days=30)
_LENGTHS = (("deployment_id", 128), ("definition_hash", 256), ("idempotency_key", 1024))
"""Texts of a creation that have columns, and how long they may be."""
_CREATE_THE_RUN = frozenset({"run_created", "run_started"})


class Admission:
    """``owner_is_live`` tells whether the process of that name still works on what it claimed.

    ``stamp`` is what hooks are marked with.
    """

    def __init__(
        self,
        payloads: LargePayloads,
        owner_is_live: Callable[[Connection, str], bool],
        stamp: Stamp,
    ) -> None:
        self._namespace = payloads.namespace
        self._payloads = payloads
        self._owner_is_live = owner_is_live
        self._stamp = stamp
        self._stamps = stamp != Stamp()
        self._may_write = payloads.options.codec is not None
        """Whether what is written does not stand in clear where the rest is encoded."""

    def check_writer(self, connection: Connection, request: Append, opened: Opened) -> None:
        """Raises what refuses the whole request: no such run, a newer owner, another slot, no codec."""
        if not self._may_write:
            self._check_codec(connection)
        run = opened.image.run
        if run is None:
            if _CREATE_THE_RUN.isdisjoint(request.types):
                raise WorkflowRunNotFoundError(request.run_id)
            _check_unclaimed(request, opened)
            return
        if isinstance(request.fence, StepFence):
            _check_step_fence(opened, request.fence, request.events)
        elif request.fence is not None or not OWNER_ONLY.isdisjoint(request.types):
            self.check_owner(connection, run, request.fence)
        if request.expect_slot is not None and run.last_slot != request.expect_slot:
            raise PreconditionFailedError(run.run_id, request.expect_slot, run.last_slot)

    def _check_codec(self, connection: Connection) -> None:
        """Raises StoreRefusedError where what is written without a codec would stand beside what has one."""
        newest = connection.one(sql.NEWEST_CODEC, namespace=self._namespace)
        if newest is not None and newest[0] is not None:
            raise StoreRefusedError(
                f"what is here was written by codec {newest[0]!r}, and none was given, so no event is recorded; "
                f"{OPEN_WITH_IT}"
            )
        self._may_write = True

    def check_owner(self, connection: Connection, run: Run, fence: RunFence | None) -> None:
        """Raises FencedError unless the fence is of the newest claim; without one, nobody alive may own the run."""
        if fence is not None:
            if fence.epoch != run.epoch:
                raise FencedError(run.run_id, f"epoch {fence.epoch}", f"epoch {run.epoch}")
        elif run.owner is not None and self._owner_is_live(connection, run.owner):
            raise FencedError(run.run_id, "no claim", f"epoch {run.epoch}")

    def may_claim(self, connection: Connection, run: Run, opened: Opened) -> bool:
        """Whether who has written to the run from outside may go on with it."""
        if run.paused_at is not None or (opened.found_slot and waits_in_line(run)):  # a new run is its creator's
            return False
        if run.status == "pending" and run.wake_at is not None and run.wake_at > opened.now:
            return False
        return run.owner is None or not self._owner_is_live(connection, run.owner)

    def received_before(
        self, connection: Connection, opened: Opened, resume_id: str, event: e.NewEvent
    ) -> e.StoredEvent | None:
        """The event that an earlier call has recorded under this resume id."""
        if not isinstance(event, e.HookReceived | e.SignalReceived):
            raise WorldError(f"{event.event_type!r} takes no resume id; only what comes from outside does")
        row = connection.one(sql.EVENT_RESUMED, run_no=opened.run_no, resume_id=resume_id)
        if row is None:
            return None
        before = event_from(opened.image.run_id, row, self._payloads.reading(connection))
        if not _asks_for_the_same(event, before.event):
            if (expired := connection.one(sql.EXPIRED_AT, run_no=opened.run_no)) is not None:
                assert opened.image.run is not None
                raise RunExpiredError.purged(
                    opened.image.run_id, opened.image.run.status, from_microseconds(expired[0])
                )
            what = f"id {resume_id!r} came to run {opened.image.run_id!r} with something else before"
            raise EntityConflictError(f"{what}; take another for what is new")
        return before

    def prepared(self, connection: Connection, opened: Opened, event: e.NewEvent) -> e.NewEvent | e.StoredEvent:
        """The rarer events: checked further, and as they will be stored, or were when the same was asked for before."""
        match event:
            case e.RunCreated():
                self.check_creation(connection, event)
            case e.AttrSet():
                assert opened.image.run is not None
                check_changes(opened.image.run.attributes, event)
            case e.HookCreated():
                return self._hook_or_conflict(connection, opened, event)
            case e.WaitCreated(kind="sleep", resume_at=None):
                raise WorldError(f"wait {event.correlation_id!r} has no end; give it resume_at")
            case e.WaitCreated(kind="signal", signal_type=None):
                raise WorldError(f"wait {event.correlation_id!r} waits for no signal; give it signal_type")
            case _:
                pass
        return event

    def check_creation(self, connection: Connection, event: e.RunCreated) -> None:
        check_attributes(event.attributes or {}, reserved=event.allow_reserved_attributes)
        for name, most in _LENGTHS:
            text = event.__dict__[name]
            if text is None:
                continue
            utf8(name, text)
            if not 0 < len(text) <= most:
                raise WorldError(f"{name} has 1 to {most:,} characters, not {len(text):,}; leave it out, or shorten it")
        for name in ("parent_run_id", "replayed_from"):
            if event.__dict__[name] is not None:
                check_run_id(event.__dict__[name])
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

    def _hook_or_conflict(
        self, connection: Connection, opened: Opened, event: e.HookCreated
    ) -> e.HookCreated | e.HookConflict | e.StoredEvent:
        if event.token_retention_until is not None and event.token_retention_until > opened.now + MAX_RETENTION:
            raise WorldError("a token can be kept for at most 30 days; shorten token_retention_until")
        run_id, hook_id = opened.image.run_id, event.correlation_id
        if hook_id in opened.conflicts:
            return opened.conflicts[hook_id]
        if opened.found_slot:
            before = connection.one(sql.CONFLICT_OF, run_no=opened.run_no, correlation_id=hook_id)
            if before is not None:
                return event_from(run_id, before, self._payloads.without)  # it is a conflict still
        if event.token in opened.tokens:
            holder = opened.tokens[event.token]
        else:
            holder = self._holder_of(connection, event.token, opened)
        if holder is None:
            # What is stamped by default need not be written; and nobody else says whose a hook is.
            if self._stamps or not event.model_fields_set.isdisjoint(Stamp._fields):
                return event.model_copy(update=self._stamp._asdict())
            return event
        return e.HookConflict(correlation_id=hook_id, token=event.token, conflicting_run_id=holder)

    def _holder_of(self, connection: Connection, token: str, opened: Opened) -> str | None:
        """The run that has the token.

        One that has ended gives it up here, once it has kept it as long as it was to.
        """
        row = connection.one(sql.HOOK_BY_TOKEN, namespace=self._namespace, token=token)
        if row is None:
            return None
        *_, ended_slot, run_id = row
        if ended_slot is None or rows.hook_from(run_id, row).outlasts(opened.now):
            return str(run_id)
        connection.run(sql.HOOK_VACATE, no=row[0], id=row[1], slot=ended_slot)
        return None

    def check_lease(self, connection: Connection, opened: Opened, step: Step, event: e.StepStarted) -> None:
        """Raises EntityConflictError when the try that is under way is another's, and that one lives.

        The lease of a step is that of the process which executes it.
        """
        row = connection.one(sql.EVENT_AT, run_no=opened.run_no, slot=step.updated_slot)
        started = None if row is None else event_from(step.run_id, row, self._payloads.without).event
        holder = started.owner if isinstance(started, e.StepStarted) else None
        if holder not in (None, event.owner) and self._owner_is_live(connection, holder):
            raise EntityConflictError(f"step {step.key!r} of {step.run_id} is being executed by {holder}")


def _asks_for_the_same(event: e.HookReceived | e.SignalReceived, before: e.NewEvent) -> bool:
    """Whether two requests under one resume id are one: by their digests where both have one, else by payload."""
    names = {"event_type", "correlation_id", "signal_type"}
    if not isinstance(before, type(event)) or event.model_dump(include=names) != before.model_dump(include=names):
        return False
    if None in (event.resume_digest, before.resume_digest):
        return event.payload_data == before.payload_data
    return event.resume_digest == before.resume_digest


def _check_unclaimed(request: Append, opened: Opened) -> None:
    """What says of a run that is yet to be where it stands, and whose it is, is right only about nothing and nobody."""
    if isinstance(request.fence, StepFence):
        _check_step_fence(opened, request.fence, request.events)
    elif request.fence is not None and request.fence.epoch != 0:
        raise FencedError(request.run_id, f"epoch {request.fence.epoch}", "epoch 0")
    if request.expect_slot:
        raise PreconditionFailedError(request.run_id, request.expect_slot, 0)


def _check_step_fence(opened: Opened, fence: StepFence, events: Sequence[e.NewEvent]) -> None:
    for event in events:
        about = event.step_id if isinstance(event, e.HookCreated) else getattr(event, "correlation_id", None)
        if about != fence.step_id:
            raise WorldError(f"who executes step {fence.step_id!r} may not record this {event.event_type!r}")
    step = opened.image.steps.get(fence.step_id)
    if step is not None and step.attempt != fence.attempt:
        raise FencedError(opened.image.run_id, f"attempt {fence.attempt}", f"attempt {step.attempt}")
