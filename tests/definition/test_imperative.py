"""``@workflow`` and the ``step`` it gets: what they take, and what they refuse."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from functools import wraps
from random import Random
from types import FunctionType
from typing import Any, ParamSpec, Protocol, TypeVar
from uuid import UUID

import pytest
from pydantic import BaseModel

import wrkflw
from wrkflw.decorators import step
from wrkflw.errors import DefinitionError, InvalidValueError
from wrkflw.events import Event
from wrkflw.graph import MISSING, Code
from wrkflw.imperative import StepTools, workflow
from wrkflw.retries import Retry
from wrkflw.runtime import Runtime
from wrkflw.steps import Step
from wrkflw.workflows import Workflow


class UserId(BaseModel):
    user_id: str


class Sent(BaseModel):
    message_id: str


P = ParamSpec("P")
R = TypeVar("R")

confirmed = Event("confirmed", Sent)


@step
async def fetch_user(data: UserId) -> Sent:
    return Sent(message_id=data.user_id)


def make_link(email: str, days: int = 1) -> str:
    return f"{email}/{days}"


class Recording:
    """A program that tells what it was asked for."""

    run_id = "r-1"

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def do(
        self,
        name: str,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        retry: Retry | None,
        timeout: timedelta | None,
        /,
    ) -> Coroutine[Any, Any, object]:
        return self._ask("do", name, function, args, dict(kwargs), retry, timeout)

    def run(
        self, step: Step[Any, Any, Any], data: object, name: str, retry: Retry | None, timeout: timedelta | None, /
    ) -> Coroutine[Any, Any, object]:
        return self._ask("run", step, data, name, retry, timeout)

    def sleep_for(self, name: str, duration: timedelta, /) -> Coroutine[Any, Any, None]:
        return self._ask("sleep_for", name, duration)

    def sleep_until(self, name: str, when: datetime, /) -> Coroutine[Any, Any, None]:
        return self._ask("sleep_until", name, when)

    def wait(self, event: Event[Any], timeout: timedelta | None, default: object, /) -> Coroutine[Any, Any, object]:
        return self._ask("wait", event, timeout, default)

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def random(self) -> Random:
        return Random(1)

    def uuid(self) -> UUID:
        return UUID(int=1)

    def patched(self, id: str, /) -> bool:
        return id == "new"

    async def _ask(self, *what: object) -> Any:
        self.asked.append(what)


@pytest.fixture
def program() -> Recording:
    return Recording()


@pytest.fixture
def tools(program: Recording) -> Any:  # of any type: what checkers would refuse is tried too
    return StepTools(program)


# ------------------------------------------------------------------ the decorator
@workflow
async def send_later(step: StepTools, data: UserId) -> Sent:
    return Sent(message_id=data.user_id)


def test_an_async_function_is_a_workflow_of_one_node() -> None:
    assert isinstance(send_later, Workflow)
    assert (send_later.id, send_later.input_schema, send_later.output_schema) == ("send-later", UserId, Sent)
    assert [type(node) for node in send_later.graph.nodes] == [Code]
    assert send_later.graph.nodes[0].id == "send-later"
    assert repr(send_later) == "Workflow('send-later', UserId -> Sent)"


def test_it_takes_the_options_of_workflows() -> None:
    @workflow(
        id="campaign", retry=Retry(attempts=3), timeout="7d", retention="30d", on_mismatch="fail", description="d"
    )
    async def program(step: StepTools, data: UserId) -> Sent:
        raise NotImplementedError

    assert (program.id, program.retry, program.timeout) == ("campaign", Retry(attempts=3), timedelta(days=7))
    assert (program.retention, program.on_mismatch, program.description) == (timedelta(days=30), "fail", "d")


def test_annotations_may_be_local_names() -> None:
    class Local(BaseModel):
        n: int

    @workflow
    async def program(step: StepTools, data: Local) -> list[Local]:
        raise NotImplementedError

    assert (program.input_schema, program.output_schema) == (Local, list[Local])


@workflow
async def ahead(step: StepTools, data: Later) -> Later | None:
    raise NotImplementedError


@workflow
async def never(step: StepTools, data: UserId) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
    raise NotImplementedError


NEVER_SHOWN = repr(never)


class Later(BaseModel):
    n: int


def test_annotations_may_name_what_is_defined_further_down() -> None:
    assert (ahead.input_schema, ahead.output_schema) == (Later, Later | None)
    assert repr(ahead) == "Workflow('ahead', Later -> Later | None)"


def test_a_name_that_is_never_defined_is_told() -> None:
    assert NEVER_SHOWN == "Workflow('never')"
    text = "an annotation of workflow 'never' says 'Nowhere', which is not defined; import it at run time too"
    with pytest.raises(DefinitionError, match=re.escape(text) + "$"):
        _ = never.graph


def test_the_tools_may_be_imported_for_checkers_alone() -> None:
    async def program(step: StepTools, data: UserId) -> Sent:
        raise NotImplementedError

    elsewhere = FunctionType(program.__code__, {"UserId": UserId, "Sent": Sent})  # a module without StepTools
    elsewhere.__annotations__ = {"step": "StepTools", "data": "UserId", "return": "Sent"}

    assert workflow(elsewhere).input_schema is UserId


def test_the_tools_may_come_from_the_package() -> None:
    @workflow
    async def program(step: wrkflw.StepTools, data: None) -> None:
        raise NotImplementedError

    assert program.input_schema is type(None)


class Opaque:
    """A class that pydantic knows nothing of."""


class Named(Protocol):
    name: str


async def takes_opaque(step: StepTools, data: Opaque) -> Sent:
    raise NotImplementedError


async def gives_opaque(step: StepTools, data: UserId) -> Opaque:
    raise NotImplementedError


async def takes_protocol(step: StepTools, data: Named) -> Sent:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (takes_opaque, "input of workflow 'takes-opaque': Opaque cannot be a schema: "),
        (gives_opaque, "output of workflow 'gives-opaque': Opaque cannot be a schema: "),
        (takes_protocol, "workflow 'takes-protocol' takes Named, a Protocol, which cannot be loaded; take a model"),
    ],
)
def test_its_schemas_are_built_where_it_is_defined(function: Any, text: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(text)):
        workflow(function)


class Parcel(BaseModel):
    content: Content


@workflow
async def unpack(step: StepTools, data: Parcel) -> Content:
    raise NotImplementedError


@workflow
async def unpack_nothing(step: StepTools, data: list[Hollow]) -> str:
    raise NotImplementedError


class Content(BaseModel):
    weight: int


class Hollow(BaseModel):
    content: Nothing  # type: ignore[name-defined]  # noqa: F821  # no name of anything


def test_a_schema_may_name_what_is_defined_further_down() -> None:
    assert (unpack.input_schema, unpack.output_schema) == (Parcel, Content)
    assert repr(unpack_nothing) == "Workflow('unpack-nothing')"
    with pytest.raises(DefinitionError, match=r"input of workflow 'unpack-nothing': .* name 'Nothing' is not defined"):
        Runtime(":memory:", workflows=[unpack_nothing])


def test_a_wrapper_may_hand_on_the_call() -> None:
    def handing_on(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def inner(*args: P.args, **options: P.kwargs) -> R:
            return function(*args, **options)

        return inner

    @workflow
    @handing_on
    async def program(step: StepTools, data: UserId) -> Sent:
        raise NotImplementedError

    assert (program.input_schema, program.output_schema) == (UserId, Sent)


def test_it_can_have_another_id() -> None:
    twin = send_later.with_id("another")

    assert (twin.id, twin.graph.workflow_id, send_later.id) == ("another", "another", "send-later")
    assert twin.input_schema is UserId


def test_its_fingerprint_holds_its_types() -> None:
    @workflow(id="send-later")
    async def program(step: StepTools, data: UserId) -> str:
        raise NotImplementedError

    assert program.graph.fingerprint != send_later.graph.fingerprint


def test_a_function_that_gives_an_awaitable_will_do() -> None:
    def program(step: StepTools, data: UserId) -> Awaitable[Sent]:
        raise NotImplementedError

    assert workflow(program).output_schema is Sent


def test_a_keyword_with_a_default_is_the_functions_own() -> None:
    async def program(step: StepTools, data: UserId, *, strict: bool = False) -> Sent:
        raise NotImplementedError

    assert workflow(program).id == "program"


def plain(step: StepTools, data: UserId) -> Sent:
    raise NotImplementedError


async def generator(step: StepTools, data: UserId) -> AsyncIterator[Sent]:
    yield Sent(message_id="")


async def no_input(step: StepTools) -> Sent:
    raise NotImplementedError


async def too_many(step: StepTools, data: UserId, more: int) -> Sent:
    raise NotImplementedError


async def spread(step: StepTools, *data: UserId) -> Sent:
    raise NotImplementedError


async def reversed_order(data: UserId, step: StepTools) -> Sent:
    raise NotImplementedError


async def untyped_tools(step, data: UserId) -> Sent:  # type: ignore[no-untyped-def]
    raise NotImplementedError


async def untyped_input(step: StepTools, data) -> Sent:  # type: ignore[no-untyped-def]
    raise NotImplementedError


async def untyped_result(step: StepTools, data: UserId):  # type: ignore[no-untyped-def]
    raise NotImplementedError


TAKES = "a workflow takes step: StepTools and its input"


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (plain, "workflow 'plain' is not async; write 'async def'"),
        (generator, "workflow 'generator' is a generator; return what it gives"),
        (no_input, f"workflow 'no-input' has 1 parameter; {TAKES}"),
        (too_many, f"workflow 'too-many' has 3 parameters; {TAKES}"),
        (spread, f"workflow 'spread' takes *data; {TAKES}"),
        (reversed_order, f"parameter 'data' of workflow 'reversed-order' is UserId; {TAKES}"),
        (untyped_tools, "parameter 'step' of workflow 'untyped-tools' has no type; annotate it as StepTools"),
        (untyped_input, "parameter 'data' of workflow 'untyped-input' has no type; annotate it"),
        (untyped_result, "workflow 'untyped-result' has no return type; annotate it"),
        (lambda step, data: None, "a lambda has no name to make an id of; pass id='...'"),
    ],
)
def test_what_cannot_be_a_workflow_is_refused(function: Any, text: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(text) + "$"):
        workflow(function)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"id": "a/b"}, DefinitionError, "'a/b' cannot be a workflow id"),
        ({"retries": 3}, TypeError, "unknown option 'retries'; did you mean 'retry'?"),
        ({"retry": 3}, TypeError, "retry= takes a Retry, got 3; write Retry(attempts=...)"),
        ({"timeout": "soon"}, ValueError, "expected a duration like '30s'"),
        ({"retention": "-1s"}, ValueError, "a duration is zero or more"),
        ({"on_failed": "x"}, TypeError, "on_failed= takes a function, got 'x'"),
    ],
)
def test_wrong_options_are_refused_on_their_line(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        workflow(**options)


def test_an_id_is_no_function() -> None:
    anything: Any = "campaign"
    with pytest.raises(TypeError, match="a workflow is made of a function, got 'campaign'; an id is passed as id="):
        workflow(anything)


def test_a_step_is_no_function_and_no_workflow_either() -> None:
    anything: Any = workflow
    for made, kind in ((fetch_user, "step"), (send_later, "workflow")):
        with pytest.raises(TypeError, match=f"'{made.id}' is already a {kind}; use it as it is, or .with_id"):
            anything(made)


# ------------------------------------------------------------------ the tools
async def test_a_function_is_called_with_its_arguments(program: Recording, tools: StepTools) -> None:
    await tools.do("link", make_link, "ada", days=7)

    assert program.asked == [("do", "link", make_link, ("ada",), {"days": 7}, None, None)]


async def test_a_step_is_run_under_its_id_or_another_name(program: Recording, tools: StepTools) -> None:
    data = UserId(user_id="1")
    await tools.run(fetch_user, data)
    await tools.run(fetch_user, data, name="again")
    await tools.run(send_later, data)

    assert program.asked == [
        ("run", fetch_user, data, "fetch-user", None, None),
        ("run", fetch_user, data, "again", None, None),
        ("run", send_later, data, "send-later", None, None),
    ]


async def test_options_hold_for_the_calls_made_with_them(program: Recording, tools: StepTools) -> None:
    patient = tools.options(retry=Retry(attempts=5)).options(timeout="30s")
    await patient.do("link", make_link, "ada")
    await patient.run(fetch_user, UserId(user_id="1"))
    await tools.do("link", make_link, "ada")

    assert [asked[-2:] for asked in program.asked] == [
        (Retry(attempts=5), timedelta(seconds=30)),
        (Retry(attempts=5), timedelta(seconds=30)),
        (None, None),
    ]


async def test_sleeps_and_waits_are_handed_on(program: Recording, tools: StepTools) -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    await tools.sleep("nap", "1h 30m")
    await tools.sleep_until("new-year", when)
    await tools.wait_for_event(confirmed)
    await tools.wait_for_event(confirmed, timeout="7d", default=Sent(message_id="none"))

    assert program.asked == [
        ("sleep_for", "nap", timedelta(minutes=90)),
        ("sleep_until", "new-year", when),
        ("wait", confirmed, None, MISSING),
        ("wait", confirmed, timedelta(days=7), Sent(message_id="none")),
    ]


def test_what_is_recorded_without_waiting_is_handed_on(tools: StepTools) -> None:
    assert tools.run_id == "r-1"
    assert tools.now() == datetime(2026, 1, 1, tzinfo=UTC)
    assert tools.random().random() == Random(1).random()
    assert tools.uuid() == UUID(int=1)
    assert (tools.patched("new"), tools.patched("old")) == (True, False)
    assert repr(tools) == "StepTools(run_id='r-1')"


NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda step: step.do("a/b", make_link), DefinitionError, "'a/b' cannot be a step id; use letters"),
        (lambda step: step.do(7, make_link), DefinitionError, "7 cannot be a step id; use letters"),
        (lambda step: step.do("link", 7), TypeError, "step.do() takes a function, got 7"),
        (
            lambda step: step.do(make_link, "ada"),
            TypeError,
            "step.do() takes a name first; write step.do('...', make_link, ...)",
        ),
        (
            lambda step: step.do("fetch", asyncio.sleep(1)),
            TypeError,
            "step.do() calls the function itself; write step.do('fetch', sleep, ...)",
        ),
        (
            lambda step: step.do("fetch", fetch_user, 1),
            TypeError,
            "step.do() takes a function, got step 'fetch-user'; use step.run(fetch_user, ...)",
        ),
        (
            lambda step: step.run(make_link, "ada"),
            TypeError,
            "step.run() takes a step, got make_link; decorate it with @step, or use step.do()",
        ),
        (lambda step: step.run("fetch", 1), TypeError, "step.run() takes a step, got 'fetch'"),
        (
            lambda step: step.run(fetch_user(UserId(user_id="1")), 1),
            TypeError,
            "step.run() takes a step, got a call of step 'fetch-user'; pass the step itself",
        ),
        (lambda step: step.run(fetch_user, 1, name=""), DefinitionError, "'' cannot be a step id"),
        (lambda step: step.sleep("a b", "1h"), DefinitionError, "'a b' cannot be a sleep id"),
        (lambda step: step.sleep("nap", "-5s"), ValueError, "cannot sleep for -5s; a duration is zero or more"),
        (lambda step: step.sleep("nap", 5), ValueError, "expected a duration like '30s', '5m', '24h' or a timedelta"),
        (
            lambda step: step.sleep_until("nap", NAIVE),
            InvalidValueError,
            "sleep_until 'nap' needs a timezone-aware time, got 2026-01-01 00:00:00; add tzinfo",
        ),
        (lambda step: step.sleep_until("nap", "1h"), InvalidValueError, "sleep_until 'nap' needs a datetime, got str"),
        (
            lambda step: step.wait_for_event("confirmed"),
            TypeError,
            "a wait takes an Event, got 'confirmed'; make one with Event(name, schema)",
        ),
        (lambda step: step.wait_for_event(confirmed, timeout="soon"), ValueError, "expected a duration like '30s'"),
        (lambda step: step.patched("a/b"), DefinitionError, "'a/b' cannot be a patch id"),
        (lambda step: step.options(retry=3), TypeError, "retry= takes a Retry, got 3"),
        (lambda step: step.options(timeout="soon"), ValueError, "expected a duration like '30s'"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(
    tools: StepTools, call: Callable[[StepTools], object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        call(tools)
