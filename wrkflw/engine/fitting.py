"""Whether what a run recorded still fits the code."""

from __future__ import annotations

from wrkflw.errors import DefinitionChangedError, InvalidValueError
from wrkflw.graph import Node, Sleep, SleepUntil, WaitForEvent

from .definition import Definition, counts
from .journal import Journal
from .keys import scope_of
from .records import Record, WaitRecord


def check_fits(definition: Definition, journal: Journal) -> None:
    """Raises DefinitionChangedError when the record holds what this workflow has not, or not in this order.

    Of what a program recorded it knows nothing: that shows when it runs.
    """
    for prefix, scope in journal.scopes.items():
        inner = definition.within(prefix)
        if inner is None and not _is_in_code(definition, prefix):
            raise DefinitionChangedError(journal.run_id, prefix.removesuffix("/"), definition.id)
        if inner is None or inner.is_code:
            continue
        last, before = -1, ""
        for id, found in scope.by_id.items():
            position = inner.positions.get(id, -1)
            if 0 <= position < last:
                raise DefinitionChangedError.reordered(journal.run_id, found[0].key, before, definition.id)
            if position < 0 or not all(_is_of(inner.nodes[position], record) for record in found):
                raise DefinitionChangedError(journal.run_id, found[0].key, definition.id)
            last, before = position, found[-1].key


def misfit(definition: Definition, journal: Journal) -> DefinitionChangedError | None:
    """What keeps the run from going on with this workflow: something recorded that it has not, or cannot read."""
    key = ""
    try:
        check_fits(definition, journal)
        if journal.input is not None:
            definition.input_schema.load(journal.input, "its input")
        for record in journal.records.values():
            inner = definition.within(scope_of(record.key))
            step = inner.steps.get(record.name) if inner is not None else None
            if inner is None or step is None:
                continue
            key = record.key
            part = _part(record)
            plan = inner.plan(step, again="#" in part and not part.endswith("#1"))
            if record.input is not None and plan.input is not None:
                plan.input.load(record.input, f"input of step {key!r}")
            if record.output is not None and not record.bailed:
                plan.output.load(record.output, f"output of step {key!r}")
    except DefinitionChangedError as changed:
        return changed
    except InvalidValueError as error:
        return DefinitionChangedError.unreadable(journal.run_id, key, definition.id, error)
    return None


def _is_of(node: Node, record: Record | WaitRecord) -> bool:
    """Whether a record of this kind, with a key of this form, can be the node's."""
    if isinstance(node, Sleep | SleepUntil):
        return isinstance(record, WaitRecord) and record.kind == "sleep"
    if isinstance(node, WaitForEvent):
        return isinstance(record, WaitRecord) and record.signal_type == node.event.name
    if isinstance(record, WaitRecord):
        return False
    part = _part(record)
    told_apart = "items" if part.endswith("]") else "iterations" if "#" in part else None
    return counts(node) == told_apart


def _part(record: Record | WaitRecord) -> str:
    """The last part of its key, which is its own: the others are those of the scopes around it."""
    return record.key[record.key.rfind("/") + 1 :]


def _is_in_code(definition: Definition, prefix: str) -> bool:
    """Whether the scope is one that a program began."""
    parts = prefix.split("/")[:-1]
    for length in range(len(parts)):
        outer = definition.within("".join(f"{part}/" for part in parts[:length]))
        if outer is None:
            return False
        if outer.is_code:
            return True
    return False
