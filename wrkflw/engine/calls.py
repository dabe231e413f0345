"""What a body, or the function of a map, sees of its run: the engine's side of the contexts."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Never

from wrkflw.errors import InvalidValueError, LimitError, WaitTimeoutError
from wrkflw.schemas import plain, schema_of

from .definition import AnyStep
from .records import Record
from .scopes import Scope
from .states import difference
from .values import check_depth, stored
from .views import StepReader, state_value

if TYPE_CHECKING:
    from .drive import Drive

_logger = logging.getLogger("wrkflw.step")


class Suspend(BaseException):  # no error, and nobody may catch it: it leaves the body
    """The body waits for an answer."""

    def __init__(self, payload: bytes, timeout: timedelta | None) -> None:
        super().__init__("a step that suspends is left; catch Exception, not BaseException")
        self.payload = payload
        self.timeout = timeout


class Bail(BaseException):
    """The body ends its workflow."""

    def __init__(self, output: object) -> None:
        super().__init__("a step that ends its workflow is left; catch Exception, not BaseException")
        self.output = output


class StepCall:
    """One attempt of one step call."""

    left = False
    """Whether it is over, and what still goes on of its body has no effect."""
    written = 0
    """The number of the last chunk that it wrote, among those of its run."""
    not_written: Exception | None = None
    """Why a chunk of it was refused."""

    def __init__(
        self, drive: Drive, scope: Scope, record: Record, step: AnyStep, iteration: int | None, index: int | None
    ) -> None:
        self.iteration = iteration
        self.index = index
        self.key = record.key
        self.attempt = record.failures + 1
        self.fence = drive.recorder.epoch
        self.suspended: BaseException | None = None
        """What the body was left by, if it goes on all the same."""
        self._drive = drive
        self._scope = scope
        self._step = step
        self._suspensions = record.suspensions
        self._asked = 0
        self._state_before = scope.state
        self._state: object = None
        self._state_was_read = False

    @property
    def run_id(self) -> str:
        return self._drive.run_id

    @property
    def workflow_id(self) -> str:
        return self._scope.definition.id

    @property
    def step_id(self) -> str:
        return self._step.id

    @property
    def stopping(self) -> bool:
        return self.left or self._drive.stopping or self._scope.lane.stopping or self._drive.is_unwanted(self.key)

    @property
    def run_was_cancelled(self) -> bool:
        """Somebody ended the run; not that its time is up."""
        return self._drive.cancelled

    def result_of(self, step: Any, /) -> object:
        return self._reader().result_of(step)

    def results_of(self, step: Any, /) -> list[object]:
        return self._reader().results_of(step)

    def init_data(self, schema: object, /) -> object:
        definition, given = self._scope.definition, self._scope.input
        if schema is definition.graph.input_schema:
            return given.fresh()
        if given.data is None:
            return schema_of(schema).validate(given.fresh(), f"input of run {self.run_id!r}")
        return schema_of(schema).load(given.data, f"input of run {self.run_id!r}")

    def heartbeat(self, details: object, /) -> None:
        _logger.debug("step %r of run %s is alive: %r", self.key, self.run_id, details)

    def write(self, chunk: object, stream: str, /) -> None:
        self._drive.chunks.write(self, chunk, stream)

    @property
    def is_too_fast(self) -> bool:
        """Whether it has written more than is to be on its way to the store."""
        return self.written > 0 and self._drive.chunks.full

    async def room(self) -> None:
        """Wait until it may go on."""
        await self._drive.chunks.room()

    # --- leaving the body --------------------------------------------------------------------------

    def bail(self, output: object, /) -> Never:
        raise Bail(output)

    @property
    def resume_data(self) -> object:
        answered = [suspension.answer for suspension in self._suspensions if suspension.answer is not None]
        return self._answer(answered[-1]) if answered else None

    def suspend(self, payload: object, timeout: timedelta | None, /) -> object:
        if self.suspended is not None:
            raise self.suspended
        number, self._asked = self._asked, self._asked + 1
        if number < len(self._suspensions):
            suspension = self._suspensions[number]
            if suspension.answer is not None:
                return self._answer(suspension.answer)
            waited = timeout
            if waited is None and suspension.until is not None and suspension.since is not None:
                waited = suspension.until - suspension.since
            raise WaitTimeoutError.unanswered(self.step_id, waited or timedelta())
        what = f"payload of step {self.step_id!r}"
        schema = schema_of(self._step.body.suspend)
        try:
            asked = stored(schema, schema.validate(payload, what), what, self._drive.services.limits.value_bytes)
        except (InvalidValueError, LimitError):
            self._asked = number
            raise
        self.suspended = Suspend(asked.data or b"null", timeout)
        raise self.suspended

    def _answer(self, data: bytes) -> object:
        return self._drive.load(schema_of(self._step.body.resume), data, self.key, "answer to step")

    # --- state -------------------------------------------------------------------------------------

    @property
    def state(self) -> object:
        if not self._state_was_read:
            self._state = state_value(self._state_before, self._scope.definition)
            self._state_was_read = True
        return self._state

    def set_state(self, state: object, /) -> None:
        """Raises InvalidValueError where there is none."""
        definition = self._scope.definition
        if definition.state_schema is None:
            problem = f"was set, but workflow {definition.id!r} has none"
            cure = "return it: code keeps what it needs itself" if definition.has_code else "declare state_schema="
            raise InvalidValueError.because(f"state in step {self.key!r}", problem, cure=cure)
        self._state, self._state_was_read = state, True

    def state_change(self) -> dict[str, Any] | None:
        """The fields that differ from the copy that was handed out.  Raises InvalidValueError, LimitError."""
        schema = self._scope.definition.state_schema
        if not self._state_was_read or schema is None:
            return None
        what = f"state after step {self.key!r}"
        data = stored(schema, self._state, what, self._drive.services.limits.value_bytes).data or b"null"
        check_depth(schema, data, what)
        return difference(self._state_before, plain(data))

    def _reader(self) -> StepReader:
        return StepReader(self._drive.journal, self._scope.definition, self._scope.prefix, asking=self._step)


class NodeCall:
    """One call of the function of a ``map_ctx``."""

    def __init__(self, drive: Drive, scope: Scope, position: int) -> None:
        self._drive = drive
        self._scope = scope
        self._position = position

    @property
    def input_data(self) -> object:
        return self._scope.input.fresh()

    @property
    def state(self) -> object:
        return state_value(self._scope.state, self._scope.definition)

    def result_of(self, step: Any, /) -> object:
        return self._reader().result_of(step)

    def results_of(self, step: Any, /) -> list[object]:
        return self._reader().results_of(step)

    def _reader(self) -> StepReader:
        return StepReader(self._drive.journal, self._scope.definition, self._scope.prefix, position=self._position)
