"""The tables.  They define the schema and nothing else: rows become entities in ``rows``.

Inside the database a run is known by ``run_no``, a number that is never used twice, and everything of a run by its slot
in the log.  That keeps a step at three small events and one small row, and no datum stands twice.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Dialect, Index, Integer, MetaData, text
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import Field, SQLModel


class Int64(TypeDecorator[int]):
    """64 bits.  SQLite's INTEGER has them, and only a column of that name can be its row number."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Integer() if dialect.name == "sqlite" else BigInteger())


def _any_of(column: str, *values: str) -> str:
    # Not IN: for more than two values SQLite builds a table of them for every row it checks, at twice the row's cost.
    return " OR ".join(f"{column} = '{value}'" for value in values)


OPEN_FOR_A_SIGNAL = "status = 'waiting' AND matched_slot IS NULL AND signal_type IS NOT NULL"
WAITS_IN_QUEUE = "lease_owner IS NULL AND dead_at IS NULL"
HOLDS_PENDING = f"idempotency_key IS NOT NULL AND scope = 'pending' AND {WAITS_IN_QUEUE}"
HOLDS_INFLIGHT = "idempotency_key IS NOT NULL AND scope = 'inflight' AND dead_at IS NULL"


class Table(SQLModel):
    metadata: ClassVar[MetaData] = MetaData()


class RunRow(Table, table=True):
    """A run as its log adds it up; from ``epoch`` on, who works on it and when it is due.

    Times are microseconds since 1970, UTC, in every table.
    """

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint(
            _any_of("status", "pending", "running", "completed", "failed", "cancelled"), name="runs_status"
        ),
        Index(
            "runs_key",
            "namespace",
            "idempotency_key",
            "workflow_name",
            unique=True,
            sqlite_where=text("idempotency_key IS NOT NULL"),
        ),
        Index("runs_listed", "namespace", "created_at", "run_no"),
        Index(
            "runs_due",
            "namespace",
            "wake_at",
            sqlite_where=text("wake_at IS NOT NULL AND owner IS NULL AND paused_at IS NULL"),
        ),
        Index("runs_owned", "owner", sqlite_where=text("owner IS NOT NULL")),
        Index("runs_paused", "namespace", "created_at", "run_no", sqlite_where=text("paused_at IS NOT NULL")),
        {"sqlite_autoincrement": True},
    )

    run_no: int = Field(primary_key=True, sa_type=Int64)
    run_id: str = Field(unique=True)
    namespace: str
    workflow_name: str
    status: str
    created_at: int = Field(sa_type=Int64)
    updated_at: int = Field(sa_type=Int64)
    last_slot: int
    spec_version: int
    deployment_id: str
    definition_hash: str | None
    idempotency_key: str | None
    parent_run_id: str | None
    replayed_from: str | None
    started_at: int | None = Field(sa_type=Int64)
    completed_at: int | None = Field(sa_type=Int64)
    paused_at: int | None = Field(sa_type=Int64)
    ended_slot: int | None
    epoch: int
    owner: str | None
    wake_at: int | None = Field(sa_type=Int64)
    seen_slot: int
    error_code: str | None
    cancel_reason: str | None


