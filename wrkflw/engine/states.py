"""State: how the steps of a scope change it, one after another, or side by side.

State is kept as JSON values.  A step's change is the fields that differ, recorded with its output; what they add up to
is computed from the record, and never written a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from wrkflw.errors import StateConflictError
from wrkflw.graph import Foreach, Graph, Node, Parallel, steps_of
from wrkflw.merging import Merge, merge_rules

from .records import Record, ScopeRecords

if TYPE_CHECKING:
    from .journal import Journal

_WHOLE = "state"
"""What a state that has no fields is called where fields are named."""


def merged(state: object, delta: Mapping[str, Any]) -> object:
    """The state after a step: its fields that ``delta`` names replaced, others kept."""
    if "whole" in delta:
        return delta["whole"]
    before = cast("dict[str, object]", state) if isinstance(state, dict) else {}
    after: dict[str, object] = {**before, **delta.get("set", {})}
    for name in delta.get("unset", ()):
        after.pop(name, None)
    return after


def difference(before: object, after: object) -> dict[str, Any] | None:
    """What :func:`merged` needs to make ``after`` of ``before``; None when they are equal."""
    if before == after:
        return None
    if not isinstance(before, dict) or not isinstance(after, dict):
        return {"whole": after}
    old, new = cast("dict[str, object]", before), cast("dict[str, object]", after)
    changed = {name: value for name, value in new.items() if name not in old or old[name] != value}
    gone = [name for name in old if name not in new]
    return {"set": changed, "unset": gone} if gone else {"set": changed}


def merged_block(state: object, records: Iterable[Record], rules: Mapping[str, Merge]) -> object:
    """The state after steps that ran side by side, in the order of the block.

    Raises StateConflictError when two of them set a field to different values, and no rule says how to merge them.
    """
    setters: dict[str, str] = {}
    after = state
    for record in records:
        if record.delta is None:
            continue
        for field, value in _changes(record.delta).items():
            now = value
            if field in setters:
                now = _reconciled(state, after, field, value, rules.get(field), (setters[field], record.key))
            setters[field] = record.key
            after = _with(after, field, now)
    return after


def state_after(node: Node, records: ScopeRecords, state: object, rules: Mapping[str, Merge]) -> object:
    """The state after a node that has ended.  Raises StateConflictError."""
    found = [record for step in steps_of(node) for record in records.by_id.get(step.id, ())]
    calls = [record for record in found if isinstance(record, Record) and record.delta is not None]
    if not calls:
        return state
    if isinstance(node, Parallel):
        return merged_block(state, calls, rules)
    if isinstance(node, Foreach) and node.concurrency > 1:
        return merged_block(state, sorted(calls, key=index_of_record), rules)
    for record in sorted(calls, key=lambda record: record.ended or 0):
        state = merged(state, record.delta or {})
    return state


def state_before(graph: Graph, records: ScopeRecords | None, state: object, position: int) -> object:
    """The state as it is when the node at ``position`` begins, from that at the beginning of the scope."""
    if records is None:
        return state
    rules = rules_of(graph)
    for node in graph.nodes[:position]:
        state = state_after(node, records, state, rules)
    return state


def state_of(graph: Graph, journal: Journal) -> object:
    """All state of a run that is committed; while a block is open, the state at its entry."""
    records, state = journal.scopes.get(""), journal.initial_state
    if records is None:
        return state
    rules = rules_of(graph)
    try:
        for node in graph.nodes:
            if not _is_open(node, records):
                state = state_after(node, records, state, rules)
    except StateConflictError:  # the block failed: the state is that at its entry
        pass
    return state


def rules_of(graph: Graph) -> Mapping[str, Merge]:
    return {} if graph.state_schema is None else merge_rules(graph.state_schema)


def rebased(delta: Mapping[str, Any], before: object, now: object, rules: Mapping[str, Merge]) -> dict[str, Any]:
    """The change of a step that stands in a block, had that been entered with another state: sums go by differences."""
    sums = {
        field: _plus(_plus(value, _field(now, field), 1), _field(before, field), -1)
        for field, value in delta.get("set", {}).items()
        if rules.get(field) is Merge.SUM
    }
    return {**delta, "set": {**delta["set"], **sums}} if sums else dict(delta)


def _is_open(node: Node, records: ScopeRecords) -> bool:
    """Whether it is a block of which a member has not ended well."""
    match node:
        case Parallel(steps=steps):
            calls = [record for step in steps for record in records.by_id.get(step.id, ())]
            wanted = len(steps)
        case Foreach(step=step, concurrency=concurrency) if concurrency > 1:
            calls = records.by_id.get(step.id, [])
            wanted = size_of(calls) or 0
        case _:
            return False
    return sum(isinstance(record, Record) and record.succeeded for record in calls) < wanted


def size_of(calls: Sequence[object]) -> int | None:
    """How many items a foreach had when it began; None when it has not."""
    metas = [call.meta for call in calls if isinstance(call, Record) and call.meta is not None]
    return next((cast("int", meta["items"]) for meta in metas if "items" in meta), None)


def _changes(delta: Mapping[str, Any]) -> dict[str, object]:
    if "whole" in delta:
        return {_WHOLE: delta["whole"]}
    return {**delta.get("set", {}), **dict.fromkeys(delta.get("unset", ()), _GONE)}


def _reconciled(
    before: object, after: object, field: str, value: object, rule: Merge | None, steps: tuple[str, str]
) -> object:
    """The value of a field that two steps have set."""
    now = _field(after, field)
    if rule is Merge.SUM and value is not _GONE:  # also when both came to the same: each has added its part
        return _plus(_plus(now, value, 1), _field(before, field), -1)
    if rule is Merge.LAST or now == value:
        return value
    raise StateConflictError(field, steps, (now, value))


def _plus(left: object, right: object, sign: int) -> object:
    left, right = (0 if value is None or value is _GONE else value for value in (left, right))
    if isinstance(left, str) or isinstance(right, str):  # a Decimal, as JSON has it
        return str(Decimal(str(left)) + sign * Decimal(str(right)))
    return cast("float", left) + sign * cast("float", right)


def _field(state: object, field: str) -> object:
    if field == _WHOLE and not isinstance(state, dict):
        return state
    return cast("dict[str, object]", state).get(field, _GONE) if isinstance(state, dict) else _GONE


def _with(state: object, field: str, value: object) -> object:
    if field == _WHOLE and not isinstance(state, dict):
        return value
    fields = cast("dict[str, object]", state) if isinstance(state, dict) else {}
    if value is _GONE:
        return {name: kept for name, kept in fields.items() if name != field}
    return {**fields, field: value}


def index_of_record(record: Record) -> int:
    return int(record.key[record.key.rfind("[") + 1 : -1])


class _Gone:
    """A field that was removed."""

    def __repr__(self) -> str:
        return "removed"


_GONE: object = _Gone()
