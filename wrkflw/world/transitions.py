"""The state machines, as tables: which event may follow which status.

Everything that decides whether an event is accepted lives here.  :func:`judge` reads the tables and changes nothing;
what an accepted event does is in ``fold``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Any, Literal, TypeAlias, assert_never, get_args

from . import events as e
from .entities import Run, RunStatus, Step, StepStatus
from .errors import (
    EntityConflictError,
    HookNotFoundError,
    RunExpiredError,
    RunPausedError,
    TooEarlyError,
    WorkflowRunNotFoundError,
    WorldError,
)
from .fold import Image


class Verdict(Enum):
    """What becomes of an event."""

    OK = "accepted"
    NOOP = "success, without an event"
    ABSENT = "404"
    CONFLICT = "409"
    PAUSED = "409 paused"
    GONE = "410"
    TOO_EARLY = "425"


OK, NOOP, ABSENT = Verdict.OK, Verdict.NOOP, Verdict.ABSENT
CONFLICT, PAUSED, GONE, TOO_EARLY = Verdict.CONFLICT, Verdict.PAUSED, Verdict.GONE, Verdict.TOO_EARLY

RunColumn: TypeAlias = Literal["missing", "pending", "running", "paused", "finished", "cancelled"]
"""Where a run stands, as the guards see it: paused is pending or running with ``paused_at`` set, finished is
completed or failed."""
RUN_COLUMNS: tuple[RunColumn, ...] = ("missing", "pending", "running", "paused", "finished", "cancelled")

RUN_GUARDS: dict[str, tuple[Verdict, ...]] = {
    #                            missing  pending   running   paused    finished  cancelled
    "run_created":              (OK,      CONFLICT, CONFLICT, CONFLICT, CONFLICT, CONFLICT),
    "run_started":              (ABSENT,  OK,       NOOP,     PAUSED,   GONE,     GONE),
    "run_started, with data":   (OK,      OK,       NOOP,     PAUSED,   GONE,     GONE),
    "run_completed":            (ABSENT,  OK,       OK,       PAUSED,   CONFLICT, CONFLICT),
    "run_failed, by its owner": (ABSENT,  OK,       OK,       PAUSED,   CONFLICT, CONFLICT),
    "run_failed":               (ABSENT,  OK,       OK,       OK,       CONFLICT, CONFLICT),
    "run_cancelled":            (ABSENT,  OK,       OK,       OK,       CONFLICT, NOOP),
    "run_paused":               (ABSENT,  OK,       OK,       NOOP,     CONFLICT, CONFLICT),
    "run_resumed":              (ABSENT,  NOOP,     NOOP,     OK,       CONFLICT, CONFLICT),
    "attr_set":                 (ABSENT,  OK,       OK,       OK,       CONFLICT, CONFLICT),
    "step_created":             (ABSENT,  OK,       OK,       PAUSED,   CONFLICT, CONFLICT),
    "step_started, lazy":       (ABSENT,  OK,       OK,       PAUSED,   CONFLICT, CONFLICT),
    "step_started":             (ABSENT,  OK,       OK,       PAUSED,   GONE,     GONE),
    "step outcome, running":    (ABSENT,  OK,       OK,       OK,       OK,       OK),
    "step outcome, pending":    (ABSENT,  OK,       OK,       OK,       GONE,     GONE),
    "step_retrying":            (ABSENT,  OK,       OK,       OK,       GONE,     GONE),
    "hook_created":             (ABSENT,  OK,       OK,       PAUSED,   CONFLICT, CONFLICT),
    "hook_created, suspending": (ABSENT,  OK,       OK,       OK,       CONFLICT, CONFLICT),
    "hook_conflict":            (ABSENT,  OK,       OK,       OK,       CONFLICT, CONFLICT),
    "hook_received":            (ABSENT,  OK,       OK,       OK,       GONE,     GONE),
    "hook_disposed":            (ABSENT,  OK,       OK,       OK,       ABSENT,   ABSENT),
    "signal_received":          (ABSENT,  OK,       OK,       OK,       GONE,     GONE),
    "wait_created":             (ABSENT,  OK,       OK,       PAUSED,   CONFLICT, CONFLICT),
    "wait_completed":           (ABSENT,  OK,       OK,       OK,       ABSENT,   ABSENT),
    "noop":                     (ABSENT,  OK,       OK,       OK,       OK,       OK),
}  # fmt: skip

StepColumn: TypeAlias = Literal["absent", "pending", "too early", "running", "ended"]
"""Where a step stands; *too early* is pending with ``retry_after`` ahead."""
STEP_COLUMNS: tuple[StepColumn, ...] = ("absent", "pending", "too early", "running", "ended")

STEP_GUARDS: dict[str, tuple[Verdict, ...]] = {
    #                       absent   pending   too early  running   ended
    "step_created":        (OK,      CONFLICT, CONFLICT,  CONFLICT, CONFLICT),
    "step_started, lazy":  (OK,      CONFLICT, CONFLICT,  CONFLICT, CONFLICT),
    "step_started":        (ABSENT,  OK,       TOO_EARLY, OK,       CONFLICT),
    "step_completed":      (ABSENT,  OK,       OK,        OK,       CONFLICT),
    "step_failed":         (ABSENT,  OK,       OK,        OK,       CONFLICT),
    "step_retrying":       (ABSENT,  OK,       OK,        OK,       CONFLICT),
}  # fmt: skip

OWNER_ONLY = frozenset({
    "run_started", "run_completed", "wait_created", "hook_created",
    "step_created", "step_started", "step_completed", "step_failed", "step_retrying",
})  # fmt: skip
"""Events that only the run's owner writes; without a fence they need a run that nobody owns."""

