"""What commit() refuses, rule by rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, ForwardRef, Protocol

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from wrkflw.builder import create_workflow
from wrkflw.context import MapContext, StepContext, SuspendContext
from wrkflw.decorators import create_step, step
from wrkflw.errors import DefinitionError, DuplicateStepError
from wrkflw.events import Event
from wrkflw.merging import Merge


class UserId(BaseModel):
    user_id: str


class User(BaseModel):
    name: str
    email: str


class Letter(BaseModel):
    subject: str
    body: str


class Outgoing(Letter):
    to: str


class Receipt(BaseModel):
    number: int


class Counters(BaseModel):
    sent: int = 0


class Totals(BaseModel):
    amount: float


class HasEmail(Protocol):
    email: str


class Handle:
    """A class that pydantic knows nothing of."""


@step
async def fetch_user(data: UserId) -> User:
    return User(name=data.user_id, email="")


@step
def write_letter(user: User) -> Letter:
    return Letter(subject=user.name, body="")


@step
def send_email(letter: Outgoing) -> Receipt:
    return Receipt(number=1)


@step
def count(receipt: Receipt, ctx: StepContext[Counters]) -> Receipt:
    return receipt


@step
def ask(letter: Letter, ctx: SuspendContext[Receipt, Letter]) -> Receipt:
    return Receipt(number=1)


async def async_map(user: User) -> str:
    return user.name


def generator_map(user: User) -> Iterator[str]:
    yield user.name


def chain(input_schema: Any = UserId, output_schema: Any = Receipt, **options: Any) -> Any:
    """A builder whose checks are those of run time alone."""
    create: Callable[..., Any] = create_workflow
    return create(id="campaign", input_schema=input_schema, output_schema=output_schema, **options)


def problems(builder: Any) -> list[str]:
    """What commit() tells: the error, then its notes."""
    with pytest.raises(DefinitionError) as caught:
        builder.commit()
    return [str(caught.value), *getattr(caught.value, "__notes__", [])]


def test_a_workflow_has_a_node() -> None:
    text = "workflow 'campaign' is empty; add a step with .then() before .commit()"

    assert [text] == problems(chain())


def test_ids_are_unique() -> None:
    text = "workflow 'campaign' already has a step 'fetch-user'; use fetch_user.with_id('...') for the second"
    builder = chain(output_schema=User).then(fetch_user).map(lambda user: UserId(user_id=user.name)).then(fetch_user)

    with pytest.raises(DuplicateStepError, match=re.escape(text) + "$") as caught:
        builder.commit()

    assert (caught.value.workflow_id, caught.value.step_id) == ("campaign", "fetch-user")


def test_a_step_may_be_used_twice_under_two_ids() -> None:
    twice = (
        chain(output_schema=User)
        .then(fetch_user)
        .map(lambda user: UserId(user_id=user.name))
        .then(fetch_user.with_id("fetch-again"))
        .commit()
    )

    assert list(twice.graph.steps) == ["fetch-user", "fetch-again"]


def test_a_map_may_not_take_the_id_of_another_node() -> None:
    builder = chain(output_schema=str).map(lambda data: data, id="same").map(lambda _: "", id="same")

    assert problems(builder) == ["workflow 'campaign' already has a node 'same'; pass id='...' to the second"]


def test_each_step_takes_what_flows_in() -> None:
    text = "step 'send-email' takes Outgoing but follows 'write-letter', which gives Letter; put a .map() between them"

    assert [text] == problems(chain().then(fetch_user).then(write_letter).then(send_email))


def test_the_first_step_takes_what_the_workflow_takes() -> None:
    text = (
        "step 'write-letter' takes User but is first in workflow 'campaign', which takes UserId; put a .map() before it"
    )

    assert [text] == problems(chain(output_schema=Letter).then(write_letter))


def test_a_step_may_take_a_base_class_a_union_or_anything() -> None:
    def show(letter: Letter | None) -> str:
        return ""

    def anything(data: object) -> str:
        return ""

    assert chain(Outgoing, str).then(create_step(id="show", execute=show)).commit()
    assert chain(Outgoing, str).then(create_step(id="any", execute=anything)).commit()


def test_a_step_without_input_fits_anywhere() -> None:
    @step
    def now() -> str:
        return "noon"

    assert chain(output_schema=str).then(fetch_user).then(now).commit()


def test_the_last_output_fits_what_is_promised() -> None:
    text = "workflow 'campaign' promises Receipt but its last step 'write-letter' gives Letter"

    assert [text] == problems(chain().then(fetch_user).then(write_letter))


def test_the_output_of_a_last_map_fits_what_is_promised() -> None:
    def name(user: User) -> str:
        return user.name

    text = "workflow 'campaign' promises Receipt but its last node 'map-1' gives str"

    assert [text] == problems(chain().then(fetch_user).map(name))


def test_a_more_precise_output_is_welcome() -> None:
    assert chain(Outgoing, Receipt | None).then(send_email).commit()


def test_after_a_lambda_the_check_moves_to_run_time() -> None:
    assert chain().then(fetch_user).map(lambda user: user).then(send_email).commit()


def test_an_annotated_map_is_checked_at_both_ends() -> None:
    def address(letter: Letter) -> User:
        return User(name="", email="")

    builder = chain().then(fetch_user).map(address).then(send_email)

    assert problems(builder) == [
        "map 'map-1' takes Letter but follows 'fetch-user', which gives User; put a .map() between them",
        "step 'send-email' takes Outgoing but follows 'map-1', which gives User; put a .map() between them",
    ]


def test_the_first_problem_is_raised_and_the_others_hang_on_it() -> None:
    told = problems(chain().then(fetch_user).then(send_email).then(count))

    assert told[0].startswith("step 'send-email' takes Outgoing")
    assert told[1:] == [
        "step 'count' needs state Counters but workflow 'campaign' has none; pass state_schema=Counters"
    ]


# ------------------------------------------------------------------ into
def test_into_needs_every_required_field() -> None:
    builder = chain().then(fetch_user).then(write_letter).into(Outgoing).then(send_email)

    assert problems(builder) == ["into(Outgoing) after 'write-letter': Letter has no field 'to'; use .map()"]


def test_into_needs_them_of_each_type_that_may_flow_in() -> None:
    problem = "into(Outgoing) at the start: {} has no field {!r}; use .map()"

    assert problems(chain(Letter | User | None, Outgoing).into(Outgoing)) == [
        problem.format("Letter", "to"),
        *(problem.format("User", name) for name in ("subject", "body", "to")),
    ]


def test_into_may_come_first() -> None:
    assert problems(chain().into(Receipt)) == ["into(Receipt) at the start: UserId has no field 'number'; use .map()"]


def test_into_may_drop_fields_and_leave_out_those_with_a_default() -> None:
    class Name(BaseModel):
        name: str
        title: str = ""

    assert chain(output_schema=Name).then(fetch_user).into(Name).commit()


def test_into_knows_the_fields_of_typed_dicts_and_dataclasses() -> None:
    class Row(TypedDict):
        name: str

    assert problems(chain(Row, User).into(User)) == ["into(User) at the start: Row has no field 'email'; use .map()"]


# ------------------------------------------------------------------ maps
@pytest.mark.parametrize(
    ("function", "text"),
    [
        (async_map, "map 'map-1' is async; maps are plain functions, do the work in a step before"),
        (generator_map, "map 'map-1' is a generator; a map gives one value, return a list"),
        (lambda: "", "map 'map-1' takes 0 parameters but gets one value; take one parameter"),
        (lambda user, ctx: "", "map 'map-1' takes 2 parameters but gets one value; use .map_ctx() for a context"),
    ],
)
def test_a_map_is_a_plain_function_of_one_value(function: Any, text: str) -> None:
    assert text == problems(chain().then(fetch_user).map(function))[0]


def test_a_contextual_map_takes_a_value_and_a_context() -> None:
    text = "map 'map-1' takes 1 parameter but gets a value and a context; use .map() without a context"

    assert [text] == problems(chain().then(fetch_user).map_ctx(lambda user: user))


def test_a_contextual_map_may_be_annotated() -> None:
    def address(letter: Letter, ctx: MapContext[UserId, None]) -> Outgoing:
        return Outgoing(to="", subject="", body="")

    assert chain().then(fetch_user).then(write_letter).map_ctx(address).then(send_email).commit()


# ------------------------------------------------------------------ state
def test_a_step_that_needs_state_needs_a_workflow_that_has_it() -> None:
    text = "step 'count' needs state Counters but workflow 'campaign' has none; pass state_schema=Counters"

    assert [text] == problems(chain(Receipt).then(count))


def test_a_step_needs_the_state_that_the_workflow_has() -> None:
    class Tally(BaseModel):
        amount: float = 0.0

    text = "step 'count' needs state Counters but workflow 'campaign' has Tally; make them agree"

    assert [text] == problems(chain(Receipt, state_schema=Tally).then(count))


def test_state_is_made_without_arguments() -> None:
    text = (
        "state Totals of workflow 'campaign' cannot be made without arguments (ValidationError); "
        "give every field a default"
    )

    assert [text] == problems(chain(Receipt, Receipt, state_schema=Totals).map(lambda receipt: receipt))


@pytest.mark.parametrize("make", [lambda: Counters(sent=3), partial(Counters, sent=3), Counters(sent=3)])
def test_state_is_a_class_and_nothing_that_was_or_will_be_made(make: Any) -> None:
    told = problems(chain(Outgoing, state_schema=make).then(send_email))

    assert told[0].endswith(
        "of workflow 'campaign' is no class; pass a class, and what its fields begin with as their defaults"
    )


def test_a_step_that_needs_no_state_fits_any_workflow() -> None:
    assert chain(Outgoing, state_schema=Counters).then(send_email).then(count).commit()


# ------------------------------------------------------------------ schemas
def test_a_workflow_may_not_take_a_protocol() -> None:
    text = "workflow 'campaign' takes HasEmail, a Protocol, which cannot be loaded; take a model"

    assert [text] == problems(chain(HasEmail, str).map(lambda data: data.email))


def test_a_step_may_take_a_protocol_but_not_give_one() -> None:
    @step
    def address(data: HasEmail) -> str:
        return data.email

    @step
    def hide(data: UserId) -> HasEmail:
        return User(name="", email=data.user_id)

    text = "step 'hide' gives HasEmail, a Protocol, which cannot be loaded; give a model"

    assert chain(output_schema=str).then(fetch_user).then(address).commit()
    assert [text] == problems(chain(output_schema=object).then(hide))


def test_a_protocol_is_refused_where_a_member_is_missing() -> None:
    @step
    def address(data: HasEmail) -> str:
        return data.email

    text = (
        "step 'address' takes HasEmail but is first in workflow 'campaign', which takes UserId; put a .map() before it"
    )

    assert [text] == problems(chain(output_schema=str).then(address))


def test_schemas_are_built_at_commit() -> None:
    def hold(data: UserId) -> Handle:
        return Handle()

    builder = chain(output_schema=object).then(create_step(id="hold", execute=hold))

    assert problems(builder)[0].startswith("output of step 'hold': Handle cannot be a schema: ")


def test_a_schema_that_names_what_is_not_defined_is_refused_with_whose_it_is() -> None:
    nowhere: Any = ForwardRef("Nowhere")
    hold = create_step(id="hold", input_schema=nowhere, output_schema=str, execute=lambda data: "")
    begun: Any = create_workflow(id="campaign", input_schema=nowhere, output_schema=nowhere)

    what = "ForwardRef('Nowhere') cannot be a schema: name 'Nowhere' is not defined; define it first"
    assert problems(begun.then(hold)) == [
        f"input of workflow 'campaign': {what}",
        f"output of workflow 'campaign': {what}",
        f"input of step 'hold': {what}",
    ]


def test_annotations_are_looked_up_at_commit() -> None:
    def lose(data: UserId) -> str:
        return ""

    lose.__annotations__["return"] = "Nowhere"
    builder = chain(output_schema=str).then(create_step(id="lose", execute=lose))

    assert problems(builder)[0].startswith("an annotation of step 'lose' says 'Nowhere', which is not defined; ")


# ------------------------------------------------------------------ suspending steps
def test_a_suspending_step_carries_the_types_of_its_answers_and_payloads() -> None:
    @step
    def approve(letter: Letter, ctx: SuspendContext[Receipt, Letter, Counters]) -> Receipt:
        return Receipt(number=1)

    @step
    def untyped(letter: Letter, ctx: SuspendContext) -> Receipt:  # type: ignore[type-arg]  # that is what is tested
        return Receipt(number=1)

    assert chain(Letter).then(ask).commit()
    assert (ask.body.context, ask.body.resume, ask.body.suspend, ask.body.state) == ("suspend", Receipt, Letter, object)
    assert (approve.body.resume, approve.body.suspend, approve.body.state) == (Receipt, Letter, Counters)
    assert (untyped.body.resume, untyped.body.suspend, untyped.body.state) == (object, object, object)
    assert (count.body.resume, count.body.suspend, count.body.state) == (object, object, Counters)


def test_the_schemas_of_answers_and_payloads_are_built_at_commit() -> None:
    @step
    def hold(data: UserId, ctx: SuspendContext[Handle, Handle]) -> Receipt:
        return Receipt(number=1)

    told = problems(chain().then(hold))

    assert told[0].startswith("answer of step 'hold': Handle cannot be a schema: ")
    assert told[1].startswith("suspend payload of step 'hold': Handle cannot be a schema: ")


# ------------------------------------------------------------------ nested workflows
def test_a_nested_workflow_has_ids_and_state_of_its_own() -> None:
    inner = chain(output_schema=Receipt, state_schema=Counters).then(fetch_user).into(Named).then(count_names).commit()

    assert chain(output_schema=Receipt).then(inner.with_id("inner")).commit()
    outer = chain(output_schema=Receipt, state_schema=Sums).then(fetch_user).map(lambda _: UserId(user_id=""))
    assert outer.then(inner.with_id("inner")).commit()


class Named(BaseModel):
    name: str


class Sums(BaseModel):
    amount: float = 0.0


@step
def count_names(data: Named, ctx: StepContext[Counters]) -> Receipt:
    return Receipt(number=1)


def test_a_nested_workflow_is_used_twice_under_two_ids() -> None:
    inner = chain(UserId, UserId).map(lambda data: data).commit().with_id("clean-up")
    text = "workflow 'campaign' already has a step 'clean-up'; use clean_up.with_id('...') for the second"

    with pytest.raises(DuplicateStepError, match=re.escape(text) + "$"):
        chain(UserId, UserId).then(inner).then(inner).commit()
    assert chain(UserId, UserId).then(inner).then(inner.with_id("again")).commit()


def test_a_nested_workflow_takes_what_flows_in() -> None:
    inner = chain(Letter).then(ask).commit().with_id("inner")
    text = "step 'inner' takes Letter but follows 'fetch-user', which gives User; put a .map() between them"

    assert [text] == problems(chain().then(fetch_user).then(inner))


# ------------------------------------------------------------------ ids of arms, members and cases
@pytest.mark.parametrize(
    "again",
    [
        lambda begun: begun.parallel(write_letter, fetch_user),
        lambda begun: begun.parallel_all([write_letter, fetch_user]),
        lambda begun: begun.branch().when(bool, fetch_user).otherwise(write_letter),
        lambda begun: begun.branch().when(bool, write_letter).otherwise(fetch_user),
        lambda begun: begun.match().case(write_letter).otherwise(fetch_user),
        lambda begun: begun.match().case(write_letter).case(fetch_user).exhaustive(),
        lambda begun: begun.foreach(fetch_user),
        lambda begun: begun.do_while(fetch_user, bool),
    ],
    ids=["parallel", "parallel_all", "when", "otherwise", "match otherwise", "case", "foreach", "loop"],
)
def test_ids_of_arms_members_and_loops_are_unique_too(again: Callable[[Any], Any]) -> None:
    text = "workflow 'campaign' already has a step 'fetch-user'; use fetch_user.with_id('...') for the second"
    begun = chain(output_schema=Any).then(fetch_user).map(lambda user: user)

    with pytest.raises(DuplicateStepError, match=re.escape(text)):
        again(begun).commit()


def test_a_step_may_not_be_a_member_twice() -> None:
    text = "workflow 'campaign' already has a step 'fetch-user'; use fetch_user.with_id('...') for the second"

    assert problems(chain(output_schema=Any).parallel(fetch_user, fetch_user)) == [text]


def test_a_node_that_numbers_itself_may_meet_a_step_of_that_id() -> None:
    text = "workflow 'campaign' already has a step 'parallel-1'; use fetch_user.with_id('...') for it"
    begun = chain(output_schema=Any).then(fetch_user.with_id("parallel-1"))

    assert problems(begun.parallel(write_letter, write_letter.with_id("again"))) == [text]


# ------------------------------------------------------------------ events
answered = Event("answered", Receipt)


def test_an_event_has_one_schema_in_nested_workflows_too() -> None:
    other = Event("answered", Letter)
    inner = chain(Any, Letter).wait_for_event(other).commit().with_id("inner")
    text = "event 'answered' is used with Receipt and with Letter; give one of them another name"

    assert problems(chain(output_schema=Letter).wait_for_event(answered).wait_for_event(other)) == [text]
    assert problems(chain(output_schema=Letter).wait_for_event(answered).then(inner)) == [text]
    assert chain().wait_for_event(answered).wait_for_event(Event("answered", Receipt)).commit()


def test_the_schema_of_an_event_is_built_at_commit() -> None:
    told = problems(chain(output_schema=Any).wait_for_event(Event("held", Handle)))

    assert told[0].startswith("payload of event 'held': Handle cannot be a schema: ")


def test_a_default_fits_its_event() -> None:
    text = "default of event 'answered' does not fit Receipt: number: field required"

    assert problems(chain().wait_for_event(answered, timeout="1h", default={})) == [text]


# ------------------------------------------------------------------ merging state
def test_only_numbers_can_be_added_up() -> None:
    class Tally(BaseModel):
        total: Annotated[int, Merge.SUM] = 0
        share: Annotated[float | Decimal, Merge.SUM] = 0.0
        waited: Annotated[timedelta, Merge.SUM] = timedelta(0)
        name: Annotated[str, Merge.SUM] = ""
        done: Annotated[bool, Merge.SUM] = False
        some: Annotated[int | None, Merge.SUM] = None
        last: Annotated[str, Merge.LAST] = ""

    told = problems(chain(output_schema=User, state_schema=Tally).then(fetch_user))

    assert told == [
        f"state field {name!r} of workflow 'campaign' is {form}, which cannot be added up; "
        "use Merge.LAST, or make it a number"
        for name, form in [("name", "str"), ("done", "bool"), ("some", "int | None")]
    ]
