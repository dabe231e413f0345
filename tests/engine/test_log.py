"""The log of a run, slot by slot."""

from __future__ import annotations

from wrkflw import Retry, Run, Runtime, StepContext, create_workflow, step
from wrkflw.ids import correlation_id
from wrkflw.world.events import StoredEvent


@step
async def add(data: int) -> int:
    return data + 1


@step(retry=Retry(attempts=2, delay="0s"))
async def stumble(data: int, ctx: StepContext) -> int:
    if ctx.attempt == 1:
        raise OSError("not yet")
    return data * 2


async def log_of(run: Run[int, int, None]) -> list[StoredEvent]:
    return [event async for event in run.events()]


async def test_a_simple_run_slot_by_slot(runtime: Runtime) -> None:
    workflow = create_workflow(id="sums", input_schema=int, output_schema=int).then(add).then(stumble).commit()
    run = await workflow.create_run(run_id="r-17", idempotency_key="k", attributes={"team": "red"})
    await run.start(1)
    log = await log_of(run)

    assert [event.slot for event in log] == list(range(1, 12))
    assert {event.epoch for event in log} == {1}
    assert {event.run_id for event in log} == {"r-17"}
    first, second = (correlation_id("step", "r-17", key) for key in ("add", "stumble"))
    told = [event.event.model_dump(exclude_none=True, exclude={"error", "definition_hash"}) for event in log]
    assert told[0] == {
        "event_type": "run_created", "workflow_name": "sums", "deployment_id": "dpl_local", "input": b"1",
        "attributes": {"team": "red"}, "allow_reserved_attributes": False, "idempotency_key": "k",
    }  # fmt: skip
    created = {"event_type": "step_created", "kind": "step"}
    again = {"event_type": "step_retrying", "retry_after": runtime.clock.now(), "reason": "error"}
    assert told[1:] == [
        {"event_type": "run_started"},
        {**created, "correlation_id": first, "step_name": "add", "key": "add", "input": b"1"},
        {"event_type": "step_started", "correlation_id": first},
        {"event_type": "step_completed", "correlation_id": first, "result": b"2"},
        {**created, "correlation_id": second, "step_name": "stumble", "key": "stumble", "input": b"2"},
        {"event_type": "step_started", "correlation_id": second},
        {**again, "correlation_id": second},
        {"event_type": "step_started", "correlation_id": second},
        {"event_type": "step_completed", "correlation_id": second, "result": b"4"},
        {"event_type": "run_completed", "output": b"4"},
    ]


async def test_a_failed_run_ends_with_its_error(runtime: Runtime) -> None:
    @step
    async def fail(data: int) -> int:
        raise OSError("down")

    run = await create_workflow(id="failing", input_schema=int, output_schema=int).then(fail).commit().create_run()
    await run.start(1)
    log = await log_of(run)

    assert [event.event_type for event in log] == [
        "run_created", "run_started", "step_created", "step_started", "step_failed", "run_failed"
    ]  # fmt: skip
    assert log[-1].event.model_dump()["error"] == log[-2].event.model_dump()["error"]
    assert log[-1].event.model_dump()["error_code"] == "USER_ERROR"


async def test_a_cancel_is_written_by_no_owner(runtime: Runtime) -> None:
    workflow = create_workflow(id="sums", input_schema=int, output_schema=int).then(add).commit()
    run = await (await workflow.create_run()).enqueue(1, delay="1h")
    await run.cancel("too late")
    log = await log_of(run)

    assert [(event.event_type, event.epoch) for event in log] == [("run_created", None), ("run_cancelled", None)]
    assert log[-1].event.model_dump()["cancel_reason"] == "too late"


async def test_a_value_is_recorded_once(runtime: Runtime) -> None:
    @step
    async def same(data: str) -> str:
        return data

    workflow = create_workflow(id="same", input_schema=str, output_schema=str).then(same).commit()
    run = await workflow.create_run()
    await run.start("needle")

    # As the run's input, the step's input, its output and the run's: nowhere else.
    assert sum(str(event.event).count("needle") for event in [e async for e in run.events()]) == 4
