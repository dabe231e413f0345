"""Callers that are cancelled at any moment: what they asked for is there or not, and once when they ask again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from tests.clocks import ManualClock, settle
from wrkflw import (
    AlreadyResumedError,
    Completed,
    Event,
    RunFinishedError,
    Runtime,
    StepContext,
    SuspendableStep,
    SuspendContext,
    Workflow,
    create_workflow,
    step,
)
from wrkflw.testing import check_world

KEY = "the-sale"
TURNS = 40
"""Of the loop, after which no call of these is under way any more."""
paid = Event("paid", int)


def selling(calls: list[str]) -> tuple[SuspendableStep[int, int, int, int, None], Workflow[int, int, None]]:
    @step
    async def price(pieces: int, ctx: StepContext) -> int:
        calls.append("price")
        return 20 * pieces

    @step
    async def approve(total: int, ctx: SuspendContext[int, int]) -> int:
        discount = ctx.suspend(total)
        calls.append("approve")
        return total - discount

    @step
    async def ship(due: int) -> int:
        calls.append("ship")
        return due

    sale = create_workflow(id="sale", input_schema=int, output_schema=int).then(price).then(approve)
    return approve, sale.join_event(paid, lambda due, sum: due - sum).then(ship).commit()


async def was_cut_short(call: Coroutine[Any, Any, object], turns: int) -> bool:
    """Whether the call was still under way when it was cancelled, after so many turns of the loop."""
    calling = asyncio.ensure_future(call)
    await settle(turns)
    calling.cancel()
    (ended,) = await asyncio.gather(calling, return_exceptions=True)
    return isinstance(ended, asyncio.CancelledError)


async def test_whoever_is_cancelled_asks_again_and_it_is_done_once(clock: ManualClock) -> None:
    cut = [await sell_impatiently(turns, ":memory:", clock) for turns in range(TURNS)]

    assert cut[0] == [True] * 3
    assert cut[-1] == [False] * 3


async def test_so_it_is_with_a_file(database: str, clock: ManualClock) -> None:
    for turns in range(0, TURNS, 5):
        await sell_impatiently(turns, f"{database}-{turns}", clock)


async def sell_impatiently(turns: int, database: str, clock: ManualClock) -> list[bool]:
    """Which of its calls were cut short: the start, the answer and the event."""
    calls, cut = list[str](), list[bool]()
    approve, sale = selling(calls)
    async with Runtime(database, clock=clock, workflows=[sale], durability="normal") as runtime:
        run = await sale.create_run(idempotency_key=KEY)
        cut.append(await was_cut_short(run.start(2), turns))
        run = await sale.create_run(idempotency_key=KEY)
        await run.start(2)

        cut.append(await was_cut_short(run.resume(approve, 5), turns))
        with suppress(AlreadyResumedError):
            await run.resume(approve, 5)

        cut.append(await was_cut_short(run.send_event(paid, 30, dedupe_id="bank-7"), turns))
        with suppress(RunFinishedError):
            await run.send_event(paid, 30, dedupe_id="bank-7")

        result = await run.result()
        assert isinstance(result, Completed), f"cut after {turns} turns: {result}"
        assert result.output == 2 * 20 - 5 - 30
        assert calls == ["price", "approve", "ship"], f"cut after {turns} turns"
        log = [stored.event_type async for stored in run.events()]
        assert (log.count("hook_received"), log.count("signal_received")) == (1, 1)
        assert await check_world(runtime.world) == []
    return cut


async def test_a_cancellation_whose_caller_is_cancelled_ends_the_run_or_does_not(clock: ManualClock) -> None:
    ends = set[str]()
    for turns in range(TURNS):
        calls = list[str]()
        _, sale = selling(calls)
        async with Runtime(":memory:", clock=clock, workflows=[sale]) as runtime:
            run = await sale.create_run()
            await run.start(2)
            await was_cut_short(run.cancel(), turns)
            await settle()
            ends.add((await run.snapshot()).status)
            assert await check_world(runtime.world) == []
            assert await run.cancel(), f"cut after {turns} turns"
            assert (await run.snapshot()).status == "cancelled"

    assert ends == {"running", "cancelled"}
