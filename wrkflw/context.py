"""Contexts handed to user code: thin, typed views over the run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Never, Protocol, Self, cast, overload

from typing_extensions import TypeForm, TypeVar

from .durations import parse_duration
from .errors import StepNotRunError
from .trials import TrialCall

if TYPE_CHECKING:
    from typing import TypeAlias

    from .steps import Step

    AnyStep: TypeAlias = Step[Never, object, Never]

T = TypeVar("T")
D = TypeVar("D")
InitT = TypeVar("InitT", covariant=True)
StateT = TypeVar("StateT", default=object)
ResumeT = TypeVar("ResumeT")
SuspendT = TypeVar("SuspendT")

_logger = logging.getLogger("wrkflw.step")


# ------------------------------------------------------------------ what the engine gives
class Results(Protocol):
    """The step results that can be read at one point of a run."""

    def result_of(self, step: AnyStep, /) -> object:
        """The step's output; of a loop, the last one.  Raises StepNotRunError, UnknownStepError."""
        ...

    def results_of(self, step: AnyStep, /) -> list[object]:
        """All its iterations or items so far, in order.  Raises UnknownStepError."""
        ...


class Call(Results, Protocol):
    """One attempt of one step call, as its body may see it."""

    @property
    def run_id(self) -> str: ...
    @property
    def workflow_id(self) -> str: ...
    @property
    def step_id(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def iteration(self) -> int | None: ...
    @property
    def index(self) -> int | None: ...
    @property
    def fence(self) -> int: ...
    @property
    def stopping(self) -> bool: ...
    @property
    def state(self) -> object:
        """This attempt's own copy: the same object each time, so that changes in place count."""
        ...

    def set_state(self, state: object, /) -> None: ...

    def init_data(self, schema: object, /) -> object:
        """The input of the workflow, as ``schema``.  Raises InvalidValueError."""
        ...

    def heartbeat(self, details: object, /) -> None: ...

    def bail(self, output: object, /) -> Never:
        """Leave the body, and end the innermost workflow with this output."""
        ...

    def write(self, chunk: object, stream: str, /) -> None:
        """Add a chunk to a stream of the run, from any thread.  Raises InvalidValueError, LimitError, RuntimeError."""
        ...

    @property
    def resume_data(self) -> object:
        """The latest answer; None before the first."""
        ...

    def suspend(self, payload: object, timeout: timedelta | None, /) -> object:
        """The answer to this suspension of the body; without one, leave the body."""
        ...


class MapCall(Results, Protocol):
    """One call of the function of a ``.map_ctx``, as it may see the run."""

    @property
    def input_data(self) -> object:
        """The input of the workflow, loaded."""
        ...

    @property
    def state(self) -> object:
        """A copy; changes to it are lost."""
        ...


# ------------------------------------------------------------------ what user code sees
class _Missing:
    """No default was given."""


_MISSING = _Missing()


class ResultAccess:
    """``get_step_result`` is the same on every context, on Run and on RunResult."""

    __slots__ = ()

    def _results(self) -> Results:
        raise NotImplementedError(f"{type(self).__name__} must say where its results come from")

    @overload
    def get_step_result(self, step: Step[Never, T, Never], /) -> T: ...
    @overload
    def get_step_result(self, step: Step[Never, T, Never], /, default: D) -> T | D: ...
    def get_step_result(self, step: Step[Never, T, Never], /, default: D | _Missing = _MISSING) -> T | D:
        """The output of ``step``, typed; ``default`` where it has not run.

        Raises:
            StepNotRunError: it has no result at this point, and there is no default; or it ran once per item.
            UnknownStepError: the workflow has no such step.
        """
        try:
            return cast("T", self._results().result_of(step))
        except StepNotRunError as error:
            if isinstance(default, _Missing) or error.has_many:
                raise
            return default

    def get_step_results(self, step: Step[Never, T, Never], /) -> list[T]:
        """All its iterations or items so far, in order.

        Raises:
            UnknownStepError: the workflow has no such step.
        """
        return cast("list[T]", self._results().results_of(step))


class _StepContextBase(ResultAccess, Generic[StateT]):
    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def _results(self) -> Results:
        return self._call

    @property
    def run_id(self) -> str:
        """The run."""
        return self._call.run_id

    @property
    def workflow_id(self) -> str:
        """The innermost workflow."""
        return self._call.workflow_id

    @property
    def step_id(self) -> str:
        """The step."""
        return self._call.step_id

    @property
    def key(self) -> str:
        """This call of the step: ``fetch``, ``poll#3``, ``send[12]``, ``enrich/fetch``."""
        return self._call.key

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return self._call.attempt

    @property
    def iteration(self) -> int | None:
        """In a loop, which pass this is, from 1."""
        return self._call.iteration

    @property
    def index(self) -> int | None:
        """In a foreach, which item this is, from 0."""
        return self._call.index

    @property
    def idempotency_key(self) -> str:
        """``run_id:key``: the same for every attempt and every recovery of this call."""
        return f"{self._call.run_id}:{self._call.key}"

    @property
    def fence(self) -> int:
        """Grows whenever another process takes the run over."""
        return self._call.fence

    @property
    def stopping(self) -> bool:
        """True once the run is cancelled or has timed out, its block is draining, or nobody waits for this any more."""
        return self._call.stopping

    def raise_if_stopping(self) -> None:
        """Leave the body here once ``stopping`` is true.

        Raises:
            asyncio.CancelledError: it is.
        """
        if self._call.stopping:
            raise asyncio.CancelledError(f"step {self._call.step_id!r} is stopping")

    @property
    def logger(self) -> logging.LoggerAdapter[Any]:
        """The logger ``wrkflw.step``; its records carry ``run_id``, ``step_key`` and ``attempt``."""
        call = self._call
        facts = {"run_id": call.run_id, "step_key": call.key, "attempt": call.attempt}
        return logging.LoggerAdapter(_logger, facts)

    def heartbeat(self, details: object = None) -> None:
        """Say that the body is getting on, and how far it is: in the log, at level DEBUG."""
        self._call.heartbeat(details)

    def bail(self, output: object) -> Never:
        """End the innermost workflow here, successfully, with this output; no line after it runs.

        Raises:
            InvalidValueError: the workflow promises something else.
        """
        self._call.bail(output)

    def write(
        self, chunk: str | bytes | Mapping[str, object] | Sequence[object], /, *, stream: str = "default"
    ) -> None:
        """Add a chunk to a stream of the run; durable before the step completes.

        A body that writes faster than the disk is made to wait: a function here, a coroutine where it awaits next.

        Raises:
            InvalidValueError: the chunk is neither bytes nor anything JSON has, or no stream can be called so.
            LimitError: it is larger than a value may be.
            RuntimeError: the body is over, or was given up when its time was.
        """
        self._call.write(chunk, stream)

    @property
    def state(self) -> StateT:
        """This attempt's own copy of the state.  Changes are recorded with the output, and only with it."""
        return cast("StateT", self._call.state)

    def set_state(self, state: StateT, /) -> None:
        """Replace this attempt's copy of the state."""
        self._call.set_state(state)

    def get_init_data(self, schema: TypeForm[T], /) -> T:
        """The run's input, validated as ``schema`` (a step does not know which workflow it is in).

        Raises:
            InvalidValueError: the input does not fit ``schema``.
        """
        return cast("T", self._call.init_data(schema))


class StepContext(_StepContextBase[StateT], Generic[StateT]):
    """Second, optional, parameter of a step function: ``StepContext`` or ``StepContext[State]``."""

    __slots__ = ()

    @classmethod
    def for_test(
        cls,
        *,
        state: StateT = cast("StateT", None),  # noqa: B008 -- without one, a body that asks for state gets None
        results: Mapping[Step[Never, Any, Never], object] | None = None,
        run_id: str = "test",
    ) -> Self:
        """A context for calling a body directly in a unit test; records nothing."""
        outputs = {step.id: output for step, output in (results or {}).items()}
        return cls(TrialCall(run_id, state, outputs))


class SuspendContext(_StepContextBase[StateT], Generic[ResumeT, SuspendT, StateT]):
    """Context of a step which may suspend: ``SuspendContext[Resume, Suspend(, State)]``."""

    __slots__ = ()

    @classmethod
    def for_test(
        cls,
        *,
        answers: Sequence[ResumeT] = (),
        state: StateT = cast("StateT", None),  # noqa: B008 -- as in StepContext
        results: Mapping[Step[Never, Any, Never], object] | None = None,
        run_id: str = "test",
    ) -> Self:
        """A context for calling a body directly in a unit test; ``suspend()`` gives ``answers`` one by one.

        Written with its types: ``SuspendContext[Approval, Mail].for_test(answers=[Approval(approved=True)])``.
        """
        outputs = {step.id: output for step, output in (results or {}).items()}
        return cls(TrialCall(run_id, state, outputs, answers))

    @property
    def resume_data(self) -> ResumeT | None:
        """The latest answer; None while the body runs for the first time."""
        return cast("ResumeT | None", self._call.resume_data)

    def suspend(self, payload: SuspendT, /, *, timeout: timedelta | str | None = None) -> ResumeT:
        """Park the run until somebody answers; the body then runs again from the top, and this call gives the answer.

        No line after it runs before that, so effects belong after it, or in a step before.  Of several calls in one
        body the k-th gets the k-th answer.

        Raises:
            InvalidValueError: the payload does not fit its type.
            WaitTimeoutError: ``timeout`` passed without an answer; the body may catch it.
            ValueError: ``timeout`` is not a duration.
        """
        return cast("ResumeT", self._call.suspend(payload, None if timeout is None else parse_duration(timeout)))


class MapContext(ResultAccess, Generic[InitT, StateT]):
    """Context of ``.map_ctx``: here the workflow is known, so ``init_data`` and ``state`` are typed."""

    __slots__ = ("_call",)

    def __init__(self, call: MapCall) -> None:
        self._call = call

    def _results(self) -> Results:
        return self._call

    @property
    def init_data(self) -> InitT:
        """The run's input."""
        return cast("InitT", self._call.input_data)

    @property
    def state(self) -> StateT:
        """A copy of the state; a map may read it, and changes to it are lost."""
        return cast("StateT", self._call.state)
