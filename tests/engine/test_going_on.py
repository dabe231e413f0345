"""Going on with what comes from outside: recorded together with what comes of it, or as it was before."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    AlreadyResumedError,
    Completed,
    Event,
    Run,
    Runtime,
    StepNotRunError,
    StepTools,
    StoreError,
    SuspendContext,
    Suspended,
    step,
    workflow,
)
from wrkflw.engine.journal import Journal
from wrkflw.world import events as e
from wrkflw.world.storage import Claim
from wrkflw.worlds.sqlite import SqliteWorld

from .desk import chain, recorded, types

MANY = 300
"""More than are taken up together."""
paid = Event("paid", int)


@pytest.fixture
def calls() -> list[int]:
    """What the body behind the question was given."""
    return []


@pytest.fixture
def gate() -> asyncio.Event:
    """Open, so that the body goes on at once."""
    gate = asyncio.Event()
    gate.set()
    return gate


@pytest.fixture
def flow(calls: list[int], gate: asyncio.Event) -> Any:
    @step
    async def ask(data: int, ctx: SuspendContext[int, None]) -> int:
        answer = ctx.suspend(None)
        calls.append(answer)
        await gate.wait()
        return data + answer

    return ask, chain().then(ask).commit()


async def parked(flow: Any) -> Run[Any, Any, Any]:
    run: Run[Any, Any, Any] = await flow.create_run(run_id="r-1")
    assert isinstance(await run.start(1), Suspended)
    return run


async def test_an_answer_and_the_start_of_what_it_sets_going_are_one_transaction(flow: Any, clock: ManualClock) -> None:
    ask, asking = flow
    said: list[str] = []
    world = SqliteWorld(":memory:", clock=clock, on_statement=said.append)
    async with Runtime(world=world, clock=clock):
        run = await parked(asking)
        said.clear()

        assert (await run.resume(ask, 2)).unwrap() == 3

        assert said.count("COMMIT") == 2
        epochs = [(stored.event_type, stored.epoch) async for stored in run.events()][-4:]
        assert epochs == [("hook_received", None), ("step_started", 2), ("step_completed", 2), ("run_completed", 2)]


async def test_an_event_that_nothing_follows_is_one_transaction(clock: ManualClock) -> None:
    said: list[str] = []
    world = SqliteWorld(":memory:", clock=clock, on_statement=said.append)
    async with Runtime(world=world, clock=clock):
        run: Run[Any, Any, Any] = await chain().wait_for_event(paid).commit().create_run()
        await run.start(1)
        said.clear()

        assert (await run.send_event(paid, 7)).unwrap() == 7

        assert said.count("COMMIT") == 1


async def test_of_two_who_answer_at_once_one_is_told_that_he_was_late(
    flow: Any, calls: list[int], gate: asyncio.Event, runtime: Runtime
) -> None:
    ask, asking = flow
    run = await parked(asking)
    gate.clear()

    first = asyncio.create_task(run.resume(ask, 2))
    with pytest.raises(AlreadyResumedError):
        await asyncio.create_task(run.resume(ask, 5))
    gate.set()

    assert (await first).unwrap() == 3
    assert calls == [2]


async def test_a_run_that_was_written_to_meanwhile_goes_on_all_the_same(
    flow: Any, calls: list[int], runtime: Runtime
) -> None:
    ask, asking = flow
    run = await parked(asking)
    await runtime.world.storage.events.create("r-1", e.AttrSet(changes=[]))

    assert (await run.resume(ask, 2)).unwrap() == 3

    assert calls == [2]
    assert (await types(run)).count("hook_received") == 1


async def test_a_run_that_somebody_else_took_is_answered_and_left_to_him(
    flow: Any, calls: list[int], database: str, clock: ManualClock
) -> None:
    ask, asking = flow
    there = SqliteWorld(database.removeprefix("sqlite:///"))
    async with Runtime(database, clock=clock) as here:
        run = await parked(asking)
        await there.start()
        await there.storage.runs.claim("r-1", owner=there.owner)

        answering = asyncio.create_task(run.resume(ask, 2))
        await settle()

        assert (await types(run))[-1] == "hook_received"
        assert (await here.world.storage.runs.get("r-1")).owner == there.owner
        assert (calls, answering.done()) == ([], False)
        answering.cancel()
        await there.close()


async def test_an_answer_stands_although_who_gave_it_does_not_wait(
    flow: Any, calls: list[int], runtime: Runtime
) -> None:
    ask, asking = flow
    run = await parked(asking)

    answering = asyncio.create_task(run.resume(ask, 2))
    await asyncio.sleep(0)
    answering.cancel()

    assert isinstance(await run.result(), Completed)
    assert calls == [2]


@pytest.mark.parametrize("turns", range(8))
async def test_a_run_that_is_cancelled_at_once_ends_one_way_or_the_other(
    turns: int, flow: Any, calls: list[int], runtime: Runtime
) -> None:
    ask, asking = flow
    run = await parked(asking)

    answering = asyncio.create_task(run.resume(ask, 2))
    await settle(turns)
    await run.cancel()
    await asyncio.gather(answering, return_exceptions=True)

    log = await types(run)
    assert log[-1] == "run_cancelled" if not calls else log.count("step_started") == 2
    assert (await runtime.world.storage.runs.get("r-1")).owner is None
    assert log.count("hook_received") <= 1


async def test_a_runtime_that_is_closed_meanwhile_leaves_the_run_to_the_next(
    flow: Any, database: str, clock: ManualClock
) -> None:
    ask, asking = flow
    async with Runtime(database, clock=clock):
        run = await parked(asking)
        answering = asyncio.create_task(run.resume(ask, 2))
        await asyncio.sleep(0)
    await asyncio.gather(answering, return_exceptions=True)

    async with Runtime(database, clock=clock, workflows=[asking]):
        again: Run[Any, Any, Any] = await asking.get_run("r-1")
        assert (await again.result()).unwrap() == 3


async def test_whom_another_claim_came_before_finds_the_run_again(flow: Any, clock: ManualClock) -> None:
    """Without a worker nobody would look again by himself."""
    ask, asking = flow
    world = SqliteWorld(":memory:", clock=clock)
    async with Runtime(world=world, clock=clock, worker=False) as runtime:
        run = await parked(asking)
        await world.storage.events.create("r-1", e.SignalReceived(signal_type="other"), claim=Claim("own_dead"))

        assert (await run.resume(ask, 2)).unwrap() == 3
        assert runtime.driver.drive_of("r-1") is None


# --- the journal that is kept ---------------------------------------------------------------------------


async def test_a_run_that_nobody_looks_at_is_woken_without_a_copy_of_its_journal(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    copy = Journal.copy

    def noted(journal: Journal) -> Journal:
        copied.append(journal.run_id)
        return copy(journal)

    monkeypatch.setattr(Journal, "copy", noted)
    rests: Any = chain().sleep("1h").sleep("1h").sleep("1h").commit()
    async with Runtime(":memory:", clock=clock, workflows=[rests]) as runtime:
        run = await rests.create_run(run_id="r-1")
        await run.enqueue(1)
        for _ in range(3):
            await settle()
            clock.turn(timedelta(hours=1))
        await settle()

        assert (await runtime.runs.get("r-1")).status == "completed"
        assert copied == []


async def test_a_handle_sees_what_it_saw_when_the_run_goes_on_from_there(flow: Any, runtime: Runtime) -> None:
    ask, asking = flow
    run = await parked(asking)
    suspended = await run.result()
    found = await asking.get_run("r-1")
    another = await asking.get_run("r-1")

    assert (await another.resume(ask, 2)).unwrap() == 3

    for handle in (run, suspended, found):
        with pytest.raises(StepNotRunError):
            handle.get_step_result(ask)
    assert another.get_step_result(ask) == 3
    assert "status='running'" in repr(run)


async def test_who_started_a_run_sees_how_it_stood_when_another_went_on_with_it(flow: Any, runtime: Runtime) -> None:
    ask, asking = flow
    run = await asking.create_run(run_id="r-1")
    result = await run.start(1)
    another: Run[Any, Any, Any] = await asking.get_run("r-1")

    assert (await another.resume(ask, 2)).unwrap() == 3

    assert isinstance(result, Suspended)
    with pytest.raises(StepNotRunError):
        result.get_step_result(ask)
    assert "status='running'" in repr(run)


async def test_many_who_answer_at_once_all_go_on_although_none_has_ended(
    flow: Any, calls: list[int], gate: asyncio.Event, runtime: Runtime
) -> None:
    """They are taken up some at a time, until each is recorded: what their bodies then do has no such limit."""
    ask, asking = flow
    runs = await asyncio.gather(*(asking.create_run() for _ in range(MANY)))
    await asyncio.gather(*(run.start(1) for run in runs))
    gate.clear()

    answering = [asyncio.create_task(run.resume(ask, number)) for number, run in enumerate(runs)]
    await recorded(runs[-1], "step_started", times=2)
    gate.set()

    assert [(await each).unwrap() for each in answering] == [1 + number for number in range(MANY)]
    assert sorted(calls) == list(range(MANY))


async def test_who_is_cancelled_before_it_is_his_turn_has_not_answered(flow: Any, runtime: Runtime) -> None:
    ask, asking = flow
    runs = await asyncio.gather(*(asking.create_run() for _ in range(MANY)))
    await asyncio.gather(*(run.start(1) for run in runs))

    answering = [asyncio.create_task(run.resume(ask, 2)) for run in runs]
    await settle(1)
    answering[-1].cancel()
    ended = await asyncio.gather(*answering, return_exceptions=True)

    assert isinstance(ended[-1], asyncio.CancelledError)
    assert "hook_received" not in await types(runs[-1])
    assert (await runs[-1].resume(ask, 5)).unwrap() == 6


@pytest.mark.parametrize("drains", [False, True], ids=["closed", "drained and closed"])
@pytest.mark.parametrize("turns", [1, 3, 8, 20])
async def test_whoever_answers_as_the_runtime_is_closed_is_told_whether_that_is_recorded(
    turns: int, flow: Any, database: str, clock: ManualClock, *, drains: bool
) -> None:
    ask, asking = flow
    async with Runtime(database, clock=clock) as runtime:
        runs = await asyncio.gather(*(asking.create_run() for _ in range(MANY)))
        await asyncio.gather(*(run.start(1) for run in runs))
        answering = [asyncio.create_task(run.resume(ask, 2)) for run in runs]
        await settle(turns)
        if drains:
            await runtime.drain("1s")
    ended = await asyncio.gather(*answering, return_exceptions=True)

    assert {type(end) for end in ended} <= {Completed, StoreError}
    unrecorded = {run.run_id for run, end in zip(runs, ended, strict=True) if "is being closed" in str(end)}
    async with Runtime(database, clock=clock, workflows=[asking], worker=False):
        found = [await asking.get_run(run.run_id) for run in runs]
        assert {run.run_id for run in found if "hook_received" not in await types(run)} == unrecorded


async def test_what_is_being_recorded_when_the_runtime_is_closed_is_recorded_and_left_to_the_next(
    database: str, clock: ManualClock
) -> None:
    """Nothing begins that would be interrupted at once; and what comes later is refused."""
    charged: list[int] = []

    @step(at_most_once=True)
    async def charge(sum: int) -> int:
        charged.append(sum)
        return sum

    @workflow(id="sale")
    async def sale(tools: StepTools, data: int) -> int:
        return await tools.run(charge, data + await tools.wait_for_event(paid))

    async with Runtime(database, clock=clock, workflows=[sale]) as runtime:
        driver, definition = runtime.driver, runtime.define(sale)
        run = await sale.create_run()
        await run.start(1)
        with closing(sqlite3.connect(database.removeprefix("sqlite:///"), isolation_level=None)) as tool:
            tool.execute("BEGIN IMMEDIATE")  # so that the event waits to be recorded
            sending = asyncio.create_task(run.send_event(paid, 7))
            await settle()
            leaving = asyncio.create_task(runtime.close())
            await settle()
            with pytest.raises(StoreError, match="is being closed"):
                await driver.deliver(run.run_id, definition, e.SignalReceived(signal_type="paid", payload_data=b"8"))
            tool.execute("ROLLBACK")
            await leaving
        with pytest.raises(StoreError, match="was closed while"):
            await sending
    assert charged == []

    async with Runtime(database, clock=clock, workflows=[sale]):
        again = await sale.get_run(run.run_id)
        assert (await again.result()).unwrap() == 8
        assert (await types(again)).count("signal_received") == 1
    assert charged == [8]
