"""Attributes as they are written: what each may be, and what a change may make of them."""

from __future__ import annotations

from collections.abc import Mapping

from wrkflw.world.attributes import fault_in, fault_of
from wrkflw.world.errors import WorldError
from wrkflw.world.events import AttrSet
from wrkflw.world.retention import RETENTION, can_be_stamped

MOST_CHANGED_BYTES = 8 * 1024


def check_attributes(attributes: Mapping[str, str], *, reserved: bool) -> None:
    """Raises WorldError (400) naming the first that may not be."""
    if (fault := fault_in(attributes, reserved=reserved)) is not None:
        raise WorldError(str(fault))
    retention = attributes.get(RETENTION)
    if retention is not None and not can_be_stamped(retention):
        raise WorldError(f"attribute {RETENTION!r} cannot be {retention[:80]!r}; give it a whole number of seconds")


def check_changes(before: Mapping[str, str], event: AttrSet) -> None:
    """Raises WorldError (400) when the change, or what it makes of ``before``, may not be."""
    keys = [change.key for change in event.changes]
    if len(set(keys)) < len(keys):
        raise WorldError("an attribute is named twice in one change; name it once")
    changed = {change.key: change.value or "" for change in event.changes}
    for key, value in changed.items():
        if (fault := fault_of(key, value, reserved=event.allow_reserved_attributes)) is not None:
            raise WorldError(str(fault))
    if sum(len(key.encode()) + len(value.encode()) for key, value in changed.items()) > MOST_CHANGED_BYTES:
        raise WorldError(f"a change of attributes is longer than {MOST_CHANGED_BYTES} bytes; make it in parts")
    after = {**before, **changed}
    for change in event.changes:
        if change.value is None:
            after.pop(change.key)
    check_attributes(after, reserved=True)
