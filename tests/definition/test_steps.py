"""Making a step: ids, types, options, and every definition that is refused."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial, wraps
from types import FunctionType
from typing import Annotated, Any, NamedTuple, Self, TypeVar

import pytest
from pydantic import BaseModel

from wrkflw.context import StepContext, SuspendContext
from wrkflw.decorators import create_step, step
from wrkflw.errors import DefinitionError
from wrkflw.retries import Retry
from wrkflw.steps import Step, SuspendableStep


class Letter(BaseModel):
    to: str


class Receipt(BaseModel):
    number: int


class Registered(Letter):
    number: int = 0


class Counters(BaseModel):
    sent: int = 0


A = TypeVar("A")
B = TypeVar("B")


def logged(function: Callable[[A], B]) -> Callable[[A, StepContext], B]:
    @wraps(function)
    def inner(letter: A, ctx: StepContext) -> B:
        ctx.logger.info("called")
        return function(letter)

    return inner


def handing_on(function: Callable[..., B]) -> Callable[..., B]:
    @wraps(function)
    def inner(*args: object, **options: object) -> B:
        return function(*args, **options)

    return inner


@step
async def send_letter(letter: Letter) -> Receipt:
    return Receipt(number=len(letter.to))


def send(letter: Letter) -> Receipt:
    return Receipt(number=len(letter.to))


def untyped(data: Any) -> Any:
    return data


del untyped.__annotations__["data"], untyped.__annotations__["return"]


def test_the_id_is_the_name_of_the_function_with_hyphens() -> None:
    assert send_letter.id == "send-letter"


def test_the_types_are_the_annotations() -> None:
    assert send_letter.input_schema is Letter
    assert send_letter.output_schema is Receipt


def test_a_step_shows_its_id_and_types() -> None:
    assert repr(send_letter) == "Step('send-letter', Letter -> Receipt)"


def test_options_may_be_given_to_the_decorator() -> None:
    retry = Retry(attempts=5)

    @step(id="x", retry=retry, timeout="30s", at_most_once=True, description="Sends", metadata={"team": "post"})
    def sending(letter: Letter) -> Receipt:
        return send(letter)

    assert sending.id == "x"
    assert sending.retry is retry
    assert sending.timeout == timedelta(seconds=30)
    assert sending.at_most_once
    assert sending.description == "Sends"
    assert sending.metadata == {"team": "post"}


def test_without_options_there_is_no_retry_and_no_timeout() -> None:
    assert send_letter.retry is None
    assert send_letter.timeout is None
    assert not send_letter.at_most_once


def test_create_step_takes_the_function_as_an_argument() -> None:
    made = create_step(id="send", execute=send)

    assert (made.id, made.input_schema, made.output_schema) == ("send", Letter, Receipt)


def test_create_step_supplies_the_types_that_annotations_lack() -> None:
    made = create_step(id="send", input_schema=Letter, output_schema=Receipt, execute=lambda letter: send(letter))

    assert (made.input_schema, made.output_schema) == (Letter, Receipt)


def test_create_step_without_a_function_is_a_decorator() -> None:
    @create_step(id="send", input_schema=Letter, output_schema=Receipt, timeout="5s")
    async def made(letter: Letter) -> Receipt:
        return send(letter)

    assert (made.id, made.input_schema, made.timeout) == ("send", Letter, timedelta(seconds=5))


def test_create_step_needs_a_function_or_both_schemas() -> None:
    create: Callable[..., object] = create_step
    text = "create_step(id='send') has no function; pass execute=, or both schemas to decorate with it"

    with pytest.raises(TypeError, match=re.escape(text)):
        create(id="send", input_schema=Letter)


def test_none_is_a_schema() -> None:
    @step
    def stop(data: None) -> None:
        """Nothing to do."""

    assert repr(stop) == "Step('stop', None -> None)"


def test_a_step_without_input_takes_anything() -> None:
    @step
    def now() -> str:
        return "noon"

    assert now.input_schema is object
    assert now.body.arity == 0


def test_annotated_types_stay_annotated() -> None:
    @step
    def weigh(grams: Annotated[int, "grams"]) -> int:
        return grams

    assert weigh.input_schema == Annotated[int, "grams"]


# ------------------------------------------------------------------ the body
def test_the_body_says_how_it_is_called() -> None:
    @step
    async def counted(letter: Letter, ctx: StepContext[Counters]) -> Receipt:
        return send(letter)

    body = counted.body

    assert (body.arity, body.is_async, body.context, body.state) == (2, True, "step", Counters)


def test_a_plain_function_is_a_body_that_needs_no_context_and_no_state() -> None:
    body = create_step(id="send", execute=send).body

    assert (body.function, body.arity, body.is_async, body.context, body.state) == (send, 1, False, None, object)


def test_a_body_that_may_suspend_makes_a_suspendable_step() -> None:
    @step
    def ask(letter: Letter, ctx: SuspendContext[Receipt, Letter, Counters]) -> Receipt:
        return Receipt(number=1)

    assert isinstance(ask, SuspendableStep)
    assert (ask.body.context, ask.body.state) == ("suspend", Counters)


def test_a_context_without_arguments_needs_no_state() -> None:
    @step
    def look(letter: Letter, ctx: StepContext) -> Receipt:
        return send(letter)

    assert look.body.state is object


def test_a_function_that_hands_on_an_awaitable_is_asynchronous() -> None:
    async def later(letter: Letter) -> Receipt:
        return send(letter)

    def hand_on(letter: Letter) -> Awaitable[Receipt]:
        return later(letter)

    made = create_step(id="send", execute=hand_on)

    assert made.body.is_async
    assert made.output_schema is Receipt


def test_a_method_and_a_partial_may_be_bodies() -> None:
    class Office:
        def send(self, letter: Letter) -> Receipt:
            return send(letter)

    def send_from(office: str, letter: Letter) -> Receipt:
        return send(letter)

    method = create_step(id="method", execute=Office().send)
    part = create_step(id="part", execute=partial(send_from, "Berlin"))

    assert (method.input_schema, method.body.arity) == (Letter, 1)
    assert (part.input_schema, part.body.arity) == (Letter, 1)


# ------------------------------------------------------------------ decorated functions
async def test_a_wrapper_may_add_the_context() -> None:
    made = step(logged(send))

    assert (made.input_schema, made.output_schema) == (Letter, Receipt)
    assert (made.body.arity, made.body.context) == (2, "step")
    assert await made(Letter(to="Ada"), StepContext.for_test()) == Receipt(number=3)


async def test_a_wrapper_may_fill_in_what_the_function_needs() -> None:
    def from_berlin(function: Callable[[str, Letter], Receipt]) -> Callable[[Letter], Receipt]:
        @wraps(function)
        def inner(letter: Letter) -> Receipt:
            return function("Berlin", letter)

        return inner

    @step
    @from_berlin
    def send_from(office: str, letter: Letter) -> Receipt:
        return Receipt(number=len(office))

    assert (send_from.input_schema, send_from.body.arity) == (Letter, 1)
    assert await send_from(Letter(to="Ada")) == Receipt(number=6)


@pytest.mark.parametrize("decorate", [handing_on, lru_cache, lambda function: handing_on(handing_on(function))])
def test_of_a_wrapper_that_takes_anything_the_function_inside_tells(decorate: Callable[..., Any]) -> None:
    class Office:
        send = handing_on(Sender.send)

    outer: Any = handing_on(logged(send))

    assert create_step(id="send", execute=decorate(send)).body.arity == 1
    assert create_step(id="send", execute=Office().send).input_schema is Letter
    assert create_step(id="send", execute=outer).body.context == "step"


def test_the_parameter_of_a_wrapper_needs_the_name_it_has_inside() -> None:
    def sending(data: Letter) -> Receipt:
        return send(data)

    text = "parameter 'letter' of step 'sending' has no type; name it as the function that is wrapped does, or pass"
    with pytest.raises(DefinitionError, match=re.escape(text)):
        step(logged(sending))
    assert create_step(id="sending", execute=logged(sending), input_schema=Letter).body.context == "step"


# ------------------------------------------------------------------ types that a call decides
class Pair(NamedTuple):
    x: int


def test_a_class_gives_itself() -> None:
    @dataclass
    class Point:
        x: int

    class Plain:
        def __init__(self, x: int):  # as it is often written
            self.x = x

    assert step(id="point")(Point).output_schema is Point
    assert create_step(id="point", execute=Point, input_schema=int, output_schema=Point).output_schema is Point
    assert step(id="plain")(Plain).output_schema is Plain
    assert step(id="partial")(partial(Point)).output_schema is Point
    with pytest.raises(DefinitionError, match="has no return type"):  # which is told by its __new__ alone
        step(id="pair")(Pair)
    with pytest.raises(DefinitionError, match="returns Point but output_schema is int"):
        create_step(id="point", execute=Point, input_schema=int, output_schema=int)  # type: ignore[arg-type]  # on purpose


def test_the_self_of_a_method_is_its_class() -> None:
    class Form(BaseModel):
        n: int

        def next(self) -> Self:
            return self

    load = create_step(id="load", execute=Form.model_validate, input_schema=dict[str, int], output_schema=Form)

    assert (load.output_schema, load.stored_output_schema) == (Form, Form)
    assert create_step(id="next", execute=Form(n=1).next).output_schema is Form


def test_where_a_type_variable_stands_the_schema_that_is_passed_counts() -> None:
    def first(items: list[A]) -> A:
        return items[0]

    made = create_step(id="first", execute=first, input_schema=list[Letter], output_schema=Letter)

    assert (made.input_schema, made.stored_output_schema) == (list[Letter], Letter)


def test_a_context_may_be_annotated() -> None:
    @step
    def sending(letter: Letter, ctx: Annotated[StepContext[Counters], "mine"]) -> Receipt:
        return send(letter)

    assert (sending.body.context, sending.body.state) == ("step", Counters)


def test_a_keyword_with_a_default_is_the_functions_own() -> None:
    def resend(letter: Letter, *, times: int = 2) -> Receipt:
        return send(letter)

    assert create_step(id="resend", execute=resend).body.arity == 1


async def test_a_default_without_a_type_is_the_functions_own() -> None:
    create: Any = create_step  # mypy knows no type for such a lambda
    steps = [
        create(id=f"add-{i}", execute=lambda number, i=i: number + i, input_schema=int, output_schema=int)
        for i in range(3)
    ]

    assert [await each(10) for each in steps] == [10, 11, 12]
    assert {(each.body.arity, each.body.context) for each in steps} == {(1, None)}


def test_outputs_are_stored_by_the_annotation_when_it_is_more_precise() -> None:
    def register(letter: Letter) -> Registered:
        return Registered(to=letter.to)

    made = create_step(id="register", input_schema=Letter, output_schema=Letter, execute=register)

    assert made.output_schema is Letter
    assert made.stored_output_schema is Registered


# ------------------------------------------------------------------ annotations that are known later
@step
def forward(parcel: Parcel) -> Parcel:
    return parcel


class Parcel(BaseModel):
    weight: int


def test_an_annotation_may_name_what_is_defined_further_down() -> None:
    assert forward.input_schema is Parcel
    assert repr(forward) == "Step('forward', Parcel -> Parcel)"


def test_an_annotation_may_name_a_class_of_the_enclosing_function() -> None:
    class Local(BaseModel):
        n: int

    @step
    def double(data: Local) -> Local:
        return Local(n=data.n * 2)

    assert double.input_schema is Local


def test_an_annotation_that_names_nothing_is_refused_when_it_is_needed() -> None:
    def lose(letter: Letter) -> Receipt:
        return send(letter)

    lose.__annotations__["letter"] = "Nowhere"
    made = create_step(id="lose", execute=lose)
    text = (
        "an annotation of step 'lose' says 'Nowhere', which is not defined; "
        "import it at run time too, or pass input_schema= and output_schema="
    )

    assert repr(made) == "Step('lose')"
    with pytest.raises(DefinitionError, match=re.escape(text)):
        _ = made.input_schema


def elsewhere(function: Callable[..., B], **annotations: str) -> Callable[..., B]:
    """The function as if it stood in a module that imports nothing, but for type checkers."""
    twin = FunctionType(function.__code__, {})
    twin.__annotations__ = annotations
    return twin


def test_with_both_schemas_no_annotation_need_be_found() -> None:
    def sending(letter: Any, ctx: Any) -> Any:
        raise NotImplementedError

    alone = elsewhere(sending, letter="Letter", ctx="SC", **{"return": "Receipt"})
    asking = elsewhere(sending, letter="Letter", ctx="wrkflw.SuspendContext[X, Y]", **{"return": "Receipt"})
    made = create_step(id="alone", execute=alone, input_schema=Letter, output_schema=Receipt)

    assert (made.input_schema, made.stored_output_schema, made.body.context) == (Letter, Receipt, "step")
    made = create_step(id="asking", execute=asking, input_schema=Letter, output_schema=Receipt)
    assert isinstance(made, SuspendableStep)
    assert made.body.context == "suspend"
    with pytest.raises(DefinitionError, match="says 'Letter', which is not defined; import it at run time too"):
        _ = create_step(id="half", execute=alone, output_schema=Receipt).body


def test_a_context_may_be_imported_for_checkers_alone() -> None:
    def sending(number: Any, ctx: Any) -> Any:
        raise NotImplementedError

    alone = elsewhere(sending, number="int", ctx="StepContext[str]", **{"return": "int"})
    made = create_step(id="alone", execute=alone)

    assert (made.input_schema, made.body.context, made.body.state) == (int, "step", str)


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        ("int[", "SyntaxError: Forward reference must be an expression -- got 'int['"),
        ("re.Nope", "AttributeError: module 're' has no attribute 'Nope'"),
    ],
)
def test_an_annotation_that_is_no_type_is_refused_with_whose_it_is(annotation: str, problem: str) -> None:
    def lose(letter: Letter) -> Receipt:
        return send(letter)

    lose.__annotations__["letter"] = annotation
    text = f"an annotation of step 'lose' cannot be read ({problem}); make it a type"
    with pytest.raises(DefinitionError, match=re.escape(text)):
        create_step(id="lose", execute=lose)


# ------------------------------------------------------------------ what is refused
def three(data: Letter, ctx: StepContext, more: int) -> Receipt:
    raise NotImplementedError


def starred(*data: Letter) -> Receipt:
    raise NotImplementedError


def required_keyword(data: Letter, *, strict: bool) -> Receipt:
    raise NotImplementedError


def no_context(data: Letter, ctx: Receipt) -> Receipt:
    raise NotImplementedError


def context_first(ctx: StepContext) -> Receipt:
    raise NotImplementedError


def context_by_keyword(data: Letter, *, ctx: StepContext | None = None) -> Receipt:
    raise NotImplementedError


class Sender:
    def send(self, data: Letter) -> Receipt:
        raise NotImplementedError

    def send_in_context(self, data: Letter, ctx: StepContext) -> Receipt:
        raise NotImplementedError


def generator(data: Letter) -> Iterator[Receipt]:
    yield send(data)


async def async_generator(data: Letter) -> AsyncIterator[Receipt]:
    yield send(data)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (three, "step 'send' has 3 parameters; a body takes nothing, its input, or its input and a context"),
        (starred, "step 'send' takes *data; a body takes nothing, its input, or its input and a context"),
        (required_keyword, "step 'send' takes strict; a body takes nothing, its input, or its input and a context"),
        (
            no_context,
            "parameter 'ctx' of step 'send' is Receipt; "
            "a body takes nothing, its input, or its input and a context: StepContext or SuspendContext",
        ),
        (
            context_first,
            "parameter 'ctx' of step 'send' is a context; the input comes first, the context second",
        ),
        (
            context_by_keyword,
            "parameter 'ctx' of step 'send' is a context with a default, which it would keep; "
            "make it the second parameter",
        ),
        (untyped, "parameter 'data' of step 'send' has no type; annotate it or pass input_schema="),
        (
            Sender.send,
            "step 'send' takes 'self', which no run can give it; "
            "write step(obj.method) for the method of an object, or make it a @staticmethod",
        ),
        (
            Sender.send_in_context,
            "step 'send' takes 'self', which no run can give it; "
            "write step(obj.method) for the method of an object, or make it a @staticmethod",
        ),
        (generator, "step 'send' is a generator; a step gives one value, use ctx.write() for chunks"),
        (async_generator, "step 'send' is a generator; a step gives one value, use ctx.write() for chunks"),
    ],
)
def test_a_function_that_cannot_be_a_body_is_refused(function: Callable[..., Any], text: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(text) + "$"):
        create_step(id="send", execute=function)


def test_a_body_without_a_return_type_is_refused() -> None:
    text = "step 'send' has no return type; annotate it or pass output_schema="

    with pytest.raises(DefinitionError, match=re.escape(text) + "$"):
        create_step(id="send", input_schema=Letter, execute=untyped)


def test_a_context_without_a_type_is_refused_where_no_schema_is_passed() -> None:
    def look(letter: Letter, ctx: Any) -> Receipt:
        return send(letter)

    del look.__annotations__["ctx"]

    with pytest.raises(
        DefinitionError, match=re.escape("parameter 'ctx' of step 'send' has no type; annotate it as StepContext")
    ):
        create_step(id="send", execute=look)


def test_a_lambda_has_no_name() -> None:
    make: Callable[[Any], object] = step
    text = "a lambda has no name to make an id of; pass id='...'"

    with pytest.raises(DefinitionError, match=re.escape(text) + "$"):
        make(lambda letter: letter)


@pytest.mark.parametrize("bad", ["send/mail", "", "a b", "poll#1", "x" * 129, "größe", "line\n"])
def test_an_id_that_keys_could_not_hold_is_refused(bad: str) -> None:
    text = f"{bad!r} cannot be a step id; use letters, digits, '.', '_' and '-', at most 128"

    with pytest.raises(DefinitionError, match=re.escape(text) + "$"):
        step(id=bad)
    with pytest.raises(DefinitionError, match=re.escape(text) + "$"):
        create_step(id=bad, execute=send)
    with pytest.raises(DefinitionError, match=re.escape(text) + "$"):
        send_letter.with_id(bad)


def test_the_longest_id_is_128_characters() -> None:
    assert step(id="x" * 128)(send).id == "x" * 128


def test_an_annotation_and_a_schema_must_agree() -> None:
    def write(letter: Letter) -> Letter:
        return letter

    create: Callable[..., object] = create_step

    with pytest.raises(
        DefinitionError, match=re.escape("step 'send' returns Letter but output_schema is Receipt; make them agree")
    ):
        create(id="send", input_schema=Letter, output_schema=Receipt, execute=write)
    with pytest.raises(
        DefinitionError, match=re.escape("step 'send' takes Letter but input_schema is Receipt; make them agree")
    ):
        create(id="send", input_schema=Receipt, output_schema=Letter, execute=write)


@pytest.mark.parametrize("make", [step, partial(create_step, id="send", execute=send)])
def test_an_unknown_option_is_refused_with_a_guess(make: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match=re.escape("unknown option 'retires'; did you mean 'retry'?")):
        make(retires=3)


def test_an_unknown_option_like_no_other_is_refused_without_a_guess() -> None:
    make: Callable[..., object] = step

    with pytest.raises(TypeError, match=re.escape("unknown option 'queue'") + "$"):
        make(queue="fast")


def test_options_are_checked_on_their_own_line() -> None:
    make: Callable[..., object] = step

    with pytest.raises(ValueError, match=re.escape("got '5 minuts'; did you mean '5 minutes'?")):
        make(timeout="5 minuts")
    with pytest.raises(TypeError, match=re.escape("retry= takes a Retry, got 3; write Retry(attempts=...)")):
        make(retry=3)
    with pytest.raises(TypeError, match=re.escape("at_most_once= is True or False, got 'no'")):
        make(at_most_once="no")
    for metadata in (["a"], {"team": 3}, "team"):
        with pytest.raises(TypeError, match=re.escape(f"metadata= takes a dict of str to str, got {metadata!r}")):
            make(metadata=metadata)


def test_a_step_is_not_made_of_a_step() -> None:
    text = "'send-letter' is already a step; use it as it is, or .with_id('...') for another id"

    makes: list[Callable[[Any], object]] = [step, step(id="twice")]
    for make in makes:
        with pytest.raises(TypeError, match=re.escape(text)):
            make(send_letter)


def test_a_step_is_made_of_a_function() -> None:
    make: Callable[[Any], object] = step

    with pytest.raises(TypeError, match=re.escape("a step is made of a function, got 'send'; an id is passed as id=")):
        make("send")


# ------------------------------------------------------------------ with_id
def test_with_id_gives_the_same_step_under_another_id() -> None:
    sending = create_step(id="send", execute=send, retry=Retry(), timeout="5s", description="d", metadata={"a": "b"})
    again = sending.with_id("send-again")

    assert type(again) is Step
    assert (sending.id, again.id) == ("send", "send-again")
    for name in ("body", "input_schema", "output_schema", "retry", "timeout", "description", "metadata"):
        assert getattr(sending, name) == getattr(again, name)


def test_with_id_keeps_a_suspendable_step_suspendable() -> None:
    @step
    def ask(letter: Letter, ctx: SuspendContext[Receipt, Letter]) -> Receipt:
        return Receipt(number=1)

    assert isinstance(ask.with_id("again"), SuspendableStep)


# ------------------------------------------------------------------ called directly
async def test_a_step_can_be_called_without_a_run() -> None:
    assert Receipt(number=3) == await send_letter(Letter(to="Ada"))


async def test_a_plain_body_runs_in_a_thread_and_so_may_an_awaitable_of_it() -> None:
    made = create_step(id="send", input_schema=Letter, output_schema=Receipt, execute=lambda data: send_letter(data))

    assert Receipt(number=3) == await create_step(id="send", execute=send)(Letter(to="Ada"))
    assert Receipt(number=3) == await made(Letter(to="Ada"))


async def test_a_body_without_input_is_called_with_nothing() -> None:
    @step
    def now() -> str:
        return "noon"

    assert await now(None) == "noon"


async def test_a_body_that_wants_a_context_must_be_given_one() -> None:
    @step
    async def send(letter: Letter, ctx: StepContext) -> str:
        return ctx.idempotency_key

    assert await send(Letter(to="Ada"), StepContext.for_test()) == "test:test"
    with pytest.raises(TypeError, match=re.escape("step 'send' wants a context; pass StepContext.for_test()")):
        await send(Letter(to="Ada"))