class EventRow(Table, table=True):
    """The log.  ``subject`` is the slot that created the step, hook or wait which the event is about.

    ``codec`` is what encoded ``data`` and ``payload``; ``payload_ref`` the large payload that the event refers to.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index(
            "events_run_end",
            "run_no",
            unique=True,
            sqlite_where=text(_any_of("event_type", "run_completed", "run_failed", "run_cancelled")),
        ),
        Index("events_resume", "run_no", "resume_id", unique=True, sqlite_where=text("resume_id IS NOT NULL")),
        # What is recorded once, and has its id in no table of entities.
        Index(
            "events_once",
            "run_no",
            "correlation_id",
            "event_type",
            unique=True,
            sqlite_where=text(_any_of("event_type", "attr_set", "hook_conflict")),
        ),
        Index("events_large", "payload_ref", sqlite_where=text("payload_ref IS NOT NULL")),
        {"sqlite_with_rowid": False},
    )

    run_no: int = Field(primary_key=True, foreign_key="runs.run_no", sa_type=Int64)
    slot: int = Field(primary_key=True)
    event_type: str
    subject: int | None
    correlation_id: str | None
    data: str | None
    payload: bytes | None
    epoch: int | None
    resume_id: str | None
    created_at: int = Field(sa_type=Int64)
    codec: str | None
    payload_ref: str | None


class PayloadRow(Table, table=True):
    """A large payload, under the hash of its bytes as they are stored; without ``data`` the blob store has them.

    ``doomed`` ones are being deleted from there.
    """

    __tablename__ = "payloads"

    namespace: str = Field(primary_key=True)
    sha256: str = Field(primary_key=True)
    size: int
    last_used_at: int = Field(sa_type=Int64)
    doomed: bool
    data: bytes | None  # at the end: what stands before it is read without it


class StepRow(Table, table=True):
    """A step call.  Its input, output, error and times stand in the log, at the slots named here."""

    __tablename__ = "steps"
    __table_args__ = (
        CheckConstraint(_any_of("status", "pending", "running", "completed", "failed"), name="steps_status"),
        {"sqlite_with_rowid": False},
    )

    run_no: int = Field(primary_key=True, sa_type=Int64)  # that of its events, which the run is checked for
    step_id: str = Field(primary_key=True)
    key: str
    step_name: str
    status: str
    created_slot: int
    updated_slot: int
    kind: str
    child_run_id: str | None
    attempt: int
    started_slot: int | None
    ended_slot: int | None
    error_slot: int | None
    hook_id: str | None
    retry_after: int | None = Field(sa_type=Int64)


TRIGGERS = (
    # A second outcome of a step is refused by the database itself.  A unique index over the outcomes would say the
    # same, for a page more in every commit.
    "CREATE TRIGGER steps_end_once BEFORE UPDATE ON steps WHEN OLD.ended_slot IS NOT NULL "
    "BEGIN SELECT RAISE(ABORT, 'a step that has ended stays as it is'); END",
)


class HookRow(Table, table=True):
    __tablename__ = "hooks"
    __table_args__ = (
        Index("hooks_token", "namespace", "token", unique=True, sqlite_where=text("released_slot IS NULL")),
        {"sqlite_with_rowid": False},
    )

    run_no: int = Field(primary_key=True, foreign_key="runs.run_no", sa_type=Int64)
    hook_id: str = Field(primary_key=True)
    namespace: str
    token: str
    kind: str
    created_slot: int
    step_id: str | None
    payloads: int
    released_slot: int | None
    retention_until: int | None = Field(sa_type=Int64)
    is_system: bool


class WaitRow(Table, table=True):
    __tablename__ = "waits"
    __table_args__ = (
        Index("waits_open", "run_no", "signal_type", "created_slot", sqlite_where=text(OPEN_FOR_A_SIGNAL)),
        {"sqlite_with_rowid": False},
    )

    run_no: int = Field(primary_key=True, foreign_key="runs.run_no", sa_type=Int64)
    wait_id: str = Field(primary_key=True)
    kind: str
    status: str
    created_slot: int
    key: str | None
    signal_type: str | None
    resume_at: int | None = Field(sa_type=Int64)
    matched_slot: int | None
    completed_slot: int | None


class SignalRow(Table, table=True):
    """A signal that no wait has taken; it stands in the log at ``slot``."""

    __tablename__ = "signals"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_no: int = Field(primary_key=True, foreign_key="runs.run_no", sa_type=Int64)
    signal_type: str = Field(primary_key=True)
    slot: int = Field(primary_key=True)


class AttributeRow(Table, table=True):
    __tablename__ = "run_attributes"
    __table_args__ = (Index("attributes_found", "namespace", "key", "value"), {"sqlite_with_rowid": False})

    run_no: int = Field(primary_key=True, foreign_key="runs.run_no", sa_type=Int64)
    key: str = Field(primary_key=True)
    namespace: str
    value: str


class StreamRow(Table, table=True):
    """A stream of a run: how many chunks it has, and whether it is closed."""

    __tablename__ = "streams"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_no: int = Field(primary_key=True, foreign_key="runs.run_no", sa_type=Int64)
    stream: str = Field(primary_key=True)
    length: int
    done: bool


class ChunkRow(Table, table=True):
    """A chunk, where it stands among all that happened to its run: behind event ``after_slot``."""

    __tablename__ = "chunks"
    __table_args__ = (
        Index("chunks_of_stream", "run_no", "stream", "idx", unique=True),
        {"sqlite_with_rowid": False},
    )

    run_no: int = Field(primary_key=True, sa_type=Int64)  # that of its stream, which the run is checked for
    after_slot: int = Field(primary_key=True)
    number: int = Field(primary_key=True)
    stream: str
    idx: int
    data: bytes
    key: str | None
    attempt: int | None
    epoch: int | None
    created_at: int = Field(sa_type=Int64)
    codec: str | None


class MessageRow(Table, table=True):
    """A message of the queue: waiting, taken by ``lease_owner``, or dead.  ``epoch`` counts how often it was taken."""

    __tablename__ = "queue_messages"
    __table_args__ = (
        CheckConstraint(_any_of("scope", "pending", "inflight"), name="queue_scope"),
        Index("queue_pending", "namespace", "idempotency_key", unique=True, sqlite_where=text(HOLDS_PENDING)),
        Index("queue_inflight", "namespace", "idempotency_key", unique=True, sqlite_where=text(HOLDS_INFLIGHT)),
        Index("queue_due", "namespace", "available_at", sqlite_where=text(WAITS_IN_QUEUE)),
        Index("queue_leased", "lease_owner", sqlite_where=text("lease_owner IS NOT NULL")),
        Index("queue_dead", "namespace", "dead_at", sqlite_where=text("dead_at IS NOT NULL")),
        Index("queue_of_run", "run_id", sqlite_where=text("run_id IS NOT NULL")),
    )

    message_no: int = Field(primary_key=True, sa_type=Int64)
    message_id: str = Field(unique=True)
    namespace: str
    queue_name: str
    run_id: str | None
    body: bytes
    headers: str | None
    idempotency_key: str | None
    scope: str
    epoch: int
    attempt: int
    failures: int
    available_at: int = Field(sa_type=Int64)
    lease_owner: str | None
    last_error: str | None
    dead_at: int | None = Field(sa_type=Int64)
    created_at: int = Field(sa_type=Int64)


class CrashRow(Table, table=True):
    """How many processes in a row have died while they had the run."""

    __tablename__ = "crashes"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_no: int = Field(primary_key=True, foreign_key="runs.run_no", sa_type=Int64)
    times: int


class RetainedRow(Table, table=True):
    """When a run that has ended is to lose its payloads.  It may be deleted before that."""

    __tablename__ = "retained"
    __table_args__ = ({"sqlite_with_rowid": False},)

    namespace: str = Field(primary_key=True)
    due_at: int = Field(primary_key=True, sa_type=Int64)
    run_no: int = Field(primary_key=True, sa_type=Int64)


class ExpiredRow(Table, table=True):
    """A run whose payloads were removed, or are being."""

    __tablename__ = "expired"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_no: int = Field(primary_key=True, foreign_key="runs.run_no", sa_type=Int64)
    expired_at: int = Field(sa_type=Int64)


class ScheduleRow(Table, table=True):
    """A schedule, and the last of its instants that was considered, at ``cursor``."""

    __tablename__ = "schedules"
    __table_args__ = (
        Index("schedules_changed", "namespace", "version"),
        {"sqlite_with_rowid": False},
    )

    namespace: str = Field(primary_key=True)
    schedule_id: str = Field(primary_key=True)
    workflow_name: str
    timing: str
    timezone: str
    catchup: str
    overlap: str
    cursor: int = Field(sa_type=Int64)
    paused_at: int | None = Field(sa_type=Int64)
    last_run_id: str | None
    version: int


class ScheduledRow(Table, table=True):
    """A run of a schedule whose runs do not overlap; for as long as it is open, or a little longer."""

    __tablename__ = "scheduled_runs"
    __table_args__ = ({"sqlite_with_rowid": False},)

    namespace: str = Field(primary_key=True)
    schedule_id: str = Field(primary_key=True)
    run_no: int = Field(primary_key=True, sa_type=Int64)


class MissedRow(Table, table=True):
    """An instant of a schedule that made no run, though it was to."""

    __tablename__ = "missed_instants"
    __table_args__ = ({"sqlite_with_rowid": False},)

    namespace: str = Field(primary_key=True)
    schedule_id: str = Field(primary_key=True)
    instant: int = Field(primary_key=True, sa_type=Int64)
    reason: str


class CursorRow(Table, table=True):
    """How far a source outside of the database was read, and the process that reads it."""

    __tablename__ = "cursors"
    __table_args__ = ({"sqlite_with_rowid": False},)

    namespace: str = Field(primary_key=True)
    source: str = Field(primary_key=True)
    position: str | None
    owner: str | None


class OwnerRow(Table, table=True):
    """A process that claims runs; it counts as alive until ``lease_until``, which it moves on while it lives."""

    __tablename__ = "owners"
    __table_args__ = ({"sqlite_with_rowid": False},)

    owner: str = Field(primary_key=True)
    lease_until: int = Field(sa_type=Int64)
