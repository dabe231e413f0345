"""Retries: a step that fails twice and then succeeds, and one that says that trying again is pointless.

The tries and the delays between them are recorded, so they survive a restart: neither begins anew.
"""

from __future__ import annotations

import asyncio

from wrkflw import Completed, Failed, FatalError, Retry, Runtime, StepContext, create_workflow, step


@step(retry=Retry(attempts=4, delay="100ms"), timeout="10s")
async def ask_weather(city: str, ctx: StepContext) -> str:
    if city == "Atlantis":
        raise FatalError("there is no such city")  # no further try will mend that
    if ctx.attempt < 3:
        raise ConnectionError("the station does not answer")
    return f"{city}: 21 °C, after {ctx.attempt} tries"


weather = create_workflow(id="weather", input_schema=str, output_schema=str).then(ask_weather).commit()


async def report(city: str) -> None:
    run = await weather.create_run()
    match await run.start(city):
        case Completed(output=text):
            print(text)
        case Failed(error=error):
            print(f"{city}: {error.type} after {error.attempts} try: {error.message}")
        case other:
            print(f"{city}: {other.status}")


async def main() -> None:
    async with Runtime(workflows=[weather]):
        await report("Lisbon")
        await report("Atlantis")


if __name__ == "__main__":
    asyncio.run(main())
