"""When two values are one: equal, and of the very same class at every level.  Shares nothing with what it judges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, time
from decimal import Decimal
from typing import Any, TypeAlias

from pydantic import BaseModel

Anything: TypeAlias = Any  # values are judged by what they turn out to be


def same(left: Anything, right: Anything) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (math.isnan(left) and math.isnan(right)) or (left, repr(left)) == (right, repr(right))
    if isinstance(left, Decimal):
        return str(left) == str(right)
    if isinstance(left, datetime | time):
        return bool(left == right) and left.utcoffset() == right.utcoffset()
    if isinstance(left, BaseModel):
        return same(_fields(left), _fields(right))
    if is_dataclass(left):
        return all(same(getattr(left, field.name), getattr(right, field.name)) for field in fields(left))
    if isinstance(left, Mapping):
        return len(left) == len(right) and all(
            any(same(key, other) and same(value, right[other]) for other in right) for key, value in left.items()
        )
    if isinstance(left, set | frozenset):
        return len(left) == len(right) and all(any(same(one, other) for other in right) for one in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def _fields(model: BaseModel) -> dict[str, Anything]:
    return {**model.__dict__, **(model.__pydantic_extra__ or {}), **(model.__pydantic_private__ or {})}
