"""Suspensions in a parallel in a foreach in a nested workflow: answered in any order, the result is the same."""

from __future__ import annotations

import asyncio
from itertools import permutations
from typing import Annotated, Any

from pydantic import BaseModel

from tests.clocks import ManualClock, settle
from wrkflw import Completed, Merge, Run, Runtime, StepContext, SuspendContext, step

from .desk import Desk, chain, open_keys, recorded
from .lost import kill

KEYS = ["rows/row[0]/a", "rows/row[0]/b", "rows/row[1]/a", "rows/row[1]/b"]
ANSWERS = {key: 10**number for number, key in enumerate(KEYS)}
RESULT = 2 * (10 + 20) + 1 + 10 + 100 + 1000
ORDERS = list(permutations(KEYS))


class Told(BaseModel):
    sum: Annotated[int, Merge.SUM] = 0
    last: Annotated[str, Merge.LAST] = ""


class Form:
    """The flow, and what its steps were called with."""

    def __init__(self, id: str = "form") -> None:
        self.desk = Desk()
        self.told: list[Told] = []

        def asking(id: str) -> Any:
            @step(id=id)
            async def ask(data: int, ctx: SuspendContext[int, str, Told]) -> int:
                self.desk.calls.append(ctx.key)
                answer = ctx.suspend(f"{ctx.key}?")
                ctx.state.sum += answer
                ctx.state.last = ctx.key
                return data + answer

            return ask

        @step
        async def tell(data: int, ctx: StepContext[Told]) -> int:
            self.told.append(ctx.state)
            return data

        self.a, self.b = asking("a"), asking("b")
        row = chain("row", state_schema=Told).parallel(self.a, self.b).join(lambda a, b: a + b).then(tell).commit()
        rows = chain("rows", list[int]).foreach(row, concurrency=2).map(sum).commit()
        self.flow: Any = chain(id, list[int]).then(rows).then(self.desk.quick("end", 0)).commit()

    async def answer(self, run: Run[Any, Any, Any], key: str) -> Any:
        return await run.resume(self.a if key.endswith("a") else self.b, ANSWERS[key], at=key)

    def check(self, result: Any) -> None:
        assert isinstance(result, Completed), result
        assert result.output == RESULT
        assert self.desk.counts == {**dict.fromkeys(KEYS, 2), "end": 1}
        assert sorted((told.sum, told.last) for told in self.told) == [(11, KEYS[1]), (1100, KEYS[3])]


async def test_in_any_order(runtime: Runtime) -> None:
    for number, order in enumerate(ORDERS):
        form = Form(f"form-{number}")
        run = await form.flow.create_run()
        result = await run.start([10, 20])
        for place, key in enumerate(order):
            assert open_keys(result) == [key for key in KEYS if key not in order[:place]]
            result = await form.answer(run, key)
        form.check(result)


async def test_all_at_once(runtime: Runtime) -> None:
    for number, order in enumerate(ORDERS):
        form = Form(f"form-{number}")
        run = await form.flow.create_run()
        await run.start([10, 20])
        results = await asyncio.gather(*(form.answer(run, key) for key in order))
        form.check(results[-1])


async def test_in_any_order_with_a_restart_between(clock: ManualClock, database: str) -> None:
    forms = [Form(f"form-{number}") for number in range(len(ORDERS))]
    flows = [form.flow for form in forms]
    async with Runtime(database, clock=clock, workflows=flows) as runtime:
        for number, form in enumerate(forms):
            await (await form.flow.create_run(run_id=f"r-{number}")).start([10, 20])
        kill(runtime)
    for place in range(3):
        async with Runtime(database, clock=clock, workflows=flows) as runtime:
            for number, (form, order) in enumerate(zip(forms, ORDERS, strict=True)):
                run = await form.flow.get_run(f"r-{number}")
                assert open_keys(await run.result()) == [key for key in KEYS if key not in order[:place]]
                await form.answer(run, order[place])
            if place != 1:  # once it closes in good order
                kill(runtime)
    async with Runtime(database, clock=clock, workflows=flows):
        for number, (form, order) in enumerate(zip(forms, ORDERS, strict=True)):
            form.check(await form.answer(await form.flow.get_run(f"r-{number}"), order[3]))


async def test_answers_that_only_just_arrived_when_the_worker_died(clock: ManualClock, database: str) -> None:
    """Recorded, and nobody had looked: the next runtime finds all of them."""
    for number, order in enumerate(ORDERS[::6]):
        form = Form(f"form-{number}")
        async with Runtime(database, clock=clock, workflows=[form.flow]) as runtime:
            run = await form.flow.create_run(run_id=f"r-{number}")
            await run.start([10, 20])
            resuming = [asyncio.ensure_future(form.answer(run, key)) for key in order]
            await recorded(run, "hook_received", 4)
            kill(runtime)
            for each in resuming:
                each.cancel()
        async with Runtime(database, clock=clock, workflows=[form.flow]):
            result = await (await form.flow.get_run(f"r-{number}")).result()
        assert result.unwrap() == RESULT


async def test_two_runtimes_answer_in_turn(clock: ManualClock, database: str) -> None:
    form = Form()
    async with Runtime(database, clock=clock, workflows=[form.flow]):
        run = await form.flow.create_run(run_id="r-17")
        await run.start([10, 20])
        async with Runtime(database, clock=clock, worker=False):
            other = await form.flow.get_run("r-17")
            await form.answer(other, KEYS[2])
            await form.answer(run, KEYS[0])
            await form.answer(other, KEYS[3])
            form.check(await form.answer(run, KEYS[1]))


async def test_while_paused(runtime: Runtime) -> None:
    form = Form()
    run = await form.flow.create_run()
    await run.start([10, 20])
    await run.pause()
    for key in reversed(KEYS):
        assert (await form.answer(run, key)).status == "paused"
    assert len(form.desk.calls) == 4
    await run.unpause()
    await settle()

    form.check(await run.result())
