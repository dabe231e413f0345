"""Whether what a run recorded still fits the code."""

from __future__ import annotations

from collections.abc import Sequence

from wrkflw.errors import DefinitionChangedError, InvalidValueError
from wrkflw.graph import (
    MISSING,
    AnyStep,
    Branch,
    Foreach,
    Loop,
    Match,
    Node,
    Parallel,
    Sleep,
    SleepUntil,
    Then,
    WaitForEvent,
    steps_of,
)

from .definition import Definition, counts
from .journal import Journal
from .keys import id_of, of_iteration, scope_of
from .records import Record, ScopeRecords, WaitRecord


def check_fits(definition: Definition, journal: Journal) -> None:
    """Raises DefinitionChangedError when the record holds what this workflow has not, or not in this order.

    Also when it lacks what is needed to go on: what flows out of the node that now stands right before the last that
    began.  Of what a program recorded it knows nothing: that shows when it runs.
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
                over = all(isinstance(record, Record) and record.is_over for record in found)
                changed = DefinitionChangedError.went_past if over else DefinitionChangedError
                raise changed(journal.run_id, found[0].key, definition.id)
            last, before = position, found[-1].key
        if _goes_on(journal, prefix):
            _check_flow(inner, journal, prefix, inner.positions[scope.last])


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


# --- what the run went past ---------------------------------------------------------------------------


def call_behind(definition: Definition, journal: Journal, key: str) -> Record:
    """The record of a call that the run went past.  Raises DefinitionChangedError when it never was."""
    record = journal.records.get(key)
    if record is None or not record.succeeded:
        raise DefinitionChangedError.put_before(journal.run_id, key, definition.id)
    return record


def iteration_behind(definition: Definition, journal: Journal, key: str) -> Record:
    """The record of the last iteration of a loop that the run went past.  Raises DefinitionChangedError."""
    number = len(journal.begun(scope_of(key), id_of(key)))
    return call_behind(definition, journal, of_iteration(key, number) if number else key)


def arm_behind(definition: Definition, journal: Journal, prefix: str, node: Branch | Match) -> AnyStep | None:
    """The arm or case that was taken; None where none need be.  Raises DefinitionChangedError."""
    arms, records = list(steps_of(node)), journal.scopes[prefix].by_id
    taken = next((step for step in arms if step.id in records), None)
    if taken is None and (isinstance(node, Match) or node.otherwise is not None):
        raise DefinitionChangedError.put_before(journal.run_id, prefix + arms[0].id, definition.id)
    return taken


def wait_behind(definition: Definition, journal: Journal, node: WaitForEvent, key: str) -> WaitRecord:
    """The record of a wait that the run went past.

    Raises DefinitionChangedError when it never was, or ran out of time and has no default any more.
    """
    wait = journal.waits.get(key)
    if wait is None:
        raise DefinitionChangedError.put_before(journal.run_id, key, definition.id)
    if wait.payload is None and node.default is MISSING:
        late = InvalidValueError.because(f"event at {key!r}", "did not come in time, and its wait has no default")
        raise DefinitionChangedError.unreadable(journal.run_id, key, definition.id, late)
    return wait


def _goes_on(journal: Journal, prefix: str) -> bool:
    """Whether a scope is entered again: what has ended is not."""
    while prefix:
        record = journal.records.get(prefix.removesuffix("/"))
        if record is None or record.ended is not None:
            return False
        prefix = scope_of(record.key)
    return True


def _check_flow(definition: Definition, journal: Journal, prefix: str, position: int) -> None:
    """Raises DefinitionChangedError when what flows into the last node that began is asked for, and not recorded."""
    if not _asks(definition, journal.scopes[prefix], position):
        return
    for node in reversed(definition.nodes[:position]):
        match node:
            case Then(step=step):
                call_behind(definition, journal, prefix + step.id)
                return
            case Loop(step=step):
                iteration_behind(definition, journal, prefix + step.id)
                return
            case Branch() | Match():
                taken = arm_behind(definition, journal, prefix, node)
                if taken is not None:
                    call_behind(definition, journal, prefix + taken.id)
                    return
            case Parallel(steps=steps):
                for step in steps:
                    call_behind(definition, journal, prefix + step.id)
                return
            case Foreach(step=step) if journal.begun(prefix, step.id):
                return
            case WaitForEvent():
                wait_behind(definition, journal, node, prefix + node.id)
                if node.function is None:
                    return
            case _:  # gives what it is given, or what it makes of that; so does a foreach over nothing
                pass


def _asks(definition: Definition, records: ScopeRecords, position: int) -> bool:
    """Whether what flows into the last node that began will be asked for."""
    begun, *following = definition.nodes[position:]
    match begun:
        case Sleep() | SleepUntil():
            return _ask(following)
        case WaitForEvent():
            return begun.function is not None
        case Parallel(steps=steps):
            calls = [call for step in steps for call in records.by_id.get(step.id, ()) if isinstance(call, Record)]
            is_decided = any(call.bailed or call.status == "failed" for call in calls)
            return not is_decided and any(_takes(step) for step in steps if step.id not in records.by_id)
        case Foreach(step=step):
            metas = [call.meta for call in records.by_id[step.id] if isinstance(call, Record)]
            return any("digest" in meta for meta in metas if meta is not None)  # else a fork took it over as it was
        case _:
            return False  # its input is recorded with it


def _ask(nodes: Sequence[Node]) -> bool:
    """Whether what flows into these, of which none has begun, will be asked for."""
    for node in nodes:
        match node:
            case Sleep():
                continue
            case SleepUntil(when=when):
                if callable(when):
                    return True
            case WaitForEvent():
                return node.function is not None
            case Then() | Loop() | Parallel():
                return any(_takes(step) for step in steps_of(node))
            case _:
                return True
    return True  # it is what the workflow gives


def _takes(step: AnyStep) -> bool:
    return step.kind == "workflow" or bool(step.guards) or bool(step.body.arity)


# --- what a record is of ------------------------------------------------------------------------------


def _is_of(node: Node, record: Record | WaitRecord) -> bool:
    """Whether a record of this kind, with a key of this form, can be the node's."""
    if isinstance(node, Sleep | SleepUntil):
        return isinstance(record, WaitRecord) and record.kind == "sleep"
    if isinstance(node, WaitForEvent):
        if not isinstance(record, WaitRecord) or record.signal_type != node.event.name:
            return False
        runs_out = record.open and record.resume_at is not None
        return node.timeout is not None or not runs_out  # nothing in the code says what becomes of that
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
