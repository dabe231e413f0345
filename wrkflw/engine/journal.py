"""What a run did before, by key: the event log as replay reads it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias, cast

from wrkflw.errors import StoreError
from wrkflw.world import events as e

RecordStatus: TypeAlias = Literal["pending", "running", "retrying", "completed", "failed", "cancelled"]
RunStanding: TypeAlias = Literal["pending", "running", "completed", "failed", "cancelled"]


@dataclass(slots=True)
class Record:
    """One step call."""

    key: str
    name: str
    correlation_id: str
    input: bytes | None
    status: RecordStatus = "pending"
    output: bytes | None = None
    error: bytes | None = None
    refusal: bytes | None = None
    """The error it ends with before any try, because its input does not fit."""
    failures: int = 0
    """Tries that ended in an error: what the retry policy counts."""
    interruptions: int = 0
    """Tries whose worker was lost before they ended."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    retry_after: datetime | None = None
    ended: int | None = None
    """Its place among the calls that ended."""

    @property
    def attempt(self) -> int:
        """Tries that ended or are running, from 1; interrupted ones are not counted."""
        return self.failures + (self.status in ("running", "completed"))


@dataclass(slots=True)
class Journal:
    """The log added up.  ``last_slot`` is how far it was read."""

    run_id: str
    workflow_name: str = ""
    definition_hash: str | None = None
    status: RunStanding = "pending"
    last_slot: int = 0
    input: bytes | None = None
    output: bytes | None = None
    error: bytes | None = None
    cancel_reason: str | None = None
    paused_by: Literal["user", "engine"] | None = None
    pause_reason: str | None = None
    initial_state: object = None
    state: object = None
    """All that is committed, as JSON values."""
    records: dict[str, Record] = field(default_factory=dict[str, Record])
    """By key, in the order in which they were first started."""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    _by_id: dict[str, Record] = field(default_factory=dict[str, Record])
    _ended: int = 0

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "failed", "cancelled")

    @classmethod
    def of(cls, run_id: str, log: Iterable[e.StoredEvent]) -> Journal:
        journal = cls(run_id)
        for stored in log:
            if stored.slot != journal.last_slot + 1:
                raise StoreError(
                    f"the log of run {run_id!r} has slot {stored.slot} after {journal.last_slot}; restore a backup"
                )
            journal.add(stored.event, stored.created_at)
        return journal

    def add(self, event: e.NewEvent, at: datetime | None = None) -> None:
        """The next event of the log.  ``at`` is when it was recorded, where that is known."""
        self.last_slot += 1
        self.updated_at = at or self.updated_at
        match event:
            case e.StepCreated():
                record = Record(event.key, event.step_name, event.correlation_id, event.input)
                if event.meta is not None and "error" in event.meta:
                    record.refusal = str(event.meta["error"]).encode()
                self.records[event.key] = self._by_id[event.correlation_id] = record
            case e.StepStarted():
                record = self._by_id[event.correlation_id]
                if record.status == "running":
                    record.interruptions += 1  # the try before was lost with its worker
                record.status, record.retry_after = "running", None
                record.started_at = record.started_at or at
            case e.StepCompleted():
                record = self._by_id[event.correlation_id]
                self._end(record, "completed", at)
                record.output, record.error = event.result, None
                if event.meta is not None and "state" in event.meta:
                    self.state = merged(self.state, cast("Any", event.meta["state"]))
            case e.StepFailed():
                record = self._by_id[event.correlation_id]
                self._end(record, "failed", at)
                record.error = event.error
                record.failures += 1
            case e.StepRetrying():
                self._retry(self._by_id[event.correlation_id], event)
            case _:
                self._add_run_event(event, at)

    def _end(self, record: Record, status: RecordStatus, at: datetime | None) -> None:
        record.status, record.ended_at, record.retry_after = status, at, None
        record.ended = self._ended
        self._ended += 1

    def _retry(self, record: Record, event: e.StepRetrying) -> None:
        record.status, record.retry_after = "retrying", event.retry_after
        if event.reason == "error":
            record.failures += 1
            record.error = event.error
        elif event.reason == "lost":
            record.interruptions += 1

    def _add_run_event(self, event: e.NewEvent, at: datetime | None) -> None:
        match event:
            case e.RunCreated():
                self.workflow_name, self.definition_hash = event.workflow_name, event.definition_hash
                self.input, self.created_at = event.input, at
                self.initial_state = self.state = (event.execution_context or {}).get("state")
            case e.RunStarted():
                self.status = "running"
            case e.RunCompleted():
                self.status, self.output = "completed", event.output
            case e.RunFailed():
                self.status, self.error = "failed", event.error
            case e.RunCancelled():
                self.status, self.cancel_reason = "cancelled", event.cancel_reason
            case e.RunPaused():
                self.paused_by = "engine" if (event.detail or {}).get("by") == "engine" else "user"
                self.pause_reason = event.reason
            case e.RunResumed():
                self.paused_by = self.pause_reason = None
            case _:
                pass
        if event.event_type in e.RUN_ENDS:
            self.paused_by = None
            for record in self.records.values():
                if record.status in ("pending", "retrying"):
                    record.status, record.retry_after = "cancelled", None


def merged(state: object, delta: dict[str, Any]) -> object:
    """The state after a step: its fields that ``delta`` names replaced, others kept."""
    if "whole" in delta:
        return delta["whole"]
    before = cast("dict[str, object]", state) if isinstance(state, dict) else {}
    after: dict[str, object] = {**before, **delta.get("set", {})}
    for name in delta.get("unset", ()):
        after.pop(name, None)
    return after


def difference(before: object, after: object) -> dict[str, Any] | None:
    """What :func:`merged` needs to make ``after`` of ``before``; None when they are equal."""
    if before == after:
        return None
    if not isinstance(before, dict) or not isinstance(after, dict):
        return {"whole": after}
    old, new = cast("dict[str, object]", before), cast("dict[str, object]", after)
    changed = {name: value for name, value in new.items() if name not in old or old[name] != value}
    gone = [name for name in old if name not in new]
    return {"set": changed, "unset": gone} if gone else {"set": changed}
