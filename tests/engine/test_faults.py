"""A database that fails now and then, and those who lose patience: what goes on all the same."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, closing
from pathlib import Path
from typing import cast

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import Runtime, StoreError, Workflow, create_workflow, step
from wrkflw.current import current_runtime
from wrkflw.engine.background import Background
from wrkflw.engine.definition import Definition
from wrkflw.engine.journal import Journal
from wrkflw.engine.waiters import Waiters
from wrkflw.engine.worker import SWEEP, Worker
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.worlds.sql import compiled as sql
from wrkflw.worlds.sql.statement import Statement
from wrkflw.worlds.sqlite import SqliteWorld


class Disk:
    """Fails statements as often as it was told."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self.before: dict[str, Callable[[], None]] = {}

    def fail(self, statement: Statement, times: int = 1) -> None:
        self.failures[statement.text] = times

    def hear(self, text: str) -> None:
        if (act := self.before.pop(text, None)) is not None:
            act()
        if self.failures.get(text, 0) > 0:
            self.failures[text] -= 1
            raise sqlite3.OperationalError("disk I/O error")


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


def doubling() -> Workflow[int, int, None]:
    @step
    async def double(data: int) -> int:
        return data * 2

    return create_workflow(id="doubling", input_schema=int, output_schema=int).then(double).commit()


async def paused_by_the_engine(world: SqliteWorld, *run_ids: str) -> None:
    for run_id in run_ids:
        await world.storage.events.create(run_id, e.RunCreated(workflow_name="doubling", input=b"21"))
        await world.storage.events.create(run_id, e.RunPaused(reason="the code", detail={"by": "engine"}))


async def statuses(runtime: Runtime) -> dict[str, str]:
    return {info.run_id: info.status for info in (await runtime.runs.list()).data}


# --- the worker ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", [sql.NEXT_DUE, sql.OWNERS, sql.RUNS_DUE, sql.RUNS_LIST_PAUSED])
async def test_a_worker_outlives_a_database_that_fails(statement: Statement, clock: ManualClock, disk: Disk) -> None:
    workflow = doubling()
    world = SqliteWorld(":memory:", clock=clock, on_statement=disk.hear)
    async with Runtime(world=world, clock=clock, workflows=[workflow]):
        disk.fail(statement)
        await settle()
        assert disk.failures == {statement.text: 0}
        run = await (await workflow.create_run()).enqueue(4)
        await settle()
        clock.turn(SWEEP)
        await settle()

        assert (await asyncio.wait_for(run.result(), 10)).unwrap() == 8


async def test_a_paused_run_that_cannot_be_read_now_is_looked_at_again(
    clock: ManualClock, disk: Disk, path: Path
) -> None:
    world = SqliteWorld(path, clock=clock, on_statement=disk.hear)
    await world.start()
    await paused_by_the_engine(world, "r-1", "r-2")
    disk.fail(sql.EVENTS_AFTER)
    async with Runtime(world=world, clock=clock, workflows=[doubling()]) as runtime:
        await settle()
        assert sorted((await statuses(runtime)).values()) == ["completed", "pending"]  # the other is not kept from it

        clock.turn(SWEEP)
        await settle()
        assert await statuses(runtime) == {"r-1": "completed", "r-2": "completed"}


async def test_a_paused_run_with_a_broken_log_is_passed_over(
    clock: ManualClock, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = SqliteWorld(path, clock=clock)
    await world.start()
    await paused_by_the_engine(world, "r-gap", "r-text", "r-good")
    with closing(sqlite3.connect(path)) as driver, driver:
        driver.execute("UPDATE events SET slot = 7 WHERE slot = 2 AND run_no = 1")
        driver.execute("UPDATE events SET data = 'no JSON' WHERE slot = 2 AND run_no = 2")
    driver.close()
    async with Runtime(world=world, clock=clock, workflows=[doubling()]) as runtime:
        for _ in range(3):
            await settle()
            clock.turn(SWEEP)

        assert await statuses(runtime) == {"r-gap": "pending", "r-text": "pending", "r-good": "completed"}
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(":")[0] for text in sorted(said)] == [
        "run r-gap stays paused",
        "run r-text stays paused",
    ]


