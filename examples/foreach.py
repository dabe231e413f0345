"""Foreach: one step for every item of a list, a few at a time; the outputs come in the order of the items.

An item that fails would fail the run, so what may well go wrong is an output like any other: ``Sent | Refused``.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from wrkflw import Runtime, StepContext, create_workflow, step


class Sent(BaseModel):
    to: str


class Refused(BaseModel):
    to: str
    reason: str


@step
async def send_newsletter(address: str, ctx: StepContext) -> Sent | Refused:
    await asyncio.sleep(0.1)
    print(f"{ctx.key}: {address}")
    return Sent(to=address) if "@" in address else Refused(to=address, reason="that is no address")


def report(outcomes: list[Sent | Refused]) -> str:
    refused = [f"{one.to!r}: {one.reason}" for one in outcomes if isinstance(one, Refused)]
    return f"{len(outcomes) - len(refused)} sent, {len(refused)} refused; {', '.join(refused)}"


newsletter = (
    create_workflow(id="newsletter", input_schema=list[str], output_schema=str)
    .foreach(send_newsletter, concurrency=2)
    .map(report)
    .commit()
)


async def main() -> None:
    async with Runtime(":memory:", workflows=[newsletter]):
        print(await newsletter.run(["ada@example.org", "grace@example.org", "alan", "barbara@example.org"]))


if __name__ == "__main__":
    asyncio.run(main())
