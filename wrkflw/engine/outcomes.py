"""How a run stands, as its result says it: from the record alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wrkflw.results import Cancelled, Completed, Failed, Paused, RunResult, StepError, Suspended, Suspension, Waiting
from wrkflw.schemas import plain, schema_of

from . import failures
from .journal import Journal
from .keys import scope_of
from .records import Record
from .views import StepReader, output_of

if TYPE_CHECKING:
    from .definition import Definition

_NEVER = datetime.max.replace(tzinfo=UTC)


def result_of(journal: Journal, definition: Definition) -> RunResult[Any] | None:
    """What the run came to, or waits for; None when there is nothing it waits for."""
    run_id, results = journal.run_id, StepReader(journal, definition)
    match journal.status:
        case "completed":
            return Completed(run_id, results, output_of(journal, definition))
        case "failed":
            error = failures.of_run(journal.error, journal.error_code)
            return Failed(run_id, results, error, _errors(journal, error))
        case "cancelled":
            return Cancelled(run_id, results, journal.cancel_reason)
        case _:
            pass
    if journal.paused_by is not None:
        return Paused(run_id, results, journal.paused_by, journal.pause_reason)
    if suspensions := suspensions_of(journal, definition):
        return Suspended(run_id, results, suspensions)
    return _waiting(journal, results)


def next_timer(journal: Journal) -> datetime | None:
    """When the next sleep or retry is over; not what people and events have their time for."""
    sleeps = [wait.resume_at for wait in journal.waits.values() if wait.open and wait.kind == "sleep"]
    retries = [record.retry_after for record in journal.records.values() if record.status == "retrying"]
    return min((due for due in (*sleeps, *retries) if due is not None), default=None)


def suspensions_of(journal: Journal, definition: Definition) -> list[Suspension]:
    """Every place where the run waits for an answer, in the order in which they were reached."""
    waiting = [record for record in journal.records.values() if record.suspension is not None]
    return [_suspension(record, definition) for record in waiting]


def _suspension(record: Record, definition: Definition) -> Suspension:
    asked = record.suspension
    assert asked is not None
    inner = definition.within(scope_of(record.key))
    step = inner.steps.get(record.name) if inner is not None else None
    is_plain = step is None or step.kind == "workflow"
    if step is None or is_plain:
        payload = plain(asked.payload)
    else:
        payload = schema_of(step.body.suspend).load(asked.payload, f"payload of step {record.key!r}")
    since = asked.since
    assert since is not None
    return Suspension(record.key, record.name, payload, asked.token, since, is_plain)


def _waiting(journal: Journal, results: StepReader) -> Waiting | None:
    """The wait that is over first; one for an event without a limit only when there is no other."""
    waits = [
        Waiting(journal.run_id, results, "sleep" if wait.kind == "sleep" else "event", wait.resume_at, wait.signal_type)
        for wait in journal.waits.values()
        if wait.open
    ]
    waits += [
        Waiting(journal.run_id, results, "retry", record.retry_after)
        for record in journal.records.values()
        if record.status == "retrying"
    ]
    return min(waits, key=lambda wait: wait.until or _NEVER, default=None)


def _errors(journal: Journal, error: StepError) -> list[StepError]:
    """All that failed, in the order in which it was recorded; a nested workflow only when nothing in it did.

    ``error`` is that of the run, which no step has when code between steps raised: it is recorded last.
    """
    failed = [record for record in journal.records.values() if record.status == "failed"]
    errors = [failures.load(record.error) for record in sorted(failed, key=lambda record: record.ended or 0)]
    known: dict[tuple[str, str], StepError] = {}
    for each in (*errors, error):
        if each is not None:
            known.setdefault((each.key, each.type), each)
    return list(known.values())
