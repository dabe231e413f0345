"""Whether a value that was read back is the one that was written, and if not, where it differs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias, cast

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

_MOST_TEXT = 80  # characters of a value in a message

_SECRETS: tuple[type[object], ...] = (SecretStr, SecretBytes, Secret)

Anything: TypeAlias = Any  # values are compared by what they turn out to be
Part: TypeAlias = tuple[str, Anything, Anything]
"""A field, entry or item that two values both have: its name, and what it is in either."""


def survives(before: Anything, after: Anything) -> bool:
    """Whether ``after``, which was read back, is ``before`` again: equal, and of the same class at every level.

    A subclass that adds nothing survives as its declared class, an int as a float (PEP 484), NaN as NaN.  Numbers
    inside of equal containers are not looked at one by one: a Decimal in a ``list[float]`` comes back as the float it
    equals.
    """
    if type(before) is type(after) and before == after:
        return True
    parts = _parts(before, after)
    if parts is None:
        return _plain_survives(before, after)
    return _shape(before) == _shape(after) and all(survives(left, right) for _, left, right in parts)


def identical(before: Anything, after: Anything) -> bool:
    """Whether the two are equal, and of the very same class at every level."""
    if type(before) is not type(after):
        return False
    if isinstance(before, set | frozenset):
        was, found = cast("set[Anything]", before), cast("set[Anything]", after)
        return was == found and {*map(_class_of, was)} == {*map(_class_of, found)}
    parts = _parts(before, after)
    if parts is None or not parts:
        return bool(before == after)
    return _shape(before) == _shape(after) and all(identical(left, right) for _, left, right in parts)


def first_loss(before: Anything, after: Anything, path: str = "") -> tuple[str, str]:
    """Where, for a reader, the two begin to differ: ``x is nan, and comes back as None``; and what to do."""
    for name, left, right in _parts(before, after) or ():
        if not survives(left, right):
            return first_loss(left, right, f"{path}.{name}" if path else name)
    if isinstance(before, _SECRETS):
        cure = "pass the name of the secret, and read it in the step that needs it"
        return f"{path or 'it'} is a {type(before).__name__}, of which only asterisks are written", cure
    was, comes = (repr(value)[:_MOST_TEXT] for value in (before, after))
    if was == comes:
        was, comes = type(before).__name__, type(after).__name__
    return f"{path or 'it'} is {was}, and comes back as {comes}", "declare a type that keeps it"


def _parts(before: Anything, after: Anything) -> list[Part] | None:
    """What two values of one kind are made of; None when they are plain, or of different kinds."""
    declared = _class_of(after)
    if not isinstance(before, declared):
        return None
    if issubclass(declared, BaseModel):
        return [*_entries(before.__dict__, after.__dict__), *_entries(_extra(before), _extra(after))]
    if is_dataclass(declared):
        return [(field.name, getattr(before, field.name), getattr(after, field.name)) for field in fields(declared)]
    if type(before) is not declared:
        return None
    if issubclass(declared, Mapping):
        return _entries(before, after)
    if issubclass(declared, list | tuple):
        return [(str(index), *pair) for index, pair in enumerate(zip(before, after, strict=False))]
    return None


def _entries(before: Mapping[Any, Anything], after: Mapping[Any, Anything]) -> list[Part]:
    return [(str(name), value, after[name]) for name, value in before.items() if name in after]


def _shape(value: Anything) -> object:
    """What must be the same for the parts to be all there is: names of fields, keys, or a length."""
    kind = _class_of(value)
    if issubclass(kind, BaseModel):
        return {*value.__dict__, *_extra(value)}
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    return value.keys() if issubclass(kind, Mapping) else len(value)


def _class_of(value: Anything) -> Anything:
    return cast("Anything", type(value))


def _extra(model: BaseModel) -> dict[str, Anything]:
    return model.__pydantic_extra__ or {}


def _plain_survives(before: Anything, after: Anything) -> bool:
    if isinstance(after, float) and not isinstance(before, bool):
        both_nan = isinstance(before, float) and math.isnan(before) and math.isnan(after)
        return both_nan or (isinstance(before, int | float) and before == after)
    # A subclass of a plain value, such as a StrEnum where a str is declared.
    return isinstance(after, str | int | bytes) and isinstance(before, type(after)) and before == after
