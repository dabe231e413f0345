"""What fell due while a run was paused, or nobody was there, happens in order of its time, as it would have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.clocks import START, ManualClock, settle
from wrkflw import (
    Event,
    Retry,
    Runtime,
    StepContext,
    StepTools,
    SuspendContext,
    WaitTimeoutError,
    create_step,
    workflow,
)
from wrkflw.engine.backlog import Backlog
from wrkflw.engine.journal import Journal
from wrkflw.world import events as e

from .desk import chain

NEVER = Event("never", int)
ORDERS = ["abc", "cab", "cba", "bac"]
HOURS = {"a": 1, "b": 2, "c": 4}

told: list[str] = []


def tells(id: str) -> Any:
    async def body(data: int) -> int:
        told.append(id)
        return data

    return create_step(id=f"tell-{id}", execute=body)


def sleeps(id: str, hours: int) -> Any:
    return chain(id).sleep(f"{hours}h").then(tells(id)).commit()


def waits(id: str, hours: int) -> Any:
    return chain(id).wait_for_event(NEVER, timeout=f"{hours}h", default=0).then(tells(id)).commit()


def asks(id: str, hours: int) -> Any:
    async def ask(data: int, ctx: SuspendContext[int, int]) -> int:
        try:
            return ctx.suspend(data, timeout=f"{hours}h")
        except WaitTimeoutError:
            told.append(id)
            return data

    return create_step(id=id, execute=ask)


def tries_again(id: str, hours: int) -> Any:
    async def body(data: int, ctx: StepContext) -> int:
        if ctx.attempt == 1:
            raise OSError("not yet")
        told.append(id)
        return data

    return create_step(id=id, execute=body, retry=Retry(attempts=2, delay=f"{hours}h", max_delay="9h", jitter=0))


def side_by_side(make: Callable[[str, int], Any], order: str) -> Any:
    return chain(gives=list[int]).parallel_all([make(id, HOURS[id]) for id in order]).commit()


def nested(make: Callable[[str, int], Any], order: str) -> Any:
    """The first and the last of them in a block of their own: what lies between comes between all the same."""
    first, *middle, last = list(order)
    inner = chain("inner").parallel_all([make(id, HOURS[id]) for id in (first, last)]).map(len)
    outer = [inner.commit(), *(make(id, HOURS[id]) for id in middle)]
    return chain(gives=list[int]).parallel_all(outer).commit()


def in_a_program(make: Callable[[str, int], Any], order: str) -> Any:
    steps = [make(id, HOURS[id]) for id in order]

    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> list[int]:
        results: list[int] = await asyncio.gather(*(step.run(each, data) for each in steps))
        return results

    return flow


async def paused(flow: Any, database: str, clock: ManualClock) -> None:
    async with Runtime(database, clock=clock):
        run = await flow.create_run()
        await run.start(1, wait="0s")
        await run.pause()
        clock.turn("5h")
        await settle()
        await run.unpause()
        assert (await run.result()).status == "completed"


async def alone(flow: Any, database: str, clock: ManualClock) -> None:
    """There is no process that knows the workflow."""
    async with Runtime(database, clock=clock):
        await (await flow.create_run(run_id="r-1")).start(1, wait="0s")
    clock.turn("5h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        assert (await (await flow.get_run("r-1")).result()).status == "completed"


async def busy(flow: Any, database: str, clock: ManualClock) -> None:
    """It is paused while a body runs beside, and goes on in memory."""
    gate = asyncio.Event()

    async def body(data: int) -> int:
        await gate.wait()
        return data

    beside = chain("both", gives=list[Any]).parallel_all([create_step(id="beside", execute=body), flow]).commit()
    async with Runtime(database, clock=clock):
        run = await beside.create_run()
        starting = asyncio.ensure_future(run.start(1, wait="0s"))
        await settle()
        await run.pause()
        clock.turn("5h")
        await settle()
        await run.unpause()
        await settle()
        assert len(told) == len(HOURS), "what is due waits for no body"
        gate.set()
        await starting
        assert (await run.result()).status == "completed"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("how", [paused, alone, busy], ids=lambda how: how.__name__)
@pytest.mark.parametrize("shape", [side_by_side, nested, in_a_program], ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("make", [sleeps, waits, asks, tries_again], ids=lambda make: make.__name__)
async def test_what_is_overdue_happens_in_order_of_its_time(
    make: Callable[[str, int], Any],
    shape: Callable[[Callable[[str, int], Any], str], Any],
    how: Callable[[Any, str, ManualClock], Awaitable[None]],
    order: str,
    database: str,
    clock: ManualClock,
) -> None:
    told.clear()
    await how(shape(make, order), database, clock)
    assert told == ["a", "b", "c"]


async def test_who_comes_first_decides_who_gets_what_comes_later(database: str, clock: ManualClock) -> None:
    """The order is in the data of the run, not only in its log: of two that wait for one event, the first takes it."""
    paid = Event("paid", int)

    def waiting(id: str, hours: int) -> Any:
        return chain(id).sleep(f"{hours}h").wait_for_event(paid, timeout="1d", default=-1).commit()

    flow = chain(gives=list[int]).parallel_all([waiting("b", 3), waiting("a", 1)]).commit()
    async with Runtime(database, clock=clock):
        run = await flow.create_run()
        await run.start(1, wait="0s")
        await run.pause()
        clock.turn("5h")
        await run.send_event(paid, 7, wait="0s")
        await run.unpause()
        await settle()
        clock.turn("2d")
        assert (await run.result()).unwrap() == [-1, 7]


def waiting_until(*moments: datetime) -> Journal:
    journal = Journal("r-1")
    for moment in moments:
        name = f"{moment:%H%M%S}"
        journal.add(e.WaitCreated(correlation_id=f"wait_{name}", key=f"nap-{name}", resume_at=moment), START)
    return journal


def test_what_is_nobodys_is_looked_at_once() -> None:
    """Else a run would come back to it for ever: what waits for a later moment would never be due."""
    first, second, third = (START + timedelta(hours=hours) for hours in (1, 2, 4))
    clock = ManualClock()
    backlog = Backlog(clock, waiting_until(first, second, third))
    clock.turn("5h")

    backlog.look()
    assert backlog.due() == first
    assert backlog.reach(second)
    backlog.look()
    assert (backlog.due(), backlog.is_open) == (second, True)
    assert backlog.reach(third)
    backlog.look()
    assert (backlog.due(), backlog.is_open) == (clock.now(), False)
    assert not backlog.reach(third)


def test_of_thousands_of_moments_neighbours_are_taken_together() -> None:
    """Each that is told apart costs a look at all that waits."""
    moments = [START + timedelta(seconds=number) for number in range(5000)]
    clock = ManualClock()
    backlog = Backlog(clock, waiting_until(*moments))
    clock.turn("2h")

    backlog.look()
    looks, waiting = 0, [moment for moment in moments if moment > backlog.due()]
    while waiting:
        looks += 1
        assert backlog.reach(waiting[0])
        assert backlog.due() >= waiting[0], "whoever is first goes on"
        waiting = [moment for moment in waiting if moment > backlog.due()]
    assert 32 < looks < 100
    assert not backlog.is_open


async def test_items_that_are_overdue_go_on_in_few_passes(database: str, clock: ManualClock) -> None:
    passes: list[int] = []

    def tells_that_it_passes(data: int) -> list[int]:
        passes.append(data)
        return [*range(data)]

    def moment(data: int) -> datetime:
        return START + timedelta(hours=1, seconds=data)

    nap = chain("nap").sleep_until(moment).wait_for_event(NEVER, timeout="90d", default=0).commit()
    flow = chain(gives=list[int]).map(tells_that_it_passes).foreach(nap, concurrency=300).commit()
    async with Runtime(database, clock=clock):
        run = await flow.create_run()
        await run.start(300, wait="0s")
        await run.pause()
        clock.turn("2h")
        passes.clear()
        await run.unpause()
        await settle()
        ended = [stored async for stored in run.events() if stored.event.event_type == "wait_completed"]
    assert len(ended) == 300
    assert len(passes) < 10
