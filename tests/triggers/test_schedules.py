"""What a schedule may be, and when its runs begin, on a clock that the tests turn."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wrkflw import DefinitionError, Runtime, create_workflow, step
from wrkflw.testing import TestRuntime
from wrkflw.triggers import Cron, Fire, at, cron, every

from .scheduled import BERLIN, moment_of, noting, outputs


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


async def test_a_schedule_counts_that_was_given_before_the_runtime_is_opened() -> None:
    workflow = noting()
    runtime = TestRuntime(workflows=[workflow])
    workflow.on_cron("@hourly", input=moment_of)

    async with runtime:
        await runtime.advance("1h")

        assert await outputs(runtime) == ["01 13:00 UTC"]


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
        ({"id": ""}, "'' cannot be a schedule id"),
        ({"timezone": "Europe/Berln"}, "did you mean 'Europe/Berlin'"),
        ({"catchup": "last"}, "catchup= is one of 'skip', 'latest', 'all', got 'last'"),
        ({"overlap": "allowed"}, "overlap= is one of 'allow', 'skip', 'queue', got 'allowed'; did you mean 'allow'"),
        ({"catchup": "all", "catchup_max": "5"}, "catchup_max= is a number of instants, got '5'"),
        ({"catchup": "all", "catchup_max": True}, "catchup_max= is a number of instants, got True"),
        ({"catchup": "all", "catchup_max": 10**6}, "catchup_max=1000000 is too many to start at once; give at most"),
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


async def asynchronous(fire: Fire) -> str:
    return moment_of(fire)


def number_of(fire: Fire) -> int:
    return fire.at.hour


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("now", "input= of schedule 'noting' is 'now'; pass a function"),
        (lambda: "now", "input= of schedule 'noting' takes 0 parameters but gets a Fire; take one parameter"),
        (asynchronous, "input= of schedule 'noting' is async; inputs are plain functions, do the work in the first"),
        (number_of, "input= of schedule 'noting' gives int, and workflow 'noting' takes str; make them agree"),
    ],
)
def test_what_makes_the_input_is_checked_at_definition(function: Any, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        noting().on_cron("@hourly", input=function)


@pytest.mark.parametrize("expression", [300, None, timedelta(minutes=5)])
def test_what_is_no_timing_is_refused(expression: Any) -> None:
    with pytest.raises(DefinitionError, match=r"schedule 'noting' cannot come by .*; pass a cron expression, every\("):
        cron(noting(), expression, input=moment_of)


def test_what_is_no_workflow_has_no_schedule() -> None:
    unfinished: Any = create_workflow(id="unfinished", input_schema=str, output_schema=str)

    with pytest.raises(DefinitionError, match=r"cannot have a schedule; pass a workflow, as .commit\(\) gives it"):
        cron(unfinished, "@hourly", input=moment_of)


async def test_a_timing_with_a_zone_of_its_own_brings_it_along() -> None:
    workflow = noting()
    cron(workflow, Cron("0 9 * * *", BERLIN), input=moment_of)

    async with TestRuntime(workflows=[workflow]) as runtime:
        await runtime.advance("1d")
        info = await runtime.schedules.get("noting")

        assert await outputs(runtime) == ["02 09:00 CET"]
        assert (info.timezone, info.next_at) == (BERLIN, datetime(2026, 3, 3, 8, tzinfo=UTC))
    with pytest.raises(DefinitionError, match="has two timezones, 'Europe/Berlin' in its Cron and 'UTC' in timezone="):
        cron(noting(), Cron("0 9 * * *", BERLIN), timezone="UTC", input=moment_of)


def test_an_id_that_is_none_is_that_of_the_workflow() -> None:
    assert cron(noting(), "@hourly", id=None, input=moment_of).id == "noting"


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
