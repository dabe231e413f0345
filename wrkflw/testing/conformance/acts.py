"""What checks do again and again: begin a run, record, and look at what is there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.entities import Hook, Run, Step
from wrkflw.world.storage import EventResult

from .ensure import ensure_equal, present, refusal

WORKFLOW = "greet"
RUN_STARTED = e.RunStarted()
_EVENTS: TypeAdapter[e.NewEvent] = TypeAdapter(e.NewEvent)


def creation(workflow_name: str = WORKFLOW, *, key: str | None = None, **more: object) -> e.RunCreated:
    return e.RunCreated.model_validate({"workflow_name": workflow_name, "input": b"1", "idempotency_key": key, **more})


def created(step_id: str) -> e.StepCreated:
    return e.StepCreated(correlation_id=step_id, step_name="charge", key=step_id, input=b"2")


def started(step_id: str) -> e.StepStarted:
    return e.StepStarted(correlation_id=step_id)


def lazily_started(step_id: str) -> e.StepStarted:
    return e.StepStarted(correlation_id=step_id, step_name="charge", key=step_id, input=b"2")


def completed(step_id: str, result: bytes | None = b"3") -> e.StepCompleted:
    return e.StepCompleted(correlation_id=step_id, result=result)


def failed(step_id: str) -> e.StepFailed:
    return e.StepFailed(correlation_id=step_id, error=b"no")


def retrying(step_id: str, after: datetime | None = None) -> e.StepRetrying:
    return e.StepRetrying(correlation_id=step_id, error=b"again", retry_after=after)


def hook(hook_id: str, token: str, metadata: bytes | None = None) -> e.HookCreated:
    return e.HookCreated(correlation_id=hook_id, token=token, metadata=metadata)


def suspending(hook_id: str, step_id: str) -> e.HookCreated:
    return e.HookCreated(correlation_id=hook_id, token=f"{hook_id} of {step_id}", kind="suspend", step_id=step_id)


def received(hook_id: str, payload: bytes = b"yes") -> e.HookReceived:
    return e.HookReceived(correlation_id=hook_id, payload_data=payload)


def disposed(hook_id: str) -> e.HookDisposed:
    return e.HookDisposed(correlation_id=hook_id)


def signal(signal_type: str, payload: bytes = b"paid") -> e.SignalReceived:
    return e.SignalReceived(signal_type=signal_type, payload_data=payload)


def signal_wait(wait_id: str, signal_type: str, until: datetime | None = None) -> e.WaitCreated:
    return e.WaitCreated(correlation_id=wait_id, kind="signal", signal_type=signal_type, resume_at=until)


def sleep(wait_id: str, until: datetime) -> e.WaitCreated:
    return e.WaitCreated(correlation_id=wait_id, resume_at=until)


def elapsed(wait_id: str) -> e.WaitCompleted:
    return e.WaitCompleted(correlation_id=wait_id)


def timed_out(wait_id: str) -> e.WaitCompleted:
    return e.WaitCompleted(correlation_id=wait_id, cause="timeout")


def woken(wait_id: str) -> e.WaitCompleted:
    return e.WaitCompleted(correlation_id=wait_id, cause="woken")


def cancelled(wait_id: str) -> e.WaitCompleted:
    return e.WaitCompleted(correlation_id=wait_id, cause="cancelled")


def attributes(**values: str | None) -> e.AttrSet:
    return e.AttrSet(changes=[e.AttributeChange(key=key, value=value) for key, value in values.items()])


async def create(world: World, event: e.RunCreated | None = None) -> str:
    """A run that is pending."""
    return (await world.storage.events.create(None, event or creation())).run.run_id


async def begin(world: World, *events: e.NewEvent) -> str:
    """A run that is running, and what has happened in it since."""
    run_id = await create(world)
    await record(world, run_id, RUN_STARTED, *events)
    return run_id


async def record(world: World, run_id: str, *events: e.NewEvent) -> EventResult:
    """Append each by a call of its own; the result of the last."""
    result: EventResult | None = None
    for event in events:
        result = await world.storage.events.create(run_id, event)
    return present(result, "an event to record")


async def offer(world: World, run_id: str | None, event_type: str, **fields: object) -> None:
    """What is no event is refused with 400: where it would be made, or by the World."""
    try:
        event = _EVENTS.validate_python({"event_type": event_type, **fields})
    except ValidationError:
        return
    await refusal(world.storage.events.create(run_id, event), 400)


async def log_of(world: World, run_id: str) -> list[e.StoredEvent]:
    return (await world.storage.events.list(run_id)).data


async def types_in(world: World, run_id: str) -> list[str]:
    return [stored.event_type for stored in await log_of(world, run_id)]


class Sight(NamedTuple):
    """All there is of a run."""

    run: Run
    log: list[e.StoredEvent]
    steps: list[Step]
    hooks: list[Hook]


async def sight_of(world: World, run_id: str) -> Sight:
    storage = world.storage
    return Sight(
        await storage.runs.get(run_id),
        await log_of(world, run_id),
        (await storage.steps.list(run_id)).data,
        (await storage.hooks.list(run_id)).data,
    )


@asynccontextmanager
async def no_trace(world: World, run_id: str) -> AsyncGenerator[None]:
    """What happens inside leaves the run as it was, whatever it answers."""
    before = await sight_of(world, run_id)
    yield
    after = await sight_of(world, run_id)
    for name, was, now in zip(Sight._fields, before, after, strict=True):
        ensure_equal(now, was, f"{name} of {run_id} after what was refused")
