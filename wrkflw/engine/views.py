"""What can be read of a run: its step results, and the whole of it at one moment."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from wrkflw.errors import DefinitionChangedError, InvalidValueError, StepNotRunError, UnknownStepError
from wrkflw.graph import Foreach, Loop, Parallel
from wrkflw.results import RunInfo, Snapshot, StepResult
from wrkflw.schemas import Schema, plain, schema_of
from wrkflw.steps import ITSELF, check_step
from wrkflw.world.entities import Run as RunEntity

from . import damage, failures
from .journal import Journal
from .keys import scope_of
from .records import Record
from .states import merged, state_of

if TYPE_CHECKING:
    from .definition import AnyStep, Definition


class StepReader:
    """The results of the steps in one scope of a run, by step.

    ``asking`` is the step, and ``position`` the node, from where they are read: what does not stand before it is not
    seen.  Without either, all is.
    """

    def __init__(
        self,
        journal: Journal,
        definition: Definition | None,
        prefix: str = "",
        *,
        asking: AnyStep | None = None,
        position: int | None = None,
    ) -> None:
        self._journal = journal
        self._definition = definition
        self._prefix = prefix
        self._asking = asking
        if asking is not None and definition is not None:
            position = definition.positions.get(asking.id)
        self._position = position

    def result_of(self, step: Any, /) -> object:
        check_step("get_step_result()", step, cure=ITSELF)
        self._check_visible(step)
        calls = self._calls(step)
        if calls and calls[-1].key.endswith("]"):
            raise StepNotRunError.once_per_item(step.id)
        found = [record for record in calls if record.succeeded]
        if not found:
            raise StepNotRunError(step.id, self._finished())
        if found[-1].status == "skipped" and not step.guards:
            raise StepNotRunError.skipped(step.id, guarded=True)
        return self._read(step, found[-1])

    def results_of(self, step: Any, /) -> list[object]:
        check_step("get_step_results()", step, cure=ITSELF)
        self._check_visible(step)
        found = [record for record in self._calls(step) if record.succeeded]
        if not step.guards and any(record.status == "skipped" for record in found):
            raise StepNotRunError.skipped(step.id, guarded=True)
        return [self._read(step, record) for record in found]

    # --- what is seen ------------------------------------------------------------------------------

    def _check_visible(self, step: AnyStep) -> None:
        definition = self._definition
        if definition is None or definition.is_code:
            return
        if step.id not in definition.steps:
            raise UnknownStepError(definition.id, step.id, definition.steps)
        place = definition.positions[step.id]
        if self._position is None or place < self._position:
            return
        if place == self._position and self._asking is not None:
            node = definition.nodes[place]
            one_by_one = isinstance(node, Loop) or (isinstance(node, Foreach) and node.concurrency == 1)
            if step.id == self._asking.id and one_by_one:
                return  # each sees those before it
            if isinstance(node, Parallel) and step.id != self._asking.id:
                raise StepNotRunError.beside(step.id, self._asking.id)
        raise StepNotRunError(step.id, self._finished())

    def _calls(self, step: AnyStep) -> list[Record]:
        """The uses of a step, in order: of its iterations or items, or of a name that a program repeats."""
        begun = self._journal.begun(self._prefix, step.id)
        calls = [record for record in begun if isinstance(record, Record)]
        if calls and calls[0].key.endswith("]"):
            calls.sort(key=lambda record: int(record.key[record.key.rfind("[") + 1 : -1]))
        return calls

    def _finished(self) -> list[str]:
        """The keys of what has a result here, in the order in which they ended."""
        definition, limit = self._definition, self._position
        ended = [
            record
            for record in self._journal.records.values()
            if record.status == "completed"
            and record.succeeded
            and scope_of(record.key) == self._prefix
            and (limit is None or definition is None or definition.positions.get(record.name, limit) < limit)
        ]
        return [record.key for record in sorted(ended, key=lambda record: record.ended or 0)]

    # --- reading -----------------------------------------------------------------------------------

    def _read(self, step: AnyStep, record: Record) -> object:
        if record.output is None:
            return None
        schema = self._schema_of(step)
        try:
            return damage.read(schema, record.output, f"output of step {record.key!r}", self._journal.run_id)
        except InvalidValueError as error:
            definition = self._definition.id if self._definition is not None else self._journal.workflow_name
            raise DefinitionChangedError.unreadable(self._journal.run_id, record.key, definition, error) from error

    def _schema_of(self, step: AnyStep) -> Schema:
        if self._definition is None:
            return schema_of(step.stored_output_schema)
        return self._definition.stored_by(self._definition.steps.get(step.id, step))


def info_of(run: RunEntity) -> RunInfo:
    return RunInfo(
        run_id=run.run_id,
        workflow_id=run.workflow_name,
        status=run.status,
        waiting_for=run.detail,
        attributes=run.attributes,
        created_at=run.created_at,
        updated_at=run.updated_at,
        expired_at=run.expired_at,
    )


def snapshot_of(journal: Journal, run: RunEntity, definition: Definition | None) -> Snapshot:
    """The run as its log adds it up.  What its definition cannot read, or all without one, is plain JSON."""
    steps = {key: record for key, record in journal.records.items() if record.kind == "step"}
    return Snapshot(
        run_id=run.run_id,
        workflow_id=run.workflow_name,
        status=journal.status,
        # The run was read before its log, which may tell of more.
        waiting_for=None if journal.ended else "paused" if journal.paused_by is not None else run.detail,
        attributes=run.attributes,
        created_at=run.created_at,
        updated_at=run.updated_at,
        expired_at=run.expired_at,
        pause_reason=journal.pause_reason if journal.paused_by is not None else None,
        input=_value(journal.input, definition.input_schema if definition else None),
        execution_path=list(steps),
        step_results={key: _step_result(record, definition, journal) for key, record in steps.items()},
        state=_state(journal, definition),
        result=_value(journal.output, None if definition is None else _output_schema(journal, definition)),
        error=failures.of_run(journal.error, journal.error_code) if journal.status == "failed" else None,
    )


def output_of(journal: Journal, definition: Definition | None) -> object:
    """The run's output, as its workflow's own type."""
    if journal.output is None or definition is None:
        return _value(journal.output, None)
    schema = _output_schema(journal, definition)
    return damage.read(schema, journal.output, f"output of run {journal.run_id}", journal.run_id)


def _output_schema(journal: Journal, definition: Definition) -> Schema:
    return definition.bail_schema if journal.bailed else definition.output_schema


def state_at(journal: Journal, definition: Definition | None) -> object:
    """All state of a run that is committed, as the workflow's own type, or as JSON where that is not known."""
    return state_value(_state_tree(journal, definition), definition)


