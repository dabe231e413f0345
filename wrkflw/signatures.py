"""The parameters and annotations of any function, as far as they can be known: nothing here insists or raises."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from enum import EnumType
from functools import partial
from types import MethodType, SimpleNamespace
from typing import Any, ParamSpec, Self, TypeVar, TypeVarTuple, cast, get_args, get_type_hints

if sys.version_info >= (3, 14):
    import annotationlib

ANYTHING = inspect.Signature(
    [
        inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    ]
)
"""The signature of what does not tell its own, such as some functions written in C."""


def signature_of(function: Callable[..., object]) -> inspect.Signature:
    """How ``function`` is called."""
    return _own_signature(speaker_of(function)) or ANYTHING


def speaker_of(function: Callable[..., object]) -> Callable[..., object]:
    """Who says how ``function`` is called: it does itself; or what it wraps does, if it hands on whatever it is given.

    What ``functools.wraps`` was given is not asked otherwise: a wrapper may add a parameter, or fill one in.
    """
    if isinstance(function, partial):
        held = cast("partial[object]", function)
        return partial(speaker_of(held.func), *held.args, **held.keywords)
    if isinstance(function, MethodType):
        return MethodType(speaker_of(function.__func__), function.__self__)
    speaker: Callable[..., object] = inspect.unwrap(
        function, stop=lambda each: not _takes_whatever(_own_signature(each) or ANYTHING)
    )
    return speaker


def _own_signature(function: Callable[..., object]) -> inspect.Signature | None:
    try:
        if sys.version_info >= (3, 14):  # it would look up the annotations, and not find what is defined further down
            format = annotationlib.Format.FORWARDREF
            return inspect.signature(function, follow_wrapped=False, annotation_format=format)
        return inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return None


def _takes_whatever(signature: inspect.Signature) -> bool:
    return any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in signature.parameters.values())


def leaves_open(form: object) -> bool:
    """Whether a form holds what only a call decides: a type variable, or Self."""
    return form is Self or isinstance(form, _VARIABLES) or any(leaves_open(part) for part in get_args(form))


_VARIABLES = (TypeVar, ParamSpec, TypeVarTuple)


def plain_function(function: Callable[..., object]) -> Callable[..., object]:
    """The function that holds the annotations: inside a partial, the ``__call__`` of an object, a class's init."""
    while isinstance(function, partial):
        function = cast("partial[object]", function).func
    if isinstance(function, type):
        return cast("Callable[..., object]", cast("Any", function).__init__)
    return function if inspect.isroutine(function) else type(function).__call__


def hints_of(function: Callable[..., object], names: Mapping[str, Any] | None = None) -> Mapping[str, object]:
    """The types of the parameters and of what is returned, without those that cannot be found.

    ``names`` are what annotations may name beside what the module of the function has.
    """
    try:
        return all_hints_of(function, names)
    except Exception:  # noqa: BLE001  # an annotation may be any expression
        plain = plain_function(function)
        found = {name: form for name, text in _annotations(plain) for form in _looked_up(plain, text, names)}
        return _with_itself(function, found)


def all_hints_of(function: Callable[..., object], names: Mapping[str, Any] | None = None) -> Mapping[str, object]:
    """As :func:`hints_of`; raises NameError where one cannot be found, and whatever an expression may raise."""
    plain = plain_function(function)
    hints = get_type_hints(plain, localns=None if names is None else dict(names), include_extras=True)
    bound: object = getattr(plain, "__self__", None)
    owner = bound if isinstance(bound, type) else type(bound)
    return _with_itself(function, {name: owner if form is Self else form for name, form in hints.items()})


def _with_itself(function: Callable[..., object], hints: dict[str, object]) -> Mapping[str, object]:
    """A class takes what its init does, and gives itself, unless it has none or its own class says what is done."""
    while isinstance(function, partial):
        function = cast("partial[object]", function).func
    is_plain = isinstance(function, EnumType) or (isinstance(function, type) and _is_called_plainly(function))
    return {**hints, "return": function} if is_plain else hints


def _is_called_plainly(owner: type[Any]) -> bool:
    return type(owner).__call__ is type.__call__ and owner.__init__ is not object.__init__


def _annotations(plain: Callable[..., object]) -> list[tuple[str, object]]:
    if sys.version_info >= (3, 14):
        return list(annotationlib.get_annotations(plain, format=annotationlib.Format.FORWARDREF).items())
    return list(getattr(plain, "__annotations__", {}).items())


def _looked_up(plain: Callable[..., object], annotation: object, more_names: Mapping[str, Any] | None) -> list[object]:
    names: dict[str, Any] = getattr(inspect.unwrap(plain), "__globals__", {})
    alone: Any = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return [get_type_hints(alone, names, dict(more_names or {}), include_extras=True)["it"]]
    except Exception:  # noqa: BLE001
        return []
