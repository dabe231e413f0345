"""Mistakes in imperative workflows; every marked line must be rejected by both checkers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

from wrkflw import Event, Retry, StepContext, StepTools, create_workflow, workflow

from .campaign import Approval, Mail, Sent, User, UserId, fetch_user, generate_email, now

confirmed = Event("confirmed", Approval)


def make_link(email: str, *, days: int) -> str:
    return f"{email}/{days}"


async def count_words(text: str) -> int:
    return len(text.split())


# ------------------------------------------------------------------ what step takes
@workflow
async def onboarding(step: StepTools, data: UserId) -> Sent:
    await step.do("link", make_link, "ada")  # E: days is missing
    await step.do("link", make_link, "ada", 7)  # E: days is a keyword
    await step.do("link", make_link, "ada", days="7")  # E: days is a number
    await step.do("link", make_link, 7, days=7)  # E: email is text
    await step.do("link", make_link, "ada", days=7, hours=1)  # E: there are no hours
    await step.do(make_link, "ada", days=7)  # E: no name
    await step.do("words", count_words("a b"))  # E: a coroutine, not a function
    await step.do("words", "a b")  # E: not a function
    await step.do("words", count_words)  # E: text is missing
    words: str = await step.do("words", count_words, "a b")  # E: a number
    link: int = await step.do("link", make_link, "ada", days=7)  # E: text
    await step.run(fetch_user, User(name="", email=""))  # E: it takes a UserId
    await step.run(fetch_user)  # E: data is missing
    await step.run(make_link, "ada")  # E: a function, not a step
    await step.run("fetch-user", data)  # E: an id, not a step
    await step.run(fetch_user, data, name=7)  # E: names are text
    mail: Mail = await step.run(fetch_user, data)  # E: it gives a User
    await step.run(generate_email, data)  # E: it takes a User
    await step.sleep("nap", 5)  # E: no unit
    await step.sleep("1h")  # E: no name
    await step.sleep_until("nap", "1h")  # E: not a datetime
    await step.sleep_until("nap", timedelta(hours=1))  # E: not a datetime
    await step.wait_for_event("confirmed")  # E: a name, not an Event
    await step.wait_for_event(confirmed, timeout=7)  # E: no unit
    await step.wait_for_event(confirmed, default=Sent(message_id=None))  # E: not an Approval
    await step.wait_for_event(confirmed, default=None)  # E: not an Approval
    sent: Sent = await step.wait_for_event(confirmed)  # E: an Approval
    step.patched(7)  # E: ids are text
    step.options(retry=3)  # E: a Retry, not a number
    step.options(retries=Retry())  # E: retry, not retries
    step.options(timeout=30)  # E: no unit
    step.state  # E: programs have none
    return await step.run(now, data)  # E: text, not a Sent


# ------------------------------------------------------------------ what @workflow takes
def plain(step: StepTools, data: UserId) -> Sent:
    return Sent(message_id=None)


async def no_input(step: StepTools) -> Sent:
    return Sent(message_id=None)


async def too_many(step: StepTools, data: UserId, more: int) -> Sent:
    return Sent(message_id=None)


async def reversed_order(data: UserId, step: StepTools) -> Sent:
    return Sent(message_id=None)


async def context(step: StepContext, data: UserId) -> Sent:
    return Sent(message_id=None)


async def generator(step: StepTools, data: UserId) -> AsyncIterator[Sent]:
    yield Sent(message_id=None)


workflow(plain)  # E: not async
workflow(no_input)  # E: no input
workflow(too_many)  # E: three parameters
workflow(reversed_order)  # E: the tools come first
workflow(context)  # E: a context is for steps
workflow(generator)  # E: a generator
workflow("campaign")  # E: the id is passed as id=
workflow(id=7)  # E: ids are text
workflow(name="campaign")  # E: id, not name
workflow(id="campaign", timeout=30)  # E: no unit
workflow(id="campaign", retry=3)  # E: a Retry, not a number
workflow(id="campaign", on_mismatch="ignore")  # E: pause or fail
workflow(id="campaign")(plain)  # E: not async
workflow(id="campaign")(no_input)  # E: no input
onboarding(UserId(user_id="1")).result()  # E: a workflow is run, and this is a coroutine
onboarding.run_sync(User(name="", email=""))  # E: it takes a UserId
create_workflow(id="outer", input_schema=User, output_schema=Sent).then(onboarding)  # E: it takes a UserId