def _state(journal: Journal, definition: Definition | None) -> object:
    """The same; as JSON, too, where it was of another type when it was recorded."""
    tree = _state_tree(journal, definition)
    try:
        return state_value(tree, definition)
    except InvalidValueError:
        return tree


def _state_tree(journal: Journal, definition: Definition | None) -> object:
    if definition is not None:
        return state_of(definition.graph, journal)
    state = journal.initial_state
    ended = [record for record in journal.records.values() if record.delta is not None and "/" not in record.key]
    for record in sorted(ended, key=lambda record: record.ended or 0):
        state = merged(state, record.delta or {})
    return state


def state_value(state: object, definition: Definition | None) -> object:
    """Stored state as the workflow's own type."""
    if definition is None or definition.state_schema is None:
        return state
    return definition.state_schema.load_tree(state, "the state")


def _step_result(record: Record, definition: Definition | None, journal: Journal) -> StepResult:
    # A body that was told to stop may say nothing more; what one does that goes on all the same is still recorded.
    interrupted = journal.ended and record.status == "running"
    return StepResult(
        status="cancelled" if interrupted else record.status,
        output=_output(definition, record),
        error=failures.load(record.error),
        attempt=record.attempt,
        started_at=record.started_at,
        completed_at=record.ended_at,
    )


def _output(definition: Definition | None, record: Record) -> object:
    if record.output is None or record.bailed:
        return None
    inner = definition.within(scope_of(record.key)) if definition is not None else None
    step = inner.steps.get(record.name) if inner is not None else None
    return _value(record.output, inner.stored_by(step) if inner is not None and step is not None else None)


def _value(data: bytes | None, schema: Schema | None) -> object:
    """What was recorded; plain JSON where its type is not known, or was another when it was recorded."""
    if data is None:
        return None
    if schema is not None:
        with suppress(InvalidValueError):
            return schema.load(data, "a recorded value")
    return plain(data)
