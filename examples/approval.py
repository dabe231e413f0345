"""Approval: a run waits for a person, and the process need not wait with it.

One process begins an order and ends; a second one, which knows only the id of the run, hands in the answer. What was
done before the question is not done again.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from tempfile import TemporaryDirectory

from pydantic import BaseModel

from wrkflw import Runtime, SuspendContext, Suspended, create_workflow, step

RUN_ID = "order-17"


class Order(BaseModel):
    item: str
    pieces: int


class Quote(BaseModel):
    order: Order
    price: int


class Answer(BaseModel):
    approved: bool
    by: str


@step
def ask_supplier(order: Order) -> Quote:
    print(f"  the supplier is asked for {order.pieces} × {order.item}")
    return Quote(order=order, price=250 * order.pieces)


@step
def approve(quote: Quote, ctx: SuspendContext[Answer, Quote]) -> str:
    answer = ctx.suspend(quote)  # the body ends here, and runs again once there is an answer
    if not answer.approved:
        return f"{answer.by} said no"
    return f"ordered {quote.order.pieces} × {quote.order.item} for {quote.price}, approved by {answer.by}"


purchase = (
    create_workflow(id="purchase", input_schema=Order, output_schema=str).then(ask_supplier).then(approve).commit()
)


async def begin(database: str) -> None:
    async with Runtime(database, workflows=[purchase]):
        run = await purchase.create_run(run_id=RUN_ID)
        result = await run.start(Order(item="chair", pieces=4))
        if isinstance(result, Suspended) and (quote := result.payload_of(approve)) is not None:
            print(f"  {result.run_id} is {result.status}: is {quote.price} all right?")


async def answer(database: str) -> None:
    async with Runtime(database, workflows=[purchase]):
        run = await purchase.get_run(RUN_ID)
        result = await run.resume(approve, Answer(approved=True, by="Grace"))
        print(f"  {result.run_id} is {result.status}: {result.unwrap()}")


def main() -> None:
    with TemporaryDirectory() as folder:
        for part in ("begin", "answer"):
            print(f"a process of its own, to {part}:", flush=True)
            subprocess.run([sys.executable, "-m", "examples.approval", part, f"sqlite:///{folder}/app.db"], check=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["begin", database]:
            asyncio.run(begin(database))
        case ["answer", database]:
            asyncio.run(answer(database))
        case _:
            main()
