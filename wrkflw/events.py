"""Events: name and type of what the outside hands in to a waiting run."""

from __future__ import annotations

from datetime import timedelta
from typing import Generic

from typing_extensions import TypeForm, TypeVar

from .durations import parse_duration
from .names import check_id, describe

EventT = TypeVar("EventT")  # invariant: send_event(event, payload) must check payload against exactly this type


class Event(Generic[EventT]):
    """A named, typed event: ``approval = Event("approval", Approval)``.

    Raises:
        DefinitionError: the name is not 1 to 128 of letters, digits, ``.``, ``_`` and ``-``.
    """

    __slots__ = ("name", "schema")

    def __init__(self, name: str, schema: TypeForm[EventT]) -> None:
        self.name = check_id("event", name)
        self.schema = schema

    def __repr__(self) -> str:
        return f"Event({self.name!r}, {describe(self.schema)})"


def check_event(what: str, value: object) -> None:  # of any object: not all callers are typed
    """Raises TypeError, which says that ``what`` takes an Event, when ``value`` is none."""
    if not isinstance(value, Event):
        raise TypeError(f"{what} takes an Event, got {value!r}; make one with Event(name, schema)")


def patience_of(timeout: timedelta | str | None, *, has_default: bool) -> timedelta | None:
    """How long a wait lasts; None for as long as it takes.

    Raises TypeError for a default that would never flow on, ValueError when ``timeout`` is not a duration.
    """
    if timeout is not None:
        return parse_duration(timeout)
    if has_default:
        raise TypeError("default= flows on when timeout= has passed, and there is none; give both, or neither")
    return None