async def test_a_paused_run_that_ends_as_it_is_looked_at_harms_nobody(
    clock: ManualClock, disk: Disk, path: Path
) -> None:
    def end() -> None:
        with closing(sqlite3.connect(path)) as driver, driver:
            driver.execute(
                "UPDATE runs SET status = 'cancelled', paused_at = NULL, ended_slot = 2, wake_at = NULL"
                " WHERE run_no = (SELECT max(run_no) FROM runs)"
            )
        driver.close()

    world = SqliteWorld(path, clock=clock, on_statement=disk.hear)
    await world.start()
    await paused_by_the_engine(world, "r-1", "r-2")
    disk.before[sql.EVENTS_AFTER.text] = end  # the newest is listed first
    async with Runtime(world=world, clock=clock, workflows=[doubling()]) as runtime:
        await settle()

        assert await statuses(runtime) == {"r-1": "completed", "r-2": "cancelled"}


# --- runs that cannot be driven ------------------------------------------------------------------------


class Broken:
    """A driver that cannot read the run ``r-1``."""

    def __init__(self) -> None:
        self.driven: list[str] = []

    @property
    def occupied(self) -> int:
        return len(self.driven)

    async def resume(self, run: Run, definition: Definition) -> None:
        if run.run_id == "r-1":
            raise StoreError("the log has a hole")
        self.driven.append(run.run_id)

    async def misfit(self, definition: Definition, journal: Journal) -> None:
        """Everything fits."""

    async def deliver(
        self, run_id: str, definition: Definition, event: e.NewEvent, resume_id: str | None = None
    ) -> None:
        self.driven.append(run_id)

    def stir(self, run_id: str) -> None:
        """Nothing is driven here."""


async def at_work(world: SqliteWorld, drives: Broken, clock: ManualClock) -> AsyncGenerator[Worker]:
    """A worker that takes one run at a time, and two runs to take."""
    await world.start()
    for run_id in ("r-1", "r-2"):
        await world.storage.events.create(run_id, e.RunCreated(workflow_name="doubling", input=b"1"))
        clock.turn("1ms")
    background = Background()
    worker = Worker(world, {"doubling": Definition(doubling())}, drives, background, clock, 1)
    worker.start()
    await settle()
    try:
        yield worker
    finally:
        await worker.rest()
        await background.end()
        await world.close()


async def test_a_claim_that_comes_to_nothing_is_released_until_the_next_sweep(clock: ManualClock) -> None:
    world, drives = SqliteWorld(":memory:", clock=clock), Broken()
    async with aclosing(at_work(world, drives, clock)) as working:
        await anext(working)
        run = await world.storage.runs.get("r-1")

        assert (run.owner, run.epoch, run.wake_at) == (None, 1, clock.now() + SWEEP)
        assert drives.driven == ["r-2"]  # which did not have to wait for it


async def test_a_claim_that_cannot_be_released_is_released_later(clock: ManualClock, disk: Disk) -> None:
    world, drives = SqliteWorld(":memory:", clock=clock, on_statement=disk.hear), Broken()

    def fail_the_release() -> None:
        disk.before[sql.RUN_UPDATE.text] = lambda: disk.fail(sql.RUN_UPDATE, 3)

    disk.before[sql.RUN_UPDATE.text] = fail_the_release  # the first is the claim
    async with aclosing(at_work(world, drives, clock)) as working:
        await anext(working)
        assert (await world.storage.runs.get("r-1")).owner == world.owner

        clock.turn(SWEEP)
        await settle()
        run = await world.storage.runs.get("r-1")
        assert (run.owner, run.wake_at) == (None, clock.now() + SWEEP)


