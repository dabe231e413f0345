"""What an instant makes while an earlier run of its schedule is open."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from wrkflw import Event, Waiting, Workflow, create_workflow
from wrkflw.testing import TestRuntime
from wrkflw.world.events import RunCreated
from wrkflw.world.schedules import Instant, NewSchedule, Overlap, key_of

from .scheduled import answer_all, asking, moment_of, outputs, statuses

ONE_BY_ONE = [
    ["completed", "running", "pending"],
    ["completed", "completed", "running"],
    ["completed", "completed", "completed"],
]


async def turns(workflow: Workflow[str, str, None], runtime: TestRuntime) -> list[list[str]]:
    """How three queued runs stand, each time that the one which has its turn is answered."""
    seen: list[list[str]] = []
    for _ in range(3):
        await answer_all(workflow, runtime)
        await runtime.advance("0s")
        seen.append(await statuses(runtime))
    return seen


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

        assert await turns(workflow, runtime) == ONE_BY_ONE
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


async def test_who_waits_begins_also_when_the_code_has_no_schedule_any_more(tmp_path: Path) -> None:
    workflow, database = asking(), f"sqlite:///{tmp_path / 'queued.db'}"
    workflow.on_cron("@hourly", input=moment_of, overlap="queue")
    async with TestRuntime(database, workflows=[workflow]) as runtime:
        await runtime.advance("3h")
        evening = runtime.now

    without = asking()
    async with TestRuntime(database, start=evening, workflows=[without]) as runtime:
        assert await turns(without, runtime) == ONE_BY_ONE


async def test_who_is_queued_later_by_others_begins_where_the_code_has_no_schedule() -> None:
    workflow = asking()

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("0s")
        ledger = runtime.world.storage.schedules
        await ledger.define([NewSchedule("asking", "asking", "@hourly", "UTC", overlap="queue")])
        created = RunCreated(workflow_name="asking", input=b'"at night"')
        instants = [Instant(runtime.now, run_id, created) for run_id in ("first", "second")]
        await ledger.make("asking", instants, overlap="queue")
        await runtime.advance("0s")
        before = await statuses(runtime)
        await answer_all(workflow, runtime)
        await runtime.advance("0s")

        assert [before, await statuses(runtime)] == [["running", "pending"], ["completed", "running"]]


@pytest.mark.parametrize("what", ["pause", "event", "start", "wake"])
async def test_nothing_from_outside_lets_a_run_begin_before_it_is_its_turn(what: str) -> None:
    go = Event("go", int)
    workflow = create_workflow(id="asking", input_schema=str, output_schema=int).wait_for_event(go).commit()
    workflow.on_cron("@hourly", input=moment_of, overlap="queue")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("3h")
        last, middle, first = [await workflow.get_run(info.run_id) for info in (await runtime.runs.list()).data]
        if what == "pause":
            await last.pause()
            await last.unpause()
        elif what == "event":
            await last.send_event(go, 3)
        elif what == "start":
            key = key_of("asking", runtime.now)
            await (await workflow.create_run(idempotency_key=key)).start("01 15:00 UTC")
        else:
            await runtime.world.storage.runs.wake(last.run_id)
        await runtime.advance("0s")
        await runtime.assert_consistent()
        assert await statuses(runtime) == ["running", "pending", "pending"]

        for run, payload in ((first, 1), (middle, 2), (last, 3)):
            if (what, run) != ("event", last):
                await run.send_event(go, payload)
            await runtime.advance("0s")
        assert await outputs(runtime) == [1, 2, 3]


async def test_a_paused_run_whose_turn_it_is_begins_when_it_is_unpaused() -> None:
    workflow = asking()
    workflow.on_cron("@hourly", input=moment_of, overlap="queue")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("3h")
        middle = await workflow.get_run((await runtime.runs.list()).data[1].run_id)
        await middle.pause()
        await answer_all(workflow, runtime)
        await runtime.advance("0s")
        paused = await statuses(runtime)
        await middle.unpause()
        await runtime.advance("0s")

        assert paused == ["completed", "pending", "pending"]
        assert await statuses(runtime) == ["completed", "running", "pending"]


@pytest.mark.parametrize("overlap", ["queue", "skip"])
async def test_what_is_new_does_not_overtake_whose_turn_has_just_come(overlap: Overlap) -> None:
    workflow = asking()
    workflow.on_cron("@hourly", input=moment_of, overlap=overlap)

    async with TestRuntime(workflows=[workflow]) as runtime:
        now = runtime.now
        await runtime.schedules.backfill("asking", now - timedelta(hours=1), now)
        await runtime.advance("0s")
        first = (await runtime.runs.list()).data[-1]
        await (await workflow.get_run(first.run_id)).cancel()  # and before anybody lets the second begin:
        await runtime.schedules.backfill("asking", now - timedelta(hours=3), now - timedelta(hours=3))
        await runtime.advance("0s")

        assert await statuses(runtime) == ["cancelled", "running", "pending"]


async def test_a_run_that_was_triggered_keeps_none_waiting_that_was_there_before() -> None:
    workflow = asking()
    workflow.on_cron("@hourly", input=moment_of, overlap="queue")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("2h")
        await runtime.schedules.trigger("asking")
        await runtime.advance("1h")
        first = (await runtime.runs.list()).data[-1]
        await runtime.runs.cancel_many([first.run_id])
        await runtime.advance("0s")

        assert await statuses(runtime) == ["cancelled", "running", "running", "pending"]


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize(("overlap", "expected"), [("skip", ["running"]), ("queue", ["running", "pending"])])
async def test_a_run_that_is_open_counts_from_when_runs_may_not_overlap_any_more(
    tmp_path: Path, overlap: Overlap, expected: list[str], by_hand: bool
) -> None:
    before, after, database = asking(), asking(), f"sqlite:///{tmp_path / 'changed.db'}"
    before.on_cron("@hourly", input=moment_of)
    after.on_cron("@hourly", input=moment_of, overlap=overlap)
    async with TestRuntime(database, workflows=[before]) as runtime:
        if by_hand:
            await runtime.schedules.trigger("asking")
        else:
            await runtime.advance("1h")
        deploy = runtime.now

    async with TestRuntime(database, start=deploy, workflows=[after]) as runtime:
        await runtime.advance("1h")

        assert await statuses(runtime) == expected


async def test_the_time_limit_of_a_run_counts_from_its_turn() -> None:
    naps = create_workflow(id="naps", input_schema=type(None), output_schema=type(None), timeout="30m")
    workflow = naps.sleep("20m").commit()
    workflow.on_cron("*/10 * * * *", overlap="queue")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("91m")

        assert (await statuses(runtime))[:4] == ["completed"] * 4


async def test_a_run_whose_turn_has_come_still_has_a_time_limit() -> None:
    naps = create_workflow(id="naps", input_schema=type(None), output_schema=type(None), timeout="30m")
    workflow = naps.sleep("40m").commit()
    workflow.on_cron("@hourly", overlap="queue")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.schedules.backfill("naps", runtime.now - timedelta(hours=1), runtime.now)
        await runtime.advance("59m")
        before = await statuses(runtime)
        await runtime.advance("2m")

        assert [before[:2], (await statuses(runtime))[:2]] == [["failed", "running"], ["failed", "failed"]]


async def test_who_asks_for_the_result_of_a_run_that_waits_for_its_turn_is_told_so() -> None:
    workflow = asking()
    workflow.on_cron("@hourly", input=moment_of, overlap="queue")

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("2h")
        queued = await workflow.get_run((await runtime.runs.list()).data[0].run_id)

        asked = asyncio.ensure_future(queued.result())
        await runtime.advance("0s")

        assert asked.done()
        result = asked.result()
        assert isinstance(result, Waiting)
        assert (result.reason, result.until) == ("sleep", None)
