"""A graph as a program: node after node, from where the record ends.

Whatever a node gave before is taken from the record, and only when somebody asks for it: a run that is taken up again
goes on at the last node that began.  What stands before is not looked at; a step that was inserted there is not run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from wrkflw.context import MapContext
from wrkflw.errors import ConditionError, DefinitionChangedError, InvalidValueError, LimitError, MapError, NoMatchError
from wrkflw.errors.nodes import ConditionKind, MapKind
from wrkflw.forms import classes_of
from wrkflw.graph import (
    AnyStep,
    Branch,
    Code,
    Foreach,
    Into,
    Join,
    Loop,
    Map,
    MapContextual,
    Match,
    Node,
    Parallel,
    Sleep,
    SleepUntil,
    Then,
    WaitForEvent,
    steps_of,
)
from wrkflw.schemas import schema_of

from . import blocks, nesting, states
from .calls import NodeCall
from .definition import Plan
from .fitting import arm_behind, call_behind, iteration_behind, wait_behind
from .keys import of_iteration
from .records import Record, WaitRecord
from .scopes import Scope
from .stepping import at_once
from .values import NOTHING, Flow, Later, Settled
from .waiting import sleep, wait_for_event

if TYPE_CHECKING:
    from .drive import Drive


class Interpreter:
    """The graphs of one run."""

    def __init__(self, drive: Drive) -> None:
        self.drive = drive

    async def run(self, scope: Scope) -> Flow:
        """What flows out of the last node.

        Raises StepEndedError when a step failed for good, BailedError when one ended the workflow early, LeftError
        when it goes no further now, one of BETWEEN_STEPS for what went wrong there.
        """
        nodes = scope.definition.nodes
        frontier = self._frontier(scope)
        flow = scope.input
        if frontier:
            flow = self._behind(scope, frontier)
            if scope.definition.state_schema is not None:
                records = self.drive.journal.scopes.get(scope.prefix)
                scope.state = states.state_before(scope.definition.graph, records, scope.state, frontier)
        for position in range(frontier, len(nodes)):
            node = nodes[position]
            if isinstance(node, Then):
                flow = await self.call_in_chain(scope, node.step, scope.key_of(node.step.id), flow)
            else:
                flow = await self._node(scope, position, node, flow)
        return flow

    def _frontier(self, scope: Scope) -> int:
        """The position of the last node that has begun."""
        records = self.drive.journal.scopes.get(scope.prefix)
        return 0 if records is None else scope.definition.positions.get(records.last, 0)

    async def _node(self, scope: Scope, position: int, node: Node, flow: Flow) -> Flow:
        """What flows out of a node that is no plain step."""
        match node:
            case Branch() | Match():
                chosen = self._chosen(scope, node, flow)
                if chosen is None:
                    return flow
                return await self.call_in_chain(scope, chosen, scope.key_of(chosen.id), flow)
            case Parallel():
                return await blocks.parallel(self, scope, node, flow)
            case Foreach():
                return await blocks.foreach(self, scope, node, flow)
            case Loop():
                return await self._loop(scope, node, flow)
            case Sleep() | SleepUntil():
                await sleep(self.drive, scope, node, partial(_due, node, flow))
                return flow
            case WaitForEvent():
                payload = await wait_for_event(self.drive, scope, node.id, node.event, node.timeout, node.default)
                return _joined(node, flow, payload)
            case Code(function=function):
                return await self.drive.execution.program(scope, function, flow)
            case _:
                return self._between(scope, position, node, flow)

    # --- steps -------------------------------------------------------------------------------------

    def call(
        self,
        scope: Scope,
        step: AnyStep,
        key: str,
        flow: Flow,
        *,
        iteration: int | None = None,
        index: int | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Coroutine[Any, Any, Flow]:
        """The output of one call of a step or nested workflow; ``meta`` is recorded when it begins."""
        plan = scope.definition.plan(step, again=iteration is not None and iteration > 1)
        return self.call_planned(scope, plan, key, flow, iteration=iteration, index=index, meta=meta)

    def call_planned(
        self,
        scope: Scope,
        plan: Plan,
        key: str,
        flow: Flow,
        *,
        iteration: int | None = None,
        index: int | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Coroutine[Any, Any, Flow]:
        """The same, of a step that the definition need not know."""
        begin: Callable[[], Coroutine[Any, Any, Flow]]
        if plan.body is None:
            begin = partial(nesting.nested, self, scope, plan, key, flow, meta)
        else:
            begin = partial(self.drive.steps.do, scope, plan, key, flow, iteration, index, meta)
        return self._if_wanted(plan.step, key, flow, meta, begin) if plan.step.guards else begin()

    def _if_wanted(
        self,
        step: AnyStep,
        key: str,
        flow: Flow,
        meta: Mapping[str, Any] | None,
        begin: Callable[[], Coroutine[Any, Any, Flow]],
    ) -> Coroutine[Any, Any, Flow]:
        """Begin it only if its conditions say yes, or have said so."""
        if self.drive.journal.records.get(key) is not None or _wanted(step, flow):
            return begin()
        self.drive.steps.skip(step, key, meta)
        return at_once(NOTHING)

    def call_in_chain(
        self, scope: Scope, step: AnyStep, key: str, flow: Flow, *, iteration: int | None = None, **place: Any
    ) -> Coroutine[Any, Any, Flow]:
        """:meth:`call` for a step that stands alone: those after it see what it changed in the state."""
        called = self.call(scope, step, key, flow, iteration=iteration, **place)
        return called if scope.definition.state_schema is None else self._changing_state(scope, key, called)

    async def _changing_state(self, scope: Scope, key: str, called: Coroutine[Any, Any, Flow]) -> Flow:
        output = await called
        self.change_state(scope, self.drive.journal.records[key])
        return output

    def change_state(self, scope: Scope, *records: Record | WaitRecord) -> None:
        if scope.definition.state_schema is None:
            return
        for record in records:
            if isinstance(record, Record) and record.delta is not None:
                scope.state = states.merged(scope.state, record.delta)

    async def _loop(self, scope: Scope, node: Loop, flow: Flow) -> Flow:
        key, limit = scope.key_of(node.step.id), self.drive.services.limits.iterations
        begun = self.drive.journal.begun(scope.prefix, node.step.id)
        number = max(1, len(begun))
        if number > 1:
            self.change_state(scope, *begun[:-1])
            flow = Later(lambda: self._output(scope, node.step, of_iteration(key, number - 1)))
        while True:
            output = await self.call_in_chain(scope, node.step, of_iteration(key, number), flow, iteration=number)
            verdict = judged("loop", node.step.id, node.condition, output.fresh(), iteration=number)
            if verdict is node.until:
                return output
            if number >= min(limit, node.max_iterations):
                raise LimitError.iterations(node.step.id, number, of_runtime=number < node.max_iterations)
            number, flow = number + 1, output

    def _chosen(self, scope: Scope, node: Branch | Match, flow: Flow) -> AnyStep | None:
        """The arm or case that is taken: the one in the record, if there is one."""
        records = self.drive.journal.scopes.get(scope.prefix)
        if records is not None:
            for step in steps_of(node):
                if step.id in records.by_id:
                    return step
        if isinstance(node, Branch):
            for arm in node.arms:
                if judged("arm", arm.step.id, arm.condition, flow.fresh()):
                    return arm.step
            return node.otherwise
        value = flow.value
        for case in node.cases:
            classes = classes_of(case.input_schema)
            if classes is None or isinstance(value, classes):
                return case
        if node.otherwise is None:
            raise NoMatchError(node.id, [case.id for case in node.cases], value)
        return node.otherwise

    # --- functions between steps -------------------------------------------------------------------

    def _between(self, scope: Scope, position: int, node: Node, flow: Flow) -> Flow:
        match node:
            case Map(id=id, function=function):
                return _mapped(id, function, flow.value)
            case MapContextual(id=id, function=function):
                context: MapContext[object, object] = MapContext(NodeCall(self.drive, scope, position))
                return _mapped(id, function, flow.value, context)
            case Join(id=id, function=function):
                return _mapped(id, function, *cast("tuple[object, ...]", flow.value), kind="join")
            case Into(schema=schema):
                return self._into(scope, position, schema, flow)
            case _:
                raise AssertionError(f"{type(node).__name__} is no function between steps")

    def _into(self, scope: Scope, position: int, form: object, flow: Flow) -> Flow:
        schema = schema_of(form)
        before = scope.definition.nodes[position - 1].id if position else scope.definition.id
        what = f"into {schema.name} after {before!r}"
        try:
            value = schema.by_fields(flow.value, what)
        except InvalidValueError as error:
            raise InvalidValueError.because(what, f": {error.problems[0]}", cure="add it with .map()") from error
        return Settled(value)

    # --- what was ----------------------------------------------------------------------------------

    def _behind(self, scope: Scope, position: int) -> Flow:
        """:meth:`_recorded`, when somebody asks."""
        return Later(partial(self._recorded, scope, position))

    def _recorded(self, scope: Scope, position: int) -> Flow:
        """What flowed into a node that has begun, from the record of those before it."""
        if position == 0:
            return scope.input
        node, before = scope.definition.nodes[position - 1], self._behind(scope, position - 1)
        match node:
            case Then(step=step):
                return self._output(scope, step, scope.key_of(step.id))
            case Loop(step=step):
                last = iteration_behind(scope.definition, self.drive.journal, scope.key_of(step.id))
                return self.output_of(scope, step, last)
            case Branch() | Match():
                taken = arm_behind(scope.definition, self.drive.journal, scope.prefix, node)
                return before if taken is None else self._output(scope, taken, scope.key_of(taken.id))
            case Parallel(steps=steps, gives=gives):
                values = [self._output(scope, step, scope.key_of(step.id)).value for step in steps]
                return Settled(tuple(values) if gives == "tuple" else values)
            case Foreach(step=step):
                journal = self.drive.journal
                # A fork may have given it other items than those of which it made what the run went on with.
                if not (journal.is_fork or journal.begun(scope.prefix, step.id)) and before.value != []:
                    raise DefinitionChangedError.put_before(
                        self.drive.run_id, scope.key_of(step.id), scope.definition.id
                    )
                return blocks.items_of(self, scope, step)
            case Sleep() | SleepUntil():
                return before
            case WaitForEvent():
                return _joined(node, before, self._payload(scope, node))
            case Code():
                raise AssertionError("nothing stands behind a program")
            case _:
                return self._between(scope, position - 1, node, before)

    def _output(self, scope: Scope, step: AnyStep, key: str) -> Flow:
        return self.output_of(scope, step, call_behind(scope.definition, self.drive.journal, key))

    def output_of(self, scope: Scope, step: AnyStep, record: Record) -> Flow:
        """A recorded output.  Raises DefinitionChangedError when the code can no longer read it."""
        if record.status == "skipped" or record.output is None:
            return NOTHING
        schema = scope.definition.plan(step).output
        return Settled(self.drive.load(schema, record.output, record.key, "output of step"), record.output, schema)

    def _payload(self, scope: Scope, node: WaitForEvent) -> Flow:
        wait = wait_behind(scope.definition, self.drive.journal, node, scope.key_of(node.id))
        if wait.payload is None:
            return Settled(Settled(node.default).fresh())
        schema = schema_of(node.event.schema)
        return Settled(self.drive.load(schema, wait.payload, wait.key, "event at"), wait.payload, schema)


def _wanted(step: AnyStep, flow: Flow) -> bool:
    """Whether the conditions of the step hold."""
    return all(judged("only_if", step.id, guard, flow.fresh()) for guard in step.guards)


def judged(
    kind: ConditionKind, id: str, condition: Callable[[Any], object], value: object, *, iteration: int | None = None
) -> bool:
    """What a condition says.  Raises ConditionError."""
    try:
        verdict = condition(value)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a plain function is not cancelled: that too is its own doing
        raise ConditionError.raised(kind, id, error, iteration=iteration) from error
    if inspect.isawaitable(verdict):
        if inspect.iscoroutine(verdict):
            verdict.close()
        raise ConditionError.gave_coroutine(kind, id)
    if not isinstance(verdict, bool):
        raise ConditionError.not_a_bool(kind, id, verdict)
    return verdict


def _mapped(id: str, function: Callable[..., object], *arguments: object, kind: MapKind = "map") -> Flow:
    try:
        value: object = function(*arguments)
    except DefinitionChangedError:  # it asked for a result that the code can no longer read
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise MapError.raised(id, error, kind=kind) from error
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise MapError.gave_coroutine(id, kind=kind)
    return Settled(value)


def _joined(node: WaitForEvent, before: Flow, payload: Flow) -> Flow:
    if node.function is None:
        return payload
    return _mapped(node.id, node.function, before.value, payload.value, kind="join_event")


def _due(node: Sleep | SleepUntil, flow: Flow) -> datetime | None:
    """When a ``sleep_until`` is over; None for a plain sleep."""
    if isinstance(node, Sleep):
        return None
    if not callable(node.when):
        return node.when
    given = _mapped(node.id, node.when, flow.fresh(), kind="sleep_until").value
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise InvalidValueError.no_time(node.id, given)
    return given
