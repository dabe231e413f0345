"""Fork: a new run takes over what another one recorded, up to a step, and goes on from there.

So a run that failed late need not begin anew. The old run stays as it is. An output for a step before that point
replaces what it gave; for the step at that point it stands for running it.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from wrkflw import Failed, FatalError, Runtime, create_workflow, step


class Booking(BaseModel):
    seat: str
    price: int


class Payment(BaseModel):
    booking: Booking
    card: str


@step
def reserve_seat(show: str) -> Booking:
    print(f"a seat for {show} is reserved")
    return Booking(seat="F 12", price=40)


@step
def choose_card(booking: Booking) -> Payment:
    return Payment(booking=booking, card="expired card")


@step
def charge(payment: Payment) -> str:
    if payment.card.startswith("expired"):
        raise FatalError(f"the bank refuses the {payment.card}")
    return f"seat {payment.booking.seat}, {payment.booking.price} paid by {payment.card}"


buy_ticket = (
    create_workflow(id="buy-ticket", input_schema=str, output_schema=str)
    .then(reserve_seat)
    .then(choose_card)
    .then(charge)
    .commit()
)


async def main() -> None:
    async with Runtime(":memory:", workflows=[buy_ticket]):
        run = await buy_ticket.create_run()
        result = await run.start("Hamlet")
        if isinstance(result, Failed):
            print(f"{result.error.step_id} failed: {result.error.message}")

        payment = Payment(booking=run.get_step_result(reserve_seat), card="new card")
        forked = await run.fork(at=charge).with_output(choose_card, payment).start()
        print(forked.unwrap())

        paid_in_cash = "seat F 12, 40 paid in cash"
        mended = await run.fork().with_output(charge, paid_in_cash).start()  # at the step that failed
        print(mended.unwrap())
        print(f"the first run is {(await run.snapshot()).status} as before")


if __name__ == "__main__":
    asyncio.run(main())
