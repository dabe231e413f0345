"""Workflows that the commands of the tests are about."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from wrkflw import Event, StepTools, SuspendContext, create_workflow, step, workflow
from wrkflw.triggers import cron


class Person(BaseModel):
    name: str
    age: int | None = None


class Answer(BaseModel):
    approved: bool


@step
async def greet(person: Person) -> str:
    return f"Hello, {person.name}" if person.age is None else f"Hello, {person.name} ({person.age})"


@step
async def fail(person: Person) -> str:
    try:
        raise KeyError(person.name)
    except KeyError as error:
        raise ValueError(f"no greeting for {person.name}") from error


@step
def ask(greeting: str, ctx: SuspendContext[Answer, str]) -> str:
    answer = ctx.suspend(f"{greeting}?", timeout="90d")
    return greeting if answer.approved else "Sorry"


@step
async def echo(text: str) -> str:
    return text


@step
async def tell(answer: Answer) -> str:
    return "yes" if answer.approved else "no"


approval = Event("approval", Answer)
greeting = create_workflow(id="greeting", input_schema=Person, output_schema=str).then(greet).commit()
failing = create_workflow(id="failing", input_schema=Person, output_schema=str).then(fail).commit()
asking = create_workflow(id="asking", input_schema=Person, output_schema=str).then(greet).then(ask).commit()
napping = create_workflow(id="napping", input_schema=str, output_schema=str).sleep("7d", id="nap").then(echo).commit()
_waiting = create_workflow(id="deciding", input_schema=Person, output_schema=str).wait_for_event(approval)
deciding = _waiting.then(tell).commit()


@workflow
async def twice(tools: StepTools, text: str) -> list[str]:
    asked = (tools.run(ask, text, name=name) for name in ("ask-first", "ask-again"))
    return list(await asyncio.gather(*asked))


cron(greeting, "0 9 * * *", id="mornings", input=lambda fire: Person(name="morning"))
