"""Workflows that the tests serve, and a client of an application in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from pydantic import BaseModel

from tests.clocks import ManualClock
from wrkflw import Event, Runtime, StepContext, StepTools, SuspendContext, Workflow, create_workflow, step, workflow
from wrkflw.server import AsgiApp, app

AnyWorkflow = Workflow[Any, Any, Any]


def lasting() -> tuple[AnyWorkflow, asyncio.Event]:
    """A workflow whose body never ends, and what is set when it has begun."""
    begun = asyncio.Event()

    @step
    async def last(person: Person) -> Person:
        begun.set()
        return await asyncio.Future()

    return create_workflow(id="lasting", input_schema=Person, output_schema=Person).then(last).commit(), begun


class Person(BaseModel):
    name: str
    age: int = 0


class Greeting(BaseModel):
    text: str


class Approval(BaseModel):
    approved: bool


@step
async def greet(person: Person) -> Greeting:
    return Greeting(text=f"Hello, {person.name}")


@step
async def fail(person: Person) -> Greeting:
    raise ValueError(f"no greeting for {person.name}")


@step
async def ask(person: Person, ctx: SuspendContext[Approval, str]) -> Greeting:
    answer = ctx.suspend(f"may I greet {person.name}?")
    return Greeting(text="Hello" if answer.approved else "Sorry")


@step
async def talk(person: Person, ctx: StepContext) -> Greeting:
    ctx.write(f"Hello, {person.name}".encode())
    return Greeting(text="said")


approval = Event("approval", Approval)

greeting = create_workflow(id="greeting", input_schema=Person, output_schema=Greeting).then(greet).commit()
failing = create_workflow(id="failing", input_schema=Person, output_schema=Greeting).then(fail).commit()
asking = create_workflow(id="asking", input_schema=Person, output_schema=Greeting).then(ask).commit()
talking = create_workflow(id="talking", input_schema=Person, output_schema=Greeting).then(talk).commit()
sleeping = (
    create_workflow(id="sleeping", input_schema=Person, output_schema=Greeting)
    .sleep("7d", id="nap")
    .then(greet)
    .commit()
)
deciding = create_workflow(id="deciding", input_schema=Person, output_schema=Approval).wait_for_event(approval).commit()


@workflow(id="test")
async def test_workflow(step: StepTools, person: Person) -> Greeting:
    await step.run(greet, person)
    await step.sleep("pause", "5s")
    answer = await step.wait_for_event(approval, timeout="1m")
    return Greeting(text="approved" if answer.approved else "rejected")


WORKFLOWS: Sequence[AnyWorkflow] = (greeting, failing, asking, talking, sleeping, deciding, test_workflow)
ADA = {"name": "Ada"}


@dataclass
class Desk:
    """A client of an application, and what is behind it."""

    client: httpx2.AsyncClient
    app: AsgiApp
    rt: Runtime
    clock: ManualClock

    def caller(self, text: str | None = None, **options: Any) -> httpx2.AsyncClient:
        """Another client: with a token, from elsewhere, by another name."""
        headers = {} if text is None else {"Authorization": f"Bearer {text}"}
        return client_of(self.app, headers=headers, **options)

    async def start(self, workflow: str, body: object = ADA, **query: str) -> str:
        """The id of a run that was started and has gone as far as it goes."""
        answer = await self.client.post(f"/api/workflows/{workflow}/runs", json=body, params={"wait": "1s", **query})
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["run_id"])


def client_of(
    application: AsgiApp, host: str = "localhost", peer: str = "127.0.0.1", **options: Any
) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(application, raise_app_exceptions=False, client=(peer, 1234))
    return httpx2.AsyncClient(transport=transport, base_url=f"http://{host}", **options)


@asynccontextmanager
async def served(workflows: Sequence[AnyWorkflow] = WORKFLOWS, **options: Any) -> AsyncIterator[Desk]:
    clock = ManualClock()
    async with Runtime(":memory:", workflows=workflows, clock=clock) as rt:
        application = app(rt, **options)
        async with client_of(application) as client:
            yield Desk(client, application, rt, clock)
