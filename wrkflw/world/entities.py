"""Run, step, hook and wait, as the event log adds them up.

An entity points into the log (``created_slot``, ``ended_slot`` …) instead of repeating what stands there.  Payloads
and times are looked up when an entity is read; with ``resolve_data="none"`` payloads stay None.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Literal, TypeAlias, TypeVar

from .events import Meta

RunStatus: TypeAlias = Literal["pending", "running", "completed", "failed", "cancelled"]
StepStatus: TypeAlias = Literal["pending", "running", "completed", "failed"]
WaitStatus: TypeAlias = Literal["waiting", "completed"]
Detail: TypeAlias = Literal["paused", "suspended", "waiting", "sleeping"]


@dataclass(slots=True)
class Run:
    """One execution of a workflow.

    ``epoch``, ``owner``, ``wake_at`` and ``seen_slot`` are operational: not part of the log.  So is the claim on
    ``idempotency_key``, which a later run can take over; the key itself stays in ``run_created``.
    """

    run_id: str
    workflow_name: str
    status: RunStatus
    created_at: datetime
    updated_at: datetime
    last_slot: int = 0
    spec_version: int = 1
    deployment_id: str = "dpl_local"
    definition_hash: str | None = None
    idempotency_key: str | None = None
    parent_run_id: str | None = None
    replayed_from: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    paused_at: datetime | None = None
    ended_slot: int | None = None
    epoch: int = 0
    owner: str | None = None
    wake_at: datetime | None = None
    seen_slot: int = 0
    attributes: dict[str, str] = field(default_factory=dict)
    detail: Detail | None = None
    input: bytes | None = None
    output: bytes | None = None
    error: bytes | None = None
    error_code: str | None = None
    cancel_reason: str | None = None
    expired_at: datetime | None = None
    """When its payloads began to be removed, after the time for which they were to be kept."""
    execution_context: Meta | None = None
    """Looked up with the payloads, as it may be as large."""

    @property
    def ended(self) -> bool:
        return self.ended_slot is not None


@dataclass(slots=True)
class Step:
    """One call of a step, known by its ``key``."""

    run_id: str
    step_id: str
    key: str
    step_name: str
    status: StepStatus
    created_slot: int
    updated_slot: int
    kind: Literal["step", "child"] = "step"
    child_run_id: str | None = None
    attempt: int = 0
    """How often the body was started, interruptions included."""
    started_slot: int | None = None
    ended_slot: int | None = None
    error_slot: int | None = None
    hook_id: str | None = None
    """The hook whose payload it waits for, once it has suspended."""
    retry_after: datetime | None = None
    lease_owner: str | None = None
    """Who executes it while it runs, where that is not the owner of the run; looked up when it is read."""
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    updated_at: datetime | None = None
    input: bytes | None = None
    output: bytes | None = None
    error: bytes | None = None


@dataclass(slots=True)
class Hook:
    """A place where the outside can hand something in, found by its token."""

    run_id: str
    hook_id: str
    token: str
    kind: Literal["hook", "webhook", "suspend"]
    created_slot: int
    step_id: str | None = None
    payloads: int = 0
    """How many payloads it has received."""
    released_slot: int | None = None
    retention_until: datetime | None = None
    is_system: bool = False
    created_at: datetime | None = None
    metadata: bytes | None = None
    owner_id: str | None = None
    project_id: str | None = None
    environment: str | None = None

    def outlasts(self, end: datetime) -> bool:
        """Whether it keeps its token when its run ends at this moment: it can be read then, but not answered."""
        return self.retention_until is not None and self.retention_until > end


@dataclass(slots=True)
class Wait:
    """A place where a run sleeps until a time, or waits for a signal."""

    run_id: str
    wait_id: str
    kind: Literal["sleep", "signal"]
    status: WaitStatus
    created_slot: int
    key: str | None = None
    signal_type: str | None = None
    resume_at: datetime | None = None
    matched_slot: int | None = None
    completed_slot: int | None = None
    created_at: datetime | None = None
    completed_at: datetime | None = None


_Entity = TypeVar("_Entity", Run, Step, Hook, Wait)
_values_of = {kind: attrgetter(*(field.name for field in fields(kind))) for kind in (Run, Step, Hook, Wait)}


def copy_of(entity: _Entity) -> _Entity:
    """The entity as it is now; what is kept of it may go on changing.  Six times as fast as ``dataclasses.replace``."""
    kind = type(entity)
    return kind(*_values_of[kind](entity))
