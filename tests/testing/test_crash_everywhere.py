"""crash_everywhere: workflows that survive every crash, and what it says of those that do not."""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest
from pydantic import BaseModel

from wrkflw import Event, Retry, Run, StepContext, StepTools, SuspendContext, Suspended, create_workflow, step, workflow
from wrkflw.testing import TestRuntime, crash_everywhere


class Tally(BaseModel):
    calls: int = 0


@step
async def add_one(number: int) -> int:
    return number + 1


@step
def double(number: int) -> int:
    return number * 2


@step(retry=Retry(attempts=3, delay="1h"))
async def stumble(number: int, ctx: StepContext[Tally]) -> int:
    if ctx.attempt == 1:
        raise OSError("not yet")
    ctx.set_state(Tally(calls=ctx.state.calls + 1))
    return number - 3


@step
async def ask(number: int, ctx: SuspendContext[int, str]) -> int:
    return number + ctx.suspend("how many?")


paid = Event("paid", int)


async def test_a_chain_with_timers_retries_and_state_survives() -> None:
    chain = (
        create_workflow(id="chain", input_schema=int, output_schema=int, state_schema=Tally)
        .then(add_one)
        .sleep("7d")
        .then(double)
        .then(stumble)
        .commit()
    )

    assert await crash_everywhere(chain, 1) > 15


async def test_a_run_that_waits_for_somebody_is_compared_as_it_stands() -> None:
    asking = create_workflow(id="asking", input_schema=int, output_schema=int).then(add_one).then(ask).commit()

    assert await crash_everywhere(asking, 1) > 6


async def test_whoever_drives_the_run_is_asked_in_each_process() -> None:
    questions: Counter[str] = Counter()
    both = create_workflow(id="both", input_schema=int, output_schema=int)
    waiting = both.then(ask).then(ask.with_id("ask-again")).wait_for_event(paid).commit()

    async def drive(run: Run[int, int]) -> None:
        result = await run.result()
        if isinstance(result, Suspended):
            questions[result.step_id] += 1
            await run.resume(ask if result.step_id == "ask" else ask.with_id("ask-again"), 10)
        else:
            await run.send_event(paid, 100)

    places = await crash_everywhere(waiting, 1, drive=drive)

    assert places > 10
    assert questions["ask"] > places


async def test_blocks_and_nested_workflows_survive() -> None:
    inner = create_workflow(id="inner", input_schema=int, output_schema=int).then(double).sleep("1h").commit()
    outer = create_workflow(id="outer", input_schema=int, output_schema=tuple[int, int])

    assert await crash_everywhere(outer.parallel(inner, add_one).commit(), 1) > 10


async def test_a_program_survives() -> None:
    @workflow
    async def program(step: StepTools, number: int) -> int:
        draw = step.random().randrange(1000)
        once = await step.run(add_one, number)
        await step.sleep("pause", "2d")
        given = await step.wait_for_event(paid, timeout="3d", default=5)
        return draw + given + await step.run(double, once)

    assert await crash_everywhere(program, 1) > 15


async def test_a_run_that_fails_fails_after_every_crash() -> None:
    @step(retry=Retry(attempts=2, delay="1m"))
    async def fail(number: int) -> int:
        raise OSError("never")

    assert (
        await crash_everywhere(
            create_workflow(id="failing", input_schema=int, output_schema=int).then(fail).commit(), 1
        )
        > 6
    )


async def test_the_mocks_of_a_test_runtime_hold(wrkflw_runtime: TestRuntime) -> None:
    @step
    async def charge(number: int) -> int:
        raise NotImplementedError("it is mocked")

    charging = create_workflow(id="charging", input_schema=int, output_schema=int).then(charge).commit()
    wrkflw_runtime.mock(charge, lambda number: number + 1)

    assert await crash_everywhere(charging, 1) > 4


async def test_it_names_the_first_crash_after_which_something_differs() -> None:
    @step
    async def remember(number: int, ctx: StepContext) -> int:
        return number if ctx.fence == 1 else -number

    forgetful = (
        create_workflow(id="forgetful", input_schema=int, output_schema=int).then(add_one).then(remember).commit()
    )

    with pytest.raises(AssertionError) as raised:
        await crash_everywhere(forgetful, 1)

    assert str(raised.value) == (
        "workflow 'forgetful' comes out differently after a crash after commit 1 of the run (run_created): "
        "output is -2 instead of 2; what runs again, bodies that were at work and the code between steps, may depend "
        "on nothing but its input, the state and recorded results; a @workflow asks step.now(), step.random() and "
        "step.uuid()"
    )


async def test_it_names_the_step_at_whose_commit_memory_was_lost() -> None:
    kept = dict[str, int]()

    @step
    async def keep(number: int) -> int:
        kept["number"] = number
        return number

    @step
    async def take(number: int) -> int:
        return kept.pop("number", -1)  # in a process that began after ``keep``, nothing is there

    careless = create_workflow(id="careless", input_schema=int, output_schema=int).then(keep).then(take).commit()

    with pytest.raises(AssertionError) as raised:
        await crash_everywhere(careless, 7)

    assert "a crash before commit 5 of the run (step_completed of 'take', run_completed): " in str(raised.value)
    assert "output is -1 instead of 7; what runs again, " in str(raised.value)


async def test_it_says_when_runs_differ_without_a_crash() -> None:
    numbers = count()

    @step
    async def draw(number: int) -> int:
        return next(numbers)

    drawing = create_workflow(id="drawing", input_schema=int, output_schema=int).then(draw).commit()

    with pytest.raises(
        AssertionError, match="two runs of workflow 'drawing' differ without a crash: output is 1 instead"
    ):
        await crash_everywhere(drawing, 1)


async def test_it_says_why_a_run_that_changed_its_mind_after_a_crash_is_paused() -> None:
    turns = list[int]()

    @step
    async def begin(number: int) -> int:
        turns.clear()
        return number

    @workflow
    async def moody(step: StepTools, number: int) -> int:
        turns.append(await step.run(begin, number))
        for each in (double, add_one) if len(turns) == 1 else (add_one, double):
            await step.run(each, number)
        return number

    with pytest.raises(AssertionError) as raised:
        await crash_everywhere(moody, 1)

    assert "comes out differently after a crash" in str(raised.value)
    assert "recorded 'double', which workflow 'moody' does not ask for at that point" in str(raised.value)
    assert str(raised.value).endswith("a @workflow asks step.now(), step.random() and step.uuid()")


async def test_it_says_why_a_run_is_paused_without_a_crash() -> None:
    naps = count()

    @workflow
    async def restless(step: StepTools, number: int) -> int:
        await step.sleep(f"nap-{next(naps)}", "1h")
        return number

    with pytest.raises(AssertionError) as raised:
        await crash_everywhere(restless, 1)

    assert "workflow 'restless' is paused without a crash: " in str(raised.value)
    assert "recorded 'nap-0', which workflow 'restless' does not ask for at that point" in str(raised.value)
