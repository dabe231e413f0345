"""What gives a workflow a schedule, and what can be seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, assert_type

from wrkflw import Runtime, Workflow, create_workflow, step
from wrkflw.triggers import At, Every, Fire, Schedule, ScheduleInfo, at, cron, every

from .campaign import UserId, campaign


@step
async def tick(data: None) -> int:
    return 1


ticking = create_workflow(id="ticking", input_schema=None, output_schema=int).then(tick).commit()


def user_of(fire: Fire) -> UserId:
    assert_type(fire.at, datetime)
    assert_type(fire.schedule_id, str)
    return UserId(user_id=fire.schedule_id)


assert_type(cron(campaign, "0 9 * * mon-fri", input=user_of, timezone="Europe/Berlin", catchup="skip"), Schedule)
assert_type(cron(campaign, "@daily", id="daily", input=lambda fire: UserId(user_id=fire.at.isoformat())), Schedule)
assert_type(cron(ticking, every("5m"), overlap="queue", catchup="all", catchup_max=10), Schedule)
campaign.on_cron("@hourly", id="hourly", input=lambda fire: UserId(user_id=fire.at.isoformat()))
ticking.on_cron(at(datetime(2026, 3, 1, tzinfo=UTC)), id="once")
assert_type(every("5m"), Every)
assert_type(at(datetime(2026, 3, 1, tzinfo=UTC)), At)


async def look(runtime: Runtime) -> None:
    assert_type(await runtime.schedules.list(), list[ScheduleInfo])
    info = await runtime.schedules.pause("daily")
    assert_type(info, ScheduleInfo)
    assert_type(info.next_at, datetime | None)
    assert_type(info.overlap, Literal["allow", "skip", "queue"])
    assert_type(await runtime.schedules.trigger("daily"), str)
    assert_type(await runtime.schedules.backfill("daily", info.missed[0].at, info.missed[0].at), Sequence[str])


def schedule(workflow: Workflow[UserId, object, None]) -> None:
    workflow.on_cron("@daily", input=user_of)
