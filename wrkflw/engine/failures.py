"""Exceptions as values that survive storage."""

from __future__ import annotations

import concurrent.futures.thread
import textwrap
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import cast

from pydantic_core import PydanticSerializationError, from_json, to_json

from wrkflw.errors import InvalidValueError, LimitError, NodeError, StateConflictError, WaitTimeoutError
from wrkflw.results import StepError
from wrkflw.schemas import Schema, schema_of

BETWEEN_STEPS = (NodeError, InvalidValueError, LimitError, StateConflictError, WaitTimeoutError)
"""What goes wrong between steps, and fails their workflow."""

_MOST_TEXT = 64 * 1024  # characters of a message or traceback that are kept
_MOST_CAUSES = 8
_NOT_THE_USERS = (str(Path(__file__).parents[1]), concurrent.futures.thread.__file__)


def failure_of(error: BaseException, *, key: str, step_id: str, attempts: int, depth: int = 0) -> StepError:
    """``error`` as a StepError: class, message, what JSON can hold of its attributes, traceback, causes.

    The cause of a group that has no other is the first of it; its traceback shows them all.
    """
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    cause = cause or next(iter(_parts_of(error)), None)
    kind = type(error)
    return StepError(
        key=key,
        step_id=step_id,
        type=kind.__name__,
        module=kind.__module__,
        message=text_of(error)[:_MOST_TEXT],
        attributes=_attributes(error),
        attempts=attempts,
        traceback=_traceback(error),
        cause=failure_of(cause, key=key, step_id=step_id, attempts=attempts, depth=depth + 1)
        if cause is not None and depth < _MOST_CAUSES
        else None,
    )


def cancelled(key: str, step_id: str) -> StepError:
    """The end of a step that was still open when its part of the run ended."""
    return StepError(key=key, step_id=step_id, type="CancelledError", module="asyncio", message="")


def dump(error: StepError) -> bytes:
    return _schema().store(error, f"error of {error.key!r}")[0]


def load(data: bytes | None) -> StepError | None:
    if data is None:
        return None
    error = _schema().load(data, "a recorded error")
    assert isinstance(error, StepError)
    return error


def of_run(data: bytes | None, code: str | None) -> StepError:
    """How a run failed: as the engine recorded it, or in the words of whoever else ended it."""
    try:
        error = load(data)
    except InvalidValueError:
        error = None
    if error is not None:
        return error
    return StepError(
        key="", step_id="", type=code or "RUNTIME_ERROR", module="wrkflw.world", message=_words(data), attempts=0
    )


def _words(data: bytes | None) -> str:
    if data is None:
        return ""
    try:
        given: object = from_json(data)
    except ValueError:
        given = None
    return (given if isinstance(given, str) else data.decode(errors="backslashreplace"))[:_MOST_TEXT]


@cache
def _schema() -> Schema:
    return schema_of(StepError)


def text_of(error: BaseException) -> str:
    """What an exception of the user's says, as it can be kept: whatever it raises itself, and whatever it holds."""
    try:
        return _readable(str(error))
    except Exception as problem:  # noqa: BLE001  # an exception that cannot say what it is must be recorded all the same
        return f"(its text cannot be made: {type(problem).__name__})"


def _readable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _attributes(error: BaseException) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in vars(error).items():
        if name.startswith("_") or isinstance(value, Iterator):  # to write that down would use it up, or never end
            continue
        try:
            data = to_json(value, inf_nan_mode="null")
            if len(data) <= _MOST_TEXT:
                kept[name] = from_json(data)  # as JSON has it: a StepError must always be storable
        except (PydanticSerializationError, ValueError, RecursionError):
            continue
    return kept


def _parts_of(error: BaseException) -> tuple[BaseException, ...]:
    """What a group is made of."""
    return cast("BaseExceptionGroup[BaseException]", error).exceptions if isinstance(error, BaseExceptionGroup) else ()


def _traceback(error: BaseException, depth: int = 0) -> str:
    """The user's frames: ours say nothing about what went wrong."""
    frames = traceback.extract_tb(error.__traceback__)
    shown = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_USERS)]
    lines = [*traceback.format_list(shown), *traceback.format_exception_only(error)]
    for number, part in enumerate(_parts_of(error) if depth < _MOST_CAUSES else (), 1):
        lines += [f"  | {number}.\n", textwrap.indent(_traceback(part, depth + 1), "  | ")]
    return _readable("".join(lines))[:_MOST_TEXT]
