"""State in blocks: each member has that of the entry, and what they change is put together at the end."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from tests.clocks import ManualClock, settle
from wrkflw import Failed, Merge, Runtime, StepContext, SuspendContext, step

from .desk import Desk, chain
from .lost import kill


class Totals(BaseModel):
    total: int = 0
    a: int = 0
    b: int = 0
    sum: Annotated[int, Merge.SUM] = 0
    last: Annotated[str, Merge.LAST] = ""


@pytest.fixture
def desk() -> Desk:
    return Desk()


def setting(id: str, gate: asyncio.Event | None = None, **fields: Any) -> Any:
    """A step that sets these fields of the state; callables get what they were."""

    @step(id=id)
    async def body(data: int, ctx: StepContext[Totals]) -> int:
        if gate is not None:
            await gate.wait()
        for name, value in fields.items():
            before = getattr(ctx.state, name)
            setattr(ctx.state, name, value(before) if callable(value) else value)
        return data

    return body


def seeing(id: str, seen: list[Any]) -> Any:
    @step(id=id)
    async def body(data: int, ctx: StepContext[Totals]) -> int:
        seen.append(ctx.state)
        return data

    return body


def block(*members: Any, id: str = "flow") -> Any:
    return chain(id, state_schema=Totals).parallel(*members).join(lambda *values: values[0])


async def test_different_fields_are_all_kept(runtime: Runtime) -> None:
    seen: list[Any] = []
    run = await block(setting("x", a=1), setting("y", b=2)).then(seeing("after", seen)).commit().create_run()
    await run.start(1)

    assert seen == [Totals(a=1, b=2)]
    assert run.state == Totals(a=1, b=2)


async def test_members_do_not_see_each_other_even_when_they_begin_late(runtime: Runtime) -> None:
    seen: list[Any] = []
    members = [setting("x", a=1), seeing("y", seen), setting("z", b=2)]
    flow = chain(gives=list[int], state_schema=Totals).parallel_all(members, concurrency=1).commit()
    run = await flow.create_run()
    await run.start(1, initial_state=Totals(total=5))

    assert seen == [Totals(total=5)]
    assert run.state == Totals(total=5, a=1, b=2)


async def test_the_same_value_is_no_conflict(runtime: Runtime) -> None:
    run = await block(setting("x", total=3), setting("y", total=3)).commit().create_run()
    await run.start(1)

    assert run.state == Totals(total=3)


async def test_different_values_of_one_field_fail_the_block(runtime: Runtime) -> None:
    price, stock = setting("price", total=12, a=1), setting("stock", total=15)
    begun = chain(gives=Any, state_schema=Totals).then(setting("first", total=7))
    run = await begun.parallel(price, stock).commit().create_run()
    result = await run.start(1)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == (
        "StateConflictError",
        "steps 'price' and 'stock' ran side by side and both set state field 'total' (12 and 15); "
        "let one set it, or declare how to merge it with Annotated[..., Merge.LAST], of numbers also Merge.SUM",
    )
    assert run.state == Totals(total=7)
    assert (run.get_step_result(price), run.get_step_result(stock)) == (1, 1)


@pytest.mark.parametrize("order", [("x", "y"), ("y", "x")])
async def test_last_is_the_last_of_the_arguments(runtime: Runtime, order: tuple[str, str]) -> None:
    gates = {"x": asyncio.Event(), "y": asyncio.Event()}
    members = [setting("x", gates["x"], last="x"), setting("y", gates["y"], last="y")]
    run = await block(*members).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    for id in order:
        await settle()
        gates[id].set()
    await starting

    assert run.state == Totals(last="y")


async def test_sums_add_the_differences(runtime: Runtime) -> None:
    add = [setting(f"m{n}", sum=lambda before, n=n: before + n) for n in range(4)]
    flow = chain(gives=Any, state_schema=Totals).parallel_all(add).commit()
    run = await flow.create_run()
    await run.start(1, initial_state=Totals(sum=100))

    assert run.state == Totals(sum=106)


async def test_items_side_by_side_are_merged_in_their_order(runtime: Runtime) -> None:
    @step
    async def item(data: int, ctx: StepContext[Totals]) -> int:
        for _ in range(10 - data):
            await asyncio.sleep(0)
        ctx.state.last = str(data)
        ctx.state.sum += data
        return ctx.state.sum

    flow = chain("flow", list[int], list[int], state_schema=Totals)
    run = await flow.foreach(item, concurrency=4).commit().create_run()

    assert (await run.start([1, 2, 3, 4, 5])).unwrap() == [1, 2, 3, 4, 5]
    assert run.state == Totals(last="5", sum=15)


async def test_items_one_after_the_other_see_each_other(runtime: Runtime) -> None:
    @step
    async def item(data: int, ctx: StepContext[Totals]) -> int:
        ctx.state.total += data
        return ctx.state.total

    flow = chain("flow", list[int], list[int], state_schema=Totals).foreach(item).commit()
    run = await flow.create_run()

    assert (await run.start([1, 2, 3])).unwrap() == [1, 3, 6]
    assert run.state == Totals(total=6)


async def test_iterations_see_each_other(runtime: Runtime) -> None:
    @step
    async def again(data: int, ctx: StepContext[Totals]) -> int:
        ctx.state.total += 10
        return ctx.state.total

    flow = chain("flow", state_schema=Totals).do_until(again, lambda output: output >= 30).commit()

    assert await flow.run(0) == 30


async def test_while_a_block_is_open_the_state_is_that_at_its_entry(runtime: Runtime) -> None:
    gate = asyncio.Event()
    begun = chain("flow", state_schema=Totals).then(setting("first", total=1))
    members = [setting("x", a=1), setting("y", gate, b=2)]
    run = await begun.parallel(*members).join(lambda *values: values[0]).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    await run.refresh()
    assert run.state == Totals(total=1)
    gate.set()
    await starting

    assert run.state == Totals(total=1, a=1, b=2)


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "closed"])
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_member_that_starts_again_sees_what_it_saw(
    clock: ManualClock, database: str, killed: bool, concurrency: int
) -> None:
    seen: list[Any] = []

    @step
    async def item(data: int, ctx: SuspendContext[int, str, Totals]) -> int:
        seen.append((data, ctx.state.sum))
        ctx.state.sum += data
        if data == 2:
            ctx.state.sum += ctx.suspend("?")
        return ctx.state.sum

    begun = chain("flow", list[int], int, state_schema=Totals)
    flow = begun.foreach(item, concurrency=concurrency).map(sum).then(seeing("after", seen)).commit()
    async with Runtime(database, clock=clock) as runtime:
        run = await flow.create_run(run_id="r-17")
        await run.start([1, 2, 3], initial_state=Totals(sum=100))
        if killed:
            kill(runtime)
    async with Runtime(database, clock=clock):
        run = await flow.get_run("r-17")
        await run.resume(item, 1000)
        assert run.state.sum == 1106

    assert seen[-1] == Totals(sum=1106)
    before = 101 if concurrency == 1 else 100
    assert [sum for data, sum in seen[:-1] if data == 2] == [before, before]


async def test_what_a_nested_member_changes_stays_inside(runtime: Runtime) -> None:
    inner = chain("inner", state_schema=Totals).then(setting("x", total=5)).commit()
    run = await block(inner, setting("y", total=7)).commit().create_run()
    await run.start(1)

    assert run.state == Totals(total=7)


async def test_the_state_after_a_block_is_the_same_after_a_restart(
    clock: ManualClock, database: str, desk: Desk
) -> None:
    ask = desk.asking("ask")
    seen: list[Any] = []
    members = [setting("x", a=1, sum=lambda n: n + 1, last="x"), setting("y", b=2, sum=lambda n: n + 2, last="y")]
    flow = block(*members).then(ask).then(seeing("after", seen)).commit()
    async with Runtime(database, clock=clock):
        await (await flow.create_run(run_id="r-17")).start(1)
    async with Runtime(database, clock=clock):
        run = await flow.get_run("r-17")
        assert run.state == Totals(a=1, b=2, sum=3, last="y")
        await run.resume(ask, 1)

    assert seen == [Totals(a=1, b=2, sum=3, last="y")]


async def test_the_state_that_a_step_leaves_must_fit(runtime: Runtime) -> None:
    @step
    async def count(data: int, ctx: StepContext[Totals]) -> int:
        ctx.state.a = "many"  # type: ignore[assignment]
        return data

    result = await (await chain(state_schema=Totals).then(count).commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.key) == ("InvalidValueError", "count")


async def test_a_conflict_in_a_nested_workflow_is_an_error_at_its_key(runtime: Runtime) -> None:
    inner = block(setting("x", total=1), setting("y", total=2), id="inner").commit()
    result = await (await chain().then(inner).commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.type) == ("inner", "StateConflictError")
