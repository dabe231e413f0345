"""How long runs keep what they hold, on a clock that the test turns."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import wrkflw
from tests.clocks import ManualClock, settle
from wrkflw import InvalidValueError, Run, Runtime, StepContext, Workflow, create_workflow, step
from wrkflw.world import events as e
from wrkflw.world.errors import RunExpiredError, StreamExpiredError
from wrkflw.world.retention import RETENTION
from wrkflw.worlds.blobs import FileBlobs
from wrkflw.worlds.sqlite import SqliteWorld


def keeping(retention: Any = None, id: str = "keeping") -> Workflow[int, int, None]:
    @step
    async def double(data: int, ctx: StepContext) -> int:
        ctx.write("chunk")
        return data * 2

    options: Any = {} if retention is None else {"retention": retention}
    builder = create_workflow(id=id, input_schema=int, output_schema=int, **options)
    return builder.then(double).commit()


async def ran(flow: Workflow[int, int, None], **options: Any) -> Run[int, int, None]:
    run = await flow.create_run(**options)
    assert (await run.start(21)).unwrap() == 42
    return run


async def has_expired(runtime: Runtime, run: Run[Any, Any, Any]) -> bool:
    await settle()
    return (await runtime.world.storage.runs.get(run.run_id, resolve_data="none")).expired_at is not None


async def test_a_worker_takes_the_values_of_a_run_when_it_is_time(runtime: Runtime, clock: ManualClock) -> None:
    run = await ran(keeping("1h"))
    clock.turn("59m")
    assert not await has_expired(runtime, run)

    clock.turn("1m")
    assert await has_expired(runtime, run)


async def test_a_run_is_kept_for_thirty_days_unless_its_workflow_says_otherwise(
    runtime: Runtime, clock: ManualClock
) -> None:
    short, usual, long = await ran(keeping("1d", "a")), await ran(keeping(id="b")), await ran(keeping("forever", "c"))

    expired: list[list[bool]] = []
    for days in (1, 28, 1, 36_500):
        clock.turn(timedelta(days=days))
        expired.append([await has_expired(runtime, run) for run in (short, usual, long)])
    assert expired == [[True, False, False], [True, False, False], [True, True, False], [True, True, False]]


async def test_a_run_that_is_not_kept_at_all_still_tells_who_waits_for_it(runtime: Runtime, clock: ManualClock) -> None:
    run = await ran(keeping("0s"))

    assert await has_expired(runtime, run)
    assert run.run_id in {one.run_id for one in (await runtime.runs.list(status="completed")).data}


async def test_what_was_removed_is_said_to_be(runtime: Runtime, clock: ManualClock) -> None:
    flow = keeping("1h")
    run = await ran(flow)
    clock.turn("1h")
    await settle()

    for read in (run.snapshot, run.refresh, run.result, lambda: flow.get_run(run.run_id), lambda: run.fork().start()):
        with pytest.raises(RunExpiredError, match=f"what run '{run.run_id}' held was removed on 2026-03-01 13:00:00"):
            await read()
    with pytest.raises(RunExpiredError):
        await anext(run.stream())
    with pytest.raises(StreamExpiredError):
        await anext(run.read_stream())
    assert (await runtime.runs.get(run.run_id)).status == "completed"


async def test_a_key_is_known_for_as_long_as_its_run_is(runtime: Runtime, clock: ManualClock) -> None:
    flow = keeping("1h")
    run = await ran(flow, idempotency_key="key-1")
    clock.turn("1h")
    await settle()

    again = await flow.create_run(idempotency_key="key-1")
    assert again.run_id == run.run_id
    with pytest.raises(RunExpiredError):
        await again.start(21)
    await runtime.runs.delete(run.run_id)
    assert (await ran(flow, idempotency_key="key-1")).run_id != run.run_id


async def test_a_later_run_does_not_put_off_an_earlier_one(runtime: Runtime, clock: ManualClock) -> None:
    flow = keeping("1h")
    first = await ran(flow)
    clock.turn("30m")
    second = await ran(flow)
    clock.turn("30m")
    assert [await has_expired(runtime, run) for run in (first, second)] == [True, False]

    clock.turn("30m")
    assert await has_expired(runtime, second)


async def test_a_run_that_says_itself_how_long_it_is_kept_is_seen_within_a_minute(
    runtime: Runtime, clock: ManualClock
) -> None:
    runtime.define(keeping("1h"))
    stamped = e.RunCreated(workflow_name="another", attributes={RETENTION: "0"}, allow_reserved_attributes=True)
    await runtime.world.storage.events.create("r-1", stamped)
    await runtime.runs.cancel("r-1")

    clock.turn("1m")
    await settle()

    assert (await runtime.world.storage.runs.get("r-1", resolve_data="none")).expired_at is not None


async def test_a_listing_says_which_runs_have_lost_their_values(runtime: Runtime, clock: ManualClock) -> None:
    kept, lost = await ran(keeping("1d", "kept")), await ran(keeping("1h", "lost"))
    assert (await lost.snapshot()).expired_at is None
    clock.turn("1h")
    await settle()

    listed = {run.run_id: run.expired_at for run in (await runtime.runs.list()).data}

    assert listed == {kept.run_id: None, lost.run_id: clock.now()}
    assert (await runtime.runs.get(lost.run_id)).expired_at == clock.now()


async def test_a_key_whose_run_has_lost_its_input_says_so(runtime: Runtime, clock: ManualClock) -> None:
    """Nobody can tell any more whether the input is the same."""
    flow = keeping("1h")
    run = await ran(flow, idempotency_key="order-1")
    clock.turn("1h")
    await settle()

    again = await flow.create_run(idempotency_key="order-1")

    with pytest.raises(RunExpiredError, match=f"what run '{run.run_id}' held was removed on"):
        await again.start(21)


async def test_what_fell_due_while_nobody_was_there_is_done_at_the_start(clock: ManualClock, database: str) -> None:
    async with Runtime(database, clock=clock):
        run = await ran(keeping("1h"))
    clock.turn("2h")

    async with Runtime(database, clock=clock) as runtime:
        assert await has_expired(runtime, run)


async def test_who_is_no_worker_removes_nothing_but_when_asked(clock: ManualClock, database: str) -> None:
    async with Runtime(database, clock=clock, worker=False) as runtime:
        run = await ran(keeping("1h"))
        clock.turn("1h")
        assert not await has_expired(runtime, run)

        assert await wrkflw.gc() == wrkflw.Collected(runs=1, payloads=0)
        assert await has_expired(runtime, run)
        assert await wrkflw.gc(runtime) == wrkflw.Collected(runs=0, payloads=0)


@pytest.fixture
def growing() -> Workflow[int, str, None]:
    @step
    async def grow(data: int) -> str:
        return "secret" * data

    return create_workflow(id="growing", input_schema=int, output_schema=str, retention="1h").then(grow).commit()


async def test_large_values_are_not_even_left_in_the_file(
    clock: ManualClock, tmp_path: Path, growing: Workflow[int, str, None]
) -> None:
    async with Runtime(world=SqliteWorld(tmp_path / "large.db", clock=clock), clock=clock):
        await growing.run(50_000)
        clock.turn("1h")
        await settle()
        assert await wrkflw.gc() == wrkflw.Collected(runs=0, payloads=0)

    assert b"secret" not in (tmp_path / "large.db").read_bytes()


async def test_blobs_are_collected_a_day_later(
    clock: ManualClock, tmp_path: Path, growing: Workflow[int, str, None]
) -> None:
    world = SqliteWorld(tmp_path / "large.db", clock=clock, blobs=FileBlobs(tmp_path / "blobs"))
    async with Runtime(world=world, clock=clock):
        await growing.run(50_000)
        clock.turn("23h")
        await settle()
        assert await wrkflw.gc() == wrkflw.Collected(runs=0, payloads=0)
        clock.turn("2h")

        assert await wrkflw.gc() == wrkflw.Collected(runs=0, payloads=1)
    assert [*(tmp_path / "blobs").iterdir()] == []


async def test_an_idle_worker_asks_when_the_next_is_due_once(clock: ManualClock) -> None:
    texts: list[str] = []
    world = SqliteWorld(":memory:", clock=clock, on_statement=texts.append)
    async with Runtime(world=world, clock=clock):
        flow = keeping()
        for _ in range(3):
            await ran(flow)
        await settle()

    assert len([text for text in texts if text.startswith("SELECT retained")]) == 1


@pytest.mark.parametrize("name", ["$retention", "$other"])
async def test_names_that_are_reserved_are_not_for_callers(runtime: Runtime, name: str) -> None:
    with pytest.raises(InvalidValueError, match=r"begins with '\$', which is reserved; take another name"):
        await keeping("1h").create_run(attributes={name: "1"})
