"""Fork: the draft of a new run that takes over what another one recorded, up to a point."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Self

from typing_extensions import TypeVar

from .durations import parse_duration
from .engine.forking import Forking, Given
from .engine.overflow import told_as_limit
from .engine.values import stored
from .errors import InvalidValueError, RunNotFoundError
from .schemas import plain
from .steps import ITSELF, check_step
from .world.errors import WorkflowRunNotFoundError

if TYPE_CHECKING:
    from .engine.definition import AnyStep, Definition
    from .engine.drive import Drive
    from .results import RunResult
    from .run import Run
    from .runtime import Runtime
    from .steps import Replaceable
    from .world.events import NewEvent, RunCreated

WInT = TypeVar("WInT", contravariant=True)
WOutT = TypeVar("WOutT", covariant=True)
StateT = TypeVar("StateT", default=None)
OutputT = TypeVar("OutputT")


class Fork(Generic[WInT, WOutT, StateT]):
    """A draft of a new run, made by ``run.fork(...)``.  The run that is forked is never touched, whatever its status.

    It takes over the record of every call that precedes the point of the fork, of the finished ones in the blocks
    around it, the state as it was when that point was reached, and the events that were used.  From there on all runs
    again, with idempotency keys of its own.  In a workflow that is written as a function, what precedes a call is what
    had ended when it began.

    A draft is never changed: every ``with_...`` gives another one, and every start begins another run.
    """

    def __init__(
        self,
        runtime: Runtime,
        definition: Definition,
        run_id: str,
        at: AnyStep | None,
        key: str | None,
        handle: Callable[[str], Run[WInT, WOutT, StateT]],
        outcome: Callable[[Run[Any, Any, Any], timedelta | None, Drive], Awaitable[RunResult[WOutT]]],
    ) -> None:
        self._runtime = runtime
        self._definition = definition
        self._run_id = run_id
        self._at = at
        self._key = key
        self._handle = handle
        self._outcome = outcome
        self._given = Given()

    def with_output(self, step: Replaceable[OutputT], value: OutputT, /) -> Self:
        """``value`` in place of what ``step`` gave, a step before the point of the fork; the log says so.

        For the step at that point itself it stands for running it.  Of a loop it is the output of the last iteration.

        Raises:
            InvalidValueError: the value is not what the step gives.
            TypeError: ``step`` is no step.
            LimitError: it is too large.
        """
        found = check_step("with_output()", step, cure=ITSELF)
        known = self._definition.steps.get(found.id, found)
        data = self._stored(self._definition.stored_by(known), value, f"output of step {found.id!r}")
        outputs = {**self._given.outputs, found.id: (found, data)}
        return self._with(replace(self._given, outputs=outputs))

    def with_state(self, state: StateT, /) -> Self:
        """``state`` as the state of the run when it goes on, in place of what the steps before had made it.

        Raises:
            InvalidValueError: it is not the state of this workflow, or that has none.
            LimitError: it is too large.
        """
        schema, what = self._definition.state_schema, f"state of a fork of run {self._run_id!r}"
        if schema is None:
            problem = f"was given, but workflow {self._definition.id!r} has none"
            raise InvalidValueError.because(what, problem, cure="declare state_schema=")
        return self._with(replace(self._given, state=plain(self._stored(schema, state, what))))

    def with_input(self, input_data: WInT, /) -> Self:
        """``input_data`` as the input of the new run.  What precedes the point of the fork is taken over all the same.

        Raises:
            InvalidValueError: it is not what the workflow takes.
            LimitError: it is too large.
        """
        what = f"input of a fork of run {self._run_id!r}"
        return self._with(replace(self._given, input=self._stored(self._definition.input_schema, input_data, what)))

    async def start(self, *, wait: timedelta | str | None = "30s") -> RunResult[WOutT]:
        """Begin the new run, and drive it here as :meth:`Run.start` does; its id is that of the result.

        It is recorded with all it takes over, or not at all.

        Raises:
            StepNotRunError: the run never came to that step or key.
            UnknownStepError: the workflow has no such step.
            AmbiguousResumeError: the step ran more than once, and ``key`` does not say which.
            InvalidValueError: another output was given for a step that does not precede the point.
            DefinitionChangedError: what is to be taken over does not fit the workflow as it is now.
            RunFinishedError: the run completed, and nothing says where to fork it.
            RunNotFoundError: there is no run to fork.
            RunExpiredError: what it held was removed, see ``retention=``.
            LimitError: what is taken over is more than a log may hold.
            StoreError: nothing could be recorded.
        """
        patience = None if wait is None else parse_duration(wait)
        run_id, created, record = await self._new()
        run = self._handle(run_id)
        begun = self._runtime.driver.begin(self._definition, run_id, created, record)
        with told_as_limit():
            return await self._outcome(run, patience, begun)

    async def enqueue(self) -> Run[WInT, WOutT, StateT]:
        """Record the new run and return at once; any worker takes it.

        Durable when it returns.  Raises as :meth:`start` does.
        """
        run_id, created, record = await self._new()
        with told_as_limit():
            await self._runtime.driver.leave(self._definition, run_id, created, record)
        run = self._handle(run_id)
        await run.refresh()
        return run

    async def _new(self) -> tuple[str, RunCreated, list[NewEvent]]:
        """The id of the new run, and the record that it is born with."""
        try:
            log = (await self._runtime.world.storage.events.list(self._run_id)).data
        except WorkflowRunNotFoundError as error:
            raise RunNotFoundError(self._run_id) from error
        forking = Forking(self._definition, self._run_id, log, self._at, self._key, self._given)
        run_id = self._runtime.new_run_id()
        return run_id, *forking.events(run_id, self._runtime.clock.now())

    def _stored(self, schema: Any, value: object, what: str) -> bytes:
        data = stored(schema, schema.validate(value, what), what, self._runtime.limits.value_bytes).data
        return data or b"null"

    def _with(self, given: Given) -> Self:
        draft = copy.copy(self)
        draft._given = given
        return draft

    def __repr__(self) -> str:
        at = self._key or (self._at.id if self._at is not None else None)
        return f"Fork(of={self._run_id!r}, at={at!r})"
