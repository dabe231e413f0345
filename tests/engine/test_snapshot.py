"""The snapshot: true after every step, and never ahead of what is recorded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from tests.clocks import START, ManualClock, settle
from wrkflw import (
    Retry,
    RunNotFoundError,
    Runtime,
    Snapshot,
    StepContext,
    SuspendContext,
    create_step,
    create_workflow,
    step,
)


class Name(BaseModel):
    name: str


class Counters(BaseModel):
    n: int = 0


async def test_every_body_finds_the_steps_before_it_recorded(runtime: Runtime) -> None:
    seen: list[Snapshot] = []

    @step
    async def first(data: str, ctx: StepContext[Counters]) -> Name:
        seen.append(await runtime.runs.snapshot(ctx.run_id))
        ctx.state.n = 1
        return Name(name=data)

    @step
    async def second(data: Name, ctx: StepContext[Counters]) -> int:
        seen.append(await runtime.runs.snapshot(ctx.run_id))
        ctx.state.n = 2
        return len(data.name)

    @step
    async def third(data: int, ctx: StepContext[Counters]) -> int:
        seen.append(await runtime.runs.snapshot(ctx.run_id))
        return data

    chain = create_workflow(id="seeing", input_schema=str, output_schema=int, state_schema=Counters)
    run = await chain.then(first).then(second).then(third).commit().create_run(attributes={"team": "red"})
    await run.start("ada")
    seen.append(await run.snapshot())

    assert [each.execution_path for each in seen] == [
        ["first"], ["first", "second"], ["first", "second", "third"], ["first", "second", "third"]
    ]  # fmt: skip
    assert [[step.status for step in each.step_results.values()] for each in seen] == [
        ["running"], ["completed", "running"], ["completed", "completed", "running"], ["completed"] * 3
    ]  # fmt: skip
    assert [each.state for each in seen] == [Counters(), Counters(n=1), Counters(n=2), Counters(n=2)]
    assert [each.status for each in seen] == ["running", "running", "running", "completed"]
    assert [each.result for each in seen] == [None, None, None, 3]
    last = seen[-1]
    assert (last.run_id, last.workflow_id, last.input, last.error) == (run.run_id, "seeing", "ada", None)
    assert last.attributes == {"team": "red"}
    assert last.step_results["first"].output == Name(name="ada")
    assert last.step_results["second"].output == 3


async def test_a_snapshot_tells_tries_and_errors(runtime: Runtime, clock: ManualClock) -> None:
    @step(retry=Retry(attempts=2, delay="4s", jitter=0))
    async def charge(data: str) -> str:
        raise OSError("down")

    run = await create_workflow(id="failing", input_schema=str, output_schema=str).then(charge).commit().create_run()
    starting = asyncio.ensure_future(run.start("ada"))
    await settle()
    waiting = (await runtime.runs.snapshot(run.run_id)).step_results["charge"]
    clock.turn("4s")
    await settle()
    await starting
    failed = (await run.snapshot()).step_results["charge"]

    assert (waiting.status, waiting.attempt, waiting.completed_at) == ("retrying", 1, None)
    assert waiting.error is not None
    assert waiting.error.message == "down"
    assert (failed.status, failed.attempt) == ("failed", 2)
    assert failed.error is not None
    assert failed.error.attempts == 2
    assert ((await run.snapshot()).error or failed.error).message == "down"


async def test_times_are_those_of_the_clock(runtime: Runtime, clock: ManualClock) -> None:
    go_on = asyncio.Event()

    @step
    async def wait(data: str) -> str:
        await go_on.wait()
        return data

    run = await create_workflow(id="timing", input_schema=str, output_schema=str).then(wait).commit().create_run()
    starting = asyncio.ensure_future(run.start("ada"))
    await settle()
    clock.turn("5m")
    go_on.set()
    await starting
    snapshot = await run.snapshot()

    recorded = snapshot.step_results["wait"]
    assert (snapshot.created_at, recorded.started_at) == (START, START)
    assert snapshot.updated_at == recorded.completed_at == clock.now()


async def test_a_runtime_that_does_not_know_the_workflow_shows_plain_values(clock: ManualClock, database: str) -> None:
    @step
    async def name(data: str) -> Name:
        return Name(name=data)

    workflow = create_workflow(id="naming", input_schema=str, output_schema=Name).then(name).commit()
    async with Runtime(database, clock=clock):
        await (await workflow.create_run(run_id="r-17")).start("ada")
    async with Runtime(database, clock=clock, worker=False) as runtime:
        snapshot = await runtime.runs.snapshot("r-17")

    assert snapshot.result == {"name": "ada"}
    assert snapshot.step_results["name"].output == {"name": "ada"}


async def test_what_was_of_another_type_before_a_deploy_is_shown_as_plain_values(
    clock: ManualClock, database: str
) -> None:
    class Ranked(Name):
        rank: int

    class Texts(BaseModel):
        n: str = ""

    def naming(form: Any, state: Any) -> Any:
        async def name(data: Any, ctx: StepContext[Any]) -> Any:
            ctx.state.n = 1
            return data

        taking: Any = create_step(id="name", input_schema=form, output_schema=form)
        return (
            create_workflow(id="naming", input_schema=form, output_schema=form, state_schema=state)
            .then(taking(name))
            .commit()
        )

    async with Runtime(database, clock=clock):
        await (await naming(Name, Counters).create_run(run_id="r-17")).start(Name(name="ada"))
    async with Runtime(database, clock=clock, workflows=[naming(Ranked, Texts)], worker=False) as runtime:
        snapshot = await runtime.runs.snapshot("r-17")

    assert snapshot.input == snapshot.result == snapshot.step_results["name"].output == {"name": "ada"}
    assert snapshot.state == {"n": 1}


async def test_a_call_that_was_closed_while_it_waited_has_made_as_many_tries_as_before(
    runtime: Runtime, clock: ManualClock
) -> None:
    @step
    async def ask(data: int, ctx: SuspendContext[int, str]) -> int:
        return ctx.suspend("q")

    @step(retry=Retry(attempts=2, delay="1h"))
    async def stumble(data: int) -> int:
        raise OSError("down")

    @step
    async def fail(data: int) -> int:
        await give_up.wait()
        raise ValueError("enough")

    give_up = asyncio.Event()
    chain: Any = create_workflow(id="closed", input_schema=int, output_schema=Any)
    run = await chain.parallel(ask, stumble).commit().create_run()
    await run.start(1)
    await run.cancel()
    failing: Any = create_workflow(id="drained", input_schema=int, output_schema=Any)
    drained = await failing.parallel(ask, stumble, fail).commit().create_run()
    starting = asyncio.ensure_future(drained.start(1))
    await settle()
    give_up.set()
    result = await starting

    for each in (run, drained):
        tries = {key: step.attempt for key, step in (await each.snapshot()).step_results.items()}
        assert (tries["ask"], tries["stumble"]) == (1, 1)
    assert [error.attempts for error in result.errors] == [1, 1]


async def test_a_snapshot_is_json(runtime: Runtime) -> None:
    @step
    async def name(data: str) -> Name:
        return Name(name=data)

    run = await create_workflow(id="naming", input_schema=str, output_schema=Name).then(name).commit().create_run()
    await run.start("ada")

    assert '"execution_path":["name"]' in (await run.snapshot()).model_dump_json()


async def test_there_is_no_snapshot_of_what_does_not_exist(runtime: Runtime) -> None:
    with pytest.raises(RunNotFoundError):
        await runtime.runs.snapshot("r-17")
