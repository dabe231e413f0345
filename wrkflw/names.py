"""Names: the ids people give, the names of their types in messages, and of the options they pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import EllipsisType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from .errors import DefinitionError
from .suggestions import did_you_mean

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def check_id(kind: str, value: str) -> str:
    """``value``, when it may be the id of a ``kind`` ('step', 'workflow', 'event').

    Keys are written with ``/``, ``#``, ``[`` and ``]``, so ids hold none of these.

    Raises:
        DefinitionError: it is not 1 to 128 of letters, digits, ``.``, ``_`` and ``-``.
    """
    if _is_id(value):
        return value
    article = "an" if kind[0] in "aeiou" else "a"
    raise DefinitionError(
        f"{value!r} cannot be {article} {kind} id; use letters, digits, '.', '_' and '-', at most 128"
    )


def id_of_function(function: Callable[..., object]) -> str:
    """The id a function gives to its step: ``fetch_user`` is ``fetch-user``.

    Raises:
        DefinitionError: it has no name of its own.
    """
    name = getattr(function, "__name__", None)
    if name == "<lambda>":
        raise DefinitionError("a lambda has no name to make an id of; pass id='...'")
    if not isinstance(name, str):
        raise DefinitionError(f"a {type(function).__name__} has no name to make an id of; pass id='...'")
    return name.replace("_", "-")


def _is_id(value: object) -> bool:  # of any object: not all callers are typed
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def describe(form: object) -> str:
    """A type form as a person writes it: ``Letter``, ``list[int]``, ``A | B``, ``None``."""
    if form is None or form is NoneType:
        return "None"
    if isinstance(form, EllipsisType):
        return "..."
    origin, arguments = get_origin(form), get_args(form)
    if origin is Annotated:
        return describe(arguments[0])
    if origin is Union or isinstance(form, UnionType):
        return " | ".join(describe(member) for member in arguments)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is not None and arguments:
        return f"{describe(origin)}[{', '.join(map(describe, arguments))}]"
    if isinstance(form, list):  # the parameters of a Callable
        return f"[{', '.join(map(describe, cast('list[object]', form)))}]"
    if isinstance(form, str):
        return form
    name: object = getattr(form, "__name__", None)
    return name if isinstance(name, str) else repr(form).removeprefix("typing.")


def check_options(given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse options nobody knows.

    Raises:
        TypeError: naming the first unknown one, and what may have been meant.
    """
    known = list(known)
    for option in given:
        if option not in known:
            raise TypeError(f"unknown option {option!r}{did_you_mean(option, known)}")
