"""Random types together with strategies of their values: whatever pydantic can hold, nested in one another."""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from dataclasses import field as dataclass_field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeAlias, TypeVar, Union
from uuid import UUID

import typing_extensions
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    SecretStr,
    create_model,
)

Anything: TypeAlias = Any  # types are made while the tests run
Draw: TypeAlias = st.DrawFn


@dataclass(frozen=True)
class Shape:
    """A type, and its values.  ``keeps`` says that each of them must come back; else some may be refused."""

    form: Anything
    values: st.SearchStrategy[Anything]
    keeps: bool = True
    hashable: bool = False


# --- what is made of nothing else ---------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Word(enum.StrEnum):
    YES = "yes"
    NO = "no"


class Mood(enum.Enum):
    GOOD = "good"
    YES = "yes"


class Suit(enum.Flag):
    HEARTS = 1
    SPADES = 2


UserId = NewType("UserId", str)
Ages = Annotated[int, Field(ge=0, le=130)]
Trimmed = Annotated[str, AfterValidator(str.strip)]
Hexed = Annotated[int, PlainSerializer(hex, return_type=str), AfterValidator(int)]
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
ZONES = st.one_of(st.none(), st.just(UTC), OFFSETS)
INTEGERS = st.integers(-(10**100), 10**100)  # Python itself reads no number of more than 4,300 digits
TEXTS = st.one_of(
    st.text(max_size=8), st.sampled_from(["", "1", "yes", "true", "null", "2026-03-01", "NaN", "\0", "é"])
)


def leaf(form: Anything, values: st.SearchStrategy[Anything], *, keeps: bool = True) -> Shape:
    return Shape(form, values, keeps, hashable=True)


