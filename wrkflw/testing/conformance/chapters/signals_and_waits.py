"""Signals and waits: first in, first out; and no timer ends before its time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from wrkflw.testing.conformance.acts import (
    begin,
    cancelled,
    elapsed,
    log_of,
    no_trace,
    record,
    signal,
    signal_wait,
    sleep,
    timed_out,
    types_in,
    woken,
)
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure, ensure_equal, present, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, RunExpiredError, TooEarlyError


async def matched(world: World, run_id: str, wait: e.WaitCreated) -> int | None:
    """The slot of the signal that a new wait takes."""
    return present((await record(world, run_id, wait)).wait, "the wait in the answer").matched_slot


@promise("§5 wait_created")
async def check_a_wait_takes_the_oldest_signal(stage: Stage) -> None:
    """Signals are kept in the order they came, and each is taken once: by the wait that asks first."""
    world = await stage.open()
    run_id = await begin(world, signal("paid", b"1"), signal("paid", b"2"))

    taken = [await matched(world, run_id, signal_wait(f"wait_{n}", "paid")) for n in range(3)]

    ensure_equal(taken, [3, 4, None], "slots of the signals taken")


@promise("§5 signal_received")
async def check_a_signal_goes_to_the_oldest_wait(stage: Stage) -> None:
    """A signal is offered to the wait of its type that has been open longest; that wait can time out no more."""
    world = await stage.open()
    until = stage.clock.now()
    run_id = await begin(world, signal_wait("wait_a", "paid", until), signal_wait("wait_b", "paid", until))

    await record(world, run_id, signal("paid"))

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, timed_out("wait_a")), 409, EntityConflictError)
    await record(world, run_id, timed_out("wait_b"))


@promise("§5 signal_received")
async def check_signals_of_other_types_are_kept_apart(stage: Stage) -> None:
    """A wait takes signals of its own type alone, to the letter."""
    world = await stage.open()
    run_id = await begin(world, signal("paid"), signal("Paid"), signal("sent"))

    ensure_equal(await matched(world, run_id, signal_wait("wait_a", "sent")), 5, "the signal 'sent'")
    ensure_equal(await matched(world, run_id, signal_wait("wait_b", "Paid")), 4, "the signal 'Paid'")
    ensure_equal(await matched(world, run_id, signal_wait("wait_c", "lost")), None, "a signal that never came")


@promise("§2")
async def check_signals_belong_to_their_run(stage: Stage) -> None:
    """A signal to one run is not taken by a wait of another."""
    world = await stage.open()
    await begin(world, signal("paid"))
    run_id = await begin(world)

    ensure_equal(await matched(world, run_id, signal_wait("wait_a", "paid")), None, "a signal of another run")


@promise("§5 wait_completed")
async def check_a_cancelled_wait_gives_its_signal_back(stage: Stage) -> None:
    """What a cancelled wait had taken goes back to the head of its line, before those that came later."""
    world = await stage.open()
    run_id = await begin(world, signal("paid", b"1"), signal("paid", b"2"), signal_wait("wait_a", "paid"))

    await record(world, run_id, cancelled("wait_a"))

    ensure_equal(await matched(world, run_id, signal_wait("wait_b", "paid")), 3, "the signal that was given back")
    ensure_equal(await matched(world, run_id, signal_wait("wait_c", "paid")), 4, "the one behind it")


@promise("§5 wait_completed")
async def check_a_signal_given_back_goes_to_who_waits(stage: Stage) -> None:
    """When another wait of the type is open, the signal that is given back goes to it."""
    world = await stage.open()
    until = stage.clock.now()
    waits = (signal_wait("wait_a", "paid"), signal_wait("wait_b", "paid", until))
    run_id = await begin(world, *waits, signal("paid"))

    await record(world, run_id, cancelled("wait_a"))

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, timed_out("wait_b")), 409, EntityConflictError)


@promise("§5 wait_completed")
async def check_no_sleep_ends_before_its_time(stage: Stage) -> None:
    """``elapsed`` before ``resume_at`` is 425 with the time; at it, it is accepted; a second time 409."""
    world = await stage.open()
    due = stage.clock.now() + timedelta(hours=1)
    run_id = await begin(world, sleep("wait_a", due))
    stage.clock.turn(timedelta(hours=1) - timedelta(microseconds=1))

    async with no_trace(world, run_id):
        early = await refusal(world.storage.events.create(run_id, elapsed("wait_a")), 425, TooEarlyError)
        ensure_equal(early.retry_after, due, "retry_after of the refusal")
    stage.clock.turn(timedelta(microseconds=1))
    wait = present((await record(world, run_id, elapsed("wait_a"))).wait, "the wait in the answer")

    ensure_equal(wait.status, "completed", "the status")
    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, elapsed("wait_a")), 409, EntityConflictError)


@promise("§5 wait_completed")
async def check_a_sleep_may_be_ended_early_by_hand(stage: Stage) -> None:
    """``woken`` and ``cancelled`` need not wait for the time."""
    world = await stage.open()
    far = stage.clock.now() + timedelta(days=9000)
    run_id = await begin(world, sleep("wait_a", far), sleep("wait_b", far))

    await record(world, run_id, woken("wait_a"), cancelled("wait_b"))

    ensure_equal((await types_in(world, run_id))[-2:], ["wait_completed"] * 2, "the log")


@promise("§5 wait_completed")
async def check_a_timeout_comes_in_time(stage: Stage) -> None:
    """``timeout`` before ``resume_at`` is 425, and without a ``resume_at`` there is none; then it is accepted."""
    world = await stage.open()
    due = stage.clock.now() + timedelta(minutes=1)
    run_id = await begin(world, signal_wait("wait_a", "paid", due), signal_wait("wait_b", "paid"))

    async with no_trace(world, run_id):
        for wait_id in ("wait_a", "wait_b"):
            await refusal(world.storage.events.create(run_id, timed_out(wait_id)), 425, TooEarlyError)
    stage.turn(minutes=1)
    await record(world, run_id, timed_out("wait_a"), signal("paid"))

    log = await log_of(world, run_id)
    ensure_equal(getattr(log[-2].event, "cause", None), "timeout", "the cause")


@promise("§5 wait_completed")
async def check_of_signal_and_timeout_the_log_decides(stage: Stage) -> None:
    """A signal and the timeout of its wait at once: whichever stands first wins, and the other is consistent."""
    world = await stage.open()
    run_id = await begin(world, signal_wait("wait_a", "paid", stage.clock.now()))

    await asyncio.gather(
        *(world.storage.events.create(run_id, event) for event in (signal("paid"), timed_out("wait_a"))),
        return_exceptions=True,
    )

    log = await types_in(world, run_id)
    timed = "wait_completed" in log
    ensure(not timed or log.index("wait_completed") < log.index("signal_received"), f"no timeout after a signal: {log}")
    taken = await matched(world, run_id, signal_wait("wait_b", "paid"))
    ensure_equal(taken is not None, timed, "whether the signal is left for the next wait")


@promise("§5 wait_created")
async def check_a_wait_is_created_once(stage: Stage) -> None:
    """The second creation of a wait is 409."""
    world = await stage.open()
    run_id = await begin(world, sleep("wait_a", stage.clock.now()))

    async with no_trace(world, run_id):
        for again in (sleep("wait_a", stage.clock.now()), signal_wait("wait_a", "paid")):
            await refusal(world.storage.events.create(run_id, again), 409, EntityConflictError)


@promise("§5 wait_created")
async def check_a_wait_has_something_to_wait_for(stage: Stage) -> None:
    """A sleep without ``resume_at`` and a signal wait without a type are 400."""
    world = await stage.open()
    run_id = await begin(world)

    async with no_trace(world, run_id):
        for event in (e.WaitCreated(correlation_id="wait_a"), e.WaitCreated(correlation_id="wait_a", kind="signal")):
            await refusal(world.storage.events.create(run_id, event), 400)


@promise("§6")
async def check_an_absent_wait_is_404(stage: Stage) -> None:
    """Ending a wait that was never created is 404."""
    world = await stage.open()
    run_id = await begin(world)

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, woken("wait_a")), 404)


@promise("§13.3")
async def check_the_end_closes_every_wait(stage: Stage) -> None:
    """After the end of the run its waits are closed: ending one is 404, and a signal 410."""
    world = await stage.open()
    for end in (e.RunCompleted(), e.RunFailed(), e.RunCancelled()):
        run_id = await begin(world, sleep("wait_a", stage.clock.now()), signal_wait("wait_b", "paid"), end)

        async with no_trace(world, run_id):
            for wait_id in ("wait_a", "wait_b"):
                await refusal(world.storage.events.create(run_id, woken(wait_id)), 404)
            await refusal(world.storage.events.create(run_id, signal("paid")), 410, RunExpiredError)


@promise("§9 dedupe", need="resume_dedupe")
async def check_a_signal_with_an_id_is_recorded_once(stage: Stage) -> None:
    """The same resume id gives the committed signal; with another type or payload it is 409."""
    world = await stage.open()
    run_id = await begin(world)
    create_event = world.storage.events.create
    first = await create_event(run_id, signal("paid"), resume_id="r1")

    async with no_trace(world, run_id):
        again = await create_event(run_id, signal("paid"), resume_id="r1")
        ensure_equal(again.event, first.event, "the event that is given again")
        for other in (signal("sent"), signal("paid", b"more")):
            await refusal(create_event(run_id, other, resume_id="r1"), 409, EntityConflictError)


@promise("§5 signal_received")
async def check_a_signal_needs_nobody_who_waits(stage: Stage) -> None:
    """Signals reach a run that has not started, and one that is paused; they wait for it."""
    world = await stage.open()
    run_id = (await world.storage.events.create(None, e.RunCreated(workflow_name="greet"))).run.run_id

    await record(world, run_id, signal("paid", b"1"), e.RunPaused(), signal("paid", b"2"), e.RunResumed())
    await record(world, run_id, e.RunStarted())

    ensure_equal(await matched(world, run_id, signal_wait("wait_a", "paid")), 2, "the first signal")


@promise("§1.6", need="lasting")
async def check_signals_and_waits_outlive_their_world(stage: Stage) -> None:
    """The lines of signals and waits are the same after the store was closed and opened again."""
    world = await stage.open()
    run_id = await begin(world, signal("paid", b"1"), signal_wait("wait_a", "sent", stage.clock.now()))

    world = await stage.reopen(world)
    await record(world, run_id, signal("sent"))

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, timed_out("wait_a")), 409, EntityConflictError)
    ensure_equal(await matched(world, run_id, signal_wait("wait_b", "paid")), 3, "the signal that was kept")
