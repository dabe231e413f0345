"""A chain of steps: what flows from one to the next, and what comes out when one of them fails."""

from __future__ import annotations

import asyncio
import threading
from typing import Protocol, TypeVar

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from wrkflw import (
    Completed,
    Failed,
    MapContext,
    Retry,
    RunFailedError,
    Runtime,
    StepContext,
    Workflow,
    create_step,
    create_workflow,
    step,
)

ItemT = TypeVar("ItemT")


class Names(BaseModel):
    names: list[str]


class Mail(BaseModel):
    subject: str


class Outgoing(Mail):
    to: str


class Address(TypedDict):
    to: str


class HasSubject(Protocol):
    subject: str


@step
async def split(text: str) -> Names:
    return Names(names=text.split())


@step
def count(names: Names) -> int:
    return len(names.names)


async def test_what_a_map_leaves_open_the_next_schema_says(runtime: Runtime) -> None:
    def backwards(items: list[ItemT]) -> list[ItemT]:
        return items[::-1]

    chain = create_workflow(id="backwards", input_schema=list[Mail], output_schema=list[Mail]).map(backwards).commit()
    load = create_workflow(id="load", input_schema=dict[str, str], output_schema=Mail).map(Mail.model_validate).commit()

    assert await chain.run([Mail(subject="a"), Mail(subject="b")]) == [Mail(subject="b"), Mail(subject="a")]
    assert await load.run({"subject": "a"}) == Mail(subject="a")


async def test_a_value_flows_through_every_step(runtime: Runtime) -> None:
    counting = create_workflow(id="counting", input_schema=str, output_schema=int).then(split).then(count).commit()

    assert await counting.run("ada grace") == 2


async def test_a_step_without_parameters_fits_anywhere(runtime: Runtime) -> None:
    @step
    def seven() -> int:
        return 7

    workflow = create_workflow(id="seven", input_schema=str, output_schema=int).then(split).then(seven).commit()

    assert await workflow.run("ada") == 7


async def test_a_workflow_without_input_is_started_without_one(runtime: Runtime) -> None:
    @step
    async def greet() -> str:
        return "hello"

    workflow = create_workflow(id="greeting", input_schema=None, output_schema=str).then(greet).commit()

    assert await workflow.run() == "hello"


async def test_a_plain_function_runs_in_a_thread(runtime: Runtime) -> None:
    @step
    def where() -> int:
        return threading.get_ident()

    workflow = create_workflow(id="where", input_schema=None, output_schema=int).then(where).commit()

    assert await workflow.run() != threading.get_ident()


async def test_plain_functions_of_several_runs_run_side_by_side(runtime: Runtime) -> None:
    meeting = threading.Barrier(3, timeout=10)

    @step
    def meet() -> int:
        return meeting.wait()

    workflow = create_workflow(id="meeting", input_schema=None, output_schema=int).then(meet).commit()

    assert sorted(await asyncio.gather(workflow.run(), workflow.run(), workflow.run())) == [0, 1, 2]


async def test_each_reader_gets_its_own_copy(runtime: Runtime) -> None:
    @step
    async def spoil(names: Names) -> int:
        names.names.clear()
        return len(names.names)

    @step
    async def look(_: int, ctx: StepContext) -> Names:
        ctx.get_step_result(split).names.append("changed")
        return ctx.get_step_result(split)

    chain = create_workflow(id="spoiling", input_schema=str, output_schema=Names).then(split).then(spoil).then(look)
    run = await chain.commit().create_run()
    result = await run.start("ada grace")

    assert result.unwrap().names == ["ada", "grace"]
    assert run.get_step_result(split).names == ["ada", "grace"]


async def test_a_map_that_changes_its_value_changes_no_other(runtime: Runtime) -> None:
    def spoil(names: Names) -> Names:
        names.names.clear()
        return names

    chain = create_workflow(id="map-spoiling", input_schema=str, output_schema=int).then(split).map(spoil).then(count)
    run = await chain.commit().create_run()

    assert (await run.start("ada grace")).unwrap() == 0
    assert run.get_step_result(split).names == ["ada", "grace"]


async def test_the_callers_input_is_not_shared_with_the_body(runtime: Runtime) -> None:
    @step
    async def spoil(names: Names) -> int:
        names.names.clear()
        return 0

    workflow = create_workflow(id="input-spoiling", input_schema=Names, output_schema=int).then(spoil).commit()
    given = Names(names=["ada"])
    await workflow.run(given)

    assert given.names == ["ada"]


