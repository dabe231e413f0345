"""What attributes may be: few and small, for they are labels to find runs by."""

from __future__ import annotations

from collections.abc import Mapping

from wrkflw.world.errors import WorldError
from wrkflw.world.events import LONGEST_ATTRIBUTE, MOST_ATTRIBUTES, AttrSet
from wrkflw.world.retention import RETENTION, can_be_stamped

from .arguments import utf8

MOST_CHANGED_BYTES = 8 * 1024


def check_attributes(attributes: Mapping[str, str], *, reserved: bool) -> None:
    """Raises WorldError (400) naming the first that may not be."""
    if len(attributes) > MOST_ATTRIBUTES:
        raise WorldError(f"a run has at most {MOST_ATTRIBUTES} attributes, this makes {len(attributes)}; drop some")
    for key, value in attributes.items():
        _check_name(key, reserved=reserved)
        if key == RETENTION and not can_be_stamped(value):
            raise WorldError(f"attribute {key!r} cannot be {value[:80]!r}; give it a whole number of seconds")
        if len(utf8(f"attribute {key!r}", value)) > LONGEST_ATTRIBUTE:
            raise WorldError(f"attribute {key!r} is longer than {LONGEST_ATTRIBUTE} bytes; keep it in a step's result")
        if "\0" in value:
            raise WorldError(f"attribute {key!r} holds a NUL, by which no run is found; leave it out")


def check_changes(before: Mapping[str, str], event: AttrSet) -> None:
    """Raises WorldError (400) when the change, or what it makes of ``before``, may not be."""
    keys = [change.key for change in event.changes]
    if len(set(keys)) < len(keys):
        raise WorldError("an attribute is named twice in one change; name it once")
    changed = {change.key: change.value or "" for change in event.changes}
    for key in keys:
        _check_name(key, reserved=event.allow_reserved_attributes)
    sizes = [len(key.encode()) + len(utf8(f"attribute {key!r}", value)) for key, value in changed.items()]
    if sum(sizes) > MOST_CHANGED_BYTES:
        raise WorldError(f"a change of attributes is longer than {MOST_CHANGED_BYTES} bytes; make it in parts")
    after = {**before, **changed}
    for change in event.changes:
        if change.value is None:
            after.pop(change.key)
    check_attributes(after, reserved=True)


def _check_name(key: str, *, reserved: bool) -> None:
    utf8("the name of an attribute", key)
    if not 1 <= len(key) <= LONGEST_ATTRIBUTE or "\0" in key:
        raise WorldError(f"attribute name {key[:80]!r} must have 1 to {LONGEST_ATTRIBUTE} characters, none of them NUL")
    if key.startswith("$") and not reserved:
        raise WorldError(f"attribute {key!r} begins with '$', which is reserved; take another name")
