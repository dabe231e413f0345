"""Streams as they are read: live, from any cursor or index, and past bodies that begin again."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    Cancelled,
    Event,
    InvalidValueError,
    Retry,
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
from wrkflw.world.storage import RunFence
from wrkflw.world.streamer import NewChunk

from .lost import kill
from .streaming import AnyRun, Drafting, Following, all_of, chunks_of, flow, once, texts, told, word, written

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

    assert runtime.driver.readers._waiting == {}
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
