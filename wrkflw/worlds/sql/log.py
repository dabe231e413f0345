"""Rows of the log to events, and back.

What stands in the log was validated when it was written, so reading builds the events without doing it again: a run of
thousands of events is read whole whenever somebody goes on with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, cast, get_args

from pydantic_core import from_json, to_json

from wrkflw.clock import from_microseconds
from wrkflw.garbage import collecting_later
from wrkflw.world import events as e
from wrkflw.world.errors import DamagedPayloadError, WorldError
from wrkflw.world.nesting import DEEPEST, is_too_deep
from wrkflw.world.streamer import Chunk, Item

from . import compiled as sql
from .database import Reads, Row
from .rows import instant
from .sealing import Reading, Sealed

_Values: TypeAlias = dict[str, object]


class _Kind(NamedTuple):
    """What it takes to store events of a type, and to build them."""

    cls: type[Any]
    payload: str | None
    columns: frozenset[str | None]
    """Fields that have a column of their own."""
    others: tuple[str, ...]
    """Fields that ``data`` holds, as far as they were set, by name."""
    defaults: _Values
    needs_data: bool
    """Whether some of these must be set."""


def _kind(cls: type[Any]) -> _Kind:
    fields = cls.model_fields
    defaults: _Values = {name: None if field.is_required() else field.default for name, field in fields.items()}
    columns = frozenset({"event_type", "correlation_id", cls.payload})
    others = tuple(sorted(fields.keys() - columns))
    return _Kind(cls, cls.payload, columns, others, defaults, any(fields[name].is_required() for name in others))


_KINDS = {cls.model_fields["event_type"].default: _kind(cls) for cls in get_args(get_args(e.NewEvent)[0])}
_VALUES = ("execution_context", "meta")
_NOT_WRITTEN_HERE = (LookupError, TypeError, ValueError, OverflowError)
"""What comes of reading a row that is not what was written."""
_NOT_PLAIN_JSON = frozenset({"retry_after", "resume_at", "token_retention_until", "changes"})
"""Fields that are more than their JSON: moments, and models."""


def event_columns(event: e.NewEvent) -> tuple[str | None, bytes | None]:
    """``data`` and ``payload`` of an event.  Raises WorldError (400) for what could not be read back."""
    _, payload_field, columns, others, *_ = _KINDS[event.event_type]
    values = event.__dict__
    payload = values[payload_field] if payload_field is not None else None
    given = event.__pydantic_fields_set__
    if given <= columns:
        return None, payload
    data = {name: value for name in others if name in given and (value := values[name]) is not None}
    return _text_of(event, data) if data else None, payload


def without_values(data: str) -> str | None:
    """``data`` without what is of the run's own values: its state, and whatever else stands beside payloads."""
    if not any(f'"{name}"' in data for name in _VALUES):
        return data or None
    kept = {name: value for name, value in from_json(data).items() if name not in _VALUES}
    return to_json(kept).decode() if kept else None


def _text_of(event: e.NewEvent, data: _Values) -> str:
    try:
        text = to_json(data).decode()
    except ValueError as error:
        if "surrogates not allowed" in str(error):
            what = f"what {event.event_type!r} holds is no Unicode text"
            raise WorldError(f"{what}; decode it before you pass it on") from error
        text = ""  # deeper than even the writer goes
    if not text or is_too_deep(text):
        raise WorldError(f"what {event.event_type!r} holds is nested more than {DEEPEST} deep; put it into a payload")
    return text


def event_from(run_id: str, row: Row, reading: Reading) -> e.StoredEvent:
    """The columns of a log statement: slot, type, correlation id, data, payload, codec, reference, epoch, time."""
    slot, event_type, correlation_id, data, payload, codec, ref, epoch, created_at = row
    try:
        if codec is not None or ref is not None or not reading.reads_plain:
            data, payload = reading.opened(run_id, slot, event_type, Sealed(data, payload, codec, ref))
        event = _event(_KINDS[event_type], correlation_id, data, payload if reading.payloads else None)
        return e.StoredEvent(run_id, slot, event, epoch, from_microseconds(created_at))
    except _NOT_WRITTEN_HERE as error:
        raise _damaged(run_id, slot, error) from error


