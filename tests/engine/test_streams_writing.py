"""Streams as bodies write them: what can be a chunk, in which order with the log, and what is durable when."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    Completed,
    Failed,
    LimitError,
    Limits,
    Retry,
    Runtime,
    StepContext,
    StoreError,
    SuspendContext,
    create_workflow,
    step,
)
from wrkflw.world.errors import FencedError
from wrkflw.world.storage import RunFence
from wrkflw.world.streamer import CHUNK_WRITTEN
from wrkflw.worlds.sqlite import SqliteWorld

from .streaming import Drafting, all_of, chunks_of, flow, once, texts, told, written

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
