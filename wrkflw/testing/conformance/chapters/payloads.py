"""Payloads: opaque bytes, which come back bit for bit."""

from __future__ import annotations

from typing import NamedTuple

from wrkflw.testing.conformance.acts import begin, create, creation, lazily_started, log_of, record
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure, ensure_equal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import World
from wrkflw.world import events as e

EVERY_BYTE = bytes(range(256)) + b"\x00" * 3
INLINE_MAX = 10_240
"""Bytes up to which a payload stands beside its event, unless a World is told otherwise."""


class Places(NamedTuple):
    """What one payload became, written wherever there is a place for one."""

    run_id: str
    failed_run_id: str


async def written_everywhere(world: World, payload: bytes | None) -> Places:
    """Runs that carry the payload in every field that takes one."""
    run_id = await create(world, creation(input=payload))
    await record(
        world,
        run_id,
        e.RunStarted(),
        e.StepStarted(correlation_id="step_a", step_name="charge", key="step_a", input=payload),
        e.StepRetrying(correlation_id="step_a", error=payload),
        e.StepStarted(correlation_id="step_a"),
        e.StepCompleted(correlation_id="step_a", result=payload),
        e.StepCreated(correlation_id="step_b", step_name="charge", key="step_b", input=payload),
        e.StepFailed(correlation_id="step_b", error=payload),
        e.HookCreated(correlation_id="hook_a", token=run_id, metadata=payload),
        e.HookReceived(correlation_id="hook_a", payload_data=payload),
        e.SignalReceived(signal_type="paid", payload_data=payload),
    )
    hook = await world.storage.hooks.get_by_token(run_id)
    ensure_equal(hook.metadata, payload, "metadata of the hook")
    await record(world, run_id, e.RunCompleted(output=payload))
    return Places(run_id, await begin(world, e.RunFailed(error=payload)))


async def ensure_it_is_everywhere(world: World, places: Places, payload: bytes | None) -> None:
    run, failed = [await world.storage.runs.get(run_id) for run_id in places]
    good = await world.storage.steps.get(places.run_id, "step_a")
    bad = await world.storage.steps.get(places.run_id, "step_b")
    read = {
        "input of the run": run.input, "output of the run": run.output, "error of the run": failed.error,
        "input of a step": good.input, "output of a step": good.output, "error of a step": bad.error,
    }  # fmt: skip
    read |= {f"payload of {stored.event_type}": getattr(stored.event, stored.event.payload)
             for stored in await log_of(world, places.run_id)
             if stored.event.payload is not None and stored.event_type != "step_started"}  # fmt: skip
    for place, got in read.items():
        ensure_equal(got, payload, place)


@promise("§3")
async def check_every_byte_comes_back(stage: Stage) -> None:
    """Every byte comes back in every field that takes a payload, NUL included."""
    world = await stage.open()

    places = await written_everywhere(world, EVERY_BYTE)

    await ensure_it_is_everywhere(world, places, EVERY_BYTE)


@promise("§3")
async def check_nothing_and_empty_are_two(stage: Stage) -> None:
    """A payload of no bytes comes back as one, and no payload as none."""
    world = await stage.open()
    for payload in (b"", None):
        await ensure_it_is_everywhere(world, await written_everywhere(world, payload), payload)


@promise("§12")
async def check_payloads_of_every_size_come_back(stage: Stage) -> None:
    """Below, at and above the size up to which a payload stands beside its event, and far beyond."""
    world = await stage.open()
    for size in (1, INLINE_MAX - 1, INLINE_MAX, INLINE_MAX + 1, 1 << 20):
        payload = bytes(range(251)) * (size // 251 + 1)
        await ensure_it_is_everywhere(world, await written_everywhere(world, payload[:size]), payload[:size])


@promise("§12", need="lasting")
async def check_payloads_outlive_their_world(stage: Stage) -> None:
    """Small and large payloads come back after the store was closed and opened again."""
    world = await stage.open()
    written = [(await written_everywhere(world, payload), payload) for payload in (EVERY_BYTE, b"\x00large" * 5000)]

    world = await stage.reopen(world)

    for places, payload in written:
        await ensure_it_is_everywhere(world, places, payload)


@promise("§12")
async def check_equal_payloads_of_two_runs_do_not_meet(stage: Stage) -> None:
    """What is stored once may be used twice: deleting the one run leaves the other its payload."""
    world = await stage.open()
    payload = b"\x00large" * 5000
    one, other = await written_everywhere(world, payload), await written_everywhere(world, payload)

    await world.storage.runs.delete(one.run_id)

    await ensure_it_is_everywhere(world, other, payload)


@promise("§8 resolve_data")
async def check_listings_leave_payloads_out(stage: Stage) -> None:
    """Listings of runs and steps give no payloads unless they are asked to."""
    world = await stage.open()
    run_id = await create(world, creation(input=EVERY_BYTE))
    await record(world, run_id, e.RunStarted(), lazily_started("step_a"))

    listed = (await world.storage.runs.list()).data[0]
    step = (await world.storage.steps.list(run_id)).data[0]

    ensure((listed.input, step.input) == (None, None), "a listing gives no payloads of its own accord")
