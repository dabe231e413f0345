"""How a field of the state is put together again when several steps set it side by side."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from typing_extensions import is_typeddict

from .forms import hints_of_fields


class Merge(Enum):
    """Said of a field: ``total: Annotated[int, Merge.SUM] = 0``.

    Without one, two steps side by side that set the field to different values fail their block.
    """

    LAST = "last"
    """The last one in the order of the arguments, or of the items, wins."""
    SUM = "sum"
    """The differences are added up."""


def merge_rules(state_form: object) -> dict[str, Merge]:
    """The rules that the fields of a state declare: of a model, dataclass or TypedDict; other types have no fields."""
    origin = get_origin(state_form) or state_form
    if not isinstance(origin, type):
        return {}
    owner: type[Any] = origin
    if issubclass(owner, BaseModel):  # pydantic keeps the marks of a field beside its type
        marks = {name: tuple[object, ...](field.metadata) for name, field in owner.model_fields.items()}
    elif dataclasses.is_dataclass(owner) or is_typeddict(owner):
        marks = {name: _marks(form) for name, form in hints_of_fields(owner).items()}
    else:
        return {}
    rules = {name: [mark for mark in found if isinstance(mark, Merge)] for name, found in marks.items()}
    return {name: found[-1] for name, found in rules.items() if found}


def _marks(form: object) -> tuple[object, ...]:
    """What stands beside the type in ``Annotated``, inside ``Required`` and its like too."""
    if get_origin(form) is Annotated:
        inner, *marks = get_args(form)
        return (*_marks(inner), *marks)
    arguments = get_args(form)
    return _marks(arguments[0]) if len(arguments) == 1 else ()
