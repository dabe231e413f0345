"""Mistakes with the testing kit; every marked line must be rejected by both checkers."""

from __future__ import annotations

from wrkflw import Run, World
from wrkflw.testing import TestRuntime, check_world, crash_everywhere

from .campaign import Outgoing, Sent, User, UserId, campaign, counted, fetch_user, send_email


async def time(runtime: TestRuntime) -> None:
    await runtime.advance(7)  # E: a duration
    await runtime.advance(duration="7d")  # E: by position
    runtime.now = runtime.now  # E: it is read
    TestRuntime(start="2026-01-01")  # E: a datetime
    TestRuntime(seed="seven")  # E: a number


async def fetch(data: UserId) -> User:
    return User(name=data.user_id, email="")


async def mocks(runtime: TestRuntime) -> None:
    runtime.mock("fetch-user", User(name="", email=""))  # E: a step, not its id
    runtime.mock(fetch_user)  # E: with what
    runtime.mock(fetch_user, "Ada")  # E: gives a User
    runtime.mock(fetch_user, lambda data: "Ada")  # E: gives a User
    runtime.mock(send_email, fetch)  # E: gives Sent


async def crashes(runtime: TestRuntime) -> None:
    async def drive(run: Run[Outgoing, Sent]) -> None:
        await run.wake()

    runtime.crash_after("step_completed", "twice")  # E: a number
    await crash_everywhere(campaign, User(name="", email=""))  # E: takes UserId
    await crash_everywhere(campaign, UserId(user_id="1"), drive=drive)  # E: drives a run of another workflow
    await crash_everywhere(fetch_user, UserId(user_id="1"))  # E: a step is no workflow
    await crash_everywhere(counted)  # E: with what


async def invariants(runtime: TestRuntime, world: World) -> None:
    await check_world(runtime)  # E: of a world
    broken: list[str] = await check_world(world)  # E: violations
    print(broken)
