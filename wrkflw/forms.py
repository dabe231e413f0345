"""Type forms at run time: whether a value of one fits where another is asked for, and what fields a form has.

Only as much of the type system as definitions need.  Where the answer is not certain it is ``None``, and the check
moves to run time, where there is a value to look at.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Never,
    NewType,
    NoReturn,
    NotRequired,
    Required,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import BaseModel
from typing_extensions import TypeAliasType, get_protocol_members, is_protocol, is_typeddict

if sys.version_info >= (3, 14):
    import annotationlib

# PEP 484's promotions
_WIDER_NUMBERS: dict[object, tuple[object, ...]] = {bool: (float, complex), int: (float, complex), float: (complex,)}


class Field(NamedTuple):
    """One field of a model, dataclass or TypedDict."""

    form: object
    required: bool


def fits(have: object, want: object) -> bool | None:
    """Whether every value of ``have`` may stand where ``want`` is asked for; ``None`` when that is not known here.

    Containers are taken as covariant: what flows between steps is a copy, so nobody can write into another's list.
    """
    have, want = _bare(have), _bare(want)
    if have is Any or want is Any or want is object or have is Never or have is NoReturn or have == want:
        return True
    if is_union(have):
        return _all(fits(member, want) for member in get_args(have))
    if is_union(want):
        return _any(fits(have, member) for member in get_args(want))
    if isinstance(have, NewType):
        return fits(have.__supertype__, want)
    if isinstance(want, NewType):
        return False if isinstance(_origin(have), type) else None
    if get_origin(have) is Literal:
        return _literal_fits(get_args(have), want)
    if get_origin(want) is Literal:
        return None if _has_few_values(have) else False
    have_class, want_class = _origin(have), _origin(want)
    if not isinstance(have_class, type) or not isinstance(want_class, type):
        return None
    return _class_fits(have, want, have_class, want_class)


def is_union(form: object) -> bool:
    """``A | B``, ``Union[A, B]`` or ``Optional[A]``."""
    return get_origin(form) is Union or isinstance(form, UnionType)


def union_of(*forms: object) -> object:
    """The union of some forms; unknown (``Any``) where one of them is, and the form itself where there is one."""
    return Any if any(form is Any for form in forms) else cast("Any", Union)[forms]


def members_of(form: object) -> tuple[object, ...]:
    """The members of a union, those of unions inside it too; of anything else the form itself."""
    form = _bare(form)
    return tuple(leaf for member in get_args(form) for leaf in members_of(member)) if is_union(form) else (form,)


def classes_of(form: object) -> tuple[type[object], ...] | None:
    """The classes that tell, by ``isinstance``, whether a value is of a form; ``None`` when no classes can."""
    classes: list[type[object]] = []
    for member in members_of(form):
        if not isinstance(member, type) or get_origin(member) is not None:
            return None
        if member is Any or is_typeddict(member) or is_protocol(member):
            return None
        classes.append(member)
    return tuple(classes)


def is_protocol_form(form: object) -> bool:
    """A Protocol, with or without arguments: pydantic cannot load one."""
    origin = _origin(_bare(form))
    return isinstance(origin, type) and is_protocol(origin)


def fields_of(form: object) -> dict[str, Field] | None:
    """The fields of a model, dataclass or TypedDict by name; ``None`` when it is none of these."""
    origin = _origin(_bare(form))
    if not isinstance(origin, type):
        return None
    owner: type[Any] = origin
    if issubclass(owner, BaseModel):
        return {name: Field(field.annotation, field.is_required()) for name, field in owner.model_fields.items()}
    if dataclasses.is_dataclass(owner):
        missing, hints = dataclasses.MISSING, hints_of_fields(owner)
        return {
            field.name: Field(hints.get(field.name, Any), field.default is missing and field.default_factory is missing)
            for field in dataclasses.fields(owner)
            if field.init
        }
    if is_typeddict(owner):
        return _fields_of_typed_dict(owner)
    return None


def hints_of_fields(owner: type[Any]) -> dict[str, object]:
    """The annotations of a dataclass or TypedDict, whole; without those in which a name is not found."""
    known = vars(owner).get("__pydantic_fields__")  # pydantic may have been told where local names are
    if known is not None:  # Annotated wants a mark at least, and None says nothing
        return {name: Annotated[(field.annotation, *field.metadata, None)] for name, field in known.items()}
    if (hints := _hints_of(owner)) is not None:
        return hints
    readable: dict[str, object] = {}
    for base in reversed(owner.__mro__):  # one after another: a name that is local need not hide all the rest
        for name, form in _own_annotations(base).items():
            readable.pop(name, None)
            alone = type(base.__name__, (), {"__annotations__": {name: form}, "__module__": base.__module__})
            readable |= _hints_of(alone) or {}
    return readable


def _own_annotations(owner: type[Any]) -> dict[str, object]:
    if sys.version_info >= (3, 14):
        return annotationlib.get_annotations(owner, format=annotationlib.Format.FORWARDREF)
    return cast("dict[str, object]", vars(owner).get("__annotations__", {}))


def _fields_of_typed_dict(owner: type[Any]) -> dict[str, Field] | None:
    hints = _hints_of(owner)  # annotations that are text hide NotRequired from the class itself
    if hints is None:
        return None
    fields: dict[str, Field] = {}
    for name, annotation in hints.items():
        mark = get_origin(annotation)
        marked = mark is Required or mark is NotRequired
        required = mark is Required if marked else name in owner.__required_keys__
        fields[name] = Field(get_args(annotation)[0] if marked else annotation, required)
    return fields


def _hints_of(owner: type[Any]) -> dict[str, object] | None:
    """Its annotations, those that are text looked up; None where a name in them is not found."""
    try:
        return get_type_hints(owner, include_extras=True)
    except Exception:  # noqa: BLE001  # annotations are code of the user's
        return None


def _bare(form: object) -> object:
    """Without what does not change which values there are: ``Annotated``, names of aliases, ``None`` for its class."""
    while True:
        if form is None:
            return NoneType
        if get_origin(form) is Annotated:
            form = get_args(form)[0]
        elif isinstance(form, TypeAliasType):
            form = form.__value__
        else:
            return form


def _origin(form: object) -> object:
    return get_origin(form) or form


def _class_fits(have: object, want: object, have_class: type[object], want_class: type[object]) -> bool | None:
    if is_typeddict(want_class):
        return _typed_dict_fits(have_class, want_class)
    if is_typeddict(have_class):
        have_class = dict
    if is_protocol(want_class) and want_class not in have_class.__mro__:
        return _protocol_fits(have_class, want_class)
    one, other = _model_and_arguments(have_class), _model_and_arguments(want_class)
    if one is not None and other is not None and one[0] is other[0]:
        return _arguments_fit(one[1], other[1])
    try:
        if not issubclass(have_class, want_class):
            return want_class in _WIDER_NUMBERS.get(have_class, ())
    except TypeError:
        return None
    if issubclass(have_class, tuple):
        return _tuple_fits(get_args(have), want_class, get_args(want))
    if have_class is str:  # a sequence of itself, whatever the arguments say
        return all(fits(str, argument) is not False for argument in get_args(want))
    return _arguments_fit(get_args(have), get_args(want))


def _arguments_fit(have: tuple[object, ...], want: tuple[object, ...]) -> bool | None:
    if not have or not want:
        return True  # a bare list is a list of anything
    if len(have) != len(want):
        return None
    return _all(fits(one, other) for one, other in zip(have, want, strict=True))


def _tuple_fits(have: tuple[object, ...], want_class: type[object], want: tuple[object, ...]) -> bool | None:
    if not have or not want:
        return True
    open_ended = have[-1] is Ellipsis
    members = have[:-1] if open_ended else have
    if not issubclass(want_class, tuple) or want[-1] is Ellipsis:
        return _all(fits(member, want[0]) for member in members)
    return None if open_ended else len(have) == len(want) and _arguments_fit(have, want)


def _literal_fits(values: tuple[object, ...], want: object) -> bool | None:
    if get_origin(want) is Literal:
        # 1 == True, but Literal[1] and Literal[True] are two types.
        allowed: list[object] = [(type(value), value) for value in cast("tuple[object, ...]", get_args(want))]
        return all((type(value), value) in allowed for value in values)
    return _all(fits(type(value), want) for value in values)


def _has_few_values(form: object) -> bool:
    """A bool or an enum, which a Literal may name value by value."""
    return form is bool or (isinstance(form, type) and issubclass(form, Enum))


def _typed_dict_fits(have: type[object], want: type[object]) -> bool | None:
    if not is_typeddict(have):
        return None if issubclass(have, dict) else False
    given, asked = fields_of(have), fields_of(want)
    if given is None or asked is None:
        return None
    return all(name in given and (given[name].required or not field.required) for name, field in asked.items())


def _protocol_fits(have: type[object], protocol: type[object]) -> bool | None:
    """False when a member is missing; what the members are is seen at run time."""
    known = fields_of(have) or {}
    annotated = {name for base in have.__mro__ for name in getattr(base, "__annotations__", {})}
    members = get_protocol_members(protocol)
    return None if all(hasattr(have, name) or name in known or name in annotated for name in members) else False


def _model_and_arguments(form: type[object]) -> tuple[object, tuple[object, ...]] | None:
    """``Box[int]`` is a class of its own to Python; pydantic remembers what it was made of.  None of other classes."""
    made_of: dict[str, Any] | None = getattr(form, "__pydantic_generic_metadata__", None)
    return None if made_of is None else (made_of["origin"] or form, made_of["args"])


def _all(answers: Iterable[bool | None]) -> bool | None:
    """False if one is False, else unknown if one is unknown."""
    return min(answers, key=_certainty, default=True)


def _any(answers: Iterable[bool | None]) -> bool | None:
    """True if one is True, else unknown if one is unknown."""
    return max(answers, key=_certainty, default=False)


def _certainty(answer: bool | None) -> int:
    return {False: 0, None: 1, True: 2}[answer]
