"""The ledger of schedules in SQLite: each instant is considered once, whoever asks, and in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import START, ManualClock
from wrkflw.world import events as e
from wrkflw.world.errors import ScheduleNotFoundError
from wrkflw.world.schedules import MOST_MISSED, Instant, NewSchedule, Overlap, Schedule, key_of
from wrkflw.worlds.sqlite import SqliteWorld

HOUR = timedelta(hours=1)


@pytest.fixture
async def world(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "ledger.db", clock=clock)
    await world.start()
    yield world
    await world.close()


def daily(overlap: Overlap = "allow", timing: str = "@daily") -> NewSchedule:
    return NewSchedule("daily", "greet", timing, "UTC", "latest", overlap)


async def defined(world: SqliteWorld, new: NewSchedule) -> Schedule:
    [schedule] = await world.storage.schedules.define([new])
    return schedule


def instant(
    number: int, *, run_id: str | None = None, input: bytes = b"1", keyed: bool = True, workflow: str = "greet"
) -> Instant:
    """The n-th hour after the beginning, with its run."""
    moment = START + number * HOUR
    key = key_of("daily", moment) if keyed else None
    created = e.RunCreated(workflow_name=workflow, input=input, idempotency_key=key)
    return Instant(moment, run_id or f"r-{number}", created)


async def runs(world: SqliteWorld) -> list[str]:
    return [run.run_id for run in reversed((await world.storage.runs.list()).data)]


async def test_a_new_schedule_begins_now(world: SqliteWorld) -> None:
    schedule = await defined(world, daily())

    assert schedule == Schedule("daily", "greet", "@daily", "UTC", "latest", "allow", START, None, None, 1)
    assert await world.storage.schedules.list() == [schedule]


async def test_what_is_defined_again_as_it_was_goes_on_where_it_is(world: SqliteWorld, clock: ManualClock) -> None:
    schedule = await defined(world, daily())
    clock.turn("1h")

    assert await defined(world, daily()) == schedule


async def test_another_policy_changes_no_instant_and_another_timing_begins_now(
    world: SqliteWorld, clock: ManualClock
) -> None:
    await defined(world, daily())
    clock.turn("1h")

    policy, timing = await defined(world, daily("skip")), await defined(world, daily("skip", "@weekly"))

    assert (policy.cursor, policy.overlap, policy.version) == (START, "skip", 2)
    assert (timing.cursor, timing.timing, timing.version) == (START + HOUR, "@weekly", 3)


async def test_the_cursor_never_goes_back_with_the_clock(world: SqliteWorld, clock: ManualClock) -> None:
    await defined(world, daily())
    clock.turn(-HOUR)
    await world.storage.schedules.pause("daily")

    assert (await world.storage.schedules.resume("daily")).cursor == START
    assert (await defined(world, daily(timing="@weekly"))).cursor == START


async def test_run_and_cursor_are_one_transaction(world: SqliteWorld) -> None:
    schedule = await defined(world, daily())

    moved = await world.storage.schedules.move(schedule, START + HOUR, [instant(1)])

    assert (moved.moved, moved.run_ids, moved.schedule.cursor, moved.schedule.last_run_id) == (
        True, ["r-1"], START + HOUR, "r-1",
    )  # fmt: skip
    assert (await world.storage.runs.get("r-1")).idempotency_key == "cron:daily:2026-03-01T13:00:00Z"


async def test_of_many_who_move_it_on_one_does(world: SqliteWorld) -> None:
    schedule, ledger = await defined(world, daily()), world.storage.schedules
    wishes = [ledger.move(schedule, START + HOUR, [instant(1, run_id=f"r-of-{who}")]) for who in "abc"]

    moves = await asyncio.gather(*wishes)

    assert sorted(move.moved for move in moves) == [False, False, True]
    assert len(await runs(world)) == 1
    assert {move.schedule.cursor for move in moves} == {START + HOUR}


async def test_of_two_worlds_one_moves_it_on(world: SqliteWorld, tmp_path: Path, clock: ManualClock) -> None:
    schedule = await defined(world, daily())
    other = SqliteWorld(tmp_path / "ledger.db", clock=clock)
    await other.start()

    moves = await asyncio.gather(
        world.storage.schedules.move(schedule, START + HOUR, [instant(1, run_id="r-here")]),
        other.storage.schedules.move(schedule, START + HOUR, [instant(1, run_id="r-there")]),
    )
    await other.close()

    assert sorted(move.moved for move in moves) == [False, True]
    assert len(await runs(world)) == 1


async def test_a_paused_or_changed_schedule_is_not_moved_on(world: SqliteWorld) -> None:
    schedule, ledger = await defined(world, daily()), world.storage.schedules
    await ledger.pause("daily")
    paused = await ledger.move(schedule, START + HOUR, [instant(1)])
    await ledger.resume("daily")
    changed = await ledger.move(await defined(world, daily(timing="@weekly")), START, [])
    stale = await ledger.move(schedule, START + HOUR, [instant(1)])

    assert (paused.moved, changed.moved, stale.moved) == (False, True, False)
    assert await runs(world) == []


async def test_an_instant_that_was_made_by_hand_is_not_made_again(world: SqliteWorld) -> None:
    schedule, ledger = await defined(world, daily()), world.storage.schedules
    made = await ledger.make("daily", [instant(1)], overlap="allow")

    moved = await ledger.move(schedule, START + 2 * HOUR, [instant(1, run_id="again"), instant(2)])

    assert (made.run_ids, made.schedule.cursor, moved.run_ids) == (["r-1"], START, ["r-2"])


async def test_an_instant_that_was_made_for_another_workflow_is_not_made_again(world: SqliteWorld) -> None:
    """Also where nothing tells any more of which workflow the schedule was: its last run is deleted."""
    await defined(world, daily())
    ledger = world.storage.schedules
    await ledger.make("daily", [instant(1), instant(2)], overlap="allow")
    await world.storage.events.create("r-2", e.RunCancelled())
    await world.storage.runs.delete("r-2")
    schedule = await defined(world, daily()._replace(workflow_name="other"))

    hours = [instant(number, run_id=f"new-{number}", workflow="other") for number in (1, 2, 3)]
    moved = await ledger.move(schedule, START + 3 * HOUR, hours)

    assert moved.run_ids == ["new-2", "new-3"]
    assert await runs(world) == ["r-1", "new-2", "new-3"]


async def test_what_has_no_key_is_made_each_time(world: SqliteWorld) -> None:
    await defined(world, daily())
    ledger = world.storage.schedules

    await ledger.make("daily", [instant(1, keyed=False)], overlap="allow")
    await ledger.make("daily", [instant(1, run_id="again", keyed=False)], overlap="allow")

    assert await runs(world) == ["r-1", "again"]


async def test_a_run_that_waits_is_due_for_nobody_until_its_turn(world: SqliteWorld) -> None:
    schedule, ledger = await defined(world, daily("queue")), world.storage.schedules
    moved = await ledger.move(schedule, START + 3 * HOUR, [instant(1), instant(2), instant(3)])
    waiting = await ledger.waiting()
    while_open = await ledger.next_turn("daily")
    [first] = await claimed(world)
    await world.storage.events.create("r-1", e.RunCancelled())
    after, [second] = await ledger.next_turn("daily"), await claimed(world)
    await world.storage.events.create("r-2", e.RunCancelled())
    last, [third] = await ledger.next_turn("daily"), await claimed(world)

    assert (moved.ahead, waiting, while_open) == ("r-1", ["daily"], "r-1")
    assert (first, second, third) == ("r-1", "r-2", "r-3")
    assert (after, last, await ledger.waiting()) == ("r-2", None, [])


async def claimed(world: SqliteWorld) -> list[str]:
    due = await world.storage.runs.claim_due(owner=world.owner, workflow_names=["greet"], limit=10)
    return [run.run_id for run in due]


async def test_a_schedule_whose_runs_may_overlap_has_no_line(world: SqliteWorld) -> None:
    await defined(world, daily())

    moved = await world.storage.schedules.make("daily", [instant(1), instant(2)], overlap="queue")

    assert (moved.ahead, await claimed(world)) == (None, ["r-1", "r-2"])


async def test_instants_without_a_run_are_remembered_up_to_a_number(world: SqliteWorld) -> None:
    schedule, ledger = await defined(world, daily()), world.storage.schedules
    failures = [Instant(START + number * HOUR, failure=f"no {number}") for number in range(1, MOST_MISSED + 11)]
    await ledger.move(schedule, failures[-1].at, failures)

    missed = await ledger.missed("daily")

    assert len(missed) == MOST_MISSED
    assert missed[0] == (START + 110 * HOUR, "no 110")


async def test_a_large_input_is_kept_like_any_other(world: SqliteWorld) -> None:
    schedule, large = await defined(world, daily()), b'"' + b"x" * 100_000 + b'"'

    await world.storage.schedules.move(schedule, START + HOUR, [instant(1, input=large)])

    assert (await world.storage.runs.get("r-1")).input == large


async def test_who_listens_hears_of_changes_and_not_of_moves(world: SqliteWorld) -> None:
    heard: list[tuple[str, Any]] = []
    world.subscribe(lambda run_id, types: heard.append((run_id, tuple(types))))
    schedule, ledger = await defined(world, daily()), world.storage.schedules
    await ledger.pause("daily")
    await ledger.resume("daily")
    await ledger.move(await ledger.get("daily"), START + HOUR, [])

    assert heard == [("", ("schedules_changed",))] * 3
    assert [one.version for one in await ledger.list(after_version=schedule.version)] == [3]
    assert await ledger.list(after_version=3) == []


async def test_a_namespace_has_schedules_of_its_own(world: SqliteWorld, tmp_path: Path, clock: ManualClock) -> None:
    await defined(world, daily())
    other = SqliteWorld(tmp_path / "ledger.db", clock=clock, namespace="other")
    await other.start()
    seen = await other.storage.schedules.list()
    await other.close()

    assert seen == []


async def test_a_schedule_that_there_is_not_is_named(world: SqliteWorld) -> None:
    with pytest.raises(ScheduleNotFoundError, match="schedule 'nothing' was not found"):
        await world.storage.schedules.get("nothing")
    with pytest.raises(ScheduleNotFoundError):
        await world.storage.schedules.make("nothing", [], overlap="allow")
