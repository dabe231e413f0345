"""What a run comes to: ``RunResult``, a closed union for ``match``, and what can be read of a run at any moment."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, Never, Self, TypeAlias, cast

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeAliasType, TypeVar

from .context import ResultAccess, Results
from .errors import RunFailedError, RunNotFinishedError
from .schemas import schema_of

if TYPE_CHECKING:
    from .steps import SuspendableStep
    from .world.events import StoredEvent

PayloadT = TypeVar("PayloadT")
T = TypeVar("T")
OutT = TypeVar("OutT", covariant=True)

RunStatus: TypeAlias = Literal["pending", "running", "completed", "failed", "cancelled"]
WaitingFor: TypeAlias = Literal["sleeping", "waiting", "suspended", "paused"]


@dataclass(frozen=True)
class StepError:
    """How a step or run failed: a value that survives storage, not an exception."""

    key: str
    step_id: str
    type: str
    """The class's own name, ``TimeoutError``; ``module`` says where it lives."""
    module: str
    message: str
    attributes: dict[str, object] = field(default_factory=dict)
    """What the exception carried that JSON can hold."""
    attempts: int = 1
    traceback: str = field(default="", repr=False)
    cause: StepError | None = None


class _View(BaseModel):
    # Built when first used: importing the package must stay quick.
    model_config = ConfigDict(defer_build=True)


class StepResult(_View):
    """Where one step call stands.  Times are UTC."""

    status: Literal["pending", "running", "retrying", "waiting", "completed", "failed", "skipped", "cancelled"]
    output: object = None
    error: StepError | None = None
    attempt: int = 0
    """Tries that ended or are running; interrupted ones are not counted."""
    started_at: datetime | None = None
    completed_at: datetime | None = None


class RunInfo(_View):
    """One row of ``runs.list``: what is known without reading payloads."""

    run_id: str
    workflow_id: str
    status: RunStatus
    waiting_for: WaitingFor | None
    attributes: dict[str, str]
    created_at: datetime
    updated_at: datetime
    expired_at: datetime | None
    """When it began to lose its payloads, which were kept for as long as was wanted; None while it has them."""


class Snapshot(RunInfo):
    """The run at one moment: a view of its event log, true after every step."""

    pause_reason: str | None
    """Why it is paused, if it is and somebody said so: what does not fit, where the engine did."""
    input: object
    """What it was started with."""
    execution_path: list[str]
    """Keys of the steps, in the order they were first started."""
    step_results: dict[str, StepResult]
    """By key: ``fetch``, ``llm#2``, ``send[12]``, ``enrich/fetch``."""
    state: object
    result: object
    """The output of the run; None before it completed."""
    error: StepError | None
    """Of a run that failed."""


class Page(_View, Generic[T]):
    """Part of a listing.  ``cursor`` asks for what follows; ``has_more`` says whether there is something now."""

    data: list[T]
    cursor: str | None
    has_more: bool


