"""What a run came to, as text, as JSON, and as an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from shlex import join
from typing import Any, assert_never

from wrkflw.results import Cancelled, Completed, Failed, Paused, RunResult, Suspended, Waiting

from .failures import FAILED, PARKED
from .screen import brief, clean, json_text, say, show_json, show_value, since
from .targets import listed_here


def tell(
    result: RunResult[Any], targets: Sequence[str] | None, db: str | None, *, as_json: bool, debug: bool = False
) -> int:
    """Print the outcome; the exit code it stands for.

    ``targets`` and ``db`` are as they were given: the commands that are told next can be typed as they stand.
    """
    if as_json:
        show_json(told(result))
        return code_of(result)
    of_database = f" {join(['--db', db])}" if db else ""
    of_code = "" if listed_here() else "".join(f" {join(['--target', target])}" for target in targets or ())
    match result:
        case Completed(output=output):
            show_value(output if isinstance(output, str) else json_text(output, indent=2))
        case Failed(error=error):
            where = f" at step {error.key!r}" if error.key else ""
            tries = f" (attempt {error.attempts})" if error.attempts > 1 else ""
            say(f"run {result.run_id} failed{where}: {error.type}: {error.message}{tries}")
            if debug and error.traceback:
                say(error.traceback.rstrip())
        case Cancelled(reason=reason):
            say(f"run {result.run_id} was cancelled{f': {reason}' if reason else ''}")
        case Suspended(suspensions=suspensions):
            for one in suspensions:
                say(f"run {result.run_id} is suspended at {one.key!r}, with {brief(_payload(one.payload))}")
            say(f"answer with: wrkflw runs resume {result.run_id} {suspensions[0].key} JSON{of_code}{of_database}")
        case Waiting(reason="event", event=event):
            say(f"run {result.run_id} waits for event {event!r}")
            say(f"send it with: wrkflw runs send {result.run_id} {event} JSON{of_code}{of_database}")
        case Waiting(reason=reason, until=until):
            when = "" if until is None else f", due {since(until)}"
            say(f"run {result.run_id} waits: {reason}{when}; a worker goes on with it, or --wait waits for it")
        case Paused(by=by, reason=reason):
            say(f"run {result.run_id} was paused by the {by}{f': {reason}' if reason else ''}")
            say(f"let it go on with: wrkflw runs unpause {result.run_id}{of_database}")
        case _:
            assert_never(result)
    return code_of(result)


def code_of(result: RunResult[Any]) -> int:
    """0 completed, 1 failed or cancelled, 3 parked."""
    match result:
        case Completed():
            return 0
        case Failed() | Cancelled():
            return FAILED
        case Suspended() | Waiting() | Paused():
            return PARKED
        case _:
            assert_never(result)


def told(result: RunResult[Any]) -> dict[str, object]:
    """The outcome, for JSON."""
    said: dict[str, object] = {"run_id": result.run_id, "status": result.status}
    match result:
        case Completed(output=output):
            return said | {"output": output}
        case Failed(error=error):
            return said | {"error": asdict(error)}
        case Cancelled(reason=reason):
            return said | {"reason": reason}
        case Suspended(suspensions=suspensions):
            known = [
                {"key": one.key, "step_id": one.step_id, "payload": one.payload, "since": one.since, "token": one.token}
                for one in suspensions
            ]
            return said | {"suspensions": known}
        case Waiting(reason=reason):
            return said | {"reason": reason, "until": result.until, "event": result.event}
        case Paused(by=by, reason=reason):
            return said | {"by": by, "reason": reason}
        case _:
            assert_never(result)


def _payload(payload: object) -> str:
    return clean(json_text(payload))
