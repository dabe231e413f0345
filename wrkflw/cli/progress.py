"""A run as its stream tells of it, item by item: which steps and timers there are, and how each stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from wrkflw.results import StreamItem
from wrkflw.world import events as e

State: TypeAlias = Literal["running", "retrying", "waiting", "sleeping", "suspended", "completed", "failed", "skipped"]
ENDED: frozenset[State] = frozenset({"completed", "failed", "skipped"})


@dataclass
class Row:
    """A step call, or a wait."""

    key: str
    state: State
    failures: int = 0
    """Tries that ended in an error since it began or was last answered."""
    began: datetime | None = None
    ended: datetime | None = None
    until: datetime | None = None
    """When it goes on by itself, while it retries or sleeps."""
    note: str = ""

    @property
    def attempt(self) -> int:
        """Which try this is, from 1; those that were interrupted, or left for an answer, are not counted."""
        return self.failures + (self.state != "retrying")

    @property
    def took(self) -> timedelta | None:
        return None if self.began is None or self.ended is None else self.ended - self.began


@dataclass
class Progress:
    """``rows`` are in the order in which they began."""

    rows: dict[str, Row] = field(default_factory=dict[str, Row])
    paused: bool = False
    cursor: str | None = None
    _suspensions: dict[str, str] = field(default_factory=dict[str, str])

    def hear(self, item: StreamItem) -> Row | None:
        """Take an item in; the row that it changed."""
        self.cursor = item.cursor
        if item.event is None:
            return None
        event, at = item.event.event, item.event.created_at
        match event:
            case e.StepCreated() | e.StepStarted() | e.StepCompleted() | e.StepFailed() | e.StepRetrying():
                return self._step(event, at, item.key)
            case e.HookCreated(kind="suspend", step_id=str() as step_id) if step_id in self.rows:
                self._suspensions[event.correlation_id] = step_id
                return self._turn(step_id, "suspended", note="waits for an answer")
            case e.HookReceived() if event.correlation_id in self._suspensions:
                row = self._turn(self._suspensions[event.correlation_id], "running", note="answered")
                row.failures = 0
                return row
            case e.WaitCreated():
                sleeps = event.kind == "sleep"
                note = "" if sleeps else f"event {event.signal_type}"
                row = Row(event.key or "", "sleeping" if sleeps else "waiting", 0, at, None, event.resume_at, note)
                self.rows[event.correlation_id] = row
                return row
            case e.WaitCompleted() if event.correlation_id in self.rows:
                note = "" if event.cause == "elapsed" else event.cause
                return self._turn(event.correlation_id, "completed", at, note=note)
            case e.SignalReceived(signal_type=name):
                return next((self._arrived(row, at) for row in self.rows.values() if _waits_for(row, name)), None)
            case e.RunPaused() | e.RunResumed():
                self.paused = isinstance(event, e.RunPaused)
            case _:
                pass
        return None

    def _step(self, event: e.StepEvent, at: datetime, key: str | None) -> Row | None:
        name = event.correlation_id
        row = self.rows.setdefault(name, Row(key or name, "running"))
        match event:
            case e.StepCreated():
                row.note = "workflow" if (event.meta or {}).get("kind") == "workflow" else ""
                row.began = at
            case e.StepStarted():
                row.began = row.began or at
                self._turn(name, "running", note=row.note)
            case e.StepCompleted():
                skipped = bool((event.meta or {}).get("skipped"))
                self._turn(name, "skipped" if skipped else "completed", at)
            case e.StepFailed():
                self._turn(name, "failed", at)
            case e.StepRetrying(reason="suspended"):
                return None  # its hook says so
            case e.StepRetrying():
                self._turn(name, "retrying", note="" if event.reason == "error" else event.reason)
                row.failures += event.reason == "error"
                row.until = event.retry_after
        return row

    def _turn(self, name: str, state: State, ended: datetime | None = None, *, note: str = "") -> Row:
        row = self.rows[name]
        row.state, row.ended, row.note, row.until = state, ended, note, None
        return row

    @staticmethod
    def _arrived(row: Row, at: datetime) -> Row:
        row.state, row.ended, row.until = "completed", at, None
        return row


def _waits_for(row: Row, event: str) -> bool:
    return row.state == "waiting" and row.note == f"event {event}"
