"""The parameters and annotations of any function, as far as they can be known: nothing here insists or raises."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, cast, get_type_hints

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
    try:
        if sys.version_info >= (3, 14):  # it would look up the annotations, and not find what is defined further down
            return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
        return inspect.signature(function)
    except (TypeError, ValueError):
        return ANYTHING


def plain_function(function: Callable[..., object]) -> Callable[..., object]:
    """The function that holds the annotations: inside a partial, the ``__call__`` of an object, a class's init."""
    while isinstance(function, partial):
        function = cast("partial[object]", function).func
    if isinstance(function, type):
        return cast("Callable[..., object]", cast("Any", function).__init__)
    return function if inspect.isroutine(function) else type(function).__call__


def hints_of(function: Callable[..., object]) -> Mapping[str, object]:
    """The types of the parameters and of what is returned, without those that cannot be found."""
    plain = plain_function(function)
    try:
        return get_type_hints(plain, include_extras=True)
    except Exception:  # noqa: BLE001  # an annotation may be any expression
        return {name: form for name, text in _annotations(plain) for form in _looked_up(plain, text)}


def _annotations(plain: Callable[..., object]) -> list[tuple[str, object]]:
    if sys.version_info >= (3, 14):
        return list(annotationlib.get_annotations(plain, format=annotationlib.Format.FORWARDREF).items())
    return list(getattr(plain, "__annotations__", {}).items())


def _looked_up(plain: Callable[..., object], annotation: object) -> list[object]:
    names: dict[str, Any] = getattr(inspect.unwrap(plain), "__globals__", {})
    alone: Any = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return [get_type_hints(alone, names, include_extras=True)["it"]]
    except Exception:  # noqa: BLE001
        return []
