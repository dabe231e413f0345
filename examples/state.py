"""State: what steps know in common without handing it on.

A step's changes to the state are recorded together with its output, in one transaction, or not at all.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel, Field

from wrkflw import Runtime, StepContext, create_workflow, step


class Order(BaseModel):
    item: str
    pieces: int


class Ledger(BaseModel):
    """The state of one run."""

    total: int = 0
    notes: list[str] = Field(default_factory=list)


@step
def price(order: Order, ctx: StepContext[Ledger]) -> Order:
    ctx.state.total += 20 * order.pieces
    ctx.state.notes.append(f"{order.pieces} × {order.item}")
    return order


@step
def discount(order: Order, ctx: StepContext[Ledger]) -> Order:
    if order.pieces >= 10:
        ctx.state.total -= 15
        ctx.state.notes.append("large order: 15 off")
    return order


@step
def bill(order: Order, ctx: StepContext[Ledger]) -> str:
    return f"{ctx.state.total} for {', '.join(ctx.state.notes)}"


checkout = (
    create_workflow(id="checkout", input_schema=Order, output_schema=str, state_schema=Ledger)
    .then(price)
    .then(discount)
    .then(bill)
    .commit()
)


async def main() -> None:
    async with Runtime(workflows=[checkout]):
        run = await checkout.create_run()
        result = await run.start(Order(item="lamp", pieces=12))
        print(result.unwrap())
        print(run.state)  # a Ledger


if __name__ == "__main__":
    asyncio.run(main())
