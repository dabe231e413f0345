"""Nested: a workflow is a step too, and may stand wherever a step may.

It is a part of the same run, with ids and state of its own; used twice, it needs a second id.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from wrkflw import Runtime, create_workflow, step


class Order(BaseModel):
    item: str
    street: str


class Parcel(BaseModel):
    grams: int
    label: str


@step
def weigh(order: Order) -> int:
    return 1_200 if order.item == "lamp" else 300


@step
def print_label(parcel: Parcel) -> Parcel:
    return parcel


pack = (
    create_workflow(id="pack", input_schema=Order, output_schema=Parcel)
    .then(weigh)
    .map_ctx(lambda grams, ctx: Parcel(grams=grams, label=f"{ctx.init_data.item} → {ctx.init_data.street}"))
    .then(print_label)
    .commit()
)


@step
def hand_over(parcels: list[Parcel]) -> str:
    return " and ".join(f"{parcel.label} ({parcel.grams} g)" for parcel in parcels)


ship_all = (
    create_workflow(id="ship-all", input_schema=list[Order], output_schema=str).foreach(pack).then(hand_over).commit()
)


async def main() -> None:
    async with Runtime(":memory:", workflows=[ship_all]):
        run = await ship_all.create_run()
        orders = [Order(item="lamp", street="1 Loop Lane"), Order(item="mirror", street="2 Branch Road")]
        print((await run.start(orders)).unwrap())
        print("recorded:", ", ".join((await run.snapshot()).execution_path))
        print("weight of the second:", run.within("pack[1]").get_step_result(weigh))


if __name__ == "__main__":
    asyncio.run(main())
