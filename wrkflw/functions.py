"""The plain functions around steps: maps, conditions and what makes inputs; what a definition can know of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

from .errors import DefinitionError
from .errors.nodes import ConditionKind, condition_of
from .forms import fits
from .graph import Branch, Graph, Join, Loop, Map, MapContextual, Node, SleepUntil, WaitForEvent
from .names import describe
from .signatures import hints_of, signature_of, speaker_of

UNKNOWN = Any  # the type of what flows on, where no annotation tells it


@dataclass(frozen=True)
class PlainFunction:
    """A function of the user's that runs between steps, or makes the input of a run.

    ``name`` is what messages call it; ``gets`` is what it is called with, in words, of ``values`` parts; a join's
    is not known before it is known what flows in.
    """

    name: str
    kind: Literal["map", "condition", "input", "answer"]
    function: object
    gets: str = "one value"
    values: int | None = 1


_GIVES = {
    "map": "a map gives one value, return a list",
    "condition": "return True or False",
    "input": "an input is one value, return it",
    "answer": "an answer is one value, return it",
}


def functions_of(graph: Graph) -> Iterator[PlainFunction]:
    """All that a workflow holds, in order; not those inside a nested workflow."""
    for node in graph.nodes:
        yield from _functions_of(node)
    for step in graph.steps.values():
        for guard in step.guards:
            yield _condition("only_if", step.id, guard)


def check_function(plain: PlainFunction) -> Iterator[DefinitionError]:
    """It is plain, and can be called with what it gets."""
    function = plain.function
    if not callable(function):
        yield DefinitionError(f"{plain.name} is {function!r}; pass a function")
    elif _any_is(inspect.iscoroutinefunction, function):
        work = {"input": "the first step", "answer": "the step that it answers"}.get(plain.kind, "a step before")
        cure = f"{plain.kind}s are plain functions, do the work in {work}"
        yield DefinitionError(f"{plain.name} is async; {cure}")
    elif _any_is(inspect.isgeneratorfunction, function) or _any_is(inspect.isasyncgenfunction, function):
        yield DefinitionError(f"{plain.name} is a generator; {_GIVES[plain.kind]}")
    elif keyword := _required_keyword(function):
        yield DefinitionError(f"{plain.name} takes {keyword!r} by keyword, which nobody passes; give it a default")
    elif plain.values is not None and not can_be_called(function, plain.values):
        yield DefinitionError(f"{plain.name} takes {_parameters(function)} but gets {plain.gets}; {_cure(plain)}")
    elif plain.kind == "condition" and fits(annotations_of(function)[1], bool) is False:
        gives = describe(annotations_of(function)[1])
        yield DefinitionError(f"{plain.name} gives {gives}, not a bool; compare explicitly")


def annotations_of(function: Callable[..., object]) -> tuple[tuple[object, ...], object]:
    """What its parameters take, and what it gives; unknown where it has no annotation, or one that cannot be found."""
    hints = hints_of(speaker_of(function))
    takes = tuple(hints.get(name, UNKNOWN) for name in signature_of(function).parameters)
    # A class takes what its __init__ does, and gives itself.
    return takes, function if isinstance(function, type) else hints.get("return", UNKNOWN)


def taken_by(function: Callable[..., object], position: int = 0) -> object:
    """What the parameter at a position takes."""
    takes = annotations_of(function)[0]
    return takes[position] if position < len(takes) else UNKNOWN


def is_function(value: object) -> bool:
    """Whether it can be called at all: not all callers are typed."""
    return callable(value)


def can_be_called(function: Callable[..., object], values: int) -> bool:
    """Whether it can be called with so many values; True when it does not tell."""
    try:
        signature_of(function).bind(*range(values))
    except TypeError:
        return False
    return True


def count_parameters(function: Callable[..., object]) -> int:
    """How many values it takes."""
    return sum(parameter.kind is not parameter.KEYWORD_ONLY for parameter in signature_of(function).parameters.values())


def _functions_of(node: Node) -> Iterator[PlainFunction]:
    match node:
        case Map(id=id, function=function):
            yield PlainFunction(f"map {id!r}", "map", function)
        case MapContextual(id=id, function=function):
            yield PlainFunction(f"map {id!r}", "map", function, "a value and a context", 2)
        case Join(id=id, function=function):
            yield PlainFunction(f"join {id!r}", "map", function, values=None)
        case SleepUntil(id=id, when=when) if callable(when):
            yield PlainFunction(f"sleep_until {id!r}", "map", when)
        case WaitForEvent(id=id, function=function) if function is not None:
            yield PlainFunction(f"join_event {id!r}", "map", function, "what flows in and the payload", 2)
        case Branch(arms=arms):
            for arm in arms:
                yield _condition("arm", arm.step.id, arm.condition)
        case Loop(id=id, condition=condition):
            yield _condition("loop", id, condition)
        case _:
            pass


def _condition(kind: ConditionKind, node: str, function: object) -> PlainFunction:
    return PlainFunction(condition_of(kind, node), "condition", function)


def _any_is(asked: Callable[[object], bool], function: Callable[..., object]) -> bool:
    """Of a function, of what a partial holds, or of the ``__call__`` of an object."""
    while isinstance(function, partial):
        function = cast("partial[object]", function).func
    call: object = None if inspect.isroutine(function) or isinstance(function, type) else type(function).__call__
    return asked(function) or asked(call)


def _required_keyword(function: Callable[..., object]) -> str | None:
    for name, parameter in signature_of(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            return name
    return None


def _parameters(function: Callable[..., object]) -> str:
    count = count_parameters(function)
    return f"{count} parameter{'' if count == 1 else 's'}"


def _cure(plain: PlainFunction) -> str:
    if plain.name.startswith("map") and callable(plain.function):
        count = count_parameters(plain.function)
        if (plain.values, count) == (1, 2):
            return "use .map_ctx() for a context"
        if (plain.values, count) == (2, 1):
            return "use .map() without a context"
    return "take one parameter" if plain.values == 1 else "take two parameters"
