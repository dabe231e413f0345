"""What an instant makes while an earlier run of its schedule is open."""

from __future__ import annotations

from datetime import UTC, datetime

from wrkflw.testing import TestRuntime

from .scheduled import answer_all, asking, moment_of, outputs, statuses


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
