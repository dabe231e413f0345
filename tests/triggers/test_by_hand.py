"""Schedules as people handle them: look, pause, resume, trigger, backfill."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import DefinitionError, Runtime
from wrkflw.testing import TestRuntime
from wrkflw.triggers import Fire, every
from wrkflw.world.errors import ScheduleNotFoundError

from .scheduled import BERLIN, answer_all, asking, begun, moment_of, noting, outputs, statuses


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
        with pytest.raises(ValueError, match=r"backfill\(\) goes from .* to .*; write the earlier first"):
            await backfill("noting", now, now - timedelta(hours=1))
        with pytest.raises(ValueError, match=r"backfill\(\) is about what has passed, and .* is to come"):
            await backfill("noting", now, now + timedelta(seconds=1))
        with pytest.raises(ValueError, match=r"backfill\(\) takes 1,000 instants at a time, and there are more"):
            await backfill("noting", now - timedelta(hours=1), now)
        with pytest.raises(
            ValueError, match=r"backfill\(\) cannot go back to 0001-01-01T00:00:00\+00:00; give a later"
        ):
            await backfill("noting", datetime.min.replace(tzinfo=UTC), now)
        day: Any = now.date()
        with pytest.raises(TypeError, match=r"backfill\(\) takes datetimes, got datetime.date\(2026, 3, 1\); write"):
            await backfill("noting", day, now)


async def test_what_is_not_known_is_named() -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of)

    async with TestRuntime(workflows=[workflow]) as runtime:
        with pytest.raises(ScheduleNotFoundError, match="schedule 'nothing' was not found"):
            await runtime.schedules.pause("nothing")
        no_id: Any = workflow
        with pytest.raises(TypeError, match="a schedule is named by its id, got a Workflow; pass the id, a str"):
            await runtime.schedules.pause(no_id)


async def test_only_who_has_the_code_can_start_a_run(clock: ManualClock, database: str) -> None:
    workflow = noting()
    workflow.on_cron("@hourly", input=moment_of)
    async with Runtime(database, clock=clock, workflows=[workflow]):
        pass

    async with Runtime(database, clock=clock) as runtime:
        assert [info.id for info in await runtime.schedules.list()] == ["noting"]
        with pytest.raises(DefinitionError, match="schedule 'noting' is of no workflow that this runtime lists"):
            await runtime.schedules.trigger("noting")


async def test_code_that_newer_code_has_replaced_starts_no_runs_by_hand(clock: ManualClock, database: str) -> None:
    older, newer = noting(), noting()
    older.on_cron("*/20 * * * *", input=moment_of)
    newer.on_cron("@hourly", input=moment_of)

    async with (
        Runtime(database, clock=clock, workflows=[older]) as one,
        Runtime(database, clock=clock, workflows=[newer]),
    ):
        changed = "schedule 'noting' was changed by other code, to timing '@hourly'; start its runs from that code"
        with pytest.raises(DefinitionError, match=changed):
            await one.schedules.backfill("noting", clock.now() - timedelta(hours=1), clock.now())
        with pytest.raises(DefinitionError, match=changed):
            await one.schedules.trigger("noting")


async def test_a_run_in_the_queue_of_a_paused_schedule_still_begins() -> None:
    workflow = asking()
    workflow.on_cron("@hourly", input=moment_of, overlap="queue")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("2h")
        await runtime.schedules.pause("asking")
        await answer_all(workflow, runtime)
        await runtime.advance("2h")

        assert await statuses(runtime) == ["completed", "running"]
