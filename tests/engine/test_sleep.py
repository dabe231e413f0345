"""Sleeps: until a recorded moment, never early, and nothing is held meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest

from tests.clocks import START, ManualClock, settle
from wrkflw import (
    Cancelled,
    Completed,
    Event,
    Failed,
    Paused,
    RunFinishedError,
    RunNotFinishedError,
    Runtime,
    StepNotRunError,
    StepTools,
    Waiting,
    workflow,
)
from wrkflw.engine.recorder import Recorder
from wrkflw.world.errors import StoreBusyError
from wrkflw.worlds import watch

from .desk import Desk, assert_nothing_moves, chain, types
from .lost import kill


@pytest.fixture
def desk() -> Desk:
    return Desk()


def napping(desk: Desk, duration: str = "30d", id: str = "flow") -> Any:
    return chain(id).then(desk.quick("before")).sleep(duration).then(desk.quick("after")).commit()


async def test_thirty_days_pass_in_no_time(runtime: Runtime, clock: ManualClock, desk: Desk) -> None:
    run = await napping(desk).create_run()
    result = await run.start(1)

    assert isinstance(result, Waiting)
    assert (result.reason, result.until, result.event) == ("sleep", START + timedelta(days=30), None)
    assert_nothing_moves(runtime, run)
    clock.turn(timedelta(days=30) - timedelta(microseconds=1))
    await settle()
    assert desk.calls == ["before"]
    clock.turn(timedelta(microseconds=1))
    assert (await run.result()).unwrap() == 3


async def test_a_sleeping_run_says_so(runtime: Runtime, desk: Desk) -> None:
    run = await napping(desk).create_run(run_id="r-17")
    result = await run.start(1)

    assert (await runtime.runs.get("r-17")).waiting_for == "sleeping"
    with pytest.raises(RunNotFinishedError) as parked:
        result.unwrap()
    assert str(parked.value) == "run 'r-17' is waiting for a sleep; take it up with run.result()"


async def test_it_is_not_among_the_steps(runtime: Runtime, desk: Desk) -> None:
    run = await napping(desk).create_run()
    await run.start(1)
    snapshot = await run.snapshot()

    assert snapshot.execution_path == list(snapshot.step_results) == ["before"]


async def test_the_patience_of_start_waits_short_sleeps_out(runtime: Runtime, clock: ManualClock, desk: Desk) -> None:
    run = await napping(desk, "20s").create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    assert not starting.done()
    clock.turn("20s")

    assert (await starting).unwrap() == 3


@pytest.mark.parametrize(("wait", "duration"), [("0s", "1s"), ("5s", "6s"), ("30s", "31s"), ("2h", "3h")])
async def test_longer_ones_give_waiting(runtime: Runtime, desk: Desk, wait: str, duration: str) -> None:
    run = await napping(desk, duration).create_run()

    assert isinstance(await run.start(1, wait=wait), Waiting)


async def test_without_limit_all_timers_are_waited_for(runtime: Runtime, clock: ManualClock, desk: Desk) -> None:
    run = await napping(desk).create_run()
    starting = asyncio.ensure_future(run.start(1, wait=None))
    await settle()
    assert not starting.done()
    clock.turn("30d")

    assert isinstance(await starting, Completed)


async def test_a_sleep_of_no_time_passes_at_once(runtime: Runtime, desk: Desk) -> None:
    assert await napping(desk, "0s").run(1) == 3


async def test_what_flows_in_flows_on(runtime: Runtime) -> None:
    flow = chain(takes=list[int], gives=list[int]).sleep("0s").map(lambda items: items).sleep("0s").commit()

    assert await flow.run([1, 2]) == [1, 2]


async def test_a_restart_waits_only_for_the_remainder(clock: ManualClock, database: str, desk: Desk) -> None:
    flow = napping(desk)
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).start(1)
        kill(runtime)
    clock.turn("29d")
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run("r-17")
        await settle()
        assert desk.calls == ["before"]
        clock.turn("1d")
        assert (await run.result()).unwrap() == 3
    assert desk.calls == ["before", "after"]


async def test_what_another_process_has_let_sleep_for_less_is_woken_in_time(
    clock: ManualClock, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a worker a runtime sets a timer for each run; somebody else may have moved the run to an earlier one."""
    monkeypatch.setattr(watch, "_UNTIL_ITS_LOCK_IS_FREE", ())  # it would look again later, in real time
    go = Event("go", int)

    def waiting() -> Any:
        return chain().wait_for_event(go, timeout="1h").sleep("5m").commit()

    here, there = waiting(), waiting()
    async with Runtime(database, clock=clock, workflows=[here], worker=False):
        run = await here.create_run(run_id="r-17")
        assert isinstance(await run.start(1), Waiting)
        async with Runtime(database, clock=clock, workflows=[there]):
            await (await there.get_run("r-17")).send_event(go, 7, wait="0s")
            resulting = asyncio.ensure_future(run.result())
            await settle()
        await settle()
        clock.turn("5m")
        await settle()

        assert resulting.done()


