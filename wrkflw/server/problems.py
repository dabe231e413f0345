"""What is refused, as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from math import ceil

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from wrkflw import errors
from wrkflw.clock import SystemClock
from wrkflw.world.errors import ThrottleError, TooEarlyError, WorldError

MEDIA_TYPE = "application/problem+json"

_LONGEST = 2000
_MOST_PROBLEMS = 50
"""A body of a million mistakes is not answered with a million lines."""

_log = logging.getLogger("wrkflw")

_STATUSES: Mapping[type[Exception], int] = {
    errors.InvalidValueError: 422,
    errors.LimitError: 422,
    errors.DefinitionError: 422,
    errors.RunConflictError: 422,
    errors.RunNotFoundError: 404,
    errors.UnknownEventError: 404,
    errors.UnknownStepError: 404,
    errors.StepNotRunError: 404,
    errors.RunExistsError: 409,
    errors.RunFinishedError: 409,
    errors.NotSuspendedError: 409,
    errors.AlreadyResumedError: 409,
    errors.AmbiguousResumeError: 409,
    errors.NondeterminismError: 409,
    errors.DefinitionChangedError: 409,
    errors.StoreError: 503,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was refused."""

    status: int
    detail: str
    error: str = ""
    """The class of the error, where there is one."""
    problems: Sequence[str] = ()
    """What is wrong with a value, one line each."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def body(self) -> bytes:
        title = HTTPStatus(self.status).phrase
        said: dict[str, object] = {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "detail": _cut(self.detail),
        }
        if self.error:
            said["error"] = self.error
        if self.problems:
            said["problems"] = [_cut(one) for one in self.problems[:_MOST_PROBLEMS]]
        return to_json(said)


class Refusal(Exception):
    """The request ends here."""

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, problems: Sequence[str] = ()
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(status, detail, problems=problems, headers=headers or {})


def problem_of(error: Exception, now: datetime) -> Problem:
    """What an error is over HTTP.  One that nobody expects is logged, and told without its words."""
    if isinstance(error, Refusal):
        return error.problem
    status = _status_of(error)
    if status is None:
        _log.error("a request failed: %s", error, exc_info=error)
        return Problem(500, "the server failed; its log says why")
    if status == 503:  # a store's own words may tell of paths
        _log.warning("a request could not be recorded: %s", error)
        detail = "storage could not take it; send it again, with the same Idempotency-Key"
        return Problem(503, detail, type(error).__name__, headers=_retry_after(error, now) or {"Retry-After": "1"})
    found = error.problems if isinstance(error, errors.InvalidValueError) else ()
    return Problem(status, str(error), type(error).__name__, found, _retry_after(error, now))


async def problem_answer(_request: Request, error: Exception) -> Response:
    """What an error of ours is over HTTP, for routes of your own beside what is mounted::

    site.add_exception_handler(WrkflwError, problem_answer)
    """
    problem = problem_of(error, SystemClock().now())
    return Response(problem.body, problem.status, problem.headers, MEDIA_TYPE)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _status_of(error: Exception) -> int | None:
    for kind, status in _STATUSES.items():
        if isinstance(error, kind):
            return status
    return error.status if isinstance(error, WorldError) else None


def _retry_after(error: Exception, now: datetime) -> dict[str, str]:
    match error:
        case ThrottleError():
            seconds = error.retry_after.total_seconds()
        case TooEarlyError():
            seconds = (error.retry_after.astimezone(UTC) - now).total_seconds()
        case _:
            return {}
    return {"Retry-After": str(max(1, ceil(seconds)))}
