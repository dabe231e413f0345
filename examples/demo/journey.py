"""A run of twelve steps, as a program of its own: the demo kills it half-way and starts it again.

The program is the same both times. It asks for the run by its idempotency key: the first time there is none and it
begins, the second time it goes on.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from wrkflw import Runtime, StepContext, create_workflow, step

STOPS = tuple(f"stop-{number:02}" for number in range(1, 13))
KEY = "the-journey"


@step
async def visit(way: list[str], ctx: StepContext) -> list[str]:
    bear_witness(ctx.step_id)
    await asyncio.sleep(0.15)
    return [*way, ctx.step_id]


def bear_witness(stop: str) -> None:
    """Tell the world, which no database can take back: one line each time a body begins."""
    with Path(sys.argv[2]).open("a", encoding="utf-8") as witness:
        witness.write(f"{stop}\n")
    print(stop, flush=True)


chain = create_workflow(id="journey", input_schema=list[str], output_schema=list[str])
for stop in STOPS:
    chain = chain.then(visit.with_id(stop))
journey = chain.commit()


async def main() -> None:
    async with Runtime(f"sqlite:///{sys.argv[1]}", workflows=[journey]):
        run = await journey.create_run(idempotency_key=KEY)
        await run.start([])


if __name__ == "__main__":
    asyncio.run(main())
