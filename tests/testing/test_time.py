"""Time in a TestRuntime: it stands still, moves when it is told to, and leaves nothing behind that could have moved."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wrkflw import (
    Completed,
    Event,
    Failed,
    Retry,
    StepContext,
    SuspendContext,
    Suspended,
    Waiting,
    create_workflow,
    step,
)
from wrkflw.testing import TestRuntime


@step
async def add_one(number: int) -> int:
    return number + 1


week = create_workflow(id="week", input_schema=int, output_schema=int).sleep("7d").then(add_one).commit()


async def test_a_start_waits_for_no_timer(wrkflw_runtime: TestRuntime) -> None:
    nap = create_workflow(id="nap", input_schema=int, output_schema=int).sleep("1s").then(add_one).commit()
    run = await nap.create_run()

    assert isinstance(await run.start(1, wait="1h"), Waiting)
    assert isinstance(await run.result(), Waiting)


async def test_a_sleep_is_over_when_time_was_advanced_past_it_and_not_before(wrkflw_runtime: TestRuntime) -> None:
    run = await week.create_run()
    await run.start(1)

    await wrkflw_runtime.advance(timedelta(days=7) - timedelta(microseconds=1))
    assert isinstance(await run.result(), Waiting)

    await wrkflw_runtime.advance(timedelta(microseconds=1))
    assert (await run.result()).unwrap() == 2


async def test_time_has_moved_by_just_so_much(wrkflw_runtime: TestRuntime) -> None:
    before = wrkflw_runtime.now

    await wrkflw_runtime.advance("1h 30m")

    assert wrkflw_runtime.now - before == timedelta(hours=1, minutes=30)


async def test_what_falls_due_happens_in_order_each_at_its_time(wrkflw_runtime: TestRuntime) -> None:
    seen: list[tuple[int, timedelta]] = []
    start = wrkflw_runtime.now

    @step
    async def look(days: int) -> int:
        await asyncio.sleep(0)
        seen.append((days, wrkflw_runtime.now - start))
        return days

    waking = (
        create_workflow(id="waking", input_schema=int, output_schema=int)
        .then(look)
        .sleep("12h")
        .then(look.with_id("again"))
        .commit()
    )
    for days in (3, 1, 2):
        await (await waking.create_run()).enqueue(days, delay=timedelta(days=days))

    await wrkflw_runtime.advance("4d")

    days_and_hours = [(days, moment.total_seconds() / 3600) for days, moment in seen]
    assert days_and_hours == [(1, 24), (1, 36), (2, 48), (2, 60), (3, 72), (3, 84)]


async def test_one_advance_carries_a_run_over_all_its_parks(wrkflw_runtime: TestRuntime) -> None:
    @step(retry=Retry(attempts=4, delay="1h", jitter=0))
    async def stumble(number: int, ctx: StepContext) -> int:
        if ctx.attempt < 4:
            raise OSError("not yet")
        return number

    long = (
        create_workflow(id="long", input_schema=int, output_schema=int).sleep("1d").then(stumble).sleep("1d").commit()
    )
    run = await long.create_run()
    await run.start(1)

    await wrkflw_runtime.advance("30d")

    assert isinstance(await run.result(), Completed)


async def test_a_woken_sleep_is_settled_without_time(wrkflw_runtime: TestRuntime) -> None:
    run = await week.create_run()
    await run.start(1)

    await run.wake()
    await wrkflw_runtime.advance("0s")

    assert isinstance(await run.result(), Completed)


async def test_an_enqueued_run_is_settled_without_time(wrkflw_runtime: TestRuntime) -> None:
    run = await create_workflow(id="flow", input_schema=int, output_schema=int).then(add_one).commit().create_run()
    await run.enqueue(1)

    await wrkflw_runtime.advance("0s")

    assert (await wrkflw_runtime.runs.get(run.run_id)).status == "completed"


async def test_a_delayed_start_waits(wrkflw_runtime: TestRuntime) -> None:
    flow = create_workflow(id="flow", input_schema=int, output_schema=int).then(add_one).commit()
    run = await (await flow.create_run()).enqueue(1, delay="1h")
    assert isinstance(await run.result(), Waiting)

    await wrkflw_runtime.advance("1h")

    assert isinstance(await run.result(), Completed)


async def test_an_answer_that_does_not_come_times_out(wrkflw_runtime: TestRuntime) -> None:
    @step
    async def ask(number: int, ctx: SuspendContext[int, int]) -> int:
        return ctx.suspend(number, timeout="2d")

    run = await create_workflow(id="asking", input_schema=int, output_schema=int).then(ask).commit().create_run()
    assert isinstance(await run.start(1), Suspended)

    await wrkflw_runtime.advance("2d")

    result = await run.result()
    assert isinstance(result, Failed)
    assert result.error.type == "WaitTimeoutError"


async def test_a_wait_for_an_event_gives_waiting_and_is_ended_by_its_timeout(wrkflw_runtime: TestRuntime) -> None:
    paid = Event("paid", int)
    flow = create_workflow(id="paying", input_schema=int, output_schema=int)
    run = await flow.wait_for_event(paid, timeout="1d").commit().create_run()
    await run.start(1)
    assert isinstance(await run.result(), Waiting)

    await wrkflw_runtime.advance("1d")

    assert isinstance(await run.result(), Failed)


async def test_a_deadline_ends_a_run_whose_body_hangs(wrkflw_runtime: TestRuntime) -> None:
    @step(timeout="1h")
    async def hang(number: int) -> int:
        await asyncio.Event().wait()
        return number

    flow = create_workflow(id="late", input_schema=int, output_schema=int, timeout="30s").then(hang).commit()
    run = await (await flow.create_run()).enqueue(1)

    await wrkflw_runtime.advance("30s")

    result = await run.result()
    assert isinstance(result, Failed)
    assert result.error.type == "RunTimeoutError"


# --- bodies at work -----------------------------------------------------------------------------------


async def test_a_body_is_cancelled_by_its_timeout_and_its_retries_too(wrkflw_runtime: TestRuntime) -> None:
    cancelled: list[timedelta] = []
    start = wrkflw_runtime.now

    @step(timeout="30s", retry=Retry(attempts=2, delay="60s", jitter=0))
    async def hang(number: int) -> int:
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.append(wrkflw_runtime.now - start)
        return number

    run = await create_workflow(id="hanging", input_schema=int, output_schema=int).then(hang).commit().create_run()
    await run.enqueue(1)

    await wrkflw_runtime.advance("1d")

    assert [moment.total_seconds() for moment in cancelled] == [30, 30 + 60 + 30]
    assert isinstance(await run.result(), Failed)


async def test_a_body_that_waits_in_real_time_is_waited_for(wrkflw_runtime: TestRuntime) -> None:
    @step
    async def read(number: int) -> int:
        for _ in range(3):
            await asyncio.sleep(0.001)
        return number + await asyncio.to_thread(lambda: 1)

    flow = (
        create_workflow(id="reading", input_schema=int, output_schema=int).sleep("1d").then(read).sleep("1d").commit()
    )
    run = await flow.create_run()
    await run.start(1)

    await wrkflw_runtime.advance("2d")

    assert isinstance(await run.result(), Completed)


async def test_a_body_in_a_thread_is_waited_for_also_when_it_has_a_timeout(wrkflw_runtime: TestRuntime) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @step(timeout="1s")
    def work(number: int) -> int:
        begun.set()
        assert go_on.wait(20)
        return number + 1

    flow = create_workflow(id="working", input_schema=int, output_schema=int).sleep("1d").then(work).commit()
    run = await flow.create_run()
    await run.start(1)
    advancing = asyncio.create_task(wrkflw_runtime.advance("2d"))
    await asyncio.to_thread(begun.wait, 20)

    assert not advancing.done()
    go_on.set()
    await advancing
    assert isinstance(await run.result(), Completed)


async def test_advances_take_turns(wrkflw_runtime: TestRuntime) -> None:
    before = wrkflw_runtime.now

    await asyncio.gather(*(wrkflw_runtime.advance("1h") for _ in range(3)))

    assert wrkflw_runtime.now - before == timedelta(hours=3)


# --- files, seeds, mistakes ---------------------------------------------------------------------------


async def test_a_file_keeps_the_runs(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'app.db'}"
    async with TestRuntime(database) as first:
        run = await week.create_run()
        await run.start(1)
        today = first.now
    async with TestRuntime(database, start=today, workflows=[week]) as second:
        await second.advance("7d")

        assert isinstance(await (await week.get_run(run.run_id)).result(), Completed)


async def test_a_file_that_was_used_before_gets_other_ids_and_tokens_each_time_it_is_opened(tmp_path: Path) -> None:
    @step
    async def ask(number: int, ctx: SuspendContext[int, int]) -> int:
        return ctx.suspend(number)

    asking = create_workflow(id="asking", input_schema=int, output_schema=int).then(ask).commit()

    async def drawn(path: Path) -> tuple[str, str, str]:
        async with TestRuntime(f"sqlite:///{path}") as runtime:
            run = await asking.create_run()
            result = await run.start(1)
            assert isinstance(result, Suspended)
            return runtime.world.owner, run.run_id, result.suspensions[0].token

    one, other = tmp_path / "one #1.db", tmp_path / "other.db"
    thrice = [await drawn(one) for _ in range(3)]

    assert len({each for drawn in thrice for each in drawn}) == 9
    assert [await drawn(other) for _ in range(3)] == thrice  # each the same, wherever the file is


async def test_nothing_falls_due_for_years_in_a_file_where_nothing_waits(tmp_path: Path) -> None:
    async with TestRuntime(f"sqlite:///{tmp_path / 'app.db'}") as runtime:
        before = runtime.now

        await runtime.advance_to_next()

        assert runtime.now == before or runtime.now - before > timedelta(weeks=520)


async def test_the_same_seed_gives_the_same_ids_and_another_seed_others() -> None:
    async def ids(seed: int) -> list[str]:
        async with TestRuntime(seed=seed):
            return [(await week.create_run()).run_id for _ in range(3)]

    assert await ids(1) == await ids(1)
    assert await ids(1) != await ids(2)
    assert len(set(await ids(1))) == 3


async def test_the_same_seed_gives_the_same_tokens() -> None:
    @step
    async def ask(number: int, ctx: SuspendContext[int, int]) -> int:
        return ctx.suspend(number)

    asking = create_workflow(id="asking", input_schema=int, output_schema=int).then(ask).commit()

    async def token(seed: int) -> str:
        async with TestRuntime(seed=seed):
            result = await (await asking.create_run()).start(1)
            assert isinstance(result, Suspended)
            return result.suspensions[0].token

    assert await token(1) == await token(1) != await token(2)


async def test_time_begins_where_it_is_told_to() -> None:
    start = datetime(2031, 1, 1, tzinfo=UTC)
    async with TestRuntime(start=start) as runtime:
        await (await week.create_run()).start(1)

        assert runtime.now == start
        assert (await runtime.runs.list()).data[0].created_at == start


def test_a_start_that_is_no_time_is_refused() -> None:
    year: Any = "2031"
    with pytest.raises(TypeError, match=r"start= takes a datetime, got '2031'; write start=datetime\(\.\.\., tz"):
        TestRuntime(start=year)


def test_a_start_without_a_timezone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"start= is 2031-01-01T00:00:00 without a timezone; add tzinfo=UTC"):
        TestRuntime(start=datetime(2031, 1, 1))  # noqa: DTZ001


async def test_time_does_not_go_back(wrkflw_runtime: TestRuntime) -> None:
    with pytest.raises(ValueError, match="cannot advance by -1h"):
        await wrkflw_runtime.advance("-1h")