def _damaged(run_id: str, slot: int, error: Exception) -> DamagedPayloadError:
    why = f"no event has the type {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
    return DamagedPayloadError(run_id, f"slot {slot}", why)


def log_from(
    run_id: str, run_no: int, found: Sequence[Row], connection: Reads, reading: Reading
) -> list[e.StoredEvent]:
    """Many events of a run, in any order; their rows end with the subject, from which their correlation id is known."""
    names = {row[0]: row[2] for row in found}
    elsewhere = {row[9] for row in found if row[9] not in names}
    if elsewhere - {None}:
        slots = json.dumps(list(elsewhere - {None}))
        names.update(connection.all(sql.NAMES_AT, run_no=run_no, slots=slots))
    with collecting_later():
        return [*_events(run_id, found, names, reading)]


def _events(
    run_id: str, found: Sequence[Row], names: dict[int, str | None], reading: Reading
) -> Iterator[e.StoredEvent]:
    kinds, make, stored_event = _KINDS, _event, e.StoredEvent
    payloads, reads_plain = reading.payloads, reading.reads_plain
    last, moment = None, from_microseconds(0)
    slot = 0
    try:
        for slot, event_type, name, data, payload, codec, ref, epoch, created_at, subject in found:
            if created_at != last:  # what was written together has one time
                last, moment = created_at, from_microseconds(created_at)
            named = name if name is not None or subject is None else names.get(subject)
            if codec is not None or ref is not None or not reads_plain:
                data, payload = reading.opened(run_id, slot, event_type, Sealed(data, payload, codec, ref))  # noqa: PLW2901
            event = make(kinds[event_type], named, data, payload if payloads else None)
            yield stored_event(run_id, slot, event, epoch, moment)
    except _NOT_WRITTEN_HERE as error:
        raise _damaged(run_id, slot, error) from error


def chunk_from(run_id: str, row: Row, reading: Reading) -> Chunk:
    """The columns of a chunk, in the order in which those of an event stand beside them."""
    after_slot, _, stream, key, data, codec, _, epoch, created_at, attempt, number, index = row
    data = reading.chunk(run_id, stream, index, data, codec)
    at = instant(created_at)
    return Chunk(run_id, stream, index, data, key, attempt, epoch, after_slot, number, at)


def items_from(run_id: str, run_no: int, found: Sequence[Row], connection: Reads, reading: Reading) -> list[Item]:
    """Events and chunks, as their rows stand."""
    events = [row[:10] for row in found if row[10] == 0]
    log = iter(log_from(run_id, run_no, events, connection, reading))
    return [next(log) if row[10] == 0 else chunk_from(run_id, row, reading) for row in found]


def _event(
    kind: _Kind,
    correlation_id: str | None,
    data: str | None,
    payload: bytes | None,
    new: Any = object.__new__,
    fill: Any = object.__setattr__,
) -> Any:
    if data is None and kind.needs_data:
        raise ValueError("what the event must hold is gone")
    given: _Values = from_json(data) if data is not None else {}
    if correlation_id is not None:
        given["correlation_id"] = correlation_id
    if payload is not None:
        given[cast("str", kind.payload)] = payload
    if data is not None and not _NOT_PLAIN_JSON.isdisjoint(given):
        return kind.cls.model_validate(given)
    event = new(kind.cls)
    # As model_construct() does it, without asking each field for its default.
    fill(event, "__dict__", {**kind.defaults, **given})
    fill(event, "__pydantic_fields_set__", set(given))
    fill(event, "__pydantic_extra__", None)
    fill(event, "__pydantic_private__", None)
    return event
