"""How a step or a run ends, and what users raise in bodies."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from wrkflw.durations import format_duration, parse_duration

from .base import WrkflwError, exception

if TYPE_CHECKING:
    from typing import Self

    from wrkflw.results import StepError


class StepFailedError(WrkflwError):
    """Raised where an imperative program ran the step; the same live and after a recovery."""

    def __init__(self, error: StepError) -> None:
        super().__init__(failure(error))
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
            "or declare how to merge it with Annotated[..., Merge.LAST], of numbers also Merge.SUM"
        )
        self.field = field
        self.steps = steps
        self.values = values


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
    """The event, or the answer to a ``suspend()``, did not come in time; the other of the two fields is None."""

    def __init__(self, event: str, timeout: timedelta) -> None:
        cure = "send it earlier, raise timeout= or give default="
        self._say(f"no event {event!r} within {format_duration(timeout)}; {cure}", timeout, event=event)

    @classmethod
    def unanswered(cls, step_id: str, timeout: timedelta) -> Self:
        """Nobody answered the suspension of a step; its body may catch this."""
        error = cls.__new__(cls)
        cure = "answer it earlier, raise timeout= or catch this"
        sentence = f"no answer to step {step_id!r} within {format_duration(timeout)}; {cure}"
        error._say(sentence, timeout, step_id=step_id)
        return error

    def _say(self, sentence: str, timeout: timedelta, *, event: str | None = None, step_id: str | None = None) -> None:
        Exception.__init__(self, sentence)
        self.event = event
        self.step_id = step_id
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


_CLASS = type  # `matches` has a parameter of that name


def failure(error: StepError) -> str:
    """``step 'charge' failed after 3 attempts: TimeoutError: gateway``."""
    what = exception(error.type, error.message)
    if not error.key:
        return f"run failed: {what}"
    times = f" after {error.attempts} attempts" if error.attempts > 1 else ""
    return f"step {error.key!r} failed{times}: {what}"
