"""What goes on while the disk fails: three scenarios of workers and clients, and the workflows they use.

A client says each thing until it is acknowledged, and never again after that; so the same script that was cut off by a
fault heals it afterwards, without saying again what must not get lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wrkflw import Event, Retry, StepContext, SuspendContext, create_workflow, step

from .stage import Stage, effect, hold

# --- chains, with retries ------------------------------------------------------------------------------


@step
async def add(number: int, ctx: StepContext) -> int:
    effect(ctx)
    return number + 1


@step(retry=Retry(attempts=2, delay="20ms", jitter=0))
async def stumble(number: int, ctx: StepContext) -> int:
    effect(ctx)
    if ctx.attempt == 1:
        raise OSError(f"try {ctx.attempt}")
    return number * 2


@step
async def square(number: int, ctx: StepContext) -> int:
    effect(ctx)
    return number * number


errand = create_workflow(id="errand", input_schema=int, output_schema=int).then(add).then(stumble).then(square).commit()


async def errands(stage: Stage) -> None:
    """Runs of several steps with retries, started and enqueued; a key that is used twice."""
    async with stage.runtime(errand):
        await stage.start("one", errand, 1)
        await stage.enqueue("two", errand, 2)
        if not stage.heals:
            await stage.start("one again", errand, 1, key="one")
        await stage.end("one", errand, 16)
        await stage.end("two", errand, 36)


# --- people, events, time ------------------------------------------------------------------------------

paid = Event("paid", int)


@step
async def ask(number: int, ctx: SuspendContext[int, str]) -> int:
    effect(ctx)
    return number + ctx.suspend("how many more?")


sale = (
    create_workflow(id="sale", input_schema=int, output_schema=int)
    .then(ask)
    .join_event(paid, lambda price, sum: sum - price)
    .sleep("200ms")
    .then(add)
    .commit()
)


async def sales(stage: Stage) -> None:
    """Suspensions and answers, events before and after the wait for them, a sleep, and a cancellation."""
    async with stage.runtime(sale):
        await stage.start("early", sale, 10)
        await stage.send("early", sale, paid, 50)  # before it waits for it
        await stage.enqueue("never", sale, 30)
        await stage.answer("early", sale, ask, 3)
        await stage.start("late", sale, 20)
        await stage.cancel("never", sale)
        await stage.answer("late", sale, ask, 5)
        await stage.send("late", sale, paid, 60)
        await stage.end("early", sale, 38)
        await stage.end("late", sale, 36)


# --- many at once, and a process that takes over -------------------------------------------------------


@step
async def announce(number: int, ctx: StepContext) -> int:
    effect(ctx)
    ctx.write(f"item {number}")
    await hold(number)
    ctx.write(f"item {number} done")
    return number + 1


both = create_workflow(id="both", input_schema=int, output_schema=int).parallel(add, square).join(lambda a, b: a + b)
crowd = (
    create_workflow(id="crowd", input_schema=list[int], output_schema=list[int])
    .foreach(announce, concurrency=2)
    .foreach(both.commit(), concurrency=2)
    .commit()
)


async def crowds(stage: Stage) -> None:
    """Blocks and streams in two runtimes; the first dies in the middle of a block, and the second takes over."""
    async with stage.runtime(crowd):
        if not stage.heals:
            async with stage.runtime(crowd) as first:
                stage.holds = True
                await stage.until_held(stage.start("many", crowd, [1, 2, 3]))
                stage.holds = False
                stage.kill(first)
        await stage.start("many", crowd, [1, 2, 3])
        await stage.end("many", crowd, [2 + 1 + 4, 3 + 1 + 9, 4 + 1 + 16])


@dataclass(frozen=True)
class Scenario:
    name: str
    script: Callable[[Stage], Awaitable[None]]
    fresh: bool
    """Whether it begins without a database; else with an empty one, which spares its making in every point."""


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("errands", errands, fresh=True),
        Scenario("sales", sales, fresh=False),
        Scenario("crowds", crowds, fresh=False),
    )
}
