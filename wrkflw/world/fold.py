"""What an event does: entities are the fold of the log.

The same functions build the entities one transaction at a time and, in checks and tests, from the whole log at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

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
    """The entities of one run: all of them, or those that the events at hand are about."""

    run_id: str
    run: Run | None = None
    steps: dict[str, Step] = field(default_factory=dict[str, Step])
    hooks: dict[str, Hook] = field(default_factory=dict[str, Hook])
    waits: dict[str, Wait] = field(default_factory=dict[str, Wait])
    signals: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """Slot and type of the signals that no wait has taken, oldest first."""
    attribute_claims: set[str] = field(default_factory=set[str])


def fold(run_id: str, log: Iterable[e.StoredEvent]) -> Image:
    """The entities of a run from its log alone."""
    image = Image(run_id)
    for stored in log:
        apply(image, stored.event, stored.slot, stored.created_at)
    return image


def apply(image: Image, event: e.NewEvent, slot: int, at: datetime) -> None:
    """Change the entities as ``event``, which was accepted and stands at ``slot``, demands."""
    if isinstance(event, e.OfStep):
        _apply_step(image, event, slot)
    elif isinstance(event, e.OfHook):
        _apply_hook(image, event, slot)
    elif isinstance(event, e.OfWait):
        _apply_wait(image, event, slot)
    else:
        _apply_run(image, event, slot, at)
    run = _run_of(image)
    run.last_slot, run.updated_at = slot, at


def _apply_run(image: Image, event: e.RunEvent, slot: int, at: datetime) -> None:
    match event:
        case e.RunCreated():
            image.run = _new_run(image.run_id, event, at)
        case e.RunStarted() | e.RunCompleted() | e.RunFailed() | e.RunCancelled():
            _move_run(image, event, slot, at)
        case e.RunPaused():
            _run_of(image).paused_at = at
        case e.RunResumed():
            _run_of(image).paused_at = None
        case e.AttrSet():
            _set_attributes(image, event)
        case e.SignalReceived():
            _offer(image, slot, event.signal_type)


def _run_of(image: Image) -> Run:
    assert image.run is not None, "the guards let nothing through for a missing run"
    return image.run


def _new_run(run_id: str, event: e.RunCreated, at: datetime) -> Run:
    return Run(
        run_id,
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


def _move_run(image: Image, event: e.RunEvent, slot: int, at: datetime) -> None:
    run = _run_of(image)
    run.status = _RUN_STATUS[event.event_type]
    if isinstance(event, e.RunStarted):
        run.started_at = run.started_at or at
        return
    run.ended_slot, run.completed_at, run.paused_at = slot, at, None
    run.error_code = event.error_code if isinstance(event, e.RunFailed) else None
    run.cancel_reason = event.cancel_reason if isinstance(event, e.RunCancelled) else None
    for hook in image.hooks.values():
        hook.released_slot = hook.released_slot or slot
    for wait in image.waits.values():
        if wait.status == "waiting":
            wait.status, wait.completed_slot = "completed", slot


def _set_attributes(image: Image, event: e.AttrSet) -> None:
    attributes = _run_of(image).attributes
    for change in event.changes:
        if change.value is None:
            attributes.pop(change.key, None)
        else:
            attributes[change.key] = change.value
    if event.correlation_id is not None:
        image.attribute_claims.add(event.correlation_id)


def _apply_step(image: Image, event: e.StepEvent, slot: int) -> None:
    match event:
        case e.StepCreated():
            image.steps[event.correlation_id] = Step(
                image.run_id,
                event.correlation_id,
                event.key,
                event.step_name,
                "pending",
                created_slot=slot,
                updated_slot=slot,
                kind=event.kind,
                child_run_id=event.child_run_id,
            )
        case e.StepStarted():
            step = image.steps[event.correlation_id]
            step.status, step.retry_after, step.hook_id = "running", None, None
            step.attempt += 1
            step.started_slot = step.started_slot or slot
            step.updated_slot = slot
        case e.StepCompleted() | e.StepFailed():
            step = image.steps[event.correlation_id]
            step.status = "completed" if isinstance(event, e.StepCompleted) else "failed"
            step.ended_slot = step.updated_slot = slot
            step.error_slot = slot if isinstance(event, e.StepFailed) else None
            step.retry_after = None
        case e.StepRetrying():
            step = image.steps[event.correlation_id]
            step.status, step.retry_after, step.hook_id = "pending", event.retry_after, event.hook_id
            step.updated_slot = slot
            if event.error is not None:
                step.error_slot = slot


def _apply_hook(image: Image, event: e.HookEvent, slot: int) -> None:
    match event:
        case e.HookCreated():
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
        case e.HookReceived():
            image.hooks[event.correlation_id].payloads += 1
        case e.HookDisposed():
            image.hooks[event.correlation_id].released_slot = slot
        case _:
            pass  # a conflict changes nothing


def _apply_wait(image: Image, event: e.WaitEvent, slot: int) -> None:
    if isinstance(event, e.WaitCreated):
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
        if wait.kind == "signal":
            _match(image, wait)
    else:
        wait = image.waits[event.correlation_id]
        wait.status, wait.completed_slot = "completed", slot
        if event.cause == "cancelled" and wait.matched_slot is not None:
            # It never reached the program: back to the head of its buffer, for the next waiter.
            assert wait.signal_type is not None
            returned, wait.matched_slot = wait.matched_slot, None
            _offer(image, returned, wait.signal_type)


def _match(image: Image, wait: Wait) -> None:
    for index, (slot, signal_type) in enumerate(image.signals):
        if signal_type == wait.signal_type:
            wait.matched_slot = slot
            del image.signals[index]
            return


def _offer(image: Image, slot: int, signal_type: str) -> None:
    """Hand a signal to the oldest open wait of its type, or keep it in order of arrival."""
    waiting = [
        wait
        for wait in image.waits.values()
        if wait.status == "waiting" and wait.signal_type == signal_type and wait.matched_slot is None
    ]
    if waiting:
        min(waiting, key=lambda wait: wait.created_slot).matched_slot = slot
    else:
        image.signals.append((slot, signal_type))
        image.signals.sort()
