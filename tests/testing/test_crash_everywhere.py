"""crash_everywhere: workflows that survive every crash, and what it says of those that do not."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from itertools import count

import pytest
from pydantic import BaseModel

from wrkflw import (
    Event,
    OutcomeUnknownError,
    Retry,
    Run,
    StepContext,
    StepFailedError,
    StepTools,
    SuspendContext,
    Suspended,
    create_workflow,
    step,
    workflow,
)
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


@step(retry=Retry(attempts=3, delay="1h"))
async def stumble_with_jitter(number: int, ctx: StepContext) -> int:
    if ctx.attempt < 3:
        raise OSError("not yet")
    return number


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


async def test_a_run_that_nobody_brings_to_its_end_passes_no_test() -> None:
    """What comes after the wait would never have run, and the test would be green."""
    asking = create_workflow(id="asking", input_schema=int, output_schema=int).then(add_one).then(ask).commit()
    waiting = create_workflow(id="waiting", input_schema=int, output_schema=int).wait_for_event(paid).commit()

    async def forgets(_run: Run[int, int]) -> None:
        pass

    with pytest.raises(AssertionError, match="it still waits for an answer; pass drive="):
        await crash_everywhere(asking, 1)
    with pytest.raises(AssertionError, match="it still waits for an event; drive= gives it nothing that it waits for"):
        await crash_everywhere(waiting, 1, drive=forgets)


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


async def test_nothing_that_the_dead_processes_did_is_left_unheard() -> None:
    @workflow(id="giving-up")
    async def giving_up(step: StepTools, number: int) -> int:
        quick, slow = asyncio.create_task(step.run(add_one, number)), asyncio.create_task(asyncio.sleep(30))
        await asyncio.wait([quick, slow], return_when=asyncio.FIRST_COMPLETED)
        slow.cancel()
        rest = asyncio.create_task(step.sleep("rest", "1h"))
        given = await step.run(add_one, number, name="again")
        rest.cancel()
        await asyncio.wait([rest])
        return given

    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unheard.append(context["message"]))

    await crash_everywhere(giving_up, 1)

    gc.collect()
    assert unheard == []


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


async def test_what_a_process_draws_first_does_not_decide_how_long_a_retry_waits() -> None:
    @workflow
    async def timed(step: StepTools, number: int) -> str:
        await step.run(stumble_with_jitter, number)
        return step.now().isoformat()

    assert await crash_everywhere(timed, 1) > 10


async def test_it_says_that_a_run_of_which_nothing_was_recorded_began_anew() -> None:
    numbers = iter([0, 0, 1])  # without a crash, again without one, and after the first

    @workflow
    async def drawing(step: StepTools, number: int) -> int:
        return next(numbers)

    with pytest.raises(AssertionError) as raised:
        await crash_everywhere(drawing, 1)

    assert str(raised.value) == (
        "workflow 'drawing' comes out differently after a crash before commit 1 of the run, of which nothing was "
        "recorded, so that it began anew: output is 1 instead of 0; mock what changes by itself, and what bodies "
        "change outside of the run: all runs of this test share it"
    )


# --- steps that happen at most once ---------------------------------------------------------------------


@step(at_most_once=True)
async def pay(number: int) -> int:
    return number + 1


async def test_a_step_that_may_not_begin_again_may_fail_with_its_process() -> None:
    paying = create_workflow(id="paying", input_schema=int, output_schema=int).then(add_one).then(pay).then(double)

    assert await crash_everywhere(paying.commit(), 1) > 8


async def test_such_a_step_may_stand_in_a_nested_workflow_and_beside_others() -> None:
    inner = create_workflow(id="inner", input_schema=int, output_schema=int).then(pay).then(double).commit()
    outer = create_workflow(id="outer", input_schema=int, output_schema=tuple[int, int])

    assert await crash_everywhere(outer.parallel(inner, add_one).commit(), 1) > 8


async def test_a_program_may_go_on_when_it_is_unknown_whether_a_step_happened() -> None:
    @workflow
    async def careful(step: StepTools, number: int) -> int:
        try:
            return await step.run(pay, number)
        except StepFailedError:
            return await step.run(double, number)

    assert await crash_everywhere(careful, 1) > 6


async def test_what_follows_such_a_failure_is_judged_too() -> None:
    numbers = count()

    @workflow
    async def moody(step: StepTools, number: int) -> int:
        try:
            return await step.run(pay, number)
        except StepFailedError:
            return next(numbers)

    with pytest.raises(AssertionError) as raised:
        await crash_everywhere(moody, 1)

    assert str(raised.value).startswith(
        "two runs of workflow 'moody' that crashed after commit 3 of the run (step_created of 'pay', step_started of "
        "'pay'), which leaves open whether 'pay' happened, differ: output is 0 instead of 1; what runs again, "
    )


async def test_other_steps_of_such_a_workflow_are_judged_as_ever() -> None:
    @step
    async def remember(number: int, ctx: StepContext) -> int:
        return number if ctx.fence == 1 else -number

    forgetful = create_workflow(id="forgetful", input_schema=int, output_schema=int).then(remember).then(pay).commit()

    with pytest.raises(AssertionError, match=r"after a crash after commit 1 of the run \(run_created\): output is 0"):
        await crash_everywhere(forgetful, 1)


async def test_no_other_step_may_fail_because_of_a_crash() -> None:
    @step
    async def pretend(number: int, ctx: StepContext) -> int:
        if ctx.fence > 1:
            raise OutcomeUnknownError("pretend")
        return number

    pretending = create_workflow(id="pretending", input_schema=int, output_schema=int).then(pretend).commit()

    with pytest.raises(AssertionError, match=r"comes out differently after a crash .* status is 'failed' instead of"):
        await crash_everywhere(pretending, 1)


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
