"""only_if: a step that is skipped where its condition says no."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from tests.clocks import ManualClock, settle
from wrkflw import Failed, Runtime, StepContext, StepNotRunError, step

from .desk import Desk, chain, open_keys, statuses
from .lost import kill


class Seen(BaseModel):
    n: int = 0


@pytest.fixture
def desk() -> Desk:
    return Desk()


def yes(data: int) -> bool:
    return True


def no(data: int) -> bool:
    return False


async def test_where_the_condition_holds_the_step_runs(runtime: Runtime, desk: Desk) -> None:
    assert await chain(gives=Any).then(desk.quick("a").only_if(lambda data: data > 0)).commit().run(1) == 2


async def test_where_it_does_not_the_output_is_none(runtime: Runtime, desk: Desk) -> None:
    run = await chain(gives=Any).then(desk.quick("a").only_if(no)).commit().create_run()

    assert (await run.start(1)).unwrap() is None
    assert await statuses(run) == {"a": "skipped"}
    assert desk.calls == []


async def test_of_two_conditions_both_must_hold(runtime: Runtime, desk: Desk) -> None:
    asked: list[str] = []

    def first(data: int) -> bool:
        asked.append("first")
        return data > 1

    def second(data: int) -> bool:
        asked.append("second")
        return data < 3

    flow = chain(gives=Any).then(desk.quick("a").only_if(first).only_if(second)).commit()

    assert [await flow.run(data) for data in (1, 2, 3)] == [None, 3, None]
    assert asked == ["first", "first", "second", "first", "second"]


async def test_of_several_members_all_whose_condition_holds_run(runtime: Runtime, desk: Desk) -> None:
    members = [desk.quick("a").only_if(yes), desk.quick("b").only_if(no), desk.quick("c").only_if(yes)]

    assert await chain(gives=Any).parallel(*members).commit().run(1) == (2, None, 2)
    assert desk.calls == ["a", "c"]


async def test_members_begin_in_their_order_whether_or_not_they_have_conditions(runtime: Runtime, desk: Desk) -> None:
    """The first whose input does not fit decides the block, and what stands before it runs."""

    @step
    async def picky(data: str) -> int:
        raise AssertionError(data)

    before, after = desk.quick("before").only_if(yes), desk.quick("after").only_if(yes)
    result = await (
        await chain(takes=Any, gives=list[Any]).parallel_all([before, picky, after]).commit().create_run()
    ).start(1)

    assert isinstance(result, Failed)
    assert result.error.step_id == "picky"
    assert desk.calls == ["before"]


async def test_a_skipped_step_leaves_the_state_alone(runtime: Runtime) -> None:
    @step
    async def count(data: int, ctx: StepContext[Seen]) -> int:
        ctx.state.n += 1
        return data

    guarded = count.with_id("other").only_if(no)
    begun = chain(gives=Any, state_schema=Seen).parallel(count, guarded).map(lambda pair: pair[0])
    flow = begun.then(count.with_id("last").only_if(no)).commit()
    run = await flow.create_run()
    await run.start(1)

    assert run.state == Seen(n=1)


async def test_the_result_of_a_skipped_step_is_none_for_who_knows_the_guard(runtime: Runtime, desk: Desk) -> None:
    bare = desk.quick("a")
    guarded = bare.only_if(no)
    seen: list[object] = []

    @step
    async def after(data: int | None, ctx: StepContext) -> int:
        seen.append(ctx.get_step_result(guarded))
        seen.append(ctx.get_step_result(bare, default="nothing"))
        return int(ctx.get_step_result(bare))

    result = await (await chain().then(guarded).then(after).commit().create_run()).start(1)

    assert seen == [None, "nothing"]
    assert isinstance(result, Failed)
    assert result.error.type == "StepNotRunError"
    assert result.error.message == "step 'a' was skipped; ask with the guarded step, or pass default="
    with pytest.raises(StepNotRunError):
        result.get_step_result(bare)


def _raise(data: int) -> bool:
    raise KeyError("vip")


async def _wait(data: int) -> bool:
    return True


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (_raise, "only_if of step 'notify' raised KeyError: 'vip'; conditions must not raise"),
        (lambda data: _wait(data), "only_if of step 'notify' gave a coroutine; return True or False"),
        (lambda data: None, "only_if of step 'notify' gave None, not a bool; compare explicitly"),
    ],
    ids=["raises", "coroutine", "None"],
)
async def test_a_condition_that_is_none_fails_the_run(runtime: Runtime, desk: Desk, condition: Any, text: str) -> None:
    result = await (await chain(gives=Any).then(desk.quick("notify").only_if(condition)).commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == ("ConditionError", text)
    assert desk.calls == []


@pytest.mark.parametrize("first", [True, False])
async def test_the_verdict_is_asked_for_once(clock: ManualClock, database: str, desk: Desk, first: bool) -> None:
    asked: list[int] = []
    verdict = [first]

    def condition(data: int) -> bool:
        asked.append(data)
        return verdict[0]

    ask = desk.asking("ask")
    members = [desk.slow("slow").only_if(condition), ask]
    flow = chain(gives=Any).parallel(*members).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).enqueue(1)
        await settle()
        kill(runtime)
    verdict[0] = not first
    desk.let("slow")
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run("r-17")
        assert open_keys(await run.result()) == ["ask"]
        assert (await run.resume(ask, 10)).unwrap() == (2 if first else None, 11)

    assert asked == [1]


async def test_a_guarded_workflow_is_skipped_as_a_whole(runtime: Runtime, desk: Desk) -> None:
    inner = chain("inner").then(desk.quick("a")).commit().only_if(no)
    run = await chain(gives=Any).then(inner).commit().create_run()

    assert (await run.start(1)).unwrap() is None
    assert desk.calls == []


async def test_each_condition_has_a_copy(runtime: Runtime) -> None:
    def greedy(data: list[int]) -> bool:
        data.clear()
        return True

    @step
    async def count(data: list[int]) -> int:
        return len(data)

    assert await chain(takes=list[int], gives=Any).then(count.only_if(greedy).only_if(bool)).commit().run([1, 2]) == 2