async def test_one_that_was_over_meanwhile_goes_on_at_once(clock: ManualClock, database: str, desk: Desk) -> None:
    flow = napping(desk)
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).start(1)
        kill(runtime)
    clock.turn("40d")
    async with Runtime(database, clock=clock, workflows=[flow]):
        assert (await (await flow.get_run("r-17")).result()).unwrap() == 3


async def test_a_clock_that_is_turned_back_wakes_nobody_early(runtime: Runtime, clock: ManualClock, desk: Desk) -> None:
    run = await napping(desk, "1h").create_run()
    await run.start(1)
    clock.turn(timedelta(minutes=-30))
    clock.turn("1h")
    await settle()
    assert desk.calls == ["before"]
    clock.turn("30m")

    assert (await run.result()).unwrap() == 3


# --- sleep_until -----------------------------------------------------------------------------------


async def test_it_sleeps_until_a_time(runtime: Runtime, clock: ManualClock, desk: Desk) -> None:
    run = await chain().sleep_until(START + timedelta(hours=2)).then(desk.quick("after")).commit().create_run()
    result = await run.start(1)

    assert isinstance(result, Waiting)
    assert result.until == START + timedelta(hours=2)
    clock.turn("2h")
    assert (await run.result()).unwrap() == 2


async def test_a_time_in_the_past_passes_at_once(runtime: Runtime, desk: Desk) -> None:
    flow = chain().sleep_until(datetime(2000, 1, 1, tzinfo=UTC)).then(desk.quick("after")).commit()

    assert await flow.run(1) == 2


async def test_the_time_may_come_from_what_flows_in_and_is_asked_for_once(
    clock: ManualClock, database: str, desk: Desk
) -> None:
    asked: list[int] = []

    def when(data: int) -> datetime:
        asked.append(data)
        return START + timedelta(hours=len(asked))

    flow = chain().sleep_until(when).then(desk.quick("after")).commit()
    async with Runtime(database, clock=clock):
        await (await flow.create_run(run_id="r-17")).start(5)
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        assert (await (await flow.get_run("r-17")).result()).unwrap() == 6
    assert asked == [5]


