"""What can be read of a run: its step results, and the whole of it at one moment."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Any

from wrkflw.errors import DefinitionChangedError, InvalidValueError, StepNotRunError, UnknownStepError
from wrkflw.results import RunInfo, Snapshot, StepResult
from wrkflw.schemas import plain, schema_of
from wrkflw.world.entities import Run as RunEntity

from . import failures
from .journal import Journal, Record

if TYPE_CHECKING:
    from .definition import Definition


class StepReader:
    """The results of a run's steps, by step.  ``visible`` narrows them to what precedes a point in the graph."""

    def __init__(self, journal: Journal, definition: Definition, visible: Container[str] | None = None) -> None:
        self._journal = journal
        self._definition = definition
        self._visible = visible

    def result_of(self, step: Any, /) -> object:
        record = self._record_of(step)
        if record is None or record.output is None or record.status != "completed":
            raise StepNotRunError(step.id, self._finished())
        return self._read(record)

    def results_of(self, step: Any, /) -> list[object]:
        record = self._record_of(step)
        done = record is not None and record.status == "completed" and record.output is not None
        return [self._read(record)] if record is not None and done else []

    def _read(self, record: Record) -> object:
        try:
            return _output(self._definition, record)
        except InvalidValueError as error:
            definition = self._definition.id
            raise DefinitionChangedError.unreadable(self._journal.run_id, record.key, definition, error) from error

    def _record_of(self, step: Any) -> Record | None:
        if step.id not in self._definition.steps:
            raise UnknownStepError(self._definition.id, step.id, self._definition.steps)
        if self._visible is not None and step.id not in self._visible:
            return None
        return self._journal.records.get(step.id)

    def _finished(self) -> list[str]:
        ended = [record for record in self._journal.records.values() if record.status == "completed"]
        if self._visible is not None:
            ended = [record for record in ended if record.name in self._visible]
        return [record.key for record in sorted(ended, key=lambda record: record.ended or 0)]


def info_of(run: RunEntity) -> RunInfo:
    return RunInfo(
        run_id=run.run_id,
        workflow_id=run.workflow_name,
        status=run.status,
        waiting_for=run.detail,
        attributes=run.attributes,
        created_at=run.created_at,
        updated_at=run.updated_at,
    )


def snapshot_of(journal: Journal, run: RunEntity, definition: Definition | None) -> Snapshot:
    """The run as its log adds it up.  Without its definition, values are plain JSON."""
    return Snapshot(
        run_id=run.run_id,
        workflow_id=run.workflow_name,
        status=journal.status,
        waiting_for="paused" if journal.paused_by is not None else run.detail,
        attributes=run.attributes,
        created_at=run.created_at,
        updated_at=run.updated_at,
        input=_value(journal.input, definition.graph.input_schema if definition else None),
        execution_path=list(journal.records),
        step_results={key: _step_result(record, definition) for key, record in journal.records.items()},
        state=state_value(journal.state, definition),
        result=_value(journal.output, definition.stored_output_schema if definition else None),
        error=failures.load(journal.error),
    )


def state_value(state: object, definition: Definition | None) -> object:
    """Stored state as the workflow's own type."""
    if definition is None or definition.state_schema is None:
        return state
    return definition.state_schema.load_tree(state, "the state")


def _step_result(record: Record, definition: Definition | None) -> StepResult:
    return StepResult(
        status=record.status,
        output=_output(definition, record) if record.output is not None else None,
        error=failures.load(record.error),
        attempt=record.attempt,
        started_at=record.started_at,
        completed_at=record.ended_at,
    )


def _output(definition: Definition | None, record: Record) -> object:
    step = definition.steps.get(record.name) if definition is not None else None
    return _value(record.output, step.stored_output_schema if step is not None else None)


def _value(data: bytes | None, form: object | None) -> object:
    if data is None:
        return None
    return plain(data) if form is None else schema_of(form).load(data, "a recorded value")
