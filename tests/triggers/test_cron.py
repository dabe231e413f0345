"""At most one run for each instant, whoever dies, sleeps or changes the code."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from tests.clocks import ManualClock, settle
from tests.mute import UNKEEPABLE
from wrkflw import Runtime, Workflow
from wrkflw.testing import Crashed, TestRuntime
from wrkflw.triggers import Fire, every
from wrkflw.worlds.sqlite import SqliteWorld

from .scheduled import begun, moment_of, noting, outputs, statuses


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


async def test_who_waits_for_the_next_instant_asks_the_database_nothing(clock: ManualClock) -> None:
    workflow, statements = noting(), list[str]()
    for hour in range(24):
        workflow.on_cron(f"0 {hour} * * *", id=f"at-{hour}", input=moment_of)
    world = SqliteWorld(":memory:", clock=clock, on_statement=statements.append)

    async with Runtime(world=world, clock=clock, workflows=[workflow]) as runtime:
        await settle()
        statements.clear()
        for _ in range(59):
            clock.turn("1m")
            await settle()
        assert [statement for statement in statements if "schedule" in statement] == []
        clock.turn("1m")
        await settle()

        assert [statement for statement in statements if "schedule" in statement] != []
        assert await outputs(runtime) == ["01 13:00 UTC"]


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


async def test_and_then_one_for_each_that_is_hardly_late(
    clock: ManualClock, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    workflow = noting()
    workflow.on_cron(every("20s"), input=lambda fire: f"{fire.at:%M:%S}", catchup="skip")

    async with after_a_pause(workflow, clock, database, "2m") as runtime:
        assert await outputs(runtime) == ["01:00", "01:20", "01:40", "02:00"]
    assert "instants from 2026-03-01 12:00:20+00:00 on, up to 2026-03-01 12:01:00+00:00, came while" in caplog.text


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


@pytest.mark.parametrize("changed", ["workflow", "catchup"])
async def test_older_code_leaves_a_schedule_in_which_anything_was_changed(
    clock: ManualClock, database: str, caplog: pytest.LogCaptureFixture, changed: str
) -> None:
    caplog.set_level(logging.INFO, "wrkflw")
    older, newer = noting(), noting("other" if changed == "workflow" else "noting")
    older.on_cron("@hourly", id="daily", input=lambda fire: f"older {moment_of(fire)}", catchup="all")
    catchup: Literal["all", "latest"] = "latest" if changed == "catchup" else "all"
    newer.on_cron("@hourly", id="daily", input=lambda fire: f"newer {moment_of(fire)}", catchup=catchup)

    async with Runtime(database, clock=clock, workflows=[older]) as one:
        async with Runtime(database, clock=clock, workflows=[newer]) as other:
            async with asyncio.timeout(20):
                while f"left to processes with newer code: {changed} " not in caplog.text:
                    await settle(1)
            clock.turn("1h")
            await begun(other, 1)
            while not await outputs(other):
                await settle(1)
        clock.turn("3h")
        await settle()

        assert await outputs(one) == ["newer 01 13:00 UTC"]


async def test_an_instant_makes_no_second_run_when_the_schedule_has_moved_to_another_workflow(
    clock: ManualClock, database: str
) -> None:
    older, newer = noting(), noting("other")
    older.on_cron("@hourly", id="daily", input=moment_of, catchup="all")
    newer.on_cron("@hourly", id="daily", input=moment_of, catchup="all")
    async with Runtime(database, clock=clock, workflows=[older]):
        pass
    clock.turn("2h")
    async with Runtime(database, clock=clock, workflows=[older], worker=False) as runtime:
        now = clock.now()
        by_hand = await runtime.schedules.backfill("daily", now - timedelta(hours=1), now)

    async with Runtime(database, clock=clock, workflows=[newer]) as runtime:
        await settle()
        await runtime.world.storage.settled()
        again = await runtime.schedules.backfill("daily", now - timedelta(hours=2), now)

        assert [len(by_hand), len(again), len(await statuses(runtime))] == [2, 1, 3]


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


async def test_an_input_function_that_raises_what_cancels_a_task_stops_no_other_schedule(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def cancelled(fire: Fire) -> str:
        raise asyncio.CancelledError

    broken, workflow = noting("broken"), noting()
    broken.on_cron("@hourly", input=cancelled)
    workflow.on_cron("@hourly", input=moment_of)

    async with TestRuntime(workflows=[broken, workflow]) as runtime:
        await runtime.advance("2h")

        assert await outputs(runtime) == ["01 13:00 UTC", "01 14:00 UTC"]
        assert [one.reason for one in (await runtime.schedules.get("broken")).missed] == [
            "its input could not be made: CancelledError"
        ] * 2


@pytest.mark.parametrize(("error", "said"), UNKEEPABLE)
async def test_an_exception_whose_text_cannot_be_kept_holds_no_schedule_up(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "wrkflw")  # nor could it be in the report of a test
    workflow = noting()

    def raising(fire: Fire) -> str:
        raise error

    workflow.on_cron("@hourly", input=raising)
    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("2h")

        reasons = [missed.reason for missed in (await runtime.schedules.get("noting")).missed]
        assert reasons == [f"its input could not be made: {said}"] * 2


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
