"""What flows from node to node, and where it does not fit.

Where a type is not known (after the lambda of a map) nothing is said, and the check moves to run time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, assert_never, cast, get_args, get_origin

from .errors import DefinitionError
from .errors.nodes import ConditionKind, condition_of
from .forms import classes_of, fields_of, fits, members_of, union_of
from .functions import UNKNOWN, annotations_of, can_be_called, count_parameters, is_function, taken_by
from .graph import (
    AnyStep,
    Branch,
    Code,
    Foreach,
    Graph,
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
from .names import describe

Problems: TypeAlias = Iterator[DefinitionError]


@dataclass(frozen=True)
class _Place:
    """A place in the chain: what flows there, and the node it comes from."""

    workflow_id: str
    before: Node | None
    flows: object

    def refuse(self, node: str, takes: object) -> Problems:
        """``node`` ('step 'send'') takes something else than what flows here."""
        if fits(self.flows, takes) is not False:
            return
        if self.before is None:
            source, cure = f"is first in workflow {self.workflow_id!r}, which takes", "put a .map() before it"
        else:
            source, cure = f"follows {self.before.id!r}, which gives", "put a .map() between them"
        yield DefinitionError(f"{node} takes {describe(takes)} but {source} {describe(self.flows)}; {cure}")

    @property
    def after(self) -> str:
        return "at the start" if self.before is None else f"after {self.before.id!r}"

    @property
    def giver(self) -> str:
        """What the parts of a tuple are from."""
        if isinstance(self.before, Parallel):
            return "parallel"
        return repr(self.workflow_id if self.before is None else self.before.id)


def what_flows_fits(graph: Graph) -> Problems:
    """Each node takes what the one before it gives, and the last gives what the workflow promises."""
    flows, before = graph.input_schema, None
    for node in graph.nodes:
        yield from _misfits(node, _Place(graph.workflow_id, before, flows))
        for step in steps_of(node):
            for guard in step.guards:
                yield from _misfit_of_condition("only_if", step.id, guard, _taken(step))
        flows, before = given_by(node, flows), node
    if before is not None and fits(flows, graph.output_schema) is False:
        kind = "step" if isinstance(before, Then | Foreach | Loop) else "node"
        yield DefinitionError(
            f"workflow {graph.workflow_id!r} promises {describe(graph.output_schema)} "
            f"but its last {kind} {before.id!r} gives {describe(flows)}"
        )


def is_known(step: AnyStep) -> bool:
    """Whether the types of a step can be looked up."""
    try:
        _ = step.input_schema
    except DefinitionError:
        return False
    return True


# ------------------------------------------------------------------ what a node takes
def _misfits(node: Node, place: _Place) -> Problems:
    match node:
        case Then(step=step):
            yield from _misfit_of_step(step, place)
        case Map(id=id, function=function) | MapContextual(id=id, function=function):
            yield from place.refuse(f"map {id!r}", taken_by(function))
        case Join():
            yield from _misfits_of_join(node, place)
        case Into():
            yield from _missing_fields(node, place)
        case Parallel(steps=steps):
            for step in steps:
                yield from _misfit_of_step(step, place)
        case Branch():
            yield from _misfits_of_branch(node, place)
        case Match():
            yield from _misfits_of_match(node, place)
        case Foreach(id=id, step=step):
            yield from place.refuse(f"foreach {id!r}", _list_of(_taken(step)))
        case Loop():
            yield from _misfits_of_loop(node, place)
        case SleepUntil(id=id, when=when):
            yield from _misfits_of_time(id, when, place)
        case WaitForEvent():
            yield from _misfits_of_event(node, place)
        case Sleep() | Code():
            pass
        case _:
            assert_never(node)


def _misfit_of_step(step: AnyStep, place: _Place) -> Problems:
    return place.refuse(f"step {step.id!r}", _taken(step))


def _misfits_of_join(node: Join, place: _Place) -> Problems:
    if fits(place.flows, tuple) is False:
        gives = f"{place.giver} gives {describe(place.flows)}"
        yield DefinitionError(f"join {node.id!r} takes apart a tuple but {gives}; use .map()")
    parts = get_args(place.flows) if get_origin(place.flows) is tuple else (...,)
    if ... in parts or not is_function(node.function):  # of any length
        return
    if not can_be_called(node.function, len(parts)):
        yield from _misfit_of_parameters(node.function, len(parts), place.giver)
        return
    for part, takes in zip(parts, annotations_of(node.function)[0], strict=False):
        if fits(part, takes) is False:
            what = f"takes {describe(takes)} but {place.giver} gives {describe(part)}"
            yield DefinitionError(f"join {node.id!r} {what}; make them agree")


def _misfit_of_parameters(function: Callable[..., object], values: int, giver: str) -> Problems:
    count = count_parameters(function)
    if count == values:  # it takes others by keyword: see check_function
        return
    takes = f"join's function takes {count} parameter{'' if count == 1 else 's'}"
    several = "a parameter" if abs(values - count) == 1 else f"{abs(values - count)} parameters"
    verb = "add" if values > count else "remove"
    yield DefinitionError(f"{takes} but {giver} gives {values} values; {verb} {several}")


def _missing_fields(node: Into, place: _Place) -> Problems:
    required = [name for name, field in (fields_of(node.schema) or {}).items() if field.required]
    for member in members_of(place.flows):
        given = fields_of(member)
        for name in required:
            if given is not None and name not in given:
                what = f"into({describe(node.schema)}) {place.after}: {describe(member)} has no field {name!r}"
                yield DefinitionError(f"{what}; use .map()")


def _misfits_of_branch(node: Branch, place: _Place) -> Problems:
    for arm in node.arms:
        yield from _misfit_of_condition("arm", arm.step.id, arm.condition, place.flows)
        yield from _misfit_of_step(arm.step, place)
    if node.otherwise is not None:
        yield from _misfit_of_step(node.otherwise, place)


def _misfits_of_match(node: Match, place: _Place) -> Problems:
    earlier: dict[type[object], str] = {}
    for case in node.cases:
        takes = _taken(case)
        classes = classes_of(takes) if is_known(case) else ()
        if classes is None:
            what = f"takes {describe(takes)}, which cannot be told apart at run time"
            by_value = any(get_origin(member) is Literal for member in members_of(takes))
            yield DefinitionError(f"case {case.id!r} {what}; {'use .branch()' if by_value else 'wrap it in a model'}")
            classes = ()
        yield from _hidden(case, classes, earlier)
        earlier |= dict.fromkeys(classes, case.id) | earlier  # the first case that takes it
    if node.otherwise is not None:
        yield from _misfit_of_step(node.otherwise, place)
    else:
        yield from _left_over(node, place.flows)


def _hidden(case: AnyStep, classes: tuple[type[object], ...], earlier: dict[type[object], str]) -> Problems:
    takers = [first for cls in classes for taken, first in earlier.items() if issubclass(cls, taken)]
    if not classes or not all(any(issubclass(cls, taken) for taken in earlier) for cls in classes):
        return
    again = all(cls in earlier for cls in classes)
    cure = "leave it out" if again else "put the subclass first"
    yield DefinitionError(f"case {case.id!r} can never be reached after case {takers[0]!r}; {cure}")


def _left_over(node: Match, flows: object) -> Problems:
    """Members of what flows in that no case takes; static checkers say so too."""
    takes = [_taken(case) for case in node.cases]
    for member in _alternatives(flows):
        if all(fits(member, taken) is False for taken in takes):
            cases = ", ".join(repr(case.id) for case in node.cases)
            yield DefinitionError(f"none of the cases {cases} takes {describe(member)}; add a case or .otherwise(step)")


def _alternatives(flows: object) -> Iterator[object]:
    """The members of a union, and of a Literal, which is one of values."""
    for member in members_of(flows):
        if get_origin(member) is Literal:
            yield from (cast("Any", Literal)[value] for value in get_args(member))
        else:
            yield member


def _misfits_of_loop(node: Loop, place: _Place) -> Problems:
    takes, gives = _taken(node.step), _given(node.step)
    yield from _misfit_of_step(node.step, place)
    if fits(gives, takes) is False:
        what = f"takes {describe(takes)} but gets its own output, which is {describe(gives)}"
        yield DefinitionError(f"loop {node.id!r} {what}; make it take both")
    yield from _misfit_of_condition("loop", node.id, node.condition, gives)


def _misfit_of_condition(kind: ConditionKind, id: str, condition: Callable[[Any], object], gets: object) -> Problems:
    takes = taken_by(condition)
    if fits(gets, takes) is False:
        what = f"takes {describe(takes)} but gets {describe(gets)}"
        yield DefinitionError(f"{condition_of(kind, id)} {what}; make them agree")


def _misfits_of_time(id: str, when: object, place: _Place) -> Problems:
    if not callable(when):
        return
    yield from place.refuse(f"sleep_until {id!r}", taken_by(when))
    gives = annotations_of(when)[1]
    if fits(gives, datetime) is False:
        what = f"needs a datetime but its function gives {describe(gives)}"
        yield DefinitionError(f"sleep_until {id!r} {what}; return a timezone-aware one")


def _misfits_of_event(node: WaitForEvent, place: _Place) -> Problems:
    if node.function is None:
        return
    yield from place.refuse(f"join_event {node.id!r}", taken_by(node.function))
    takes = taken_by(node.function, 1)
    if fits(node.event.schema, takes) is False:
        what = f"takes {describe(takes)} but event {node.event.name!r} brings {describe(node.event.schema)}"
        yield DefinitionError(f"join_event {node.id!r} {what}; make them agree")


# ------------------------------------------------------------------ what a node gives
def given_by(node: Node, flows: object, given: Callable[[AnyStep], object] | None = None) -> object:
    """What flows out of a node that ``flows`` flows into; ``given`` tells what a step gives, if not its schema."""
    of_step = given or _given
    match node:
        case Then(step=step) | Loop(step=step):
            return of_step(step)
        case Map(function=function) | MapContextual(function=function) | Join(function=function):
            return annotations_of(function)[1]
        case Into(schema=schema):
            return schema
        case Parallel(steps=steps, gives="tuple"):
            return cast("Any", tuple)[tuple(of_step(step) for step in steps)]
        case Parallel(steps=steps):
            return _list_of(union_of(*(of_step(step) for step in steps)))
        case Branch(arms=arms, otherwise=otherwise):
            last = flows if otherwise is None else of_step(otherwise)
            return union_of(*(of_step(arm.step) for arm in arms), last)
        case Match(cases=cases, otherwise=otherwise):
            steps = cases if otherwise is None else (*cases, otherwise)
            return union_of(*(of_step(step) for step in steps))
        case Foreach(step=step):
            return _list_of(of_step(step))
        case Sleep() | SleepUntil():
            return flows
        case WaitForEvent(event=event, function=function):
            return event.schema if function is None else annotations_of(function)[1]
        case Code():
            return UNKNOWN
        case _:
            assert_never(node)


def _taken(step: AnyStep) -> object:
    return step.input_schema if is_known(step) else UNKNOWN


def _given(step: AnyStep) -> object:
    return step.output_schema if is_known(step) else UNKNOWN


def _list_of(form: object) -> object:
    return cast("Any", list)[form]