class _LeftBehind:
    """In place of the results of steps, where a result was unpickled."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    def result_of(self, _step: object, /) -> Never:
        problem = f"this result of run {self._run_id!r} came from another process, without those of its steps"
        raise RuntimeError(f"{problem}; take the run with get_run({self._run_id!r})")

    results_of = result_of


class _Base(ResultAccess):
    def __init__(self, run_id: str, results: Results) -> None:
        self._run_id = run_id
        self._read = results

    @property
    def run_id(self) -> str:
        """The run this is the result of."""
        return self._run_id

    def _results(self) -> Results:
        return self._read

    def __getstate__(self) -> dict[str, Any]:
        """For another process: what the steps gave is read by their definitions, which stay here."""
        return vars(self) | {"_read": _LeftBehind(self._run_id)}

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        twin = object.__new__(type(self))
        for name, value in vars(self).items():
            twin.__dict__[name] = value if name == "_read" else deepcopy(value, memo)
        return twin

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._facts() == other._facts() if isinstance(other, _Base) else False

    def __hash__(self) -> int:
        return hash((type(self), self._run_id))

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self._facts().items())
        return f"{type(self).__name__}({facts})"

    def _facts(self) -> dict[str, object]:
        return {name.lstrip("_"): value for name, value in vars(self).items() if name != "_read"}


class Completed(_Base, Generic[OutT]):
    """The run ended with an output."""

    __match_args__ = ("output",)
    status: Literal["completed"] = "completed"

    def __init__(self, run_id: str, results: Results, output: OutT) -> None:
        super().__init__(run_id, results)
        self._output = output

    @property
    def output(self) -> OutT:
        """What the workflow gave."""
        return self._output

    def unwrap(self) -> OutT:
        """The output."""
        return self._output


class Failed(_Base):
    """A step failed for good, or the code between steps raised."""

    __match_args__ = ("error",)
    status: Literal["failed"] = "failed"

    def __init__(self, run_id: str, results: Results, error: StepError, errors: list[StepError]) -> None:
        super().__init__(run_id, results)
        self.error = error
        self.errors = errors

    def __repr__(self) -> str:
        others = "" if self.errors == [self.error] else f", errors={self.errors!r}"
        return f"Failed(run_id={self.run_id!r}, error={self.error!r}{others})"

    def unwrap(self) -> Never:
        """Raises RunFailedError, which carries the error."""
        raise RunFailedError(self.error)


class Cancelled(_Base):
    """Somebody ended the run."""

    __match_args__ = ("reason",)
    status: Literal["cancelled"] = "cancelled"

    def __init__(self, run_id: str, results: Results, reason: str | None) -> None:
        super().__init__(run_id, results)
        self.reason = reason

    def unwrap(self) -> Never:
        """Raises RunNotFinishedError."""
        raise RunNotFinishedError(self)


class Waiting(_Base):
    """Parked until a time (sleep, retry) or an event; ``until`` is UTC.

    A run that is to start later sleeps; one that waits for those of its schedule before it does so without ``until``.
    """

    __match_args__ = ("reason",)
    status: Literal["waiting"] = "waiting"

    def __init__(
        self,
        run_id: str,
        results: Results,
        reason: Literal["sleep", "retry", "event"],
        until: datetime | None,
        event: str | None = None,
    ) -> None:
        super().__init__(run_id, results)
        self.reason: Literal["sleep", "retry", "event"] = reason
        self.until = until
        self.event = event

    def unwrap(self) -> Never:
        """Raises RunNotFinishedError."""
        raise RunNotFinishedError(self)


class Paused(_Base):
    """By a person, or by the engine when the code no longer fits the record."""

    __match_args__ = ("by", "reason")
    status: Literal["paused"] = "paused"

    def __init__(self, run_id: str, results: Results, by: Literal["user", "engine"], reason: str | None) -> None:
        super().__init__(run_id, results)
        self.by: Literal["user", "engine"] = by
        self.reason = reason

    def unwrap(self) -> Never:
        """Raises RunNotFinishedError."""
        raise RunNotFinishedError(self)


@dataclass(frozen=True)
class StreamItem:
    """One item of ``run.stream()``: a log event, a chunk of a step, or the notice that a step's chunks start afresh."""

    cursor: str
    """Where to go on from: ``run.stream(after=item.cursor)`` gives what follows, and nothing else."""
    kind: Literal["event", "chunk", "reset"]
    event: StoredEvent | None
    key: str | None
    """The step call it is about; of events that are about none, None."""
    stream: str | None
    chunk: bytes | None


@dataclass(frozen=True)
class Suspension:
    """One place where a run waits for an answer."""

    key: str
    step_id: str
    payload: object
    token: str
    since: datetime
    is_plain: bool = False
    """Whether ``payload`` is plain JSON: only the code of the workflow knows the step, and so its type."""


class Suspended(_Base):
    """Parked in a step which called ``ctx.suspend``."""

    __match_args__ = ("step_id",)
    status: Literal["suspended"] = "suspended"

    def __init__(self, run_id: str, results: Results, suspensions: list[Suspension]) -> None:
        super().__init__(run_id, results)
        self.step_id = suspensions[0].step_id
        self.suspensions = suspensions

    def payload_of(self, step: SuspendableStep[Never, object, Never, PayloadT, Never], /) -> PayloadT | None:
        """What ``step`` suspended with, typed: of its first open suspension; None where it has none.

        Raises:
            InvalidValueError: what was recorded does not fit the type that the step has now.
        """
        first = next((open for open in self.suspensions if open.step_id == step.id), None)
        if first is None:
            return None
        payload = first.payload
        if first.is_plain:
            payload = schema_of(step.body.suspend).load_tree(payload, f"payload of step {first.key!r}")
        return cast("PayloadT | None", payload)

    def unwrap(self) -> Never:
        """Raises RunNotFinishedError."""
        raise RunNotFinishedError(self)


RunResult = TypeAliasType(
    "RunResult", Completed[OutT] | Failed | Cancelled | Suspended | Waiting | Paused, type_params=(OutT,)
)
"""How a run stands when a call that drives or awaits it returns."""