async def test_a_failed_try_leaves_the_next_one_a_fresh_input(runtime: Runtime) -> None:
    @step(retry=Retry(attempts=2, delay="0s"))
    async def spoil(names: Names, ctx: StepContext) -> list[str]:
        seen = list(names.names)
        names.names.clear()
        if ctx.attempt == 1:
            raise OSError("not yet")
        return seen

    workflow = create_workflow(id="fresh", input_schema=Names, output_schema=list[str]).then(spoil).commit()

    assert await workflow.run(Names(names=["ada"])) == ["ada"]


async def test_a_subclass_is_passed_as_it_is(runtime: Runtime) -> None:
    @step
    async def write() -> Outgoing:
        return Outgoing(subject="hi", to="ada@example.org")

    @step
    async def kind(mail: Mail) -> str:
        return type(mail).__name__

    workflow = create_workflow(id="kinds", input_schema=None, output_schema=str).then(write).then(kind).commit()

    assert await workflow.run() == "Outgoing"


async def test_a_dict_is_made_into_what_the_step_takes(runtime: Runtime) -> None:
    @step
    async def kind(address: Address) -> str:
        return address["to"]

    chain = create_workflow(id="dicts", input_schema=str, output_schema=str).map(lambda to: Address(to=to)).then(kind)

    assert await chain.commit().run("ada@example.org") == "ada@example.org"


async def test_a_protocol_is_met_by_whatever_stands_before(runtime: Runtime) -> None:
    @step
    async def write() -> Mail:
        return Mail(subject="hi")

    @step
    async def read(mail: HasSubject) -> str:
        return f"{type(mail).__name__}: {mail.subject}"

    workflow = create_workflow(id="protocols", input_schema=None, output_schema=str).then(write).then(read).commit()

    assert await workflow.run() == "Mail: hi"


async def test_the_output_of_a_last_map_is_the_output_of_the_run(runtime: Runtime) -> None:
    chain = create_workflow(id="mapped", input_schema=str, output_schema=list[str]).then(split)
    run = await chain.map(lambda names: names.names).commit().create_run()

    result = await run.start("ada grace")

    assert isinstance(result, Completed)
    assert result.output == ["ada", "grace"]
    assert (await run.snapshot()).result == ["ada", "grace"]


async def test_map_ctx_sees_input_and_results(runtime: Runtime) -> None:
    def told(number: int, ctx: MapContext[str, None]) -> str:
        return f"{ctx.init_data}: {number} of {ctx.get_step_result(split).names}"

    chain = create_workflow(id="telling", input_schema=str, output_schema=str).then(split).then(count).map_ctx(told)

    assert await chain.commit().run("ada") == "ada: 1 of ['ada']"


async def test_into_takes_over_fields_by_name(runtime: Runtime) -> None:
    @step
    async def write() -> Outgoing:
        return Outgoing(subject="hi", to="ada@example.org")

    @step
    async def kind(mail: Mail) -> str:
        return f"{type(mail).__name__}: {mail.subject}"

    chain = create_workflow(id="into", input_schema=None, output_schema=str).then(write).into(Mail).then(kind)

    assert await chain.commit().run() == "Mail: hi"


# --- failing -----------------------------------------------------------------------------------------


class GatewayError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"gateway said {code}")
        self.code = code
        self.lock = threading.Lock()
        self.rows = (number for number in range(3))


@step(retry=Retry(attempts=3, delay="0s"))
async def charge(_: str) -> str:
    try:
        raise KeyError("card")
    except KeyError as error:
        raise GatewayError(502) from error


def paying() -> Workflow[str, str, None]:
    return create_workflow(id="paying", input_schema=str, output_schema=str).then(charge).commit()


async def test_a_failure_carries_the_exception_of_the_body(runtime: Runtime) -> None:
    run = await paying().create_run()
    result = await run.start("ada")

    assert isinstance(result, Failed)
    error = result.error
    assert (error.key, error.step_id, error.attempts) == ("charge", "charge", 3)
    assert (error.type, error.module, error.message) == ("GatewayError", __name__, "gateway said 502")
    assert error.attributes == {"code": 502}  # a lock is no value, and rows can be read but once
    assert error.cause is not None
    assert (error.cause.type, error.cause.message) == ("KeyError", "'card'")
    assert "in charge" in error.traceback
    assert "wrkflw/engine" not in error.traceback
    assert result.errors == [error]


