"""What a run did before, by key: the event log as replay reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, cast

from wrkflw.garbage import collecting_later
from wrkflw.world import events as e
from wrkflw.world.entities import RunStatus
from wrkflw.world.errors import DamagedPayloadError
from wrkflw.world.schedules import is_of_instant

from . import failures
from .keys import id_of, scope_of
from .records import Record, RecordStatus, ScopeRecords, SuspensionRecord, WaitRecord, copy_record, copy_wait
from .signals import Signals

if TYPE_CHECKING:
    from .definition import Definition

_WITH_ERRORS = (e.StepFailed, e.StepRetrying)


@dataclass(slots=True)
class Journal:
    """The log added up.  ``last_slot`` is how far it was read."""

    run_id: str
    workflow_name: str = ""
    status: RunStatus = "pending"
    last_slot: int = 0
    input: bytes | None = None
    output: bytes | None = None
    error: bytes | None = None
    error_code: str | None = None
    bailed: bool = False
    """Whether the output is that of a step which ended the run early."""
    cancel_reason: str | None = None
    paused_by: Literal["user", "engine"] | None = None
    pause_reason: str | None = None
    initial_state: object = None
    seed: str = ""
    """What the chance and the ids of a program are made from: its run's id, or that of the run that was forked."""
    records: dict[str, Record] = field(default_factory=dict)
    """By key, in the order in which they began."""
    waits: dict[str, WaitRecord] = field(default_factory=dict)
    """The same of sleeps and waits for events."""
    scopes: dict[str, ScopeRecords] = field(default_factory=dict)
    """All of these, by the scope they belong to."""
    stirred: list[str] = field(default_factory=list)
    """The hooks that were answered and the waits that are over, in that order: what may set a branch going again."""
    began_at: datetime | None = None
    """When its code begins, by its own clock."""
    trace: dict[str, str] = field(default_factory=dict)
    """What an observer has left with it when it was created."""
    created_at: datetime | None = None
    due_at: datetime | None = None
    """When it was to begin, where it was created with a delay or had to wait for its turn."""
    is_fork: bool = False
    """Whether it took over what another run had recorded."""
    of_instant: bool = False
    """Whether a schedule created it, so that it may have to wait for its turn."""
    fits: Definition | None = None
    """The definition that it was found to fit; what a drive records itself always does."""
    _by_correlation_id: dict[str, Record] = field(default_factory=dict)
    _hooks: dict[str, tuple[Record, SuspensionRecord]] = field(default_factory=dict)
    _signals: Signals | None = None
    """Made with the first wait or event."""

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "failed", "cancelled")

    @property
    def size(self) -> int:
        """Bytes of the values it holds."""
        values = [self.input, self.output]
        for record in self.records.values():
            values += (record.input, record.output, *(one.payload for one in record.suspensions))
        values += (wait.payload for wait in self.waits.values())
        return sum(len(value) for value in values if value is not None)

    def begun(self, prefix: str, id: str) -> list[Record | WaitRecord]:
        """The uses of a step or wait in one scope, in order."""
        scope = self.scopes.get(prefix)
        return [] if scope is None else scope.by_id.get(id, [])

    def open_keys(self, prefix: str = "") -> Iterator[str]:
        """What has begun under a prefix and is not over: calls first, then sleeps and waits."""
        for record in self.records.values():
            if record.status in ("running", "retrying", "waiting") and record.key.startswith(prefix):
                yield record.key
        for wait in self.waits.values():
            if wait.open and wait.key.startswith(prefix):
                yield wait.key

    def suspended_keys(self) -> list[str]:
        """The calls that wait for an answer."""
        return [] if self.ended else [key for key, record in self.records.items() if record.suspension is not None]

    def interrupted(self, prefix: str) -> set[str]:
        """The keys of what was begun in one scope and is, or holds, a call that was cut off."""
        return {record.key for record in self._calls_in(prefix) if self._is_cut_off(record)}

    def _is_cut_off(self, record: Record) -> bool:
        return record.interrupted or any(self._is_cut_off(inner) for inner in self._calls_in(f"{record.key}/"))

    def _calls_in(self, prefix: str) -> Iterator[Record]:
        scope = self.scopes.get(prefix)
        for found in () if scope is None else scope.by_id.values():
            yield from (record for record in found if isinstance(record, Record))

    def answered_at(self, hook_id: str) -> datetime | None:
        """When a suspension was answered, if it was."""
        found = self._hooks.get(hook_id)
        return None if found is None else found[1].answered_at

    @classmethod
    def of(cls, run_id: str, log: Iterable[e.StoredEvent]) -> Journal:
        journal = cls(run_id)
        with collecting_later():
            for stored in log:
                journal.add_next(stored)
        return journal

    def stamp(self, event: e.NewEvent, at: datetime) -> None:
        """An event that was added before its commit was recorded at ``at``."""
        match event:
            case e.RunCreated():
                self.created_at = at
            case e.WaitCompleted() if (wait := self._lines().find(event.correlation_id)) is not None:
                wait.ended_at = wait.ended_before or at
            case e.WaitCreated() if (wait := self.waits.get(event.key or "")) is not None and not wait.open:
                wait.ended_at = wait.ended_before or at
            case e.HookCreated() if (found := self._hooks.get(event.correlation_id)) is not None:
                found[1].since = at
            case e.HookReceived() if (found := self._hooks.get(event.correlation_id)) is not None:
                found[1].answered_at = at
            case _:
                pass

    def copy(self) -> Journal:
        """Another one that holds the same, for who goes on from here; what is over changes no more, and is shared."""
        twin = Journal(*_fields(self))
        twin.records = {key: record if record.is_over else copy_record(record) for key, record in self.records.items()}
        twin.waits = {key: copy_wait(wait) for key, wait in self.waits.items()}
        twin.scopes = {prefix: scope.copy(twin.twin_of) for prefix, scope in self.scopes.items()}
        twin.stirred = self.stirred.copy()
        twin._by_correlation_id = {record.correlation_id: record for record in twin.records.values()}
        asked = [(record, one) for record in twin.records.values() for one in record.suspensions]
        twin._hooks = {one.hook_id: (record, one) for record, one in asked}
        if self._signals is not None:
            twin._signals = self._signals.copy({wait.wait_id: wait for wait in twin.waits.values()})
        return twin

    def twin_of(self, record: Record | WaitRecord) -> Record | WaitRecord:
        """The record of the same thing here."""
        return self.records[record.key] if isinstance(record, Record) else self.waits[record.key]

    def reread(self, log: Iterable[e.StoredEvent]) -> None:
        """Hold what the log says, and nothing else."""
        self._take_from(Journal.of(self.run_id, log))

    def _take_from(self, other: Journal) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def add_next(self, stored: e.StoredEvent) -> None:
        """Add the next event of the log.  Raises DamagedPayloadError when it cannot be what was written there."""
        event, slot = stored.event, self.last_slot + 1
        if stored.slot != slot:
            raise DamagedPayloadError(self.run_id, f"slot {slot}", f"the log goes on with slot {stored.slot}")
        try:
            self.add(event, stored.created_at)
            if isinstance(event, _WITH_ERRORS):
                failures.load(event.error)
        except (LookupError, AttributeError, TypeError, ValueError) as error:
            why = f"{event.event_type!r} does not follow from what stands before it"
            raise DamagedPayloadError(self.run_id, f"slot {slot}", why) from error

    def knows(self, correlation_id: str) -> bool:
        """Whether there is a step of this id."""
        return correlation_id in self._by_correlation_id

    def is_running(self, correlation_id: str) -> bool:
        """Whether there is a step of this id whose body runs."""
        record = self._by_correlation_id.get(correlation_id)
        return record is not None and record.status == "running"

    def check_whole(self, last_slot: int) -> None:
        """Raises DamagedPayloadError when the run is known to have more events than the log."""
        if self.last_slot < last_slot:
            why = f"the log ends before it, and should end with {last_slot}"
            raise DamagedPayloadError(self.run_id, f"slot {self.last_slot + 1}", why)

    def add(self, event: e.NewEvent, at: datetime | None = None) -> None:
        """The next event of the log.  ``at`` is when it was recorded, where that is known."""
        self.last_slot += 1
        match event:
            case e.StepCreated():
                self._create(event, at)
            case e.StepStarted():
                record = self._by_correlation_id[event.correlation_id]
                if record.status == "running":
                    record.interruptions += 1  # the try before was lost with its worker
                record.status, record.retry_after = "running", None
                record.started_at = record.started_at or at
            case e.StepCompleted():
                self._complete(self._by_correlation_id[event.correlation_id], event, at)
            case e.StepFailed():
                record = self._by_correlation_id[event.correlation_id]
                cancelled = event.meta is not None and "cancelled" in event.meta
                record.failures += record.status != "retrying"  # who gives up between two tries makes no other
                self._end(record, "cancelled" if cancelled else "failed", at, event.meta)
                record.error = event.error
            case e.StepRetrying():
                self._retry(self._by_correlation_id[event.correlation_id], event)
            case e.WaitCreated() | e.WaitCompleted() | e.SignalReceived():
                self._add_wait_event(event, at)
            case e.HookCreated() | e.HookReceived() | e.HookDisposed():
                self._add_hook_event(event, at)
            case _:
                self._add_run_event(event, at)

    # --- steps -------------------------------------------------------------------------------------

    def _create(self, event: e.StepCreated, at: datetime | None) -> None:
        record = Record(event.key, event.step_name, event.correlation_id, event.input, created_at=at)
        if (meta := event.meta) is not None:
            record.meta = meta
            record.kind = cast("Any", meta.get("kind", "step"))
        self.records[event.key] = self._by_correlation_id[event.correlation_id] = record
        self._enter(event.key, event.step_name, record)

    def _enter(self, key: str, id: str, record: Record | WaitRecord) -> None:
        prefix = scope_of(key)
        scope = self.scopes.get(prefix)
        if scope is None:
            scope = self.scopes[prefix] = ScopeRecords()
        found = scope.by_id.get(id)
        if found is None:
            scope.by_id[id] = [record]
        else:
            found.append(record)
        scope.last = id

    def _complete(self, record: Record, event: e.StepCompleted, at: datetime | None) -> None:
        self._end(record, "completed", at, event.meta)
        record.output, record.error = event.result, None
        if (meta := event.meta) is not None:
            record.delta = cast("Any", meta.get("state"))
            record.bailed = "bail" in meta
            if "skipped" in meta:
                record.status = "skipped"

    def _end(self, record: Record, status: RecordStatus, at: datetime | None, meta: e.Meta | None) -> None:
        if meta is not None and "at" in meta:  # what a program takes the time from, at once and on every replay
            at = datetime.fromisoformat(str(meta["at"]))
        record.status, record.ended_at, record.retry_after = status, at, None
        record.ended = self.last_slot
        self.scopes[scope_of(record.key)].endings.append(record.key)

    def _retry(self, record: Record, event: e.StepRetrying) -> None:
        match event.reason:
            case "suspended":
                record.status = "waiting"
                until = (event.meta or {}).get("until")
                if isinstance(until, str):
                    record.suspensions[-1].until = datetime.fromisoformat(until)
                return
            case "error":
                record.failures += 1
                record.error = event.error
            case "lost":
                record.interruptions += 1
            case "released":
                pass
        record.status, record.retry_after = "retrying", event.retry_after

    # --- hooks and waits ---------------------------------------------------------------------------

    def _add_hook_event(self, event: e.HookCreated | e.HookReceived | e.HookDisposed, at: datetime | None) -> None:
        if isinstance(event, e.HookCreated):
            record = self._by_correlation_id.get(event.step_id or "")
            if record is not None:
                suspension = SuspensionRecord(event.correlation_id, event.token, event.metadata or b"null", at)
                record.suspensions += (suspension,)
                self._hooks[event.correlation_id] = record, suspension
            return
        found = self._hooks.get(event.correlation_id)
        if found is None or not found[1].open:
            return
        record, suspension = found
        if isinstance(event, e.HookReceived):
            suspension.answer, suspension.answered_at = event.payload_data or b"null", at
            record.failures = 0
            self.stirred.append(event.correlation_id)
        else:
            suspension.closed = True

    def _add_wait_event(self, event: e.WaitCreated | e.WaitCompleted | e.SignalReceived, at: datetime | None) -> None:
        match event:
            case e.WaitCreated():
                key = event.key or event.correlation_id
                wait = WaitRecord(key, event.correlation_id, event.kind, event.signal_type, event.resume_at)
                wait.ended_before = _moment((event.meta or {}).get("at"))
                self.waits[key] = wait
                self._enter(key, id_of(key), wait)
                if self._lines().open(wait):
                    self._over(wait, at)
            case e.WaitCompleted():
                closed = self._lines().close(event.correlation_id)
                if closed is None:
                    return
                if event.cause == "cancelled" and closed.taken is not None:
                    other = self._lines().give_back(closed)
                    if other is not None:
                        self._over(other, at)
                closed.cause = event.cause
                self._over(closed, at)
            case e.SignalReceived():
                taker = self._lines().arrive(event.signal_type, self.last_slot, event.payload_data or b"null")
                if taker is not None:
                    self._over(taker, at)

    def _lines(self) -> Signals:
        if self._signals is None:
            self._signals = Signals()
        return self._signals

    def _over(self, wait: WaitRecord, at: datetime | None) -> None:
        wait.ended, wait.ended_at = self.last_slot, wait.ended_before or at
        self.stirred.append(wait.wait_id)
        self.scopes[scope_of(wait.key)].endings.append(wait.key)

    # --- the run -----------------------------------------------------------------------------------

    def _add_run_event(self, event: e.NewEvent, at: datetime | None) -> None:
        match event:
            case e.RunCreated():
                context = event.execution_context or {}
                self.workflow_name = event.workflow_name
                self.input, self.created_at = event.input, at
                self.initial_state, self.began_at = context.get("state"), _moment(context.get("at"))
                self.due_at = _moment(context.get("due"))
                self.is_fork, self.of_instant = event.replayed_from is not None, is_of_instant(event.idempotency_key)
                self.seed = str(context.get("seed", self.run_id))
                self.trace = _texts(context.get("trace"))
            case e.RunStarted():
                self.status = "running"
                self.due_at = at if self.of_instant else self.due_at
                has_begun = self.seed != self.run_id  # the code of a fork began when that of the other did
                if at is not None and self.created_at is not None and at > self.created_at and not has_begun:
                    self.began_at = at  # it was left for a worker
            case e.RunCompleted():
                self.status, self.output = "completed", event.output
                self.bailed = "bail" in (event.meta or {})
            case e.RunFailed():
                self.status, self.error, self.error_code = "failed", event.error, event.error_code
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
                if record.status in ("pending", "retrying", "waiting"):
                    record.failures += record.status == "waiting"  # its try has ended
                    record.status, record.retry_after = "cancelled", None


def _texts(value: object) -> dict[str, str]:
    """The texts of a mapping by their names; what is anything else is not ours."""
    found: Mapping[object, object] = cast("Any", value) if isinstance(value, Mapping) else {}
    return {name: text for name, text in found.items() if isinstance(name, str) and isinstance(text, str)}


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None


_fields: Callable[[Journal], tuple[Any, ...]] = attrgetter(*(field.name for field in fields(Journal)))
