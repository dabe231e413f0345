"""Imperative workflows: what ``step`` gives, and what ``@workflow`` makes."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from random import Random
from typing import assert_type
from uuid import UUID

from wrkflw import Event, Retry, RunInfo, StepTools, Workflow, create_workflow, workflow

from .campaign import (
    Approval,
    Outgoing,
    Sent,
    User,
    UserId,
    ask_first,
    campaign,
    counted,
    fetch_user,
    lookup,
    now,
    send_email,
    tick,
)

confirmed = Event("confirmed", Approval)
numbered = Event("numbered", list[int])
optional = Event("optional", Approval | None)


def make_link(email: str, *, days: int = 1) -> str:
    return f"{email}/{days}"


async def count_words(text: str, /, at_most: int | None = None) -> int:
    return len(text.split())


def nothing() -> None: ...


def tripled(number: int) -> int:
    return 3 * number


@workflow
async def beside(step: StepTools, data: UserId) -> int:
    both = await asyncio.gather(step.run(fetch_user, data), step.do("tripled", tripled, 3))
    assert_type(both, tuple[User, int])
    assert_type(await asyncio.gather(step.run(fetch_user, data), step.do("lambda", lambda: 3)), tuple[User, int])
    rested = await asyncio.gather(step.sleep("nap", "1s"), step.wait_for_event(confirmed))
    assert_type(rested, tuple[None, Approval])
    task = asyncio.create_task(step.do("tripled", tripled, 3))
    assert_type(await task, int)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        fetching = group.create_task(step.run(fetch_user, data))
    assert_type(fetching.result(), User)
    assert_type(await asyncio.wait_for(step.run(fetch_user, data), 5), User)
    return both[1] + await task


@workflow
async def onboarding(step: StepTools, data: UserId) -> Sent:
    assert_type(step.run_id, str)
    user = await step.run(fetch_user, data)
    assert_type(user, User)
    assert_type(await step.do("link", make_link, user.email, days=7), str)
    assert_type(await step.do("link", make_link, email=user.email), str)
    assert_type(await step.do("words", count_words, "a b", 3), int)
    assert_type(await step.do("words", count_words, "a b", at_most=None), int)
    assert_type(await step.do("lambda", lambda: user.email), str)
    assert_type(await step.do("async-lambda", lambda: count_words("a b")), int)
    assert_type(await step.do("bound", user.email.split, "@"), list[str])
    await step.do("nothing", nothing)
    assert_type(await step.run(lookup, user), str)
    assert_type(await step.run(now, None, name="later"), str)
    assert_type(await step.run(campaign, data), Sent)
    assert_type(await step.run(counted, Outgoing(email="", subject="", body="")), Sent)
    assert_type(await step.run(tick, None), str)
    assert_type(await step.run(ask_first, Outgoing(email="", subject="", body="")), Sent)
    await step.sleep("nap", "1h")
    await step.sleep("nap", timedelta(hours=1))
    await step.sleep_until("later", step.now() + timedelta(days=1))
    assert_type(await step.wait_for_event(confirmed), Approval)
    assert_type(await step.wait_for_event(confirmed, timeout="7d", default=Approval(approved=False)), Approval)
    assert_type(await step.wait_for_event(numbered, timeout=timedelta(days=7), default=[]), list[int])
    assert_type(await step.wait_for_event(optional, timeout="7d", default=None), Approval | None)
    assert_type(step.now(), datetime)
    assert_type(step.random(), Random)
    assert_type(step.uuid(), UUID)
    assert_type(step.patched("new-mail"), bool)
    patient = step.options(retry=Retry(attempts=5), timeout="30s")
    assert_type(patient, StepTools)
    return await patient.run(send_email, Outgoing(email=user.email, subject="", body=""))


assert_type(onboarding, Workflow[UserId, Sent])
assert_type(onboarding.run_sync(UserId(user_id="1")), Sent)


def report(info: RunInfo) -> None:
    print(info.workflow_id)


@workflow(id="described", retry=Retry(attempts=3), timeout="7d", on_completed=report, on_mismatch="fail")
async def described(step: StepTools, data: UserId) -> list[Sent]:
    return [await step.run(onboarding, data)]


@workflow()
async def without_input(step: StepTools, data: None) -> None:
    await step.sleep("nap", "1s")


assert_type(described, Workflow[UserId, list[Sent]])
assert_type(without_input, Workflow[None, None])
without_input.run_sync()

# An imperative workflow is a step of a chain like any other.
outer = create_workflow(id="outer", input_schema=UserId, output_schema=Sent).then(onboarding).commit()
assert_type(outer, Workflow[UserId, Sent])
