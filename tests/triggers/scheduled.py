"""What the tests of schedules schedule, and how they look at what came of it."""

from __future__ import annotations

from typing import Any

from tests.clocks import settle
from wrkflw import Runtime, SuspendContext, Workflow, create_workflow, step
from wrkflw.triggers import Fire

BERLIN = "Europe/Berlin"


def noting(id: str = "noting") -> Workflow[str, str, None]:
    @step
    async def note(text: str) -> str:
        return text

    return create_workflow(id=id, input_schema=str, output_schema=str).then(note).commit()


def asking() -> Workflow[str, str, None]:
    """Ends when it is answered."""

    @step(id="ask")
    async def ask(text: str, ctx: SuspendContext[str, None]) -> str:
        return f"{text} {ctx.suspend(None)}"

    return create_workflow(id="asking", input_schema=str, output_schema=str).then(ask).commit()


def moment_of(fire: Fire) -> str:
    return f"{fire.at:%d %H:%M %Z}"


async def outputs(runtime: Runtime) -> list[object]:
    """Of the runs that have ended, in the order in which they were created."""
    found = [await runtime.runs.snapshot(run.run_id) for run in (await runtime.runs.list(limit=1000)).data]
    return [run.result for run in reversed(found) if run.status == "completed"]


async def statuses(runtime: Runtime) -> list[str]:
    """Of all runs, in the order in which they were created."""
    return [run.status for run in reversed((await runtime.runs.list(limit=1000)).data)]


async def begun(runtime: Runtime, runs: int) -> None:
    """Wait until there are so many runs, and for whoever else may be about to start one."""
    while len(await statuses(runtime)) < runs:
        await settle(1)
    await settle()
    await runtime.world.storage.settled()


async def answer_all(workflow: Workflow[str, str, None], runtime: Runtime, text: str = "yes") -> None:
    ask: Any = workflow.graph.steps["ask"]
    for info in (await runtime.runs.list(waiting_for="suspended")).data:
        await (await workflow.get_run(info.run_id)).resume(ask, text)
    await runtime.world.storage.settled()
    await settle()
