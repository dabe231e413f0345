"""What can be watched of a run, and what its bodies write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

from wrkflw import StepContext, StreamItem, step
from wrkflw.world.events import StoredEvent

from .accept_answers import asking


async def watch() -> None:
    run = await asking.get_run("r-17")
    assert_type(run.stream(), AsyncIterator[StreamItem])
    async for item in run.stream(after="12", until="parked"):
        assert_type(item.cursor, str)
        assert_type(item.chunk, bytes | None)
    async for chunk in run.read_stream("raw", start_index=3):
        assert_type(chunk, bytes)


async def read(item: StreamItem) -> None:
    assert_type(item.event, StoredEvent | None)
    assert_type(item.key, str | None)
    assert_type(item.stream, str | None)
    match item.kind:
        case "event" | "chunk" | "reset" as kind:
            print(kind)


@step
def draft(topic: str, ctx: StepContext) -> str:
    ctx.write("text")
    ctx.write(b"bytes", stream="raw")
    ctx.write({"tokens": 3})
    ctx.write([topic, 3, None])
    return topic
