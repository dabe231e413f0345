"""Onboarding: a workflow written as code. It greets, sleeps, and waits up to a minute for somebody's approval.

Every ``await step...`` is recorded. When the run is taken up again, after a sleep, an event or a crash, the function
runs from the top, and what is recorded is not done again but answered from the record.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from wrkflw import Event, Retry, Runtime, StepTools, workflow


class NewUser(BaseModel):
    name: str


class Approval(BaseModel):
    approved: bool


class Welcome(BaseModel):
    message: str
    greeting: str


approval = Event("approval", Approval)


def greet(name: str, *, punctuation: str) -> str:
    print(f"greeting {name}")
    return f"Hello, {name}{punctuation}"


@workflow(retry=Retry(attempts=3, delay="500ms", backoff="exponential"))
async def onboarding(step: StepTools, user: NewUser) -> Welcome:
    greeting = await step.do("greet", greet, user.name, punctuation="!")
    await step.sleep("pause", "500ms")
    answer = await step.wait_for_event(approval, timeout="1m")
    verdict = "approved" if answer.approved else "rejected"
    return Welcome(message=f"{user.name} was {verdict}", greeting=greeting)


async def main() -> None:
    async with Runtime(":memory:", workflows=[onboarding]):
        for name, approved in (("Ada", True), ("Alan", False)):
            run = await onboarding.create_run()
            parked = await run.start(NewUser(name=name))  # waits out the sleep, but not for people
            print(f"the run is {parked.status}")
            result = await run.send_event(approval, Approval(approved=approved))
            print(result.unwrap())


if __name__ == "__main__":
    asyncio.run(main())
