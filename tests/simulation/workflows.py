"""What the simulated processes work at: one workflow of each kind, and what each of them must give."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from wrkflw import Event, Retry, StepContext, StepTools, SuspendContext, create_workflow, step, workflow

from .processes import AnyWorkflow
from .witness import effect

TRIES = 3
"""How often ``stumble`` is tried; the last try succeeds."""


@step
async def add(number: int, ctx: StepContext) -> int:
    effect(ctx)
    await asyncio.sleep(0.5)
    return number + 1


@step(retry=Retry(attempts=TRIES, delay="2s", jitter=0.2))
async def stumble(number: int, ctx: StepContext) -> int:
    effect(ctx)
    if ctx.attempt < TRIES:
        raise OSError(f"try {ctx.attempt}")
    return number * 2


@step
def square(number: int, ctx: StepContext) -> int:
    effect(ctx)
    return number * number


@step
async def announce(number: int, ctx: StepContext) -> int:
    effect(ctx)
    ctx.write(f"item {number}")
    await asyncio.sleep(0.2)
    ctx.write(f"item {number} done")
    return number + 1


@step(at_most_once=True)
async def pay(number: int, ctx: StepContext) -> int:
    effect(ctx)
    await asyncio.sleep(0.1)
    return -number


@step
async def ask(number: int, ctx: SuspendContext[int, str]) -> int:
    effect(ctx)
    return number + ctx.suspend("how many more?")


paid = Event("paid", int)

errand = create_workflow(id="errand", input_schema=int, output_schema=int).then(add).then(stumble).then(square).commit()
sale = (
    create_workflow(id="sale", input_schema=int, output_schema=int)
    .then(ask)
    .join_event(paid, lambda sum, price: price - sum)
    .sleep("6s")
    .then(add)
    .commit()
)
_both = create_workflow(id="both", input_schema=int, output_schema=int).parallel(add, square).join(lambda a, b: a + b)
crowd = (
    create_workflow(id="crowd", input_schema=int, output_schema=list[int])
    .map(lambda number: [number, number + 1, number + 2])
    .foreach(announce, concurrency=2)
    .foreach(_both.commit(), concurrency=2)
    .commit()
)
once = create_workflow(id="once", input_schema=int, output_schema=int).then(add).then(pay).commit()


@workflow(id="talk")
async def talk(tools: StepTools, number: int) -> list[int]:
    first, second = await asyncio.gather(tools.run(add, number), tools.run(announce, number))
    await tools.sleep("nap", "4s")
    third = await tools.wait_for_event(paid, timeout="12s", default=0)
    return [first, second, third, await tools.run(stumble, third)]


WORKFLOWS: Sequence[AnyWorkflow] = (errand, sale, crowd, once, talk)
BY_ID = {each.id: each for each in WORKFLOWS}
TAKE_EVENTS = ("sale", "talk")

_OUTPUTS: dict[str, Callable[[int, list[int], list[int]], Any]] = {
    "errand": lambda number, _answers, _prices: ((number + 1) * 2) ** 2,
    "sale": lambda number, answers, prices: prices[0] - (number + answers[0]) + 1,
    "crowd": lambda number, _answers, _prices: [each + 1 + each * each for each in range(number + 1, number + 4)],
    "once": lambda number, _answers, _prices: -(number + 1),
    "talk": lambda number, _answers, prices: [number + 1, number + 1, prices[0], prices[0] * 2],
}


def output_of(workflow_id: str, number: int, answers: list[int], prices: list[int]) -> object:
    """What a run gives that began with ``number`` and took these answers and events."""
    return _OUTPUTS[workflow_id](number, answers, prices)