async def test_a_run_that_could_not_be_read_goes_on_when_it_can(clock: ManualClock, disk: Disk) -> None:
    workflow = doubling()
    world = SqliteWorld(":memory:", clock=clock, on_statement=disk.hear)
    async with Runtime(world=world, clock=clock, workflows=[workflow]):
        run = await (await workflow.create_run()).enqueue(4, delay="1s")
        await settle()
        disk.fail(sql.EVENTS_AFTER)
        clock.turn("1s")
        await settle()
        assert disk.failures == {sql.EVENTS_AFTER.text: 0}
        clock.turn(SWEEP)

        assert (await asyncio.wait_for(run.result(), 10)).unwrap() == 8


# --- those who wait ------------------------------------------------------------------------------------


async def news(waiters: Waiters) -> None:
    with waiters.listening("r-17") as told:
        await told


async def test_who_stops_waiting_leaves_nothing_behind() -> None:
    waiters = Waiters()
    first, second = (asyncio.ensure_future(news(waiters)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    assert len(waiters._waiting["r-17"]) == 1
    second.cancel()
    await settle()

    assert waiters._waiting == {}


async def test_who_stops_waiting_as_the_news_comes_harms_nobody() -> None:
    waiters = Waiters()
    waiting = asyncio.ensure_future(news(waiters))
    await settle()
    waiting.cancel()
    waiters.tell("r-17")
    await settle()

    assert waiting.cancelled()
    assert waiters._waiting == {}


# --- opening and closing -------------------------------------------------------------------------------


async def test_a_close_that_is_cut_short_leaves_no_live_process(path: Path, clock: ManualClock) -> None:
    go_on, begun = asyncio.Event(), asyncio.Event()

    @step
    async def stubborn(data: int) -> int:
        begun.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        return data

    workflow = create_workflow(id="stubborn", input_schema=int, output_schema=int).then(stubborn).commit()
    runtime = Runtime(f"sqlite:///{path}", clock=clock, workflows=[workflow])

    async def use() -> None:
        async with runtime:
            await (await workflow.create_run()).enqueue(1)
            await begun.wait()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(use(), 0.5)

    assert not path.with_name("app.db-owners").exists()
    other = SqliteWorld(path, clock=clock)
    await other.start()
    (taken,) = await other.storage.runs.claim_due(owner=other.owner, workflow_names=["stubborn"], limit=9)
    assert taken.epoch == 2
    go_on.set()
    await settle()
    await other.close()


class SlowWorld(SqliteWorld):
    """Opens when it is let, if it does."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(":memory:", clock=clock)
        self.go_on = asyncio.Event()
        self.failure: Exception | None = None

    async def start(self, *, consume: bool = True, recover: bool = True) -> None:
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure
        await super().start(consume=consume, recover=recover)


async def test_one_who_stops_waiting_for_the_default_runtime_does_not_stop_it_for_others(clock: ManualClock) -> None:
    worlds: list[SlowWorld] = []

    def make() -> Runtime:
        worlds.append(SlowWorld(clock))
        return Runtime(world=worlds[-1], clock=clock)

    first, second = (asyncio.ensure_future(current_runtime(make)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    third = asyncio.ensure_future(current_runtime(make))
    await settle()
    for world in worlds:
        world.go_on.set()

    assert await second is await third
    assert first.cancelled()
    assert len(worlds) == 1
    await cast("AsyncGenerator[Runtime]", (await second).keeper).aclose()


async def test_a_default_runtime_that_failed_to_open_is_opened_anew(clock: ManualClock) -> None:
    worlds = [SlowWorld(clock), SlowWorld(clock)]
    worlds[0].failure = StoreError("no disk")
    left = list(worlds)
    opening = asyncio.ensure_future(current_runtime(lambda: Runtime(world=left.pop(0), clock=clock)))
    await settle()
    opening.cancel()
    worlds[0].go_on.set()  # it fails when nobody waits for it any more
    await settle()
    worlds[1].go_on.set()
    runtime = await current_runtime(lambda: Runtime(world=left.pop(0), clock=clock))

    assert runtime.world is worlds[1]
    await cast("AsyncGenerator[Runtime]", runtime.keeper).aclose()
