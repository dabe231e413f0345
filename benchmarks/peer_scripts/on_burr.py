"""Burr with its asynchronous SQLite persister."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
from itertools import pairwise
from typing import Any

import clocked  # type: ignore[import-not-found, unused-ignore]  # beside this script
from burr.core import ApplicationBuilder, State, action, default, expr  # type: ignore[import-not-found]
from burr.integrations.persisters.b_aiosqlite import AsyncSQLitePersister  # type: ignore[import-not-found]

logging.disable(logging.CRITICAL)
_, IN_FLIGHT, LENGTH = clocked.size()


@action(reads=["n"], writes=["n"])  # type: ignore[untyped-decorator]
async def add(state: State) -> State:
    return state.update(n=state["n"] + 1)


def application(number: int, persister: object) -> Any:
    builder = ApplicationBuilder()
    if LENGTH > 10:
        builder = builder.with_actions(add=add, end=add).with_entrypoint("add")
        builder = builder.with_transitions(("add", "add", expr(f"n < {LENGTH - 1}")), ("add", "end", default))
    else:
        names = [f"add{step}" for step in range(LENGTH - 1)] + ["end"]
        builder = builder.with_actions(**dict.fromkeys(names, add)).with_entrypoint(names[0])
        builder = builder.with_transitions(*pairwise(names))
    return builder.with_state(n=0).with_identifiers(app_id=f"run{number}").with_state_persister(persister)


async def main() -> None:
    persister = await AsyncSQLitePersister.from_values("burr.db")
    await persister.initialize()

    async def one(number: int) -> None:
        built = await application(number, persister).abuild()
        _, _, state = await built.arun(halt_after=["end"])
        assert state["n"] == LENGTH

    await clocked.clocked(f"burr {importlib.metadata.version('burr')}, DELETE and FULL, its default", one)
    await persister.cleanup()


asyncio.run(main())
