"""What user code and callers may do wrong, and a run survives."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from tests.clocks import ManualClock, settle
from wrkflw import (
    Cancelled,
    Completed,
    Failed,
    Paused,
    Retry,
    RunExistsError,
    Runtime,
    StoreError,
    create_workflow,
    step,
)
from wrkflw.worlds import writer
from wrkflw.worlds.sqlite import SqliteWorld


class Picky(BaseModel):
    value: int

    @field_validator("value")
    @classmethod
    def raises_what_it_should_not(cls, value: int) -> int:
        if value > 1:
            raise KeyError(value)
        return value


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@step
async def add(data: int) -> int:
    return data + 1


@step
async def take_picky(data: Picky) -> int:
    return data.value


async def test_a_validator_that_raises_anything_fails_the_step_and_loses_nothing(runtime: Runtime) -> None:
    begun: list[int] = []

    @step
    async def count(data: int) -> int:
        begun.append(data)
        return data + 1

    guarded = (
        create_workflow(id="guarded", input_schema=int, output_schema=int)
        .then(count)
        .map(lambda data: {"value": data})
        .into(Picky)
        .then(take_picky)
        .commit()
    )
    run = await guarded.create_run()

    result = await run.start(1)

    assert isinstance(result, Failed)
    assert "KeyError: 2" in result.error.message
    assert run.get_step_result(count) == 2
    assert begun == [1]


async def test_an_exception_without_words_is_recorded_and_retried(runtime: Runtime) -> None:
    tries: list[int] = []

    @step(retry=Retry(attempts=2, delay="0s"))
    async def mute(data: int) -> int:
        tries.append(data)
        raise Mute

    run = await create_workflow(id="mute", input_schema=int, output_schema=int).then(mute).commit().create_run()

    result = await run.start(1)

    assert isinstance(result, Failed)
    assert result.error.type == "Mute"
    assert tries == [1, 1]


async def test_a_body_that_cancels_its_own_task_fails_as_any_other(runtime: Runtime) -> None:
    begun: list[int] = []

    @step
    async def confused(data: int) -> int:
        begun.append(data)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return data

    run = await create_workflow(id="confused", input_schema=int, output_schema=int).then(confused).commit().create_run()

    result = await run.start(1)

    assert isinstance(result, Failed)
    assert result.error.type == "CancelledError"
    assert begun == [1]


async def test_a_plain_body_that_calls_sys_exit_fails_and_the_process_goes_on(runtime: Runtime) -> None:
    @step
    def leave(data: int) -> int:
        sys.exit(3)

    run = await create_workflow(id="leaving", input_schema=int, output_schema=int).then(leave).commit().create_run()

    result = await run.start(1)

    assert isinstance(result, Failed)
    assert result.error.message == "the body called sys.exit(3); raise an error instead"


@pytest.mark.parametrize("rude", [StopIteration, GeneratorExit])
async def test_a_plain_body_that_raises_what_a_coroutine_cannot_hand_on_fails(
    runtime: Runtime, rude: type[BaseException]
) -> None:
    @step
    def find(data: int) -> int:
        raise rude

    run = await create_workflow(id="finding", input_schema=int, output_schema=int).then(find).commit().create_run()

    result = await asyncio.wait_for(run.start(1), 10)

    assert isinstance(result, Failed)
    assert result.error.message == f"the body raised {rude.__name__}; raise an error of your own instead"
    assert result.error.cause is not None
    assert result.error.cause.type == rude.__name__


@pytest.mark.parametrize("plain", [True, False])
async def test_a_body_that_raises_something_that_is_no_exception_fails(runtime: Runtime, *, plain: bool) -> None:
    tries: list[int] = []

    class Rude(BaseException):
        pass

    def body(data: int) -> int:
        tries.append(data)
        raise Rude("rude")

    async def slow_body(data: int) -> int:
        return body(data)

    rude: Any = step(id="rude", retry=Retry(attempts=2, delay="0s"))(body if plain else slow_body)
    run = await create_workflow(id="rudeness", input_schema=int, output_schema=int).then(rude).commit().create_run()

    result = await run.start(1)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == ("Rude", "rude")
    assert tries == [1]


async def test_a_cancelled_run_has_its_result_though_its_body_goes_on(runtime: Runtime, clock: ManualClock) -> None:
    enough = asyncio.Event()

    @step
    async def deaf(data: int) -> int:
        while not enough.is_set():
            try:
                await enough.wait()
            except asyncio.CancelledError:
                continue
        return data

    run = await create_workflow(id="deaf", input_schema=int, output_schema=int).then(deaf).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    try:
        await run.cancel("enough")
        await settle()
        assert not starting.done()

        clock.turn("10s")
        await settle()

        assert starting.done()
        assert isinstance(await starting, Cancelled)
    finally:
        enough.set()


@pytest.mark.parametrize("ticks", range(8))
async def test_who_stops_waiting_for_a_run_he_asked_for_leaves_it_to_others(ticks: int, clock: ManualClock) -> None:
    workflow = create_workflow(id="left", input_schema=int, output_schema=int).then(add).commit()
    async with Runtime(":memory:", clock=clock, worker=False):
        await (await workflow.create_run(idempotency_key="k")).enqueue(1)
        leaving = asyncio.ensure_future((await workflow.create_run(idempotency_key="k")).start(1))
        for _ in range(ticks):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)

        result = await (await workflow.create_run(idempotency_key="k")).start(1)

        assert isinstance(result, Completed)


async def test_a_run_that_was_paused_goes_on_without_a_worker_too(clock: ManualClock) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    @step
    async def first(data: int) -> int:
        begun.set()
        await may_end.wait()
        return data

    workflow = create_workflow(id="paused", input_schema=int, output_schema=int).then(first).then(add).commit()
    async with Runtime(":memory:", clock=clock, worker=False):
        run = await workflow.create_run()
        starting = asyncio.ensure_future(run.start(1))
        await begun.wait()
        await run.pause()
        may_end.set()
        assert isinstance(await starting, Paused)

        await run.unpause()

        assert (await run.result()).unwrap() == 2


async def test_a_handle_starts_its_run_once_also_under_a_key(runtime: Runtime) -> None:
    workflow = create_workflow(id="once", input_schema=int, output_schema=int).then(add).commit()
    run = await workflow.create_run(idempotency_key="k")
    await run.start(1)

    with pytest.raises(RunExistsError):
        await run.start(1)


async def test_two_callers_with_one_id_and_one_key_share_the_run(runtime: Runtime) -> None:
    workflow = create_workflow(id="shared", input_schema=int, output_schema=int).then(add).commit()
    runs = [await workflow.create_run(run_id="r-1", idempotency_key="k") for _ in range(2)]

    results = [await run.start(1) for run in runs]

    assert [result.unwrap() for result in results] == [2, 2]


async def test_nothing_starts_in_a_runtime_that_is_being_closed(clock: ManualClock) -> None:
    workflow = create_workflow(id="late", input_schema=int, output_schema=int).then(add).commit()
    async with Runtime(":memory:", clock=clock) as runtime:
        run = await workflow.create_run()
        driver = runtime.driver
        await driver.close()

        with pytest.raises(StoreError, match="is being closed"):
            await run.start(1)


# --- a write under way when the run is interrupted ---------------------------------------------------


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every commit is made by the writer's thread."""
    monkeypatch.setattr(writer, "SLOW_COMMIT", -1.0)
    monkeypatch.setattr(writer, "FAST_COMMIT", -1.0)


