"""One thing that the code of a program asks for: what it is, how it is done, and how its end is told."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast

from wrkflw.bodies import Body
from wrkflw.errors import InvalidValueError, LimitError
from wrkflw.graph import AnyStep
from wrkflw.retries import Retry
from wrkflw.schemas import Schema, schema_of

from .arguments import Doing
from .definition import Definition, Plan
from .records import Record, WaitRecord
from .values import NOTHING, Flow, Settled, stored

if TYPE_CHECKING:
    from .drive import Drive

Kind: TypeAlias = Literal["step", "workflow", "sleep", "event"]


class Wanted(NamedTuple):
    """What the code asks for, as far as the record must agree."""

    kind: Kind
    name: str = ""
    """The id of the step or workflow, or the name of the event."""
    input: bytes | None = None
    schema: Schema | None = None
    """What the input is read by, where it takes one."""
    has_timeout: bool = True

    @property
    def what(self) -> str:
        return f"a {self.kind}" if not self.name else f"{self.kind} {self.name!r}"

    def misfit(self, record: Record | WaitRecord) -> str | None:
        """What was recorded instead, in words; None when it is the same."""
        kind, name = _what_was(record)
        if kind != self.kind or (self.name and name != self.name):
            return Wanted(kind, name).what
        if isinstance(record, WaitRecord):
            # Its time is up, or will be: that is nothing which the code could be told.
            runs_out = kind == "event" and record.resume_at is not None and record.payload is None
            return f"{self.what} with a timeout" if runs_out and not self.has_timeout else None
        if record.input == self.input or record.status == "skipped":
            return None
        if "overridden" in (record.meta or {}):
            return None  # it was taken over by a fork that gave what comes before it another value
        if self.schema is not None and _same(self.schema, record.input, self.input):
            return None  # written differently by other code, but equal
        return f"{self.what} with another input"


@dataclass(eq=False, slots=True)
class Operation:
    """One use of a name by the code."""

    key: str
    number: int
    wanted: Wanted
    begin: Callable[[str], Coroutine[Any, Any, Flow]]
    """Advance it as far as it goes; raises LeftError while it waits."""
    read: Callable[[Any], object]
    """What the code is told, from the record.  Raises what it is to be raised there."""
    timer: asyncio.TimerHandle | None = None
    future: asyncio.Future[Any] | None = None
    """What the code waits for, once it does."""

    @property
    def is_wait(self) -> bool:
        """Whether the outside may end it."""
        return self.wanted.kind in ("sleep", "event")


PLAIN = schema_of(object)
"""How the arguments of ``step.do`` are stored: each is written by a schema of its own, and this hands on the whole."""


class _Called:
    """A plain function as a step of its own."""

    kind = "step"
    guards = ()
    at_most_once = False

    def __init__(self, id: str, retry: Retry | None, timeout: timedelta | None, gives: object) -> None:
        self.id = id
        self.retry = retry
        self.timeout = timeout
        self.stored_output_schema = gives


def written(
    doing: Doing, args: tuple[object, ...], kwargs: Mapping[str, object], limit: int, before: Record | None
) -> bytes:
    """The arguments of ``step.do``, as they are recorded.  ``before`` is what is on record for it, if it is over.

    Raises TypeError when the function cannot be called so, InvalidValueError or LimitError when an argument cannot be
    stored.
    """
    data = before.input if before is not None else None
    if data is None or not doing.is_written_as(data, args, kwargs):
        data, _, _ = doing.store(args, kwargs, limit)
    return data


def called(name: str, doing: Doing, data: bytes, retry: Retry | None, timeout: timedelta | None) -> tuple[Plan, Flow]:
    """How ``step.do`` is executed, and with what."""
    step = cast("AnyStep", _Called(name, retry, timeout, doing.result.form))
    body = Body(partial(doing.call, data), 0, doing.is_async is True, None)
    return Plan(step, body, 0, object, None, PLAIN, doing.result), Settled(None, data, PLAIN)


def planned(
    drive: Drive,
    definition: Definition,
    step: AnyStep,
    data: object,
    retry: Retry | None,
    timeout: timedelta | None,
) -> tuple[Plan, Flow]:
    """How ``step.run`` of the code of a workflow is executed, and with what.

    Raises InvalidValueError or LimitError when ``data`` does not fit.
    """
    if retry is not None or timeout is not None:
        step = copy.copy(step)
        step.retry, step.timeout = retry or step.retry, step.timeout if timeout is None else timeout
    body = None if step.kind == "workflow" else step.body
    form, output = step.input_schema, definition.stored_by(step)
    if body is not None and not body.arity:
        return Plan(step, body, 0, form, None, None, output), NOTHING
    schema = schema_of(form)
    what = f"input of step {step.id!r}"
    flow = stored(schema, schema.validate(data, what), what, drive.services.limits.value_bytes)
    return Plan(step, body, 0, form, None, schema, output), flow


def _what_was(record: Record | WaitRecord) -> tuple[Kind, str]:
    if isinstance(record, Record):
        return "workflow" if record.kind == "workflow" else "step", record.name
    return ("sleep", "") if record.kind == "sleep" else ("event", record.signal_type or "")


def _same(schema: Schema, before: bytes | None, now: bytes | None) -> bool:
    if before is None or now is None:
        return False
    try:
        return schema.load(before, "the recorded input") == schema.load(now, "the input")
    except (InvalidValueError, LimitError):
        return False
