"""What a run may not be asked for now, and what ``unwrap()`` raises."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from .base import WrkflwError, names
from .steps import failure

if TYPE_CHECKING:
    from typing import Self

    from wrkflw.results import RunResult, StepError

_FEW = 8
"""Keys that an error lists."""


class RunExistsError(WrkflwError):
    """The run was started before."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} was already started; take it with wf.get_run({run_id!r})")
        self.run_id = run_id

    @classmethod
    def elsewhere(cls, run_id: str) -> Self:
        """There is none here: another namespace of the database has the id, of which nothing is told."""
        error = cls(run_id)
        error.args = (f"run id {run_id!r} cannot be used here; choose another",)
        return error


class RunConflictError(WrkflwError):
    """The idempotency key is known with another input."""

    def __init__(self, run_id: str) -> None:
        cure = "start with that input, or use another idempotency key"
        super().__init__(f"run {run_id!r} was started with another input; {cure}")
        self.run_id = run_id


class RunFinishedError(WrkflwError):
    """The run has ended, and takes nothing more."""

    def __init__(self, run_id: str, status: str, cure: str = "fork it instead") -> None:
        super().__init__(f"run {run_id!r} is already {status}; {cure}")
        self.run_id = run_id
        self.status = status


class NotSuspendedError(WrkflwError):
    """Nothing there waits for an answer; ``open`` names what does."""

    def __init__(self, run_id: str, step_id: str, open: Iterable[str]) -> None:
        self.run_id = run_id
        self.step_id = step_id
        self.open = tuple(open)
        super().__init__(f"step {step_id!r} of run {run_id!r} is not suspended; open: {names(self.open) or 'nothing'}")

    @classmethod
    def ended(cls, run_id: str, step_id: str, status: str) -> Self:
        """The run has ended, so that nothing in it waits; ``status`` says how."""
        error = cls.__new__(cls)
        sentence = f"step {step_id!r} of run {run_id!r} is not suspended: the run is already {status}; fork it instead"
        Exception.__init__(error, sentence)
        error.run_id, error.step_id, error.open = run_id, step_id, ()
        return error

    @classmethod
    def of_another(cls, run_id: str, step_id: str, key: str, open: Iterable[str]) -> Self:
        """``key`` is a call of another step."""
        error = cls(run_id, step_id, open)
        cure = f"open: {names(error.open) or 'nothing'}"
        Exception.__init__(error, f"{key!r} of run {run_id!r} is no call of step {step_id!r}; {cure}")
        return error

    @classmethod
    def moved_on(cls, run_id: str, key: str, open: Iterable[str]) -> Self:
        """The suspension that was to be answered is over, and another may be open."""
        error = cls.__new__(cls)
        cure = "look at what it asks now with run.result(), and answer that"
        Exception.__init__(error, f"{key!r} of run {run_id!r} no longer waits for this answer; {cure}")
        error.run_id, error.step_id, error.open = run_id, key, tuple(open)
        return error


class AmbiguousResumeError(WrkflwError):
    """Several calls of the step wait for an answer."""

    def __init__(self, step_id: str, keys: Iterable[str]) -> None:
        self.step_id = step_id
        self.keys = tuple(keys)
        more = len(self.keys) - _FEW
        told = [*map(repr, self.keys[:_FEW]), f"{more} more"] if more > 0 else map(repr, self.keys)
        super().__init__(f"step {step_id!r} waits at {' and '.join(told)}; pass at=")

    @classmethod
    def ran_often(cls, step_id: str, keys: Iterable[str]) -> Self:
        """A fork at a step that ran more than once."""
        keys = tuple(keys)
        error = cls.__new__(cls)
        Exception.__init__(error, f"{step_id!r} ran {len(keys)} times; pass key={keys[-1]!r}")
        error.step_id = step_id
        error.keys = keys
        return error

    @classmethod
    def gave_often(cls, step_id: str, keys: Iterable[str]) -> Self:
        """A fork is to have another output of a step that ran more than once before its point."""
        error = cls.ran_often(step_id, keys)
        variable = step_id.replace("-", "_")
        cure = f"run.fork(at={variable}, key={error.keys[-1]!r}).with_output({variable}, ...)"
        error.args = (f"{step_id!r} ran {len(error.keys)} times; fork at the call that is meant: {cure}",)
        return error


class AlreadyResumedError(WrkflwError):
    """Somebody else answered first."""

    def __init__(self, run_id: str, key: str, answered_at: datetime) -> None:
        super().__init__(f"{key!r} of run {run_id!r} was answered at {answered_at:%H:%M:%S}; nothing was changed")
        self.run_id = run_id
        self.key = key
        self.answered_at = answered_at


class RunFailedError(WrkflwError):
    """There is no output, because the run failed; ``error`` says why."""

    def __init__(self, error: StepError) -> None:
        super().__init__(failure(error))
        self.error = error


class RunNotFinishedError(WrkflwError):
    """There is no output, because the run is parked or was cancelled; ``result`` says how it stands."""

    def __init__(self, result: RunResult[object]) -> None:
        super().__init__(f"run {result.run_id!r} is {_standing(result)}")
        self.result = result


def _standing(result: RunResult[object]) -> str:
    """How a run without an output stands, and what to do about it."""
    match result.status:
        case "suspended":
            # A step is usually held by a variable of its own name.
            variable = result.step_id.replace("-", "_")
            return f"suspended at {result.step_id!r}; answer it with run.resume({variable}, ...)"
        case "waiting":
            what = f"event {result.event!r}" if result.reason == "event" else f"a {result.reason}"
            return f"waiting for {what}; take it up with run.result()"
        case "paused":
            why = f" ({result.reason})" if result.reason else ""
            return f"paused{why}; go on with run.unpause()"
        case "cancelled":
            why = f" ({result.reason})" if result.reason else ""
            return f"cancelled{why}; start another"
        case "completed" | "failed":
            return f"{result.status}; nothing is open"
