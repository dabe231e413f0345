"""What there is to do while processes are killed: workflows of every kind, numbered, each with the end it must come to.

A client says each thing until it is acknowledged, and never again after that: to say it again might mask its loss.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from wrkflw import (
    AlreadyResumedError,
    Completed,
    Event,
    NotSuspendedError,
    Retry,
    Run,
    RunFinishedError,
    StepContext,
    StepTools,
    StoreError,
    SuspendContext,
    Suspended,
    Workflow,
    create_workflow,
    step,
    workflow,
)

from .witness import effect, tell

AnyWorkflow: TypeAlias = Workflow[Any, Any, Any]

PRICE = 7
paid = Event("paid", int)
never = Event("never", int)


@step
async def add(number: int, ctx: StepContext) -> int:
    effect(ctx)
    await asyncio.sleep(0.004)
    return number + 1


@step
def double(number: int, ctx: StepContext) -> int:
    effect(ctx)
    time.sleep(0.003)  # in a thread
    return number * 2


@step(retry=Retry(attempts=3, delay="10ms", jitter=0))
async def stumble(number: int, ctx: StepContext) -> int:
    effect(ctx)
    await asyncio.sleep(0.002)
    if ctx.attempt < 3:
        raise OSError(f"try {ctx.attempt}")
    return number - 3


@step
async def ask(number: int, ctx: SuspendContext[int, str]) -> int:
    effect(ctx)
    return number + ctx.suspend("how many more?")


@step
async def announce(number: int, ctx: StepContext) -> int:
    effect(ctx)
    ctx.write(f"item {number}")
    await asyncio.sleep(0.003)
    ctx.write(f"item {number} done")
    return number + 1


journey = (
    create_workflow(id="journey", input_schema=int, output_schema=int)
    .then(add)
    .then(double)
    .map(lambda number: number)
    .then(stumble)
    .commit()
)
sale = (
    create_workflow(id="sale", input_schema=int, output_schema=int)
    .then(ask)
    .join_event(paid, lambda total, price: total - price)
    .sleep("20ms")
    .then(double)
    .commit()
)
both = create_workflow(id="both", input_schema=int, output_schema=int).parallel(add, double).join(lambda a, b: a + b)
crowd = (
    create_workflow(id="crowd", input_schema=int, output_schema=int)
    .map(lambda number: [number, number + 1, number + 2])
    .foreach(announce, concurrency=2)
    .foreach(both.commit(), concurrency=2)
    .map(sum)
    .commit()
)


@workflow(id="talk")
async def talk(step: StepTools, number: int) -> int:
    first = await step.run(add, number)
    await step.sleep("nap", "20ms")
    price = await step.wait_for_event(paid)
    a, b = await asyncio.gather(step.run(double, first), step.run(stumble, price))
    return a + b


doomed = create_workflow(id="doomed", input_schema=int, output_schema=int).then(add).wait_for_event(never).commit()


@dataclass(frozen=True)
class Kind:
    """What is done with the runs of a workflow from outside."""

    workflow: Workflow[int, int, Any]
    steps: int
    asks: bool = False
    sells: bool = False
    ends: Literal["completed", "cancelled"] = "completed"


KINDS = (
    Kind(journey, steps=3),
    Kind(sale, steps=2, asks=True, sells=True),
    Kind(crowd, steps=12),
    Kind(talk, steps=3, sells=True),
    Kind(doomed, steps=1, ends="cancelled"),
)
WORKFLOWS: list[AnyWorkflow] = [kind.workflow for kind in KINDS]
TRIES = {"stumble": 3}
"""How often a body may begin that is not interrupted."""


def kind_of(number: int) -> Kind:
    return KINDS[number % len(KINDS)]


def expected(number: int) -> tuple[str, int | None]:
    """How the run of this number must end, and with what."""
    match kind_of(number).workflow.id:
        case "journey":
            return "completed", (number + 1) * 2 - 3
        case "sale":
            return "completed", (number + 5 - PRICE) * 2
        case "crowd":
            return "completed", sum((each + 1) + 1 + (each + 1) * 2 for each in range(number, number + 3))
        case "talk":
            return "completed", (number + 1) * 2 + PRICE - 3
        case _:
            return "cancelled", None


# --- clients -------------------------------------------------------------------------------------------


@dataclass
class Errand:
    """The run of a number, and what clients were told of it: its id, and what was acknowledged."""

    number: int
    run_id: str | None = None
    told: set[str] = field(default_factory=set)

    @property
    def key(self) -> str:
        return f"key-{self.number}"

    async def tend(self) -> None:
        """Say whatever was not acknowledged yet, as often as the database refuses to hear it."""
        while True:
            try:
                return await self._say()
            except StoreError as error:
                tell("REFUSED", key=self.key, error=repr(error))
            await asyncio.sleep(0.1)

    async def _say(self) -> None:
        """In an order that depends on the number."""
        kind = kind_of(self.number)
        run = await self._begin()
        if kind.sells and self.number % 4 < 2:
            await self._sell(run)
        # Who answered before, and was not told so, waits for the end in vain unless the event is sent meanwhile.
        await asyncio.gather(
            *([self._answer(run)] if kind.asks else []), *([self._sell_later(run)] if kind.sells else [])
        )
        if kind.ends == "cancelled" and "CANCELLED" not in self.told:
            await run.cancel("no longer wanted")
            self._tell("CANCELLED", run)

    async def _begin(self) -> Run[int, int, Any]:
        kind, number = kind_of(self.number), self.number
        if self.run_id is not None:
            return await kind.workflow.get_run(self.run_id)
        run = await kind.workflow.create_run(idempotency_key=self.key)
        output = {}
        if number % 3 == 0:
            await run.enqueue(number)
        else:
            result = await run.start(number, wait="0s" if number % 3 == 1 else "1s")
            output = {"output": result.output} if isinstance(result, Completed) else {}
        self.run_id = run.run_id
        self._tell("ACK", run, **output)
        return run

    async def _answer(self, run: Run[int, int, Any]) -> None:
        if "ANSWERED" in self.told or not isinstance(await run.result(), Suspended):
            return
        try:
            await run.resume(ask, 5, wait="0s")
        except (AlreadyResumedError, NotSuspendedError):
            return  # it was answered, by one who was not told so
        self._tell("ANSWERED", run)

    async def _sell_later(self, run: Run[int, int, Any]) -> None:
        await asyncio.sleep(0.03)
        await self._sell(run)

    async def _sell(self, run: Run[int, int, Any]) -> None:
        if "SENT" in self.told:
            return
        try:
            await run.send_event(paid, PRICE, dedupe_id=self.key, wait="0s")
        except RunFinishedError:
            return  # it was sent before, by one who was not told so
        self._tell("SENT", run)

    def _tell(self, what: str, run: Run[int, int, Any], **facts: object) -> None:
        self.told.add(what)
        tell(what, name=self.key, key=self.key, run=run.run_id, **facts)
