"""Branch: the first condition that holds decides which step a claim goes to.

The choice is recorded together with what it leads to, so a run that is taken up again never chooses anew.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from wrkflw import Runtime, create_workflow, step


class Claim(BaseModel):
    customer: str
    amount: int
    years_loyal: int


@step
def pay_at_once(claim: Claim) -> str:
    return f"{claim.customer} gets {claim.amount} at once"


@step
def pay_with_thanks(claim: Claim) -> str:
    return f"{claim.customer} gets {claim.amount}, and thanks for {claim.years_loyal} years"


@step
def ask_clerk(claim: Claim) -> str:
    return f"a clerk looks at the {claim.amount} of {claim.customer}"


settle_claim = (
    create_workflow(id="settle-claim", input_schema=Claim, output_schema=str)
    .branch()
    .when(lambda claim: claim.amount <= 50, pay_at_once)
    .when(lambda claim: claim.amount <= 500 and claim.years_loyal >= 10, pay_with_thanks)
    .otherwise(ask_clerk)
    .commit()
)


async def main() -> None:
    async with Runtime(":memory:", workflows=[settle_claim]):
        for claim in (
            Claim(customer="Ada", amount=20, years_loyal=1),
            Claim(customer="Grace", amount=400, years_loyal=12),
            Claim(customer="Alan", amount=400, years_loyal=2),
        ):
            print(await settle_claim.run(claim))


if __name__ == "__main__":
    asyncio.run(main())
