"""A log that is full: what is handed in then is refused, and a run that could only wait for that has failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    Completed,
    Event,
    Failed,
    LimitError,
    Limits,
    RunFinishedError,
    Runtime,
    StepTools,
    Workflow,
    create_workflow,
    step,
    workflow,
)
from wrkflw.engine.messages import NO_ROOM
from wrkflw.world import events as e
from wrkflw.world.queue import Invocation

from .desk import Desk, chain

MOST = 8
chat, paid = Event("chat", int), Event("paid", int)
FULL = f"^run 'r-17' has {MOST} events, which is the limit; split the run, or raise it"


@workflow
async def shop(step: StepTools, number: int) -> int:
    return number + await step.wait_for_event(paid)


@pytest.fixture
async def runtime(clock: ManualClock) -> AsyncIterator[Runtime]:
    async with Runtime(":memory:", clock=clock, limits=Limits(events=MOST), workflows=[shop]) as runtime:
        yield runtime


def working(desk: Desk) -> Any:
    @workflow
    async def work(step: StepTools, number: int) -> int:
        done: int = await step.run(desk.slow("work"), number)
        return done

    return work


async def fill(runtime: Runtime) -> None:
    """Hand in what nobody waits for, until there is no room for more."""
    events = runtime.world.storage.events
    while len((await events.list("r-17")).data) < MOST:
        await events.create("r-17", e.SignalReceived(signal_type="chat", payload_data=b"1"))
    await settle()


async def assert_it_failed_of_that(runtime: Runtime) -> None:
    run = await runtime.world.storage.runs.get("r-17")
    assert (run.status, run.error_code) == ("failed", "MAX_EVENTS_EXCEEDED")


@pytest.mark.parametrize("guarded", [False, True], ids=["plain", "guarded"])
async def test_nothing_of_a_block_begins_that_the_log_has_no_room_for(runtime: Runtime, guarded: bool) -> None:
    """Also not those of its members whose beginning it still took: the run has failed, and need not wait for them."""
    desk = Desk()
    a, b, c = (desk.quick(id) for id in "abc")
    members = [a.only_if(lambda number: True), b, c] if guarded else [a, b, c]
    flow = chain(gives=list[Any]).then(desk.quick("first")).parallel_all(members).commit()
    run = await flow.create_run(run_id="r-17")

    assert isinstance(await run.start(1), Failed)
    assert desk.calls == ["first"]
    await assert_it_failed_of_that(runtime)


async def test_an_event_that_finds_no_room_fails_a_run_that_only_waits(runtime: Runtime) -> None:
    run = await shop.create_run(run_id="r-17")
    await run.start(1)
    await fill(runtime)

    with pytest.raises(LimitError, match=FULL) as refused:
        await run.send_event(paid, 1)

    assert refused.value.limit == MOST
    await assert_it_failed_of_that(runtime)
    result = await run.result()
    assert isinstance(result, Failed)
    assert result.error.type == "LimitError"
    with pytest.raises(RunFinishedError):
        await run.send_event(paid, 1)


async def test_an_answer_that_finds_no_room_is_not_said_to_be_late(runtime: Runtime) -> None:
    ask = Desk().asking("ask")

    @workflow
    async def desk(step: StepTools, number: int) -> int:
        answer: int = await step.run(ask, number)
        return answer

    run = await desk.create_run(run_id="r-17")
    await run.start(1)
    await fill(runtime)

    with pytest.raises(LimitError, match=FULL):
        await run.resume(ask, 3)

    await assert_it_failed_of_that(runtime)


async def test_a_pause_that_finds_no_room_is_not_said_to_come_after_the_end(runtime: Runtime) -> None:
    run = await shop.create_run(run_id="r-17")
    await run.start(1)
    await fill(runtime)

    with pytest.raises(LimitError, match=FULL):
        await run.pause()

    await assert_it_failed_of_that(runtime)


async def test_a_paused_run_that_cannot_be_unpaused_has_failed(runtime: Runtime) -> None:
    run = await shop.create_run(run_id="r-17")
    await run.start(1)
    await run.pause()
    await fill(runtime)

    with pytest.raises(LimitError, match=FULL):
        await run.unpause()

    await assert_it_failed_of_that(runtime)


async def test_a_message_that_finds_no_room_fails_a_run_that_only_waits(runtime: Runtime) -> None:
    await (await shop.create_run(run_id="r-17")).start(1)
    await fill(runtime)

    handed = e.SignalReceived(signal_type="paid", payload_data=b"40")
    await runtime.world.queue.queue("__wkf_workflow_shop", Invocation("r-17", hook_input=handed))
    await settle()

    await assert_it_failed_of_that(runtime)


async def test_a_message_that_finds_no_room_is_kept_while_the_run_moves(runtime: Runtime, clock: ManualClock) -> None:
    desk = Desk()
    starting = asyncio.ensure_future((await working(desk).create_run(run_id="r-17")).start(1))
    await settle()
    await fill(runtime)
    handed = e.SignalReceived(signal_type="chat", payload_data=b"40")

    await runtime.world.queue.queue("__wkf_workflow_work", Invocation("r-17", hook_input=handed))
    await settle()
    with patch.object(runtime.driver, "deliver") as deliver:
        clock.turn(NO_ROOM.delay)
        await settle()
        assert deliver.call_count == 1
    desk.let("work")

    assert isinstance(await starting, Completed)
    assert (await runtime.world.queue.dead_letters()).data == []


async def test_a_run_that_has_a_timer_comes_to_the_limit_by_itself(runtime: Runtime, clock: ManualClock) -> None:
    @workflow
    async def nap(step: StepTools, number: int) -> int:
        await step.sleep("nap", "1h")
        return number

    run = await nap.create_run(run_id="r-17")
    await run.start(1)
    await fill(runtime)

    with pytest.raises(LimitError, match=FULL):
        await run.wake()
    assert (await run.snapshot()).status == "running"
    clock.turn("1h")
    await settle()

    await assert_it_failed_of_that(runtime)


async def test_a_run_whose_last_step_runs_comes_to_its_end(runtime: Runtime) -> None:
    desk = Desk()
    run = await working(desk).create_run(run_id="r-17")
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    await fill(runtime)

    with pytest.raises(LimitError, match=FULL):
        await run.send_event(chat, 1)
    desk.let("work")

    assert isinstance(await starting, Completed)


# --- blocks of workflows -------------------------------------------------------------------------------------


@step
async def load(number: int) -> int:
    return number


chained = create_workflow(id="chained", input_schema=int, output_schema=int).then(load).commit()


@workflow
async def coded(step: StepTools, number: int) -> int:
    try:
        one, other = await asyncio.gather(step.run(load, number), step.run(load, number))
    except Exception:  # noqa: BLE001  # as users write it: the limit of the run is not for them to catch
        return -1
    return one + other


@pytest.mark.parametrize("most", range(40, 60))
@pytest.mark.parametrize("body", [chained, coded], ids=["chain", "program"])
async def test_wherever_the_log_of_many_nested_workflows_is_full_the_run_fails_of_that(
    clock: ManualClock, body: Workflow[int, int, None], most: int
) -> None:
    """Others note what follows from what the log did not take, while that is still being asked."""
    chain = create_workflow(id="fan", input_schema=list[int], output_schema=list[int])
    fan = chain.foreach(body, concurrency=5).commit()
    async with Runtime(":memory:", clock=clock, limits=Limits(events=most), workflows=[fan]) as runtime:
        result = await (await fan.create_run(run_id="r-17")).start(list(range(60)))
        run = await runtime.world.storage.runs.get("r-17")

    assert isinstance(result, Failed)
    assert (result.error.type, run.error_code) == ("LimitError", "MAX_EVENTS_EXCEEDED")
