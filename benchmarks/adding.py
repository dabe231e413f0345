"""The trivial steps that the workloads are made of, and where their runs live."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import TypeAlias

from pydantic import BaseModel

from wrkflw import Workflow, create_step, create_workflow


class Number(BaseModel):
    n: int


Adding: TypeAlias = Workflow[Number, Number, None]


async def add(number: Number) -> Number:
    return Number(n=number.n + 1)


def adding(id: str, length: int) -> Adding:
    """A chain of ``length`` steps."""
    chain = create_workflow(id=id, input_schema=Number, output_schema=Number)
    for step in range(1, length + 1):
        chain = chain.then(create_step(id=f"add-{step}", input_schema=Number, output_schema=Number, execute=add))
    return chain.commit()


def new(folder: Path) -> Path:
    """A new folder: whatever is measured begins with an empty database."""
    return Path(mkdtemp(dir=folder))


def database(folder: Path) -> str:
    return f"sqlite:///{folder / 'wrkflw.db'}"
