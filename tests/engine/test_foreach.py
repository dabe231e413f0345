"""Foreach: one step for every item of a list, in order or several at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import RootModel

from tests.clocks import ManualClock, settle
from wrkflw import (
    AmbiguousResumeError,
    Cancelled,
    Failed,
    Limits,
    Paused,
    Runtime,
    StepContext,
    StepNotRunError,
    create_workflow,
    step,
)

from .desk import Desk, chain, open_keys, statuses
from .lost import kill


class Numbers(RootModel[list[int]]):
    def __iter__(self) -> Iterator[int]:  # type: ignore[override]  # as pydantic's own pages have it
        return iter(self.root)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def each(step: Any, concurrency: int = 1, id: str = "flow", gives: Any = list[Any]) -> Any:
    return chain(id, list[int], gives).foreach(step, concurrency=concurrency).commit()


both = pytest.mark.parametrize("concurrency", [1, 3])


# --- data ------------------------------------------------------------------------------------------


@both
async def test_every_item_gives_an_output_in_the_same_order(runtime: Runtime, desk: Desk, concurrency: int) -> None:
    run = await each(desk.quick("send"), concurrency).create_run()

    assert (await run.start([10, 20, 30, 40])).unwrap() == [11, 21, 31, 41]
    assert desk.calls == ["send[0]", "send[1]", "send[2]", "send[3]"]


@both
async def test_an_empty_list_gives_an_empty_list_and_starts_nothing(
    runtime: Runtime, desk: Desk, concurrency: int
) -> None:
    flow = chain("flow", list[int], list[int]).foreach(desk.quick("send"), concurrency=concurrency)
    run = await flow.map(lambda items: [*items, 0]).foreach(desk.quick("again")).commit().create_run()

    assert (await run.start([])).unwrap() == [1]
    assert desk.calls == ["again[0]"]


@both
async def test_nothing_is_an_output_that_keeps_its_place(runtime: Runtime, concurrency: int) -> None:
    @step
    async def odd(data: int) -> int | None:
        return data if data % 2 else None

    assert await each(odd, concurrency).run([1, 2, 3]) == [1, None, 3]


@both
async def test_skipped_items_keep_their_place(clock: ManualClock, database: str, desk: Desk, concurrency: int) -> None:
    """Also when the first, which holds how many there are, is one of them."""
    send = desk.quick("send").only_if(lambda data: data % 2 == 1)
    ask = desk.asking("ask")
    flow = chain("flow", list[int], Any).foreach(send, concurrency=concurrency).map(len).then(ask).commit()
    async with Runtime(database, clock=clock):
        run = await flow.create_run(run_id="r-17")
        await run.start([2, 3, 4])
    async with Runtime(database, clock=clock):
        run = await flow.get_run("r-17")
        assert (await run.resume(ask, 0)).unwrap() == 3
        assert run.get_step_results(send) == [None, 4, None]
        assert await statuses(run) == {
            "send[0]": "skipped", "send[1]": "completed", "send[2]": "skipped", "ask": "completed"
        }  # fmt: skip
    assert desk.calls == ["send[1]", "ask", "ask"]


@both
async def test_each_item_is_a_copy(runtime: Runtime, concurrency: int) -> None:
    @step
    async def greedy(data: list[int]) -> int:
        data.append(0)
        return len(data)

    one = [1]
    flow = chain("flow", int, list[int]).map(lambda data: [one, one]).foreach(greedy, concurrency=concurrency).commit()

    assert await flow.run(1) == [2, 2]
    assert one == [1]


@both
async def test_an_item_may_be_a_model_that_is_iterated_in_a_way_of_its_own(runtime: Runtime, concurrency: int) -> None:
    @step
    async def total(numbers: Numbers) -> int:
        return sum(numbers)

    run = await chain("flow", list[Numbers], list[int]).foreach(total, concurrency=concurrency).commit().create_run()

    assert (await run.start([Numbers([1, 2]), Numbers([3])])).unwrap() == [3, 3]


@both
async def test_an_item_knows_its_place(runtime: Runtime, concurrency: int) -> None:
    seen: list[tuple[int | None, int | None, str]] = []

    @step
    async def send(data: int, ctx: StepContext) -> int:
        seen.append((ctx.index, ctx.iteration, ctx.idempotency_key))
        return data

    run = await each(send, concurrency).create_run(run_id="r-17")
    await run.start([5, 6])

    assert seen == [(0, None, "r-17:send[0]"), (1, None, "r-17:send[1]")]


async def test_a_nested_workflow_is_done_for_every_item(runtime: Runtime, desk: Desk) -> None:
    inner = chain("enrich").then(desk.quick("fetch")).then(desk.quick("store")).commit()
    run = await each(inner, 2).create_run()

    assert (await run.start([1, 2])).unwrap() == [3, 4]
    assert sorted(desk.calls) == ["enrich[0]/fetch", "enrich[0]/store", "enrich[1]/fetch", "enrich[1]/store"]
    assert run.get_step_results(inner) == [3, 4]


async def test_an_item_of_the_wrong_type_fails_that_item(runtime: Runtime, desk: Desk) -> None:
    flow = chain("flow", list[int], list[int]).map(lambda items: [*items, "x"]).foreach(desk.quick("send")).commit()
    result = await (await flow.create_run()).start([1])

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.type) == ("send[1]", "InvalidValueError")


@pytest.mark.parametrize(
    ("value", "type"),
    [({"a": 1}, "dict"), ((1, 2), "tuple"), ("abc", "str"), (None, "NoneType"), ({1}, "set")],
    ids=["dict", "tuple", "str", "None", "set"],
)
async def test_nothing_but_a_list_is_taken(runtime: Runtime, desk: Desk, value: object, type: str) -> None:
    flow = chain(gives=list[int]).map(lambda data: value).foreach(desk.quick("send")).commit()
    result = await (await flow.create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == (
        "InvalidValueError",
        f"foreach 'send' got {type}; it needs a list, put a .map() before it",
    )
    assert desk.calls == []


async def test_too_long_a_list_is_refused(clock: ManualClock, desk: Desk) -> None:
    flow = chain(gives=list[int]).map(lambda data: [0] * data).foreach(desk.quick("send")).commit()
    async with Runtime(":memory:", clock=clock):
        result = await (await flow.create_run()).start(25_000)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == (
        "LimitError",
        "foreach 'send' got 25,000 items, the limit is 10,000; split the list or raise Limits.items",
    )
    assert desk.calls == []


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_list_for_which_the_log_has_no_room_is_refused_before_its_first_item(
    clock: ManualClock, concurrency: int
) -> None:
    """Else thousands of letters would be sent, and then the run would fail."""
    sent: list[int] = []

    @step
    async def send(data: int) -> int:
        sent.append(data)
        return data

    flow = create_workflow(id="mailing", input_schema=list[int], output_schema=list[int])
    mailing = flow.foreach(send, concurrency=concurrency).commit()
    async with Runtime(":memory:", clock=clock, limits=Limits(events=31)) as runtime:
        run = await mailing.create_run()
        result = await run.start([*range(20)])
        assert sent == []
        code = (await runtime.world.storage.runs.get(run.run_id)).error_code
        assert await mailing.run([*range(10)]) == [*range(10)]

    needs = 60 - concurrency
    assert isinstance(result, Failed)
    assert result.error.message == (
        f"foreach 'send' got 20 items, which need {needs} events at least; the run has 2, the limit is 31; "
        "split the list or raise Limits.events"
    )
    assert (result.error.attributes["got"], code) == (2 + needs, "MAX_EVENTS_EXCEEDED")


async def test_who_may_end_the_workflow_before_is_not_refused(clock: ManualClock) -> None:
    @step
    async def seek(data: int, ctx: StepContext) -> int:
        return ctx.bail([data]) if data == 3 else data

    flow = create_workflow(id="seeking", input_schema=list[int], output_schema=list[int]).foreach(seek).commit()
    async with Runtime(":memory:", clock=clock, limits=Limits(events=31)):
        assert await flow.run([*range(20)]) == [3]


async def test_the_limit_can_be_raised_and_lowered(clock: ManualClock, desk: Desk) -> None:
    flow = each(desk.quick("send"))
    async with Runtime(":memory:", clock=clock, limits=Limits(items=2)):
        assert (await (await flow.create_run()).start([1, 2])).status == "completed"
        assert (await (await flow.create_run()).start([1, 2, 3])).status == "failed"


@pytest.mark.parametrize("options", [{}, {"default": 0}], ids=["", "nor a default"])
async def test_one_result_of_many_is_not_given(runtime: Runtime, desk: Desk, options: dict[str, Any]) -> None:
    send = desk.quick("send")

    @step
    async def after(data: list[int], ctx: StepContext) -> list[int]:
        assert ctx.get_step_results(send) == data
        return [ctx.get_step_result(send, **options)]

    result = await (await chain("flow", list[int], list[int]).foreach(send).then(after).commit().create_run()).start(
        [1]
    )

    assert isinstance(result, Failed)
    assert result.error.message == "step 'send' ran once per item; use get_step_results()"


# --- how many at once ------------------------------------------------------------------------------


async def test_without_concurrency_items_are_strictly_one_after_the_other(runtime: Runtime, desk: Desk) -> None:
    run = await (await each(desk.slow("send")).create_run()).enqueue([1, 2, 3])
    for index in range(3):
        await settle()
        assert desk.calls == [f"send[{number}]" for number in range(index + 1)]
        desk.let(f"send[{index}]")

    assert (await run.result()).unwrap() == [2, 3, 4]


async def test_places_are_filled_again_as_items_finish(runtime: Runtime, desk: Desk) -> None:
    run = await (await each(desk.slow("send"), 2).create_run()).enqueue([1, 2, 3, 4])
    await settle()
    assert desk.calls == ["send[0]", "send[1]"]
    desk.let("send[1]")
    await settle()
    assert desk.calls == ["send[0]", "send[1]", "send[2]"]
    desk.let("send[0]", "send[2]")
    await settle()
    assert desk.calls == ["send[0]", "send[1]", "send[2]", "send[3]"]

    desk.let("send[3]")
    assert (await run.result()).unwrap() == [2, 3, 4, 5]


async def test_suspended_and_retrying_items_keep_their_places(runtime: Runtime, desk: Desk, clock: ManualClock) -> None:
    ask = desk.asking("ask")
    run = await each(ask, 2).create_run()

    assert open_keys(await run.start([1, 2, 3])) == ["ask[0]", "ask[1]"]
    assert open_keys(await run.resume(ask, 10, at="ask[1]")) == ["ask[0]", "ask[2]"]
    assert open_keys(await run.resume(ask, 20, at="ask[2]")) == ["ask[0]"]
    assert (await run.resume(ask, 30)).unwrap() == [31, 12, 23]

    run = await each(desk.stumbling("again"), 2, "other").create_run()
    await run.start([1, 2, 3])
    assert desk.calls[-2:] == ["again[0]", "again[1]"]
    clock.turn("1h")
    await settle()
    assert desk.calls[-3:] == ["again[0]", "again[1]", "again[2]"]


async def test_one_at_a_time_a_suspended_item_stops_those_behind_it(runtime: Runtime, desk: Desk) -> None:
    ask = desk.asking("ask")
    run = await each(ask).create_run()

    assert open_keys(await run.start([1, 2])) == ["ask[0]"]
    assert open_keys(await run.resume(ask, 10)) == ["ask[1]"]
    assert (await run.resume(ask, 20)).unwrap() == [11, 22]
    assert desk.calls == ["ask[0]", "ask[0]", "ask[1]", "ask[1]"]


# --- failure ---------------------------------------------------------------------------------------


async def test_the_first_item_that_fails_is_the_last_that_starts(runtime: Runtime, desk: Desk) -> None:
    send = desk.slow_to_fail("send")
    run = await each(send).create_run()
    desk.let("send[0]")
    result = await run.start([1, 2, 3])

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.step_id, result.error.message) == ("send[0]", "send", "send[0] is down")
    assert desk.calls == ["send[0]"]
    assert await statuses(run) == {"send[0]": "failed"}


async def test_running_items_are_recorded_before_the_block_fails(runtime: Runtime) -> None:
    desk = Desk()

    @step
    async def send(data: int, ctx: StepContext) -> int:
        desk.calls.append(ctx.key)
        await desk.gate(ctx.key).wait()
        if data == 2:
            raise OSError("refused")
        return data + ctx.stopping

    run = await each(send, 3).create_run()
    starting = asyncio.ensure_future(run.start([1, 2, 3, 4, 5]))
    await settle()
    desk.let("send[0]")
    await settle()
    desk.let("send[1]")
    await settle()
    assert not starting.done()
    desk.let("send[2]", "send[3]")
    result = await starting

    assert isinstance(result, Failed)
    assert result.error.key == "send[1]"
    assert desk.calls == ["send[0]", "send[1]", "send[2]", "send[3]"]
    assert run.get_step_results(send) == [1, 4, 5]
    with pytest.raises(StepNotRunError):
        run.get_step_result(send)


async def test_parked_items_of_a_failed_block_are_closed(runtime: Runtime, desk: Desk) -> None:
    @step
    async def fail(data: int) -> int:
        if data == 1:
            await desk.gate("fail").wait()
            raise OSError("down")
        return data

    inner = chain("inner").then(fail).then(desk.asking("ask")).commit()
    run = await each(inner, 3).create_run()
    starting = asyncio.ensure_future(run.start([0, 1, 2, 3]))
    await settle()
    desk.let("fail")
    result = await starting

    assert isinstance(result, Failed)
    assert result.error.key == "inner[1]/fail"
    assert await statuses(run) == {
        "inner[0]/fail": "completed", "inner[1]/fail": "failed", "inner[2]/fail": "completed",
        "inner[0]/ask": "cancelled", "inner[2]/ask": "cancelled",
    }  # fmt: skip


async def test_each_item_has_tries_of_its_own(runtime: Runtime, desk: Desk, clock: ManualClock) -> None:
    run = await (await each(desk.stumbling("send")).create_run()).enqueue([1, 2])
    await settle()
    for _ in range(2):
        clock.turn("1h")
        await settle()

    assert (await run.result()).unwrap() == [2, 3]
    assert desk.calls == ["send[0]", "send[0]", "send[1]", "send[1]"]


# --- suspension ------------------------------------------------------------------------------------


async def test_one_answer_answers_one_item(runtime: Runtime, desk: Desk) -> None:
    ask = desk.asking("review")
    run = await each(ask, 5).create_run()
    assert open_keys(await run.start([1, 2, 3])) == ["review[0]", "review[1]", "review[2]"]

    with pytest.raises(AmbiguousResumeError) as ambiguous:
        await run.resume(ask, 1)
    assert str(ambiguous.value) == "step 'review' waits at 'review[0]' and 'review[1]' and 'review[2]'; pass at="
    assert open_keys(await run.resume(ask, 20, at="review[1]")) == ["review[0]", "review[2]"]
    assert open_keys(await run.resume(ask, 30, at="review[2]")) == ["review[0]"]
    assert (await run.resume(ask, 10)).unwrap() == [11, 22, 33]


# --- crash -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 2, 5])
async def test_finished_items_are_not_run_again(clock: ManualClock, database: str, concurrency: int) -> None:
    desk = Desk()
    flow = each(desk.slow("send"), concurrency)
    desk.let("send[0]", "send[1]")
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).enqueue([1, 2, 3, 4, 5])
        await settle()
        kill(runtime)
    assert {"send[0]", "send[1]", "send[2]"} <= set(desk.calls)
    desk.calls.clear()
    desk.let("send[2]", "send[3]", "send[4]")
    async with Runtime(database, clock=clock, workflows=[flow]):
        assert (await (await flow.get_run("r-17")).result()).unwrap() == [2, 3, 4, 5, 6]

    assert desk.calls == ["send[2]", "send[3]", "send[4]"]


async def test_after_a_crash_no_more_are_under_way_than_before(clock: ManualClock, database: str) -> None:
    desk = Desk()
    ask = desk.asking("ask")
    flow = each(ask, 2)
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        run = await flow.create_run(run_id="r-17")
        await run.start([1, 2, 3, 4])
        await run.resume(ask, 10, at="ask[0]")
        kill(runtime)
    desk.calls.clear()
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run("r-17")
        assert open_keys(await run.result()) == ["ask[1]", "ask[2]"]
        assert open_keys(await run.resume(ask, 20, at="ask[2]")) == ["ask[1]", "ask[3]"]
    assert desk.calls == ["ask[2]", "ask[3]"]


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_crash_at_any_moment_gives_what_no_crash_gives(
    clock: ManualClock, database: str, concurrency: int
) -> None:
    for turns in range(1, 50, 9):
        desk = Desk()
        inner = chain("inner").then(desk.quick("a")).then(desk.quick("b")).commit()
        begun = chain(f"flow-{turns}", list[int], int).foreach(inner, concurrency=concurrency)
        flow = begun.map(sum).then(desk.quick("end")).commit()
        async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
            await (await flow.create_run(run_id=f"r-{turns}")).enqueue([1, 2, 3, 4])
            await settle(turns)
            kill(runtime)
        async with Runtime(database, clock=clock, workflows=[flow]):
            result = await (await flow.get_run(f"r-{turns}")).result()
        assert result.unwrap() == 19, f"killed after {turns} turns"
        assert max(desk.counts.values()) <= 2


@both
@pytest.mark.parametrize(
    ("later", "text"),
    [
        ([1, 2, 3], "foreach 'ask' had 2 items and has 3 after a restart; keep the map before it pure"),
        ([1, 5], "foreach 'ask' had 2 items and has others after a restart; keep the map before it pure"),
        ([], "foreach 'ask' had 2 items and has 0 after a restart; keep the map before it pure"),
    ],
    ids=["more", "others", "none"],
)
async def test_another_list_after_a_restart_pauses_the_run(
    clock: ManualClock, database: str, desk: Desk, later: list[int], text: str, concurrency: int
) -> None:
    items = [1, 2]
    ask = desk.asking("ask")
    flow = chain(gives=list[int]).map(lambda data: list(items)).foreach(ask, concurrency=concurrency).commit()
    async with Runtime(database, clock=clock):
        await (await flow.create_run(run_id="r-17")).start(0)
    items[:] = later
    async with Runtime(database, clock=clock):
        run = await flow.get_run("r-17")
        result = await run.resume(ask, 10, at="ask[0]")
        assert isinstance(result, Paused)
        assert (result.by, result.reason) == ("engine", text)
        items[:] = [1, 2]
        await run.unpause()
        result = await run.result()
        while result.status == "suspended":
            result = await run.resume(ask, 20, at="ask[1]")
        assert result.unwrap() == [11, 22]


async def test_the_list_of_a_foreach_that_is_over_may_change(clock: ManualClock, database: str, desk: Desk) -> None:
    items = [1, 2]
    ask = desk.asking("ask")
    begun = chain(gives=int).map(lambda data: list(items)).foreach(desk.quick("send"))
    flow = begun.map(sum).then(ask).commit()
    async with Runtime(database, clock=clock):
        await (await flow.create_run(run_id="r-17")).start(0)
    items[:] = [7]
    async with Runtime(database, clock=clock):
        assert (await (await flow.get_run("r-17")).resume(ask, 10)).unwrap() == 15


# --- cancel, pause ---------------------------------------------------------------------------------


@both
async def test_a_cancel_starts_no_further_item(runtime: Runtime, desk: Desk, concurrency: int) -> None:
    run = await each(desk.slow("send"), concurrency).create_run()
    starting = asyncio.ensure_future(run.start([1, 2, 3, 4, 5]))
    await settle()
    await run.cancel()

    assert isinstance(await starting, Cancelled)
    assert len(desk.calls) == concurrency


@both
async def test_a_pause_starts_no_further_item(runtime: Runtime, desk: Desk, concurrency: int) -> None:
    run = await each(desk.slow("send"), concurrency).create_run()
    starting = asyncio.ensure_future(run.start([1, 2, 3, 4, 5]))
    await settle()
    await run.pause()
    desk.let(*[f"send[{index}]" for index in range(5)])
    assert isinstance(await starting, Paused)
    assert len(desk.calls) == concurrency

    await run.unpause()
    assert (await run.result()).unwrap() == [2, 3, 4, 5, 6]
    assert len(desk.calls) == 5


async def test_items_of_a_nested_foreach_have_keys_of_their_own(runtime: Runtime) -> None:
    keys: list[str] = []

    @step
    async def send(data: int, ctx: StepContext) -> int:
        keys.append(ctx.key)
        return data

    inner = create_workflow(id="row", input_schema=list[int], output_schema=list[int]).foreach(send).commit()
    outer = create_workflow(id="rows", input_schema=list[list[int]], output_schema=list[list[int]])

    assert await outer.foreach(inner).commit().run([[1, 2], [], [3]]) == [[1, 2], [], [3]]
    assert keys == ["row[0]/send[0]", "row[0]/send[1]", "row[2]/send[0]"]
