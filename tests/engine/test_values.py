"""Values between steps: each comes back as what it was, or is refused; none is changed in silence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import PurePosixPath
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import pytest
from pydantic import BaseModel, SecretStr
from typing_extensions import TypedDict

from wrkflw import (
    Completed,
    Failed,
    InvalidValueError,
    LimitError,
    Limits,
    Retry,
    Runtime,
    StepContext,
    SuspendContext,
    create_step,
    create_workflow,
    step,
)
from wrkflw.results import StepError

ItemT = TypeVar("ItemT")


class Price(BaseModel):
    amount: int


class Discount(Price):
    percent: int


class Renamed(Price):
    """Adds nothing."""


class Login(BaseModel):
    key: SecretStr


class Cat(BaseModel):
    name: str


class Dog(BaseModel):
    name: str


class Cage(BaseModel):
    pet: Cat | Dog
    others: list[Cat | Dog] = []


class Parcel(BaseModel, Generic[ItemT]):
    item: ItemT


@dataclass
class Point:
    x: float
    tags: list[str] = field(default_factory=list)


@dataclass
class Spot:
    x: float
    tags: list[str] = field(default_factory=list)


class Entry(TypedDict):
    name: str
    when: datetime


class Pair(NamedTuple):
    left: int
    right: str


class Colour(Enum):
    RED = 1


class Word(StrEnum):
    YES = "yes"


class Maybe(BaseModel):
    x: float | None


class Sure(BaseModel):
    x: float


class Deep(BaseModel):
    inner: Deep | None = None


def nested(levels: int) -> Deep:
    deep = Deep()
    for _ in range(levels):
        deep = Deep(inner=deep)
    return deep


async def given(form: Any, value: Any) -> tuple[Any, StepError | None]:
    """``value`` from a step that declares ``form``, as the next step gets it; or why it was refused."""
    seen: list[Any] = []
    give: Any = create_step(id="give", output_schema=form, execute=lambda: value)
    take: Any = create_step(id="take", input_schema=form, output_schema=None, execute=seen.append)
    workflow: Any = create_workflow(id="passing", input_schema=None, output_schema=None).then(give).then(take).commit()
    run = await workflow.create_run()
    result = await run.start()
    if isinstance(result, Failed):
        assert not seen, "a refused value went on"
        return None, result.error
    assert isinstance(result, Completed)
    assert same(run.get_step_result(give), seen[0])
    return seen[0], None


def same(left: object, right: object) -> bool:
    both_nan = isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right)
    return both_nan or (type(left) is type(right) and (left == right or repr(left) == repr(right)))


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (None, None),
        (int, 2**80),
        (float, math.inf),
        (float, -0.0),
        (float, math.nan),
        (Sure, Sure(x=math.nan)),
        (list[float], [1.5, -math.inf]),
        (str, "Zoë \U0001f600 \0 \n"),
        (bytes, b"\xff\xfe\x00"),
        (list[bytes], [b"\x80", b""]),
        (set[int], {3, 1, 2}),
        (frozenset[str], frozenset({"a"})),
        (tuple[int, str], (1, "a")),
        (dict[int, str], {1: "a"}),
        (dict[str, set[bytes]], {"a": {b"\xff"}}),
        (datetime, datetime(2026, 3, 1, 12, 30, 1, 5, tzinfo=UTC)),
        (datetime, datetime(2026, 3, 1)),  # noqa: DTZ001
        (date, date(2026, 3, 1)),
        (time, time(12, 30)),
        (timedelta, timedelta(days=3, microseconds=1)),
        (Decimal, Decimal("10.50")),
        (UUID, UUID(int=7)),
        (PurePosixPath, PurePosixPath("a/b")),
        (Colour, Colour.RED),
        (Word, Word.YES),
        (Point, Point(1.5, ["a"])),
        (Entry, {"name": "a", "when": datetime(2026, 3, 1, tzinfo=UTC)}),
        (Pair, Pair(1, "a")),
        (Price | None, None),
        (Price | None, Price(amount=1)),
        (int | str, "1"),
        (int | str, 1),
        (bool | int, True),
        (bool | int, 1),
        (int | float, 1),
    ],
)
async def test_a_value_comes_back_as_it_was(runtime: Runtime, form: object, value: object) -> None:
    seen, error = await given(form, value)

    assert error is None
    assert same(seen, value), f"{value!r} came back as {seen!r}"


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (Cat | Dog, Cat(name="a")),
        (Cat | Dog, Dog(name="a")),
        (Cat | Dog | None, Dog(name="a")),
        (list[Cat | Dog], [Dog(name="a"), Cat(name="b")]),
        (dict[str, Cat | Dog], {"x": Dog(name="a")}),
        (tuple[Cat | Dog, ...], (Dog(name="a"), Cat(name="b"))),
        (list[list[Cat | Dog]], [[Dog(name="a")]]),
        (Cage, Cage(pet=Dog(name="a"), others=[Dog(name="b"), Cat(name="c")])),
        (Cage | None, Cage(pet=Dog(name="a"))),
        (Cage | Dog, Cage(pet=Dog(name="a"))),
        (Point | Spot, Spot(1.0)),
        (list[Point | Spot], [Spot(1.0), Point(2.0)]),
        (list[int] | list[str], ["1"]),
        (set[int] | list[int], {1}),
        (set[int] | list[int], [1]),
        (bytes | str, "a"),
        (bytes | str, b"a"),
        (datetime | str, "2026-03-01T00:00:00Z"),
        (datetime | str, datetime(2026, 3, 1, tzinfo=UTC)),
        (Price | Discount, Discount(amount=1, percent=2)),
        (Discount | Price, Price(amount=1)),
    ],
)
async def test_members_of_a_union_that_look_alike_are_told_apart(runtime: Runtime, form: object, value: object) -> None:
    seen, error = await given(form, value)

    assert error is None
    assert same(seen, value), f"{value!r} came back as {seen!r}"


async def test_a_subclass_that_adds_nothing_comes_back_as_what_was_declared(runtime: Runtime) -> None:
    seen, error = await given(Price, Renamed(amount=1))

    assert error is None
    assert type(seen) is Price
    assert seen == Price(amount=1)


async def test_a_generic_model_is_the_same_with_and_without_its_arguments(runtime: Runtime) -> None:
    @step
    def pack(item: int) -> Parcel[int]:
        return Parcel(item=item)

    @step
    def load(item: Parcel[int]) -> Parcel:  # type: ignore[type-arg]  # that is what is tested
        return item

    @step
    def unpack(parcel: Parcel[int]) -> str:
        return f"{type(parcel).__name__} of {parcel.item}"

    chain: Any = create_workflow(id="sending", input_schema=int, output_schema=str)

    assert await chain.then(pack).then(load).then(unpack).commit().run(7) == "Parcel[int] of 7"


DEEP = "nested deeper than 200 levels"


CHANGED = "does not survive storage as"


@pytest.mark.parametrize(
    ("form", "value", "message"),
    [
        (Price, "free", "does not fit Price: input should be an object"),
        (int, "many", "does not fit int: input should be a valid integer, unable to parse string as an integer"),
        (Price, Discount(amount=1, percent=2), f"is Discount, which {CHANGED} Price; declare Discount or a union"),
        (list[Price], [Discount(amount=1, percent=2)], None),
        (float | None, math.nan, f"is float, which {CHANGED} float | None; declare float or a union"),
        (Maybe, Maybe(x=math.nan), f"{CHANGED} Maybe: x is nan, and comes back as None; declare a type that keeps it"),
        (
            Login,
            Login(key=SecretStr("hunter2")),
            f"{CHANGED} Login: key is a SecretStr, of which only asterisks are written; "
            "pass the name of the secret, and read it in the step that needs it",
        ),
        (Deep, nested(250), None),
        (UUID, 5, "does not fit UUID: UUID input should be a string, bytes or UUID object"),
        (
            str,
            "\ud800",
            "does not fit str: UnicodeEncodeError: 'utf-8' codec can't encode character '\\ud800' in position 0: "
            "surrogates not allowed",
        ),
        (object, object(), "does not fit object: unable to serialize unknown type: <class 'object'>"),
    ],
)
async def test_an_output_that_would_be_lost_or_changed_is_refused(
    runtime: Runtime, form: object, value: object, message: str | None
) -> None:
    seen, error = await given(form, value)

    assert seen is None
    assert error is not None
    assert (error.type, error.key, error.attempts) == ("InvalidValueError", "give", 1)
    assert message is None or error.message == f"output of step 'give' {message}"


async def test_a_value_nested_too_deep_is_refused_by_its_depth(runtime: Runtime) -> None:
    _, error = await given(Deep, nested(250))

    assert error is not None
    assert DEEP in error.message


async def test_a_refused_output_is_not_tried_again(runtime: Runtime) -> None:
    tries: list[int] = []

    @step(retry=Retry(attempts=3, delay="0s"))
    async def price() -> Price:
        tries.append(1)
        return Discount(amount=1, percent=2)

    workflow = create_workflow(id="pricing", input_schema=None, output_schema=Price).then(price).commit()
    result = await (await workflow.create_run()).start()

    assert isinstance(result, Failed)
    assert result.error.message == (
        "output of step 'price' is Discount, which does not survive storage as Price; declare Discount or a union"
    )
    assert tries == [1]


@step
async def send(mail: Cat) -> str:
    return mail.name


async def test_an_input_that_does_not_fit_fails_the_step_untried(runtime: Runtime) -> None:
    chain: Any = create_workflow(id="sending", input_schema=str, output_schema=str)
    workflow = chain.map(lambda text: {"nam": text}).then(send).commit()
    run = await workflow.create_run()
    result = await run.start("ada")

    assert isinstance(result, Failed)
    assert result.error.key == "send"
    assert result.error.message == (
        "input of step 'send' does not fit Cat: name: field required; put a .map() or .into(Cat) before it"
    )
    assert [event.event_type async for event in run.events()] == [
        "run_created", "run_started", "step_created", "step_failed", "run_failed"
    ]  # fmt: skip


async def test_an_input_that_fits_after_a_map_is_made_into_what_the_step_takes(runtime: Runtime) -> None:
    chain: Any = create_workflow(id="sending", input_schema=str, output_schema=str)
    workflow = chain.map(lambda text: {"name": text}).then(send).commit()

    assert await workflow.run("ada") == "ada"


async def test_an_output_of_a_map_that_does_not_fit_the_promise_fails_the_run(runtime: Runtime) -> None:
    chain: Any = create_workflow(id="promising", input_schema=int, output_schema=Price)
    result = await (await chain.map(lambda number: "free").commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.type == "InvalidValueError"
    assert result.error.message == (
        "output of workflow 'promising' does not fit Price: input should be a valid dictionary or instance of Price"
    )


async def test_a_run_is_not_begun_with_an_input_that_does_not_fit(runtime: Runtime) -> None:
    workflow = create_workflow(id="sending", input_schema=Cat, output_schema=str).then(send).commit()
    run = await workflow.create_run(run_id="r-17")

    with pytest.raises(InvalidValueError) as refused:
        await run.start({"nam": "ada"})  # type: ignore[arg-type]

    assert str(refused.value) == "input of run 'r-17' does not fit Cat: name: field required"
    assert (refused.value.what, refused.value.problems) == ("input of run 'r-17'", ["name: field required"])
    assert (await runtime.runs.list()).data == []


class Approve(BaseModel):
    kind: Literal["approve"]


class Edit(BaseModel):
    kind: Literal["edit"]
    text: str


async def test_of_a_union_the_member_that_is_meant_says_what_is_wrong(runtime: Runtime) -> None:
    flow = create_workflow(id="flow", input_schema=Approve | Edit, output_schema=int).map(lambda _: 1).commit()

    with pytest.raises(
        InvalidValueError, match=r"does not fit Approve \| Edit: Edit\.text: field required$"
    ) as refused:
        await (await flow.create_run()).start({"kind": "edit"})  # type: ignore[arg-type]  # as it comes from outside
    assert refused.value.problems == ["Edit.text: field required", "Approve.kind: input should be 'approve'"]


async def test_a_run_can_be_started_after_a_refused_input(runtime: Runtime) -> None:
    workflow = create_workflow(id="sending", input_schema=Cat, output_schema=str).then(send).commit()
    run = await workflow.create_run()
    with pytest.raises(InvalidValueError):
        await run.start({"nam": "ada"})  # type: ignore[arg-type]

    assert (await run.start(Cat(name="ada"))).unwrap() == "ada"


# --- limits ------------------------------------------------------------------------------------------


@step
async def grow(size: int) -> str:
    return "x" * size


async def test_a_value_over_the_limit_fails_its_step() -> None:
    growing = create_workflow(id="growing", input_schema=int, output_schema=str).then(grow).commit()
    async with Runtime(":memory:", limits=Limits(value_bytes=1000)):
        result = await (await growing.create_run()).start(1500)

    assert isinstance(result, Failed)
    assert result.error.type == "LimitError"
    assert result.error.message == (
        "output of step 'grow' has 1,502 bytes, the limit is 1,000; store it elsewhere and pass a reference, "
        "or raise Limits.value_bytes"
    )
    assert result.error.attributes == {"limit": 1000, "got": 1502}


async def test_a_value_at_the_limit_passes() -> None:
    growing = create_workflow(id="growing", input_schema=int, output_schema=str).then(grow).commit()
    async with Runtime(":memory:", limits=Limits(value_bytes=1000)):
        assert len(await growing.run(998)) == 998


async def test_the_input_of_a_run_has_the_same_limit() -> None:
    @step
    async def length(text: str) -> int:
        return len(text)

    measuring = create_workflow(id="measuring", input_schema=str, output_schema=int).then(length).commit()
    async with Runtime(":memory:", limits=Limits(value_bytes=1000)) as runtime:
        run = await measuring.create_run(run_id="r-17")
        with pytest.raises(LimitError, match=r"^input of run 'r-17' has 1,502 bytes, the limit is 1,000; "):
            await run.start("x" * 1500)
        assert (await runtime.runs.list()).data == []


async def test_the_state_after_a_step_has_the_same_limit() -> None:
    class Notes(BaseModel):
        text: str = ""

    @step
    async def note(size: int, ctx: StepContext[Notes]) -> int:
        ctx.state.text = "x" * size
        return size

    chain: Any = create_workflow(id="noting", input_schema=int, output_schema=int, state_schema=Notes)
    async with Runtime(":memory:", limits=Limits(value_bytes=1000)):
        result = await (await chain.then(note).commit().create_run()).start(1500)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.key) == ("LimitError", "note")
    assert result.error.message.startswith("state after step 'note' has 1,511 bytes, the limit is 1,000; ")


async def test_the_payload_of_a_suspension_has_the_same_limit_and_the_body_is_told() -> None:
    @step
    async def ask(size: int, ctx: SuspendContext[str, str]) -> str:
        try:
            return ctx.suspend("x" * size)
        except LimitError:
            return ctx.suspend("in short")

    @step(id="fail")
    async def ask_at_length(text: str, ctx: SuspendContext[str, str]) -> str:
        return ctx.suspend("x" * 1500)

    chain: Any = create_workflow(id="asking", input_schema=int, output_schema=str)
    async with Runtime(":memory:", limits=Limits(value_bytes=1000)):
        run = await chain.then(ask).then(ask_at_length).commit().create_run()
        parked = await run.start(1500)
        assert [suspension.payload for suspension in parked.suspensions] == ["in short"]
        result = await run.resume(ask, "yes")

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.key) == ("LimitError", "fail")
    assert result.error.message.startswith("payload of step 'fail' has 1,502 bytes, the limit is 1,000; ")
    assert result.error.message.endswith("or raise Limits.value_bytes")


async def test_a_log_over_the_limit_fails_the_run() -> None:
    chain: Any = create_workflow(id="long", input_schema=int, output_schema=int)
    for number in range(10):
        chain = chain.then(
            create_step(id=f"add-{number}", input_schema=int, output_schema=int, execute=lambda n: n + 1)
        )
    async with Runtime(":memory:", limits=Limits(events=20)) as runtime:
        result = await (await chain.commit().create_run()).start(0)
        code = (await runtime.world.storage.runs.get(result.run_id)).error_code

    assert isinstance(result, Failed)
    assert (result.error.type, code) == ("LimitError", "MAX_EVENTS_EXCEEDED")


async def test_a_value_over_the_limit_is_no_full_log() -> None:
    @step
    async def long(number: int) -> str:
        return "x" * number

    flow = create_workflow(id="long-text", input_schema=int, output_schema=str).then(long).commit()
    async with Runtime(":memory:", limits=Limits(value_bytes=1000)) as runtime:
        result = await (await flow.create_run()).start(1500)
        code = (await runtime.world.storage.runs.get(result.run_id)).error_code

    assert (result.status, code) == ("failed", "USER_ERROR")
