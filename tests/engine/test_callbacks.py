"""on_completed and on_failed: once, after the end is durable, and unable to harm the run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import RunInfo, Runtime, Workflow, create_workflow, step


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
