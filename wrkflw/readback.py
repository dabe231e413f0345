"""Whether a value that was read back is the one that was written, and if not, where it differs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeAlias, cast

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

_MOST_TEXT = 80  # characters of a value in a message

_SECRETS: tuple[type[object], ...] = (SecretStr, SecretBytes, Secret)
_SEQUENCES = (list, tuple, deque)
_SETS = (set, frozenset)
_CONTAINERS = frozenset((*_SEQUENCES, *_SETS))

Anything: TypeAlias = Any  # values are compared by what they turn out to be
Parts: TypeAlias = Mapping[Any, Anything]
"""The fields, entries or items of a value by their names: keys, or positions."""


def survives(before: Anything, after: Anything) -> bool:
    """Whether ``after``, which was read back, is ``before`` again: equal, and of the same class at every level.

    What is made of parts is compared by these, private ones too: its own ``==`` may leave some out.  A subclass that
    adds nothing survives as its declared class, a generic model as one of its own with arguments, an int as a float
    (PEP 484), NaN as NaN.  Numbers inside of equal containers are not looked at one by one: a Decimal in a
    ``list[float]`` comes back as the float it equals.
    """
    if type(before) is type(after) and _is_made_of_plain_values(before) and before == after:
        return True
    parts = _parts(before, after)
    if parts is None:
        return _plain_survives(before, after)
    was, found = parts
    if was.keys() != found.keys():
        return False
    if _are_plain(was.values()) and was == found:
        return True
    return all(survives(value, found[name]) for name, value in was.items())


def is_told_by_equality(schema: object) -> bool:
    """Whether ``==`` of the values of a core schema looks at all there is of them: then it is the faster way."""
    if isinstance(schema, dict):
        node = cast("dict[str, object]", schema)
        return _compares_all(node.get("cls")) and all(map(is_told_by_equality, node.values()))
    if isinstance(schema, list | tuple):
        return all(map(is_told_by_equality, cast("list[object] | tuple[object, ...]", schema)))
    return True


def identical(before: Anything, after: Anything) -> bool:
    """Whether the two are equal, and of the very same class at every level."""
    if type(before) is not type(after):
        return False
    parts = _parts(before, after)
    if parts is None:
        return bool(before == after)
    was, found = parts
    return was.keys() == found.keys() and all(identical(value, found[name]) for name, value in was.items())


def is_one_class(before: object, after: object) -> bool:
    """Whether they are of one class, with or without arguments: those of a generic model make a class of their own."""
    return _without_arguments(_class_of(before)) is _without_arguments(_class_of(after))


def first_loss(before: Anything, after: Anything, path: str = "") -> tuple[str, str]:
    """Where, for a reader, the two begin to differ: ``x is nan, and comes back as None``; and what to do."""
    was, found = _parts(before, after) or ({}, {})
    for name, value in was.items():
        if name in found and not survives(value, found[name]):
            return first_loss(value, found[name], f"{path}.{name}" if path else str(name))
    if isinstance(before, _SECRETS):
        cure = "pass the name of the secret, and read it in the step that needs it"
        return f"{path or 'it'} is a {type(before).__name__}, of which only asterisks are written", cure
    given, comes = (repr(value)[:_MOST_TEXT] for value in (before, after))
    if given == comes:
        given, comes = type(before).__name__, type(after).__name__
    cure = "declare a type that keeps it"
    if path.rpartition(".")[2].startswith("_"):
        cure = "make it a field, or a cached_property if it can be made anew"
    return f"{path or 'it'} is {given}, and comes back as {comes}", cure


def _compares_all(cls: Anything) -> bool:
    if isinstance(cls, type) and issubclass(cast("Anything", cls), BaseModel):
        equality: object = cls.__eq__
        return equality is BaseModel.__eq__ or equality is _equality_of_root_models()
    if not is_dataclass(cls):
        return True
    compares = getattr(cls.__eq__, "__code__", None)
    is_made = compares is not None and compares.co_filename == "<string>"  # by dataclasses, and not by hand
    return is_made and all(field.compare for field in fields(cls))


def _equality_of_root_models() -> object:
    from pydantic import RootModel  # noqa: PLC0415  # which is made when it is asked for, and 30 ms of an import

    return cast("Any", RootModel).__eq__


def _is_made_of_plain_values(value: Anything) -> bool:
    """Whether it is plain, or a container of what is."""
    kind = _class_of(value)
    if kind is dict:
        return _are_plain(value.values())
    return _are_plain(value) if kind in _CONTAINERS else _opener(kind) is None


def _are_plain(values: Iterable[Anything]) -> bool:
    return all(_opener(kind) is None for kind in {*map(_class_of, values)})


def _parts(before: Anything, after: Anything) -> tuple[Parts, Parts] | None:
    """What two values of one kind are made of; None when they are plain, or of different kinds."""
    kind, declared = _class_of(before), _without_arguments(_class_of(after))
    if kind is not declared and not (_has_fields(declared) and isinstance(before, declared)):
        return None
    open_before, open_after = _opener(kind), _opener(declared)
    return None if open_before is None or open_after is None else (open_before(before), open_after(after))


@lru_cache(maxsize=1000)
def _opener(kind: Anything) -> Callable[[Anything], Parts] | None:
    """What tells the parts of the values of a class; None when they have none."""
    if issubclass(kind, BaseModel):
        return _parts_of_model
    if is_dataclass(kind):
        names = [field.name for field in fields(kind)]
        return lambda value: {name: getattr(value, name) for name in names}
    if issubclass(kind, Mapping):
        return lambda value: value
    if issubclass(kind, _SEQUENCES):
        return _parts_of_sequence
    if issubclass(kind, _SETS):
        return lambda value: {one: one for one in value}
    return None


def _parts_of_sequence(values: Iterable[Anything]) -> Parts:
    return dict(enumerate(values))


def _parts_of_model(model: BaseModel) -> Parts:
    known = model.__dict__  # and properties that were cached
    named = {name: known[name] for name in type(model).__pydantic_fields__ if name in known}
    private: Parts = getattr(model, "__pydantic_private__", None) or {}
    held = {name: value for name, value in private.items() if not (value is None or _is_a_thing(_class_of(value)))}
    return {**named, **(model.__pydantic_extra__ or {}), **held}


@lru_cache(maxsize=1000)
def _is_a_thing(kind: Anything) -> bool:
    """Whether it is no value, but a lock, a client, a logger: equal to itself alone."""
    return kind.__eq__ is object.__eq__


@lru_cache(maxsize=1000)
def _has_fields(kind: Anything) -> bool:
    return issubclass(kind, BaseModel) or is_dataclass(kind)


@lru_cache(maxsize=1000)
def _without_arguments(kind: Anything) -> Anything:
    """``Box`` of ``Box[int]``, which pydantic makes a class of its own."""
    made_of: Parts = getattr(kind, "__pydantic_generic_metadata__", None) or {}
    return made_of.get("origin") or kind


def _class_of(value: Anything) -> Anything:
    return cast("Anything", type(value))


def _plain_survives(before: Anything, after: Anything) -> bool:
    if isinstance(after, float) and not isinstance(before, bool):
        both_nan = isinstance(before, float) and math.isnan(before) and math.isnan(after)
        return both_nan or (isinstance(before, int | float) and before == after)
    # A subclass of a plain value, such as a StrEnum where a str is declared.
    return isinstance(after, str | int | bytes) and isinstance(before, type(after)) and before == after
