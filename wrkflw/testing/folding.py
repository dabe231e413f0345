"""A log added up a second time, by other means than the World's own, and what in it cannot have happened.

It shares no code with :mod:`wrkflw.world.fold`, so that the two do not err alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from wrkflw.world import events as e

_ENDS = {"run_completed": "completed", "run_failed": "failed", "run_cancelled": "cancelled"}
_AFTER_THE_END = {"step_completed", "step_failed", "noop"}
"""A body that was at work when its run ended may still tell what came of it."""
_FROM_OUTSIDE = {"hook_received", "signal_received", "wait_completed", "run_resumed"}


class Fault(NamedTuple):
    """``invariant`` is its number in the list of guarantees."""

    invariant: str
    detail: str


@dataclass(slots=True)
class FoldedRun:
    """The fields that the entity has too, by the same names."""

    workflow_name: str
    created_at: datetime
    status: str = "pending"
    last_slot: int = 0
    ended_slot: int | None = None
    updated_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    paused_at: datetime | None = None
    deployment_id: str | None = None
    definition_hash: str | None = None
    parent_run_id: str | None = None
    replayed_from: str | None = None
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    input: bytes | None = None
    output: bytes | None = None
    error: bytes | None = None
    error_code: str | None = None
    cancel_reason: str | None = None


@dataclass(slots=True)
class FoldedStep:
    """As :class:`FoldedRun`."""

    key: str
    step_name: str
    created_slot: int
    created_at: datetime
    input: bytes | None
    updated_slot: int
    updated_at: datetime
    status: str = "pending"
    attempt: int = 0
    started_slot: int | None = None
    started_at: datetime | None = None
    ended_slot: int | None = None
    completed_at: datetime | None = None
    error_slot: int | None = None
    hook_id: str | None = None
    retry_after: datetime | None = None
    output: bytes | None = None
    error: bytes | None = None


@dataclass(slots=True)
class FoldedHook:
    """As :class:`FoldedRun`."""

    token: str
    kind: str
    step_id: str | None
    created_slot: int
    created_at: datetime
    retention_until: datetime | None
    is_system: bool
    payloads: int = 0
    released_slot: int | None = None


@dataclass(slots=True)
class FoldedWait:
    """As :class:`FoldedRun`.  ``matched_slot`` is that of the signal that it took."""

    kind: str
    key: str | None
    signal_type: str | None
    resume_at: datetime | None
    created_slot: int
    matched_slot: int | None = None
    completed_slot: int | None = None
    status: str = "waiting"

    @property
    def is_over(self) -> bool:
        return self.completed_slot is not None

    def end(self, slot: int) -> None:
        self.status, self.completed_slot = "completed", slot


@dataclass
class Folded:
    """What the log of one run comes to."""

    run: FoldedRun | None = None
    steps: dict[str, FoldedStep] = field(default_factory=dict[str, FoldedStep])
    hooks: dict[str, FoldedHook] = field(default_factory=dict[str, FoldedHook])
    waits: dict[str, FoldedWait] = field(default_factory=dict[str, FoldedWait])
    signals: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """The slots of the signals that nobody has taken, by type."""
    faults: list[Fault] = field(default_factory=list[Fault])
    idempotency_key: str | None = None
    epoch: int = 0
    """The highest that wrote to it."""
    latest_from_outside: int = 0
    """The slot of the last event that the owner of the run must look at."""


def fold_log(log: Sequence[e.StoredEvent]) -> Folded:
    """Every event in turn, whether or not it should be there."""
    folded = Folded()
    before: e.StoredEvent | None = None
    for place, stored in enumerate(log, start=1):
        folded.faults += _faults_of_order(folded, before, place, stored)
        _fold_run(folded, stored)
        if folded.run is not None:
            folded.faults += _fold_rest(folded, stored)
            folded.run.last_slot, folded.run.updated_at = stored.slot, stored.created_at
        folded.epoch = max(folded.epoch, stored.epoch or 0)
        if stored.event_type in _FROM_OUTSIDE and stored.epoch is None:
            folded.latest_from_outside = stored.slot
        before = stored
    if folded.run is None:
        folded.faults.append(Fault("I4", "it has a row, and no run_created in its log"))
    return folded


def _faults_of_order(
    folded: Folded, before: e.StoredEvent | None, place: int, stored: e.StoredEvent
) -> Iterator[Fault]:
    what = f"{stored.event_type} at slot {stored.slot}"
    if stored.slot != place:
        yield Fault("I3", f"{what} is number {place} of the log")
    if before is not None and stored.created_at < before.created_at:
        yield Fault("I3", f"{what} is older than the event before it")
    if stored.epoch is not None and stored.epoch < folded.epoch:
        yield Fault("I13", f"{what} was written in epoch {stored.epoch} after epoch {folded.epoch}")
    run = folded.run
    if run is None:
        if not isinstance(stored.event, e.RunCreated):
            yield Fault("I4", f"{what} stands before the run was created")
    elif run.ended_slot is not None and stored.event_type not in _AFTER_THE_END:
        begins = stored.event_type in ("step_created", "step_started")
        yield Fault("I16" if begins else "I4", f"{what} comes after the run was {run.status} at slot {run.ended_slot}")


# --- runs ----------------------------------------------------------------------------------------------


def _fold_run(folded: Folded, stored: e.StoredEvent) -> None:
    run, event, at = folded.run, stored.event, stored.created_at
    if isinstance(event, e.RunCreated):
        folded.run = FoldedRun(
            event.workflow_name,
            at,
            deployment_id=event.deployment_id,
            definition_hash=event.definition_hash,
            parent_run_id=event.parent_run_id,
            replayed_from=event.replayed_from,
            attributes=dict(event.attributes or {}),
            input=event.input,
        )
        folded.idempotency_key = event.idempotency_key
    if run is None:
        return
    match event:
        case e.RunStarted():
            run.status, run.started_at = "running", run.started_at or at
        case e.RunPaused():
            run.paused_at = at
        case e.RunResumed():
            run.paused_at = None
        case e.AttrSet():
            for change in event.changes:
                run.attributes.pop(change.key, None)
                if change.value is not None:
                    run.attributes[change.key] = change.value
        case e.RunCompleted() | e.RunFailed() | e.RunCancelled():
            _end_run(folded, run, event, stored)
        case _:
            pass


def _end_run(
    folded: Folded, run: FoldedRun, event: e.RunCompleted | e.RunFailed | e.RunCancelled, stored: e.StoredEvent
) -> None:
    run.status, run.ended_slot, run.completed_at = _ENDS[event.event_type], stored.slot, stored.created_at
    run.paused_at = None
    match event:
        case e.RunCompleted():
            run.output = event.output
        case e.RunFailed():
            run.error, run.error_code = event.error, event.error_code
        case e.RunCancelled():
            run.cancel_reason = event.cancel_reason
    for wait in folded.waits.values():
        if not wait.is_over:
            wait.end(stored.slot)


# --- what belongs to a run -------------------------------------------------------------------------------


def _fold_rest(folded: Folded, stored: e.StoredEvent) -> Iterator[Fault]:
    match event := stored.event:
        case e.StepCreated():
            if event.correlation_id in folded.steps:
                yield Fault("I4", f"step {event.key!r} was created again at slot {stored.slot}")
            slot, at = stored.slot, stored.created_at
            step = FoldedStep(event.key, event.step_name, slot, at, event.input, slot, at)
            folded.steps[event.correlation_id] = step
        case e.StepStarted() | e.StepCompleted() | e.StepFailed() | e.StepRetrying():
            found = folded.steps.get(event.correlation_id)
            if found is None:
                yield Fault("I4", f"{event.event_type} at slot {stored.slot} is about no step")
            else:
                yield from _fold_step(found, event, stored)
        case e.HookCreated() | e.HookReceived() | e.HookDisposed():
            yield from _fold_hook(folded, event, stored)
        case e.SignalReceived():
            _hand_over(folded, event.signal_type, stored.slot)
        case e.WaitCreated() | e.WaitCompleted():
            yield from _fold_wait(folded, event, stored)
        case _:
            pass


def _fold_step(
    step: FoldedStep, event: e.StepStarted | e.StepCompleted | e.StepFailed | e.StepRetrying, stored: e.StoredEvent
) -> Iterator[Fault]:
    slot, at = stored.slot, stored.created_at
    what = f"{event.event_type} of {step.key!r} at slot {slot}"
    if step.ended_slot is not None:
        yield Fault("I5", f"{what} comes after its end at slot {step.ended_slot}")
    due, step.retry_after = step.retry_after, None
    step.updated_slot, step.updated_at = slot, at
    match event:
        case e.StepStarted():
            if due is not None and at < due:
                yield Fault("I18", f"{what} is early: it may begin at {due}")
            step.status, step.attempt, step.hook_id = "running", step.attempt + 1, None
            if step.started_slot is None:
                step.started_slot, step.started_at = slot, at
        case e.StepRetrying():
            step.status, step.retry_after, step.hook_id = "pending", event.retry_after, event.hook_id
            if event.error is not None:
                step.error_slot, step.error = slot, event.error
        case e.StepCompleted():
            step.status, step.output = "completed", event.result
            step.ended_slot, step.completed_at, step.error_slot, step.error = slot, at, None, None
        case e.StepFailed():
            step.status, step.error = "failed", event.error
            step.ended_slot, step.completed_at, step.error_slot = slot, at, slot


def _fold_hook(
    folded: Folded, event: e.HookCreated | e.HookReceived | e.HookDisposed, stored: e.StoredEvent
) -> Iterator[Fault]:
    if isinstance(event, e.HookCreated):
        folded.hooks[event.correlation_id] = FoldedHook(
            event.token,
            event.kind,
            event.step_id,
            stored.slot,
            stored.created_at,
            event.token_retention_until,
            event.is_system,
        )
        return
    hook = folded.hooks.get(event.correlation_id)
    if hook is None or hook.released_slot is not None:
        yield Fault("I2", f"{event.event_type} at slot {stored.slot} is about no hook that is open")
    elif isinstance(event, e.HookDisposed):
        hook.released_slot = stored.slot
    else:
        hook.payloads += 1
        if hook.kind == "suspend" and hook.payloads > 1:
            yield Fault("I2", f"{event.event_type} at slot {stored.slot} is the second answer to one suspension")


def _fold_wait(folded: Folded, event: e.WaitCreated | e.WaitCompleted, stored: e.StoredEvent) -> Iterator[Fault]:
    if isinstance(event, e.WaitCreated):
        wait = FoldedWait(event.kind, event.key, event.signal_type, event.resume_at, stored.slot)
        folded.waits[event.correlation_id] = wait
        if wait.signal_type is not None and (line := folded.signals.get(wait.signal_type)):
            wait.matched_slot = line.pop(0)
        return
    found = folded.waits.get(event.correlation_id)
    if found is None or found.is_over:
        yield Fault("I4", f"{event.event_type} at slot {stored.slot} is about no wait that is open")
        return
    found.end(stored.slot)
    if event.cause in ("elapsed", "timeout") and (found.resume_at is None or stored.created_at < found.resume_at):
        yield Fault("I18", f"{event.event_type} at slot {stored.slot} is early: it is due at {found.resume_at}")
    if event.cause == "cancelled" and found.matched_slot is not None and found.signal_type is not None:
        slot, found.matched_slot = found.matched_slot, None  # nobody has heard of it: the next wait takes it
        _hand_over(folded, found.signal_type, slot)


def _hand_over(folded: Folded, signal_type: str, slot: int) -> None:
    for wait in folded.waits.values():  # in the order in which they were created
        if wait.signal_type == signal_type and wait.matched_slot is None and not wait.is_over:
            wait.matched_slot = slot
            return
    folded.signals[signal_type] = sorted([*folded.signals.get(signal_type, ()), slot])
