"""Mistakes in watching a run, and in writing to it; every marked line must be rejected by both checkers."""

from __future__ import annotations

from wrkflw import StepContext, StreamItem, step

from .accept_answers import asking


async def watch() -> None:
    run = await asking.get_run("r-17")
    run.stream(after=3)  # E: cursors are text
    run.stream(until="suspended")  # E: finished or parked
    await run.stream()  # E: nothing to await
    run.read_stream(0)  # E: names are text
    async for chunk in run.read_stream():
        chunk.text  # E: bytes


async def read(item: StreamItem) -> None:
    item.chunk.decode()  # E: may be None
    item.cursor = "12"  # E: frozen


@step
def draft(topic: str, ctx: StepContext) -> str:
    ctx.write(3)  # E: text, bytes, a mapping or a sequence
    ctx.write({1, 2})  # E: JSON has no sets
    ctx.write("text", "raw")  # E: the stream is named
    return topic
