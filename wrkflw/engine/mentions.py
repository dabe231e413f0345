"""Steps and events by their names: those of a graph, and those that the code of a program speaks of."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain
from types import CellType, CodeType, FunctionType
from typing import Any, NamedTuple, TypeVar, cast

from wrkflw.errors import InvalidValueError, UnknownEventError, UnknownStepError
from wrkflw.events import Event
from wrkflw.graph import Code, WaitForEvent
from wrkflw.schemas import schema_of
from wrkflw.signatures import plain_function
from wrkflw.steps import Step

from .definition import AnyStep, Definition
from .journal import Journal
from .keys import id_of, scope_of

T = TypeVar("T")


def event_of(definition: Definition, name: str, declared: Mapping[str, Event[Any]]) -> Event[Any]:
    """The event of this name.

    A program waits for whatever it likes: its events are ``declared``, and those that its function names.

    Raises:
        UnknownEventError: the workflow waits for no such event, as far as anybody can tell.
    """
    known = events_of(definition)
    if definition.has_code:
        known |= declared
    if name not in known:
        raise UnknownEventError(definition.id, name, sorted(known))
    return known[name]


def events_of(definition: Definition) -> dict[str, Event[Any]]:
    """Those that the workflow, or one nested in it, is seen to wait for: of several of one name the nearest."""
    found: dict[str, Event[Any]] = {}
    for event in _events(definition):
        found.setdefault(event.name, event)
    return found


def _events(definition: Definition) -> Iterator[Event[Any]]:
    for node in definition.nodes:
        if isinstance(node, WaitForEvent):
            yield node.event
        elif isinstance(node, Code):
            yield from _named(node, Event)
    for step in definition.steps.values():
        if step.kind == "workflow":
            yield from _events(definition.nested(step))


class Call(NamedTuple):
    """The step that somebody means, and the key of the call, where it is that which they named."""

    step: AnyStep
    at: str | None


def call_at(definition: Definition, journal: Journal, mention: str, declared: Mapping[str, AnyStep]) -> Call:
    """What is meant by the key of a call in this run, or by the id of a step.  Raises as :func:`step_at` does."""
    record = journal.records.get(mention)
    step = step_at(definition, mention, declared, None if record is None else record.name)
    return Call(step, None if mention == step.id else mention)


def step_at(
    definition: Definition, key: str, declared: Mapping[str, AnyStep], recorded_id: str | None = None
) -> AnyStep:
    """The step that is called at ``key``, or that has this id; ``recorded_id`` where a program called it otherwise.

    A program calls whatever it likes: its steps are those that its function names, ``declared``, and those that can be
    seen from there.

    Raises:
        UnknownStepError: there is none, as far as anybody can tell.
    """
    inner, id = definition.within(scope_of(key)), recorded_id or id_of(key)
    if inner is not None and id in inner.steps:
        return inner.steps[id]
    programs = [definition] if inner is None else [inner, definition]
    codes = [node for one in programs for node in one.nodes if isinstance(node, Code)]
    if codes:
        kind: type[AnyStep] = Step
        named = (step for code in codes for step in _named(code, kind))
        seen = (step for code in codes for step in _seen(code, kind))
        for step in chain(named, declared.values(), seen):
            if step.id == id:
                return step
    known = definition.steps if inner is None else inner.steps
    raise UnknownStepError(definition.id, id, known)


def output_from(definition: Definition, step: AnyStep, tree: object, what: str) -> object:
    """An output of the step that somebody wrote.

    Where it may be one of several types and does not say which, it is read as what the step promises.  Raises
    InvalidValueError.
    """
    try:
        return definition.stored_by(step).load_tree(tree, what)
    except InvalidValueError:
        return schema_of(step.stored_output_schema).load_tree(tree, what)


def _named(code: Code, kind: type[T]) -> Iterator[T]:
    """What of a kind the functions of a program name, in their modules or around them."""
    return (value for function in _functions(code) for value in _values(function) if isinstance(value, kind))


def _seen(code: Code, kind: type[T]) -> Iterator[T]:
    """What of a kind they could name: a table of steps, say, stands in the module of those."""
    modules: dict[int, dict[str, object]] = {}
    for function in _functions(code):
        yield from (value for value in _cells(function).values() if isinstance(value, kind))
        modules[id(function.__globals__)] = function.__globals__
    yield from (value for module in modules.values() for value in module.values() if isinstance(value, kind))


def _functions(code: Code) -> Iterator[FunctionType]:
    """The function of a program, and those of the same package that it names, and so on: the nearest first."""
    package = _package_of(code.written)
    found = set[FunctionType]()
    ahead = deque[object]([plain_function(code.written)])
    while ahead:
        function = inspect.unwrap(cast("Any", ahead.popleft()))
        if isinstance(function, FunctionType) and function not in found:
            found.add(function)
            yield function
            ahead += [one for one in _values(function) if isinstance(one, FunctionType) and _package_of(one) == package]


def _package_of(function: object) -> str:
    return str(getattr(function, "__module__", "")).partition(".")[0]


def _values(function: FunctionType) -> list[object]:
    """What a function names, and the functions in it."""
    cells, module = _cells(function), function.__globals__
    return [cells.get(name, module.get(name)) for name in dict.fromkeys(_names(function.__code__))]


def _cells(function: FunctionType) -> dict[str, object]:
    """What a function sees by name of the functions around it."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells if cell != _EMPTY}


_EMPTY = CellType()
"""Of a variable that nothing was assigned to yet."""


def _names(code: CodeType) -> Iterator[str]:
    """Those that are looked up outside of a function, and of the functions in it."""
    yield from (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
