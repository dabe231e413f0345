"""What the log says of one thing a run does: a step call, a nested workflow, a wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal, TypeAlias

RecordStatus: TypeAlias = Literal[
    "pending", "running", "retrying", "waiting", "completed", "failed", "skipped", "cancelled"
]
RecordKind: TypeAlias = Literal["step", "workflow", "patch"]


@dataclass(slots=True)
class SuspensionRecord:
    """One place where the body of a step asked, and waits for the answer."""

    hook_id: str
    token: str
    payload: bytes
    since: datetime | None
    until: datetime | None = None
    """When the body goes on without an answer."""
    answer: bytes | None = None
    answered_at: datetime | None = None
    closed: bool = False
    """Whether its time passed without an answer."""

    @property
    def open(self) -> bool:
        return self.answer is None and not self.closed


@dataclass(slots=True)
class Record:
    """One step call, or one use of a nested workflow."""

    key: str
    name: str
    correlation_id: str
    input: bytes | None = None
    kind: RecordKind = "step"
    status: RecordStatus = "pending"
    output: bytes | None = None
    error: bytes | None = None
    failures: int = 0
    """Tries that ended in an error since it began or was last answered: what the retry policy counts."""
    interruptions: int = 0
    """Tries whose worker was lost before they ended."""
    started_at: datetime | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    retry_after: datetime | None = None
    ended: int | None = None
    """The slot of its end."""
    meta: dict[str, Any] | None = None
    """What its creation says beside the input: the first state of a nested workflow, the size of a foreach."""
    delta: dict[str, Any] | None = None
    """What it changed in the state."""
    bailed: bool = False
    """Whether it ended its workflow, with its output."""
    suspensions: tuple[SuspensionRecord, ...] = ()

    @property
    def attempt(self) -> int:
        """Tries that ended or are running, from 1; interrupted ones are not counted."""
        return self.failures + (self.status in ("running", "completed", "waiting"))

    @property
    def interrupted(self) -> bool:
        """Whether its body was begun, and no process that is known of has seen its end."""
        return self.status == "running" or (self.status == "retrying" and self.retry_after is None)

    @property
    def succeeded(self) -> bool:
        """Whether it has a result of its own."""
        return (self.status == "completed" and not self.bailed) or self.status == "skipped"

    @property
    def is_over(self) -> bool:
        """Whether nothing that is recorded changes it any more."""
        return self.ended is not None and self.suspension is None

    @property
    def suspension(self) -> SuspensionRecord | None:
        """The one that its body waits for."""
        return self.suspensions[-1] if self.suspensions and self.suspensions[-1].open else None


@dataclass(slots=True)
class WaitRecord:
    """One sleep, or one wait for an event."""

    key: str
    wait_id: str
    kind: Literal["sleep", "signal"]
    signal_type: str | None
    resume_at: datetime | None
    payload: bytes | None = None
    taken: int | None = None
    """The slot of the event that it took."""
    cause: Literal["elapsed", "timeout", "woken", "cancelled"] | None = None
    """Why it is over, if it is, other than by an event."""
    ended: int | None = None
    """The slot by which it is over."""
    ended_at: datetime | None = None
    ended_before: datetime | None = None
    """When it ended in the run that was forked, where it was taken over: what a program takes the time from."""

    @property
    def open(self) -> bool:
        return self.ended is None


@dataclass(slots=True)
class ScopeRecords:
    """What one scope of a run has begun, by id and in order."""

    by_id: dict[str, list[Record | WaitRecord]] = field(default_factory=dict)
    last: str = ""
    """The id of what began last."""
    endings: list[str] = field(default_factory=list)
    """The keys of what is over, in the order of the log."""

    def copy(self, twin_of: Callable[[Record | WaitRecord], Record | WaitRecord]) -> ScopeRecords:
        """The same of other records; ``twin_of`` tells which stand for these."""
        by_id = {id: [twin_of(one) for one in found] for id, found in self.by_id.items()}
        return ScopeRecords(by_id, self.last, self.endings.copy())


_suspension_fields: Callable[[SuspensionRecord], tuple[Any, ...]] = attrgetter(
    *(field.name for field in fields(SuspensionRecord))
)
_record_fields: Callable[[Record], tuple[Any, ...]] = attrgetter(*(field.name for field in fields(Record)))
_wait_fields: Callable[[WaitRecord], tuple[Any, ...]] = attrgetter(*(field.name for field in fields(WaitRecord)))


def copy_record(record: Record) -> Record:
    twin = Record(*_record_fields(record))
    twin.suspensions = tuple(SuspensionRecord(*_suspension_fields(one)) for one in record.suspensions)
    return twin


def copy_wait(wait: WaitRecord) -> WaitRecord:
    return WaitRecord(*_wait_fields(wait))
