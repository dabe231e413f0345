"""Pause in blocks: what runs is finished, nothing starts, and all that came meanwhile counts at unpause."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import Event, Paused, RunFinishedError, RunNotFoundError, Runtime, StepTools, step, workflow
from wrkflw.world import events as e

from .desk import Desk, chain, open_keys, statuses
from .lost import kill

number = Event("number", int)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def everything(desk: Desk, id: str = "flow") -> tuple[Any, Any]:
    """A block in which a body runs, a step asks, one waits for a try, one sleeps, and one waits for an event."""
    ask = desk.asking("ask")
    nap = chain("nap").sleep("1h").then(desk.quick("x")).commit()
    event = chain("event").wait_for_event(number).then(desk.quick("y")).commit()
    slow = chain("slow").then(desk.slow("body")).then(desk.quick("z")).commit()
    return chain(id, gives=list[int]).parallel_all([slow, ask, desk.stumbling("again"), nap, event]).commit(), ask


BEGUN = ["ask", "again", "slow/body"]


async def test_what_comes_during_a_pause_counts_when_it_is_over(
    runtime: Runtime, desk: Desk, clock: ManualClock
) -> None:
    flow, ask = everything(desk)
    run = await flow.create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    await run.pause("lunch")
    assert sorted(desk.calls) == sorted(BEGUN)
    answering = asyncio.ensure_future(run.resume(ask, 10))
    sending = asyncio.ensure_future(run.send_event(number, 20))
    clock.turn("2h")
    await settle()
    desk.let("slow/body")
    for each in (starting, answering, sending):
        result = await each
        assert isinstance(result, Paused)
        assert (result.by, result.reason) == ("user", "lunch")
    assert sorted(desk.calls) == sorted(BEGUN)
    assert await statuses(run) == {
        "ask": "waiting", "again": "retrying", "slow/body": "completed"
    }  # fmt: skip
    await run.unpause()

    assert (await run.result()).unwrap() == [3, 11, 2, 2, 21]


async def test_what_came_counts_though_a_body_still_runs(runtime: Runtime, desk: Desk, clock: ManualClock) -> None:
    flow, ask = everything(desk)
    run = await (await flow.create_run()).enqueue(1)
    await settle()
    await run.pause()
    answering = asyncio.ensure_future(run.resume(ask, 10))
    sending = asyncio.ensure_future(run.send_event(number, 20))
    clock.turn("2h")
    await settle()
    assert sorted(desk.calls) == sorted(BEGUN)
    await run.unpause()
    await settle()
    assert sorted(desk.calls) == sorted([*BEGUN, "ask", "again", "nap/x", "event/y"])
    desk.let("slow/body")

    assert (await run.result()).unwrap() == [3, 11, 2, 2, 21]
    assert (await answering).status == (await sending).status == "completed"


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "closed"])
async def test_a_pause_survives_a_restart(clock: ManualClock, database: str, killed: bool) -> None:
    desk = Desk()
    flow, ask = everything(desk)
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        run = await (await flow.create_run(run_id="r-17")).enqueue(1)
        await settle()
        await run.pause()
        if killed:
            kill(runtime)
    desk.calls.clear()
    clock.turn("2h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run("r-17")
        await settle()
        assert isinstance(await run.result(), Paused)
        assert isinstance(await run.resume(ask, 10), Paused)
        assert isinstance(await run.send_event(number, 20), Paused)
        assert desk.calls == []
        desk.let("slow/body")
        await run.unpause()
        assert (await run.result()).unwrap() == [3, 11, 2, 2, 21]


async def test_a_pause_is_heard_at_whatever_moment_it_comes(runtime: Runtime, clock: ManualClock) -> None:
    for turns in range(0, 40, 2):
        desk = Desk()
        first = chain("first").then(desk.quick("a")).then(desk.quick("b")).then(desk.quick("c")).commit()
        second = chain("second").then(desk.quick("a")).then(desk.quick("b")).commit()
        ask = desk.asking("ask")
        run = await chain(f"flow-{turns}", gives=list[int]).parallel_all([first, second, ask]).commit().create_run()
        starting = asyncio.ensure_future(run.start(0))
        await settle(turns)
        try:
            await run.pause()
        except (RunFinishedError, RunNotFoundError):
            await starting
            continue
        await settle()
        assert (await starting).status in ("paused", "suspended"), f"paused after {turns} turns"
        assert isinstance(await run.result(), Paused)
        calls = list(desk.calls)
        await settle()
        assert desk.calls == calls
        await run.unpause()
        assert open_keys(await run.result()) == ["ask"], f"paused after {turns} turns"
        assert (await run.resume(ask, 5)).unwrap() == [3, 2, 5]
        assert set(desk.counts.values()) == {1, 2}
        assert desk.counts["ask"] == 2


async def test_a_paused_block_is_cancelled(runtime: Runtime, desk: Desk) -> None:
    flow, _ = everything(desk)
    run = await (await flow.create_run()).enqueue(1)
    await settle()
    await run.pause()
    await run.cancel()

    assert (await run.result()).status == "cancelled"


@contextmanager
def each_beginning_refused_once(runtime: Runtime) -> Generator[None]:
    """By a pause that is over before anybody looks."""
    events, refused = runtime.world.storage.events, set[str]()
    create_batch = events.create_batch

    async def paused_meanwhile(run_id: str, batch: Sequence[e.NewEvent], **options: Any) -> Any:
        keys = {event.correlation_id for event in batch if isinstance(event, e.StepStarted)} - refused
        if not keys or options.get("fence") is None:
            return await create_batch(run_id, batch, **options)
        refused.update(keys)
        await events.create(run_id, e.RunPaused())
        result = await create_batch(run_id, batch, **options)
        await events.create(run_id, e.RunResumed())
        return result

    with patch.object(events, "create_batch", paused_meanwhile):
        yield
    assert refused


async def begun_anew(runtime: Runtime, flow: Any) -> Any:
    """What the workflow gives; all in it was begun from the outside in."""
    run = await flow.create_run()
    with each_beginning_refused_once(runtime):
        result = await run.start([1, 2, 3])
    created = [told.event.key async for told in run.events() if isinstance(told.event, e.StepCreated)]
    assert len(created) == len(set(created)) == 10
    assert all(created.index(key.split("/")[0]) <= created.index(key) for key in created)
    return result.unwrap()


@step
async def first(numbers: list[int]) -> list[int]:
    """What comes after it has a commit of its own, and not that which creates the run."""
    return numbers


def twofold(desk: Desk) -> Any:
    return chain("both", gives=list[int]).parallel_all([desk.quick("add"), desk.quick("again")]).commit()


@pytest.mark.parametrize("width", [1, 2, 3])
async def test_what_a_short_pause_has_refused_is_begun_anew(runtime: Runtime, desk: Desk, width: int) -> None:
    """What the log has refused must not be taken for recorded by what goes on within it."""
    begun = chain("flow", takes=list[int], gives=list[list[int]]).then(first)
    flow = begun.foreach(twofold(desk), concurrency=width).commit()

    assert await begun_anew(runtime, flow) == [[2, 2], [3, 3], [4, 4]]


async def test_a_body_that_was_cut_off_begins_again_only_when_the_log_has_taken_that(
    database: str, clock: ManualClock, desk: Desk
) -> None:
    """What the log says of the try before must not be taken for a beginning that a pause has refused."""
    flow = chain(gives=list[int]).parallel_all([desk.slow("a"), desk.slow("b")]).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).enqueue(1)
        await settle()
        kill(runtime)
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        with each_beginning_refused_once(runtime):
            await settle()
        run = await flow.get_run("r-17")
        desk.let("a", "b")
        assert (await run.result()).unwrap() == [2, 2]
        begun = [told.event async for told in run.events() if isinstance(told.event, e.StepStarted)]

    assert len(begun) == len(desk.calls) == 4


async def test_so_it_is_in_a_program(runtime: Runtime, desk: Desk) -> None:
    inner = twofold(desk)

    @workflow(id="program")
    async def program(tools: StepTools, numbers: list[int]) -> list[list[int]]:
        told = await tools.run(first, numbers)
        pairs: list[list[int]] = await asyncio.gather(*(tools.run(inner, number) for number in told))
        return pairs

    assert await begun_anew(runtime, program) == [[2, 2], [3, 3], [4, 4]]


async def test_what_one_branch_began_while_anothers_was_refused_is_begun_anew(runtime: Runtime, desk: Desk) -> None:
    """What became of a body is recorded in the pause as well; what was to follow it is not."""
    one = chain("one").then(desk.quick("a")).then(desk.quick("b")).commit()
    two = chain("two").then(desk.slow("c")).then(desk.quick("d")).commit()
    flow = chain("flow", gives=list[int]).parallel_all([one, two]).commit()
    run, events, paused = await flow.create_run(), runtime.world.storage.events, asyncio.Event()
    create_batch = events.create_batch

    async def paused_meanwhile(run_id: str, batch: Sequence[e.NewEvent], **options: Any) -> Any:
        begins = any(isinstance(event, e.StepCreated) and event.key == "one/b" for event in batch)
        if not begins or paused.is_set():
            return await create_batch(run_id, batch, **options)
        paused.set()
        pausing = asyncio.ensure_future(events.create(run_id, e.RunPaused()))
        recording = asyncio.ensure_future(create_batch(run_id, batch, **options))
        await asyncio.sleep(0)
        desk.let("two/c")
        going_on = asyncio.ensure_future(events.create(run_id, e.RunResumed()))
        result = await recording
        await asyncio.gather(pausing, going_on)
        return result

    with patch.object(events, "create_batch", paused_meanwhile):
        starting = asyncio.ensure_future(run.start(1))
        await settle()
        result = await starting

    assert result.unwrap() == [3, 3]
    assert sorted(desk.calls) == ["one/a", "one/b", "two/c", "two/d"]
