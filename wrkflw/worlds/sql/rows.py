"""Rows to entities and events, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any, cast, get_args

from pydantic_core import to_json

from wrkflw.clock import from_microseconds, to_microseconds
from wrkflw.world import events as e
from wrkflw.world.entities import Hook, Run, Step, Wait

from . import compiled as sql
from .database import Row


def moment(stored: int | None) -> datetime | None:
    return None if stored is None else from_microseconds(stored)


def stored(when: datetime | None) -> int | None:
    return None if when is None else to_microseconds(when)


# --- entities ----------------------------------------------------------------------------------------


def run_from(row: Row) -> Run:
    """The columns of ``runs``, in their order, without those that number and place it."""
    return Run(  # type: ignore[call-arg,misc]  # seven columns, which mypy cannot count
        row[1], row[3], row[4], from_microseconds(row[5]), from_microseconds(row[6]), *row[7:14],
        moment(row[14]), moment(row[15]), moment(row[16]), row[17], row[18], row[19], moment(row[20]), row[21],
        error_code=row[22], cancel_reason=row[23],
    )  # fmt: skip


def run_values(run: Run, namespace: str) -> dict[str, object]:
    return {
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


def step_from(run_id: str, row: Row) -> Step:
    return Step(run_id, *row[1:14], retry_after=moment(row[14]))  # type: ignore[misc]  # thirteen columns


_step_values: Callable[[Step], tuple[object, ...]] = attrgetter(*sql.STEP_WRITE.params[1:-1])


def step_row(run_no: int, step: Step) -> tuple[object, ...]:
    return (run_no, *_step_values(step), stored(step.retry_after))


def hook_from(run_id: str, row: Row) -> Hook:
    return Hook(
        run_id, row[1], row[3], row[4], row[5], row[6], row[7], row[8], moment(row[9]), bool(row[10])
    )  # fmt: skip


def hook_values(run_no: int, namespace: str, hook: Hook) -> dict[str, object]:
    return {
        "run_no": run_no,
        "hook_id": hook.hook_id,
        "namespace": namespace,
        "token": hook.token,
        "kind": hook.kind,
        "created_slot": hook.created_slot,
        "step_id": hook.step_id,
        "payloads": hook.payloads,
        "released_slot": hook.released_slot,
        "retention_until": stored(hook.retention_until),
        "is_system": int(hook.is_system),
    }


def wait_from(run_id: str, row: Row) -> Wait:
    return Wait(run_id, *row[1:7], moment(row[7]), row[8], row[9])  # type: ignore[call-arg]  # six columns


def wait_values(run_no: int, wait: Wait) -> dict[str, object]:
    return {
        "run_no": run_no,
        "wait_id": wait.wait_id,
        "kind": wait.kind,
        "status": wait.status,
        "created_slot": wait.created_slot,
        "key": wait.key,
        "signal_type": wait.signal_type,
        "resume_at": stored(wait.resume_at),
        "matched_slot": wait.matched_slot,
        "completed_slot": wait.completed_slot,
    }


# --- events ------------------------------------------------------------------------------------------

_CLASSES: dict[str, type[Any]] = {
    cls.model_fields["event_type"].default: cls for cls in get_args(get_args(e.NewEvent)[0])
}
# Fields that have a column of their own; ``data`` holds the others, as far as they were set.
_COLUMNS: dict[str, frozenset[str | None]] = {
    event_type: frozenset({"event_type", "correlation_id", cls.payload}) for event_type, cls in _CLASSES.items()
}


def event_columns(event: e.NewEvent) -> tuple[str | None, bytes | None]:
    """``data`` and ``payload`` of an event."""
    values = event.__dict__
    payload = values[event.payload] if event.payload is not None else None
    given = event.__pydantic_fields_set__ - _COLUMNS[event.event_type]
    if not given:
        return None, payload
    data = {name: value for name in sorted(given) if (value := values[name]) is not None}
    return to_json(data).decode() if data else None, payload


def signal_type_of(data: str) -> str:
    """From the ``data`` of a ``signal_received``."""
    return str(json.loads(data)["signal_type"])


def event_from(run_id: str, row: Row, *, payloads: bool) -> e.StoredEvent:
    """The columns of a log statement: slot, type, correlation id, data, payload, epoch, time."""
    slot, event_type, correlation_id, data, payload, epoch, created_at = row
    cls = _CLASSES[event_type]
    values = cast("dict[str, object]", json.loads(data)) if data is not None else {}
    if correlation_id is not None:
        values["correlation_id"] = correlation_id
    if payloads and payload is not None:
        values[cls.payload] = payload
    event = cls.model_validate(values)
    return e.StoredEvent.model_construct(
        run_id=run_id, slot=slot, event=event, epoch=epoch, created_at=from_microseconds(created_at)
    )
