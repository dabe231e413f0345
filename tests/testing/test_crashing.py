"""Crashes on purpose: the process is gone at once, and the next one finds what was committed."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from wrkflw import Completed, Event, RunNotFoundError, SuspendContext, Suspended, Waiting, create_workflow, step
from wrkflw.testing import Crashed, TestRuntime

begun: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def nothing_has_begun() -> None:
    begun.clear()


@step
async def first(number: int) -> int:
    begun["first"] += 1
    return number + 1


@step
def second(number: int) -> int:
    begun["second"] += 1
    return number * 2


chain = create_workflow(id="chain", input_schema=int, output_schema=int).then(first).then(second).commit()
week = create_workflow(id="week", input_schema=int, output_schema=int).then(first).sleep("7d").then(second).commit()


@pytest.fixture(params=["memory", "file"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "sqlite:///:memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'app.db'}"


async def test_after_a_crash_the_next_process_goes_on_where_the_log_ends(database: str) -> None:
    async with TestRuntime(database) as runtime:
        runtime.crash_after("step_completed")
        run = await chain.create_run()
        with pytest.raises(Crashed, match="the process crashed"):
            await run.start(1)
        assert begun == {"first": 1}  # what the commit allowed has not begun

        await runtime.restart()

        assert (await run.result()).unwrap() == 4
        assert begun["first"] == 1
        await runtime.assert_consistent()


async def test_the_next_process_has_another_epoch(wrkflw_runtime: TestRuntime) -> None:
    wrkflw_runtime.crash_after("step_started", 2)
    run = await chain.create_run()
    with pytest.raises(Crashed):
        await run.start(1)
    await wrkflw_runtime.restart()

    epochs = [stored.epoch or 0 async for stored in run.events()]
    assert set(epochs) == {1, 2}
    assert epochs == sorted(epochs)


async def test_a_call_whose_commit_landed_raises_all_the_same(wrkflw_runtime: TestRuntime) -> None:
    wrkflw_runtime.crash_after("run_created")
    run = await chain.create_run()

    with pytest.raises(Crashed):
        await run.enqueue(1)
    await wrkflw_runtime.restart()

    assert isinstance(await run.result(), Completed)


async def test_an_answer_that_landed_is_not_lost(wrkflw_runtime: TestRuntime) -> None:
    @step
    async def ask(number: int, ctx: SuspendContext[int, str]) -> int:
        return ctx.suspend("how many?")

    run = await create_workflow(id="asking", input_schema=int, output_schema=int).then(ask).commit().create_run()
    assert isinstance(await run.start(1), Suspended)
    wrkflw_runtime.crash_after("hook_received")
    with pytest.raises(Crashed):
        await run.resume(ask, 3)
    await wrkflw_runtime.restart()

    assert (await run.result()).unwrap() == 3


async def test_it_crashes_after_the_nth_event_of_all_runs(wrkflw_runtime: TestRuntime) -> None:
    paid = Event("paid", int)
    paying = create_workflow(id="paying", input_schema=int, output_schema=int).wait_for_event(paid).commit()
    runs = [await paying.create_run() for _ in range(3)]
    for run in runs:
        await run.start(1)
    wrkflw_runtime.crash_after("signal_received", 2)

    await runs[0].send_event(paid, 10)
    with pytest.raises(Crashed):
        await runs[1].send_event(paid, 20)
    await wrkflw_runtime.restart()

    assert [(await run.result()).status for run in runs] == ["completed", "completed", "waiting"]


async def test_everything_raises_until_the_restart(wrkflw_runtime: TestRuntime) -> None:
    run = await week.create_run()
    wrkflw_runtime.crash_after("run_created")
    with pytest.raises(Crashed):
        await run.start(1)

    for call in (run.result, run.snapshot, run.wake, wrkflw_runtime.assert_consistent):
        with pytest.raises(Crashed, match=r"the process crashed after 'run_created'; go on with restart\(\)"):
            await call()
    with pytest.raises(Crashed):
        await wrkflw_runtime.advance("1d")


async def test_a_crash_while_time_moves_is_told(wrkflw_runtime: TestRuntime) -> None:
    run = await week.create_run()
    await run.start(1)
    wrkflw_runtime.crash_after("wait_completed")

    with pytest.raises(Crashed):
        await wrkflw_runtime.advance("30d")
    await wrkflw_runtime.restart()

    assert isinstance(await run.result(), Completed)


async def test_who_waits_hears_of_the_crash(wrkflw_runtime: TestRuntime) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    @step
    async def wait(number: int) -> int:
        begun.set()
        await gate.wait()
        return number

    run = await create_workflow(id="waiting", input_schema=int, output_schema=int).then(wait).commit().create_run()
    starting = asyncio.create_task(run.start(1))
    await begun.wait()
    gate.set()
    wrkflw_runtime.crash_after("step_completed")

    with pytest.raises(Crashed):
        await starting


async def test_a_restart_without_a_crash_kills_the_process_where_it_stands(wrkflw_runtime: TestRuntime) -> None:
    run = await week.create_run()
    assert isinstance(await run.start(1), Waiting)

    await wrkflw_runtime.restart()
    await wrkflw_runtime.advance("7d")

    assert (await run.result()).unwrap() == 4
    assert begun == {"first": 1, "second": 1}


async def test_a_run_whose_creation_was_not_committed_never_was(wrkflw_runtime: TestRuntime) -> None:
    run = await chain.create_run()
    starting = asyncio.create_task(run.start(1))
    await asyncio.sleep(0)
    restarting = asyncio.create_task(wrkflw_runtime.restart())
    with pytest.raises(Crashed):
        await starting
    await restarting

    with pytest.raises(RunNotFoundError):
        await run.result()


async def test_time_goes_on_where_it_was(wrkflw_runtime: TestRuntime) -> None:
    await wrkflw_runtime.advance("3d")
    before = wrkflw_runtime.now

    await wrkflw_runtime.restart()

    assert wrkflw_runtime.now == before


async def test_a_crashed_runtime_can_be_left() -> None:
    async with TestRuntime() as runtime:
        runtime.crash_after("run_created")
        with pytest.raises(Crashed):
            await (await chain.create_run()).start(1)

    async with TestRuntime():
        assert await chain.run(1) == 4


async def test_an_unknown_event_is_refused(wrkflw_runtime: TestRuntime) -> None:
    with pytest.raises(ValueError, match="'step_complete' is no type of event; did you mean 'step_completed'"):
        wrkflw_runtime.crash_after("step_complete")
    with pytest.raises(ValueError, match="n is 0; the first event is 1"):
        wrkflw_runtime.crash_after("step_completed", 0)


@pytest.mark.parametrize("part", ["runs", "steps", "events", "hooks", "payloads", "retention", "schedules", "cursors"])
async def test_no_part_of_a_dead_world_answers(part: str) -> None:
    async with TestRuntime() as runtime:
        there = getattr(runtime.world.storage, part)
        methods = [name for name in dir(there._part) if not name.startswith("_") and callable(getattr(there, name))]
        assert methods
        runtime.crash_after("run_created")
        with pytest.raises(Crashed):
            await chain.run(1)

        for method in methods:
            with pytest.raises(Crashed):
                getattr(there, method)()