_RUN_COLUMN: dict[RunStatus, RunColumn] = {
    "pending": "pending",
    "running": "running",
    "completed": "finished",
    "failed": "finished",
    "cancelled": "cancelled",
}
_STEP_COLUMN: dict[StepStatus, StepColumn] = {
    "pending": "pending",
    "running": "running",
    "completed": "ended",
    "failed": "ended",
}
_RUN_VERDICTS = {row: dict(zip(RUN_COLUMNS, verdicts, strict=True)) for row, verdicts in RUN_GUARDS.items()}
_STEP_VERDICTS = {row: dict(zip(STEP_COLUMNS, verdicts, strict=True)) for row, verdicts in STEP_GUARDS.items()}


def run_column(run: Run | None) -> RunColumn:
    if run is None:
        return "missing"
    if run.paused_at is not None and run.ended_slot is None:
        return "paused"
    return _RUN_COLUMN[run.status]


def step_column(step: Step | None, now: datetime) -> StepColumn:
    if step is None:
        return "absent"
    if step.status == "pending" and step.retry_after is not None and step.retry_after > now:
        return "too early"
    return _STEP_COLUMN[step.status]


def run_row(image: Image, event: e.NewEvent, *, fenced: bool) -> str:
    """The row of :data:`RUN_GUARDS` for this event; ``fenced``: its writer holds the newest claim."""
    special = _ROWS.get(event.event_type)
    return event.event_type if special is None else special(image, event, fenced)


def _outcome_row(image: Image, event: e.OfStep, fenced: bool) -> str:
    return "step outcome, running" if _runs(image, event.correlation_id) else "step outcome, pending"


def _hook_row(image: Image, event: e.HookCreated, fenced: bool) -> str:
    suspends = event.kind == "suspend" and _runs(image, event.step_id)
    return "hook_created, suspending" if suspends else "hook_created"


def _runs(image: Image, step_id: str | None) -> bool:
    step = image.steps.get(step_id or "")
    return step is not None and step.status == "running"


# The events whose row depends on more than their type.
_ROWS: dict[str, Callable[[Image, Any, bool], str]] = {
    "step_completed": _outcome_row,
    "step_failed": _outcome_row,
    "step_started": lambda _image, event, _fenced: "step_started" if event.step_name is None else "step_started, lazy",
    "run_started": lambda _image, event, _fenced: "run_started, with data" if event.creation else "run_started",
    "run_failed": lambda _image, _event, fenced: "run_failed, by its owner" if fenced else "run_failed",
    "hook_created": _hook_row,
}
_OUTCOMES = ("step outcome, running", "step outcome, pending")


def _while_running(event_type: str) -> Verdict:
    """What every row of the type says of a run that is running: there they agree, so no row need be chosen."""
    rows = _OUTCOMES if _ROWS.get(event_type) is _outcome_row else [
        row for row in RUN_GUARDS if row.split(",")[0] == event_type
    ]  # fmt: skip
    (verdict,) = {_RUN_VERDICTS[row]["running"] for row in rows}
    return verdict


_WHILE_RUNNING = {event_type: _while_running(event_type) for event_type in get_args(e.EventType)}


def judge(image: Image, event: e.NewEvent, now: datetime, *, fenced: bool) -> bool:
    """Whether ``event`` may be appended now: True to append it, False when it succeeds without an event.

    Raises the WorldError that refuses it.  Changes nothing.
    """
    run = image.run
    if run is not None and run.status == "running" and run.paused_at is None:
        verdict = _WHILE_RUNNING[event.event_type]
    else:
        verdict = _RUN_VERDICTS[run_row(image, event, fenced=fenced)][run_column(run)]
    if verdict is not OK:
        return _refuse_by_run(verdict, image, event)
    judge_subject = _OF_SUBJECTS.get(event.event_type)
    if judge_subject is not None:
        judge_subject(image, event, now)
    return True


