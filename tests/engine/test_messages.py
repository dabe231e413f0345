"""What a worker does with messages of the queue."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from unittest.mock import patch

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import Completed, Event, Failed, Runtime, StepTools, create_workflow, step, workflow
from wrkflw.world import events as e
from wrkflw.world.errors import WorldError
from wrkflw.world.queue import HealthCheck, Invocation
from wrkflw.world.storage import RunFence
from wrkflw.worlds.sql.queue import SqlQueue

ORDER = "__wkf_workflow_order"
paid = Event("paid", int)


@step
async def double(number: int) -> int:
    return number * 2


order = create_workflow(id="order", input_schema=int, output_schema=int).then(double).commit()


@workflow
async def shop(step: StepTools, number: int) -> int:
    return number + await step.wait_for_event(paid)


async def test_a_message_creates_a_run_that_was_lost_and_it_goes_on(clock: ManualClock) -> None:
    async with Runtime(":memory:", clock=clock, workflows=[order]) as runtime:
        lost = e.RunCreated(workflow_name="order", input=b"21")
        for _ in range(2):
            await runtime.world.queue.queue(ORDER, Invocation("r-1", run_input=lost))
            await settle()

        result = await (await order.get_run("r-1")).result()

        assert isinstance(result, Completed)
        assert result.output == 42
        log = await runtime.world.storage.events.list("r-1")
        assert [event.event_type for event in log.data][:2] == ["run_created", "run_started"]


async def test_a_message_makes_its_run_due(clock: ManualClock) -> None:
    """A run that nobody would take: it was released, with nothing to wait for."""
    async with Runtime(":memory:", clock=clock, workflows=[order]) as runtime:
        runs, events = runtime.world.storage.runs, runtime.world.storage.events
        hour = clock.now() + timedelta(hours=1)
        await events.create("r-1", e.RunCreated(workflow_name="order", input=b"21"), wake_at=hour)
        claimed = await runs.claim("r-1", owner=runtime.world.owner)
        await events.create("r-1", e.RunStarted(), fence=RunFence(claimed.epoch))
        await runs.release("r-1", RunFence(claimed.epoch), seen_slot=2, wake_at=None)
        await settle()
        assert (await runs.get("r-1")).status == "running"

        await runtime.world.queue.queue(ORDER, Invocation("r-1"))
        await settle()

        assert (await runs.get("r-1")).output == b"42"


async def test_a_message_does_not_start_a_run_before_its_time(clock: ManualClock) -> None:
    async with Runtime(":memory:", clock=clock, workflows=[order]) as runtime:
        run = await (await order.create_run(run_id="r-1")).enqueue(21, delay="1h")
        creation = e.RunCreated(workflow_name="order", input=b"21")
        await runtime.world.queue.queue(ORDER, Invocation("r-1", run_input=creation))
        await settle()
        assert (await runtime.runs.get("r-1")).status == "pending"

        clock.turn("1h")

        assert (await run.result()).status == "completed"


async def test_what_a_message_hands_in_is_recorded_once(clock: ManualClock) -> None:
    async with Runtime(":memory:", clock=clock, workflows=[shop]) as runtime:
        run = await shop.create_run(run_id="r-1")
        await run.start(2)
        handed = e.SignalReceived(signal_type="paid", payload_data=b"40")
        await runtime.world.queue.queue("__wkf_workflow_shop", Invocation("r-1", hook_input=handed))
        await settle()

        result = await run.result()

        assert isinstance(result, Completed)
        assert result.output == 42


async def test_what_comes_by_the_queue_of_another_workflow_is_not_done_by_that(clock: ManualClock) -> None:
    handed = e.SignalReceived(signal_type="paid", payload_data=b"40")
    async with Runtime(":memory:", clock=clock, workflows=[order]) as runtime:
        await runtime.world.storage.events.create("r-1", e.RunCreated(workflow_name="shop", input=b"2"))
        await runtime.world.queue.queue(ORDER, Invocation("r-1", hook_input=handed))
        await settle()
        assert (await runtime.runs.get("r-1")).status == "pending"

        runtime.define(shop)
        clock.turn("5s")
        await settle()

        result = await (await shop.get_run("r-1")).result()
        assert isinstance(result, Completed)
        assert result.output == 42


async def test_a_message_of_an_unknown_workflow_waits_until_it_is_known(clock: ManualClock) -> None:
    async with Runtime(":memory:", clock=clock) as runtime:
        lost = e.RunCreated(workflow_name="order", input=b"21")
        await runtime.world.queue.queue(ORDER, Invocation("r-1", run_input=lost))
        for _ in range(100):  # far more often than a message may fail
            await settle(20)
            clock.turn("5s")
        assert (await runtime.world.queue.dead_letters()).data == []

        runtime.define(order)
        clock.turn("5s")
        await settle()

        assert (await runtime.runs.get("r-1")).status == "completed"


@pytest.mark.parametrize("message", [HealthCheck("c"), Invocation("none")])
async def test_a_message_with_nothing_to_do_is_acknowledged(
    clock: ManualClock, message: HealthCheck | Invocation
) -> None:
    async with Runtime(":memory:", clock=clock, workflows=[order]) as runtime:
        first = await runtime.world.queue.queue(ORDER, message, idempotency_key="k", scope="inflight")
        await settle()

        assert await runtime.world.queue.queue(ORDER, message, idempotency_key="k", scope="inflight") != first


async def test_a_producer_leaves_messages_to_workers(database: str, clock: ManualClock) -> None:
    async with Runtime(database, clock=clock, workflows=[order], worker=False) as producer:
        with pytest.raises(WorldError, match="this world only produces messages"):
            producer.world.queue.consume(asyncio.sleep)  # type: ignore[arg-type]  # never called
        lost = e.RunCreated(workflow_name="order", input=b"21")
        await producer.world.queue.queue(ORDER, Invocation("r-1", run_input=lost))
        await settle()
        assert await producer.world.storage.runs.get_many(["r-1"]) == [None]

    async with Runtime(database, clock=clock, workflows=[order]):
        await settle()
        assert (await (await order.get_run("r-1")).result()).status == "completed"


async def test_a_run_that_the_world_gave_up_has_failed_with_its_reason(clock: ManualClock) -> None:
    async with Runtime(":memory:", clock=clock, workflows=[shop]) as runtime:
        run = await shop.create_run(run_id="r-1")
        await run.start(2)
        end = e.RunFailed(error=b'"its process died"', error_code="MAX_DELIVERIES_EXCEEDED")
        await runtime.world.storage.events.create("r-1", end)

        result = await run.result()

        assert isinstance(result, Failed)
        assert (result.error.type, result.error.message) == ("MAX_DELIVERIES_EXCEEDED", "its process died")
        assert (await run.snapshot()).error == result.error


@pytest.mark.parametrize(("error", "message"), [(None, ""), (b"\xff no JSON", "\\xff no JSON"), (b"[1]", "[1]")])
async def test_a_run_may_be_failed_in_any_words(clock: ManualClock, error: bytes | None, message: str) -> None:
    async with Runtime(":memory:", clock=clock, workflows=[shop]) as runtime:
        run = await shop.create_run(run_id="r-1")
        await run.start(2)
        await runtime.world.storage.events.create("r-1", e.RunFailed(error=error))

        result = await run.result()

        assert isinstance(result, Failed)
        assert (result.error.type, result.error.message) == ("RUNTIME_ERROR", message)


async def test_a_worker_handles_as_many_messages_at_a_time_as_it_drives_runs(clock: ManualClock) -> None:
    with patch.object(SqlQueue, "consume", autospec=True, side_effect=SqlQueue.consume) as consume:
        async with Runtime(":memory:", clock=clock, concurrency=3):
            assert consume.call_args.kwargs == {"concurrency": 3}
