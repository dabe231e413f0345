"""The testing kit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_type

from wrkflw import Run, StepContext, World
from wrkflw.testing import Crashed, ManualClock, TestRuntime, Violation, check_world, crash_everywhere

from .campaign import Outgoing, Sent, User, UserId, campaign, fetch_user, send_email


async def runtime() -> None:
    async with TestRuntime() as first:
        assert_type(first, TestRuntime)
        assert_type(first.now, datetime)
        assert_type(first.world, World)
    async with TestRuntime("sqlite:///app.db", seed=7, start=datetime(2026, 1, 1, tzinfo=UTC), lease="1m") as second:
        await second.advance("7d")
        await second.advance(timedelta(days=7))
        second.crash_after("step_completed")
        second.crash_after("step_completed", 2)
        await second.restart()
        await second.assert_consistent()


async def mocks(runtime: TestRuntime) -> None:
    async def later(data: UserId) -> User:
        return User(name=data.user_id, email="")

    def at_once(data: UserId) -> User:
        return User(name=data.user_id, email="")

    def send(mail: Outgoing, ctx: StepContext) -> Sent:
        return Sent(message_id=ctx.idempotency_key)

    runtime.mock(fetch_user, User(name="Ada", email=""))
    runtime.mock(fetch_user, OSError("no network"))
    runtime.mock(fetch_user, OSError)
    runtime.mock(fetch_user, at_once)
    runtime.mock(fetch_user, later)
    runtime.mock(send_email, send)


async def crashes() -> None:
    async def drive(run: Run[UserId, Sent]) -> None:
        await run.wake()

    assert_type(await crash_everywhere(campaign, UserId(user_id="1")), int)
    assert_type(await crash_everywhere(campaign, UserId(user_id="1"), drive=drive), int)


async def invariants(world: World) -> None:
    assert_type(await check_world(world), list[Violation])


def others(clock: ManualClock) -> None:
    assert_type(clock.now(), datetime)
    assert_type(Crashed(), Crashed)
