"""State in a sequence of steps: what a step changes is recorded with its output, and only with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.clocks import ManualClock
from wrkflw import Failed, InvalidValueError, MapContext, Retry, Runtime, StepContext, create_workflow, step


class Counters(BaseModel):
    n: int = 0
    names: list[str] = []


@step
async def count(data: str, ctx: StepContext[Counters]) -> str:
    ctx.state.n += 1
    ctx.state.names.append(data)
    return data


@step
async def read(data: str, ctx: StepContext[Counters]) -> int:
    return ctx.state.n


async def test_a_change_is_seen_by_the_steps_that_follow(runtime: Runtime) -> None:
    chain = create_workflow(id="counting", input_schema=str, output_schema=int, state_schema=Counters)
    run = await chain.then(count).then(count.with_id("again")).then(read).commit().create_run()

    assert (await run.start("a")).unwrap() == 2
    assert run.state == Counters(n=2, names=["a", "a"])
    assert (await run.snapshot()).state == Counters(n=2, names=["a", "a"])


async def test_only_what_changed_is_recorded_with_the_output(runtime: Runtime) -> None:
    @step
    async def bump(data: str, ctx: StepContext[Counters]) -> str:
        ctx.state.n = 7
        return data

    chain = create_workflow(id="counting", input_schema=str, output_schema=int, state_schema=Counters)
    run = await chain.then(bump).then(read).commit().create_run()
    await run.start("a")

    completed = [event.event async for event in run.events() if event.event_type == "step_completed"]
    assert [event.model_dump(exclude_none=True).get("meta") for event in completed] == [
        {"state": {"set": {"n": 7}}},
        None,
    ]


async def test_without_a_state_none_can_be_set(runtime: Runtime) -> None:
    @step
    async def lose(data: str, ctx: StepContext) -> str:
        ctx.set_state(Counters(n=1))
        return data

    run = await create_workflow(id="stateless", input_schema=str, output_schema=str).then(lose).commit().create_run()
    result = await run.start("a")

    assert isinstance(result, Failed)
    assert result.error.message == (
        "state in step 'lose' was set, but workflow 'stateless' has none; declare state_schema="
    )


async def test_set_state_replaces_the_copy_and_is_seen_at_once(runtime: Runtime) -> None:
    @step
    async def replace(data: str, ctx: StepContext[Counters]) -> int:
        ctx.set_state(Counters(n=5))
        ctx.state.n += 1
        return ctx.state.n

    chain = create_workflow(id="replacing", input_schema=str, output_schema=int, state_schema=Counters)
    run = await chain.then(replace).commit().create_run()

    assert (await run.start("a")).unwrap() == 6
    assert run.state == Counters(n=6)


async def test_a_failed_try_leaves_nothing(runtime: Runtime) -> None:
    @step(retry=Retry(attempts=2, delay="0s"))
    async def stumble(data: str, ctx: StepContext[Counters]) -> int:
        ctx.state.n += 10
        if ctx.attempt == 1:
            raise OSError("not yet")
        return ctx.state.n

    chain = create_workflow(id="stumbling", input_schema=str, output_schema=int, state_schema=Counters)
    run = await chain.then(stumble).commit().create_run()

    assert (await run.start("a")).unwrap() == 10
    assert run.state.n == 10


async def test_a_failed_step_leaves_nothing(runtime: Runtime) -> None:
    @step
    async def fail(data: str, ctx: StepContext[Counters]) -> int:
        ctx.state.n = 99
        raise OSError("never")

    chain = create_workflow(id="failing", input_schema=str, output_schema=int, state_schema=Counters)
    run = await chain.then(count).then(fail).commit().create_run()
    await run.start("a")

    assert run.state.n == 1


async def test_state_begins_as_the_schema_makes_it(runtime: Runtime) -> None:
    chain = create_workflow(id="counting", input_schema=str, output_schema=int, state_schema=Counters)

    assert await chain.then(read).commit().run("a") == 0


async def test_state_begins_as_the_starter_says(runtime: Runtime) -> None:
    chain = create_workflow(id="counting", input_schema=str, output_schema=int, state_schema=Counters)
    workflow = chain.then(read).commit()
    given = Counters(n=3)

    assert await workflow.run("a", initial_state=given) == 3
    assert (await (await workflow.create_run()).start("a", initial_state=given)).unwrap() == 3


async def test_an_initial_state_that_does_not_fit_begins_nothing(runtime: Runtime) -> None:
    chain = create_workflow(id="counting", input_schema=str, output_schema=int, state_schema=Counters)
    run = await chain.then(read).commit().create_run(run_id="r-17")

    with pytest.raises(InvalidValueError) as refused:
        await run.start("a", initial_state={"n": "many"})  # type: ignore[arg-type]

    assert str(refused.value) == (
        "initial state of run 'r-17' does not fit Counters: "
        "n: input should be a valid integer, unable to parse string as an integer"
    )
    assert (await runtime.runs.list()).data == []


async def test_a_workflow_without_state_takes_none(runtime: Runtime) -> None:
    @step
    async def same(data: str) -> str:
        return data

    run = await create_workflow(id="plain", input_schema=str, output_schema=str).then(same).commit().create_run()

    with pytest.raises(InvalidValueError, match=r"was given, but workflow 'plain' has none; declare state_schema="):
        await run.start("a", initial_state=Counters())  # type: ignore[arg-type]
    assert run.state is None


async def test_a_state_that_does_not_fit_fails_the_step_untried_again(runtime: Runtime) -> None:
    tries: list[int] = []

    @step(id="count", retry=Retry(attempts=3, delay="0s"))
    async def spoil(data: str, ctx: StepContext[Counters]) -> int:
        tries.append(1)
        ctx.state.n = "many"  # type: ignore[assignment]
        return 1

    chain = create_workflow(id="spoiling", input_schema=str, output_schema=int, state_schema=Counters)
    run = await chain.then(spoil).commit().create_run()
    result = await run.start("a")

    assert isinstance(result, Failed)
    assert tries == [1]
    assert result.error.type == "InvalidValueError"
    assert result.error.message.startswith(
        "state after step 'count' does not fit Counters: n: input should be a valid integer"
    )
    assert run.state == Counters()


async def test_what_is_private_to_the_state_is_refused_when_it_changes(runtime: Runtime) -> None:
    class Diary(BaseModel):
        lines: int = 0
        _seen: list[str] = []

    @step
    def remember(data: str, ctx: StepContext[Diary]) -> str:
        ctx.state._seen.append(data)
        return data

    chain = create_workflow(id="remembering", input_schema=str, output_schema=str, state_schema=Diary)
    result = await (await chain.then(remember).commit().create_run()).start("a")

    assert isinstance(result, Failed)
    assert result.error.message == (
        "state after step 'remember' does not survive storage as Diary: _seen is ['a'], and comes back as []; "
        "make it a field, or a cached_property if it can be made anew"
    )


async def test_a_map_reads_a_copy(runtime: Runtime) -> None:
    def spoil(data: str, ctx: MapContext[str, Counters]) -> str:
        ctx.state.n += 100
        return f"{data}{ctx.state.n}"

    chain = create_workflow(id="mapping", input_schema=str, output_schema=int, state_schema=Counters)
    run = await chain.then(count).map_ctx(spoil).then(read).commit().create_run()

    assert (await run.start("a")).unwrap() == 1


async def test_a_step_that_does_not_care_about_state_fits_anywhere(runtime: Runtime) -> None:
    @step
    async def same(data: str, ctx: StepContext) -> str:
        return data

    chain = create_workflow(id="counting", input_schema=str, output_schema=int, state_schema=Counters)

    assert await chain.then(count).then(same).then(read).commit().run("a") == 1


@dataclass
class Tally:
    n: int = 0
    names: list[str] = field(default_factory=list)


async def test_a_dataclass_is_state(runtime: Runtime) -> None:
    @step
    async def bump(data: str, ctx: StepContext[Tally]) -> str:
        ctx.state.n += 1
        ctx.state.names.append(data)
        return data

    chain = create_workflow(id="tally", input_schema=str, output_schema=str, state_schema=Tally)
    run = await chain.then(bump).then(bump.with_id("again")).commit().create_run()
    await run.start("a")

    assert run.state == Tally(2, ["a", "a"])


class Notes(TypedDict, total=False):
    first: str
    second: str


async def test_a_field_that_was_removed_stays_removed(runtime: Runtime) -> None:
    @step
    async def begin(data: str, ctx: StepContext[Notes]) -> str:
        ctx.state["first"], ctx.state["second"] = data, data
        return data

    @step
    async def drop(data: str, ctx: StepContext[Notes]) -> str:
        del ctx.state["first"]
        return data

    chain = create_workflow(id="notes", input_schema=str, output_schema=str, state_schema=Notes)
    run = await chain.then(begin).then(drop).commit().create_run()
    await run.start("a")

    assert run.state == {"second": "a"}


async def test_state_survives_a_restart(clock: ManualClock, database: str) -> None:
    chain = create_workflow(id="counting", input_schema=str, output_schema=int, state_schema=Counters)

    @step(retry=Retry(attempts=2, delay="1h", max_delay="1h", jitter=0))
    async def stumble(data: str, ctx: StepContext[Counters]) -> str:
        ctx.state.n += 1
        if ctx.attempt == 1:
            raise OSError("not yet")
        return data

    workflow = chain.then(count).then(stumble).then(read).commit()
    async with Runtime(database, clock=clock):
        await (await workflow.create_run(run_id="r-17")).start("a")
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[workflow]):
        run = await workflow.get_run("r-17")
        assert (await run.result()).unwrap() == 2
        assert run.state == Counters(n=2, names=["a"])


def nested(levels: int) -> object:
    tree: object = 0
    for _ in range(levels):
        tree = [tree]
    return tree


class Tree(BaseModel):
    root: Any = None


@pytest.mark.parametrize(("levels", "fits"), [(150, True), (186, True), (187, False), (199, False)])
async def test_state_that_no_event_can_hold_is_refused_and_never_lost(
    levels: int, fits: bool, runtime: Runtime
) -> None:
    @step
    async def grow(levels: int, ctx: StepContext[Tree]) -> int:
        ctx.set_state(Tree(root=nested(levels)))
        return levels

    chain = create_workflow(id="growing", input_schema=int, output_schema=int, state_schema=Tree)
    workflow = chain.then(grow).commit()
    run = await workflow.create_run()
    result = await run.start(levels)
    begun = await workflow.create_run(run_id="r-17")

    if fits:
        assert result.unwrap() == levels
        assert (await run.snapshot()).state == Tree(root=nested(levels))
        assert (await begun.start(0, initial_state=Tree(root=nested(levels)))).unwrap() == 0
        return
    assert isinstance(result, Failed)
    assert result.error.message == "state after step 'grow' does not fit Tree: nested deeper than 187 levels"
    with pytest.raises(InvalidValueError, match=r"^initial state of run 'r-17' .*: nested deeper than 187 levels$"):
        await begun.start(0, initial_state=Tree(root=nested(levels)))
    assert (await begun.start(0)).unwrap() == 0
