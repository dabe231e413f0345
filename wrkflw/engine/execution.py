"""The workflow gone through from its beginning, and what that makes of the run: an output, a failure, a pause."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from wrkflw.errors import (
    DefinitionChangedError,
    InvalidValueError,
    LimitError,
    NondeterminismError,
    RunTimeoutError,
    StoreError,
)
from wrkflw.world import events as e
from wrkflw.world.errors import EventLimitError, WorldError

from . import damage, failures
from .fitting import check_fits
from .interpreter import Interpreter
from .lanes import Lane
from .program import Program
from .scopes import Scope
from .standing import BailedError, LeftError, Parked, StepEndedError
from .tools import Tools
from .values import NOTHING, Flow, Later, Settled, stored

if TYPE_CHECKING:
    from .drive import Drive


class Execution:
    """What it comes to is noted, to be committed with whatever is noted before."""

    def __init__(self, drive: Drive) -> None:
        self._drive = drive
        self._interpreter = Interpreter(drive)
        self.given: Settled | None = None
        """The input of a run that begins here, as it was read back: it need not be read again the first time."""

    async def run(self) -> None:
        """Go through the workflow to its end, which is noted.  Raises LeftError when it goes no further now."""
        drive = self._drive
        try:
            if drive.journal.status == "pending":
                await drive.recorder.write_now(e.RunStarted())
            self._complete(await self.flow())
        except BailedError as bailed:
            self._complete(bailed.output, {"bail": True})
        except StepEndedError as ended:
            if drive.expired:  # the body failed of being stopped
                self.note_timeout(ended.error.key)
            else:
                drive.recorder.note(e.RunFailed(error=failures.dump(ended.error), error_code="USER_ERROR"))
        except (DefinitionChangedError, NondeterminismError) as changed:
            if drive.definition.workflow.on_mismatch == "pause":
                await self._pause(changed)
            nondeterminism = isinstance(changed, NondeterminismError)
            self._fail(changed, "NONDETERMINISM" if nondeterminism else "DEFINITION_CHANGED")
        except (WorldError, StoreError):
            raise
        except failures.BETWEEN_STEPS as error:
            self.fail_between_steps(error)
        except LeftError:
            raise
        except Exception as error:  # noqa: BLE001  # a run that cannot go on must say so, not be tried for ever
            self._fail(error, "RUNTIME_ERROR")

    def flow(self) -> Coroutine[Any, Any, Flow]:
        """What the workflow gives.

        Raises DefinitionChangedError or NondeterminismError when the record does not fit it, and as Interpreter.run.
        """
        drive, journal = self._drive, self._drive.journal
        if journal.fits is not drive.definition:
            check_fits(drive.definition, journal)
            journal.fits = drive.definition
        scope = Scope(drive.definition, "", Later(self._input), journal.initial_state, Lane())
        return self._interpreter.run(scope)

    async def program(self, scope: Scope, function: Callable[[Any, Any], Any], flow: Flow) -> Flow:
        """What a workflow that is written as a function gives."""
        return await Program(self._interpreter, scope, function, Tools).run(flow)

    # --- what it comes to --------------------------------------------------------------------------

    def fail_between_steps(self, error: Exception) -> None:
        """The log is full, or else it is a matter of the workflow's."""
        has_no_room = isinstance(error, LimitError) and error.field == "events"
        is_full = has_no_room or isinstance(error.__cause__, EventLimitError)
        self._fail(error, "MAX_EVENTS_EXCEEDED" if is_full else "USER_ERROR")

    def note_timeout(self, waiting_at: str | None = None) -> None:
        """Its time is up, which is told of the step at ``waiting_at``, or of the first that is open."""
        drive = self._drive
        assert drive.definition.timeout is not None
        at = waiting_at or next(drive.journal.open_keys(), None)
        self._fail(RunTimeoutError(drive.run_id, drive.definition.timeout, at), "DEADLINE_EXCEEDED")

    def _complete(self, flow: Flow, meta: e.Meta | None = None) -> None:
        drive = self._drive
        drive.go_on()
        data, schema = flow.data, drive.definition.output_schema
        if data is None or (meta is None and flow.schema is not schema):
            what = f"output of workflow {drive.definition.id!r}"
            value = schema.validate(flow.value, what)
            data = stored(schema, value, what, drive.services.limits.value_bytes).data
        drive.recorder.note(e.RunCompleted(output=data, meta=meta))

    def _fail(self, error: BaseException, code: str) -> None:
        failed = failures.failure_of(error, key="", step_id="", attempts=1)
        self._drive.recorder.note(e.RunFailed(error=failures.dump(failed), error_code=code))

    async def _pause(self, changed: DefinitionChangedError | NondeterminismError) -> None:
        """The record does not fit the code: wait for code that fits, or for a decision."""
        detail: e.Meta = {"by": "engine", "error": type(changed).__name__}
        await self._drive.recorder.write_now(e.RunPaused(reason=str(changed), detail=detail))
        raise LeftError(Parked(paused=True))

    def _input(self) -> Flow:
        given, self.given = self.given, None
        if given is not None:
            return given
        drive = self._drive
        data = drive.journal.input
        if data is None:
            return NOTHING
        schema = drive.definition.input_schema
        try:
            return Settled(damage.read(schema, data, "its input", drive.run_id), data, schema)
        except InvalidValueError as error:
            raise DefinitionChangedError.unreadable(drive.run_id, "", drive.definition.id, error) from error
