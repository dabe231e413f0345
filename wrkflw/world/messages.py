"""Messages of the queue as JSON bytes, and back."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, TypeVar, cast

from pydantic_core import from_json, to_json

from . import events as e
from .errors import WorldError
from .queue import HealthCheck, Invocation, Message

_IDS = ("step_id", "wait_id", "child_run_id")
_LONGEST_ID = 1024
_EVENTS: dict[str, type[e.RunCreated | e.HookReceived | e.SignalReceived]] = {
    "run_created": e.RunCreated,
    "hook_received": e.HookReceived,
    "signal_received": e.SignalReceived,
}

EventT = TypeVar("EventT")


def encode(message: Message) -> bytes:
    """The message as JSON.  Payloads of events are base64."""
    if isinstance(message, HealthCheck):
        return to_json({"health_check": message.correlation_id})
    fields: dict[str, object] = {"run_id": message.run_id}
    fields.update({name: value for name in _IDS if (value := getattr(message, name)) is not None})
    for name in ("run_input", "hook_input"):
        if (event := getattr(message, name)) is not None:
            fields[name] = _event_fields(event)
    if message.trace is not None:
        fields["trace"] = dict(message.trace)
    return to_json(fields)


def decode(body: bytes) -> Message:
    """The message in ``body``.  Raises WorldError (400) when there is none.

    Fields that are unknown or malformed count as absent, but for ``run_id``.
    """
    try:
        found: object = from_json(body)
    except ValueError as error:
        raise WorldError("the body of a message is JSON; this one cannot be read") from error
    if not isinstance(found, dict):
        raise WorldError("a message is a JSON object with 'run_id' or 'health_check'")
    fields = cast("dict[str, object]", found)
    if "health_check" in fields:
        return HealthCheck(_id_in(fields, "health_check") or "")
    run_id = fields.get("run_id")
    if not isinstance(run_id, str):
        raise WorldError("a message is a JSON object with 'run_id' or 'health_check'")
    return Invocation(
        run_id,
        step_id=_id_in(fields, "step_id"),
        run_input=_event_in(fields, "run_input", e.RunCreated),
        hook_input=_event_in(fields, "hook_input", e.HookReceived) or _event_in(fields, "hook_input", e.SignalReceived),
        wait_id=_id_in(fields, "wait_id"),
        child_run_id=_id_in(fields, "child_run_id"),
        trace=_trace_in(fields),
    )


def _event_fields(event: e.RunCreated | e.HookReceived | e.SignalReceived) -> dict[str, object]:
    payload_field = event.payload
    assert payload_field is not None
    fields = event.model_dump(mode="json", exclude_unset=True, exclude={payload_field})
    payload = getattr(event, payload_field)
    if payload is not None:
        fields[payload_field] = b64encode(payload).decode()
    return {**fields, "event_type": event.event_type}


def _event_in(fields: dict[str, object], name: str, kind: type[EventT]) -> EventT | None:
    given = fields.get(name)
    if not isinstance(given, dict):
        return None
    values: dict[str, Any] = dict(cast("dict[str, Any]", given))
    cls = _EVENTS.get(str(values.get("event_type")))
    if cls is None:
        return None
    try:
        if (payload := values.get(cls.payload or "")) is not None:
            values[cls.payload or ""] = b64decode(payload, validate=True)
        event = cls.model_validate(values)
    except (ValueError, TypeError):
        return None
    return event if isinstance(event, kind) else None


def _id_in(fields: dict[str, object], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and len(value) <= _LONGEST_ID else None


def _trace_in(fields: dict[str, object]) -> dict[str, str] | None:
    given = fields.get("trace")
    if not isinstance(given, dict):
        return None
    entries = cast("dict[object, object]", given)
    trace = {key: value for key, value in entries.items() if isinstance(key, str) and isinstance(value, str)}
    return trace if len(trace) == len(entries) else None
