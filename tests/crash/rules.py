"""Rules that tie the log to the clock, and the tables to one another, read by themselves as the oracle does."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from .oracle import rows_of

# What no table may hold while another says something else: the rule, and the query that finds who breaks it.
_NEVER = (
    (
        "is in an older epoch than its log",
        "SELECT run_id FROM runs JOIN events USING (run_no) WHERE events.epoch > runs.epoch",
    ),
    (
        "has chunks of a later epoch",
        "SELECT run_id FROM runs JOIN chunks USING (run_no) WHERE chunks.epoch > runs.epoch",
    ),
    (
        "has ended, and is still to be woken by a message",
        "SELECT run_id FROM runs JOIN queue_messages USING (run_id) "
        "WHERE runs.ended_slot IS NOT NULL AND dead_at IS NULL",
    ),
    (
        "is paused, and its log does not say so",
        "SELECT run_id FROM runs WHERE paused_at IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM events WHERE events.run_no = runs.run_no AND event_type = 'run_paused')",
    ),
    (
        "waits for an answer that nothing can bring",
        "SELECT run_id FROM runs JOIN steps USING (run_no) WHERE steps.hook_id IS NOT NULL AND steps.status = 'pending'"
        " AND runs.ended_slot IS NULL AND NOT EXISTS (SELECT 1 FROM hooks WHERE hooks.hook_id = steps.hook_id)",
    ),
)


def broken(path: Path, tries: Mapping[str, int]) -> Iterator[str]:
    """Whatever breaks a rule.  ``tries`` is how often the steps of these names may be tried; of others, once."""
    with closing(sqlite3.connect(path)) as connection:
        for rule, query in _NEVER:
            yield from (f"{row['run_id']} {rule}" for row in rows_of(connection, query))
        yield from _too_early_or_too_often(connection, tries)


def _too_early_or_too_often(connection: sqlite3.Connection, tries: Mapping[str, int]) -> Iterator[str]:
    names: dict[tuple[int, int], str] = {}
    not_before = Counter[tuple[int, int]]()
    failures = Counter[tuple[int, int]]()
    for event in rows_of(connection, "SELECT * FROM events ORDER BY run_no, slot"):
        about, kind, at = (event["run_no"], event["subject"]), event["event_type"], event["created_at"]
        data: dict[str, Any] = json.loads(event["data"]) if event["data"] else {}
        where = f"{names.get(about)!r} of run_no {about[0]} at slot {event['slot']}"
        match kind:
            case "step_created" | "wait_created":
                names[about] = data.get("step_name") or data["key"]
                not_before[about] = _micros(data.get("resume_at"))
            case "step_retrying":
                not_before[about] = _micros(data.get("retry_after"))
                failures[about] += event["payload"] is not None
            case "step_failed":
                failures[about] += 1
            case "step_started" if at < not_before[about]:
                yield f"{where} began {not_before[about] - at} µs before its time"
            case "step_started" if failures[about] >= tries.get(names.get(about, ""), 1):
                yield f"{where} began although it had failed {failures[about]} times"
            case "wait_completed" if data.get("cause") == "elapsed" and at < not_before[about]:
                yield f"{where} was over {not_before[about] - at} µs before its time"
            case _:
                pass


def _micros(text: str | None) -> int:
    if text is None:
        return 0
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