@pytest.mark.parametrize(
    ("when", "type", "text"),
    [
        (
            lambda data: datetime(2026, 1, 1),  # noqa: DTZ001
            "InvalidValueError",
            "sleep_until 'sleep-1' needs a timezone-aware time, got 2026-01-01 00:00:00; add tzinfo",
        ),
        (
            lambda data: "tomorrow",
            "InvalidValueError",
            "sleep_until 'sleep-1' needs a datetime, got str; give a timezone-aware one",
        ),
        (
            lambda data: START.replace(hour=25),
            "MapError",
            "sleep_until 'sleep-1' raised ValueError: hour must be in 0..23; "
            "do fallible work in a step, which can be retried",
        ),
    ],
    ids=["naive", "text", "raises"],
)
async def test_a_function_that_tells_no_time_fails_the_run(
    runtime: Runtime, desk: Desk, when: Any, type: str, text: str
) -> None:
    result = await (await chain().sleep_until(when).then(desk.quick("after")).commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == (type, text)


@pytest.mark.parametrize("duration", ["3650000d", timedelta.max], ids=["ten thousand years", "longest"])
async def test_there_is_no_end_to_how_long_it_may_sleep(runtime: Runtime, desk: Desk, duration: Any) -> None:
    run = await chain().sleep(duration).then(desk.quick("after")).commit().create_run()
    result = await run.start(1)

    assert isinstance(result, Waiting)
    assert result.until == datetime(9999, 12, 31, tzinfo=UTC)
    await run.wake()
    assert (await run.result()).unwrap() == 2


# --- wake ------------------------------------------------------------------------------------------


async def test_a_sleep_is_ended_early(runtime: Runtime, desk: Desk) -> None:
    run = await napping(desk).create_run()
    await run.start(1)
    await run.wake("sleep-1")

    assert (await run.result()).unwrap() == 3
    causes = [e.event.cause async for e in run.events() if e.event.event_type == "wait_completed"]
    assert causes == ["woken"]


async def test_one_of_several_is_woken_or_all(runtime: Runtime, desk: Desk) -> None:
    parts = [chain(id).sleep("1h").then(desk.quick("x")).commit() for id in ("a", "b", "c")]
    run = await chain(gives=list[int]).parallel_all(parts).commit().create_run()
    await run.start(1)
    await run.wake("b/sleep-1")
    await settle()
    assert desk.calls == ["b/x"]
    await run.wake()

    assert (await run.result()).unwrap() == [2, 2, 2]


async def test_a_sleep_is_ended_while_a_sibling_runs(runtime: Runtime, desk: Desk) -> None:
    nap = chain("nap").sleep("1h").then(desk.quick("x")).commit()
    run = await (await chain(gives=Any).parallel(nap, desk.slow("slow")).commit().create_run()).enqueue(1)
    await settle()
    await run.wake()
    await settle()
    assert desk.calls == ["slow", "nap/x"]

    desk.let("slow")
    assert (await run.result()).unwrap() == (2, 2)


async def test_waking_what_is_awake_does_nothing(runtime: Runtime, desk: Desk, clock: ManualClock) -> None:
    run = await chain().sleep("1h").then(desk.asking("ask")).commit().create_run()
    await run.start(1)
    await run.wake("sleep-1")
    await run.result()
    before = await types(run)
    await run.wake("sleep-1")
    await run.wake()

    assert await types(run) == before


async def test_a_sleep_is_not_said_to_be_ended_when_nothing_could_be_recorded(runtime: Runtime, desk: Desk) -> None:
    run = await napping(desk).create_run()
    await run.start(1)
    busy = StoreBusyError("another process holds the database; try again", timedelta(seconds=1))

    with patch.object(runtime.driver, "deliver", side_effect=busy), pytest.raises(StoreBusyError):
        await run.wake()


async def test_what_does_not_sleep_is_not_woken(runtime: Runtime, desk: Desk) -> None:
    run = await napping(desk).create_run(run_id="r-17")
    await run.start(1)

    with pytest.raises(StepNotRunError) as missing:
        await run.wake("sleep-2")
    assert str(missing.value) == "run 'r-17' never reached a sleep 'sleep-2'; open: 'sleep-1'"
    assert missing.value.finished == ()
    await run.cancel()
    with pytest.raises(RunFinishedError):
        await run.wake()


async def test_a_wait_for_an_event_is_no_sleep_to_be_ended(runtime: Runtime, desk: Desk) -> None:
    nap = chain("nap").sleep("30d", id="lie-down").then(desk.quick("x")).commit()
    answer = chain("answer").wait_for_event(Event("go", int), id="listen").then(desk.quick("y")).commit()
    run = await chain(gives=list[int]).parallel_all([nap, answer]).commit().create_run(run_id="r-17")
    await run.start(1)

    with pytest.raises(StepNotRunError) as missing:
        await run.wake("answer/listen")
    assert str(missing.value) == "run 'r-17' never reached a sleep 'answer/listen'; open: 'nap/lie-down'"


async def test_another_runtime_wakes_it(clock: ManualClock, database: str, desk: Desk) -> None:
    flow = napping(desk)
    async with Runtime(database, clock=clock):
        await (await flow.create_run(run_id="r-17")).start(1)
    async with Runtime(database, clock=clock, worker=False):
        await (await flow.get_run("r-17")).wake()
        await settle()
    async with Runtime(database, clock=clock, workflows=[flow]):
        assert (await (await flow.get_run("r-17")).result()).unwrap() == 3


# --- cancel, pause ---------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a body"])
async def test_another_runtime_wakes_what_is_waited_out_in_place(
    clock: ManualClock, database: str, desk: Desk, beside: bool
) -> None:
    flow = napping(desk, "4s")
    if beside:
        flow = chain("both", gives=Any).parallel(flow, desk.slow("slow")).commit()
    async with Runtime(database, clock=clock):
        starting = asyncio.ensure_future((await flow.create_run(run_id="r-17")).start(1))
        await settle()
        async with Runtime(database, clock=clock, worker=False):
            await settle()  # that somebody has come has been heard
            await (await flow.get_run("r-17")).wake()
            await settle()
            assert [key.removeprefix("flow/") for key in desk.calls if key != "slow"] == ["before", "after"]
            desk.let("slow")
            assert isinstance(await starting, Completed)


async def test_a_program_is_not_disturbed_by_the_ends_of_its_own_sleeps(runtime: Runtime, clock: ManualClock) -> None:
    """To hear of them would have it read its log after each."""

    @workflow
    async def naps(step: StepTools, times: int) -> int:
        for number in range(times):
            await step.sleep(f"nap-{number}", "1s")
        return times

    run = await naps.create_run()
    with patch.object(Recorder, "catch_up", autospec=True, side_effect=Recorder.catch_up) as catch_up:
        starting = asyncio.ensure_future(run.start(5))
        for _ in range(5):
            await settle()
            clock.turn("1s")
        assert (await starting).unwrap() == 5

    assert catch_up.call_count == 5  # each time that it has waited in place


async def test_a_cancel_ends_it_promptly(runtime: Runtime, clock: ManualClock, desk: Desk) -> None:
    run = await napping(desk).create_run()
    await run.start(1)
    await run.cancel()
    assert isinstance(await run.result(), Cancelled)
    clock.turn("31d")
    await settle()

    assert desk.calls == ["before"]


async def test_a_short_sleep_is_cancelled_too(runtime: Runtime, clock: ManualClock, desk: Desk) -> None:
    run = await napping(desk, "3s").create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    await run.cancel()

    assert isinstance(await starting, Cancelled)


async def test_a_pause_does_not_move_the_moment(runtime: Runtime, clock: ManualClock, desk: Desk) -> None:
    run = await napping(desk, "1h").create_run()
    await run.start(1)
    await run.pause()
    clock.turn("30m")
    await run.unpause()
    await settle()
    assert desk.calls == ["before"]
    clock.turn("30m")

    assert (await run.result()).unwrap() == 3


async def test_what_was_over_during_a_pause_goes_on_at_unpause(
    runtime: Runtime, clock: ManualClock, desk: Desk
) -> None:
    run = await napping(desk, "1h").create_run()
    await run.start(1)
    await run.pause()
    clock.turn("2h")
    await settle()
    assert desk.calls == ["before"]
    assert isinstance(await run.result(), Paused)
    await run.unpause()

    assert (await run.result()).unwrap() == 3


async def test_a_pause_during_a_short_sleep_holds(runtime: Runtime, clock: ManualClock, desk: Desk) -> None:
    run = await napping(desk, "3s").create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    await run.pause()
    assert isinstance(await starting, Paused)
    clock.turn("3s")
    await settle()
    assert desk.calls == ["before"]
    await run.unpause()

    assert (await run.result()).unwrap() == 3
