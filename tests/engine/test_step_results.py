"""get_step_result: what can be read, from where, and what is said when there is nothing to read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wrkflw import (
    Failed,
    MapContext,
    Run,
    Runtime,
    StepContext,
    StepNotRunError,
    UnknownStepError,
    Workflow,
    create_workflow,
    step,
)


@step
async def fetch(number: int) -> int:
    return number + 1


@step
async def price(number: int) -> str:
    return f"{number} €"


@step
async def charge(text: str) -> list[str]:
    return [text]


@step
async def stranger(number: int) -> int:
    return number


def shop() -> Workflow[int, list[str], None]:
    chain = create_workflow(id="shop", input_schema=int, output_schema=list[str])
    return chain.then(fetch).then(price).then(charge).commit()


async def started() -> Run[int, list[str], None]:
    run = await shop().create_run()
    await run.start(1)
    return run


async def test_a_body_reads_the_results_before_it(runtime: Runtime) -> None:
    @step
    async def look(text: str, ctx: StepContext) -> str:
        return f"{ctx.get_step_result(fetch)}, {ctx.get_step_result(price)}, {ctx.get_step_results(price)}"

    chain = create_workflow(id="looking", input_schema=int, output_schema=str).then(fetch).then(price).then(look)

    assert await chain.commit().run(1) == "2, 2 €, ['2 €']"


async def test_a_run_and_its_result_read_what_was_recorded(runtime: Runtime) -> None:
    run = await shop().create_run()
    result = await run.start(1)

    for reader in (run, result):
        assert reader.get_step_result(fetch) == 2
        assert reader.get_step_result(charge) == ["2 €"]
        assert reader.get_step_results(fetch) == [2]


async def test_a_handle_answers_from_what_it_saw_last(runtime: Runtime) -> None:
    workflow = shop()
    early = await workflow.create_run(run_id="r-17")
    late = await workflow.create_run(run_id="r-17")
    await late.start(1)

    assert early.get_step_result(fetch, default=None) is None
    await early.refresh()
    assert early.get_step_result(fetch) == 2
    assert (await workflow.get_run("r-17")).get_step_result(fetch) == 2


async def test_a_step_does_not_see_what_follows(runtime: Runtime) -> None:
    @step
    async def look(number: int, ctx: StepContext) -> str:
        return str(ctx.get_step_result(charge))

    chain = create_workflow(id="ahead", input_schema=int, output_schema=list[str]).then(fetch).then(look).then(charge)
    result = await (await chain.commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.type == "StepNotRunError"
    assert result.error.message == "step 'charge' has no result here; finished before this point: 'fetch'"


async def test_a_step_does_not_see_itself(runtime: Runtime) -> None:
    @step(id="look")
    async def look_at(number: int, ctx: StepContext) -> str:
        return ctx.get_step_result(itself, default="nothing")

    itself: Any = look_at
    workflow = create_workflow(id="mirror", input_schema=int, output_schema=str).then(look_at).commit()

    assert await workflow.run(1) == "nothing"


@pytest.mark.parametrize(("concurrency", "seen"), [(1, [0, 1, 2]), (3, [None, None, None])])
async def test_an_item_sees_those_before_it_and_none_beside_it(
    runtime: Runtime, concurrency: int, seen: list[object]
) -> None:
    @step(id="item")
    async def count(number: int, ctx: StepContext) -> int | None:
        for _ in range(number):
            await asyncio.sleep(0)
        try:
            return len(ctx.get_step_results(itself))
        except StepNotRunError:
            return None

    itself: Any = count
    chain: Any = create_workflow(id="items", input_schema=list[int], output_schema=list[int | None])
    workflow = chain.foreach(count, concurrency=concurrency).commit()

    assert await workflow.run([0, 40, 80]) == seen


async def test_the_results_of_what_was_skipped_are_asked_for_with_the_guarded_step(runtime: Runtime) -> None:
    guarded = fetch.only_if(lambda number: number > 1)

    @step
    async def look(numbers: list[int | None], ctx: StepContext) -> list[int | None]:
        with pytest.raises(StepNotRunError, match="step 'fetch' was skipped; ask with the guarded step"):
            ctx.get_step_results(fetch)
        return ctx.get_step_results(guarded)

    chain: Any = create_workflow(id="skipping", input_schema=list[int], output_schema=list[int | None])

    assert await chain.foreach(guarded).then(look).commit().run([1, 2, 0]) == [None, 3, None]


async def test_a_map_sees_only_what_stands_before_it(runtime: Runtime) -> None:
    def told(number: int, ctx: MapContext[int, None]) -> str:
        return f"{ctx.get_step_result(fetch)} {ctx.get_step_result(charge, default=None)}"

    chain = create_workflow(id="maps", input_schema=int, output_schema=list[str]).then(fetch).map_ctx(told).then(charge)

    assert await chain.commit().run(1) == ["2 None"]


async def test_nothing_finished_before_the_first_step(runtime: Runtime) -> None:
    run = await shop().create_run()

    with pytest.raises(StepNotRunError) as missing:
        run.get_step_result(price)

    assert str(missing.value) == "step 'price' has no result here; finished before this point: nothing"
    assert (missing.value.step_id, missing.value.finished) == ("price", ())


async def test_the_finished_steps_are_named_in_order(runtime: Runtime) -> None:
    @step(id="charge")
    async def fail(text: str) -> list[str]:
        raise OSError("no card")

    chain = create_workflow(id="failing", input_schema=int, output_schema=list[str]).then(fetch).then(price).then(fail)
    run = await chain.commit().create_run()
    result = await run.start(1)

    for reader in (run, result):
        with pytest.raises(StepNotRunError) as missing:
            reader.get_step_result(fail)
        assert str(missing.value) == "step 'charge' has no result here; finished before this point: 'fetch', 'price'"
        assert reader.get_step_results(fail) == []
        assert reader.get_step_result(fail, default=None) is None


async def test_a_step_of_another_workflow_is_unknown(runtime: Runtime) -> None:
    run = await started()

    with pytest.raises(UnknownStepError) as unknown:
        run.get_step_result(stranger)

    assert str(unknown.value) == "workflow 'shop' has no step 'stranger'; it has 'fetch', 'price', 'charge'"
    assert unknown.value.known == ("fetch", "price", "charge")


async def test_a_misspelt_step_is_guessed(runtime: Runtime) -> None:
    run = await started()

    with pytest.raises(UnknownStepError) as unknown:
        run.get_step_result(charge.with_id("chrage"))

    assert str(unknown.value) == "workflow 'shop' has no step 'chrage'; did you mean 'charge'"


async def test_an_unknown_step_has_no_default(runtime: Runtime) -> None:
    run = await started()

    with pytest.raises(UnknownStepError):
        run.get_step_result(stranger, default=None)
    with pytest.raises(UnknownStepError):
        run.get_step_results(stranger)


async def test_a_result_of_none_is_a_result(runtime: Runtime) -> None:
    @step
    async def nothing(number: int) -> None:
        return None

    run = await create_workflow(id="none", input_schema=int, output_schema=None).then(nothing).commit().create_run()
    await run.start(1)

    assert run.get_step_result(nothing, default="default") is None
    assert run.get_step_results(nothing) == [None]


async def test_the_context_tells_which_call_it_is(runtime: Runtime) -> None:
    seen: list[object] = []

    @step
    async def look(number: int, ctx: StepContext) -> int:
        facts = (ctx.run_id, ctx.workflow_id, ctx.step_id, ctx.key, ctx.attempt, ctx.iteration, ctx.index)
        seen.extend([*facts, ctx.idempotency_key, ctx.fence, ctx.stopping, ctx.get_init_data(int)])
        return number

    workflow = create_workflow(id="facts", input_schema=int, output_schema=int).then(look).commit()
    run = await workflow.create_run(run_id="r-17")
    await run.start(5)

    assert seen == ["r-17", "facts", "look", "look", 1, None, None, "r-17:look", 1, False, 5]


async def test_the_input_of_the_run_is_read_as_another_type(runtime: Runtime) -> None:
    @step
    async def look(number: int, ctx: StepContext) -> list[str]:
        return ctx.get_init_data(list[str])

    workflow = create_workflow(id="facts", input_schema=int, output_schema=list[str]).then(look).commit()
    result = await (await workflow.create_run(run_id="r-17")).start(5)

    assert isinstance(result, Failed)
    assert result.error.message == "input of run 'r-17' does not fit list[str]: input should be a valid array"


async def test_results_are_asked_for_with_the_step_itself(runtime: Runtime) -> None:
    flow = create_workflow(id="flow", input_schema=int, output_schema=int).then(only).commit()
    run: Any = await flow.create_run()
    result: Any = await run.start(1)

    for ask in (run.get_step_result, result.get_step_result):
        with pytest.raises(TypeError, match=r"^get_step_result\(\) takes a step, got 'only'; pass the step itself$"):
            ask("only")
    with pytest.raises(TypeError, match=r"^get_step_results\(\) takes a step, got print; pass the step itself$"):
        run.get_step_results(print)
    with pytest.raises(TypeError, match=r"^fork\(\) takes a step, got 'only'; pass the step itself$"):
        run.fork(at="only")
    with pytest.raises(TypeError, match=r"^with_output\(\) takes a step, got 'only'; pass the step itself$"):
        run.fork().with_output("only", 1)


@step
async def only(data: int) -> int:
    return data
