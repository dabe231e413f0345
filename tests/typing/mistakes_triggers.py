"""Mistakes with schedules; every marked line must be rejected by both checkers."""

from __future__ import annotations

from wrkflw import Runtime
from wrkflw.triggers import Fire, cron, every

from .accept_triggers import ticking
from .campaign import UserId, campaign


def text_of(fire: Fire) -> str:
    return fire.schedule_id


def user_of(text: str) -> UserId:
    return UserId(user_id=text)


cron(campaign, "@daily")  # E: it takes an input
cron(campaign, "@daily", input=text_of)  # E: of another type
cron(campaign, "@daily", input=user_of)  # E: the function is given a Fire
campaign.on_cron("@daily")  # E: it takes an input
campaign.on_cron("@daily", input=text_of)  # E: of another type
cron(ticking, 300)  # E: a number is no timing
cron(ticking, "@daily", overlap="parallel")  # E: no such policy
cron(ticking, "@daily", timezon="UTC")  # E: no such option
every(5)  # E: a number has no unit


async def look(runtime: Runtime) -> None:
    runtime.schedules.list()  # E: not awaited
    await runtime.schedules.backfill("daily", "2026-03-01", "2026-03-02")  # E: moments are datetimes
