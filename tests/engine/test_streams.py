"""Streams: what bodies write, in one order with the log, live, and to be taken up from any cursor."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    Cancelled,
    Completed,
    Event,
    Failed,
    InvalidValueError,
    LimitError,
    Limits,
    Retry,
    Run,
    RunNotFoundError,
    Runtime,
    StepContext,
    StoreError,
    StreamItem,
    SuspendContext,
    Workflow,
    create_workflow,
    step,
)
from wrkflw.world.errors import FencedError
from wrkflw.world.storage import RunFence
from wrkflw.world.streamer import CHUNK_WRITTEN, Chunk, NewChunk
from wrkflw.worlds.sqlite import SqliteWorld

from .lost import kill

AnyRun = Run[Any, Any, Any]
AnyFlow = Workflow[None, int, None]
Body = Callable[[StepContext], object]


def told(items: Sequence[StreamItem]) -> list[str]:
    """Items in a word each: the type of an event, the text of a chunk, ``reset KEY``."""
    return [word(item) for item in items]


def word(item: StreamItem) -> str:
    if item.kind == "event":
        assert item.event is not None
        return item.event.event_type.removeprefix("step_") if item.key else item.event.event_type
    return f"reset {item.key}" if item.kind == "reset" else (item.chunk or b"?").decode()


async def all_of(items: AsyncIterator[StreamItem]) -> list[StreamItem]:
    async with asyncio.timeout(20):
        return [item async for item in items]


async def texts(chunks: AsyncIterator[bytes]) -> list[str]:
    async with asyncio.timeout(20):
        return [chunk.decode() async for chunk in chunks]


class Following:
    """A reader at work beside the test."""

    def __init__(self, items: AsyncIterator[StreamItem]) -> None:
        self.items: list[StreamItem] = []
        self._more = asyncio.Event()
        self._task = asyncio.ensure_future(self._read(items))

    async def _read(self, items: AsyncIterator[StreamItem]) -> None:
        async for item in items:
            self.items.append(item)
            self._more.set()

    async def until(self, told: str) -> None:
        while told not in self.told:
            self._more.clear()
            await self._more.wait()

    def leave(self) -> None:
        self._task.cancel()

    @property
    def ended(self) -> bool:
        return self._task.done()

    @property
    def told(self) -> list[str]:
        return told(self.items)

    async def to_the_end(self) -> list[str]:
        async with asyncio.timeout(20):
            await self._task
        return self.told


def flow(*bodies: Any, id: str = "writing", **options: Any) -> AnyFlow:
    """A workflow of steps ``a``, ``b`` …, one after the other, of bodies that take the context alone."""
    builder: Any = create_workflow(id=id, input_schema=None, output_schema=int).map(lambda _: 0)
    for name, body in zip("abcdefgh", bodies, strict=False):
        builder = builder.then(written(name, body, **options))
    flow: AnyFlow = builder.commit()
    return flow


def written(name: str, body: Any, **options: Any) -> Any:
    if inspect.iscoroutinefunction(body):

        @step(id=name, **options)
        async def waits(data: int, ctx: StepContext) -> int:
            await body(ctx)
            return data + 1

        return waits

    @step(id=name, **options)
    def plain(data: int, ctx: StepContext) -> int:
        body(ctx)
        return data + 1

    return plain


def once(chunk: Any, **options: Any) -> Body:
    def body(ctx: StepContext) -> None:
        ctx.write(chunk, **options)

    return body


async def chunks_of(runtime: Runtime, run_id: str) -> list[Chunk]:
    return [item for item in await runtime.world.streamer.items(run_id) if isinstance(item, Chunk)]


class Drafting:
    """One step, ``draft``: writes the next of ``parts``, then does what ``then`` says."""

    def __init__(self, *, retry: Retry | None = None) -> None:
        self.go_on = asyncio.Event()
        self.failing = 0
        self.tries = 0
        options: Any = {} if retry is None else {"retry": retry}

        @step(**options)
        async def draft(data: None, ctx: StepContext) -> int:
            self.tries += 1
            ctx.write(f"{self.tries}-1")
            ctx.write(f"{self.tries}-2")
            if self.failing:
                self.failing -= 1
                raise OSError("not yet")
            await self.go_on.wait()
            ctx.write(f"{self.tries}-3")
            return self.tries

        self.workflow: Workflow[None, int, None] = (
            create_workflow(id="drafting", input_schema=None, output_schema=int).then(draft).commit()
        )


# --- writing -------------------------------------------------------------------------------------------


async def test_events_and_chunks_come_in_one_order(runtime: Runtime) -> None:
    async def a(ctx: StepContext) -> None:
        ctx.write("one")
        await asyncio.sleep(0)
        ctx.write("two")

    run = await flow(a, once("three")).create_run()
    await run.start()
    items = await all_of(run.stream())

    assert told(items) == [
        "run_created", "run_started", "created", "started", "one", "two", "completed",
        "created", "started", "three", "completed", "run_completed",
    ]  # fmt: skip
    assert [(item.kind, item.key) for item in items[2:7]] == [
        ("event", "a"), ("event", "a"), ("chunk", "a"), ("chunk", "a"), ("event", "a")
    ]  # fmt: skip
    assert len({item.cursor for item in items}) == len(items)


@pytest.mark.parametrize(
    ("chunk", "data"),
    [
        ("grün", "grün".encode()),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"ab"), b"ab"),
        ({"a": [1, None, "ü"]}, '{"a":[1,null,"ü"]}'.encode()),
        ([1, (2, 3)], b"[1,[2,3]]"),
        (range(3), b"[0,1,2]"),
        ((), b"[]"),
    ],
)
async def test_text_bytes_and_json_are_written(runtime: Runtime, chunk: Any, data: bytes) -> None:
    run = await flow(once(chunk, stream="raw")).create_run()
    (await run.start()).unwrap()

    assert [read async for read in run.read_stream("raw")] == [data]
    assert [read async for read in run.read_stream()] == []


@pytest.mark.parametrize(
    ("chunk", "sentence"),
    [
        ({1, 2}, "a chunk of step 'a' is a set, which JSON has not; write a list or bytes"),
        ({"deep": [object()]}, "a chunk of step 'a' is a object, which JSON has not; write a list or bytes"),
        ([b"raw"], "a chunk of step 'a' is a bytes, which JSON has not; write a list or bytes"),
        ([float("nan")], "a chunk of step 'a' is nothing JSON has: Out of range float values"),
        ({(1, 2): 3}, "a chunk of step 'a' is nothing JSON has: keys must be str"),
        ("\ud800", "a chunk of step 'a' is nothing JSON has: 'utf-8' codec can't encode"),
    ],
    ids=["set", "deep", "bytes inside", "nan", "keys", "surrogate"],
)
async def test_what_json_has_not_is_refused_in_the_body(runtime: Runtime, chunk: Any, sentence: str) -> None:
    run = await flow(once(chunk)).create_run()
    result = await run.start()

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message[: len(sentence)]) == ("InvalidValueError", sentence)


async def test_a_chunk_within_itself_is_refused(runtime: Runtime) -> None:
    endless: list[object] = []
    endless.append(endless)

    assert isinstance(await (await flow(once(endless)).create_run()).start(), Failed)


async def test_a_chunk_over_the_limit_is_refused_in_the_body_and_the_next_is_taken(clock: ManualClock) -> None:
    refused: list[LimitError] = []

    def body(ctx: StepContext) -> None:
        try:
            ctx.write("x" * 101)
        except LimitError as error:
            refused.append(error)
        ctx.write("x" * 100)

    async with Runtime(":memory:", clock=clock, limits=Limits(value_bytes=100)):
        run = await flow(body).create_run()
        (await run.start()).unwrap()
        assert await texts(run.read_stream()) == ["x" * 100]

    cure = "write it in parts or raise Limits.value_bytes"
    assert str(refused[0]) == f"a chunk of step 'a' has 101 bytes, the limit is 100; {cure}"
    assert (refused[0].limit, refused[0].got) == (100, 101)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 257])
async def test_a_name_that_no_stream_can_have_is_refused_in_the_body(runtime: Runtime, name: str) -> None:
    result = await (await flow(once("a", stream=name)).create_run()).start()

    assert isinstance(result, Failed)
    cure = "use 1 to 256 printable characters"
    assert result.error.message == f"{name[:80]!r} cannot be the name of a stream; {cure}"


async def test_empty_chunks_are_left_out(runtime: Runtime) -> None:
    run = await flow(once(""), once(b""), once("a")).create_run()
    await run.start()

    assert await texts(run.read_stream()) == ["a"]


async def test_what_is_written_between_two_turns_of_the_loop_is_written_together(runtime: Runtime) -> None:
    async def body(ctx: StepContext) -> None:
        for number in range(50):
            ctx.write(f"{number}")
        await asyncio.sleep(0.01)
        ctx.write("late")

    writes: list[str] = []
    end = runtime.world.subscribe(lambda run_id, types: writes.extend(types))
    run = await flow(body).create_run()
    await run.start()
    end()

    assert writes.count(CHUNK_WRITTEN) == 2
    assert await texts(run.read_stream()) == [*map(str, range(50)), "late"]


async def test_a_body_that_writes_without_end_is_written_in_parts(runtime: Runtime) -> None:
    def body(ctx: StepContext) -> None:
        for number in range(2500):
            ctx.write(f"{number}")

    run = await flow(body).create_run()
    await run.start()

    assert await texts(run.read_stream()) == [*map(str, range(2500))]


async def test_who_writes_nothing_costs_no_statement(clock: ManualClock) -> None:
    statements: list[str] = []
    world = SqliteWorld(":memory:", clock=clock, on_statement=statements.append)
    async with Runtime(world=world, clock=clock):
        await (await flow(lambda ctx: None, id="silent").create_run()).start()

    assert not [text for text in statements if "streams" in text.partition("CREATE")[0]]


async def test_a_plain_function_writes_from_its_thread(runtime: Runtime) -> None:
    seen: list[int] = []

    def body(ctx: StepContext) -> None:
        seen.append(threading.get_ident())
        for number in range(300):
            ctx.write(f"{number}")

    run = await flow(body).create_run()
    await run.start()

    assert seen != [threading.get_ident()]
    assert await texts(run.read_stream()) == [*map(str, range(300))]


async def test_a_thread_that_was_given_up_writes_no_more(runtime: Runtime, clock: ManualClock) -> None:
    written, go_on = threading.Event(), threading.Event()
    refused: list[RuntimeError] = []
    late = threading.Event()

    def body(ctx: StepContext) -> None:
        ctx.write("in time")
        written.set()
        go_on.wait(10)
        try:
            ctx.write("too late")
        except RuntimeError as error:
            refused.append(error)
        late.set()

    run = await flow(body, timeout="1s").create_run()
    starting = asyncio.ensure_future(run.start())
    await asyncio.to_thread(written.wait, 10)
    await settle()
    clock.turn("1s")
    result = await starting
    go_on.set()
    await asyncio.to_thread(late.wait, 10)

    assert isinstance(result, Failed)
    assert str(refused[0]) == "step 'a' wrote a chunk when it was over; await what it starts"
    assert await texts(run.read_stream()) == ["in time"]


async def test_chunks_carry_their_step_its_try_and_the_claim(runtime: Runtime) -> None:
    drafting = Drafting(retry=Retry(attempts=2, delay="0s"))
    drafting.failing = 1
    drafting.go_on.set()
    run = await drafting.workflow.create_run()
    await run.start()

    found = await chunks_of(runtime, run.run_id)
    assert [(chunk.key, chunk.attempt) for chunk in found] == [("draft", 1)] * 2 + [("draft", 2)] * 3
    assert {chunk.epoch for chunk in found} == {1}


async def test_items_write_under_their_keys(runtime: Runtime) -> None:
    @step
    async def send(data: int, ctx: StepContext) -> int:
        ctx.write(f"{data}")
        return data

    sending = create_workflow(id="sending", input_schema=list[int], output_schema=list[int]).foreach(send).commit()
    run = await sending.create_run()
    await run.start([7, 8])

    assert [(chunk.key, chunk.data) for chunk in await chunks_of(runtime, run.run_id)] == [
        ("send[0]", b"7"), ("send[1]", b"8")
    ]  # fmt: skip


# --- before it is durable ------------------------------------------------------------------------------


class Slow:
    """Lets chunks through when it is told to; or refuses them."""

    def __init__(self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = asyncio.Event()
        self.called = asyncio.Event()
        self.refusals: list[Exception] = []
        self.calls = 0
        self.fences: list[object] = []
        inner = runtime.world.streamer.write_many

        async def write_many(*args: Any, **options: Any) -> int:
            self.calls += 1
            self.called.set()
            self.fences.append(options["fence"])
            await self.go_on.wait()
            if self.refusals:
                raise self.refusals.pop(0)
            return await inner(*args, **options)

        monkeypatch.setattr(runtime.world.streamer, "write_many", write_many)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_body_that_is_faster_than_the_disk_is_made_to_wait(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    written: list[int] = []
    paused = threading.Event()

    def write(ctx: StepContext, number: int) -> None:
        if number == 4:
            paused.set()
        ctx.write(b"x" * 1024 * 1024)
        written.append(number)

    def plain(ctx: StepContext) -> None:
        for number in range(12):
            write(ctx, number)

    async def waits(ctx: StepContext) -> None:
        for number in range(12):
            write(ctx, number)
            await asyncio.sleep(0)

    slow = Slow(runtime, monkeypatch)
    run = await flow(waits if is_async else plain).create_run()
    starting = asyncio.ensure_future(run.start())
    await asyncio.to_thread(paused.wait, 0 if is_async else 20)
    await settle()
    before = len(written)
    slow.go_on.set()
    await starting

    assert before == 4  # mebibytes
    assert written == [*range(12)]
    assert len(await chunks_of(runtime, run.run_id)) == 12


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_body_that_waits_for_the_disk_can_be_cancelled(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    left: list[str] = []

    def plain(ctx: StepContext) -> None:
        while True:
            ctx.write(b"x" * 1024 * 1024)

    async def waits(ctx: StepContext) -> None:
        try:
            while True:
                ctx.write(b"x" * 1024 * 1024)
                await asyncio.sleep(0)
        finally:
            left.append("cleaned up")

    async with Runtime(":memory:", clock=clock) as runtime:
        slow = Slow(runtime, monkeypatch)
        run = await flow(waits if is_async else plain, timeout="1m", retry=Retry(attempts=1)).create_run()
        starting = asyncio.ensure_future(run.start())
        await slow.called.wait()
        await settle()
        clock.turn("1m")
        slow.go_on.set()
        result = await starting

    assert isinstance(result, Failed)
    assert result.error.type == "StepTimeoutError"
    assert left == (["cleaned up"] if is_async else [])


@pytest.mark.parametrize("how", ["returns", "fails", "retries", "suspends", "bails"])
async def test_nothing_is_recorded_of_a_try_before_its_chunks_are(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    @step(retry=Retry(attempts=2, delay="1h") if how == "retries" else Retry(attempts=1))
    async def draft(data: None, ctx: SuspendContext[int, str]) -> int:
        ctx.write("chunk")
        match how:
            case "fails" | "retries":
                raise OSError("down")
            case "suspends":
                return ctx.suspend("?")
            case "bails":
                ctx.bail(3)
            case _:
                return 3

    slow = Slow(runtime, monkeypatch)
    drafting = create_workflow(id="drafting", input_schema=None, output_schema=int).then(draft).commit()
    run = await drafting.create_run()
    starting = asyncio.ensure_future(run.start())
    await settle()
    before = [stored.event_type async for stored in run.events()]
    slow.go_on.set()
    await starting

    assert (before[-1], slow.calls) == ("step_started", 1)
    assert told(await all_of(run.stream(until="parked")))[3:5] == ["started", "chunk"]
    assert len([stored async for stored in run.events()]) > len(before)


async def test_chunks_that_the_store_does_not_take_leave_the_step_without_an_outcome(
    runtime: Runtime, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(runtime, monkeypatch)
    slow.go_on.set()
    slow.refusals.append(StoreError("the disk is full"))
    drafting = Drafting(retry=Retry(attempts=5, delay="0s"))
    drafting.go_on.set()
    run = await drafting.workflow.create_run()
    with pytest.raises(StoreError, match="the disk is full"):
        await run.start()
    await settle()
    clock.turn("5s")
    result = await run.result()

    assert isinstance(result, Completed)
    assert result.output == 2
    assert told(await all_of(run.stream()))[3:] == [
        "started", "started", "2-1", "2-2", "2-3", "completed", "run_completed"
    ]  # fmt: skip


async def test_a_body_hears_that_the_store_fails_and_cannot_make_it_its_own_failure(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    async def body(ctx: StepContext) -> None:
        ctx.write("a")
        await settle()
        try:
            ctx.write("b")
        except StoreError as error:
            heard.append(str(error))
            raise ValueError("mine") from error

    slow = Slow(runtime, monkeypatch)
    slow.go_on.set()
    slow.refusals.append(StoreError("the disk is full"))
    run = await flow(body).create_run()
    with pytest.raises(StoreError, match="the disk is full"):
        await run.start()

    assert heard == ["the disk is full"]
    assert [stored.event_type async for stored in run.events()][-1] == "step_started"


async def test_what_the_store_did_not_take_of_another_body_is_nobodys_failure(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(runtime, monkeypatch)
    slow.go_on.set()
    refused = asyncio.Event()

    async def a(ctx: StepContext) -> None:
        ctx.write("a1")
        await refused.wait()
        ctx.write("a2")  # raises, although all that this one wrote before is durable

    async def b(ctx: StepContext) -> None:
        await settle()
        slow.refusals.append(StoreError("the disk is full"))
        ctx.write("b1")
        await settle()
        refused.set()
        await settle()

    both: Any = create_workflow(id="both", input_schema=int, output_schema=Any)
    run = await both.parallel(written("a", a), written("b", b)).commit().create_run()
    with pytest.raises(StoreError, match="the disk is full"):
        await run.start(1)

    assert "step_failed" not in [stored.event_type async for stored in run.events()]


@pytest.mark.parametrize("turns", range(8))
async def test_who_is_stopped_because_the_store_fails_has_not_failed(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    slow = Slow(runtime, monkeypatch)
    slow.go_on.set()
    stopped = asyncio.Event()

    async def a(ctx: StepContext) -> None:
        await settle()
        slow.refusals.append(StoreError("the disk is full"))
        ctx.write("a")

    async def b(ctx: StepContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def c(ctx: StepContext) -> None:  # its end commits what was noted meanwhile
        await stopped.wait()
        for _ in range(turns):
            await asyncio.sleep(0)

    inner: Any = create_workflow(id="inner", input_schema=int, output_schema=Any)
    inner = inner.parallel(written("a", a), written("b", b)).commit()
    outer: Any = create_workflow(id="outer", input_schema=int, output_schema=Any)
    run = await outer.parallel(inner, written("c", c)).commit().create_run()
    with pytest.raises(StoreError, match="the disk is full"):
        await run.start(1)

    assert "step_failed" not in [stored.event_type async for stored in run.events()]


async def test_who_has_lost_the_run_writes_no_chunk_and_no_outcome(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wrkflw")
    slow = Slow(runtime, monkeypatch)
    slow.go_on.set()
    slow.refusals.append(FencedError("r-17", "epoch 1", "epoch 2"))

    async def body(ctx: StepContext) -> None:
        ctx.write("a")

    run = await flow(body, once("never")).create_run(run_id="r-17")
    starting = asyncio.ensure_future(run.start())
    await settle()
    starting.cancel()

    assert slow.fences == [RunFence(1)]
    assert "run r-17 was taken over by another process" in caplog.messages
    assert [stored.event_type async for stored in run.events()][-1] == "step_started"
    assert await chunks_of(runtime, "r-17") == []


async def test_a_closed_stream_fails_who_writes_to_it_and_nobody_else(runtime: Runtime) -> None:
    closed = asyncio.Event()

    async def into(ctx: StepContext, stream: str) -> None:
        await closed.wait()
        ctx.write(ctx.key, stream=stream)

    async def a(ctx: StepContext) -> None:
        await into(ctx, "shut")

    async def b(ctx: StepContext) -> None:
        await into(ctx, "open")

    both: Any = create_workflow(id="both", input_schema=int, output_schema=Any)
    run = await both.parallel(written("a", a), written("b", b)).commit().create_run(run_id="r-17")
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    entity = await runtime.world.storage.runs.get("r-17")
    await runtime.world.streamer.close("r-17", "shut", fence=RunFence(entity.epoch))
    closed.set()
    result = await starting

    assert isinstance(result, Failed)
    assert [(error.key, error.message) for error in result.errors] == [
        ("a", "stream 'shut' of r-17 is closed; write to another one")
    ]
    assert await texts(run.read_stream("open")) == ["b"]


# --- live ----------------------------------------------------------------------------------------------


async def test_a_reader_sees_the_chunks_of_a_body_that_goes_on(runtime: Runtime) -> None:
    drafting = Drafting()
    run = await drafting.workflow.create_run()
    starting = asyncio.ensure_future(run.start())
    await settle()
    reader = Following(run.stream())
    await settle()
    seen = reader.told

    drafting.go_on.set()
    assert seen == ["run_created", "run_started", "created", "started", "1-1", "1-2"]
    assert await reader.to_the_end() == [*seen, "1-3", "completed", "run_completed"]
    assert reader.items == await all_of(run.stream())
    await starting


async def test_a_reader_may_come_before_the_body(runtime: Runtime, clock: ManualClock) -> None:
    drafting = Drafting()
    drafting.go_on.set()
    run = await drafting.workflow.create_run()
    await run.enqueue(delay="1h")
    reader = Following(run.stream())
    await settle()
    seen = reader.told
    clock.turn("1h")

    assert seen == ["run_created"]
    assert (await reader.to_the_end())[-1] == "run_completed"


async def test_every_event_wakes_a_reader(runtime: Runtime, clock: ManualClock) -> None:
    gate = asyncio.Event()

    async def wait(ctx: StepContext) -> None:
        await gate.wait()

    builder: Any = create_workflow(id="w", input_schema=None, output_schema=int).map(lambda _: 0)
    run = await builder.then(written("a", wait)).sleep("1h").then(written("b", wait)).commit().create_run()
    await run.enqueue()
    reader = Following(run.stream())
    seen: list[str] = []
    await settle()
    seen.append(reader.told[-1])
    gate.set()
    await settle()
    seen.append(reader.told[-1])
    gate.clear()
    clock.turn("1h")
    await settle()
    seen.append(reader.told[-1])
    gate.set()
    await settle()

    assert seen == ["started", "wait_created", "started"]
    assert reader.told[-1] == "run_completed"
    assert reader.ended


async def test_another_process_reads_along(clock: ManualClock, database: str) -> None:
    drafting = Drafting()
    async with Runtime(database, clock=clock), asyncio.timeout(20):
        run = await drafting.workflow.create_run()
        starting = asyncio.ensure_future(run.start())
        await settle()
        async with Runtime(database, clock=clock, worker=False):
            elsewhere = await drafting.workflow.get_run(run.run_id)
            reader, raw = Following(elsewhere.stream()), asyncio.ensure_future(texts(elsewhere.read_stream()))
            await reader.until("1-2")
            drafting.go_on.set()
            heard = await reader.to_the_end()
            await starting
            assert heard == told(await all_of(run.stream()))
            assert await raw == ["1-1", "1-2", "1-3"]


async def test_another_process_hears_that_a_run_is_parked(clock: ManualClock, database: str) -> None:
    asking = Asking()
    async with Runtime(database, clock=clock), asyncio.timeout(20):
        run = await asking.workflow.create_run()
        await run.enqueue(delay="1h")
        async with Runtime(database, clock=clock, worker=False):
            elsewhere = await asking.workflow.get_run(run.run_id)
            assert told(await all_of(elsewhere.stream(until="parked"))) == ["run_created"]
            reader = Following(elsewhere.stream(until="finished"))
            clock.turn("1h")
            await reader.until("retrying")
            assert told(await all_of(elsewhere.stream(until="parked"))) == reader.told
            reader.leave()


async def test_a_reader_outlives_the_process_that_writes(clock: ManualClock, database: str) -> None:
    drafting = Drafting()
    async with asyncio.timeout(20), Runtime(database, clock=clock, worker=False):
        run = await drafting.workflow.create_run(run_id="r-17")
        await run.enqueue()
        reader = Following(run.stream())
        async with Runtime(database, clock=clock, workflows=[drafting.workflow]) as dying:
            await reader.until("1-2")
            kill(dying)
        drafting.go_on.set()
        async with Runtime(database, clock=clock, workflows=[drafting.workflow]):
            heard = await reader.to_the_end()

    assert heard[3:] == [
        "started", "1-1", "1-2", "started", "reset draft", "2-1", "2-2", "2-3", "completed", "run_completed"
    ]  # fmt: skip


async def test_who_leaves_the_loop_leaves_nothing_behind(runtime: Runtime) -> None:
    drafting = Drafting()
    run = await drafting.workflow.create_run()
    starting = asyncio.ensure_future(run.start())
    await settle()
    async for item in run.stream():
        if item.kind == "chunk":
            break
    async for _chunk in run.read_stream():
        break
    reader = Following(run.stream())
    await settle()
    reader.leave()
    await settle()

    assert runtime.driver._readers._waiting == {}
    drafting.go_on.set()
    await starting


async def test_a_slow_reader_is_served_by_the_page(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def body(ctx: StepContext) -> None:
        for number in range(950):
            ctx.write(f"{number}")

    run = await flow(body).create_run()
    await run.start()
    pages: list[int] = []
    inner = runtime.world.streamer.items

    async def items(*args: Any, **options: Any) -> Any:
        page = await inner(*args, **options)
        pages.append(len(page))
        return page

    monkeypatch.setattr(runtime.world.streamer, "items", items)
    read = await all_of(run.stream())

    assert [item.chunk for item in read if item.kind == "chunk"] == [f"{number}".encode() for number in range(950)]
    assert max(pages) == 100


async def test_a_reader_is_told_when_its_runtime_closes(clock: ManualClock, database: str) -> None:
    drafting = Drafting()
    async with Runtime(database, clock=clock):
        run = await drafting.workflow.create_run(run_id="r-17")
        starting = asyncio.ensure_future(run.start())
        await settle()
        reader, raw = Following(run.stream()), asyncio.ensure_future(texts(run.read_stream()))
        await settle()
    for waiting in (starting, reader._task, raw):
        with pytest.raises(StoreError, match="the runtime was closed while run 'r-17' goes on"):
            await asyncio.wait_for(asyncio.shield(waiting), 10)


async def test_a_run_that_was_never_started_has_no_stream(runtime: Runtime) -> None:
    run = await Drafting().workflow.create_run(run_id="r-17")

    with pytest.raises(RunNotFoundError, match="'r-17'"):
        await all_of(run.stream())
    with pytest.raises(RunNotFoundError, match="'r-17'"):
        await texts(run.read_stream())


# --- bodies that begin again ---------------------------------------------------------------------------


async def test_a_retry_resets_what_was_written(runtime: Runtime) -> None:
    drafting = Drafting(retry=Retry(attempts=3, delay="0s"))
    drafting.failing = 2
    drafting.go_on.set()
    run = await drafting.workflow.create_run()
    await run.start()

    assert told(await all_of(run.stream()))[3:] == [
        "started", "1-1", "1-2", "retrying",
        "started", "reset draft", "2-1", "2-2", "retrying",
        "started", "reset draft", "3-1", "3-2", "3-3", "completed", "run_completed",
    ]  # fmt: skip
    assert await texts(run.read_stream()) == ["3-1", "3-2", "3-3"]


async def test_a_body_that_had_written_nothing_is_not_reset(runtime: Runtime) -> None:
    tries: list[int] = []

    def body(ctx: StepContext) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("not yet")
        ctx.write("a")

    run = await flow(body, once("b"), retry=Retry(attempts=2, delay="0s")).create_run()
    await run.start()

    assert "reset a" not in told(await all_of(run.stream()))


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "closed"])
async def test_a_recovery_resets_what_was_written(clock: ManualClock, database: str, killed: bool) -> None:
    drafting = Drafting()
    async with Runtime(database, clock=clock) as runtime:
        await (await drafting.workflow.create_run(run_id="r-17")).enqueue()
        await settle()
        assert drafting.tries == 1
        if killed:
            kill(runtime)
    drafting.go_on.set()
    async with Runtime(database, clock=clock, workflows=[drafting.workflow]) as runtime:
        run = await drafting.workflow.get_run("r-17")
        (await run.result()).unwrap()
        heard = [text for text in told(await all_of(run.stream()))[3:] if text != "retrying"]
        assert heard == [
            "started", "1-1", "1-2", "started", "reset draft", "2-1", "2-2", "2-3", "completed", "run_completed"
        ]  # fmt: skip
        assert await texts(run.read_stream()) == ["2-1", "2-2", "2-3"]
        assert [chunk.epoch for chunk in await chunks_of(runtime, "r-17")] == [1, 1, 2, 2, 2]


class Asking:
    """One step that asks twice, and writes before each question and at its end."""

    def __init__(self) -> None:
        @step
        async def ask(data: None, ctx: SuspendContext[int, str]) -> int:
            ctx.write("first?")
            one = ctx.suspend("first?")
            ctx.write("second?")
            two = ctx.suspend("second?")
            ctx.write("done")
            return one + two

        self.ask = ask
        self.workflow: Workflow[None, int, None] = (
            create_workflow(id="asking", input_schema=None, output_schema=int).then(ask).commit()
        )


async def test_an_answer_resets_what_was_written_and_a_suspension_ends_nothing(runtime: Runtime) -> None:
    asking = Asking()
    run = await asking.workflow.create_run()
    await run.start()
    reader = Following(run.stream())
    for answer in (1, 2):
        await settle()
        assert not reader.ended
        await run.resume(asking.ask, answer)

    heard = [text for text in await reader.to_the_end() if not text.startswith(("run_", "hook_"))]
    assert heard == [
        "created", "started", "first?", "retrying",
        "started", "reset ask", "first?", "second?", "retrying",
        "started", "reset ask", "first?", "second?", "done", "completed",
    ]  # fmt: skip
    assert told(reader.items) == told(await all_of(run.stream()))
    assert await texts(run.read_stream()) == ["first?", "second?", "done"]


# --- the end -------------------------------------------------------------------------------------------


async def test_parked_ends_at_a_suspension_and_goes_on_from_there(runtime: Runtime) -> None:
    asking = Asking()
    run = await asking.workflow.create_run()
    await run.enqueue()
    first = await all_of(run.stream(until="parked"))
    assert told(first)[-1] == "retrying"

    await run.resume(asking.ask, 1)
    second = await all_of(run.stream(first[-1].cursor, until="parked"))
    assert told(second)[-3:] == ["second?", "hook_created", "retrying"]

    await run.resume(asking.ask, 2)
    third = await all_of(run.stream(second[-1].cursor, until="parked"))
    assert told(third)[-1] == "run_completed"
    assert first + second + third == await all_of(run.stream())


async def test_parked_ends_where_a_run_waits(runtime: Runtime) -> None:
    builder: Any = create_workflow(id="w", input_schema=None, output_schema=int).map(lambda _: 0)
    event = Event[int]("number", int)
    waiting = builder.then(written("a", once("x"))).wait_for_event(event).commit()
    run = await waiting.create_run()
    await run.enqueue()

    assert told(await all_of(run.stream(until="parked")))[-2:] == ["completed", "wait_created"]


async def test_parked_ends_where_a_run_sleeps_for_long(runtime: Runtime) -> None:
    builder: Any = create_workflow(id="w", input_schema=None, output_schema=int).map(lambda _: 0)
    run = await builder.then(written("a", once("x"))).sleep("1h").commit().create_run()
    await run.enqueue()

    assert told(await all_of(run.stream(until="parked")))[-2:] == ["completed", "wait_created"]


async def test_parked_ends_where_a_run_is_paused_once_its_body_is_done(runtime: Runtime) -> None:
    drafting = Drafting()
    builder: Any = create_workflow(id="w", input_schema=None, output_schema=int)
    run = await builder.then(drafting.workflow).then(written("a", once("never"))).commit().create_run()
    await run.enqueue()
    await settle()
    reader = Following(run.stream(until="parked"))
    await run.pause()
    await settle()
    assert (reader.told[-1], reader.ended) == ("run_paused", False)

    drafting.go_on.set()
    assert (await reader.to_the_end())[-3:] == ["1-3", "completed", "completed"]


async def test_a_cancelled_run_keeps_its_chunks_and_takes_no_more(runtime: Runtime) -> None:
    left: list[str] = []

    async def body(ctx: StepContext) -> None:
        ctx.write("before")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ctx.write("after")
            left.append("cleanly")
            raise

    run = await flow(body).create_run()
    starting = asyncio.ensure_future(run.start())
    await settle()
    reader, raw = Following(run.stream()), asyncio.ensure_future(texts(run.read_stream()))
    await settle()
    await run.cancel("enough")

    assert isinstance(await starting, Cancelled)
    assert (await reader.to_the_end())[-2:] == ["before", "run_cancelled"]
    assert (await raw, left) == (["before"], ["cleanly"])


# --- cursors -------------------------------------------------------------------------------------------


async def recorded(runtime: Runtime) -> AnyRun:
    """A run with everything in its stream: branches side by side, tries, resets, answers."""
    asking = Asking()

    async def chatty(ctx: StepContext) -> None:
        for number in range(4):
            ctx.write(f"{ctx.key}{ctx.attempt}{number}")
            await asyncio.sleep(0)
        if ctx.attempt < 3:
            raise OSError("not yet")

    steps = [written(name, chatty, retry=Retry(attempts=3, delay="0s")) for name in "xyz"]
    builder: Any = create_workflow(id="all", input_schema=int, output_schema=int)
    chain = builder.parallel(*steps).map(lambda _: None).then(asking.workflow).then(written("end", once("fin")))
    run: AnyRun = await chain.commit().create_run()
    await run.start(1)
    for answer in (1, 2):
        await run.resume(asking.ask, answer, at="asking/ask")
    return run


async def test_a_stream_is_taken_up_from_every_cursor(runtime: Runtime) -> None:
    run = await recorded(runtime)
    whole = await all_of(run.stream())

    assert {item.kind for item in whole} == {"event", "chunk", "reset"}
    assert told(whole).count("reset x") == told(whole).count("reset asking/ask") == 2
    for number, item in enumerate(whole, start=1):
        assert await all_of(run.stream(item.cursor)) == whole[number:]


async def test_a_reset_stands_right_behind_the_start_it_belongs_to(runtime: Runtime) -> None:
    whole = await all_of((await recorded(runtime)).stream())

    befores = [before for before, item in pairwise(whole) if item.kind == "reset"]
    resets = [item for item in whole if item.kind == "reset"]
    assert [(word(before), before.key) for before in befores] == [("started", item.key) for item in resets]


async def test_side_by_side_each_step_keeps_its_order(runtime: Runtime) -> None:
    run = await recorded(runtime)
    chunks = [item for item in await all_of(run.stream()) if item.kind == "chunk"]

    for key in "xyz":
        mine = [word(item) for item in chunks if item.key == key]
        assert mine == [f"{key}{attempt}{number}" for attempt in (1, 2, 3) for number in range(4)]
    slots = [item.event.slot for item in await all_of(run.stream()) if item.event is not None]
    assert slots == [*range(1, len(slots) + 1)]


async def test_a_cursor_holds_while_the_run_goes_on(runtime: Runtime) -> None:
    drafting = Drafting()
    run = await drafting.workflow.create_run()
    starting = asyncio.ensure_future(run.start())
    await settle()
    read: list[StreamItem] = []
    async for item in run.stream():
        read.append(item)
        if word(item) == "1-1":
            break
    reader = Following(run.stream(read[-1].cursor))
    drafting.go_on.set()
    await starting
    await reader.to_the_end()

    assert read + reader.items == await all_of(run.stream())


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.", "1.2r", "1r2", "１", " 1", "1\n", "9" * 30])
async def test_what_is_no_cursor_is_refused_at_once(runtime: Runtime, cursor: str) -> None:
    run = await Drafting().workflow.create_run()

    with pytest.raises(InvalidValueError) as refused:
        run.stream(cursor)
    assert str(refused.value) == f"{cursor!r} is no cursor of a stream; pass the cursor of one of its items"


async def test_an_end_nobody_knows_is_refused_at_once(runtime: Runtime) -> None:
    run = await Drafting().workflow.create_run()
    until: Any = "over"

    with pytest.raises(InvalidValueError, match=r"^until= cannot be 'over'; give 'finished' or 'parked'$"):
        run.stream(until=until)


async def test_a_cursor_from_beyond_the_log_is_refused(runtime: Runtime) -> None:
    run = await flow(once("a")).create_run(run_id="r-17")
    await run.start()

    with pytest.raises(InvalidValueError, match="'77' is no cursor of run 'r-17'; pass the cursor of one of its items"):
        await all_of(run.stream("77"))


# --- the bytes of one stream ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "expected"), [(0, "abcd"), (2, "cd"), (4, ""), (9, ""), (-1, "d"), (-3, "bcd"), (-9, "abcd")]
)
async def test_a_stream_is_read_from_an_index_or_from_its_end(runtime: Runtime, start: int, expected: str) -> None:
    run = await flow(*(once(text) for text in "abcd")).create_run()
    await run.start()

    assert "".join(await texts(run.read_stream(start_index=start))) == expected


async def test_streams_of_one_run_are_apart(runtime: Runtime) -> None:
    run = await flow(once("a"), once("b", stream="log"), once("c")).create_run()
    await run.start()

    assert await texts(run.read_stream()) == ["a", "c"]
    assert await texts(run.read_stream("log")) == ["b"]


async def test_an_index_is_that_of_all_chunks_also_of_those_left_out(runtime: Runtime) -> None:
    drafting = Drafting(retry=Retry(attempts=2, delay="0s"))
    drafting.failing = 1
    drafting.go_on.set()
    run = await drafting.workflow.create_run()
    await run.start()

    for start, expected in ((0, "123"), (1, "123"), (2, "123"), (3, "23"), (-1, "3"), (-4, "123")):
        assert await texts(run.read_stream(start_index=start)) == [f"2-{number}" for number in expected]


async def test_a_raw_reader_waits_for_the_index_it_asked_for(runtime: Runtime) -> None:
    drafting = Drafting()
    run = await drafting.workflow.create_run()
    starting = asyncio.ensure_future(run.start())
    await settle()
    third, last = (asyncio.ensure_future(texts(run.read_stream(start_index=index))) for index in (2, -1))
    await settle()
    assert not third.done()
    drafting.go_on.set()
    await starting

    assert (await third, await last) == (["1-3"], ["1-2", "1-3"])


async def test_a_raw_reader_ends_when_the_stream_is_closed(runtime: Runtime) -> None:
    drafting = Drafting()
    run = await drafting.workflow.create_run()
    starting = asyncio.ensure_future(run.start())
    await settle()
    reading = asyncio.ensure_future(texts(run.read_stream("other")))
    await settle()
    assert not reading.done()
    entity = await runtime.world.storage.runs.get(run.run_id)
    await runtime.world.streamer.write_many(run.run_id, [NewChunk("other", b"x")], fence=RunFence(entity.epoch))
    await runtime.world.streamer.close(run.run_id, "other", fence=RunFence(entity.epoch))

    assert await reading == ["x"]
    drafting.go_on.set()
    await starting
