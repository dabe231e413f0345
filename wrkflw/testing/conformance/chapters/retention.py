"""Retention: in time the payloads of ended runs go; what happened, and when, stays."""

from __future__ import annotations

from datetime import timedelta

from wrkflw.testing.conformance.acts import (
    WORKFLOW,
    completed,
    create,
    creation,
    hook,
    lazily_started,
    no_trace,
    received,
    record,
)
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import all_refused, ensure_equal, present, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.errors import RunExpiredError
from wrkflw.world.retention import RETENTION
from wrkflw.world.storage import RunFilter


async def ended(world: World, seconds: str | None, *, key: str | None = None) -> str:
    """A run that has done something and ended, to be kept for so many seconds."""
    stamp = None if seconds is None else {RETENTION: seconds}
    run_id = await create(world, creation(key=key, attributes=stamp, allow_reserved_attributes=True))
    await record(world, run_id, e.RunStarted(), lazily_started("step_a"), hook("hook_a", run_id), received("hook_a"))
    await world.streamer.write(run_id, "out", b"chunk")
    await record(world, run_id, completed("step_a"), e.RunCompleted(output=b"9"))
    return run_id


@promise("§13.4")
async def check_payloads_go_in_time(stage: Stage) -> None:
    """When its time has come, and not before, a run's payloads and streams are gone: reading them is 410."""
    world = await stage.open()
    run_id = await ended(world, "60")
    storage = world.storage
    stage.clock.turn(timedelta(seconds=60) - timedelta(microseconds=1))

    async with no_trace(world, run_id):
        ensure_equal(await storage.retention.expire(), 0, "runs that were done with a microsecond too early")
    stage.clock.turn(timedelta(microseconds=1))

    ensure_equal(await storage.retention.expire(), 1, "runs that were done with in time")
    await all_refused(
        410, RunExpiredError,
        storage.runs.get(run_id), storage.steps.get(run_id, "step_a"), storage.events.list(run_id),
        storage.events.get(run_id, e.event_id(1)), world.streamer.get_chunks(run_id, "out"),
    )  # fmt: skip


@promise("§13.4")
async def check_what_happened_stays(stage: Stage) -> None:
    """Of an expired run there remain its events, steps, times and attributes, and when it expired."""
    world = await stage.open()
    run_id = await ended(world, "0")
    before = await world.storage.runs.get(run_id, resolve_data="none")
    log = (await world.storage.events.list(run_id, resolve_data="none")).data

    await world.storage.retention.expire()

    run = await world.storage.runs.get(run_id, resolve_data="none")
    ensure_equal((run.status, run.completed_at, run.last_slot), ("completed", before.completed_at, 8), "the run")
    ensure_equal((run.expired_at, run.attributes), (stage.clock.now(), {RETENTION: "0"}), "expiry and attributes")
    ensure_equal((await world.storage.events.list(run_id, resolve_data="none")).data, log, "the log without payloads")
    step = await world.storage.steps.get(run_id, "step_a", resolve_data="none")
    ensure_equal((step.status, step.attempt), ("completed", 1), "the step")
    listed = (await world.storage.runs.list(RunFilter(workflow_name=WORKFLOW))).data
    ensure_equal([listed_run.run_id for listed_run in listed], [run_id], "runs that are listed")


@promise("§13.4")
async def check_open_runs_are_kept(stage: Stage) -> None:
    """A run that is open does not expire, however old, and one without a stamp is kept as the World keeps runs."""
    world = await stage.open()
    open_run = await create(world, creation(attributes={RETENTION: "0"}, allow_reserved_attributes=True))
    unstamped = await ended(world, None)
    retention = world.storage.retention

    ensure_equal(await retention.expire(), 0, "runs that were done with")
    ensure_equal(await retention.next_due(), stage.clock.now() + retention.default, "when the other is due")
    ensure_equal((await world.storage.runs.get(open_run)).input, b"1", "the input of the open run")
    ensure_equal((await world.storage.runs.get(unstamped)).output, b"9", "the output of the other")


@promise("§13.4")
async def check_it_is_known_when_the_next_expires(stage: Stage) -> None:
    """``next_due`` says when the next run is to lose its payloads, and ``expire`` does as many as it is told."""
    world = await stage.open()
    retention, now = world.storage.retention, stage.clock.now()
    for seconds in ("30", "10", "20"):
        await ended(world, seconds)

    ensure_equal(await retention.next_due(), now + timedelta(seconds=10), "when the next is due")
    stage.turn(seconds=20)
    ensure_equal(await retention.expire(limit=1), 1, "runs that were done with, of those due")
    ensure_equal(await retention.expire(limit=5), 1, "the rest of those due")
    ensure_equal(await retention.next_due(), now + timedelta(seconds=30), "when the last is due")


@promise("§13.4")
async def check_a_key_stays_with_an_expired_run(stage: Stage) -> None:
    """The idempotency key of an expired run is taken until the run is deleted."""
    world = await stage.open()
    run_id = await ended(world, "0", key="order-1")
    await world.storage.retention.expire()

    holder = present(await world.storage.runs.find(WORKFLOW, "order-1"), "the run of the key")
    ensure_equal(holder.run_id, run_id, "the run of the key")
    again = world.storage.events.create(None, creation(key="order-1"), on_conflict="use_existing")
    await refusal(again, 410, RunExpiredError)  # with its input gone, nobody knows whether this is the same
    await world.storage.runs.delete(run_id)
    ensure_equal(await world.storage.runs.find(WORKFLOW, "order-1"), None, "the run of the key, once it was deleted")


@promise("§13.4")
async def check_a_running_step_of_an_expired_run_leaves_nothing(stage: Stage) -> None:
    """An outcome that comes after the run has expired is recorded, and its payload is not kept."""
    world = await stage.open()
    stamp = {RETENTION: "0"}
    run_id = await create(world, creation(attributes=stamp, allow_reserved_attributes=True))
    await record(world, run_id, e.RunStarted(), lazily_started("step_a"), e.RunCancelled())
    await world.storage.retention.expire()

    await world.storage.events.create(run_id, completed("step_a"), resolve_data="none")

    log = (await world.storage.events.list(run_id, resolve_data="none")).data
    ensure_equal(log[-1].event_type, "step_completed", "the last event")
    await all_refused(410, RunExpiredError, world.storage.steps.get(run_id, "step_a"))


@promise("§13.4", need="lasting")
async def check_runs_of_other_namespaces_are_not_expired(stage: Stage) -> None:
    """A World removes what is of its namespace alone."""
    home, away = await stage.open(), await stage.open("shop")
    run_id = await ended(home, "0")

    ensure_equal(await away.storage.retention.expire(), 0, "runs that were done with elsewhere")

    ensure_equal((await home.storage.runs.get(run_id)).output, b"9", "the output")
    ensure_equal(await home.storage.retention.expire(), 1, "runs that were done with at home")