async def test_a_group_of_exceptions_tells_what_it_is_made_of(runtime: Runtime) -> None:
    async def fetch(part: int) -> None:
        raise GatewayError(500 + part)

    @step
    async def parts(_: str) -> str:
        done = await asyncio.gather(fetch(1), fetch(2), return_exceptions=True)
        raise ExceptionGroup("no part came", [error for error in done if isinstance(error, Exception)])

    workflow = create_workflow(id="parts", input_schema=str, output_schema=str).then(parts).commit()
    result = await (await workflow.create_run()).start("ada")

    assert isinstance(result, Failed)
    error = result.error
    assert (error.type, error.message) == ("ExceptionGroup", "no part came (2 sub-exceptions)")
    assert error.cause is not None
    assert (error.cause.type, error.cause.attributes) == ("GatewayError", {"code": 501})
    assert [text in error.traceback for text in ("in fetch", "gateway said 501", "gateway said 502")] == [True] * 3


async def test_unwrapping_a_failure_says_what_failed(runtime: Runtime) -> None:
    with pytest.raises(RunFailedError) as failed:
        await paying().run("ada")

    assert str(failed.value) == "step 'charge' failed after 3 attempts: GatewayError: gateway said 502"
    assert failed.value.error.message == "gateway said 502"


async def test_nothing_starts_after_a_failed_step(runtime: Runtime) -> None:
    run = (
        await create_workflow(id="half", input_schema=str, output_schema=Names)
        .then(charge)
        .then(split)
        .commit()
        .create_run()
    )
    await run.start("ada")

    assert (await run.snapshot()).execution_path == ["charge"]


async def test_a_map_that_raises_fails_the_run(runtime: Runtime) -> None:
    def first(names: Names) -> str:
        return names.names[5]

    chain = create_workflow(id="raising", input_schema=str, output_schema=int)
    workflow = chain.then(split).map(lambda names: names).map(first).map(len).commit()
    result = await (await workflow.create_run()).start("ada")

    assert isinstance(result, Failed)
    assert result.error.type == "MapError"
    assert result.error.message == (
        "map 'map-2' raised IndexError: list index out of range; do fallible work in a step, which can be retried"
    )
    assert result.error.attributes == {"node": "map-2"}
    assert result.error.cause is not None
    assert result.error.cause.type == "IndexError"


class Leaving(BaseException):
    pass


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, Leaving])
@pytest.mark.parametrize("place", ["first", "later", "condition"])
async def test_whatever_it_raises_the_run_does_not_go_on_for_ever(
    runtime: Runtime, error: type[BaseException], place: str
) -> None:
    """A plain function is never cancelled: what looks like it is its own doing, and not the end of a task."""

    def leave(_names: Names) -> bool:
        raise error

    chain = create_workflow(id="leaving", input_schema=str, output_schema=int)
    match place:
        case "first":
            workflow = chain.map(lambda name: leave(Names(names=[name]))).map(int).commit()
        case "later":
            workflow = chain.then(split).map(leave).map(int).commit()
        case _:
            same = create_step(id="same", input_schema=Names, output_schema=Names, execute=lambda names: names)
            workflow = chain.then(split).do_until(same, leave).map(lambda names: len(names.names)).commit()
    result = await (await workflow.create_run()).start("ada")

    assert isinstance(result, Failed)
    assert result.error.type == ("ConditionError" if place == "condition" else "MapError")
    assert result.error.cause is not None
    assert result.error.cause.type == error.__name__


async def test_a_map_that_gives_a_coroutine_fails_the_run(runtime: Runtime) -> None:
    async def later() -> int:
        return 1

    workflow = create_workflow(id="later", input_schema=str, output_schema=int).map(lambda _: later()).commit()  # type: ignore[arg-type]
    result = await (await workflow.create_run()).start("ada")

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == (
        "MapError",
        "map 'map-1' gave a coroutine; use a step for async work",
    )


async def test_into_says_which_field_is_missing(runtime: Runtime) -> None:
    chain = create_workflow(id="missing", input_schema=str, output_schema=str)
    workflow = chain.map(lambda text: Mail(subject=text)).into(Outgoing).map(lambda mail: mail.to).commit()
    result = await (await workflow.create_run()).start("hi")

    assert isinstance(result, Failed)
    assert result.error.type == "InvalidValueError"
    assert result.error.message == "into Outgoing after 'map-1': to: field required; add it with .map()"


async def test_a_cancellation_nobody_asked_for_is_a_failure(runtime: Runtime) -> None:
    @step
    async def give_up() -> int:
        raise asyncio.CancelledError

    workflow = create_workflow(id="giving-up", input_schema=None, output_schema=int).then(give_up).commit()
    result = await (await workflow.create_run()).start()

    assert isinstance(result, Failed)
    assert result.error.type == "CancelledError"