class Gate:
    """Holds back the n-th COMMIT after it is armed, in the writer's thread, until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self.commits: int | None = None

    def __call__(self, sql: str) -> None:
        if sql == "COMMIT" and self.commits is not None:
            self.commits -= 1
            if self.commits == 0:
                self.commits = None
                self.reached.set()
                assert self.open.wait(20)


@pytest.mark.usefixtures("slow_disk")
async def test_a_deadline_that_passes_while_the_run_is_being_created_fails_it(
    tmp_path: Path, clock: ManualClock
) -> None:
    gate = Gate()
    world = SqliteWorld(tmp_path / "w.db", clock=clock, on_statement=gate)
    workflow = create_workflow(id="short", input_schema=int, output_schema=int, timeout="1s").then(add).commit()
    async with Runtime(world=world, clock=clock, workflows=[workflow]):
        run = await workflow.create_run()
        gate.commits = 1
        starting = asyncio.ensure_future(run.start(1))
        assert await asyncio.to_thread(gate.reached.wait, 20)
        clock.turn("2s")
        await settle()
        gate.open.set()

        result = await starting

        assert isinstance(result, Failed)
        assert result.error.type == "RunTimeoutError"


@pytest.mark.usefixtures("slow_disk")
async def test_an_at_most_once_step_whose_body_never_began_survives_a_close(tmp_path: Path, clock: ManualClock) -> None:
    begun: list[int] = []

    @step(at_most_once=True)
    async def once(data: int) -> int:
        begun.append(data)
        return data + 1

    workflow = create_workflow(id="close", input_schema=int, output_schema=int).then(add).then(once).commit()
    gate = Gate()
    world = SqliteWorld(tmp_path / "w.db", clock=clock, on_statement=gate)
    async with Runtime(world=world, clock=clock, workflows=[workflow]):
        run = await workflow.create_run(idempotency_key="k")
        gate.commits = 2
        starting = asyncio.ensure_future(run.start(1))
        assert await asyncio.to_thread(gate.reached.wait, 20)
        asyncio.get_running_loop().call_later(0.2, gate.open.set)  # the close is waiting for this commit by then
    await asyncio.gather(starting, return_exceptions=True)
    assert begun == []

    async with Runtime(f"sqlite:///{tmp_path / 'w.db'}", clock=clock, workflows=[workflow]):
        result = await (await workflow.create_run(idempotency_key="k")).start(1)

    assert isinstance(result, Completed)
    assert begun == [2]
