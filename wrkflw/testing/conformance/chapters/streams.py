"""Streams: chunks in order, none lost and none twice, for late readers and for those who read along."""

from __future__ import annotations

import asyncio

from wrkflw.testing.conformance.acts import begin, completed, create, lazily_started, record, retrying, started
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure_equal, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import World
from wrkflw.world.errors import EntityConflictError, FencedError
from wrkflw.world.storage import RunFence, StepFence
from wrkflw.world.streamer import NewChunk, StreamInfo


async def all_of(world: World, run_id: str, name: str = "out", *, limit: int = 100) -> list[bytes]:
    """The chunks of a stream, page by page."""
    data: list[bytes] = []
    cursor: str | None = None
    while True:
        page = await world.streamer.get_chunks(run_id, name, limit=limit, cursor=cursor)
        data.extend(chunk.data for chunk in page.data)
        cursor = page.cursor
        if not page.has_more:
            return data


async def write(world: World, run_id: str, *chunks: bytes, name: str = "out") -> None:
    for chunk in chunks:
        await world.streamer.write(run_id, name, chunk)


@promise("§11")
async def check_chunks_come_in_the_order_they_were_written(stage: Stage) -> None:
    """``write`` gives dense indexes from 0, and the chunks are read in that order, text as UTF-8."""
    world = await stage.open()
    run_id = await begin(world)

    indexes = [await world.streamer.write(run_id, "out", chunk) for chunk in (b"a", "ä", b"\x00")]

    ensure_equal(indexes, [0, 1, 2], "indexes")
    ensure_equal(await all_of(world, run_id), [b"a", "ä".encode(), b"\x00"], "the chunks")
    page = await world.streamer.get_chunks(run_id, "out")
    ensure_equal([chunk.index for chunk in page.data], [0, 1, 2], "indexes that are read")


@promise("§11")
async def check_streams_do_not_meet(stage: Stage) -> None:
    """Streams are known by run and name: the same name in two runs is two streams."""
    world = await stage.open()
    one, other = await begin(world), await begin(world)

    await write(world, one, b"1", b"2")
    await write(world, other, b"3")
    await write(world, one, b"4", name="Out")

    ensure_equal(await all_of(world, one), [b"1", b"2"], "the stream of the one")
    ensure_equal(await all_of(world, other), [b"3"], "the stream of the other")
    ensure_equal(await all_of(world, one, "Out"), [b"4"], "the other stream of the one")
    ensure_equal(sorted(await world.streamer.list(one)), ["Out", "out"], "streams of the one")


@promise("§11")
async def check_many_chunks_are_written_at_once(stage: Stage) -> None:
    """``write_many`` appends to several streams, and leaves empty chunks out; its refusal leaves nothing."""
    world = await stage.open()
    run_id = await begin(world)
    await world.streamer.close(run_id, "closed")

    await world.streamer.write_many(
        run_id, [NewChunk("out", b"1"), NewChunk("log", b"x"), NewChunk("out", b""), NewChunk("out", b"2")]
    )
    refused = world.streamer.write_many(run_id, [NewChunk("out", b"3"), NewChunk("closed", b"4")])
    await refusal(refused, 409, EntityConflictError)

    ensure_equal(await all_of(world, run_id), [b"1", b"2"], "the one stream")
    ensure_equal(await all_of(world, run_id, "log"), [b"x"], "the other stream")


@promise("§11")
async def check_empty_chunks_are_not_delivered(stage: Stage) -> None:
    """An empty chunk takes no index and is never read."""
    world = await stage.open()
    run_id = await begin(world)

    await write(world, run_id, b"", b"1", b"", b"2")
    await world.streamer.close(run_id, "out")

    ensure_equal(await all_of(world, run_id), [b"1", b"2"], "what is read")
    ensure_equal(await world.streamer.info(run_id, "out"), StreamInfo(1, True), "what is known of the stream")


@promise("§11")
async def check_an_ended_stream_takes_nothing(stage: Stage) -> None:
    """After its end a stream takes no chunk: 409; closing it again changes nothing; other streams go on."""
    world = await stage.open()
    run_id = await begin(world)
    await write(world, run_id, b"1")
    await world.streamer.close(run_id, "out")

    await refusal(world.streamer.write(run_id, "out", b"2"), 409, EntityConflictError)
    await world.streamer.close(run_id, "out")
    await write(world, run_id, b"3", name="log")

    ensure_equal(await all_of(world, run_id), [b"1"], "the chunks")


@promise("§11")
async def check_a_stream_without_a_chunk_is_listed(stage: Stage) -> None:
    """Closing is enough for a stream to be there; one that nobody wrote to has no chunk and is not done."""
    world = await stage.open()
    run_id = await begin(world)
    await world.streamer.close(run_id, "out")

    ensure_equal(await world.streamer.list(run_id), ["out"], "streams")
    ensure_equal(await world.streamer.info(run_id, "out"), StreamInfo(-1, True), "the closed stream")
    ensure_equal(await world.streamer.info(run_id, "log"), StreamInfo(-1, False), "a stream that nobody wrote to")
    ensure_equal(await all_of(world, run_id), [], "what is read")


