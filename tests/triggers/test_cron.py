"""Schedules, from a workflow's definition to the runs that they start, on a clock that the tests turn."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import DefinitionError, Runtime, SuspendContext, Workflow, create_workflow, step
from wrkflw.testing import Crashed, TestRuntime
from wrkflw.triggers import Fire, at, cron, every
from wrkflw.world.errors import ScheduleNotFoundError
from wrkflw.worlds.sqlite import SqliteWorld

BERLIN = "Europe/Berlin"


def noting(id: str = "noting") -> Workflow[str, str, None]:
    @step
    async def note(text: str) -> str:
        return text

    return create_workflow(id=id, input_schema=str, output_schema=str).then(note).commit()


def asking() -> Workflow[str, str, None]:
    """Ends when it is answered."""

    @step(id="ask")
    async def ask(text: str, ctx: SuspendContext[str, None]) -> str:
        return f"{text} {ctx.suspend(None)}"

    return create_workflow(id="asking", input_schema=str, output_schema=str).then(ask).commit()


def moment_of(fire: Fire) -> str:
    return f"{fire.at:%d %H:%M %Z}"


async def outputs(runtime: Runtime) -> list[object]:
    """Of the runs that have ended, in the order in which they were created."""
    found = [await runtime.runs.snapshot(run.run_id) for run in (await runtime.runs.list(limit=1000)).data]
    return [run.result for run in reversed(found) if run.status == "completed"]


async def statuses(runtime: Runtime) -> list[str]:
    """Of all runs, in the order in which they were created."""
    return [run.status for run in reversed((await runtime.runs.list(limit=1000)).data)]


# --- definition --------------------------------------------------------------------------------------


async def test_a_workflow_runs_when_its_cron_expression_says() -> None:
    workflow = noting()
    cron(workflow, "0 9 * * mon-fri", timezone=BERLIN, input=moment_of)

    async with TestRuntime(workflows=[workflow]) as runtime:  # on a Sunday, at noon
        await runtime.advance("7d")

        assert await outputs(runtime) == [f"0{day} 09:00 CET" for day in (2, 3, 4, 5, 6)]


async def test_the_time_of_day_stays_when_the_clock_is_put_forward() -> None:
    workflow = noting()
    cron(workflow, "0 9 * * *", timezone=BERLIN, input=moment_of)

    async with TestRuntime(workflows=[workflow], start=datetime(2026, 3, 28, 0, tzinfo=UTC)) as runtime:
        await runtime.advance("2d")

        assert await outputs(runtime) == ["28 09:00 CET", "29 09:00 CEST"]


async def test_a_workflow_without_input_needs_no_function() -> None:
    @step
    async def tick(data: None) -> int:
        return 1

    ticking = create_workflow(id="ticking", input_schema=None, output_schema=int).then(tick).commit()
    ticking.on_cron("@hourly")

    async with TestRuntime(workflows=[ticking]) as runtime:
        await runtime.advance("3h")

        assert await outputs(runtime) == [1, 1, 1]


async def test_distances_and_moments_stand_where_an_expression_can() -> None:
    workflow = noting()
    workflow.on_cron(every("20m"), input=moment_of)
    workflow.on_cron(at(datetime(2026, 3, 1, 12, 30, tzinfo=UTC)), id="once", input=lambda fire: fire.schedule_id)

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("1h")

        assert await outputs(runtime) == ["01 12:20 UTC", "once", "01 12:40 UTC", "01 13:00 UTC"]


async def test_a_moment_that_has_passed_when_it_is_first_heard_of_starts_nothing() -> None:
    workflow = noting()
    workflow.on_cron(at(datetime(2026, 3, 1, 11, tzinfo=UTC)), input=moment_of)

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("1d")

        assert await outputs(runtime) == []


async def test_a_producer_starts_nothing() -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of)

    async with TestRuntime(workflows=[workflow], worker=False) as runtime:
        await runtime.advance("1d")

        assert await outputs(runtime) == []
        assert await runtime.schedules.list() == []


async def test_a_workflow_that_is_not_listed_starts_nothing() -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of)

    async with TestRuntime() as runtime:
        await workflow.run("by hand")
        await runtime.advance("1d")

        assert await outputs(runtime) == ["by hand"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"id": "a b"}, "'a b' cannot be a schedule id"),
        ({"timezone": "Europe/Berln"}, "did you mean 'Europe/Berlin'"),
        ({"catchup": "last"}, "catchup= is one of 'skip', 'latest', 'all', got 'last'"),
        ({"overlap": "allowed"}, "overlap= is one of 'allow', 'skip', 'queue', got 'allowed'; did you mean 'allow'"),
        ({"catchup": "all", "catchup_max": 0}, "catchup_max=0 would catch up with nothing; use catchup='skip'"),
    ],
)
def test_options_are_checked_at_definition(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        cron(noting(), "@hourly", input=moment_of, **options)


def test_an_option_that_there_is_not_is_refused() -> None:
    misspelt: dict[str, Any] = {"timezon": BERLIN}

    with pytest.raises(TypeError, match="unknown option 'timezon'; did you mean 'timezone'"):
        cron(noting(), "@hourly", input=moment_of, **misspelt)


def test_a_workflow_that_takes_something_must_be_given_it() -> None:
    workflow: Any = noting()

    with pytest.raises(DefinitionError, match="schedule 'noting' gives no input, and workflow 'noting' takes str"):
        cron(workflow, "@hourly")


def test_each_schedule_has_an_id_of_its_own() -> None:
    workflow, other = noting(), noting("other")
    cron(workflow, "@hourly", input=moment_of)
    cron(other, "@hourly", id="noting", input=moment_of)

    with pytest.raises(DefinitionError, match="workflow 'noting' already has a schedule 'noting'; give the second one"):
        cron(workflow, "@daily", input=moment_of)
    with pytest.raises(DefinitionError, match="schedule 'noting' is of workflow 'noting' and of workflow 'other'"):
        Runtime(":memory:", workflows=[workflow, other])


def test_a_workflow_under_another_id_has_no_schedules() -> None:
    workflow = noting()
    schedule = cron(workflow, "@hourly", input=moment_of)

    assert workflow.schedules == (schedule,)
    assert workflow.with_id("other").schedules == ()


def test_to_define_a_schedule_takes_no_calendar() -> None:
    program = "import sys, wrkflw.triggers; print('apscheduler' in sys.modules)"

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout == "False\n"


# --- at most once ------------------------------------------------------------------------------------


async def test_two_processes_start_one_run_for_each_instant(clock: ManualClock, database: str) -> None:
    workflow = noting()
    workflow.on_cron(every("1m"), input=moment_of)

    async with (
        Runtime(database, clock=clock, workflows=[workflow]) as one,
        Runtime(database, clock=clock, workflows=[workflow]) as other,
    ):
        for minute in range(1, 11):
            clock.turn("1m")
            await begun(one, minute)
            await begun(other, minute)

        assert len(await statuses(one)) == 10


async def begun(runtime: Runtime, runs: int) -> None:
    """Wait until there are so many runs, and for whoever else may be about to start one."""
    while len(await statuses(runtime)) < runs:
        await settle(1)
    await settle()
    await runtime.world.storage.settled()


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("commit", [1, 2, 3])
async def test_wherever_the_process_dies_each_instant_has_one_run(
    side: Literal["before", "after"], commit: int
) -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of)

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("0s")
        runtime.life.count_commits(side, commit)
        with pytest.raises(Crashed):
            await runtime.advance("2h")
        await runtime.restart()
        await runtime.advance("3h")

        assert (await outputs(runtime))[:3] == ["01 13:00 UTC", "01 14:00 UTC", "01 15:00 UTC"]
        await runtime.assert_consistent()


async def test_a_clock_that_is_turned_back_makes_no_second_run(clock: ManualClock) -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of)

    async with Runtime(":memory:", clock=clock, workflows=[workflow]) as runtime:
        await settle()
        clock.turn("1h")
        await settle()
        clock.turn(timedelta(minutes=-90))
        await settle()
        clock.turn("90m")
        await settle()
        clock.turn("1h")
        await settle()

        assert await outputs(runtime) == ["01 13:00 UTC", "01 14:00 UTC"]


# --- catching up -------------------------------------------------------------------------------------


@asynccontextmanager
async def after_a_pause(
    workflow: Workflow[str, str, None], clock: ManualClock, database: str, pause: str
) -> AsyncIterator[Runtime]:
    """A runtime that is opened some time after another has made the schedules known, and was closed."""
    async with Runtime(database, clock=clock, workflows=[workflow]):
        pass
    clock.turn(pause)
    async with Runtime(database, clock=clock, workflows=[workflow]) as runtime:
        await settle()
        await runtime.world.storage.settled()
        await settle()
        yield runtime


async def test_what_was_missed_makes_one_run_for_the_latest(
    clock: ManualClock, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of)

    async with after_a_pause(workflow, clock, database, "5h 30m") as runtime:
        assert await outputs(runtime) == ["01 17:00 UTC"]
    assert "schedule 'noting': instants from 2026-03-01 13:00:00+00:00 on" in caplog.text


async def test_or_one_for_each_of_the_last(clock: ManualClock, database: str) -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of, catchup="all", catchup_max=3)

    async with after_a_pause(workflow, clock, database, "5h 30m") as runtime:
        assert await outputs(runtime) == ["01 15:00 UTC", "01 16:00 UTC", "01 17:00 UTC"]


@pytest.mark.parametrize(("pause", "expected"), [("5h 30m", []), ("5h 59s", ["01 17:00 UTC"])])
async def test_or_none_unless_it_is_hardly_late(
    clock: ManualClock, database: str, pause: str, expected: list[str]
) -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of, catchup="skip")

    async with after_a_pause(workflow, clock, database, pause) as runtime:
        assert await outputs(runtime) == expected


async def test_another_expression_counts_from_when_it_is_heard_of(clock: ManualClock, database: str) -> None:
    before, after = noting(), noting()
    before.on_cron("0 * * * *", input=moment_of)
    after.on_cron("30 * * * *", input=moment_of)
    async with Runtime(database, clock=clock, workflows=[before]):
        pass
    clock.turn("55m")  # half past twelve has passed when the code is changed

    async with Runtime(database, clock=clock, workflows=[after]) as runtime:
        await settle()
        clock.turn("35m")
        await settle()

        assert await outputs(runtime) == ["01 13:30 UTC"]


async def test_older_code_leaves_a_changed_schedule_to_the_newer(
    clock: ManualClock, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wrkflw")
    older, newer = noting(), noting()
    older.on_cron("0 * * * *", input=lambda fire: f"older {moment_of(fire)}")
    newer.on_cron("30 * * * *", input=lambda fire: f"newer {moment_of(fire)}")

    async with (
        Runtime(database, clock=clock, workflows=[older]) as one,
        Runtime(database, clock=clock, workflows=[newer]) as _,
    ):
        while "is left to processes with newer code" not in caplog.text:
            await settle(1)
        clock.turn("1h")
        await begun(one, 1)
        while not await outputs(one):
            await settle(1)

        assert await outputs(one) == ["newer 01 12:30 UTC"]


# --- overlapping -------------------------------------------------------------------------------------


async def answer_all(workflow: Workflow[str, str, None], runtime: Runtime, text: str = "yes") -> None:
    ask: Any = workflow.graph.steps["ask"]
    for info in (await runtime.runs.list(waiting_for="suspended")).data:
        await (await workflow.get_run(info.run_id)).resume(ask, text)
    await runtime.world.storage.settled()
    await settle()


async def test_runs_stand_beside_each_other_when_they_may() -> None:
    workflow = asking()
    workflow.on_cron("@hourly", input=moment_of)

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("3h")

        assert await statuses(runtime) == ["running"] * 3


async def test_an_instant_makes_no_run_while_an_earlier_one_is_open() -> None:
    workflow = asking()
    workflow.on_cron("@hourly", input=moment_of, overlap="skip")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("2h")
        [open_run] = (await runtime.runs.list()).data
        [info] = await runtime.schedules.list()
        await answer_all(workflow, runtime)
        await runtime.advance("2h")

        [missed] = info.missed
        assert missed == (
            datetime(2026, 3, 1, 14, tzinfo=UTC),
            f"run '{open_run.run_id}' of the schedule was still open",
        )
        assert await statuses(runtime) == ["completed", "running"]
        assert await outputs(runtime) == ["01 13:00 UTC yes"]


async def test_a_run_waits_until_those_before_it_have_ended() -> None:
    workflow = asking()
    workflow.on_cron("@hourly", input=moment_of, overlap="queue")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("3h")
        assert await statuses(runtime) == ["running", "pending", "pending"]
        await runtime.assert_consistent()
        seen: list[list[str]] = []
        for _ in range(3):
            await answer_all(workflow, runtime)
            await runtime.advance("0s")
            seen.append(await statuses(runtime))

        assert seen == [
            ["completed", "running", "pending"],
            ["completed", "completed", "running"],
            ["completed", "completed", "completed"],
        ]
        assert await outputs(runtime) == [f"01 {hour}:00 UTC yes" for hour in (13, 14, 15)]


async def test_who_waits_begins_also_when_the_process_that_knew_of_it_has_died() -> None:
    workflow = asking()
    workflow.on_cron("@hourly", input=moment_of, overlap="queue")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("2h")
        await runtime.restart()
        await answer_all(workflow, runtime)
        await runtime.advance("0s")

        assert await statuses(runtime) == ["completed", "running"]


async def test_a_run_that_was_cancelled_keeps_nobody_waiting() -> None:
    workflow = asking()
    workflow.on_cron("@hourly", input=moment_of, overlap="queue")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("3h")
        last, middle, first = (await runtime.runs.list()).data
        await runtime.runs.cancel_many([middle.run_id, first.run_id])
        await runtime.advance("0s")

        assert (await runtime.runs.get(last.run_id)).status == "running"


# --- what cannot be made -----------------------------------------------------------------------------


async def test_an_instant_whose_input_cannot_be_made_is_remembered_and_can_be_run_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    workflow, broken = noting(), [True]

    def input_of(fire: Fire) -> str:
        if broken and fire.at.hour == 13:
            raise LookupError("no recipients")
        return moment_of(fire)

    workflow.on_cron("@hourly", input=input_of)
    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("2h")
        [info] = await runtime.schedules.list()
        broken.clear()
        one = datetime(2026, 3, 1, 13, tzinfo=UTC)
        await runtime.schedules.backfill("noting", one, one)
        await runtime.advance("0s")

        assert info.missed == ((one, "its input could not be made: LookupError: no recipients"),)
        assert "schedule 'noting' makes no run at 2026-03-01 13:00:00+00:00" in caplog.text
        assert await outputs(runtime) == ["01 14:00 UTC", "01 13:00 UTC"]
        assert (await runtime.schedules.get("noting")).missed == ()


async def test_an_input_that_does_not_fit_is_remembered(caplog: pytest.LogCaptureFixture) -> None:
    workflow = noting()
    wrong: Any = lambda fire: 17  # noqa: E731
    workflow.on_cron("@hourly", input=wrong)

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("1h")
        [info] = await runtime.schedules.list()

        assert "does not fit str" in info.missed[0].reason


async def test_what_the_database_refuses_is_tried_again(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    workflow, refusals = noting(), list[sqlite3.Error]()

    def refuse(statement: str) -> None:
        if statement == "COMMIT" and refusals:
            raise refusals.pop()

    workflow.on_cron("@hourly", input=moment_of)
    world = SqliteWorld(":memory:", clock=clock, on_statement=refuse)
    async with Runtime(world=world, clock=clock, workflows=[workflow]) as runtime:
        await settle()
        refusals.append(sqlite3.OperationalError("disk I/O error"))
        clock.turn("1h")
        await settle()
        assert await statuses(runtime) == []
        clock.turn("5s")
        await settle()

        assert await outputs(runtime) == ["01 13:00 UTC"]
    assert "schedule 'noting' could not be moved on; trying again in 0:00:05" in caplog.text


# --- by hand -----------------------------------------------------------------------------------------


async def test_a_schedule_is_listed_with_its_next_instant_and_its_last_run() -> None:
    workflow = noting()
    workflow.on_cron("0 9 * * *", timezone=BERLIN, input=moment_of, overlap="skip", catchup="all")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("1d")
        [run] = (await runtime.runs.list()).data
        [info] = await runtime.schedules.list()

        assert (info.id, info.workflow_id, info.timing, info.timezone) == ("noting", "noting", "0 9 * * *", BERLIN)
        assert (info.catchup, info.overlap, info.paused_at) == ("all", "skip", None)
        assert (info.next_at, info.last_run_id) == (datetime(2026, 3, 3, 8, tzinfo=UTC), run.run_id)


async def test_a_paused_schedule_starts_nothing_and_does_not_catch_up() -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of, catchup="all")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("1h")
        paused = await runtime.schedules.pause("noting")
        await runtime.advance("2h 30m")
        resumed = await runtime.schedules.resume("noting")
        await runtime.advance("1h")

        assert (paused.paused_at, paused.next_at) == (datetime(2026, 3, 1, 13, tzinfo=UTC), None)
        assert (resumed.paused_at, resumed.next_at) == (None, datetime(2026, 3, 1, 16, tzinfo=UTC))
        assert await outputs(runtime) == ["01 13:00 UTC", "01 16:00 UTC"]


async def test_another_process_hears_of_a_pause(clock: ManualClock, database: str) -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of)

    async with (
        Runtime(database, clock=clock, workflows=[workflow]) as one,
        Runtime(database, clock=clock, worker=False) as other,
    ):
        await other.schedules.pause("noting")
        clock.turn("1h")
        await settle()
        await one.world.storage.settled()
        assert await statuses(one) == []
        await other.schedules.resume("noting")
        await settle()
        clock.turn("1h")
        await begun(one, 1)

        assert len(await statuses(one)) == 1


async def test_a_run_is_triggered_now_and_beside_all_others() -> None:
    workflow = asking()
    workflow.on_cron("@daily", input=moment_of, overlap="queue")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.schedules.pause("asking")
        ids = [await runtime.schedules.trigger("asking"), await runtime.schedules.trigger("asking")]
        await runtime.advance("0s")

        assert await statuses(runtime) == ["running", "running"]
        assert [run.run_id for run in reversed((await runtime.runs.list()).data)] == ids


async def test_what_an_input_function_raises_goes_to_who_triggers() -> None:
    workflow = noting()

    def input_of(fire: Fire) -> str:
        raise LookupError("no recipients")

    workflow.on_cron("@daily", input=input_of)
    async with TestRuntime(workflows=[workflow]) as runtime:
        with pytest.raises(LookupError, match="no recipients"):
            await runtime.schedules.trigger("noting")


async def test_a_backfill_makes_the_runs_that_there_are_not() -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of)

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("2h")
        ids = await runtime.schedules.backfill("noting", runtime.now - timedelta(hours=4), runtime.now)
        again = await runtime.schedules.backfill("noting", runtime.now - timedelta(hours=4), runtime.now)
        await runtime.advance("1h")

        assert (len(ids), again) == (3, [])
        assert await outputs(runtime) == [f"01 {hour}:00 UTC" for hour in (13, 14, 10, 11, 12, 15)]


async def test_a_backfill_of_runs_that_do_not_overlap_is_done_one_by_one() -> None:
    workflow = asking()
    workflow.on_cron("@hourly", input=moment_of, overlap="skip")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.schedules.backfill("asking", runtime.now - timedelta(hours=1), runtime.now)
        await runtime.advance("0s")
        assert await statuses(runtime) == ["running", "pending"]
        await answer_all(workflow, runtime)
        await runtime.advance("0s")

        assert await statuses(runtime) == ["completed", "running"]


async def test_a_backfill_is_about_a_stretch_of_the_past() -> None:
    workflow = noting()
    workflow.on_cron(every("1s"), input=moment_of)

    async with TestRuntime(workflows=[workflow]) as runtime:
        backfill, now = runtime.schedules.backfill, runtime.now
        with pytest.raises(ValueError, match=r"backfill\(\) takes moments with a timezone, got 2026-03-01T12:00:00"):
            await backfill("noting", now.replace(tzinfo=None), now)
        with pytest.raises(ValueError, match=r"backfill\(\) is about what has passed, and .* is to come"):
            await backfill("noting", now, now + timedelta(seconds=1))
        with pytest.raises(ValueError, match=r"backfill\(\) takes 1,000 instants at a time, and there are more"):
            await backfill("noting", now - timedelta(hours=1), now)


async def test_what_is_not_known_is_named() -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of)

    async with TestRuntime(workflows=[workflow]) as runtime:
        with pytest.raises(ScheduleNotFoundError, match="schedule 'nothing' was not found"):
            await runtime.schedules.pause("nothing")


async def test_only_who_has_the_code_can_start_a_run(clock: ManualClock, database: str) -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of)
    async with Runtime(database, clock=clock, workflows=[workflow]):
        pass

    async with Runtime(database, clock=clock) as runtime:
        assert [info.id for info in await runtime.schedules.list()] == ["noting"]
        with pytest.raises(DefinitionError, match="schedule 'noting' is of no workflow that this runtime lists"):
            await runtime.schedules.trigger("noting")
