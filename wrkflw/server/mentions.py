"""Steps and events by their names: those of a graph, and those that the code of a program speaks of."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from types import CellType, CodeType, FunctionType
from typing import Any, TypeVar

from wrkflw.engine.definition import AnyStep, Definition
from wrkflw.engine.keys import id_of, scope_of
from wrkflw.errors import InvalidValueError, UnknownEventError, UnknownStepError
from wrkflw.events import Event
from wrkflw.graph import Code, WaitForEvent
from wrkflw.schemas import schema_of
from wrkflw.signatures import plain_function
from wrkflw.steps import Step

T = TypeVar("T")


def event_of(definition: Definition, name: str, declared: Mapping[str, Event[Any]]) -> Event[Any]:
    """The event of this name.

    A program waits for whatever it likes: its events are those that its function names, and ``declared``.

    Raises:
        UnknownEventError: the workflow waits for no such event, as far as anybody can tell.
    """
    known = {event.name: event for event in events_of(definition)}
    if definition.has_code:
        known = {**declared, **known}
    if name not in known:
        raise UnknownEventError(definition.id, name, sorted(known))
    return known[name]


def events_of(definition: Definition) -> Iterator[Event[Any]]:
    """Those that the workflow, or one nested in it, is seen to wait for."""
    for node in definition.nodes:
        if isinstance(node, WaitForEvent):
            yield node.event
        elif isinstance(node, Code):
            yield from _named(node, Event)
    for step in definition.steps.values():
        if step.kind == "workflow":
            yield from events_of(definition.nested(step))


def step_at(definition: Definition, key: str) -> AnyStep:
    """The step that is called at ``key``, or that has this id.

    Raises:
        UnknownStepError: there is none, or only a program knows it, under a name that its function does not say.
    """
    inner, id = definition.within(scope_of(key)), id_of(key)
    if inner is not None and id in inner.steps:
        return inner.steps[id]
    programs = [definition] if inner is None else [inner, definition]
    for node in (node for one in programs for node in one.nodes if isinstance(node, Code)):
        kind: type[AnyStep] = Step
        for step in _named(node, kind):
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
    """What of a kind the function of a program names, in its module or around it."""
    function = inspect.unwrap(plain_function(code.written))
    if not isinstance(function, FunctionType):
        return
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    around = dict(function.__globals__)
    around |= {name: cell.cell_contents for name, cell in cells if cell != _EMPTY}
    for name in dict.fromkeys(_names(function.__code__)):
        if isinstance(value := around.get(name), kind):
            yield value


_EMPTY = CellType()
"""Of a variable that nothing was assigned to yet."""


def _names(code: CodeType) -> Iterator[str]:
    """Those that are looked up outside of a function, and of the functions in it."""
    yield from (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
