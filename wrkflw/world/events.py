"""What can happen to a run: the event types, as one tagged union.

Payload fields are bytes, which the World keeps and never reads.  Everything else is small and open.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Literal, NamedTuple, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from .attributes import LONGEST

CorrelationId: TypeAlias = Annotated[str, StringConstraints(max_length=128, pattern=r"^[A-Za-z0-9_-]+$")]
"""The World's id of a step, hook, wait or attribute change: unique in its run."""
WorkflowName: TypeAlias = Annotated[str, StringConstraints(max_length=256, pattern=r"^[A-Za-z0-9_\-./@()\[\]]+$")]
StepName: TypeAlias = Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00-\x1f\x7f#/]+$")]
Key: TypeAlias = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00-\x1f\x7f]+$")]
Token: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
ResumeDigest: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=256)]
"""What the caller took its request for the same by, when that is not the payload."""
Meta: TypeAlias = dict[str, JsonValue]

Subject: TypeAlias = Literal["run", "step", "hook", "wait", "attribute"]


class _Event(BaseModel):
    # Each is built when first used: together they would be half of what importing the package takes.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    subject: ClassVar[Subject] = "run"
    payload: ClassVar[str | None] = None
    """The name of the field that holds the opaque payload."""


class _About(_Event):
    """An event about one step, hook, wait or attribute change of the run."""

    correlation_id: CorrelationId


class OfStep(_About):
    """An event about a step."""

    subject = "step"


class OfHook(_About):
    """An event about a hook."""

    subject = "hook"


class OfWait(_About):
    """An event about a wait."""

    subject = "wait"


# --- runs --------------------------------------------------------------------------------------------


class RunCreated(_Event):
    """The run exists.  ``idempotency_key``: same key, same run, within a workflow."""

    payload = "input"
    event_type: Literal["run_created"] = "run_created"
    workflow_name: WorkflowName
    deployment_id: str = "dpl_local"
    input: bytes | None = None
    execution_context: Meta | None = None
    attributes: dict[str, str] | None = None
    allow_reserved_attributes: bool = False
    definition_hash: str | None = None
    idempotency_key: str | None = None
    parent_run_id: str | None = None
    replayed_from: str | None = None


class RunStarted(_Event):
    """A worker began to advance the run.  ``creation`` creates it, should its own event have been lost."""

    event_type: Literal["run_started"] = "run_started"
    creation: RunCreated | None = None


class RunCompleted(_Event):
    payload = "output"
    event_type: Literal["run_completed"] = "run_completed"
    output: bytes | None = None
    meta: Meta | None = None


class RunFailed(_Event):
    payload = "error"
    event_type: Literal["run_failed"] = "run_failed"
    error: bytes | None = None
    error_code: Annotated[str, StringConstraints(max_length=256)] | None = None


class RunCancelled(_Event):
    event_type: Literal["run_cancelled"] = "run_cancelled"
    cancel_reason: Annotated[str, StringConstraints(max_length=512)] | None = None


class RunPaused(_Event):
    event_type: Literal["run_paused"] = "run_paused"
    reason: str | None = None
    detail: Meta | None = None


class RunResumed(_Event):
    event_type: Literal["run_resumed"] = "run_resumed"
    reason: str | None = None


