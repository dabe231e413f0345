"""LangGraph with its asynchronous SQLite saver, durability "sync"."""

from __future__ import annotations

import asyncio
import importlib.metadata
from typing import Any, TypedDict

import clocked  # type: ignore[import-not-found, unused-ignore]  # beside this script
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # type: ignore[import-not-found]
from langgraph.graph import END, START, StateGraph  # type: ignore[import-not-found]

_, IN_FLIGHT, LENGTH = clocked.size()


class Number(TypedDict):
    n: int


async def add(number: Number) -> Number:
    return {"n": number["n"] + 1}


def graph(saver: object) -> Any:
    built = StateGraph(Number)
    if LENGTH > 10:  # a node for each of thousands takes it minutes to compile
        built.add_node("add", add)
        built.add_edge(START, "add")
        built.add_conditional_edges("add", lambda number: END if number["n"] >= LENGTH else "add")
        return built.compile(checkpointer=saver)
    before = START
    for step in range(LENGTH):
        built.add_node(f"add{step}", add)
        built.add_edge(before, f"add{step}")
        before = f"add{step}"
    built.add_edge(before, END)
    return built.compile(checkpointer=saver)


async def main() -> None:
    async with AsyncSqliteSaver.from_conn_string("langgraph.db") as saver:
        await saver.setup()
        compiled = graph(saver)

        async def one(number: int) -> None:
            config = {"configurable": {"thread_id": str(number)}, "recursion_limit": LENGTH + 10}
            result = await compiled.ainvoke({"n": 0}, config, durability="sync")
            assert result["n"] == LENGTH

        await clocked.clocked(
            f"langgraph {importlib.metadata.version('langgraph')}, WAL and FULL, durability sync", one
        )


asyncio.run(main())
