"""DBOS on SQLite, as it comes."""

from __future__ import annotations

import asyncio
import importlib.metadata

import clocked  # type: ignore[import-not-found, unused-ignore]  # beside this script
from dbos import DBOS  # type: ignore[import-not-found]

_, IN_FLIGHT, LENGTH = clocked.size()

DBOS(
    config={
        "name": "bench",
        "system_database_url": "sqlite:///dbos.db",
        "log_level": "ERROR",
        "console_log_level": "ERROR",
        "application_version": "1",
        "executor_id": "local",
    }
)


@DBOS.step()  # type: ignore[untyped-decorator]
async def add(number: dict[str, int]) -> dict[str, int]:
    return {"n": number["n"] + 1}


@DBOS.workflow()  # type: ignore[untyped-decorator]
async def chain(length: int) -> dict[str, int]:
    number = {"n": 0}
    for _ in range(length):
        number = await add(number)
    return number


async def main() -> None:
    DBOS.launch()

    async def one(number: int) -> None:
        result = await chain(LENGTH)
        assert result["n"] == LENGTH

    await clocked.clocked(f"dbos {importlib.metadata.version('dbos')}, SQLite DELETE and FULL, its default", one)


asyncio.run(main())
DBOS.destroy()
