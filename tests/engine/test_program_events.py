"""Events in programs: taken first in, first out, whenever they come; and nothing eats one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from tests.clocks import START, ManualClock, settle
from wrkflw import (
    Event,
    Failed,
    InvalidValueError,
    RunFinishedError,
    Runtime,
    StepTools,
    Waiting,
    WaitTimeoutError,
    workflow,
)

from .lost import kill
from .retelling import RUN, Sending, retell


class Approval(BaseModel):
    approved: bool


go = Event("go", int)
approved = Event("approved", Approval)


async def ended(run: Any) -> Any:
    return (await run.result()).unwrap()


async def test_an_event_wakes_the_program_with_its_payload(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> bool:
        approval = await step.wait_for_event(approved)
        assert type(approval) is Approval
        return approval.approved

    run = await flow.create_run()
    parked = await run.start(1)
    result = await run.send_event(approved, Approval(approved=True))

    assert isinstance(parked, Waiting)
    assert (parked.reason, parked.event, parked.until) == ("event", "approved", None)
    assert result.unwrap() is True


async def test_events_before_the_wait_are_kept_and_taken_in_order() -> None:
    def make(calls: list[str]) -> Any:
        @workflow(id="flow")
        async def flow(step: StepTools, data: int) -> list[int]:
            await step.sleep("nap", "1h")
            return [await step.wait_for_event(go) for _ in range(4)]

        return flow

    sends: list[Sending] = [("0s", go, 1), ("1m", go, 2), ("2h", go, 3), ("3h", go, 4)]
    told = await retell(make, 1, *sends)

    assert told.outcome == [1, 2, 3, 4]


async def test_events_of_two_names_do_not_get_into_each_others_way() -> None:
    other = Event("other", str)

    def make(calls: list[str]) -> Any:
        @workflow(id="flow")
        async def flow(step: StepTools, data: int) -> list[object]:
            return [await step.wait_for_event(go), await step.wait_for_event(other), await step.wait_for_event(go)]

        return flow

    told = await retell(make, 1, ("0s", other, "o"), ("0s", go, 1), ("0s", go, 2))

    assert told.outcome == [1, "o", 2]


async def test_the_oldest_wait_takes_the_first_event() -> None:
    def make(calls: list[str]) -> Any:
        @workflow(id="flow")
        async def flow(step: StepTools, data: int) -> list[int]:
            return list(await asyncio.gather(*(step.wait_for_event(go) for _ in range(3))))

        return flow

    told = await retell(make, 1, ("1m", go, 1), ("2m", go, 2), ("3m", go, 3))

    assert told.outcome == [1, 2, 3]


async def test_a_cancelled_wait_eats_nothing() -> None:
    def make(calls: list[str]) -> Any:
        @workflow(id="flow")
        async def flow(step: StepTools, data: int) -> list[int]:
            try:
                async with asyncio.timeout(60):
                    await step.wait_for_event(go)
            except TimeoutError:
                pass
            await step.sleep("nap", "1h")
            return [await step.wait_for_event(go), await step.wait_for_event(go)]

        return flow

    told = await retell(make, 1, ("30m", go, 1), ("2h", go, 2))

    assert told.outcome == [1, 2]


async def test_an_event_that_came_while_its_wait_was_being_given_up_goes_to_the_next(
    clock: ManualClock, database: str
) -> None:
    """Taken by a wait in the log, and cancelled before the program was told: it is not lost."""

    @workflow
    async def flow(step: StepTools, data: int) -> list[int]:
        waiting = [asyncio.create_task(step.wait_for_event(go)) for _ in range(2)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        waiting[1].cancel()
        await asyncio.wait(waiting)
        return [waiting[0].result(), await step.wait_for_event(go)]

    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.create_run(run_id=RUN)
        await run.start(1)
        await asyncio.gather(run.send_event(go, 1, wait="0s"), run.send_event(go, 2, wait="0s"))
        assert await ended(run) == [1, 2]


async def test_a_wait_that_timed_out_eats_nothing() -> None:
    def make(calls: list[str]) -> Any:
        @workflow(id="flow")
        async def flow(step: StepTools, data: int) -> list[object]:
            try:
                await step.wait_for_event(go, timeout="1m")
            except WaitTimeoutError as error:
                return [str(error), await step.wait_for_event(go), step.now().isoformat()]
            return []

        return flow

    told = await retell(make, 1, ("5m", go, 1))

    assert told.outcome == [
        "no event 'go' within 1m; send it earlier, raise timeout= or give default=",
        1,
        (START + timedelta(minutes=5)).isoformat(),
    ]


async def test_a_default_that_would_never_be_given_is_refused(runtime: Runtime) -> None:
    @workflow(id="flow")
    async def flow(step: StepTools, data: int) -> int:
        return await step.wait_for_event(go, default=1)

    result = await (await flow.create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.message == (
        "default= flows on when timeout= has passed, and there is none; give both, or neither"
    )


@pytest.mark.parametrize("default", [0, None, 5])
async def test_a_default_is_given_when_the_time_is_up(default: int | None) -> None:
    anything = Event[int | None]("anything", int | None)

    def make(calls: list[str]) -> Any:
        @workflow(id="flow")
        async def flow(step: StepTools, data: int) -> int | None:
            return await step.wait_for_event(anything, timeout="1m", default=default)

        return flow

    assert (await retell(make, 1)).outcome == default
    assert (await retell(make, 1, ("30s", anything, 9))).outcome == 9


async def test_a_wait_without_time_takes_only_what_is_there() -> None:
    def make(calls: list[str]) -> Any:
        @workflow(id="flow")
        async def flow(step: StepTools, data: int) -> list[int]:
            await step.sleep("nap", "1h")
            return [await step.wait_for_event(go, timeout="0s", default=-1) for _ in range(3)]

        return flow

    told = await retell(make, 1, ("0s", go, 1), ("1s", go, 2))

    assert told.outcome == [1, 2, -1]


async def test_a_kept_event_beats_a_timeout_that_passed_meanwhile(clock: ManualClock, database: str) -> None:
    """It stands before the timeout in the log, however long nobody looked."""

    @workflow
    async def flow(step: StepTools, data: int) -> int:
        return await step.wait_for_event(go, timeout="1m", default=-1)

    async with Runtime(database, clock=clock) as runtime:
        run = await flow.create_run(run_id=RUN)
        await run.start(1)
        await run.pause()
        await run.send_event(go, 7, wait="0s")
        kill(runtime)
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run(RUN)
        await run.unpause()

        assert await ended(run) == 7


async def test_the_same_event_sent_again_is_taken_once(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> list[int]:
        return [await step.wait_for_event(go), await step.wait_for_event(go, timeout="1h", default=-1)]

    run = await flow.create_run()
    await run.start(1)
    first = await run.send_event(go, 7, dedupe_id="mail-1")
    again = await run.send_event(go, 7, dedupe_id="mail-1")
    last = await run.send_event(go, 7, dedupe_id="mail-2")

    assert isinstance(first, Waiting)
    assert isinstance(again, Waiting)
    assert last.unwrap() == [7, 7]


async def test_a_payload_that_does_not_fit_is_refused_and_not_recorded(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> bool:
        return (await step.wait_for_event(approved)).approved

    run = await flow.create_run()
    await run.start(1)
    with pytest.raises(InvalidValueError):
        await run.send_event(approved, "yes")  # type: ignore[misc]

    assert (await run.send_event(approved, Approval(approved=False))).unwrap() is False


async def test_after_the_end_events_are_refused(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> int:
        return data

    run = await flow.create_run()
    await run.start(1)

    with pytest.raises(RunFinishedError):
        await run.send_event(go, 1)


async def test_a_loop_over_events_with_a_deadline() -> None:
    """A wait raced against a sleep: each wait has its own timer, and none is left behind."""

    def make(calls: list[str]) -> Any:
        @workflow(id="flow")
        async def flow(step: StepTools, data: int) -> list[int]:
            seen: list[int] = []
            nap = asyncio.ensure_future(step.sleep("deadline", "1h"))
            while True:
                waiting = asyncio.ensure_future(step.wait_for_event(go))
                await asyncio.wait({nap, waiting}, return_when=asyncio.FIRST_COMPLETED)
                if nap.done():
                    waiting.cancel()
                    return seen
                seen.append(waiting.result())

        return flow

    told = await retell(make, 1, ("10m", go, 1), ("20m", go, 2), ("30m", go, 3))

    assert told.outcome == [1, 2, 3]
    assert told.endings == ["go", "go#2", "go#3", "deadline"] or told.endings[3:] == ["deadline", "go#4"]


async def test_events_come_while_a_step_runs(runtime: Runtime) -> None:
    gate = asyncio.Event()

    async def slow() -> int:
        await gate.wait()
        return 1

    @workflow
    async def flow(step: StepTools, data: int) -> list[int]:
        first = await step.do("slow", slow)
        return [first, await step.wait_for_event(go), await step.wait_for_event(go)]

    run = await (await flow.create_run()).enqueue(1)
    await settle()
    sending = [asyncio.ensure_future(run.send_event(go, number)) for number in (7, 8)]
    await settle()
    gate.set()
    results = await asyncio.gather(*sending)

    assert [result.unwrap() for result in results] == [[1, 7, 8]] * 2


async def test_many_events_are_taken_in_order(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> list[int]:
        return [await step.wait_for_event(go) for _ in range(data)]

    run = await flow.create_run()
    await run.start(200)
    for number in range(200):
        await run.send_event(go, number, wait="0s")

    assert await ended(run) == list(range(200))
