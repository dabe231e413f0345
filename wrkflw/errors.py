"""The family of errors: each carries its facts as fields and words its own sentence.

::

    WrkflwError
    ├── DefinitionError(TypeError)           at import or commit()
    │   └── DuplicateStepError
    ├── InvalidValueError(ValueError)        a value does not fit its type
    ├── NodeError                            user code between steps
    │   ├── ConditionError
    │   ├── MapError
    │   └── NoMatchError
    ├── StepNotRunError(LookupError)         asking for what is not there
    ├── UnknownStepError(LookupError)
    ├── UnknownEventError(LookupError)
    ├── RunNotFoundError(LookupError)
    ├── StepFailedError                      how a step or a run ends
    ├── StateConflictError
    ├── LimitError
    ├── StepTimeoutError(TimeoutError)
    ├── RunTimeoutError(TimeoutError)
    ├── WaitTimeoutError(TimeoutError)
    ├── StepInterruptedError
    ├── OutcomeUnknownError
    ├── SuspendSwallowedError
    ├── FatalError                           raised by users in bodies
    ├── RetryAfter
    ├── RunExistsError                       what a call may not do now
    ├── RunConflictError
    ├── RunFinishedError
    ├── NotSuspendedError
    ├── AmbiguousResumeError
    ├── AlreadyResumedError
    ├── RunFailedError                       from unwrap()
    ├── RunNotFinishedError
    ├── NondeterminismError                  the code no longer fits the record: pauses the run
    │   └── ForeignAwaitError
    ├── DefinitionChangedError
    └── StoreError                           storage could not commit

A sentence says what is the case, then ``;``, then what to do about it.  Control flow that nobody may catch (suspend,
bail) is a private BaseException elsewhere, not a member of this family.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from .durations import format_duration, parse_duration
from .suggestions import did_you_mean

if TYPE_CHECKING:
    from typing import Self

    from .results import RunResult, StepError


class WrkflwError(Exception):
    """Everything that wrkflw raises on purpose."""


# ------------------------------------------------------------------ at import or commit()
class DefinitionError(WrkflwError, TypeError):
    """A step or workflow is not put together as it must be."""


class DuplicateStepError(DefinitionError):
    """Two nodes of one workflow have one id."""

    def __init__(self, workflow_id: str, step_id: str, cure: str, *, kind: str = "step") -> None:
        super().__init__(f"workflow {workflow_id!r} already has a {kind} {step_id!r}; {cure}")
        self.workflow_id = workflow_id
        self.step_id = step_id


# ------------------------------------------------------------------ a value does not fit its type
class InvalidValueError(WrkflwError, ValueError):
    """A value does not fit the type that was declared for it.

    Attributes:
        what: the value in words, ``input of step 'send'``.
        where: the part of it that says where, ``step 'send'``.
        problems: what is wrong with it, one line each, ``to: field required``.
    """

    def __init__(self, what: str, schema: str, problems: Sequence[str], *, cure: str | None = None) -> None:
        self._say(what, problems, f"{what} does not fit {schema}: {_first(problems)}", cure)

    @classmethod
    def lost(cls, what: str, given: str, schema: str) -> Self:
        """What comes back from storage would not be what went in."""
        problem = f"{given}, which does not survive storage as {schema}"
        return cls.because(what, f"is {problem}", cure=f"declare {given} or a union")

    @classmethod
    def because(cls, what: str, problem: str, *, cure: str | None = None) -> Self:
        """``what`` and ``problem`` make the sentence: ``into Mail after 'fetch'``, ``: to: field required``."""
        error = cls.__new__(cls)
        joint = "" if problem.startswith(":") else " "
        error._say(what, [problem.removeprefix(": ")], f"{what}{joint}{problem}", cure)
        return error

    def _say(self, what: str, problems: Sequence[str], sentence: str, cure: str | None) -> None:
        Exception.__init__(self, f"{sentence}; {cure}" if cure else sentence)
        self.what = what
        self.where = _after_preposition(what)
        self.problems = list(problems)


# ------------------------------------------------------------------ user code between steps
class NodeError(WrkflwError):
    """A function between steps did not do what it must; ``node`` is the id of its node."""

    def __init__(self, node: str, message: str) -> None:
        super().__init__(message)
        self.node = node


class ConditionError(NodeError):
    """A condition raised, or gave something else than a bool."""


class MapError(NodeError):
    """The function of a map raised, or gave a coroutine."""

    @classmethod
    def raised(cls, node: str, error: BaseException) -> Self:
        """The function raised ``error``."""
        cure = "do fallible work in a step, which can be retried"
        return cls(node, f"map {node!r} raised {_exception(type(error).__name__, str(error))}; {cure}")

    @classmethod
    def gave_coroutine(cls, node: str) -> Self:
        """The function is asynchronous, which only calling it showed."""
        return cls(node, f"map {node!r} gave a coroutine; use a step for async work")


class NoMatchError(NodeError):
    """No case takes the value."""


# ------------------------------------------------------------------ asking for what is not there
class StepNotRunError(WrkflwError, LookupError):
    """The step has no result at this point; ``finished`` names those which have."""

    def __init__(self, step_id: str, finished: Iterable[str]) -> None:
        self.step_id = step_id
        self.finished = tuple(finished)
        done = _names(self.finished) or "nothing"
        super().__init__(f"step {step_id!r} has no result here; finished before this point: {done}")


class UnknownStepError(WrkflwError, LookupError):
    """The workflow has no such step."""

    def __init__(self, workflow_id: str, step_id: str, known: Iterable[str]) -> None:
        self.workflow_id = workflow_id
        self.step_id = step_id
        self.known = tuple(known)
        has = f"; it has {_names(self.known)}" if self.known else ""
        # No question mark: the guess stands where the cure stands.
        guess = did_you_mean(step_id, self.known).removesuffix("?") or has
        super().__init__(f"workflow {workflow_id!r} has no step {step_id!r}{guess}")


class UnknownEventError(WrkflwError, LookupError):
    """The workflow never waits for such an event."""

    def __init__(self, workflow_id: str, name: str, waits_for: Iterable[str]) -> None:
        self.workflow_id = workflow_id
        self.name = name
        self.waits_for = tuple(waits_for)
        waits = _names(self.waits_for) or "no event at all"
        super().__init__(f"workflow {workflow_id!r} never waits for {name!r}; it waits for {waits}")


class RunNotFoundError(WrkflwError, LookupError):
    """The database holds no such run."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is no run {run_id!r}; look for its id among runs.list(), and at the database in use")
        self.run_id = run_id


