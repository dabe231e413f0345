"""What an event does: entities are the fold of the log.

The same functions build the entities one transaction at a time and, in checks and tests, from the whole log at once.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import events as e
from .entities import Hook, Run, RunStatus, Step, Wait

_RUN_STATUS: dict[str, RunStatus] = {
    "run_started": "running",
    "run_completed": "completed",
    "run_failed": "failed",
    "run_cancelled": "cancelled",
}


@dataclass(slots=True)
class Image:
    """The entities of one run: all of them, or those that the events at hand are about.

    Thousands may be kept at once.  What holds names alone is a dict, which the collector has no need to look into.
    """

    run_id: str
    run: Run | None = None
    steps: dict[str, Step] = field(default_factory=dict)
    hooks: dict[str, Hook] = field(default_factory=dict)
    waits: dict[str, Wait] = field(default_factory=dict)
    signals: dict[str, list[int]] = field(default_factory=dict)
    """The slots of the signals that no wait has taken, by type, oldest first."""
    waiting: dict[str, dict[str, None]] = field(default_factory=dict)
    """The waits that are open for a signal, by its type, those that wait longest first."""
    answered: dict[str, None] = field(default_factory=dict)
    """The waits that took a signal which came after them."""
    attribute_claims: dict[str, None] = field(default_factory=dict)


def fold(run_id: str, log: Iterable[e.StoredEvent]) -> Image:
    """The entities of a run from its log alone."""
    image = Image(run_id)
    for stored in log:
        apply(image, stored.event, stored.slot, stored.created_at)
    return image


def apply(image: Image, event: e.NewEvent, slot: int, at: datetime) -> None:
    """Change the entities as ``event``, which was accepted and stands at ``slot``, demands."""
    _EFFECTS[event.event_type](image, event, slot, at)
    run = image.run
    assert run is not None
    run.last_slot, run.updated_at = slot, at


# --- runs --------------------------------------------------------------------------------------------


def _run_of(image: Image) -> Run:
    assert image.run is not None, "the guards let nothing through for a missing run"
    return image.run


def _create_run(image: Image, event: e.RunCreated, _slot: int, at: datetime) -> None:
    image.run = Run(
        image.run_id,
        event.workflow_name,
        "pending",
        created_at=at,
        updated_at=at,
        deployment_id=event.deployment_id,
        definition_hash=event.definition_hash,
        idempotency_key=event.idempotency_key,
        parent_run_id=event.parent_run_id,
        replayed_from=event.replayed_from,
        attributes=dict(event.attributes or {}),
    )


def _start_run(image: Image, _event: e.RunStarted, _slot: int, at: datetime) -> None:
    run = _run_of(image)
    run.status, run.started_at = "running", run.started_at or at


def _end_run(image: Image, event: e.RunCompleted | e.RunFailed | e.RunCancelled, slot: int, at: datetime) -> None:
    run = _run_of(image)
    run.status = _RUN_STATUS[event.event_type]
    run.ended_slot, run.completed_at, run.paused_at = slot, at, None
    run.error_code = event.error_code if isinstance(event, e.RunFailed) else None
    run.cancel_reason = event.cancel_reason if isinstance(event, e.RunCancelled) else None
    for hook in image.hooks.values():
        hook.released_slot = hook.released_slot or slot
    for wait in image.waits.values():
        if wait.status == "waiting":
            wait.status, wait.completed_slot = "completed", slot


def _pause_run(image: Image, _event: e.RunPaused, _slot: int, at: datetime) -> None:
    _run_of(image).paused_at = at


def _resume_run(image: Image, _event: e.RunResumed, _slot: int, _at: datetime) -> None:
    _run_of(image).paused_at = None


def _set_attributes(image: Image, event: e.AttrSet, _slot: int, _at: datetime) -> None:
    attributes = _run_of(image).attributes
    for change in event.changes:
        if change.value is None:
            attributes.pop(change.key, None)
        else:
            attributes[change.key] = change.value
    if event.correlation_id is not None:
        image.attribute_claims[event.correlation_id] = None


# --- steps -------------------------------------------------------------------------------------------


def _create_step(image: Image, event: e.StepCreated, slot: int, _at: datetime) -> None:
    image.steps[event.correlation_id] = Step(
        image.run_id,
        event.correlation_id,
        event.key,
        event.step_name,
        "pending",
        slot,
        slot,
        event.kind,
        event.child_run_id,
    )


def _start_step(image: Image, event: e.StepStarted, slot: int, _at: datetime) -> None:
    step = image.steps[event.correlation_id]
    step.status, step.retry_after, step.hook_id = "running", None, None
    step.attempt += 1
    step.started_slot = step.started_slot or slot
    step.updated_slot = slot


def _complete_step(image: Image, event: e.StepCompleted, slot: int, _at: datetime) -> None:
    step = image.steps[event.correlation_id]
    step.status, step.error_slot, step.retry_after = "completed", None, None
    step.ended_slot = step.updated_slot = slot


def _fail_step(image: Image, event: e.StepFailed, slot: int, _at: datetime) -> None:
    step = image.steps[event.correlation_id]
    step.status, step.error_slot, step.retry_after = "failed", slot, None
    step.ended_slot = step.updated_slot = slot


def _put_step_off(image: Image, event: e.StepRetrying, slot: int, _at: datetime) -> None:
    step = image.steps[event.correlation_id]
    step.status, step.retry_after, step.hook_id = "pending", event.retry_after, event.hook_id
    step.updated_slot = slot
    if event.error is not None:
        step.error_slot = slot


# --- hooks -------------------------------------------------------------------------------------------


def _create_hook(image: Image, event: e.HookCreated, slot: int, _at: datetime) -> None:
    image.hooks[event.correlation_id] = Hook(
        image.run_id,
        event.correlation_id,
        event.token,
        event.kind,
        created_slot=slot,
        step_id=event.step_id,
        retention_until=event.token_retention_until,
        is_system=event.is_system,
    )


def _receive(image: Image, event: e.HookReceived, _slot: int, _at: datetime) -> None:
    image.hooks[event.correlation_id].payloads += 1


def _dispose(image: Image, event: e.HookDisposed, slot: int, _at: datetime) -> None:
    image.hooks[event.correlation_id].released_slot = slot


def _change_nothing(_image: Image, _event: e.HookConflict | e.Noop, _slot: int, _at: datetime) -> None:
    """A conflict is only told, and a noop says nothing."""


# --- signals and waits -------------------------------------------------------------------------------


def _receive_signal(image: Image, event: e.SignalReceived, slot: int, _at: datetime) -> None:
    _offer(image, slot, event.signal_type)


def _create_wait(image: Image, event: e.WaitCreated, slot: int, _at: datetime) -> None:
    wait = image.waits[event.correlation_id] = Wait(
        image.run_id,
        event.correlation_id,
        event.kind,
        "waiting",
        created_slot=slot,
        key=event.key,
        signal_type=event.signal_type,
        resume_at=event.resume_at,
    )
    if wait.kind != "signal" or wait.signal_type is None:
        return
    if line := image.signals.get(wait.signal_type):
        wait.matched_slot = line.pop(0)
    else:
        image.waiting.setdefault(wait.signal_type, {})[wait.wait_id] = None


def _complete_wait(image: Image, event: e.WaitCompleted, slot: int, _at: datetime) -> None:
    wait = image.waits[event.correlation_id]
    wait.status, wait.completed_slot = "completed", slot
    if wait.signal_type is None:
        return
    image.waiting.get(wait.signal_type, {}).pop(wait.wait_id, None)
    if event.cause == "cancelled" and wait.matched_slot is not None:
        # It never reached the program: back to the head of its line, for the next waiter.
        returned, wait.matched_slot = wait.matched_slot, None
        _offer(image, returned, wait.signal_type)


def _offer(image: Image, slot: int, signal_type: str) -> None:
    """Hand a signal to the wait of its type that has been open longest, or keep it in order of arrival."""
    if waiting := image.waiting.get(signal_type):
        wait_id = next(iter(waiting))
        del waiting[wait_id]
        image.waits[wait_id].matched_slot = slot
        image.answered[wait_id] = None
    else:
        insort(image.signals.setdefault(signal_type, []), slot)


_EFFECTS: dict[str, Callable[[Image, Any, int, datetime], None]] = {
    "run_created": _create_run,
    "run_started": _start_run,
    "run_completed": _end_run,
    "run_failed": _end_run,
    "run_cancelled": _end_run,
    "run_paused": _pause_run,
    "run_resumed": _resume_run,
    "attr_set": _set_attributes,
    "step_created": _create_step,
    "step_started": _start_step,
    "step_completed": _complete_step,
    "step_failed": _fail_step,
    "step_retrying": _put_step_off,
    "hook_created": _create_hook,
    "hook_conflict": _change_nothing,
    "hook_received": _receive,
    "hook_disposed": _dispose,
    "signal_received": _receive_signal,
    "wait_created": _create_wait,
    "wait_completed": _complete_wait,
    "noop": _change_nothing,
}
