"""Streaming: what a step writes can be read while it runs, by anybody, and again from any point.

Chunks are recorded as everything else is.  A reader that was cut off goes on behind the last item it saw, in whatever
process, and gets exactly the rest: log events and chunks, in one order.
"""

from __future__ import annotations

import asyncio

from wrkflw import Runtime, StepContext, StreamItem, create_workflow, step

STORY = ("Once there was a run.", "Its process was killed.", "It went on all the same.")


@step
async def tell_story(listener: str, ctx: StepContext) -> int:
    for sentence in STORY:
        ctx.write(sentence)
        await asyncio.sleep(0.01)
    return len(STORY)


telling = create_workflow(id="telling", input_schema=str, output_schema=int).then(tell_story).commit()


def show(item: StreamItem) -> None:
    match item:
        case StreamItem(kind="chunk", chunk=bytes() as chunk):
            print(f"{item.key}: {chunk.decode()}")
        case StreamItem(kind="reset"):  # a retry, or a recovery: what the step had written is void
            print(f"{item.key} begins again")
        case _ if item.event is not None:
            print(f"  {item.event.event_type}")
        case _:
            pass


async def main() -> None:
    async with Runtime(":memory:", workflows=[telling]):
        run = await (await telling.create_run()).enqueue("Ada")

        cursor = None
        async for item in run.stream():  # live, while a worker is at it
            if item.kind == "chunk":
                show(item)
                cursor = item.cursor
                break  # the line goes dead

        async for item in run.stream(after=cursor):
            show(item)


if __name__ == "__main__":
    asyncio.run(main())
