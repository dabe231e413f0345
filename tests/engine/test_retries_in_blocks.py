"""Retries in blocks: each call has tries of its own, and a wait before one holds a place but no thread."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.clocks import START, ManualClock, settle
from wrkflw import Failed, FatalError, Retry, RetryAfter, Runtime, StepContext, Suspended, Waiting, step

from .desk import Desk, assert_nothing_moves, chain, open_keys, statuses
from .lost import kill


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_the_others_go_on_while_one_waits_for_its_next_try(
    runtime: Runtime, desk: Desk, clock: ManualClock
) -> None:
    flow = chain(gives=Any).parallel(desk.stumbling("again"), desk.quick("quick")).commit()
    run = await flow.create_run()
    result = await run.start(1)

    assert isinstance(result, Waiting)
    assert (result.reason, result.until) == ("retry", START + timedelta(hours=1))
    assert await statuses(run) == {"again": "retrying", "quick": "completed"}
    assert_nothing_moves(runtime, run)
    clock.turn("1h")
    assert (await run.result()).unwrap() == (2, 2)
    assert desk.calls == ["again", "quick", "again"]


async def test_the_next_try_is_made_in_time_while_a_sibling_runs(
    runtime: Runtime, desk: Desk, clock: ManualClock
) -> None:
    flow = chain(gives=Any).parallel(desk.stumbling("again"), desk.slow("slow")).commit()
    run = await (await flow.create_run()).enqueue(1)
    await settle()
    clock.turn("59m")
    await settle()
    assert desk.calls == ["again", "slow"]
    clock.turn("1m")
    await settle()
    assert desk.calls == ["again", "slow", "again"]

    desk.let("slow")
    assert (await run.result()).unwrap() == (2, 2)


async def test_each_member_has_a_policy_and_tries_of_its_own(runtime: Runtime, clock: ManualClock) -> None:
    tries: list[str] = []

    def failing(id: str, times: int, delay: str) -> Any:
        @step(id=id, retry=Retry(attempts=4, delay=delay, max_delay="1d", backoff="fixed", jitter=0))
        async def body(data: int, ctx: StepContext) -> int:
            tries.append(f"{ctx.key}:{ctx.attempt}")
            if ctx.attempt <= times:
                raise OSError("not yet")
            return ctx.attempt

        return body

    flow = chain(gives=Any).parallel(failing("a", 1, "2h"), failing("b", 3, "1h")).commit()
    run = await (await flow.create_run()).enqueue(1)
    for _ in range(3):
        await settle()
        clock.turn("1h")

    assert (await run.result()).unwrap() == (2, 4)
    assert tries[:3] == ["a:1", "b:1", "b:2"]
    assert sorted(tries[3:5]) == ["a:2", "b:3"]
    assert tries[5:] == ["b:4"]


async def test_the_last_try_decides_the_block(runtime: Runtime, desk: Desk, clock: ManualClock) -> None:
    @step(retry=Retry(attempts=2, delay="1h", max_delay="1h", jitter=0))
    async def charge(data: int, ctx: StepContext) -> int:
        raise OSError(f"try {ctx.attempt}")

    run = await chain(gives=Any).parallel(charge, desk.asking("ask")).commit().create_run()
    assert isinstance(await run.start(1), Suspended)
    clock.turn("1h")
    await settle()
    result = await run.result()

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.message, result.error.attempts) == ("charge", "try 2", 2)
    assert await statuses(run) == {"charge": "failed", "ask": "cancelled"}


async def test_who_fails_while_the_block_drains_is_not_tried_again(runtime: Runtime, desk: Desk) -> None:
    @step(retry=Retry(attempts=5, delay="0s"))
    async def clumsy(data: int, ctx: StepContext) -> int:
        desk.calls.append(f"{ctx.key}:{ctx.attempt}")
        await desk.gate("clumsy").wait()
        raise OSError("clumsy")

    run = await chain(gives=Any).parallel(desk.failing("fail"), clumsy).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    desk.let("clumsy")
    result = await starting

    assert isinstance(result, Failed)
    assert [error.key for error in result.errors] == ["fail", "clumsy"]
    assert desk.calls == ["fail", "clumsy:1"]


async def test_a_fatal_error_is_not_tried_again(runtime: Runtime, desk: Desk) -> None:
    @step(retry=Retry(attempts=5, delay="0s"))
    async def fatal(data: int, ctx: StepContext) -> int:
        desk.calls.append(ctx.key)
        raise FatalError("no use")

    result = await (await chain(gives=Any).parallel(fatal, desk.quick("a")).commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert desk.calls == ["fatal", "a"]


async def test_items_are_tried_again_each_at_its_time(runtime: Runtime, clock: ManualClock) -> None:
    tries: list[str] = []

    @step(retry=Retry(attempts=2))
    async def send(data: int, ctx: StepContext) -> int:
        tries.append(ctx.key)
        if ctx.attempt == 1:
            raise RetryAfter(f"{data}h")
        return data

    run = await (await chain("flow", list[int], list[int]).foreach(send, concurrency=3).commit().create_run()).enqueue(
        [3, 1, 2]
    )
    for _ in range(3):
        await settle()
        clock.turn("1h")

    assert (await run.result()).unwrap() == [3, 1, 2]
    assert tries == ["send[0]", "send[1]", "send[2]", "send[1]", "send[2]", "send[0]"]


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "closed"])
async def test_a_restart_waits_only_for_the_remainder(clock: ManualClock, database: str, killed: bool) -> None:
    desk = Desk()
    inner = chain("inner").then(desk.stumbling("again")).commit()
    flow = chain("flow", list[int], list[int]).foreach(inner, concurrency=2).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).start([1, 2, 3])
        if killed:
            kill(runtime)
    clock.turn("50m")
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run("r-17")
        await settle()
        assert len(desk.calls) == 2
        clock.turn("10m")
        await settle()
        assert desk.calls[2:] == ["inner[0]/again", "inner[1]/again", "inner[2]/again"]
        clock.turn("1h")
        assert (await run.result()).unwrap() == [2, 3, 4]


async def test_a_step_that_asks_and_stumbles_beside_another(runtime: Runtime, desk: Desk, clock: ManualClock) -> None:
    ask = desk.asking("ask")
    run = await chain(gives=Any).parallel(ask, desk.stumbling("again")).commit().create_run()

    assert open_keys(await run.start(1)) == ["ask"]
    result = await run.resume(ask, 1)
    assert isinstance(result, Waiting)
    assert result.reason == "retry"
    clock.turn("1h")
    assert (await run.result()).unwrap() == (2, 2)


async def test_cancel_ends_the_waits_at_once(runtime: Runtime, desk: Desk, clock: ManualClock) -> None:
    run = await chain(gives=Any).parallel(desk.stumbling("a"), desk.stumbling("b")).commit().create_run()
    await run.start(1)
    await run.cancel()
    clock.turn("2h")
    await settle()

    assert (await run.result()).status == "cancelled"
    assert desk.calls == ["a", "b"]