class AttributeChange(BaseModel):
    """One attribute set, or deleted when ``value`` is None."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    key: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)]
    value: str | None


class AttrSet(_Event):
    subject = "attribute"
    event_type: Literal["attr_set"] = "attr_set"
    correlation_id: CorrelationId | None = None
    changes: list[AttributeChange]
    writer: str = "program"
    allow_reserved_attributes: bool = False


# --- steps -------------------------------------------------------------------------------------------


class StepCreated(OfStep):
    payload = "input"
    event_type: Literal["step_created"] = "step_created"
    step_name: StepName
    key: Key
    kind: Literal["step", "child"] = "step"
    child_run_id: str | None = None
    input: bytes | None = None
    meta: Meta | None = None


class StepStarted(OfStep):
    """A try of the body begins.  With ``step_name`` it is *lazy*: it creates the step as well."""

    payload = "input"
    event_type: Literal["step_started"] = "step_started"
    step_name: StepName | None = None
    key: Key | None = None
    input: bytes | None = None
    attempt: int | None = None
    owner: str | None = None
    meta: Meta | None = None


class StepCompleted(OfStep):
    payload = "result"
    event_type: Literal["step_completed"] = "step_completed"
    result: bytes | None = None
    meta: Meta | None = None


class StepFailed(OfStep):
    payload = "error"
    event_type: Literal["step_failed"] = "step_failed"
    error: bytes | None = None
    fatal: bool = False
    meta: Meta | None = None


class StepRetrying(OfStep):
    """The try ended without an outcome; the next begins not before ``retry_after``."""

    payload = "error"
    event_type: Literal["step_retrying"] = "step_retrying"
    error: bytes | None = None
    retry_after: AwareDatetime | None = None
    reason: Literal["error", "lost", "released", "suspended"] = "error"
    hook_id: CorrelationId | None = None
    meta: Meta | None = None


# --- hooks and signals -------------------------------------------------------------------------------


class HookCreated(OfHook):
    """The run holds ``token``; past its end too, until ``token_retention_until``, when that is later.

    The World says whose it is: ``owner_id``, ``project_id`` and ``environment`` are its own.
    """

    payload = "metadata"
    event_type: Literal["hook_created"] = "hook_created"
    token: Token
    kind: Literal["hook", "webhook", "suspend"] = "hook"
    step_id: CorrelationId | None = None
    metadata: bytes | None = None
    token_retention_until: AwareDatetime | None = None
    is_system: bool = False
    owner_id: str = "local"
    project_id: str = "default"
    environment: str = "development"


class HookConflict(OfHook):
    """Another run holds the token.  Written by the World alone, in place of ``hook_created``."""

    event_type: Literal["hook_conflict"] = "hook_conflict"
    token: Token
    conflicting_run_id: str


class HookReceived(OfHook):
    payload = "payload_data"
    event_type: Literal["hook_received"] = "hook_received"
    token: Token | None = None
    payload_data: bytes | None = None
    resume_digest: ResumeDigest | None = None


class HookDisposed(OfHook):
    event_type: Literal["hook_disposed"] = "hook_disposed"
    token: Token | None = None


class SignalReceived(_Event):
    payload = "payload_data"
    event_type: Literal["signal_received"] = "signal_received"
    signal_type: StepName
    payload_data: bytes | None = None
    resume_digest: ResumeDigest | None = None


# --- waits -------------------------------------------------------------------------------------------


class WaitCreated(OfWait):
    event_type: Literal["wait_created"] = "wait_created"
    kind: Literal["sleep", "signal"] = "sleep"
    key: Key | None = None
    resume_at: AwareDatetime | None = None
    signal_type: StepName | None = None
    meta: Meta | None = None


class WaitCompleted(OfWait):
    event_type: Literal["wait_completed"] = "wait_completed"
    cause: Literal["elapsed", "timeout", "woken", "cancelled"] = "elapsed"


# --- reserved ----------------------------------------------------------------------------------------


class Noop(_Event):
    """A place in the log that says nothing.  Never created here; who reads one goes on to the next."""

    event_type: Literal["noop"] = "noop"
    sealed: bool = False


RunEvent: TypeAlias = (
    RunCreated
    | RunStarted
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunPaused
    | RunResumed
    | AttrSet
    | SignalReceived
    | Noop
)
StepEvent: TypeAlias = StepCreated | StepStarted | StepCompleted | StepFailed | StepRetrying
HookEvent: TypeAlias = HookCreated | HookConflict | HookReceived | HookDisposed
WaitEvent: TypeAlias = WaitCreated | WaitCompleted
NewEvent: TypeAlias = Annotated[RunEvent | StepEvent | HookEvent | WaitEvent, Field(discriminator="event_type")]
"""Any event.  ``lock_*`` is reserved; of ``RESERVED`` none is created by a caller."""

EventType: TypeAlias = Literal[
    "run_created", "run_started", "run_completed", "run_failed", "run_cancelled", "run_paused", "run_resumed",
    "attr_set", "step_created", "step_started", "step_completed", "step_failed", "step_retrying",
    "hook_created", "hook_conflict", "hook_received", "hook_disposed", "signal_received",
    "wait_created", "wait_completed", "noop",
]  # fmt: skip

RESERVED: frozenset[str] = frozenset({"hook_conflict", "noop"})
"""Events that may stand in a log, but are not for callers to write."""
RUN_ENDS: frozenset[str] = frozenset({"run_completed", "run_failed", "run_cancelled"})
STEP_EVENTS: frozenset[str] = frozenset({
    "step_created", "step_started", "step_completed", "step_failed", "step_retrying",
})  # fmt: skip


class StoredEvent(NamedTuple):
    """An event in the log of a run: number ``slot``, dense from 1."""

    run_id: str
    slot: int
    event: NewEvent
    epoch: int | None
    """The claim under which the run's owner wrote it; None when it came from outside."""
    created_at: datetime
    """By the store's clock, in UTC; never before that of an earlier slot."""

    @property
    def event_id(self) -> str:
        return event_id(self.slot)

    @property
    def event_type(self) -> EventType:
        return self.event.event_type

    @property
    def correlation_id(self) -> str | None:
        return getattr(self.event, "correlation_id", None)


def event_id(slot: int) -> str:
    """``evnt_`` and the slot as 26 digits."""
    return f"evnt_{slot:026d}"