def _refuse_by_run(verdict: Verdict, image: Image, event: e.NewEvent) -> bool:
    run = image.run
    status = "missing" if run is None else run.status
    match verdict:
        case Verdict.NOOP | Verdict.OK:
            return False
        case Verdict.ABSENT if run is None:
            raise WorkflowRunNotFoundError(image.run_id)
        case Verdict.ABSENT if event.subject == "hook":
            raise HookNotFoundError
        case Verdict.ABSENT:
            raise WorldError(
                f"cannot record {event.event_type!r} on {image.run_id}: it is already {status!r}", status=404
            )
        case Verdict.CONFLICT if event.event_type == "run_created":
            raise EntityConflictError(f"run {image.run_id!r} already exists; take another id, or get_run() it")
        case Verdict.CONFLICT:
            raise EntityConflictError(_already(image, event, status))
        case Verdict.PAUSED:
            raise RunPausedError(image.run_id, event.event_type)
        case Verdict.GONE:
            raise RunExpiredError(image.run_id, status, event.event_type)
        case Verdict.TOO_EARLY:
            raise AssertionError("no run guard is too early")
        case _:
            assert_never(verdict)


def _already(image: Image, event: e.NewEvent, status: str) -> str:
    return f"cannot record {event.event_type!r} on {image.run_id}: it is already {status!r}"


def _judge_step(image: Image, event: e.StepEvent, now: datetime, row: str | None = None) -> None:
    step = image.steps.get(event.correlation_id)
    verdict = _STEP_VERDICTS[row or event.event_type][step_column(step, now)]
    if verdict is OK:
        return
    if verdict is Verdict.TOO_EARLY:
        assert step is not None
        assert step.retry_after is not None
        raise TooEarlyError(
            f"step {step.key!r} of {image.run_id} may start again at {step.retry_after}", step.retry_after
        )
    if step is None:
        raise WorldError(f"run {image.run_id} has no step {event.correlation_id!r}", status=404)
    raise EntityConflictError(
        f"cannot record {event.event_type!r} on {image.run_id}: step {step.key!r} is already {step.status!r}"
    )


def _judge_start(image: Image, event: e.StepStarted, now: datetime) -> None:
    _judge_step(image, event, now, "step_started" if event.step_name is None else "step_started, lazy")
    step = image.steps.get(event.correlation_id)
    if step is None or step.hook_id is None:
        return
    hook = image.hooks.get(step.hook_id)
    if hook is not None and hook.payloads == 0 and hook.released_slot is None:
        raise EntityConflictError(f"step {step.key!r} of {image.run_id} is suspended; its hook has no payload yet")


def _judge_hook(image: Image, event: e.HookEvent, _now: datetime) -> None:
    hook = image.hooks.get(event.correlation_id)
    if isinstance(event, e.HookCreated):
        if hook is not None:
            raise EntityConflictError(f"hook {event.correlation_id!r} of {image.run_id} already exists")
    elif isinstance(event, e.HookReceived | e.HookDisposed):
        if hook is None or hook.released_slot is not None:
            raise HookNotFoundError
        if isinstance(event, e.HookReceived) and hook.kind == "suspend" and hook.payloads > 0:
            raise EntityConflictError(f"hook {event.correlation_id!r} of {image.run_id} already has its answer")


def _judge_wait(image: Image, event: e.WaitEvent, now: datetime) -> None:
    wait = image.waits.get(event.correlation_id)
    if isinstance(event, e.WaitCreated):
        if wait is not None:
            raise EntityConflictError(f"wait {event.correlation_id!r} of {image.run_id} already exists")
        return
    if wait is None:
        raise WorldError(f"run {image.run_id} has no wait {event.correlation_id!r}", status=404)
    if wait.status == "completed":
        raise EntityConflictError(f"wait {event.correlation_id!r} of {image.run_id} is already 'completed'")
    if event.cause == "timeout" and wait.matched_slot is not None:
        raise EntityConflictError(f"wait {event.correlation_id!r} of {image.run_id} already has its signal")
    if event.cause in ("elapsed", "timeout") and (wait.resume_at is None or wait.resume_at > now):
        due = wait.resume_at or datetime.max.replace(tzinfo=now.tzinfo)
        raise TooEarlyError(f"wait {event.correlation_id!r} of {image.run_id} is due at {due}", due)


def _judge_attributes(image: Image, event: e.AttrSet, _now: datetime) -> None:
    if event.correlation_id in image.attribute_claims:
        raise EntityConflictError(f"attribute change {event.correlation_id!r} of {image.run_id} is already recorded")


# What is judged besides the run, by the type of the event.
_OF_SUBJECTS: dict[str, Callable[[Image, Any, datetime], None]] = {
    **dict.fromkeys(e.STEP_EVENTS, _judge_step),
    "step_started": _judge_start,
    **dict.fromkeys(("hook_created", "hook_received", "hook_disposed"), _judge_hook),
    **dict.fromkeys(("wait_created", "wait_completed"), _judge_wait),
    "attr_set": _judge_attributes,
}