LEAVES = [
    leaf(None, st.none()),
    leaf(bool, st.booleans()),
    leaf(int, st.one_of(st.integers(-3, 3), INTEGERS)),
    leaf(float, st.one_of(st.sampled_from([0.0, -0.0, 1.0, 2.0]), st.floats(allow_nan=False, allow_infinity=False))),
    leaf(str, TEXTS),
    leaf(bytes, st.binary(max_size=8)),
    leaf(Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    leaf(datetime, st.datetimes(timezones=ZONES)),
    leaf(date, st.dates()),
    leaf(time, st.times()),
    leaf(timedelta, st.timedeltas(timedelta(days=-99_999), timedelta(days=99_999))),
    leaf(UUID, st.uuids()),
    leaf(Colour, st.sampled_from(Colour)),
    leaf(Number, st.sampled_from(Number)),
    leaf(Word, st.sampled_from(Word)),
    leaf(Mood, st.sampled_from(Mood)),
    leaf(Literal["yes", 1], st.sampled_from(["yes", 1])),
    leaf(Literal["no"], st.just("no")),
    leaf(UserId, TEXTS),
    leaf(Ages, st.integers(0, 130)),
    leaf(PurePosixPath, st.sampled_from([PurePosixPath("a/b"), PurePosixPath("/")])),
    leaf(IPv4Address, st.ip_addresses(v=4)),
]


class Sealed(BaseModel):
    """What is private is not written."""

    one: int
    _seal: str = PrivateAttr("none")

    @classmethod
    def of(cls, one: int, seal: str) -> Sealed:
        sealed = cls(one=one)
        sealed._seal = seal
        return sealed


class Entity(BaseModel):
    """Equal by its id, whatever else it holds; and of that something is not written."""

    id: int
    note: str = Field(default="", exclude=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entity) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


@dataclass(frozen=True)
class Tally:
    """Equal by one of its fields, which is the one that is written."""

    # Else that of a model around it holds, and pydantic refuses ``extra="allow"`` beside ``init=False``.
    __pydantic_config__ = ConfigDict()

    one: int
    seen: int = dataclass_field(default=0, compare=False, init=False)

    @classmethod
    def of(cls, one: int, seen: int) -> Tally:
        tally = cls(one)
        object.__setattr__(tally, "seen", seen)
        return tally


ODD = [
    Shape(Sealed, st.builds(Sealed.of, INTEGERS, st.sampled_from(["none", "red"])), keeps=False),
    leaf(Entity, st.builds(Entity, id=INTEGERS, note=st.sampled_from(["", "red"])), keeps=False),
    leaf(Tally, st.builds(Tally.of, INTEGERS, st.integers(0, 1)), keeps=False),
    leaf(float, st.floats(), keeps=False),
    leaf(Trimmed, TEXTS, keeps=False),
    leaf(Hexed, st.integers(0, 9), keeps=False),
    leaf(SecretStr, TEXTS.map(SecretStr), keeps=False),
    leaf(Suit, st.sampled_from([Suit.HEARTS, Suit.HEARTS | Suit.SPADES]), keeps=False),
    leaf(timedelta, st.timedeltas(), keeps=False),
    leaf(Decimal, st.sampled_from([Decimal("NaN"), Decimal("-Infinity"), Decimal("1.00")]), keeps=False),
    leaf(time, st.times(timezones=ZONES), keeps=False),
    leaf(complex, st.complex_numbers(), keeps=False),
    leaf(int, st.integers(10**4290, 10**4310), keeps=False),
    leaf(str, st.text(st.characters(), max_size=3), keeps=False),  # halves of characters too
]


# --- what is made of others ---------------------------------------------------------------------------

NAMES = ("one", "type", "metadata")  # words of pydantic's own are names as good as any
T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    inside: T
    label: str = "box"


class Crate(BaseModel, Generic[T]):
    inside: T
    label: str = "crate"


class Root(RootModel[T], Generic[T]):
    pass


class Tree(BaseModel):
    """Looks like any other model that has these fields, and holds itself."""

    one: int | str = 0
    inside: list[Tree] = []


TREES = st.recursive(
    st.builds(Tree, one=INTEGERS | TEXTS), lambda inner: st.builds(Tree, inside=st.lists(inner, max_size=2))
)


def of(cls: Anything, *inside: Anything) -> Anything:
    """``cls[inside]``, of types that are known while it runs."""
    return cls[inside] if len(inside) > 1 else cls[inside[0]]


def listed(draw: Draw, inner: Shape) -> Shape:
    return Shape(
        of(draw(st.sampled_from([list, Sequence])), inner.form), st.lists(inner.values, max_size=3), inner.keeps
    )


def queued(draw: Draw, inner: Shape) -> Shape:
    return Shape(of(deque, inner.form), st.lists(inner.values, max_size=3).map(deque), inner.keeps)


def in_a_tuple(draw: Draw, inner: Shape) -> Shape:
    if draw(st.booleans()):
        return Shape(
            of(tuple, inner.form, ...), st.lists(inner.values, max_size=3).map(tuple), inner.keeps, inner.hashable
        )
    other = draw(st.sampled_from(LEAVES))
    return Shape(of(tuple, inner.form, other.form), st.tuples(inner.values, other.values), inner.keeps, inner.hashable)


def in_a_named_tuple(draw: Draw, inner: Shape) -> Shape:
    make: Anything = NamedTuple
    cls = make("Named", [("one", inner.form), ("two", int)])
    return Shape(cls, st.builds(cls, inner.values, INTEGERS), inner.keeps, inner.hashable)


def in_a_set(draw: Draw, inner: Shape) -> Shape:
    if not inner.hashable:
        return listed(draw, inner)
    if draw(st.booleans()):
        return Shape(of(frozenset, inner.form), st.frozensets(inner.values, max_size=3), inner.keeps, hashable=True)
    return Shape(of(set, inner.form), st.sets(inner.values, max_size=3), inner.keeps)


def mapped(draw: Draw, inner: Shape) -> Shape:
    key = draw(st.sampled_from([leaf for leaf in LEAVES if leaf.form is not None]))
    cls = draw(st.sampled_from([dict, Mapping, OrderedDict]))
    kept_in = OrderedDict if cls is OrderedDict else dict
    keeps = inner.keeps and key.form is str
    values = st.dictionaries(key.values, inner.values, max_size=3).map(kept_in)
    return Shape(of(cls, key.form, inner.form), values, keeps)


def optional(draw: Draw, inner: Shape) -> Shape:
    return Shape(Optional[inner.form], st.none() | inner.values, inner.keeps, inner.hashable)  # noqa: UP045


def boxed(draw: Draw, inner: Shape) -> Shape:
    cls = of(draw(st.sampled_from([Box, Crate])), inner.form)
    return Shape(cls, st.builds(cls.model_construct, inside=inner.values), inner.keeps)


def rooted(draw: Draw, inner: Shape) -> Shape:
    # One that holds None looks like None itself, which is refused.
    cls = of(Root, inner.form)
    return Shape(cls, inner.values.map(lambda value: cls.model_construct(value)), keeps=False)


def modelled(draw: Draw, inner: Shape) -> Shape:
    """A model of up to three fields, which may be known by other names."""
    fields = {name: draw(st.sampled_from([inner, *LEAVES[1:7]])) for name in NAMES[: draw(st.integers(1, 3))]}
    alias: Callable[[str], Anything] = draw(
        st.sampled_from(
            [
                lambda name: ...,
                lambda name: Field(alias=f"{name}Alias"),
                lambda name: Field(validation_alias=f"{name}Read"),
                lambda name: Field(serialization_alias=f"{name}Written"),
            ]
        )
    )
    config = draw(
        st.sampled_from(
            [
                ConfigDict(),
                ConfigDict(frozen=True),
                ConfigDict(extra="allow"),
                ConfigDict(validate_by_name=True, validate_by_alias=True, alias_generator=lambda name: name.title()),
                ConfigDict(serialize_by_alias=True, strict=True),
            ]
        )
    )
    given: dict[str, Anything] = {name: (shape.form, alias(name)) for name, shape in fields.items()}
    cls = create_model(draw(st.sampled_from(["Cat", "Dog"])), __config__=config, **given)
    values = st.fixed_dictionaries({name: shape.values for name, shape in fields.items()})
    if config.get("extra") == "allow":
        values = st.builds(lambda known, more: {**more, **known}, values, st.dictionaries(st.just("zest"), TEXTS))
    keeps = all(shape.keeps for shape in fields.values())
    return Shape(cls, values.map(lambda value: _made(cls, value)), keeps)


def _made(cls: type[BaseModel], value: dict[str, Anything]) -> BaseModel:
    """Not validated: what is drawn is meant."""
    return cls.model_construct(_fields_set=None, **{_name_to_give(cls, name): each for name, each in value.items()})


def _name_to_give(cls: type[BaseModel], name: str) -> str:
    field = cls.model_fields.get(name)
    alias = field.validation_alias if field is not None else None
    return alias if isinstance(alias, str) else name


def in_a_dataclass(draw: Draw, inner: Shape) -> Shape:
    slots, frozen = draw(st.booleans()), draw(st.booleans())
    cls: Anything = make_dataclass(
        draw(st.sampled_from(["Point", "Spot"])),
        [("one", inner.form), ("two", int, dataclass_field(default=0))],
        slots=slots,
        frozen=frozen,
    )
    hashable = frozen and inner.hashable
    return Shape(cls, st.builds(cls, inner.values, INTEGERS), inner.keeps, hashable)


def in_a_typed_dict(draw: Draw, inner: Shape) -> Shape:
    make: Anything = typing_extensions.TypedDict
    cls = make("Entry", {"one": inner.form, "two": typing_extensions.NotRequired[int]})
    return Shape(cls, st.fixed_dictionaries({"one": inner.values}, optional={"two": INTEGERS}), inner.keeps)


def in_a_tree(draw: Draw, inner: Shape) -> Shape:
    return union_of(Shape(Tree, TREES), inner)


def discriminated(draw: Draw, inner: Shape) -> Shape:
    cats: dict[str, Anything] = {"kind": (Literal["cat"], "cat"), "one": (inner.form, ...)}
    dogs: dict[str, Anything] = {"kind": (Literal["dog"], "dog"), "one": (inner.form, ...)}
    cat, dog = create_model("Cat", **cats), create_model("Dog", **dogs)
    values = inner.values.flatmap(lambda one: st.sampled_from([cat, dog]).map(lambda cls: cls.model_construct(one=one)))
    return Shape(Annotated[Union[cat, dog], Discriminator("kind")], values, inner.keeps)  # noqa: UP007


def union_of(*members: Shape) -> Shape:
    form: Anything = Union[tuple(member.form for member in members)]  # noqa: UP007
    hashable = all(member.hashable for member in members)
    keeps = all(member.keeps for member in members)
    return Shape(form, st.one_of([member.values for member in members]), keeps, hashable)


MAKERS: list[Callable[[Draw, Shape], Shape]] = [
    listed, queued, in_a_tuple, in_a_named_tuple, in_a_set, mapped, optional, boxed, rooted, modelled, in_a_dataclass,
    in_a_typed_dict, in_a_tree, discriminated,
]  # fmt: skip


@st.composite
def shapes(draw: Draw, deepest: int = 3) -> Shape:
    if deepest == 0 or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(LEAVES) if draw(st.integers(0, 4)) else st.sampled_from(ODD))
    if draw(st.integers(0, 2)) == 0:
        return union_of(*(draw(shapes(deepest - 1)) for _ in range(draw(st.integers(2, 3)))))
    return draw(st.sampled_from(MAKERS))(draw, draw(shapes(deepest - 1)))
