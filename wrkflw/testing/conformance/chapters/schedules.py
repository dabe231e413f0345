"""Schedules: each instant is considered once, and makes at most one run, in the transaction that moves over it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from wrkflw.testing.clocks import START
from wrkflw.testing.conformance.acts import WORKFLOW, begin, creation, record
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import all_refused, ensure, ensure_equal, refusal
from wrkflw.testing.conformance.stage import NotOffered, Stage
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.errors import ScheduleNotFoundError
from wrkflw.world.schedules import MOST_MISSED, SCHEDULES_CHANGED, Instant, NewSchedule, Overlap, Schedule, key_of

HOURLY = "hourly"
HOUR = timedelta(hours=1)


async def defined(world: World, overlap: Overlap = "allow", timing: str = "0 * * * *") -> Schedule:
    """The one schedule that checks play with.  Its timing is text to a World."""
    new = NewSchedule(HOURLY, WORKFLOW, timing, "UTC", "latest", overlap)
    [schedule] = await world.storage.schedules.define([new])
    return schedule


def instant(hour: int, run_id: str | None = None, *, keyed: bool = True) -> Instant:
    """So many hours after the beginning, with its run."""
    moment = START + hour * HOUR
    key = key_of(HOURLY, moment) if keyed else None
    return Instant(moment, run_id or f"run-{hour}", creation(key=key))


async def made(world: World) -> list[str]:
    """The runs that there are, in the order in which they were created."""
    return [run.run_id for run in reversed((await world.storage.runs.list()).data)]


async def claimed(world: World) -> list[str]:
    """The runs that may begin now; they are taken."""
    due = await world.storage.runs.claim_due(owner=world.owner, workflow_names=[WORKFLOW], limit=10)
    return [run.run_id for run in due]


# --- at most one run for each instant ----------------------------------------------------------------


@promise("§ schedules", need="schedules")
async def check_runs_are_created_as_the_schedule_moves_on(stage: Stage) -> None:
    """The runs of the instants are there, due and with the key of their instant, when the schedule has moved on."""
    world = await stage.open()
    schedule, ledger = await defined(world), world.storage.schedules

    moved = await ledger.move(schedule, START + 2 * HOUR, [instant(1), instant(2)])

    ensure_equal((moved.moved, list(moved.run_ids), moved.ahead), (True, ["run-1", "run-2"], None), "what was made")
    after = await ledger.get(HOURLY)
    ensure_equal(after, moved.schedule, "how the schedule stands")
    ensure_equal((after.cursor, after.last_run_id), (START + 2 * HOUR, "run-2"), "cursor and last run")
    ensure_equal((await world.storage.runs.get("run-2")).idempotency_key, "cron:hourly:2026-03-01T14:00:00Z", "the key")
    ensure_equal(await claimed(world), ["run-1", "run-2"], "runs that may begin")


@promise("§ schedules", need="schedules")
async def check_of_many_who_move_a_schedule_on_one_does(stage: Stage) -> None:
    """Whoever else saw the schedule at the same place makes nothing, at once or later."""
    world = await stage.open()
    schedule = await defined(world)

    await _race(stage, schedule, [world] * 5)


@promise("§ schedules", need="lasting")
async def check_of_two_worlds_one_moves_a_schedule_on(stage: Stage) -> None:
    """Nor does it when it saw that in another process."""
    one, other = await stage.open(), await stage.open()
    if not one.capabilities.schedules:
        raise NotOffered("the World does not claim 'schedules'")
    schedule = await defined(one)

    await _race(stage, schedule, [one, other, one, other])


async def _race(stage: Stage, seen: Schedule, worlds: Sequence[World]) -> None:
    """All move the schedule on from where it was seen, and each has a run of its own, without a key to tell it by."""
    wishes = [
        world.storage.schedules.move(seen, START + HOUR, [instant(1, f"run-of-{number}", keyed=False)])
        for number, world in enumerate(worlds)
    ]
    moves = await asyncio.gather(*wishes)
    late = await worlds[0].storage.schedules.move(seen, START + HOUR, [instant(1, "run-of-late", keyed=False)])

    ensure_equal(sum(move.moved for move in moves), 1, "how many moved the schedule on")
    ensure_equal((late.moved, len(late.run_ids)), (False, 0), "what came of one that was late")
    ensure_equal({move.schedule.cursor for move in moves}, {START + HOUR}, "where it stands, in the eyes of all")
    ensure_equal(len(await made(worlds[0])), 1, "runs of the instant")


@promise("§ schedules", need="schedules")
async def check_a_move_that_is_refused_leaves_nothing(stage: Stage) -> None:
    """When one of the runs cannot be created, none is, and the schedule stands where it stood."""
    world = await stage.open()
    schedule, taken = await defined(world), await begin(world)
    ledger = world.storage.schedules

    await refusal(ledger.move(schedule, START + 2 * HOUR, [instant(1), instant(2, taken)]), 409)

    ensure_equal(await made(world), [taken], "runs")
    ensure_equal(await ledger.get(HOURLY), schedule, "the schedule")
    again = await ledger.move(schedule, START + 2 * HOUR, [instant(1), instant(2)])
    ensure_equal(list(again.run_ids), ["run-1", "run-2"], "runs of the second attempt")


@promise("§ schedules", need="schedules")
async def check_an_instant_that_has_a_run_makes_no_second(stage: Stage) -> None:
    """What was made by hand is not made again, by hand or when its time comes; what has no key is made each time."""
    world = await stage.open()
    schedule, ledger = await defined(world), world.storage.schedules

    by_hand = await ledger.make(HOURLY, [instant(1)], overlap="allow")
    again = await ledger.make(HOURLY, [instant(1, "again")], overlap="allow")
    moved = await ledger.move(schedule, START + 2 * HOUR, [instant(1, "once more"), instant(2)])
    for run_id in ("a", "b"):
        await ledger.make(HOURLY, [instant(2, run_id, keyed=False)], overlap="allow")

    ensure_equal((list(by_hand.run_ids), by_hand.schedule.cursor), (["run-1"], START), "what was made by hand")
    ensure_equal([*again.run_ids, *moved.run_ids], ["run-2"], "what was made after that")
    ensure_equal(await made(world), ["run-1", "run-2", "a", "b"], "runs")


# --- what the code and people say --------------------------------------------------------------------


@promise("§ schedules", need="schedules")
async def check_a_schedule_begins_when_it_is_first_heard_of(stage: Stage) -> None:
    """A new schedule stands at now, and so does one whose timing has changed; otherwise it goes on where it was."""
    world = await stage.open()
    schedule = await defined(world)
    stage.turn(hours=1)
    same, policy = await defined(world), await defined(world, "skip")
    timing = await defined(world, "skip", "30 * * * *")

    ensure_equal((schedule.cursor, schedule.paused_at, schedule.last_run_id), (START, None, None), "a new one")
    ensure_equal(same, schedule, "one that is defined as it was")
    ensure_equal((policy.cursor, policy.overlap), (START, "skip"), "one with another policy")
    ensure_equal((timing.cursor, timing.timing), (START + HOUR, "30 * * * *"), "one with another timing")
    stale = await world.storage.schedules.move(schedule, START + HOUR, [instant(1)])
    ensure_equal(stale.moved, False, "whether code with the old timing moves it on")
    ensure_equal(await world.storage.schedules.list(), [timing], "all schedules")


@promise("§ schedules", need="schedules")
async def check_a_paused_schedule_stands_still(stage: Stage) -> None:
    """It is not moved on until it is resumed, and then begins at now; to say either twice changes nothing."""
    world = await stage.open()
    schedule, ledger = await defined(world), world.storage.schedules
    paused = await ledger.pause(HOURLY)
    stage.turn(hours=3)
    ensure_equal(await ledger.pause(HOURLY), paused, "one that is paused again")

    for seen in (schedule, paused):
        moved = await ledger.move(seen, START + HOUR, [instant(1)])
        ensure_equal(moved.moved, False, "whether a paused schedule moves on")
    resumed = await ledger.resume(HOURLY)

    ensure_equal((paused.paused_at, paused.cursor), (START, START), "when it is paused")
    ensure_equal((resumed.paused_at, resumed.cursor), (None, START + 3 * HOUR), "when it is resumed")
    ensure_equal(await ledger.resume(HOURLY), resumed, "one that is resumed again")
    ensure_equal(await made(world), [], "runs")


@promise("§ schedules", need="schedules")
async def check_changes_are_told(stage: Stage) -> None:
    """Who listens hears of a schedule that is defined anew, paused or resumed, and finds it by its version."""
    world, heard = await stage.open(), list[str]()
    world.subscribe(lambda run_id, types: heard.extend(types if run_id == "" else ()))
    schedule, ledger = await defined(world), world.storage.schedules
    await ledger.pause(HOURLY)
    await ledger.resume(HOURLY)
    await stage.settle()

    ensure(heard.count(SCHEDULES_CHANGED) >= 3, f"three changes are told: {heard}")
    [changed] = await ledger.list(after_version=schedule.version)
    ensure(changed.version > schedule.version, "each change raises the version")
    ensure_equal(await ledger.list(after_version=changed.version), [], "what changed after the last change")


@promise("§ schedules", need="schedules")
async def check_an_unknown_schedule_is_not_found(stage: Stage) -> None:
    """Whatever takes the id of a schedule that there is not is 404."""
    world = await stage.open()
    schedule, ledger = await defined(world), world.storage.schedules
    unknown = replace(schedule, schedule_id="nothing")

    await all_refused(
        404, ScheduleNotFoundError,
        ledger.get("nothing"), ledger.pause("nothing"), ledger.resume("nothing"), ledger.missed("nothing"),
        ledger.make("nothing", [], overlap="allow"), ledger.move(unknown, START, []), ledger.next_turn("nothing"),
    )  # fmt: skip


# --- runs that may not overlap, and instants without a run -------------------------------------------


@promise("§ schedules", need="schedules")
async def check_an_instant_is_skipped_while_a_run_is_open(stage: Stage) -> None:
    """With ``skip`` it makes no run while one of the schedule is open, and is remembered with the reason."""
    world = await stage.open()
    schedule, ledger = await defined(world, "skip"), world.storage.schedules
    moved = await ledger.move(schedule, START + 2 * HOUR, [instant(1), instant(2)])
    missed = await ledger.missed(HOURLY)
    await record(world, "run-1", e.RunCancelled())
    after = await ledger.move(moved.schedule, START + 3 * HOUR, [instant(3)])

    ensure_equal([(item.at, "run-1" in item.reason) for item in missed], [(START + 2 * HOUR, True)], "what was missed")
    ensure_equal(list(after.run_ids), ["run-3"], "runs once the first has ended")


@promise("§ schedules", need="schedules")
async def check_runs_wait_for_their_turn(stage: Stage) -> None:
    """With ``queue`` a run is recorded, and due for nobody until those before it have ended and it is let begin."""
    world = await stage.open()
    schedule, ledger = await defined(world, "queue"), world.storage.schedules

    moved = await ledger.move(schedule, START + 3 * HOUR, [instant(1), instant(2), instant(3)])

    ensure_equal((moved.ahead, list(await ledger.waiting())), ("run-1", [HOURLY]), "who is waited for, and where")
    ensure_equal(await ledger.next_turn(HOURLY), "run-1", "who is waited for, when asked")
    ensure_equal(await claimed(world), ["run-1"], "runs that may begin")
    await record(world, "run-1", e.RunCancelled())
    ensure_equal((await ledger.next_turn(HOURLY), await claimed(world)), ("run-2", ["run-2"]), "the second turn")
    await record(world, "run-2", e.RunCancelled())
    ensure_equal((await ledger.next_turn(HOURLY), await claimed(world)), (None, ["run-3"]), "the third turn")
    ensure_equal(list(await ledger.waiting()), [], "where somebody waits")


@promise("§ schedules", need="schedules")
async def check_instants_without_a_run_are_remembered(stage: Stage) -> None:
    """With their reasons, newest first, a bounded number of them, and until there is a run after all."""
    world = await stage.open()
    schedule, ledger = await defined(world), world.storage.schedules
    failed = [Instant(START + hour * HOUR, failure=f"no {hour}") for hour in range(1, MOST_MISSED + 3)]
    await ledger.move(schedule, failed[-1].at, failed)

    missed = [item.at for item in await ledger.missed(HOURLY)]
    await ledger.make(HOURLY, [instant(MOST_MISSED + 2)], overlap="allow")

    newest_first = [item.at for item in reversed(failed)]
    ensure_equal(missed, newest_first[:MOST_MISSED], "what is remembered")
    left = [(item.at, item.reason) for item in await ledger.missed(HOURLY)]
    ensure_equal(left[:1], [(failed[-2].at, failed[-2].failure)], "the newest once the last was made up for")


@promise("§ schedules", need="lasting")
async def check_schedules_of_other_namespaces_are_not_seen(stage: Stage) -> None:
    """A namespace has schedules of its own, also of the same id."""
    home, away = await stage.open(), await stage.open("shop")
    if not home.capabilities.schedules:
        raise NotOffered("the World does not claim 'schedules'")
    schedule = await defined(home)
    ensure_equal(await away.storage.schedules.list(), [], "schedules elsewhere, before there are any")

    await defined(away, "queue")
    await away.storage.schedules.pause(HOURLY)

    ensure_equal(await home.storage.schedules.list(), [schedule], "schedules at home")
