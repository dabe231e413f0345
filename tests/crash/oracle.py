"""The judge: what a database and a witness file may say, and what they may not.

It reads the tables itself and adds the log up by itself, so that it shares no mistake with the engine.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Runs that an answer or an event from outside will wake.
_WAITING = """
    SELECT run_no FROM hooks WHERE released_slot IS NULL AND payloads = 0
    UNION SELECT run_no FROM waits WHERE status = 'waiting' AND matched_slot IS NULL AND signal_type IS NOT NULL
"""

ENDS = {"run_completed": "completed", "run_failed": "failed", "run_cancelled": "cancelled"}


@dataclass
class Step:
    key: str
    status: str = "pending"
    attempt: int = 0
    started_slot: int | None = None
    ended_slot: int | None = None
    ended_epoch: int = 0
    error_slot: int | None = None
    updated_slot: int = 0
    starts: list[tuple[int, int]] = field(default_factory=list)
    """Slot and epoch of each."""


@dataclass
class Run:
    run_id: str
    status: str = "pending"
    last_slot: int = 0
    ended_slot: int | None = None
    updated_at: int = 0
    output: object = None
    steps: dict[int, Step] = field(default_factory=dict)
    """By the slot that created each."""


@dataclass
class Database:
    runs: dict[str, Run]
    keys: dict[str, str]
    """Idempotency key to run id."""
    violations: list[str]

    def completed(self) -> dict[tuple[str, str], int]:
        """In which epoch the steps of each run and key were completed."""
        return {
            (run.run_id, step.key): step.ended_epoch
            for run in self.runs.values()
            for step in run.steps.values()
            if step.status == "completed"
        }


def read(path: Path) -> Database:
    """Everything in the database, and what is wrong with it.  Nobody else may have the file open in this process."""
    with closing(sqlite3.connect(path)) as connection:
        return read_from(connection)


def read_from(connection: sqlite3.Connection) -> Database:
    """As :func:`read`, through a connection that exists."""
    violations = [
        f"integrity_check: {row[0]}" for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"
    ]
    violations += [f"foreign_key_check: {tuple(row)}" for row in connection.execute("PRAGMA foreign_key_check")]
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchall():
        return Database({}, {}, violations)
    rows = {row["run_no"]: row for row in rows_of(connection, "SELECT * FROM runs")}
    logs: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows_of(connection, "SELECT * FROM events ORDER BY run_no, slot"):
        logs[row["run_no"]].append(row)
    steps: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows_of(connection, "SELECT * FROM steps"):
        steps[row["run_no"]].append(row)
    waiting = {row["run_no"] for row in rows_of(connection, _WAITING)}
    violations += [f"run_no {number} has events but no row" for number in logs.keys() - rows.keys()]
    runs: dict[str, Run] = {}
    for number, row in rows.items():
        run, found = _fold(row["run_id"], logs[number])
        runs[run.run_id] = run
        compared = _compare(run, row, steps[number], stirred=number in waiting)
        violations += [f"{run.run_id}: {each}" for each in (*found, *compared)]
    keys = {row["idempotency_key"]: row["run_id"] for row in rows.values() if row["idempotency_key"] is not None}
    return Database(runs, keys, violations)


def rows_of(connection: sqlite3.Connection, query: str) -> list[dict[str, Any]]:
    """Each row by the names of its columns."""
    cursor = connection.execute(query)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


# --- the log, added up ---------------------------------------------------------------------------------


def _fold(run_id: str, log: list[dict[str, Any]]) -> tuple[Run, list[str]]:
    run, wrong = Run(run_id), list[str]()
    epoch = 0
    for position, event in enumerate(log, start=1):
        slot, kind = event["slot"], event["event_type"]
        if slot != position:
            wrong.append(f"slot {slot} stands at place {position}")
        if event["epoch"] is not None:
            if event["epoch"] < epoch:
                wrong.append(f"slot {slot} was written in epoch {event['epoch']} after epoch {epoch}")
            epoch = max(epoch, event["epoch"])
        if event["created_at"] < run.updated_at:
            wrong.append(f"slot {slot} is older than the one before")
        if run.ended_slot is not None and kind not in ("step_completed", "step_failed"):
            wrong.append(f"{kind} at slot {slot} after the run had ended")
        run.last_slot, run.updated_at = slot, event["created_at"]
        if kind.startswith("step_"):
            wrong += _fold_step(run, event, json.loads(event["data"]) if event["data"] else {})
        elif kind == "run_started":
            run.status = "running"
        elif kind in ENDS:
            run.status, run.ended_slot = ENDS[kind], slot
            run.output = json.loads(event["payload"]) if kind == "run_completed" else None
    if not log:
        wrong.append("has no events")
    return run, wrong


def _fold_step(run: Run, event: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[str]:
    slot, kind = event["slot"], event["event_type"]
    if kind == "step_created":
        run.steps[slot] = Step(data["key"], updated_slot=slot)
        return
    step = run.steps.get(event["subject"])
    if step is None:
        yield f"{kind} at slot {slot} is about no step"
        return
    if step.ended_slot is not None:
        yield f"{kind} of {step.key!r} at slot {slot}, which ended at {step.ended_slot}"
    step.updated_slot = slot
    if kind == "step_started":
        step.status, step.attempt = "running", step.attempt + 1
        step.started_slot = step.started_slot or slot
        step.starts.append((slot, event["epoch"]))
    elif kind == "step_retrying":
        step.status = "pending"
        if event["payload"] is not None:
            step.error_slot = slot
    else:
        step.status, step.ended_slot = kind.removeprefix("step_"), slot
        step.ended_epoch = event["epoch"] or 0
        step.error_slot = slot if kind == "step_failed" else None


def _compare(run: Run, row: Mapping[str, Any], steps: list[dict[str, Any]], *, stirred: bool) -> Iterator[str]:
    """``stirred``: something from outside will wake the run, an answer or an event."""
    for name in ("status", "last_slot", "ended_slot", "updated_at"):
        if row[name] != getattr(run, name):
            yield f"the view says {name} = {row[name]!r}, the log {getattr(run, name)!r}"
    if run.ended_slot is not None and (row["owner"] is not None or row["wake_at"] is not None):
        yield "has ended, and is owned or due"
    if run.ended_slot is None and not stirred and (row["owner"], row["wake_at"], row["paused_at"]) == (None,) * 3:
        yield "is open, and nothing will ever wake it"
    seen = {step["created_slot"]: step for step in steps}
    if seen.keys() != run.steps.keys():
        yield f"the view has steps created at {sorted(seen)}, the log at {sorted(run.steps)}"
        return
    for slot, step in run.steps.items():
        for name in ("key", "status", "attempt", "started_slot", "ended_slot", "error_slot", "updated_slot"):
            if seen[slot][name] != getattr(step, name):
                yield f"the view says {name} of {step.key!r} = {seen[slot][name]!r}, the log {getattr(step, name)!r}"


# --- the witness ---------------------------------------------------------------------------------------


class Testimony:
    """The facts of a witness file, as far as it was read."""

    def __init__(self) -> None:
        self.facts: list[dict[str, Any]] = []
        self._offset = 0

    def read(self, path: Path) -> list[dict[str, Any]]:
        """What was told since the last time, as far as its lines are whole."""
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        new = [fact for line in whole.splitlines() for fact in _facts_in(line)]
        self.facts += new
        return new


def _facts_in(line: bytes) -> Iterator[dict[str, Any]]:
    """One, or what a kill left of one before the next."""
    torn, begins, rest = line.rpartition(b'{"what": ')
    if torn:
        yield {"what": "TORN", "line": torn.decode(errors="replace")}
    yield json.loads(begins + rest)


def judge(database: Database, facts: list[dict[str, Any]]) -> Iterator[str]:
    """What the witness saw and the log does not bear out."""
    for fact in facts:
        if fact["what"] == "DIED":
            yield f"a worker raised {fact['error']}"
        if fact["what"] == "ACK" and database.keys.get(fact["key"]) != fact["run"]:
            yield f"{fact['key']} was acknowledged as {fact['run']}, and is {database.keys.get(fact['key'])}"
    effects = Counter((fact["run"], fact["key"], fact["epoch"]) for fact in facts if fact["what"] == "EFFECT")
    for (run_id, key, epoch), count in effects.items():
        run = database.runs.get(run_id)
        step = next((step for step in run.steps.values() if step.key == key), None) if run is not None else None
        starts = 0 if step is None else sum(at == epoch for _, at in step.starts)
        if count > starts:
            yield f"{key!r} of {run_id} had {count} effects in epoch {epoch} and {starts} recorded starts"


def judge_repeats(completed: Mapping[tuple[str, str], int], facts: list[dict[str, Any]]) -> Iterator[str]:
    """``facts`` were told when ``completed`` was already recorded.  Whoever lost the run before may act late."""
    for fact in facts:
        if fact["what"] == "EFFECT" and fact["epoch"] >= completed.get((fact["run"], fact["key"]), fact["epoch"] + 1):
            yield f"{fact['key']!r} of {fact['run']} had an effect after its completion was recorded"
