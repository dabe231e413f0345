"""Mocks: they stand in for bodies wherever the step is used, and everything else of the step stays as it is."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from wrkflw import (
    Completed,
    Failed,
    Retry,
    StepContext,
    StepTools,
    SuspendContext,
    Suspended,
    create_workflow,
    step,
    workflow,
)
from wrkflw.testing import TestRuntime


class User(BaseModel):
    name: str


@step
async def fetch(number: int) -> User:
    raise NotImplementedError("it is mocked")


@step
def double(number: int) -> int:
    raise NotImplementedError("it is mocked")


fetching = create_workflow(id="fetching", input_schema=int, output_schema=User).then(fetch).commit()


async def test_a_mock_gives_its_value(wrkflw_runtime: TestRuntime) -> None:
    wrkflw_runtime.mock(fetch, User(name="Ada"))

    assert await fetching.run(1) == User(name="Ada")


async def test_a_value_of_the_type_that_the_step_gives_is_not_called(wrkflw_runtime: TestRuntime) -> None:
    class Callable(User):
        def __call__(self, number: int) -> str:
            return str(number)

    @step
    async def make(number: int) -> Callable:
        raise NotImplementedError("it is mocked")

    making = create_workflow(id="making", input_schema=int, output_schema=Callable).then(make).commit()
    wrkflw_runtime.mock(make, Callable(name="Ada"))

    assert await making.run(1) == Callable(name="Ada")


async def test_a_mock_that_is_called_gets_what_the_body_would(wrkflw_runtime: TestRuntime) -> None:
    wrkflw_runtime.mock(fetch, lambda number: User(name=str(number)))

    assert await fetching.run(7) == User(name="7")


async def test_a_mock_may_be_asynchronous(wrkflw_runtime: TestRuntime) -> None:
    async def later(number: int) -> User:
        await asyncio.sleep(0)
        return User(name=str(number))

    wrkflw_runtime.mock(fetch, later)

    assert await fetching.run(7) == User(name="7")


async def test_a_mock_gets_the_context_that_the_body_wants(wrkflw_runtime: TestRuntime) -> None:
    @step
    async def ask(number: int, ctx: SuspendContext[int, str]) -> int:
        raise NotImplementedError("it is mocked")

    def ask_twice(number: int, ctx: SuspendContext[int, str]) -> int:
        return ctx.suspend("first?") + ctx.suspend("second?")

    wrkflw_runtime.mock(ask, ask_twice)
    run = await create_workflow(id="asking", input_schema=int, output_schema=int).then(ask).commit().create_run()

    assert isinstance(await run.start(1), Suspended)
    assert isinstance(await run.resume(ask, 2), Suspended)
    assert (await run.resume(ask, 3)).unwrap() == 5


async def test_an_exception_is_raised_and_retried_as_the_step_is(wrkflw_runtime: TestRuntime) -> None:
    @step(retry=Retry(attempts=3, delay="1m"))
    async def charge(number: int) -> int:
        raise NotImplementedError("it is mocked")

    wrkflw_runtime.mock(charge, OSError("no network"))
    run = await create_workflow(id="charging", input_schema=int, output_schema=int).then(charge).commit().create_run()
    await run.start(1)
    await wrkflw_runtime.advance("1h")

    result = await run.result()
    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message, result.error.attempts) == ("OSError", "no network", 3)


async def test_an_exception_may_be_a_class(wrkflw_runtime: TestRuntime) -> None:
    wrkflw_runtime.mock(fetch, KeyError)
    result = await (await fetching.create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.type == "KeyError"


async def test_a_value_that_does_not_fit_fails_as_the_bodys_own_would(wrkflw_runtime: TestRuntime) -> None:
    wrkflw_runtime.mock(fetch, {"nom": "Ada"})  # type: ignore[arg-type]  # on purpose
    result = await (await fetching.create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.type == "InvalidValueError"


async def test_a_value_is_not_shared_between_runs(wrkflw_runtime: TestRuntime) -> None:
    ada = User(name="Ada")
    wrkflw_runtime.mock(fetch, ada)

    first, second = await fetching.run(1), await fetching.run(2)

    assert first == second == ada
    assert len({id(first), id(second), id(ada)}) == 3


async def test_a_later_mock_replaces_the_one_before(wrkflw_runtime: TestRuntime) -> None:
    wrkflw_runtime.mock(fetch, User(name="Ada"))
    wrkflw_runtime.mock(fetch, User(name="Bea"))

    assert await fetching.run(1) == User(name="Bea")


async def test_a_mock_holds_in_blocks_loops_and_nested_workflows(wrkflw_runtime: TestRuntime) -> None:
    @step
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    inner = create_workflow(id="inner", input_schema=int, output_schema=int).then(double).commit()
    outer = (
        create_workflow(id="outer", input_schema=list[int], output_schema=int)
        .foreach(inner, concurrency=2)
        .then(total)
        .do_until(double, lambda number: number > 100)
        .commit()
    )
    wrkflw_runtime.mock(double, lambda number: number * 2)

    assert await outer.run([1, 2, 3]) == 192


async def test_a_mock_holds_in_programs(wrkflw_runtime: TestRuntime) -> None:
    @workflow
    async def program(step: StepTools, number: int) -> int:
        once = await step.run(double, number)
        return await step.run(double, once, name="again")

    wrkflw_runtime.mock(double, lambda number: number * 2)

    assert await program.run(1) == 4


async def test_a_step_under_another_id_has_a_mock_of_its_own(wrkflw_runtime: TestRuntime) -> None:
    again = double.with_id("again")
    twice = create_workflow(id="twice", input_schema=int, output_schema=int).then(double).then(again).commit()
    wrkflw_runtime.mock(double, lambda number: number * 2)
    wrkflw_runtime.mock(again, lambda number: number * 10)

    assert await twice.run(1) == 20


async def test_steps_of_one_id_with_different_bodies_do_not_share_a_mock(wrkflw_runtime: TestRuntime) -> None:
    @step(id="double")
    async def other(number: int) -> int:
        return number + 1

    inner = create_workflow(id="inner", input_schema=int, output_schema=int).then(other).commit()
    both = create_workflow(id="both", input_schema=int, output_schema=int).then(double).then(inner).commit()
    wrkflw_runtime.mock(double, 10)

    assert await both.run(1) == 11


async def test_a_mock_keeps_the_timeout_of_the_step(wrkflw_runtime: TestRuntime) -> None:
    @step(timeout="30s")
    async def charge(number: int, ctx: StepContext) -> int:
        raise NotImplementedError("it is mocked")

    async def hang(number: int, ctx: StepContext) -> int:
        await asyncio.Event().wait()
        return number

    wrkflw_runtime.mock(charge, hang)
    run = await create_workflow(id="charging", input_schema=int, output_schema=int).then(charge).commit().create_run()
    await run.enqueue(1)
    await wrkflw_runtime.advance("30s")

    result = await run.result()
    assert isinstance(result, Failed)
    assert result.error.type == "StepTimeoutError"


async def test_mocks_outlive_a_restart(wrkflw_runtime: TestRuntime) -> None:
    wrkflw_runtime.mock(fetch, User(name="Ada"))
    await wrkflw_runtime.restart()

    assert isinstance(await (await fetching.create_run()).start(1), Completed)


async def test_a_workflow_cannot_be_mocked(wrkflw_runtime: TestRuntime) -> None:
    with pytest.raises(TypeError, match=r"mock\(\) takes a step with a body, got workflow 'fetching'; mock the steps"):
        wrkflw_runtime.mock(fetching, User(name="Ada"))


async def test_a_plain_function_cannot_be_mocked(wrkflw_runtime: TestRuntime) -> None:
    with pytest.raises(TypeError, match=r"mock\(\) takes a step, got len"):
        wrkflw_runtime.mock(len, 1)  # type: ignore[arg-type]  # on purpose
