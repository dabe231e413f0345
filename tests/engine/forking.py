"""Runs to fork: chains of steps that note when they are called."""

from __future__ import annotations

from typing import Any

from wrkflw import Event, StepContext, create_step, create_workflow

confirmed = Event("confirmed", int)


class Calls:
    """Steps ``a``, ``b``, ... that note when they are called; those that are told to fail do so."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.broken: set[str] = set()
        self.ids: dict[str, str] = {}

    def step(self, id: str) -> Any:
        async def add_one(data: int, ctx: StepContext) -> int:
            name = ctx.key
            self.made.append(name)
            self.ids[name] = ctx.idempotency_key
            if name in self.broken:
                raise OSError("broken")
            return data + 1

        return create_step(id=id, execute=add_one)

    def forget(self) -> list[str]:
        made, self.made = self.made, []
        return made


def chain(*steps: Any, id: str = "chain") -> Any:
    builder: Any = create_workflow(id=id, input_schema=int, output_schema=int)
    for each in steps:
        builder = builder.then(each)
    return builder.commit()


async def started(workflow: Any, data: object = 1, run_id: str = "r-17") -> Any:
    run = await workflow.create_run(run_id=run_id)
    await run.start(data, wait="0s")
    return run


async def log_of(run: Any) -> list[Any]:
    return [stored async for stored in run.events()]
