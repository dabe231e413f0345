"""Contexts handed to user code: thin, typed views over the run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, Never, Protocol, Self, cast, overload

from typing_extensions import TypeForm, TypeVar

from .errors import StepNotRunError

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
            StepNotRunError: it has no result at this point, and there is no default.
            UnknownStepError: the workflow has no such step.
        """
        try:
            return cast("T", self._results().result_of(step))
        except StepNotRunError:
            if isinstance(default, _Missing):
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
        """True once the run is cancelled, has timed out, or its block is draining."""
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
        """Tell whoever watches that the body is getting on, and how far it is."""
        self._call.heartbeat(details)

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
        return cls(_TestCall(run_id, state, outputs))


class SuspendContext(_StepContextBase[StateT], Generic[ResumeT, SuspendT, StateT]):
    """Context of a step which may suspend: ``SuspendContext[Resume, Suspend(, State)]``."""

    __slots__ = ()


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


# ------------------------------------------------------------------ without an engine
class _TestCall:
    """A call of no run: what :meth:`StepContext.for_test` looks at."""

    workflow_id = step_id = key = "test"
    attempt = 1
    iteration: int | None = None
    index: int | None = None
    fence = 1
    stopping = False

    def __init__(self, run_id: str, state: object, outputs: Mapping[str, object]) -> None:
        self.run_id = run_id
        self.state = state
        self._outputs = outputs

    def result_of(self, step: AnyStep, /) -> object:
        if step.id not in self._outputs:
            raise StepNotRunError(step.id, self._outputs)
        return self._outputs[step.id]

    def results_of(self, step: AnyStep, /) -> list[object]:
        return [self._outputs[step.id]] if step.id in self._outputs else []

    def set_state(self, state: object, /) -> None:
        self.state = state

    def init_data(self, schema: object, /) -> object:
        raise LookupError("a context for tests has no run, so no input; pass what the body needs in its own input")

    def heartbeat(self, details: object, /) -> None:
        """Nobody watches."""
