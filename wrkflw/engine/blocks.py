"""Blocks: the members of a parallel, the items of a foreach.

When one member fails or bails the block is decided: no other is begun, those whose body runs are waited for and
recorded, and those that are parked are closed.  A body that a crash cut off runs, as far as that goes: it is begun
again and waited for, so that a crash changes nothing of how the block ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Coroutine, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from pydantic_core import PydanticSerializationError, to_json

from wrkflw.errors import InvalidValueError, LimitError, NondeterminismError
from wrkflw.graph import AnyStep, Foreach, Parallel
from wrkflw.schemas import fields_by_name

from . import failures, states
from .branches import Branches
from .closing import close
from .keys import of_item
from .lanes import Lane
from .records import Record
from .scopes import Scope
from .standing import BailedError, Parked, StepEndedError
from .values import Flow, Later, Settled

if TYPE_CHECKING:
    from .interpreter import Interpreter

_SCALARS = frozenset({str, int, float, bool, type(None)})
"""What there is no order in, told at once: a list may hold ten thousand items."""
_EVENTS_A_CALL = 3
"""It is created, it is started, it completes."""


async def parallel(interpreter: Interpreter, scope: Scope, node: Parallel, flow: Flow) -> Flow:
    """What all members give, in the order of the arguments."""
    keys = [scope.key_of(step.id) for step in node.steps]
    plans = [scope.definition.plan(step) for step in node.steps]
    inside, journal = _inside(scope), interpreter.drive.journal

    def member(number: int) -> Coroutine[Any, Any, Flow]:
        plan, key = plans[number], keys[number]
        asks = plan.input is not None and key not in journal.records  # who has begun has what it was given on record
        own = Settled(flow.fresh(), flow.data, flow.schema) if asks else flow
        return interpreter.call_planned(inside, plan, key, own)

    outputs = await _together(interpreter, inside, node.steps, keys, member, node.concurrency)
    records = [journal.records[key] for key in keys]
    scope.state = states.merged_block(scope.state, records, states.rules_of(scope.definition.graph))
    values = [output.value for output in outputs]
    return Settled(tuple(values) if node.gives == "tuple" else values)


async def foreach(interpreter: Interpreter, scope: Scope, node: Foreach, flow: Flow) -> Flow:
    """What the step gives for every item, in their order."""
    step, key = node.step, scope.key_of(node.step.id)
    if _stands(interpreter, scope, step):
        records, rules = interpreter.drive.journal.scopes[scope.prefix], states.rules_of(scope.definition.graph)
        scope.state = states.state_after(node, records, scope.state, rules)
        return items_of(interpreter, scope, step)
    items = _items(interpreter, scope, node, flow)
    meta = {"items": len(items), "digest": _digest(items)} if items else None
    if node.concurrency > 1:
        return await _side_by_side(interpreter, scope, node, items, meta)
    begun = interpreter.drive.journal.begun(scope.prefix, step.id)
    interpreter.change_state(scope, *begun[:-1])
    for index in range(max(0, len(begun) - 1), len(items)):
        await interpreter.call_in_chain(
            scope, step, of_item(key, index), Settled(items[index]), index=index, meta=None if index else meta
        )
    return items_of(interpreter, scope, step)


async def _side_by_side(
    interpreter: Interpreter, scope: Scope, node: Foreach, items: Sequence[object], meta: dict[str, Any] | None
) -> Flow:
    step, key = node.step, scope.key_of(node.step.id)
    keys = [of_item(key, index) for index in range(len(items))]
    plan, inside = scope.definition.plan(step), _inside(scope)

    def item(index: int) -> Coroutine[Any, Any, Flow]:
        value = Settled(items[index])
        return interpreter.call_planned(inside, plan, keys[index], value, index=index, meta=None if index else meta)

    outputs = await _together(interpreter, inside, [step] * len(items), keys, item, node.concurrency)
    records = [interpreter.drive.journal.records[key] for key in keys]
    scope.state = states.merged_block(scope.state, records, states.rules_of(scope.definition.graph))
    return Settled([output.value for output in outputs])


def items_of(interpreter: Interpreter, scope: Scope, step: AnyStep) -> Flow:
    """What a foreach that is over has given."""
    begun = interpreter.drive.journal.begun(scope.prefix, step.id)
    records = sorted((record for record in begun if isinstance(record, Record)), key=states.index_of_record)
    return Settled([interpreter.output_of(scope, step, record).value for record in records])


async def _together(
    interpreter: Interpreter,
    inside: Scope,
    steps: Sequence[AnyStep],
    keys: Sequence[str],
    begin: Any,
    limit: int | None,
) -> list[Flow]:
    """The outputs of all members; those in the record are not begun again."""
    drive = interpreter.drive
    branches = Branches(drive, inside.lane, begin)
    for how in _decisions(interpreter, inside, keys):
        branches.decide(how)
    todo: list[int] = []
    for number, (step, key) in enumerate(zip(steps, keys, strict=True)):
        record = drive.journal.records.get(key)
        if record is None:
            todo.append(number)
        elif record.succeeded:
            branches.outcomes[number] = Later(_reading(interpreter, inside, step, record))
        elif record.status not in ("failed", "cancelled") and not record.bailed:
            waits = _still_waits(drive.backlog.due(), step, record)
            if waits is None:
                todo.append(number)
            else:
                branches.park(number, waits)
    if branches.decided:
        inside.lane.drain()
        cut_off = drive.journal.interrupted(inside.prefix)
        await branches.run((), limit, again=[number for number in todo if keys[number] in cut_off])
    else:
        await branches.run(todo, limit)
    if branches.gave_up:
        await drive.recorder.commit()  # of those that were under way
    elif branches.decided:
        for error in close(drive, keys):  # who gives up has failed, as one that fails while the others drain
            branches.decide(StepEndedError(error))
    branches.verdict()
    return [branches.outcomes[number] for number in range(len(keys))]


def _decisions(interpreter: Interpreter, inside: Scope, keys: Sequence[str]) -> Iterator[StepEndedError | BailedError]:
    """How members ended, by the record, that decide the block; first recorded, first."""
    records = interpreter.drive.journal.records
    ended = [record for key in keys if (record := records.get(key)) is not None]
    for record in sorted(ended, key=lambda record: record.ended or 0):
        if record.status == "failed":
            error = failures.load(record.error)
            assert error is not None
            yield StepEndedError(error)
        elif record.bailed:
            yield BailedError(interpreter.drive.steps.bailed(inside, record))


def _reading(interpreter: Interpreter, inside: Scope, step: AnyStep, record: Record) -> Any:
    return lambda: interpreter.output_of(inside, step, record)


def _still_waits(due: datetime, step: AnyStep, record: Record) -> Parked | None:
    """What a member waits for, where that can be seen without beginning it."""
    suspension = record.suspension
    if step.kind == "workflow" or record.status != "waiting" or suspension is None:
        return None
    if suspension.until is not None and suspension.until <= due:
        return None
    return Parked(suspension.until, frozenset({suspension.hook_id}))


def _inside(scope: Scope) -> Scope:
    """The scope as the members of a block see it: with a lane of its own, and the state at the entry."""
    return Scope(scope.definition, scope.prefix, scope.input, scope.state, Lane(scope.lane))


def _items(interpreter: Interpreter, scope: Scope, node: Foreach, flow: Flow) -> list[object]:
    step = node.step
    value, limit = flow.value, interpreter.drive.services.limits.items
    if not isinstance(value, list):
        raise InvalidValueError.no_list(step.id, value)
    items = cast("list[object]", value)
    if len(items) > limit:
        raise LimitError.items(step.id, len(items), limit)
    first = interpreter.drive.journal.records.get(of_item(scope.key_of(step.id), 0))
    if first is None:
        _check_room(interpreter, scope, node, len(items))
    if first is not None and first.meta is not None and "items" in first.meta:
        before = cast("int", first.meta["items"])
        if before != len(items) or ("digest" in first.meta and first.meta["digest"] != _digest(items)):
            raise NondeterminismError.items_changed(interpreter.drive.run_id, step.id, before, len(items))
    return items


def _check_room(interpreter: Interpreter, scope: Scope, node: Foreach, items: int) -> None:
    """Rather than thousands of items are done, with their effects, and then the run fails.  Raises LimitError.

    The last item must start, by when all are over but those beside it: what these come to has room in a full log.
    Nothing is said of a body with a context, which may end the workflow before.
    """
    body = scope.definition.plan(node.step).body
    if body is None or body.arity > 1 or node.step.guards or not items:
        return
    has, limit = interpreter.drive.journal.last_slot, interpreter.drive.services.limits.events
    needs = _EVENTS_A_CALL * items - min(items, node.concurrency)
    if has + needs > limit:
        raise LimitError.events_of_items(node.step.id, items, needs, has, limit)


def _stands(interpreter: Interpreter, scope: Scope, step: AnyStep) -> bool:
    """Whether a fork took the whole foreach over, and gave what flows into it another value: what it gave counts."""
    begun = interpreter.drive.journal.begun(scope.prefix, step.id)
    if not begun or not isinstance(begun[0], Record) or begun[0].meta is None or "digest" in begun[0].meta:
        return False
    return states.size_of(begun) == sum(isinstance(record, Record) and record.succeeded for record in begun)


def _ordered(value: Any) -> object:
    """A value with what has no order put into one: sets come out otherwise in every process."""
    if isinstance(value, (list, tuple)):  # a union would be made anew each time
        return [_ordered(one) for one in cast("Sequence[object]", value)]
    if isinstance(value, (set, frozenset)):
        return sorted(to_json(_ordered(one)) for one in cast("set[object]", value))
    fields = fields_by_name(value)
    if isinstance(fields, dict):
        found = cast("dict[Any, object]", fields)
        return {name: one if one.__class__ in _SCALARS else _ordered(one) for name, one in found.items()}
    return value


def _digest(items: Sequence[object]) -> str | None:
    """What tells one list from another; None for items that JSON has not."""
    try:
        return hashlib.sha256(to_json(_ordered(items), inf_nan_mode="constants")).hexdigest()[:16]
    except (PydanticSerializationError, ValueError, RecursionError):
        return None
