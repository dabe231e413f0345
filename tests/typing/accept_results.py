"""RunResult: a closed union, told apart by ``match`` or by ``status``."""

from __future__ import annotations

from datetime import datetime
from typing import Never, assert_never, assert_type

from wrkflw import Cancelled, Completed, Failed, Paused, RunResult, StepError, Suspended, Suspension, Waiting

from .campaign import Mail, Sent, User, ask_first, fetch_user


def by_class(result: RunResult[Sent]) -> str:
    match result:
        case Completed(output=sent):
            assert_type(sent, Sent)
            return sent.message_id or ""
        case Failed(error=error):
            assert_type(error, StepError)
            return f"{error.key}: {error.type}: {error.message} ({error.attempts})"
        case Cancelled(reason=reason):
            assert_type(reason, str | None)
            return reason or ""
        case Suspended(step_id=step_id) as parked:
            assert_type(parked.suspensions, list[Suspension])
            assert_type(parked.payload_of(ask_first), Mail | None)
            return step_id
        case Waiting() as waiting:
            assert_type(waiting.until, datetime | None)
            return waiting.reason
        case Paused(by, reason):
            return f"{by}: {reason}"
        case _:
            assert_never(result)


def by_position(result: RunResult[Sent]) -> Sent | None:
    match result:
        case Completed(sent):
            return sent
        case Failed() | Cancelled() | Suspended() | Waiting() | Paused():
            return None


def by_status(result: RunResult[Sent]) -> None:
    if result.status == "completed":
        assert_type(result, Completed[Sent])
        assert_type(result.output, Sent)
    elif result.status == "failed":
        assert_type(result.errors, list[StepError])


def of_any(result: RunResult[Sent]) -> None:
    assert_type(result.run_id, str)
    assert_type(result.unwrap(), Sent)
    assert_type(result.get_step_result(fetch_user), User)
    assert_type(result.get_step_result(fetch_user, default=0), User | int)
    assert_type(result.get_step_results(fetch_user), list[User])


def of_a_failure(failed: Failed) -> Never:
    failed.unwrap()


covariant: RunResult[object] = Completed[Sent].__new__(Completed[Sent])
