"""Whether one type fits another, and how types are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Generic, Literal, Never, NewType, NotRequired, Optional, Protocol, TypeVar, Union

import pytest
from pydantic import BaseModel
from typing_extensions import TypeAliasType, TypedDict

from wrkflw.forms import Field, classes_of, fields_of, fits, members_of, union_of
from wrkflw.names import describe

T = TypeVar("T")


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str = ""


class Box(BaseModel, Generic[T]):
    content: T


class Row(TypedDict):
    sku: str


class PricedRow(Row):
    price: int


class LooseRow(TypedDict):
    sku: NotRequired[str]


class Named(Protocol):
    name: str


class Priced(Protocol):
    price: int


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


UserId = NewType("UserId", str)
Pets = TypeAliasType("Pets", list[Animal])


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (Dog, Dog),
        (Dog, Animal),
        (Dog, object),
        (Dog, Any),
        (Any, Dog),
        (Never, Dog),
        (None, None),
        (None, type(None)),
        (Dog, Animal | None),
        (Dog | None, Animal | None),
        (None, Optional[Dog]),  # noqa: UP045 -- the old spelling is a form of its own
        (Dog, Union[int, Animal]),  # noqa: UP007 -- as above
        (int, float),
        (bool, int),
        (list[Dog], list[Animal]),
        (list[Dog], Sequence[Animal]),
        (list, list[Animal]),
        (list[Dog], list),
        (dict[str, Dog], Mapping[str, Animal]),
        (tuple[int, str], tuple[int, str]),
        (tuple[int, ...], Sequence[int]),
        (tuple[int, int], tuple[int, ...]),
        (str, Sequence[str]),
        (Literal["a"], str),
        (Literal["a"], Literal["a", "b"]),
        (Annotated[int, "x"], int),
        (int, Annotated[int, "x"]),
        (UserId, str),
        (UserId, UserId),
        (list[Dog], Pets),
        (Pets, Sequence[Animal]),
        (PricedRow, Row),
        (Row, LooseRow),
        (Row, Mapping[str, object]),
        (Box[Dog], Box[Animal]),
        (Box[Dog], Box),
        (Box, Box[Dog]),
    ],
)
def test_it_fits(have: object, want: object) -> None:
    assert fits(have, want) is True


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (Animal, Dog),
        (object, Dog),
        (None, Dog),
        (Dog, None),
        (Dog | None, Dog),
        (int | str, int),
        (float, int),
        (str, int),
        (str, bytes),
        (list[Animal], list[Dog]),
        (list[int], set[int]),
        (Sequence[int], list[int]),
        (dict[str, int], dict[str, str]),
        (tuple[int, str], tuple[str, int]),
        (tuple[int], tuple[int, int]),
        (Literal["a", "c"], Literal["a", "b"]),
        (Literal[1], Literal[True]),
        (Literal[1], str),
        (str, Literal["a"]),
        (str, UserId),
        (Row, PricedRow),
        (LooseRow, Row),
        (Animal, Row),
        (Animal, Priced),
        (Box[Animal], Box[Dog]),
        (Dog, Point),
    ],
)
def test_it_does_not_fit(have: object, want: object) -> None:
    assert fits(have, want) is False


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (Animal, Named),
        (dict[str, int], Row),
        (Colour, Literal[Colour.RED]),
        (tuple[int, ...], tuple[int, int]),
        (T, int),
        (int, T),
        (Animal | int, Named | int),
    ],
)
def test_it_is_seen_at_run_time_alone(have: object, want: object) -> None:
    assert fits(have, want) is None


def test_one_member_of_a_union_that_does_not_fit_settles_it() -> None:
    assert fits(Animal | str, Named) is False


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        (Dog, {"name": Field(str, True), "breed": Field(str, False)}),
        (Point, {"x": Field(int, True), "y": Field(int, False)}),
        (int, None),
        (Dog | None, None),
    ],
)
def test_the_fields_of_a_form(form: object, fields: dict[str, Field] | None) -> None:
    assert fields == fields_of(form)


def test_the_fields_of_a_typed_dict_that_may_be_left_out() -> None:
    row = fields_of(LooseRow) or {}

    assert {name: field.required for name, field in row.items()} == {"sku": False}


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (Dog, "Dog"),
        (None, "None"),
        (type(None), "None"),
        (Any, "Any"),
        (object, "object"),
        (list[int], "list[int]"),
        (dict[str, list[Dog]], "dict[str, list[Dog]]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Dog | None, "Dog | None"),
        (Optional[Dog], "Dog | None"),  # noqa: UP045 -- as above
        (Union[int, str], "int | str"),  # noqa: UP007 -- as above
        (Literal["a", 1], "Literal['a', 1]"),
        (Annotated[int, "x"], "int"),
        (Box[Dog], "Box[Dog]"),
        (UserId, "UserId"),
        (Pets, "Pets"),
        (Callable[[int], str], "Callable[[int], str]"),
        (Row, "Row"),
        ("Later", "Later"),
    ],
)
def test_messages_name_a_type_as_people_write_it(form: object, text: str) -> None:
    assert text == describe(form)


# ------------------------------------------------------------------ unions
def test_a_union_is_made_of_forms() -> None:
    assert union_of(int, None) == int | None
    assert union_of(int | str, str) == int | str
    assert union_of(int) is int
    assert union_of(int, Any) is Any


def test_the_members_of_a_union_are_told_one_by_one() -> None:
    assert members_of(int | None) == (int, type(None))
    assert members_of(Annotated[int | Annotated[str, "x"], "y"]) == (int, str)
    assert members_of(list[int]) == (list[int],)


@pytest.mark.parametrize(
    ("form", "classes"),
    [
        (int, (int,)),
        (int | None, (int, type(None))),
        (object, (object,)),
        (list, (list,)),
        (list[int], None),
        (int | list[int], None),
        (Any, None),
        (Literal["a"], None),
    ],
    ids=repr,
)
def test_some_forms_are_told_by_their_classes(form: object, classes: tuple[type[object], ...] | None) -> None:
    assert classes == classes_of(form)
