"""Readers of streams: those who come late, and those who read along."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from wrkflw.testing.conformance.acts import begin, record
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import Breach, ensure, ensure_equal, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.errors import RunExpiredError
from wrkflw.world.streamer import NewChunk

from .streams import write


async def read_to_the_end(world: World, run_id: str, name: str = "out", *, start_index: int = 0) -> list[bytes]:
    return [data async for data in world.streamer.read(run_id, name, start_index=start_index)]


@asynccontextmanager
async def reading_along(world: World, run_id: str) -> AsyncGenerator[AsyncIterator[bytes]]:
    reader = world.streamer.read(run_id, "out")
    try:
        yield reader
    finally:
        if isinstance(reader, AsyncGenerator):
            await reader.aclose()


async def next_of(reader: AsyncIterator[bytes]) -> bytes:
    try:
        return await anext(reader)
    except StopAsyncIteration:
        raise Breach("the stream has ended for its reader, and goes on") from None


@promise("§11 read")
async def check_a_late_reader_gets_everything(stage: Stage) -> None:
    """Who reads after the end gets all chunks, and the end."""
    world = await stage.open()
    run_id = await begin(world)
    chunks = [b"%d" % number for number in range(250)]
    await world.streamer.write_many(run_id, [NewChunk("out", chunk) for chunk in chunks])
    await world.streamer.close(run_id, "out")

    ensure_equal(await read_to_the_end(world, run_id), chunks, "what is read")


@promise("§11 read")
async def check_who_reads_along_misses_nothing(stage: Stage) -> None:
    """Chunks that are written while somebody reads come once each, in order, also at the seam."""
    world = await stage.open()
    run_id = await begin(world)
    await write(world, run_id, b"0", b"1")
    reading = asyncio.ensure_future(read_to_the_end(world, run_id))

    for number in range(2, 40):
        await write(world, run_id, b"%d" % number)
        if number % 3 == 0:
            await asyncio.sleep(0)
    await world.streamer.close(run_id, "out")

    ensure_equal(await reading, [b"%d" % number for number in range(40)], "what is read")


@promise("§11 read")
async def check_a_reader_may_come_before_the_first_chunk(stage: Stage) -> None:
    """A reader waits for a stream that nobody has written to yet, and for the next chunk."""
    world = await stage.open()
    run_id = await begin(world)

    async with reading_along(world, run_id) as reader:
        first = asyncio.ensure_future(next_of(reader))
        await stage.settle()
        ensure(not first.done(), "a reader waits while there is nothing")
        await write(world, run_id, b"1")
        ensure_equal(await first, b"1", "the first chunk")
        await write(world, run_id, b"2")
        ensure_equal(await next_of(reader), b"2", "the second chunk")


@promise("§11 read")
async def check_where_a_reader_begins(stage: Stage) -> None:
    """``start_index`` counts chunks; a negative one counts from the end, and from 0 where there are fewer."""
    world = await stage.open()
    run_id = await begin(world)
    await write(world, run_id, b"0", b"1", b"2")
    await world.streamer.close(run_id, "out")

    for start, wanted in (
        (0, [b"0", b"1", b"2"]),
        (2, [b"2"]),
        (-1, [b"2"]),
        (-2, [b"1", b"2"]),
        (-9, [b"0", b"1", b"2"]),
    ):
        ensure_equal(await read_to_the_end(world, run_id, start_index=start), wanted, f"from {start}")
    for start in (3, 99):
        ensure_equal(await read_to_the_end(world, run_id, start_index=start), [], f"from {start}, past the end")


@promise("§11 read")
async def check_past_the_end_a_reader_waits(stage: Stage) -> None:
    """From an index that is not written yet nothing comes before it is."""
    world = await stage.open()
    run_id = await begin(world)
    await write(world, run_id, b"0")
    reading = asyncio.ensure_future(read_to_the_end(world, run_id, start_index=2))
    await stage.settle()

    await write(world, run_id, b"1", b"2", b"3")
    await world.streamer.close(run_id, "out")

    ensure_equal(await reading, [b"2", b"3"], "what is read")


@promise("§11 read")
async def check_the_end_of_the_run_ends_its_streams(stage: Stage) -> None:
    """When the run ends, its streams are done: readers end, and writes are 410."""
    world = await stage.open()
    run_id = await begin(world)
    await write(world, run_id, b"1")
    reading = asyncio.ensure_future(read_to_the_end(world, run_id))
    await stage.settle()

    await record(world, run_id, e.RunCompleted())

    ensure_equal(await reading, [b"1"], "what is read")
    ensure_equal((await world.streamer.info(run_id, "out")).done, True, "whether the stream is done")
    await refusal(world.streamer.write(run_id, "out", b"2"), 410, RunExpiredError)


@promise("§11 read")
async def check_readers_that_leave_disturb_nobody(stage: Stage) -> None:
    """A reader that is called off leaves nothing behind, and the others read on."""
    world = await stage.open()
    run_id = await begin(world)
    leaving = [asyncio.ensure_future(read_to_the_end(world, run_id)) for _ in range(5)]
    staying = asyncio.ensure_future(read_to_the_end(world, run_id))
    await stage.settle()

    for reading in leaving:
        reading.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    await write(world, run_id, b"1")
    await world.streamer.close(run_id, "out")

    ensure_equal(await staying, [b"1"], "what the other reads")


@promise("§11 read", need="lasting")
async def check_a_reader_elsewhere_reads_along(stage: Stage) -> None:
    """A reader in one World gets what is written through another, while it is written."""
    one, other = await stage.open(), await stage.open()
    run_id = await begin(one)

    async with reading_along(other, run_id) as reader:
        for number in range(3):
            await write(one, run_id, b"%d" % number)
            ensure_equal(await next_of(reader), b"%d" % number, "the chunk that was written elsewhere")
