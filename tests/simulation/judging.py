"""The judge of a simulation: what the database says against what the witness saw, by folds of its own."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.crash import oracle
from tests.faults import views

from .machine import START
from .witness import Fact
from .workflows import TRIES, output_of

Row = dict[str, Any]
_LOGS = """
    SELECT runs.run_id, runs.workflow_name, runs.idempotency_key, events.*
    FROM events JOIN runs USING (run_no) ORDER BY run_no, slot
"""
_START = int(START.timestamp()) * 1_000_000


def judge_at_any_time(path: Path) -> list[str]:
    """What must hold whatever goes on."""
    with closing(sqlite3.connect(path)) as connection:
        return [*oracle.read_from(connection).violations, *views.wrong_in(connection)]


def judge(path: Path, facts: list[Fact]) -> list[str]:
    """When all is over.  Each violation begins with the number of its invariant where it has one of its own."""
    with closing(sqlite3.connect(path)) as connection:
        database = oracle.read_from(connection)
        logs: dict[str, list[Row]] = {run_id: [] for run_id in database.runs}
        for row in oracle.rows_of(connection, _LOGS):
            row["data"] = json.loads(row["data"]) if row["data"] else {}
            logs[row["run_id"]].append(row)
        chunks = oracle.rows_of(connection, "SELECT run_id, key, attempt, data FROM chunks JOIN runs USING (run_no)")
        found = [*database.violations, *views.wrong_in(connection)]
    found += oracle.judge(database, facts)
    for run_id, log in logs.items():
        told = [fact for fact in facts if fact.get("run") == run_id]
        run = database.runs[run_id]
        story = _Story(run, log, told, [chunk for chunk in chunks if chunk["run_id"] == run_id])
        found += [f"{problem} ({log[0]['workflow_name']} {run_id})" for problem in story.problems()]
    found += _judge_starts(logs, facts)
    known = database.runs.keys()
    found += [
        f"I1 {fact['what']} was told of run {fact['run']}, which is nowhere"
        for fact in facts
        if "run" in fact and fact["what"] not in ("FENCED", "REFUSED") and fact["run"] not in known
    ]
    return found


def _judge_starts(logs: dict[str, list[Row]], facts: list[Fact]) -> Iterator[str]:
    """I21: one key, one run, one input; whoever came with another one was told so."""
    inputs = {log[0]["idempotency_key"]: json.loads(log[0]["payload"]) for log in logs.values()}
    for fact in facts:
        if fact["what"] == "ACK" and inputs.get(fact["key"]) != fact["input"]:
            yield f"I21 {fact['key']} was acknowledged with input {fact['input']}, and has {inputs.get(fact['key'])}"
        if fact["what"] == "CONFLICT" and inputs.get(fact["key"]) == fact["input"]:
            yield f"I21 {fact['key']} was refused for its input {fact['input']}, which it has"


@dataclass
class _Story:
    """One run: its log, what was told of it, and the chunks of its streams."""

    run: oracle.Run
    log: list[Row]
    told: list[Fact]
    chunks: list[Row]

    def problems(self) -> Iterator[str]:
        if self.run.status not in oracle.ENDS.values():
            yield f"I23 it is {self.run.status} when all is over"
        yield from self._outputs()
        yield from self._acknowledgements()
        yield from self._times()
        yield from self._clocks()
        yield from self._tries()
        yield from self._pauses()
        yield from self._late_effects()
        yield from self._streams()

    def _of(self, *types: str) -> list[Row]:
        return [event for event in self.log if event["event_type"] in types]

    def _outputs(self) -> Iterator[str]:
        workflow_id, status = self.log[0]["workflow_name"], self.run.status
        if status == "failed":
            error = self._of("run_failed")[0]["payload"]
            if workflow_id != "once" or b"OutcomeUnknown" not in error:
                yield f"I9 it failed: {error!r}"
        elif status == "completed":
            answers = [json.loads(event["payload"]) for event in self._of("hook_received")]
            late = any(event["data"].get("cause") == "timeout" for event in self._of("wait_completed"))
            prices = [0] if late else [json.loads(event["payload"]) for event in self._of("signal_received")]
            wanted = output_of(workflow_id, json.loads(self.log[0]["payload"]), answers, prices)
            if self.run.output != wanted:
                yield f"I9 it gave {self.run.output!r}, not {wanted!r}"
        for fact in self.told:
            if fact["what"] == "END" and (status, self.run.output) != ("completed", fact["output"]):
                yield f"I9 somebody was told that it gave {fact['output']!r}, and it is {status}: {self.run.output!r}"

    def _acknowledgements(self) -> Iterator[str]:
        answers = [json.loads(event["payload"]) for event in self._of("hook_received")]
        sent = Counter((event["resume_id"], json.loads(event["payload"])) for event in self._of("signal_received"))
        for fact in self.told:
            match fact["what"]:
                case "ANSWERED" if answers != [fact["value"]]:
                    yield f"I2 the answer {fact['value']} was acknowledged, and there are {answers}"
                case "SENT" if (times := sent[fact["dedupe"], fact["value"]]) != 1:
                    yield f"I2 event {fact['dedupe']} was acknowledged, and is there {times} times"
                case "CANCELLED" if self.run.status != "cancelled":
                    yield f"I16 its cancellation was acknowledged, and it is {self.run.status}"
                case "PAUSED" if not self._of("run_paused"):
                    yield "I16 its pause was acknowledged, and is not there"
                case _:
                    pass

    def _times(self) -> Iterator[str]:
        """I18: nothing begins before its time, by the log and by the clock on the wall."""
        due: dict[int, int] = {}
        for event in self.log:
            match event["event_type"]:
                case "wait_created" | "step_retrying":
                    moment = event["data"].get("resume_at") or event["data"].get("retry_after")
                    about = event["slot"] if event["event_type"] == "wait_created" else event["subject"]
                    if moment is not None:
                        due[about] = _microseconds(moment)
                case "step_started" if event["created_at"] < due.pop(event["subject"], 0):
                    yield f"I18 the try at slot {event['slot']} began before its time"
                case "wait_completed" if event["data"].get("cause") in ("elapsed", "timeout"):
                    if event["created_at"] < due.get(event["subject"], 0):
                        yield f"I18 the wait that ended at slot {event['slot']} ended before its time"
                case _:
                    pass

    def _clocks(self) -> Iterator[str]:
        """I18: nothing was recorded at a time that no clock had shown when a body began of it."""
        for fact in self.told:
            if fact["what"] == "EFFECT":
                starts = [
                    event["created_at"]
                    for event in self._of("step_started")
                    if (step := self.run.steps.get(event["subject"])) is not None
                    and (step.key, event["epoch"]) == (fact["key"], fact["epoch"])
                ]
                if starts and min(starts) > fact["latest"] + _START:
                    yield f"I18 {fact['key']!r} was recorded to begin later than it was by any clock"

    def _tries(self) -> Iterator[str]:
        """I18, I11: tries are counted by what is recorded, and no more of them than there may be."""
        failures: Counter[int] = Counter()
        begun: dict[tuple[str, int], set[int]] = defaultdict(set)
        for event in self.log:
            if event["event_type"] == "step_retrying" and event["payload"] is not None:
                failures[event["subject"]] += 1
            elif event["event_type"] == "step_started":
                step = self.run.steps.get(event["subject"])
                if step is not None:
                    begun[step.key, event["epoch"]].add(failures[event["subject"]] + 1)
        for slot, count in failures.items():
            if count >= TRIES:
                yield f"I18 the step created at slot {slot} failed {count} times, and went on"
        effects = Counter[str]()
        for fact in self.told:
            if fact["what"] == "EFFECT":
                effects[fact["key"]] += 1
                if fact["attempt"] not in (was := begun[fact["key"], fact["epoch"]]):
                    told = f"{fact['key']!r} was told of try {fact['attempt']} in epoch {fact['epoch']}"
                    yield f"I11 {told}, recorded are {sorted(was)}"
        if effects["pay"] > 1:
            yield f"I11 'pay' had {effects['pay']} effects, and may have one"

    def _pauses(self) -> Iterator[str]:
        """I16: nothing begins in a pause."""
        paused = False
        for event in self.log:
            paused = (paused or event["event_type"] == "run_paused") and event["event_type"] != "run_resumed"
            if paused and event["event_type"] == "step_started":
                yield f"I16 slot {event['slot']} began in a pause"

    def _late_effects(self) -> Iterator[str]:
        """I6: who was told of the end sees no effects of its owner, or a later one, after that."""
        ends = self._of("run_completed")
        over = False
        for fact in self.told:
            over = over or fact["what"] == "END"
            if over and ends and fact["what"] == "EFFECT" and fact["epoch"] >= ends[0]["epoch"]:
                yield f"I6 {fact['key']!r} had an effect after somebody was told of the end"

    def _streams(self) -> Iterator[str]:
        """I17: what the try that completed has written is there, whole and in order; unless the run had ended."""
        for step in self.run.steps.values():
            late = self.run.ended_slot is not None and (step.ended_slot or 0) > self.run.ended_slot
            if step.status == "completed" and step.key.startswith("announce") and not late:
                last = max(chunk["attempt"] for chunk in self.chunks if chunk["key"] == step.key) if self.chunks else 0
                written = [c["data"] for c in self.chunks if (c["key"], c["attempt"]) == (step.key, last)]
                if len(written) < 2 or written[-1] != written[-2] + b" done":
                    yield f"I17 {step.key!r} completed, and its stream has {written}"


def _microseconds(moment: str) -> int:
    since_start = datetime.fromisoformat(moment) - START
    return since_start // timedelta(microseconds=1) + _START
