"""A worker whose run kills it: ``python -m tests.crash.killer DATABASE``.  It tells how the run ended, if it lives."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from wrkflw import Limits, Runtime, create_workflow, step
from wrkflw.worlds.sqlite import SqliteWorld

LIMIT = 2
PATIENCE = Limits(interruptions=100)  # it is not the step that is given up here


@step
def kill(_: None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


deadly = create_workflow(id="deadly", input_schema=type(None), output_schema=type(None)).then(kill).commit()


async def main(database: str) -> None:
    world = SqliteWorld(database, max_deliveries=LIMIT)
    async with Runtime(world=world, workflows=[deadly], limits=PATIENCE):
        run = await deadly.create_run(idempotency_key="once")
        result = await run.start(None)
        letters = [letter.run_id for letter in (await world.queue.dead_letters()).data]
        print(result.status, letters == [run.run_id])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
