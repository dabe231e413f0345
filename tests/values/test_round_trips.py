"""Values of any type through the schema, and through a database and another process: each comes back, or is refused."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field
from typing_extensions import TypedDict

from wrkflw import (
    Completed,
    DefinitionError,
    Event,
    InvalidValueError,
    Runtime,
    StepFailedError,
    StepTools,
    Waiting,
    create_step,
    workflow,
)
from wrkflw.codecs import AesGcm
from wrkflw.schemas import Schema
from wrkflw.worlds.sqlite import SqliteWorld

from .sameness import same
from .shapes import Box, Entity, Number, Sealed, Shape, Tally, Word, shapes

SOAK = 20 if os.environ.get("SOAK") else 1
EXAMPLES = 120
SETTINGS: dict[str, Any] = {
    "derandomize": SOAK == 1, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)
}  # fmt: skip
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
KEPT: dict[str, dict[str, Any]] = {
    "in its event": {},
    "by its hash": {"payload_inline_max": 0},
    "encrypted": {"codec": AesGcm(keys={"k": b"k" * 32}, current="k")},
    "encrypted, by its hash": {"codec": AesGcm(keys={"k": b"k" * 32}, current="k"), "payload_inline_max": 0},
}
GO = Event("go", str)
Case: TypeAlias = tuple[Shape, object]


@settings(max_examples=EXAMPLES * SOAK, **SETTINGS)
@given(st.data())
def test_a_value_that_is_stored_is_read_as_it_was(data: st.DataObject) -> None:
    check_round_trips(data)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (Literal["yes", 1] | bool, True),
        (Literal["yes", 1] | bool, 1),
        (Literal[0, 2] | bool | None, False),
        (Literal[True] | int, 1),
        (Literal[True] | int, True),
    ],
)
def test_a_bool_beside_a_number_that_equals_it_stays_what_it_is(form: Any, value: object) -> None:
    stored, handed_on = Schema(list[form]).store([value], "it")

    assert same(handed_on, [value])
    assert same(Schema(list[form]).load(stored, "it"), [value])


class Priced(BaseModel):
    amount: bool | Decimal


@pytest.mark.parametrize("value", [Priced(amount=Decimal("1.50")), Priced(amount=True), [None]])
def test_a_model_beside_a_sequence_is_written_by_its_own_rules(value: object) -> None:
    schema = Schema(Sequence[None] | Priced)  # the serializer of a sequence would write whatever it is given
    stored, handed_on = schema.store(value, "it")

    assert same(handed_on, value)
    assert same(schema.load(stored, "it"), value)


def check_round_trips(data: st.DataObject, deepest: int = 3) -> None:
    shape = data.draw(shapes(deepest))
    schema = Schema(shape.form)  # a new one: the types of these tests are not to be remembered
    for value in data.draw(st.lists(shape.values, min_size=1, max_size=6)):
        try:
            stored, handed_on = schema.store(value, "it")
        except InvalidValueError as refused:
            if shape.keeps:
                raise AssertionError(f"{value!r} was refused") from refused
            continue
        assert same(handed_on, value), f"{value!r} came back as {handed_on!r}"
        again = schema.load(stored, "it")
        assert same(again, value), f"{value!r} was read as {again!r}"


@st.composite
def cases(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    return shape, draw(shape.values)


@settings(max_examples=10 * SOAK, **SETTINGS)
@given(st.lists(cases(), min_size=1, max_size=8), st.sampled_from([*KEPT]))
def test_what_a_step_gives_is_the_same_live_and_in_another_process(cases: list[Case], kept: str) -> None:
    with tempfile.TemporaryDirectory(dir=_FAST) as folder:
        asyncio.run(live_and_reopen(Path(folder) / "app.db", cases, KEPT[kept]))


async def live_and_reopen(database: Path, cases: list[Case], kept: dict[str, Any]) -> None:
    seen: list[list[object]] = []
    gives = [giving(f"give-{number}", shape.form, value) for number, (shape, value) in enumerate(cases)]

    @workflow(id="keeping")
    async def keeping(step: StepTools, data: None) -> int:
        seen.append([])
        for give in gives:
            try:
                seen[-1].append(await step.run(give, None))
            except StepFailedError as failed:
                seen[-1].append(REFUSED if failed.error.type == "InvalidValueError" else failed)
        await step.wait_for_event(GO)
        return len(gives)

    async with Runtime(world=SqliteWorld(database, **kept), workflows=[keeping]):
        assert isinstance(await (await keeping.create_run(run_id="r-1")).start(None, wait="0s"), Waiting)
    async with Runtime(world=SqliteWorld(database, **kept), workflows=[keeping]):
        run = await keeping.get_run("r-1")
        assert isinstance(await run.send_event(GO, "on"), Completed)
        live, replayed = seen
        for (shape, value), give, first, second in zip(cases, gives, live, replayed, strict=True):
            if first is REFUSED or second is REFUSED:
                assert first is second
                assert not shape.keeps, f"{value!r} was refused"
                continue
            for back in (first, second, run.get_step_result(give)):
                assert same(back, value), f"{value!r} came back as {back!r}"


def giving(id: str, form: Any, value: object) -> Any:
    make: Any = create_step
    return make(id=id, input_schema=None, output_schema=form, execute=lambda: value)


REFUSED = object()


# --- what random types found ------------------------------------------------------------------------


class Renamed(BaseModel):
    """Pydantic reads it by one name and writes it by another."""

    user: str = Field(validation_alias="userName")
    town: str = Field("-", serialization_alias="home")
    mail: str | None = Field(None, alias="eMail")


class Crossed(BaseModel):
    """Each field is known by the name of the other."""

    user: str = Field(alias="town")
    town: str = Field(alias="user")


class Counted(BaseModel):
    count: int | Number


class Cat(BaseModel):
    name: str


class Dog(BaseModel):
    name: str


class Kept(BaseModel):
    """Fields that go by words of pydantic's own."""

    type: Cat | Dog
    metadata: list[Cat | Dog]
    schema_ref: bytes