@promise("§11 get_chunks")
async def check_chunks_come_in_pages(stage: Stage) -> None:
    """Pages add up to the stream; the cursor of the last gives what is written later, and ``done`` tells the end."""
    world = await stage.open()
    run_id = await begin(world)
    await write(world, run_id, *(b"%d" % number for number in range(7)))
    get_chunks = world.streamer.get_chunks

    for limit in (1, 3, 7, 8):
        ensure_equal(await all_of(world, run_id, limit=limit), [b"%d" % n for n in range(7)], f"in pages of {limit}")
    last = await get_chunks(run_id, "out", limit=7)
    ensure_equal((last.has_more, last.done), (False, False), "the last page so far")
    await write(world, run_id, b"7")
    await world.streamer.close(run_id, "out")
    later = await get_chunks(run_id, "out", cursor=last.cursor)
    ensure_equal(([chunk.data for chunk in later.data], later.done), ([b"7"], True), "the page behind it")


@promise("§11 get_chunks")
async def check_an_unknown_place_in_a_stream_is_its_beginning(stage: Stage) -> None:
    """An invalid stream cursor begins again at 0: readers of streams alone may do that."""
    world = await stage.open()
    run_id = await begin(world)
    await write(world, run_id, b"0", b"1")
    other = (await world.streamer.get_chunks(run_id, "other")).cursor

    for cursor in ("", "nonsense", "\x00", "é", other):
        page = await world.streamer.get_chunks(run_id, "out", cursor=cursor)
        ensure_equal([chunk.data for chunk in page.data], [b"0", b"1"], f"the chunks from {cursor!r}")


@promise("§11")
async def check_chunks_are_fenced_as_events_are(stage: Stage) -> None:
    """While a run has an owner, only that one writes; an old epoch is FencedError; chunks bear the epoch."""
    world = await stage.open()
    run_id = await begin(world)
    old = await world.storage.runs.claim(run_id, owner=world.owner)
    await world.storage.runs.release(run_id, RunFence(old.epoch), seen_slot=2, wake_at=None)
    new = await world.storage.runs.claim(run_id, owner=world.owner)

    await refusal(world.streamer.write(run_id, "out", b"0"), 409, FencedError)
    await refusal(world.streamer.write(run_id, "out", b"0", fence=RunFence(old.epoch)), 409, FencedError)
    await refusal(world.streamer.close(run_id, "out", fence=RunFence(old.epoch)), 409, FencedError)
    await world.streamer.write(run_id, "out", b"1", fence=RunFence(new.epoch))

    (chunk,) = (await world.streamer.get_chunks(run_id, "out")).data
    ensure_equal((chunk.data, chunk.epoch), (b"1", new.epoch), "the chunk")


@promise("§11")
async def check_who_executes_a_step_writes_as_that_step(stage: Stage) -> None:
    """With a step's fence chunks bear its attempt; one of an old attempt, or of a step that is over, is refused."""
    world = await stage.open()
    run_id = await begin(world, lazily_started("step_a"))
    await world.streamer.write(run_id, "out", b"1", fence=StepFence("step_a", 1))
    await record(world, run_id, retrying("step_a"), started("step_a"))

    await refusal(world.streamer.write(run_id, "out", b"x", fence=StepFence("step_a", 1)), 409, FencedError)
    await world.streamer.write(run_id, "out", b"2", fence=StepFence("step_a", 2))
    await record(world, run_id, completed("step_a"))
    await refusal(world.streamer.write(run_id, "out", b"x", fence=StepFence("step_a", 2)), 409, EntityConflictError)

    chunks = (await world.streamer.get_chunks(run_id, "out")).data
    ensure_equal([(chunk.data, chunk.attempt) for chunk in chunks], [(b"1", 1), (b"2", 2)], "chunks and attempts")


@promise("§11")
async def check_writers_at_once_take_an_index_each(stage: Stage) -> None:
    """Many writes at once: dense indexes, every chunk once."""
    world = await stage.open()
    run_id = await begin(world)

    indexes = await asyncio.gather(*(world.streamer.write(run_id, "out", b"%d" % number) for number in range(20)))

    ensure_equal(sorted(indexes), list(range(20)), "indexes")
    read = await all_of(world, run_id)
    ensure_equal([read[index] for index in indexes], [b"%d" % number for number in range(20)], "chunks at their index")


@promise("§2")
async def check_stream_names_are_plain(stage: Stage) -> None:
    """A stream cannot be called nothing, or by control characters: 400, and no stream."""
    world = await stage.open()
    run_id = await create(world)

    for name in ("", "a\x00", "a\n", "a" * 257):
        await refusal(world.streamer.write(run_id, name, b"1"), 400)
        await refusal(world.streamer.close(run_id, name), 400)

    ensure_equal(await world.streamer.list(run_id), [], "streams")


@promise("§1.6", need="lasting")
async def check_streams_outlive_their_world(stage: Stage) -> None:
    """Chunks and ends are there after the store was closed and opened again, and the stream goes on."""
    world = await stage.open()
    run_id = await begin(world)
    await write(world, run_id, b"0", b"1")
    await world.streamer.close(run_id, "closed")

    world = await stage.reopen(world)

    await refusal(world.streamer.write(run_id, "closed", b"x"), 409, EntityConflictError)
    ensure_equal(await world.streamer.write(run_id, "out", b"2"), 2, "the next index")
    ensure_equal(await all_of(world, run_id), [b"0", b"1", b"2"], "the chunks")
