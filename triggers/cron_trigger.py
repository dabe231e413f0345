"""The schedules of this deployment: ``python -m triggers.cron_trigger [SECONDS]`` keeps them for so long.

Without a number it is three seconds; what was started is shown at the end.  Begin it in two terminals: the runs
are the same, and each instant has one.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from examples.hello import hello
from wrkflw import Runtime
from wrkflw.triggers import cron, every

greeting = hello.with_id("scheduled-greeting")

cron(greeting, every("1s"), id="every-second", input=lambda fire: f"world at {fire.at:%H:%M:%S}")
cron(
    greeting,
    "0 9 * * mon-fri",
    id="office-hours",
    timezone="Europe/Berlin",
    input=lambda fire: f"colleagues, it is {fire.at:%A}",
    catchup="latest",
    overlap="skip",
)


async def main(seconds: float) -> None:
    async with Runtime(workflows=[greeting]) as runtime:
        await asyncio.sleep(seconds)
        for run in reversed((await runtime.runs.list(workflow=greeting, status="completed")).data):
            print((await runtime.runs.snapshot(run.run_id)).result)
        for schedule in await runtime.schedules.list():
            print(f"{schedule.id} ({schedule.timing}) comes next at {schedule.next_at:%Y-%m-%d %H:%M:%S %Z}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 3))