# ------------------------------------------------------------------ how a step or a run ends
class StepFailedError(WrkflwError):
    """Raised where an imperative program ran the step; the same live and after a recovery."""

    def __init__(self, error: StepError) -> None:
        super().__init__(_failure(error))
        self.error = error

    def matches(self, type: type[BaseException], /) -> bool:
        """Whether the step raised a ``type``, or a subclass of it that is loaded here."""
        if self.error.type == type.__name__ and self.error.module == type.__module__:
            return True
        raised = getattr(sys.modules.get(self.error.module), self.error.type, None)
        return isinstance(raised, _CLASS) and issubclass(raised, type)


class StateConflictError(WrkflwError):
    """Two steps side by side set one field of the state to different values."""

    def __init__(self, field: str, steps: tuple[str, str], values: tuple[object, object]) -> None:
        super().__init__(
            f"steps {steps[0]!r} and {steps[1]!r} ran side by side and both set state field {field!r} "
            f"({values[0]!r} and {values[1]!r}); let one set it, "
            "or declare how to merge it with Annotated[int, Merge.…]"
        )
        self.field = field
        self.steps = steps
        self.values = values


class LimitError(WrkflwError):
    """More of something than the runtime allows."""

    def __init__(self, message: str, *, limit: int, got: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.got = got


class StepTimeoutError(WrkflwError, TimeoutError):
    """One attempt of a body took too long."""

    def __init__(self, step_id: str, timeout: timedelta, attempt: int) -> None:
        took = f"took longer than {format_duration(timeout)} (attempt {attempt})"
        super().__init__(f"step {step_id!r} {took}; raise timeout= or split it")
        self.step_id = step_id
        self.timeout = timeout
        self.attempt = attempt


class RunTimeoutError(WrkflwError, TimeoutError):
    """The run passed the deadline of its workflow."""

    def __init__(self, run_id: str, timeout: timedelta, waiting_at: str | None = None) -> None:
        where = f", waiting at {waiting_at!r}" if waiting_at else ""
        super().__init__(f"run {run_id!r} passed its {format_duration(timeout)}{where}; raise timeout=")
        self.run_id = run_id
        self.timeout = timeout
        self.waiting_at = waiting_at


class WaitTimeoutError(WrkflwError, TimeoutError):
    """The event did not come in time."""

    def __init__(self, event: str, timeout: timedelta) -> None:
        cure = "send it earlier, raise timeout= or give default="
        super().__init__(f"no event {event!r} within {format_duration(timeout)}; {cure}")
        self.event = event
        self.timeout = timeout


class StepInterruptedError(WrkflwError):
    """The step was started again and again, and its process died each time."""

    def __init__(self, step_id: str, times: int) -> None:
        cure = "it may be killing its worker"
        super().__init__(f"step {step_id!r} was interrupted {times} times without an outcome; {cure}")
        self.step_id = step_id
        self.times = times


class OutcomeUnknownError(WrkflwError):
    """An ``at_most_once`` step was interrupted: it is not run again."""

    def __init__(self, step_id: str) -> None:
        must_not = f"step {step_id!r} may or may not have happened and must not run twice"
        super().__init__(f"{must_not}; check it by hand, then fork")
        self.step_id = step_id


class SuspendSwallowedError(WrkflwError):
    """The body caught what leaves it at ``suspend()``."""

    def __init__(self, step_id: str) -> None:
        super().__init__(f"step {step_id!r} went on after suspend(); catch Exception, not BaseException")
        self.step_id = step_id


# ------------------------------------------------------------------ raised by users in bodies
class FatalError(WrkflwError):
    """Raise it in a body when no further attempt will mend the failure: the step is not retried."""


class RetryAfter(WrkflwError):
    """Raise it in a body to be tried again after ``delay``, still within the attempts of its retry policy.

    Raises:
        ValueError: ``delay`` is not a duration of zero or more.
    """

    def __init__(self, delay: timedelta | str, message: str = "") -> None:
        self.delay = parse_duration(delay)
        super().__init__(message or f"try again after {format_duration(self.delay)}")


# ------------------------------------------------------------------ what a call may not do now
class RunExistsError(WrkflwError):
    """The run was started before."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} was already started; take it with wf.get_run({run_id!r})")
        self.run_id = run_id


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
        super().__init__(f"step {step_id!r} of run {run_id!r} is not suspended; open: {_names(self.open) or 'nothing'}")


class AmbiguousResumeError(WrkflwError):
    """Several calls of the step wait for an answer."""

    def __init__(self, step_id: str, keys: Iterable[str]) -> None:
        self.step_id = step_id
        self.keys = tuple(keys)
        super().__init__(f"step {step_id!r} waits at {' and '.join(map(repr, self.keys))}; pass at=")


class AlreadyResumedError(WrkflwError):
    """Somebody else answered first."""

    def __init__(self, run_id: str, key: str, answered_at: datetime) -> None:
        super().__init__(f"{key!r} of run {run_id!r} was answered at {answered_at:%H:%M:%S}; nothing was changed")
        self.run_id = run_id
        self.key = key
        self.answered_at = answered_at


# ------------------------------------------------------------------ from unwrap()
class RunFailedError(WrkflwError):
    """There is no output, because the run failed; ``error`` says why."""

    def __init__(self, error: StepError) -> None:
        super().__init__(_failure(error))
        self.error = error


class RunNotFinishedError(WrkflwError):
    """There is no output, because the run is parked or was cancelled; ``result`` says how it stands."""

    def __init__(self, result: RunResult[object]) -> None:
        super().__init__(f"run {result.run_id!r} is {_standing(result)}")
        self.result = result


# ------------------------------------------------------------------ the code no longer fits the record
class NondeterminismError(WrkflwError):
    """The program asked for something else than it did before; the run is paused."""


class ForeignAwaitError(NondeterminismError):
    """The program awaited something that is neither a step call nor a combination of them; the run is paused."""


class DefinitionChangedError(WrkflwError):
    """The workflow no longer has what the run stands at, or can no longer read what it recorded."""

    def __init__(self, run_id: str, key: str, workflow_id: str) -> None:
        cure = "deploy the old code, or fork at an earlier step"
        self._say(run_id, key, workflow_id, f"stands at {key!r}, which workflow {workflow_id!r} no longer has; {cure}")

    @classmethod
    def unreadable(cls, run_id: str, key: str, workflow_id: str, error: InvalidValueError) -> Self:
        """A recorded value does not fit the type that the code has now."""
        changed = cls.__new__(cls)
        cure = "deploy the old code, or give what is new a default"
        changed._say(
            run_id, key, workflow_id, f"cannot be read by workflow {workflow_id!r} as it is now: {error}; {cure}"
        )
        return changed

    def _say(self, run_id: str, key: str, workflow_id: str, what: str) -> None:
        Exception.__init__(self, f"run {run_id!r} {what}")
        self.run_id = run_id
        self.key = key
        self.workflow_id = workflow_id


# ------------------------------------------------------------------ storage
class StoreError(WrkflwError):
    """Storage could not commit; repeat the call with the same idempotency key."""


_CLASS = type  # `matches` has a parameter of that name


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _first(problems: Sequence[str]) -> str:
    return problems[0] if problems else "it is not one"


def _after_preposition(what: str) -> str:
    for preposition in (" of ", " after ", " in ", " to "):
        _, found, place = what.partition(preposition)
        if found:
            return place
    return what


def _exception(name: str, message: str) -> str:
    return f"{name}: {message}" if message else name


def _failure(error: StepError) -> str:
    """``step 'charge' failed after 3 attempts: TimeoutError: gateway``."""
    what = _exception(error.type, error.message)
    if not error.key:
        return f"run failed: {what}"
    times = f" after {error.attempts} attempts" if error.attempts > 1 else ""
    return f"step {error.key!r} failed{times}: {what}"


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
