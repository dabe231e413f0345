"""Waits for events: first in, first out, kept when they come early, and decided by the log."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from tests.clocks import START, ManualClock, settle
from wrkflw import (
    Cancelled,
    Event,
    Failed,
    InvalidValueError,
    Paused,
    RunFinishedError,
    RunNotFinishedError,
    RunNotFoundError,
    Runtime,
    UnknownEventError,
    Waiting,
    step,
)
from wrkflw.world.errors import EntityConflictError

from .desk import Desk, assert_nothing_moves, chain, recorded, types
from .lost import kill


class Approval(BaseModel):
    approved: bool
    by: str = "ada"


confirmed = Event("confirmed", Approval)
number = Event("number", int)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def waiting(desk: Desk, id: str = "flow", **options: Any) -> Any:
    return chain(id).then(desk.quick("before")).wait_for_event(number, **options).then(desk.quick("after")).commit()


def three(id: str = "flow") -> Any:
    """Three waits for one event, in a row."""
    waits = chain(id, gives=list[int]).map(lambda data: []).join_event(number, lambda all, one: [*all, one])
    return waits.join_event(number, lambda all, one: [*all, one]).join_event(
        number, lambda all, one: [*all, one]
    ).commit()  # fmt: skip


# --- data ------------------------------------------------------------------------------------------


async def test_the_payload_flows_on(runtime: Runtime, desk: Desk) -> None:
    run = await waiting(desk).create_run(run_id="r-17")
    result = await run.start(1)

    assert isinstance(result, Waiting)
    assert (result.reason, result.until, result.event) == ("event", None, "number")
    assert (await runtime.runs.get("r-17")).waiting_for == "waiting"
    with pytest.raises(RunNotFinishedError) as parked:
        result.unwrap()
    assert str(parked.value) == "run 'r-17' is waiting for event 'number'; take it up with run.result()"
    assert_nothing_moves(runtime, run)
    assert (await run.send_event(number, 40)).unwrap() == 41


async def test_the_payload_is_of_its_type(runtime: Runtime) -> None:
    @step
    async def after(data: Approval) -> str:
        return f"{data.approved} {data.by}"

    run = await chain(gives=str).wait_for_event(confirmed).then(after).commit().create_run()
    await run.start(1)

    assert (await run.send_event(confirmed, Approval(approved=True))).unwrap() == "True ada"


async def test_join_event_gets_both(runtime: Runtime, desk: Desk) -> None:
    flow = chain(gives=list[int]).join_event(number, lambda before, payload: [before, payload]).commit()
    run = await flow.create_run()
    await run.start(1)

    assert (await run.send_event(number, 2)).unwrap() == [1, 2]


async def test_a_function_of_a_join_that_raises_fails_the_run(runtime: Runtime) -> None:
    run = await chain().join_event(number, lambda before, payload: before // payload).commit().create_run()
    await run.start(1)
    result = await run.send_event(number, 0)

    assert isinstance(result, Failed)
    assert result.error.type == "MapError"
    assert result.error.message.startswith("join_event 'wait-1' raised ZeroDivisionError: ")


async def test_nothing_is_a_payload(runtime: Runtime) -> None:
    none = Event("none", type(None))
    run = await chain(gives=Any).wait_for_event(none).commit().create_run()
    await run.start(1)

    assert (await run.send_event(none, None)).unwrap() is None


# --- order -----------------------------------------------------------------------------------------


async def test_one_that_comes_early_is_kept(runtime: Runtime, desk: Desk, clock: ManualClock) -> None:
    flow = chain().sleep("1h").wait_for_event(number).then(desk.quick("after")).commit()
    run = await flow.create_run()
    await run.start(1)
    assert isinstance(await run.send_event(number, 40), Waiting)
    clock.turn("1h")

    assert (await run.result()).unwrap() == 41


async def test_one_sent_while_a_body_runs_is_kept(runtime: Runtime, desk: Desk) -> None:
    run = await chain().then(desk.slow("slow")).wait_for_event(number).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    sending = asyncio.ensure_future(run.send_event(number, 40))
    await settle()
    desk.let("slow")

    assert (await sending).unwrap() == (await starting).unwrap() == 40


async def test_the_oldest_goes_to_the_oldest_wait(runtime: Runtime) -> None:
    run = await three().create_run()
    await run.start(0)
    for payload in (3, 1):
        assert isinstance(await run.send_event(number, payload), Waiting)

    assert (await run.send_event(number, 2)).unwrap() == [3, 1, 2]


async def test_waits_side_by_side_are_served_in_the_order_in_which_they_began(runtime: Runtime) -> None:
    parts = [chain(id).wait_for_event(number).commit() for id in ("a", "b", "c")]
    run = await chain(gives=list[int]).parallel_all(parts).commit().create_run()
    await run.start(0)
    for payload in (1, 2):
        await run.send_event(number, payload)

    assert (await run.send_event(number, 3)).unwrap() == [1, 2, 3]


async def test_names_do_not_mix(runtime: Runtime) -> None:
    other = Event("other", int)
    run = (
        await chain(gives=Any).wait_for_event(number).join_event(other, lambda *both: list(both)).commit().create_run()
    )
    await run.start(0)
    assert isinstance(await run.send_event(other, 2), Waiting)

    assert (await run.send_event(number, 1)).unwrap() == [1, 2]


async def test_unused_ones_stay_in_the_log(runtime: Runtime, desk: Desk) -> None:
    run = await chain().wait_for_event(number).then(desk.slow("slow")).commit().create_run()
    await run.start(0)
    first = asyncio.ensure_future(run.send_event(number, 1))
    await settle()
    second = asyncio.ensure_future(run.send_event(number, 2))
    await settle()
    desk.let("slow")

    assert (await first).unwrap() == (await second).unwrap() == 2
    assert (await types(run)).count("signal_received") == 2


async def test_sent_twice_under_one_id_it_counts_once(runtime: Runtime) -> None:
    run = await three().create_run()
    await run.start(0)
    for payload in (1, 1, 2):
        assert isinstance(await run.send_event(number, payload, dedupe_id=f"d-{payload}"), Waiting)

    assert (await run.send_event(number, 3, dedupe_id="d-3")).unwrap() == [1, 2, 3]


async def test_an_id_that_came_with_another_payload_is_refused_and_nothing_recorded(runtime: Runtime) -> None:
    run = await three().create_run(run_id="r-17")
    await run.start(0)
    await run.send_event(number, 1, dedupe_id="d")
    before = await types(run)

    refusal = r"^id 'd' came to run 'r-17' with something else before; take another for what is new$"
    with pytest.raises(EntityConflictError, match=refusal):
        await run.send_event(number, 2, dedupe_id="d")
    assert await types(run) == before


async def test_a_dedupe_id_counts_over_restarts(clock: ManualClock, database: str) -> None:
    flow = three()
    async with Runtime(database, clock=clock):
        run = await flow.create_run(run_id="r-17")
        await run.start(0)
        await run.send_event(number, 1, dedupe_id="d")
    async with Runtime(database, clock=clock):
        run = await flow.get_run("r-17")
        await run.send_event(number, 1, dedupe_id="d")
        await run.send_event(number, 2)
        assert (await run.send_event(number, 3)).unwrap() == [1, 2, 3]


async def test_an_event_is_heard_at_whatever_moment_it_comes(runtime: Runtime) -> None:
    for turns in range(30):
        desk = Desk()
        run = await waiting(desk, f"flow-{turns}").create_run()
        starting = asyncio.ensure_future(run.start(1))
        while True:
            await asyncio.sleep(0)
            if desk.calls:
                break
        await settle(turns)
        sending = asyncio.ensure_future(run.send_event(number, 40))
        await settle()
        assert sending.done(), f"sent after {turns} turns"
        assert sending.result().unwrap() == 41
        starting.cancel()


async def test_events_of_a_nested_workflow_reach_it(runtime: Runtime, desk: Desk) -> None:
    run = await chain().then(waiting(desk, "inner")).commit().create_run()
    await run.start(1)

    assert (await run.send_event(number, 40)).unwrap() == 41
    assert desk.calls == ["inner/before", "inner/after"]


# --- refused ---------------------------------------------------------------------------------------


async def test_a_payload_that_does_not_fit_is_refused_at_the_sender(runtime: Runtime) -> None:
    run = await chain(gives=Approval).wait_for_event(confirmed).commit().create_run()
    await run.start(1)
    before = await types(run)

    with pytest.raises(InvalidValueError) as refused:
        await run.send_event(confirmed, {"by": "ada"})
    assert str(refused.value) == "payload of event 'confirmed' does not fit Approval: approved: field required"
    assert await types(run) == before


async def test_an_event_of_that_name_with_another_type_does_not_slip_through(runtime: Runtime) -> None:
    run = await chain(gives=Approval).wait_for_event(confirmed).commit().create_run()
    await run.start(1)
    before = await types(run)

    with pytest.raises(InvalidValueError, match=r"^payload of event 'confirmed' does not fit Approval: "):
        await run.send_event(Event("confirmed", int), 5)
    assert await types(run) == before


async def test_only_an_event_is_sent(runtime: Runtime, desk: Desk) -> None:
    run = await waiting(desk).create_run()
    await run.start(1)

    text = "send_event() takes an Event, got 'number'; make one with Event(name, schema)"
    with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
        await run.send_event("number", 1)


async def test_an_event_that_nobody_waits_for_is_refused(runtime: Runtime, desk: Desk) -> None:
    run = await waiting(desk, "campaign").create_run()
    await run.start(1)

    with pytest.raises(UnknownEventError) as unknown:
        await run.send_event(Event("nunber", int), 1)
    assert str(unknown.value) == "workflow 'campaign' never waits for 'nunber'; it waits for 'number'"


async def test_a_run_that_has_ended_takes_none(runtime: Runtime, desk: Desk) -> None:
    run = await waiting(desk).create_run(run_id="r-17")
    await run.start(1)
    await run.send_event(number, 1)

    with pytest.raises(RunFinishedError) as finished:
        await run.send_event(number, 2)
    assert str(finished.value) == "run 'r-17' is already completed; events are taken by open runs only"


async def test_a_run_that_never_was_takes_none(runtime: Runtime, desk: Desk) -> None:
    with pytest.raises(RunNotFoundError):
        await (await waiting(desk).create_run()).send_event(number, 1)


# --- timeouts --------------------------------------------------------------------------------------


async def test_without_a_default_the_run_fails_when_time_is_up(
    runtime: Runtime, desk: Desk, clock: ManualClock
) -> None:
    run = await waiting(desk, timeout="7d").create_run()
    result = await run.start(1)
    assert isinstance(result, Waiting)
    assert (result.reason, result.until) == ("event", START + timedelta(days=7))
    clock.turn("7d")
    failed = await run.result()

    assert isinstance(failed, Failed)
    assert (failed.error.type, failed.error.message) == (
        "WaitTimeoutError",
        "no event 'number' within 7 days; send it earlier, raise timeout= or give default=",
    )


@pytest.mark.parametrize("default", [7, 0])
async def test_the_default_flows_on(runtime: Runtime, desk: Desk, clock: ManualClock, default: int) -> None:
    run = await waiting(desk, timeout="1h", default=default).create_run()
    await run.start(1)
    clock.turn("1h")

    assert (await run.result()).unwrap() == default + 1


async def test_none_is_a_default_too(runtime: Runtime, clock: ManualClock) -> None:
    maybe = Event("maybe", int | None)
    run = await chain(gives=int | None).wait_for_event(maybe, timeout="1h", default=None).commit().create_run()
    await run.start(1)
    clock.turn("1h")

    assert (await run.result()).unwrap() is None


async def test_a_wait_whose_time_is_up_takes_nothing(runtime: Runtime, clock: ManualClock) -> None:
    flow = chain(gives=list[int]).wait_for_event(number, timeout="1h", default=0)
    run = await flow.join_event(number, lambda *both: list(both)).commit().create_run()
    await run.start(1)
    clock.turn("1h")
    await settle()

    assert (await run.send_event(number, 5)).unwrap() == [0, 5]


async def test_the_log_decides_between_the_payload_and_the_deadline(clock: ManualClock, database: str) -> None:
    """Whichever is recorded first; and everybody who reads the log says the same."""
    outcomes: set[int] = set()
    flow = chain().wait_for_event(number, timeout="1h", default=0).then(Desk().quick("after")).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        for turns in range(20):
            run = await flow.create_run(run_id=f"r-{turns}")
            await run.start(1)
            clock.turn("1h")
            await settle(turns)
            try:
                result = await run.send_event(number, 10)
            except RunFinishedError:
                result = await run.result()
            outcomes.add(result.unwrap())
            again = await (await flow.get_run(run.run_id)).result()
            assert again.unwrap() == result.unwrap()
        kill(runtime)

    assert outcomes <= {1, 11}
    assert 1 in outcomes


async def test_an_event_before_the_deadline_is_taken_though_nobody_drove_the_run(
    clock: ManualClock, database: str, desk: Desk
) -> None:
    flow = waiting(desk, timeout="1h", default=0)
    async with Runtime(database, clock=clock):
        await (await flow.create_run(run_id="r-17")).start(1)
    async with Runtime(database, clock=clock, worker=False) as runtime:
        run = await flow.get_run("r-17")
        await run.pause()
        await run.send_event(number, 40)
        kill(runtime)
    clock.turn("2h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run("r-17")
        await run.unpause()
        assert (await run.result()).unwrap() == 41


# --- crash, cancel, pause --------------------------------------------------------------------------


async def test_neither_the_wait_nor_the_event_is_lost(clock: ManualClock, database: str, desk: Desk) -> None:
    flow = waiting(desk)
    async with Runtime(database, clock=clock) as runtime:
        await (await flow.create_run(run_id="r-17")).start(1)
        kill(runtime)
    async with Runtime(database, clock=clock) as runtime:
        run = await flow.get_run("r-17")
        sending = asyncio.ensure_future(run.send_event(number, 40))
        await recorded(run, "signal_received")
        kill(runtime)
        sending.cancel()
    async with Runtime(database, clock=clock, workflows=[flow]):
        assert (await (await flow.get_run("r-17")).result()).unwrap() == 41


async def test_a_cancelled_wait_takes_nothing(runtime: Runtime, desk: Desk) -> None:
    run = await waiting(desk).create_run()
    await run.start(1)
    await run.cancel()

    assert isinstance(await run.result(), Cancelled)
    with pytest.raises(RunFinishedError):
        await run.send_event(number, 1)


async def test_a_paused_run_keeps_what_comes(runtime: Runtime, desk: Desk) -> None:
    run = await waiting(desk).create_run()
    await run.start(1)
    await run.pause()
    assert isinstance(await run.send_event(number, 40), Paused)
    assert desk.calls == ["before"]
    await run.unpause()

    assert (await run.result()).unwrap() == 41


async def test_a_deadline_does_not_move_while_a_run_is_paused(runtime: Runtime, desk: Desk, clock: ManualClock) -> None:
    run = await waiting(desk, timeout="1h", default=0).create_run()
    await run.start(1)
    await run.pause()
    clock.turn("2h")
    await settle()
    assert desk.calls == ["before"]
    await run.unpause()

    assert (await run.result()).unwrap() == 1


async def test_an_event_from_another_runtime_is_taken(clock: ManualClock, database: str, desk: Desk) -> None:
    flow = waiting(desk)
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.create_run(run_id="r-17")
        await run.start(1)
        awaiting = asyncio.ensure_future(run.result())
        async with Runtime(database, clock=clock, worker=False):
            other = await flow.get_run("r-17")
            assert (await other.send_event(number, 40)).unwrap() == 41
        assert (await awaiting).unwrap() == 41
