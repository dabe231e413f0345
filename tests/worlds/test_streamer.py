"""Streams, on a real file and in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import START, ManualClock, settle
from tests.world.looks import connection_of, new_run_id
from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, FencedError, RunExpiredError, WorkflowRunNotFoundError, WorldError
from wrkflw.world.storage import Claim, RunFence, StepFence
from wrkflw.world.streamer import Chunk, NewChunk, Position, StreamInfo, position_of
from wrkflw.worlds.sqlite import SqliteWorld

OWNED = RunFence(1)


@pytest.fixture(params=["file", "memory"])
async def world(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "streams.db" if request.param == "file" else ":memory:", clock=clock)
    await world.start()
    yield world
    await world.close()


@pytest.fixture
async def run_id(world: SqliteWorld, clock: ManualClock) -> str:
    run_id = new_run_id(clock.now())
    events: list[e.NewEvent] = [e.RunCreated(workflow_name="greet"), e.RunStarted()]
    await world.storage.events.create_batch(run_id, events, claim=Claim(world.owner))
    return run_id


def chunks(*texts: str, stream: str = "out") -> list[NewChunk]:
    return [NewChunk(stream, text.encode()) for text in texts]


def texts(read: Sequence[object]) -> list[str]:
    return [found.data.decode() if isinstance(found, Chunk) else type(found).__name__ for found in read]


async def stored(world: SqliteWorld, run_id: str, stream: str = "out") -> list[Chunk]:
    return (await world.streamer.get_chunks(run_id, stream)).data


async def step(world: SqliteWorld, run_id: str, name: str) -> None:
    created = e.StepCreated(correlation_id=name, step_name="a", key=name)
    await world.storage.events.create_batch(run_id, [created, e.StepStarted(correlation_id=name)], fence=OWNED)


async def test_chunks_are_numbered_in_their_stream_and_in_their_run(world: SqliteWorld, run_id: str) -> None:
    write = world.streamer.write_many

    assert await write(run_id, [NewChunk("out", b"\x00a", "k", 2), NewChunk("log", b"b")], fence=OWNED) == 2
    assert await write(run_id, chunks("c"), fence=OWNED) == 3

    assert await stored(world, run_id, "out") == [
        Chunk(run_id, "out", 0, b"\x00a", "k", 2, 1, 2, 1, START),
        Chunk(run_id, "out", 1, b"c", None, None, 1, 2, 3, START),
    ]
    assert [chunk.number for chunk in await stored(world, run_id, "log")] == [2]
    assert await world.streamer.list(run_id) == ["log", "out"]


@pytest.mark.parametrize("given", ["tëxt", b"t\xc3\xabxt", bytearray(b"t\xc3\xabxt"), memoryview(b"t\xc3\xabxt")])
async def test_a_chunk_is_kept_as_bytes(given: Any, world: SqliteWorld, run_id: str) -> None:
    await world.streamer.write(run_id, "out", given, fence=OWNED)
    await world.streamer.write_many(run_id, [NewChunk("out", given)], fence=OWNED)

    assert [chunk.data for chunk in await stored(world, run_id)] == ["tëxt".encode()] * 2


@pytest.mark.parametrize("given", [5, None, [1, 2]])
async def test_what_is_neither_text_nor_bytes_is_no_chunk(given: Any, world: SqliteWorld, run_id: str) -> None:
    no_chunk = f"^a chunk is bytes or a str, not {type(given).__name__}; encode it before you write it$"

    with pytest.raises(WorldError, match=no_chunk):
        await world.streamer.write(run_id, "out", given, fence=OWNED)
    with pytest.raises(WorldError, match=no_chunk):
        await world.streamer.write_many(run_id, [NewChunk("out", given)], fence=OWNED)
    assert await stored(world, run_id) == []


async def test_empty_chunks_are_left_out(world: SqliteWorld, run_id: str) -> None:
    assert await world.streamer.write_many(run_id, chunks("", "a", ""), fence=OWNED) == 1
    assert await world.streamer.write_many(run_id, chunks(""), fence=OWNED) == 1
    assert await world.streamer.write_many(run_id, [], fence=OWNED) == 1

    assert texts(await stored(world, run_id)) == ["a"]


@pytest.mark.parametrize(
    ("start", "expected"), [(0, "abcd"), (2, "cd"), (4, ""), (9, ""), (-1, "d"), (-4, "abcd"), (-9, "abcd")]
)
async def test_a_stream_is_read_from_an_index_or_from_its_end(
    start: int, expected: str, world: SqliteWorld, run_id: str
) -> None:
    await world.streamer.write_many(run_id, chunks(*"abcd"), fence=OWNED)

    page = await world.streamer.get_chunks(run_id, "out", start_index=start)
    assert "".join(texts(page.data)) == expected
    first = await world.streamer.get_chunks(run_id, "out", start_index=start, limit=1)
    assert ("".join(texts(first.data)), first.has_more) == (expected[:1], len(expected) > 1)
    await world.streamer.close(run_id, "out", fence=OWNED)
    read = [chunk async for chunk in world.streamer.read(run_id, "out", start_index=start)]
    assert b"".join(read).decode() == expected


async def test_a_stream_has_an_end(world: SqliteWorld, run_id: str) -> None:
    streamer = world.streamer
    assert await streamer.info(run_id, "out") == StreamInfo(-1, False)
    await streamer.write_many(run_id, chunks("a", "b"), fence=OWNED)
    assert await streamer.info(run_id, "out") == StreamInfo(1, False)

    for _ in range(2):
        await streamer.close(run_id, "out", fence=OWNED)
    await streamer.close(run_id, "nothing", fence=OWNED)

    assert await streamer.info(run_id, "out") == StreamInfo(1, True)
    assert await streamer.info(run_id, "nothing") == StreamInfo(-1, True)
    assert await streamer.list(run_id) == ["nothing", "out"]
    with pytest.raises(EntityConflictError, match=f"stream 'out' of {run_id} is closed; write to another one"):
        await streamer.write_many(run_id, [*chunks("c", stream="log"), *chunks("c")], fence=OWNED)
    assert await stored(world, run_id, "log") == []


async def test_nothing_is_written_to_a_run_that_has_ended(world: SqliteWorld, run_id: str) -> None:
    await world.streamer.write_many(run_id, chunks("a"), fence=OWNED)
    await world.storage.events.create_batch(run_id, [e.RunCompleted()], fence=OWNED)

    with pytest.raises(RunExpiredError) as refused:
        await world.streamer.write_many(run_id, chunks("b"), fence=OWNED)
    assert refused.value.status == 410
    with pytest.raises(RunExpiredError):
        await world.streamer.close(run_id, "out", fence=OWNED)
    assert await world.streamer.info(run_id, "out") == StreamInfo(0, True)


async def test_who_has_lost_the_run_writes_nothing(world: SqliteWorld, run_id: str) -> None:
    last = (await world.storage.runs.get(run_id)).last_slot
    await world.storage.runs.release(run_id, OWNED, seen_slot=last, wake_at=None)
    await world.storage.runs.claim(run_id, owner=world.owner)

    for fence in (OWNED, None):
        with pytest.raises(FencedError):
            await world.streamer.write_many(run_id, chunks("a"), fence=fence)
        with pytest.raises(FencedError):
            await world.streamer.close(run_id, "out", fence=fence)
    assert await world.streamer.list(run_id) == []


async def test_anybody_may_write_to_a_run_that_nobody_owns(world: SqliteWorld, run_id: str) -> None:
    await world.storage.runs.release(run_id, OWNED, seen_slot=2, wake_at=None)

    await world.streamer.write_many(run_id, chunks("a"))

    assert [chunk.epoch for chunk in await stored(world, run_id)] == [None]


async def test_writers_at_the_same_time_lose_and_repeat_nothing(world: SqliteWorld, run_id: str) -> None:
    await asyncio.gather(
        *(world.streamer.write_many(run_id, chunks(f"{name}1", f"{name}2", stream=name), fence=OWNED) for name in "xyx")
    )

    assert texts(await stored(world, run_id, "x")) == ["x1", "x2", "x1", "x2"]
    assert [chunk.index for chunk in await stored(world, run_id, "x")] == [0, 1, 2, 3]
    items = await world.streamer.items(run_id, after=Position(2))
    assert [item.number for item in items if isinstance(item, Chunk)] == [1, 2, 3, 4, 5, 6]


async def test_events_and_chunks_are_told_in_one_order(world: SqliteWorld, run_id: str) -> None:
    write = world.streamer.write_many
    await write(run_id, chunks("a", "b"), fence=OWNED)
    await asyncio.gather(step(world, run_id, "step_1"), write(run_id, chunks("c", stream="log"), fence=OWNED))
    await write(run_id, chunks("d"), fence=OWNED)
    await world.storage.events.create_batch(run_id, [e.StepCompleted(correlation_id="step_1")], fence=OWNED)

    items = await world.streamer.items(run_id)

    told = [item.data.decode() if isinstance(item, Chunk) else item.event_type for item in items]
    assert told == ["run_created", "run_started", "a", "b", "step_created", "step_started", "c", "d", "step_completed"]
    assert [position_of(item) for item in items] == [
        (1, 0), (2, 0), (2, 1), (2, 2), (3, 0), (4, 0), (4, 3), (4, 4), (5, 0),
    ]  # fmt: skip
    for index, item in enumerate(items):
        assert await world.streamer.items(run_id, after=position_of(item)) == items[index + 1 :]
        assert await world.streamer.items(run_id, after=position_of(item), limit=1) == items[index + 1 : index + 2]
    events = [item for item in items if not isinstance(item, Chunk)]
    assert events == (await world.storage.events.list(run_id)).data


async def test_listeners_are_told_of_chunks(world: SqliteWorld, run_id: str) -> None:
    told: list[tuple[str, list[str]]] = []
    end = world.subscribe(lambda about, types: told.append((about, list(types))))

    await world.streamer.write_many(run_id, chunks("a", "b"), fence=OWNED)
    await world.streamer.write_many(run_id, chunks(""), fence=OWNED)
    await world.streamer.close(run_id, "out", fence=OWNED)
    end()

    assert told == [(run_id, ["chunk_written"]), (run_id, ["stream_closed"])]


async def test_a_run_that_is_deleted_leaves_no_chunks(world: SqliteWorld, run_id: str) -> None:
    await world.streamer.write_many(run_id, chunks("a"), fence=OWNED)
    await world.storage.events.create_batch(run_id, [e.RunCompleted()], fence=OWNED)
    await world.storage.runs.delete(run_id)

    assert connection_of(world).text("SELECT (SELECT count(*) FROM chunks) + (SELECT count(*) FROM streams)") == [(0,)]
    with pytest.raises(WorkflowRunNotFoundError):
        await world.streamer.get_chunks(run_id, "out")
    with pytest.raises(WorkflowRunNotFoundError):
        await anext(world.streamer.read(run_id, "out"))


@pytest.mark.parametrize("name", ["", "a\n", "x" * 257])
async def test_a_stream_has_a_name_that_can_be_read(name: str, world: SqliteWorld, run_id: str) -> None:
    with pytest.raises(WorldError, match="a stream cannot be called"):
        await world.streamer.write_many(run_id, chunks("a", stream=name), fence=OWNED)
    with pytest.raises(WorldError, match="a stream cannot be called"):
        await world.streamer.close(run_id, name, fence=OWNED)


async def test_chunks_survive_the_process(tmp_path: Path, clock: ManualClock) -> None:
    for number in (1, 2):
        world = SqliteWorld(tmp_path / "kept.db", clock=clock)
        await world.start()
        if number == 1:
            await world.storage.events.create("run-1", e.RunCreated(workflow_name="greet"))
        assert await world.streamer.write_many("run-1", chunks("a")) == number
        world.abandon()


# --- one at a time -------------------------------------------------------------------------------------


async def test_a_chunk_is_written_alone_and_has_an_index(world: SqliteWorld, run_id: str) -> None:
    write = world.streamer.write

    assert [await write(run_id, "out", chunk, fence=OWNED) for chunk in (b"a", "ü", b"", "b")] == [0, 1, 2, 2]

    assert texts(await stored(world, run_id)) == ["a", "ü", "b"]


async def test_who_executes_a_step_writes_as_that_step_at_its_attempt(world: SqliteWorld, run_id: str) -> None:
    await step(world, run_id, "step_1")
    await world.streamer.write(run_id, "out", "a", fence=StepFence("step_1", 1))
    await world.storage.events.create_batch(run_id, [e.StepStarted(correlation_id="step_1")], fence=OWNED)

    with pytest.raises(FencedError, match="this writer holds attempt 1, the run is at attempt 2"):
        await world.streamer.write(run_id, "out", "b", fence=StepFence("step_1", 1))
    await world.streamer.write(run_id, "out", "c", fence=StepFence("step_1", 2))
    await world.storage.events.create_batch(run_id, [e.StepCompleted(correlation_id="step_1")], fence=OWNED)

    with pytest.raises(EntityConflictError, match=f"step 'step_1' of {run_id} is 'completed'; write while it runs"):
        await world.streamer.close(run_id, "out", fence=StepFence("step_1", 2))
    with pytest.raises(WorldError, match=f"run {run_id} has no step 'step_9'") as refused:
        await world.streamer.write(run_id, "out", "d", fence=StepFence("step_9", 1))
    assert refused.value.status == 404
    found = await stored(world, run_id)
    assert [(chunk.data, chunk.key, chunk.attempt, chunk.epoch) for chunk in found] == [
        (b"a", "step_1", 1, None),
        (b"c", "step_1", 2, None),
    ]


# --- by the page ---------------------------------------------------------------------------------------


async def test_chunks_are_read_by_the_page_and_the_last_cursor_gives_what_is_new(
    world: SqliteWorld, run_id: str
) -> None:
    streamer = world.streamer
    empty = await streamer.get_chunks(run_id, "out")
    await streamer.write_many(run_id, chunks(*"abcde"), fence=OWNED)

    pages = [await streamer.get_chunks(run_id, "out", limit=2, cursor=empty.cursor)]
    while pages[-1].has_more:
        pages.append(await streamer.get_chunks(run_id, "out", limit=2, cursor=pages[-1].cursor))
    await streamer.write_many(run_id, chunks("f"), fence=OWNED)
    await streamer.close(run_id, "out", fence=OWNED)
    new = await streamer.get_chunks(run_id, "out", cursor=pages[-1].cursor)
    last = await streamer.get_chunks(run_id, "out", cursor=new.cursor)

    assert [(texts(page.data), page.done) for page in (empty, *pages)] == [
        ([], False), (["a", "b"], False), (["c", "d"], False), (["e"], False)
    ]  # fmt: skip
    assert (texts(new.data), new.has_more, new.done) == (["f"], False, True)
    assert (last.data, last.cursor, last.has_more, last.done) == ([], new.cursor, False, True)


async def test_a_cursor_that_is_none_begins_again(world: SqliteWorld, run_id: str) -> None:
    await world.streamer.write_many(run_id, [*chunks("a", "b"), *chunks("x", "y", stream="log")], fence=OWNED)
    other = (await world.streamer.get_chunks(run_id, "log", limit=1)).cursor

    for cursor in ("", "nonsense", "é", other):
        assert texts((await world.streamer.get_chunks(run_id, "out", cursor=cursor)).data) == ["a", "b"]


async def test_a_page_holds_at_most_a_thousand_chunks_and_at_least_one(world: SqliteWorld, run_id: str) -> None:
    await world.streamer.write_many(run_id, chunks(*["a"] * 1001), fence=OWNED)

    page = await world.streamer.get_chunks(run_id, "out", limit=5000)
    assert (len(page.data), page.has_more) == (1000, True)
    assert len((await world.streamer.get_chunks(run_id, "out")).data) == 100
    with pytest.raises(WorldError, match="a page of 0 holds nothing; ask for 1 to 1000"):
        await world.streamer.get_chunks(run_id, "out", limit=0)


# --- live ----------------------------------------------------------------------------------------------


class Reader:
    """Reads along, beside the test."""

    def __init__(self, world: SqliteWorld, run_id: str, *, start_index: int = 0) -> None:
        self.heard: list[str] = []
        self.task = asyncio.ensure_future(self._read(world.streamer.read(run_id, "out", start_index=start_index)))

    async def _read(self, reading: AsyncIterator[bytes]) -> None:
        async for chunk in reading:
            self.heard.append(chunk.decode())


@pytest.mark.parametrize("how", ["closed", "the run ends"])
async def test_a_reader_hears_what_was_written_then_what_is_new_until_the_end(
    world: SqliteWorld, run_id: str, how: str
) -> None:
    await world.streamer.write_many(run_id, chunks(*"ab"), fence=OWNED)
    reader = Reader(world, run_id)
    await settle()
    assert reader.heard == ["a", "b"]
    for chunk in "cd":
        await world.streamer.write(run_id, "out", chunk, fence=OWNED)
        await world.streamer.write(run_id, "log", chunk, fence=OWNED)
    await settle()
    assert (reader.heard, reader.task.done()) == ([*"abcd"], False)

    if how == "closed":
        await world.streamer.close(run_id, "out", fence=OWNED)
    else:
        await world.storage.events.create_batch(run_id, [e.RunCompleted()], fence=OWNED)

    await reader.task
    assert reader.heard == [*"abcd"]


async def test_readers_may_begin_from_the_end_and_beyond_it(world: SqliteWorld, run_id: str) -> None:
    readers = [Reader(world, run_id, start_index=start) for start in (-2, 0, 2, 4)]
    await settle()
    await world.streamer.write_many(run_id, chunks(*"abc"), fence=OWNED)
    readers.append(Reader(world, run_id, start_index=-1))
    await settle()
    await world.streamer.write_many(run_id, chunks(*"de"), fence=OWNED)
    await world.streamer.close(run_id, "out", fence=OWNED)
    await asyncio.gather(*(reader.task for reader in readers))

    assert ["".join(reader.heard) for reader in readers] == ["abcde", "abcde", "cde", "e", "cde"]


async def test_a_reader_loses_and_repeats_nothing_whenever_it_comes(world: SqliteWorld, run_id: str) -> None:
    async def write() -> None:
        for number in range(150):
            await world.streamer.write(run_id, "out", f"{number} ", fence=OWNED)
        await world.streamer.close(run_id, "out", fence=OWNED)

    readers: list[Reader] = []
    writing = asyncio.ensure_future(write())
    while not writing.done():
        if len(readers) < 40:
            readers.append(Reader(world, run_id))
        await asyncio.sleep(0)
    await asyncio.gather(*(reader.task for reader in readers))

    assert len(readers) > 10
    assert {"".join(reader.heard) for reader in readers} == {"".join(f"{number} " for number in range(150))}


async def test_who_stops_reading_leaves_nothing_behind(world: SqliteWorld, run_id: str) -> None:
    reader = Reader(world, run_id)
    await settle()
    assert len(world._listeners) == 1
    reader.task.cancel()
    await settle()

    assert len(world._listeners) == 0


async def test_a_reader_hears_that_its_world_is_closed(world: SqliteWorld, run_id: str) -> None:
    reader = Reader(world, run_id)
    await settle()
    await world.close()

    with pytest.raises(StoreError):
        await reader.task


async def test_a_reader_hears_what_another_process_writes(tmp_path: Path, clock: ManualClock) -> None:
    writing, reading = (SqliteWorld(tmp_path / "shared.db", clock=clock) for _ in range(2))
    for world in (writing, reading):
        await world.start()
    await writing.storage.events.create("run-1", e.RunCreated(workflow_name="greet"))
    reader = Reader(reading, "run-1")
    await settle()
    await writing.streamer.write("run-1", "out", "a")
    await writing.streamer.close("run-1", "out")
    while not reader.task.done():  # rung, or found by a look at the file
        clock.turn("1s")
        await asyncio.sleep(0)

    assert reader.heard == ["a"]
    for world in (reading, writing):
        await world.close()
