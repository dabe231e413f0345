"""What a body, or the function of a map, sees of its run: the engine's side of the contexts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from wrkflw.schemas import plain, schema_of

from .definition import AnyStep
from .journal import Record, difference
from .views import StepReader, state_value

if TYPE_CHECKING:
    from .drive import Drive

_logger = logging.getLogger("wrkflw.step")


class StepCall:
    """One attempt of one step call."""

    iteration: int | None = None
    index: int | None = None

    def __init__(self, drive: Drive, record: Record, step: AnyStep) -> None:
        self._drive = drive
        self._record = record
        self._step = step
        self._state_before = drive.journal.state
        self._state: object = None
        self._state_was_read = False
        self.attempt = record.failures + 1
        self.fence = drive.recorder.epoch

    @property
    def run_id(self) -> str:
        return self._drive.run_id

    @property
    def workflow_id(self) -> str:
        return self._drive.definition.id

    @property
    def step_id(self) -> str:
        return self._step.id

    @property
    def key(self) -> str:
        return self._record.key

    @property
    def stopping(self) -> bool:
        return self._drive.stopping

    @property
    def run_was_cancelled(self) -> bool:
        """Somebody ended the run; not that its time is up."""
        return self._drive.cancelled

    def result_of(self, step: Any, /) -> object:
        return self._reader().result_of(step)

    def results_of(self, step: Any, /) -> list[object]:
        return self._reader().results_of(step)

    def init_data(self, schema: object, /) -> object:
        data = self._drive.journal.input
        form = schema_of(self._drive.definition.graph.input_schema)
        value = form.load(data, "the input of the run") if data is not None else None
        if schema is self._drive.definition.graph.input_schema:
            return value
        return schema_of(schema).load(data or b"null", f"input of run {self.run_id}")

    def heartbeat(self, details: object, /) -> None:
        _logger.debug("step %r of run %s is alive: %r", self.key, self.run_id, details)

    # --- state -------------------------------------------------------------------------------------

    @property
    def state(self) -> object:
        if not self._state_was_read:
            self._state = state_value(self._state_before, self._drive.definition)
            self._state_was_read = True
        return self._state

    def set_state(self, state: object, /) -> None:
        self._state, self._state_was_read = state, True

    def state_change(self) -> dict[str, Any] | None:
        """The fields that differ from the copy that was handed out.  Raises InvalidValueError."""
        schema = self._drive.definition.state_schema
        if not self._state_was_read or schema is None:
            return None
        data, _ = schema.store(self._state, f"state after step {self.key!r}")
        return difference(self._state_before, plain(data))

    def _reader(self) -> StepReader:
        definition = self._drive.definition
        return StepReader(self._drive.journal, definition, definition.before(self._step.id))


class NodeCall:
    """One call of the function of a ``map_ctx``."""

    def __init__(self, drive: Drive, position: int) -> None:
        self._drive = drive
        self._position = position

    @property
    def input_data(self) -> object:
        data = self._drive.journal.input
        schema = schema_of(self._drive.definition.graph.input_schema)
        return schema.load(data, "the input of the run") if data is not None else None

    @property
    def state(self) -> object:
        return state_value(self._drive.journal.state, self._drive.definition)

    def result_of(self, step: Any, /) -> object:
        return self._reader().result_of(step)

    def results_of(self, step: Any, /) -> list[object]:
        return self._reader().results_of(step)

    def _reader(self) -> StepReader:
        definition = self._drive.definition
        return StepReader(self._drive.journal, definition, definition.before(self._position))
