"""Rows to entities, and back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter

from wrkflw.clock import from_microseconds, to_microseconds
from wrkflw.errors import StoreError
from wrkflw.world.entities import Hook, Run, Step, Wait

from . import compiled as sql
from .database import Row
from .statement import ABSENT


def instant(stored: int) -> datetime:
    """Raises StoreError for what is no moment: somebody else has written it."""
    try:
        return from_microseconds(stored)
    except (OverflowError, TypeError) as error:
        raise StoreError(f"the database holds {stored!r} where a time was; restore a backup") from error


def moment(stored: int | None) -> datetime | None:
    return None if stored is None else instant(stored)


def stored(when: datetime | None) -> int | None:
    return None if when is None else to_microseconds(when)


# --- entities ----------------------------------------------------------------------------------------


def run_from(row: Row) -> Run:
    """The columns of ``runs``, in their order, without those that number and place it."""
    return Run(  # type: ignore[call-arg,misc]  # seven columns, which mypy cannot count
        row[1], row[3], row[4], instant(row[5]), instant(row[6]), *row[7:14],
        moment(row[14]), moment(row[15]), moment(row[16]), row[17], row[18], row[19], moment(row[20]), row[21],
        error_code=row[22], cancel_reason=row[23],
    )  # fmt: skip


def run_values(run: Run, namespace: str) -> dict[str, object]:
    """For RUN_INSERT and RUN_UPDATE."""
    values: dict[str, object] = {
        "run_id": run.run_id,
        "namespace": namespace,
        "workflow_name": run.workflow_name,
        "status": run.status,
        "created_at": to_microseconds(run.created_at),
        "updated_at": to_microseconds(run.updated_at),
        "last_slot": run.last_slot,
        "spec_version": run.spec_version,
        "deployment_id": run.deployment_id,
        "definition_hash": run.definition_hash,
        "idempotency_key": run.idempotency_key,
        "parent_run_id": run.parent_run_id,
        "replayed_from": run.replayed_from,
        "started_at": stored(run.started_at),
        "completed_at": stored(run.completed_at),
        "paused_at": stored(run.paused_at),
        "ended_slot": run.ended_slot,
        "epoch": run.epoch,
        "owner": run.owner,
        "wake_at": stored(run.wake_at),
        "seen_slot": run.seen_slot,
        "error_code": run.error_code,
        "cancel_reason": run.cancel_reason,
    }
    return {name: ABSENT if value is None else value for name, value in values.items()}


def run_moves(run: Run) -> tuple[object, ...]:
    """For RUN_MOVE: what a write may change of a run."""
    started, completed, paused, wake_at = run.started_at, run.completed_at, run.paused_at, run.wake_at
    return (
        run.status, to_microseconds(run.updated_at), run.last_slot,
        ABSENT if started is None else to_microseconds(started),
        ABSENT if completed is None else to_microseconds(completed),
        ABSENT if paused is None else to_microseconds(paused),
        ABSENT if run.ended_slot is None else run.ended_slot, run.epoch,
        ABSENT if run.owner is None else run.owner,
        ABSENT if wake_at is None else to_microseconds(wake_at), run.seen_slot,
        ABSENT if run.error_code is None else run.error_code,
        ABSENT if run.cancel_reason is None else run.cancel_reason,
    )  # fmt: skip


def step_from(run_id: str, row: Row) -> Step:
    return Step(run_id, *row[1:14], retry_after=moment(row[14]))  # type: ignore[misc]  # thirteen columns


def step_row(run_no: int, step: Step) -> tuple[object, ...]:
    """For STEP_INSERT."""
    started, ended, error, retry = step.started_slot, step.ended_slot, step.error_slot, step.retry_after
    return (
        run_no, step.step_id, step.key, step.step_name, step.status, step.created_slot, step.updated_slot, step.kind,
        ABSENT if step.child_run_id is None else step.child_run_id, step.attempt,
        ABSENT if started is None else started, ABSENT if ended is None else ended, ABSENT if error is None else error,
        ABSENT if step.hook_id is None else step.hook_id, ABSENT if retry is None else to_microseconds(retry),
    )  # fmt: skip


def step_moves(run_no: int, step: Step) -> tuple[object, ...]:
    """For STEP_UPDATE."""
    started, ended, error, retry = step.started_slot, step.ended_slot, step.error_slot, step.retry_after
    return (
        step.status, step.updated_slot, step.attempt,
        ABSENT if started is None else started, ABSENT if ended is None else ended, ABSENT if error is None else error,
        ABSENT if step.hook_id is None else step.hook_id, ABSENT if retry is None else to_microseconds(retry),
        run_no, step.step_id,
    )  # fmt: skip


def hook_from(run_id: str, row: Row, ended_slot: int | None = None) -> Hook:
    """``ended_slot`` is that of its run: what releases also a hook whose row still holds its token."""
    released = ended_slot if row[8] is None else row[8]
    return Hook(
        run_id, row[1], row[3], row[4], row[5], row[6], row[7], released, moment(row[9]), bool(row[10])
    )  # fmt: skip


_hook_values: Callable[[Hook], tuple[object, ...]] = attrgetter(*sql.HOOK_WRITE.params[3:-2])


def hook_row(run_no: int, namespace: str, hook: Hook) -> tuple[object, ...]:
    values = _hook_values(hook)
    return (run_no, hook.hook_id, namespace, *values, stored(hook.retention_until), int(hook.is_system))


def wait_from(run_id: str, row: Row) -> Wait:
    return Wait(run_id, *row[1:7], moment(row[7]), row[8], row[9])  # type: ignore[call-arg]  # six columns


def wait_row(run_no: int, wait: Wait) -> tuple[object, ...]:
    return (
        run_no, wait.wait_id, wait.kind, wait.status, wait.created_slot, wait.key, wait.signal_type,
        stored(wait.resume_at), wait.matched_slot, wait.completed_slot,
    )  # fmt: skip
