"""The trivial steps that the workloads are made of, and where their runs live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeAlias

from pydantic import BaseModel

from wrkflw import Runtime, Workflow, create_step, create_workflow


class Number(BaseModel):
    n: int


Adding: TypeAlias = Workflow[Number, Number, None]


async def add(number: Number) -> Number:
    return Number(n=number.n + 1)


def adding(id: str, length: int, on_completed: Callable[[object], object] | None = None) -> Adding:
    """A chain of ``length`` steps."""
    chain = create_workflow(id=id, input_schema=Number, output_schema=Number)
    if on_completed is not None:
        chain = create_workflow(id=id, input_schema=Number, output_schema=Number, on_completed=on_completed)
    for step in range(1, length + 1):
        chain = chain.then(create_step(id=f"add-{step}", input_schema=Number, output_schema=Number, execute=add))
    return chain.commit()


class Ends:
    """Waits until so many runs of a runtime have ended, from before it is opened on."""

    def __init__(self, runtime: Runtime, runs: int) -> None:
        self._left = runs
        self._all = asyncio.Event()
        self._enough = runtime.world.subscribe(self._hear)

    async def all(self) -> None:
        await self._all.wait()

    def _hear(self, _: str, event_types: Sequence[str]) -> None:
        if "run_completed" in event_types:
            self._left -= 1
            if self._left == 0:
                self._all.set()
                self._enough()


def new(folder: Path) -> Path:
    """A new folder: whatever is measured begins with an empty database."""
    return Path(mkdtemp(dir=folder))


def database(folder: Path) -> str:
    return f"sqlite:///{folder / 'wrkflw.db'}"