class Area(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side: int

    @computed_field
    def size(self) -> int:
        return self.side**2


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (Renamed, Renamed.model_validate({"userName": "ada", "eMail": "a@b.c"}).model_copy(update={"town": "Ulm"})),
        (list[int | Number], [Number.ONE, 1]),
        (Crossed, Crossed(user="ulm", town="ada")),
        (Kept, Kept(type=Dog(name="rex"), metadata=[Dog(name="bo"), Cat(name="tom")], schema_ref=b"\xff")),
        (Area, Area(side=3)),
        (Counted, Counted.model_construct(count=Number.TWO)),
        (list[Word | bool], [Word.YES, True]),
    ],
)
def test_what_random_types_found_comes_back(form: object, value: object) -> None:
    stored, handed_on = Schema(form).store(value, "it")

    assert same(handed_on, value)
    assert same(Schema(form).load(stored, "it"), value)


class Corner(NamedTuple):
    x: int = 0


class Drawn(BaseModel):
    size: int | str
    data: bytes = b""
    start: Corner = Corner(7)


def test_what_was_not_recorded_yet_is_the_default_of_the_class() -> None:
    assert same(Schema(Drawn).load(b'{"size":1}', "it"), Drawn(size=1))


def test_what_is_of_no_member_of_a_union_is_refused_though_it_equals_one() -> None:
    with pytest.raises(InvalidValueError, match="Decimal is no member of the union"):
        Schema(list[Decimal | float]).store([Decimal("-Infinity")], "it")


# --- values that are equal, but not the same ----------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "value", "loss"),
    [
        (Sealed, Sealed.of(1, "red"), "_seal is 'red', and comes back as 'none'"),
        (list[Sealed], [Sealed(one=1), Sealed.of(2, "red")], "1._seal is 'red', and comes back as 'none'"),
        (Entity, Entity(id=1, note="hi"), "note is 'hi', and comes back as ''"),
        (dict[str, Entity], {"a": Entity(id=1, note="hi")}, "a.note is 'hi', and comes back as ''"),
        (deque[Entity], deque([Entity(id=1, note="hi")]), "0.note is 'hi', and comes back as ''"),
        (Tally, Tally.of(1, 5), "seen is 5, and comes back as 0"),
        (tuple[str, Tally], ("a", Tally.of(1, 5)), "1.seen is 5, and comes back as 0"),
        (set[Tally], {Tally.of(1, 5)}, "Tally(one=1, seen=5).seen is 5, and comes back as 0"),
    ],
)
def test_a_value_is_refused_though_it_equals_what_comes_back(form: Any, value: object, loss: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        Schema(form).store(value, "it")

    made_anew = "make it a field, or a cached_property if it can be made anew"
    cure = made_anew if "_seal" in loss else "declare a type that keeps it"
    assert str(refused.value).endswith(f" {loss}; {cure}")


@pytest.mark.parametrize("value", [Sealed(one=1), Entity(id=1), Tally(1)])
def test_what_is_not_written_may_be_as_it_is_made(value: object) -> None:
    assert same(Schema(type(value)).store(value, "it")[1], value)


class Square(BaseModel):
    side: int

    @cached_property
    def area(self) -> int:
        return self.side**2

    def __eq__(self, other: object) -> bool:
        raise ArithmeticError("ask somebody else")

    __hash__ = None  # type: ignore[assignment]  # as for any class that says what is equal


def test_a_model_is_compared_by_its_fields() -> None:
    square = Square(side=3)
    assert square.area == 9  # which is kept, and is no field

    handed_on = Schema(Square).store(square, "it")[1]

    assert isinstance(handed_on, Square)
    assert handed_on.side == 3


class Incomparable(int):
    def __eq__(self, other: object) -> bool:
        raise ArithmeticError("ask somebody else")

    __hash__ = int.__hash__


def test_a_value_that_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"^it does not fit int: ArithmeticError: ask somebody else$"):
        Schema(int).store(Incomparable(1), "it")


def test_a_generic_model_becomes_one_of_what_was_declared() -> None:
    handed_on = Schema(Box[int]).store(Box(inside=1), "it")[1]

    assert same(handed_on, Box[int](inside=1))
    with pytest.raises(InvalidValueError, match=r"as Box\[int\]: inside is '1', and comes back as 1; "):
        Schema(Box[int]).store(Box(inside="1"), "it")


# --- types -------------------------------------------------------------------------------------------


class Row(TypedDict):
    one: int


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (Annotated[Dog, Field(description="man's best friend")], Dog(name="rex")),
        (Annotated[Tally, Field(description="of votes")], Tally(1)),
        (Annotated[Row, Field(description="of a table")], Row(one=1)),
    ],
)
def test_a_type_that_has_fields_may_be_annotated(form: Any, value: object) -> None:
    assert same(Schema(form).store(value, "it")[1], value)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (type("Opaque", (), {}), r"^Opaque cannot be a schema: Unable to generate .*; use a type that pydantic can "),
        ("int", "^'int' cannot be a schema: it is a str, not a type; write it without quotes$"),
        (Word.YES, "cannot be a schema: it is a Word, not a type; write it without quotes$"),
        ({"a": int}, "cannot be a schema: it is a dict, not a type; declare a model or a TypedDict$"),
        (Annotated[str, Field(pattern="(")], "^str cannot be a schema: SchemaError: .*unclosed group; use a type "),
    ],
)
def test_what_no_value_can_be_read_as_is_refused_when_it_is_declared(form: object, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        Schema(form)
