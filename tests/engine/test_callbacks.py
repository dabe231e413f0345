"""on_completed and on_failed: once, after the end is durable, and unable to harm the run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import RunInfo, Runtime, Workflow, create_workflow, step
from wrkflw.world import events as e


@step
async def double(data: int) -> int:
    if data < 0:
        raise ValueError("negative")
    return data * 2


def doubling(**callbacks: Callable[[RunInfo], object]) -> Workflow[int, int, None]:
    options: dict[str, Any] = callbacks
    chain: Any = create_workflow(id="doubling", input_schema=int, output_schema=int, **options)
    workflow: Workflow[int, int, None] = chain.then(double).commit()
    return workflow


async def test_the_end_of_a_run_is_told_once(runtime: Runtime) -> None:
    completed: list[RunInfo] = []
    failed: list[RunInfo] = []
    workflow = doubling(on_completed=completed.append, on_failed=failed.append)
    good = await workflow.create_run(run_id="good", attributes={"team": "red"})
    bad = await workflow.create_run(run_id="bad")
    await good.start(1)
    await bad.start(-1)
    await good.result()
    await settle()

    assert [(info.run_id, info.workflow_id, info.status, info.attributes) for info in completed] == [
        ("good", "doubling", "completed", {"team": "red"})
    ]
    assert [(info.run_id, info.status) for info in failed] == [("bad", "failed")]


async def test_a_coroutine_is_awaited(runtime: Runtime) -> None:
    told: list[str] = []

    async def tell(info: RunInfo) -> None:
        told.append((await runtime.runs.get(info.run_id)).status)

    await doubling(on_completed=tell).run(1)
    await settle()

    assert told == ["completed"]


async def test_the_end_is_durable_when_it_is_told(runtime: Runtime) -> None:
    told: list[Any] = []

    async def tell(info: RunInfo) -> None:
        told.append((await runtime.runs.snapshot(info.run_id)).result)

    await doubling(on_completed=tell).run(4)
    await settle()

    assert told == [8]


async def test_a_callback_that_raises_is_logged_and_changes_nothing(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    def tell(info: RunInfo) -> None:
        raise OSError("mail is down")

    run = await doubling(on_completed=tell).create_run(run_id="r-17")
    with caplog.at_level(logging.ERROR, "wrkflw"):
        result = await run.start(1)
        await settle()

    assert result.unwrap() == 2
    assert (await run.snapshot()).status == "completed"
    assert [record.getMessage() for record in caplog.records] == [
        "a callback of run r-17 raised; the run is not affected"
    ]
    assert "mail is down" in caplog.text


async def test_a_cancelled_run_calls_nobody(runtime: Runtime) -> None:
    told: list[RunInfo] = []
    workflow = doubling(on_completed=told.append, on_failed=told.append)
    run = await (await workflow.create_run()).enqueue(1, delay="1h")
    await run.cancel()
    await run.result()
    await settle()

    assert told == []


async def test_an_end_is_not_told_again_after_a_restart(clock: ManualClock, database: str) -> None:
    told: list[RunInfo] = []
    workflow = doubling(on_completed=told.append)
    async with Runtime(database, clock=clock):
        await (await workflow.create_run(idempotency_key="k")).start(1)
        await settle()
    async with Runtime(database, clock=clock, workflows=[workflow]):
        await (await workflow.create_run(idempotency_key="k")).start(1)
        await settle()

    assert len(told) == 1


async def test_an_end_by_deadline_is_told_as_a_failure(runtime: Runtime, clock: ManualClock) -> None:
    told: list[str] = []
    chain = create_workflow(
        id="late", input_schema=int, output_schema=int, timeout="1h", on_failed=lambda info: told.append(info.status)
    )
    await (await chain.sleep("2h").then(double).commit().create_run()).enqueue(1)
    await settle()
    clock.turn("1h")
    await settle()

    assert told == ["failed"]


async def test_who_was_taken_over_does_not_tell_of_the_end_that_another_made(database: str) -> None:
    told: list[str] = []

    def napping(where: str) -> Any:
        chain: Any = create_workflow(
            id="napping", input_schema=int, output_schema=int, on_completed=lambda info: told.append(where)
        )
        return chain.sleep("4s").then(double).commit()

    clock, stopped_clock = ManualClock(), ManualClock()
    there, here = napping("where it was taken over"), napping("where it ended")
    async with Runtime(database, clock=stopped_clock, workflows=[there], lease="30s"):
        starting = asyncio.ensure_future((await there.create_run(run_id="r-17")).start(1))
        await settle()
        async with Runtime(database, clock=clock, workflows=[here], lease="30s"):
            for _ in range(3):
                clock.turn("16s")  # to the end of its lease, and for as long as it might take to move it on
                await settle()
            assert (await (await here.get_run("r-17")).result()).unwrap() == 2
            await settle()
            stopped_clock.turn("48s")  # it stood still, and finds that all is over
            assert (await starting).unwrap() == 2
            await settle()

    assert told == ["where it ended"]


async def test_an_end_whose_commit_is_interrupted_by_the_deadline_is_told(runtime: Runtime, clock: ManualClock) -> None:
    told: list[str] = []
    chain = create_workflow(
        id="late", input_schema=int, output_schema=int, timeout="1h", on_completed=lambda info: told.append(info.status)
    )
    workflow = chain.then(double).commit()
    storage, written = runtime.world.storage.events, asyncio.Event()
    create_batch = storage.create_batch

    async def slowly(run_id: str, events: Sequence[e.NewEvent], **options: Any) -> Any:
        result = await create_batch(run_id, events, **options)
        if any(event.event_type == "run_completed" for event in events):
            written.set()
            await asyncio.Event().wait()
        return result

    with patch.object(storage, "create_batch", slowly):
        starting = asyncio.ensure_future((await workflow.create_run()).start(1, wait=None))
        await written.wait()
        clock.turn("1h")
        assert (await starting).unwrap() == 2
    await settle()

    assert told == ["completed"]


@pytest.mark.parametrize("waits", [True, False])
async def test_the_log_tells_of_a_failure_that_nobody_waits_for(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, waits: bool
) -> None:
    @step
    async def charge(data: int) -> int:
        raise OSError("the bank is closed")

    workflow = create_workflow(id="sale", input_schema=int, output_schema=int).then(charge).commit()
    run = await workflow.create_run(run_id="r-17")
    if waits:
        await run.start(1)
    else:
        await run.enqueue(1)
        runtime.define(workflow)
    await settle()

    told = "run r-17 of workflow 'sale' failed at 'charge': OSError: the bank is closed"
    assert (await run.snapshot()).status == "failed"
    assert [record.getMessage() for record in caplog.records] == ([] if waits else [told])
