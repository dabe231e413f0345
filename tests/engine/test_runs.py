"""Runs as a collection: ids, handles, finding, listing, deleting."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.clocks import START, ManualClock, settle
from wrkflw import (
    Completed,
    Event,
    InvalidValueError,
    Retry,
    Run,
    RunExistsError,
    RunNotFoundError,
    Runtime,
    StoreError,
    SuspendContext,
    Waiting,
    Workflow,
    create_workflow,
    step,
)
from wrkflw.world.errors import EntityConflictError, WorldError
from wrkflw.worlds.sqlite import SqliteWorld


@step
async def double(data: int) -> int:
    return data * 2


@step(retry=Retry(attempts=2, delay="1h", max_delay="1h", jitter=0))
async def fail(data: int) -> int:
    raise OSError("down")


@step
async def asking(data: int, ctx: SuspendContext[bool, str]) -> int:
    return data if ctx.suspend("may I?") else 0


number = Event("number", int)


def doubling(id: str = "doubling") -> Workflow[int, int, None]:
    return create_workflow(id=id, input_schema=int, output_schema=int).then(double).commit()


# --- ids and handles -----------------------------------------------------------------------------------


async def test_a_run_gets_an_id_that_sorts_by_time(runtime: Runtime, clock: ManualClock) -> None:
    workflow = doubling()
    first = await workflow.create_run()
    clock.turn("1s")
    second = await workflow.create_run()

    assert re.fullmatch(r"wrun_[0-9A-HJKMNP-TV-Z]{26}", first.run_id)
    assert first.run_id < second.run_id


@pytest.mark.parametrize("run_id", ["r-17", "A_b-9", "x" * 128])
async def test_a_run_may_be_given_its_id(runtime: Runtime, run_id: str) -> None:
    run = await doubling().create_run(run_id=run_id)

    assert (await run.start(1)).run_id == run.run_id == run_id


@pytest.mark.parametrize("run_id", ["", "x" * 129, "a b", "a/b", "../x", "é", "a\n"])
async def test_an_illegal_run_id_is_refused(runtime: Runtime, run_id: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        await doubling().create_run(run_id=run_id)

    assert str(refused.value) == f"{run_id!r} cannot be a run id; use letters, digits, '_' and '-', at most 128"


async def test_creating_a_run_writes_nothing(runtime: Runtime) -> None:
    await doubling().create_run(run_id="r-17")

    assert (await runtime.runs.list()).data == []


async def test_a_second_start_of_a_run_id_is_refused(runtime: Runtime) -> None:
    workflow = doubling()
    await (await workflow.create_run(run_id="r-17")).start(1)
    again = await workflow.create_run(run_id="r-17")

    with pytest.raises(RunExistsError) as refused:
        await again.start(1)

    assert str(refused.value) == "run 'r-17' was already started; take it with wf.get_run('r-17')"
    with pytest.raises(RunExistsError):
        await (await workflow.create_run(run_id="r-17")).enqueue(1)


async def test_a_handle_starts_its_run_once(runtime: Runtime) -> None:
    run = await doubling().create_run()
    await run.start(1)

    with pytest.raises(RunExistsError):
        await run.start(1)
    with pytest.raises(RunExistsError):
        await run.enqueue(1)


async def test_a_handle_of_a_run_that_exists_does_not_start_it(runtime: Runtime) -> None:
    workflow = doubling()
    await (await workflow.create_run(run_id="r-17")).start(1)

    with pytest.raises(RunExistsError):
        await (await workflow.get_run("r-17")).start(1)


async def test_get_run_gives_a_handle_of_what_exists(runtime: Runtime) -> None:
    workflow = doubling()
    await (await workflow.create_run(run_id="r-17")).start(3)
    run = await workflow.get_run("r-17")

    assert run.get_step_result(double) == 6
    assert (await run.result()).unwrap() == 6
    assert repr(run) == "Run('r-17', workflow='doubling', status='completed')"


async def test_a_failed_run_is_shown_in_one_line_that_tells_its_error_once(runtime: Runtime) -> None:
    @step(id="break")
    async def break_(number: int) -> int:
        raise OSError(f"no {number}")

    flow = create_workflow(id="breaking", input_schema=int, output_schema=int).then(break_).commit()
    shown = repr(await (await flow.create_run(run_id="r-17")).start(3))

    assert shown.startswith("Failed(run_id='r-17', error=StepError(key='break', step_id='break', type='OSError'")
    assert shown.count("no 3") == 1
    assert "Traceback" not in shown
    assert "\n" not in shown


async def test_get_run_of_what_does_not_exist(runtime: Runtime) -> None:
    with pytest.raises(RunNotFoundError) as missing:
        await doubling().get_run("r-17")

    assert str(missing.value) == "there is no run 'r-17'; look for its id among runs.list(), and at the database in use"


async def test_get_run_of_another_workflow(runtime: Runtime) -> None:
    await (await doubling().create_run(run_id="r-17")).start(3)

    with pytest.raises(RunNotFoundError) as missing:
        await doubling("other").get_run("r-17")
    text = "run 'r-17' is a run of workflow 'doubling'; take it with that workflow's get_run()"
    assert str(missing.value) == text
    assert missing.value.run_id == "r-17"


@pytest.mark.parametrize(
    "ask",
    [
        lambda run: run.result(),
        lambda run: run.snapshot(),
        lambda run: run.resume(asking, True),
        lambda run: run.send_event(number, 1),
        lambda run: run.wake(),
        lambda run: run.cancel(),
        lambda run: run.pause(),
        lambda run: run.unpause(),
        lambda run: run.refresh(),
    ],
)
async def test_a_run_that_was_never_started_says_so(
    runtime: Runtime, ask: Callable[[Run[int, int, None]], Awaitable[object]]
) -> None:
    flow = create_workflow(id="flow", input_schema=int, output_schema=int).then(asking).wait_for_event(number).commit()
    run = await flow.create_run(run_id="r-17")

    with pytest.raises(RunNotFoundError) as missing:
        await ask(run)
    assert str(missing.value) == "run 'r-17' was not started; call start() or enqueue()"


async def test_of_a_run_that_another_handle_started_nothing_of_the_kind_is_said(runtime: Runtime) -> None:
    workflow = doubling()
    before = await workflow.create_run(run_id="r-17")
    await (await workflow.create_run(run_id="r-17")).start(3)

    assert (await before.result()).unwrap() == 6


CHARACTERS = "must have 1 to 256 characters, none of them NUL; take another name"
NO_TEXT = "is no Unicode text: 'caf\\udce9'; decode it before you pass it on"


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        (["tenant"], "attributes= takes a mapping, got ['tenant']; write attributes={'name': 'text'}"),
        ({"tenant": 7}, "attribute 'tenant' is 7, which is no str; pass a str"),
        ({7: "tenant"}, "attribute 7 has a name that is no str; give it a str"),
        ({"$tenant": "a"}, "attribute '$tenant' begins with '$', which is reserved; take another name"),
        ({"": "a"}, f"attribute name '' {CHARACTERS}"),
        ({"a\0b": "a"}, f"attribute name 'a\\x00b' {CHARACTERS}"),
        ({"tenant": "a\0b"}, "attribute 'tenant' holds a NUL, by which no run is found; leave it out"),
        ({"tenant": "caf\udce9"}, f"attribute 'tenant' {NO_TEXT}"),
        ({"caf\udce9": "a"}, f"the name of an attribute {NO_TEXT}"),
        ({"tenant": "é" * 129}, "attribute 'tenant' is longer than 256 bytes; keep it in a step's result"),
        ({f"k{n}": "" for n in range(65)}, "a run has at most 64 attributes, this makes 65; drop some"),
    ],
)
async def test_attributes_are_text_and_few_and_short(runtime: Runtime, attributes: Any, text: str) -> None:
    with pytest.raises(InvalidValueError, match=f"^{re.escape(text)}$"):
        await doubling().create_run(attributes=attributes)


async def test_a_run_id_that_looks_minted_is_of_now(runtime: Runtime) -> None:
    with pytest.raises(InvalidValueError) as refused:
        await doubling().create_run(run_id="wrun_01ARZ3NDEKTSV4RRFFQ69G5FAV")

    made = "was made at 2016-07-30 23:54:10, which is not now; make a new one"
    assert str(refused.value) == f"run id 'wrun_01ARZ3NDEKTSV4RRFFQ69G5FAV' {made}"


async def test_a_start_that_the_world_refuses_may_be_repeated(runtime: Runtime) -> None:
    run = await doubling().create_run()
    refusal = WorldError("not today")

    with patch.object(type(runtime.world.storage.events), "create_batch", side_effect=refusal):
        for _ in range(2):
            with pytest.raises(WorldError, match="not today"):
                await run.start(1)
        with pytest.raises(RunNotFoundError, match="was not started"):
            await run.result()

    assert (await run.start(1)).unwrap() == 2


# --- the collection ------------------------------------------------------------------------------------


@pytest.fixture
async def several(runtime: Runtime, clock: ManualClock) -> dict[str, Run[int, int, None]]:
    """done, down (waits for a retry), later (queued) and gone (cancelled), an hour apart."""
    failing = create_workflow(id="failing", input_schema=int, output_schema=int).then(fail).commit()
    workflow = doubling()
    runs = {
        "done": await workflow.create_run(run_id="done", attributes={"team": "red", "size": "s"}),
        "down": await failing.create_run(run_id="down", attributes={"team": "blue"}),
        "later": await workflow.create_run(run_id="later", attributes={"team": "red", "size": "l"}),
        "gone": await workflow.create_run(run_id="gone"),
    }
    await runs["done"].start(1)
    clock.turn("1m")
    await runs["down"].start(1, wait="0s")
    clock.turn("1m")
    await runs["later"].enqueue(1, delay="7d")
    clock.turn("1m")
    await runs["gone"].enqueue(1, delay="7d")
    await runs["gone"].cancel()
    await settle()
    return runs


async def listed(runtime: Runtime, **where: object) -> list[str]:
    page = await runtime.runs.list(**where)  # type: ignore[arg-type]
    return [info.run_id for info in page.data]


async def test_runs_are_listed_newest_first(runtime: Runtime, several: object) -> None:
    assert await listed(runtime) == ["gone", "later", "down", "done"]


async def test_runs_are_listed_by_workflow(runtime: Runtime, several: dict[str, Run[int, int, None]]) -> None:
    assert await listed(runtime, workflow="failing") == ["down"]
    assert await listed(runtime, workflow=doubling()) == ["gone", "later", "done"]
    assert await listed(runtime, workflow="nobody") == []


async def test_runs_are_listed_by_status(runtime: Runtime, several: object) -> None:
    assert await listed(runtime, status="completed") == ["done"]
    assert await listed(runtime, status=["pending", "running"]) == ["later", "down"]
    assert await listed(runtime, status=[]) == []


async def test_runs_are_listed_by_attributes_all_of_which_must_fit(runtime: Runtime, several: object) -> None:
    assert await listed(runtime, attributes={"team": "red"}) == ["later", "done"]
    assert await listed(runtime, attributes={"team": "red", "size": "l"}) == ["later"]
    assert await listed(runtime, attributes={"team": "green"}) == []
    assert await listed(runtime, attributes={}) == ["gone", "later", "down", "done"]


async def test_runs_are_listed_by_time_of_creation(runtime: Runtime, several: object) -> None:
    minute = timedelta(minutes=1)

    assert await listed(runtime, since=START + minute) == ["gone", "later", "down"]
    assert await listed(runtime, until=START + minute) == ["done"]
    assert await listed(runtime, since=START + minute, until=START + 3 * minute) == ["later", "down"]


async def test_a_listing_goes_on_where_the_page_before_ended(runtime: Runtime, several: object) -> None:
    first = await runtime.runs.list(limit=3)
    second = await runtime.runs.list(limit=3, cursor=first.cursor)

    assert [info.run_id for info in first.data] == ["gone", "later", "down"]
    assert (first.has_more, second.has_more) == (True, False)
    assert [info.run_id for info in second.data] == ["done"]


async def test_a_foreign_cursor_is_refused(runtime: Runtime) -> None:
    with pytest.raises(WorldError):
        await runtime.runs.list(cursor="nonsense")


async def test_one_run_is_looked_at(runtime: Runtime, several: object) -> None:
    info = await runtime.runs.get("done")

    assert (info.run_id, info.workflow_id, info.status, info.waiting_for) == ("done", "doubling", "completed", None)
    assert info.attributes == {"team": "red", "size": "s"}
    assert info.created_at == info.updated_at == START
    with pytest.raises(RunNotFoundError):
        await runtime.runs.get("nobody")


async def test_a_run_that_has_ended_is_deleted(runtime: Runtime, several: object) -> None:
    await runtime.runs.delete("done")

    assert await listed(runtime) == ["gone", "later", "down"]
    for look in (runtime.runs.get, runtime.runs.snapshot, runtime.runs.delete):
        with pytest.raises(RunNotFoundError):
            await look("done")


async def test_an_open_run_is_not_deleted(runtime: Runtime, several: object) -> None:
    with pytest.raises(EntityConflictError) as refused:
        await runtime.runs.delete("later")

    assert str(refused.value) == "run later is 'pending'; cancel it before you delete it"
    assert await listed(runtime, status="pending") == ["later"]


async def test_a_deleted_id_may_be_used_again(runtime: Runtime) -> None:
    workflow = doubling()
    await (await workflow.create_run(run_id="r-17", idempotency_key="k")).start(1)
    await runtime.runs.delete("r-17")
    run = await workflow.create_run(run_id="r-17", idempotency_key="k")

    assert (await run.start(2)).unwrap() == 4


@pytest.mark.parametrize("moment", [datetime(2026, 1, 1), "2026-01-01"])  # noqa: DTZ001  # on purpose
async def test_a_listing_takes_times_with_a_timezone(runtime: Runtime, moment: Any) -> None:
    with pytest.raises(InvalidValueError, match="since="):
        await runtime.runs.list(since=moment)
    with pytest.raises(InvalidValueError, match="until="):
        await runtime.runs.list(until=moment)


async def test_runs_that_ended_long_ago_are_pruned(runtime: Runtime, clock: ManualClock) -> None:
    workflow = doubling()
    for number in range(250):
        await (await workflow.create_run(run_id=f"old-{number}", idempotency_key=f"k{number}")).start(1)
    clock.turn("90d")
    await (await workflow.create_run(run_id="new")).start(1)
    clock.turn("1s")

    assert await runtime.runs.prune("90d") == 250
    assert await listed(runtime) == ["new"]
    assert (await (await workflow.create_run(idempotency_key="k7")).start(2)).unwrap() == 4


async def test_a_run_is_as_old_as_its_end(runtime: Runtime, several: object, clock: ManualClock) -> None:
    """An open run is not pruned, and one that has just ended is not old, whenever it began."""
    clock.turn("6d")
    await runtime.runs.cancel("later")

    assert await runtime.runs.prune("1d") == 2
    assert await listed(runtime) == ["later", "down"]
    assert await runtime.runs.prune("0s", workflow="doubling") == 0

    clock.turn("1s")
    assert await runtime.runs.prune("0s", workflow="doubling") == 1


async def test_of_some_runs_only_the_old_are_pruned(runtime: Runtime, several: object, clock: ManualClock) -> None:
    clock.turn("30m")

    assert await runtime.runs.prune("15m", status="cancelled") == 1
    assert await runtime.runs.prune("15m", workflow="nobody's") == 0
    assert await runtime.runs.prune("15m", status=[]) == 0
    assert await listed(runtime) == ["later", "down", "done"]
    assert await runtime.runs.prune(timedelta(weeks=999_999)) == 0


async def test_only_what_has_ended_can_be_pruned(runtime: Runtime) -> None:
    with pytest.raises(
        InvalidValueError, match="status= cannot be 'running'; give 'completed', 'failed' or 'cancelled'"
    ):
        await runtime.runs.prune("1d", status="running")
    with pytest.raises(ValueError, match="cannot prune what is older than -1d"):
        await runtime.runs.prune("-1d")


# --- waiting -------------------------------------------------------------------------------------------


async def test_result_gives_up_after_its_timeout(runtime: Runtime, clock: ManualClock) -> None:
    run = await (await doubling().create_run(run_id="r-17")).enqueue(1, delay="1h")
    waiting = asyncio.ensure_future(run.result(timeout="30s"))
    await settle()
    clock.turn("30s")
    await settle()

    with pytest.raises(TimeoutError) as gave_up:
        await waiting
    assert str(gave_up.value) == "run 'r-17' has no result after 30s; it goes on"
    clock.turn("1h")
    assert (await run.result()).unwrap() == 2


async def test_result_in_time_is_given(runtime: Runtime, clock: ManualClock) -> None:
    run = await (await doubling().create_run()).enqueue(1, delay="10s")
    waiting = asyncio.ensure_future(run.result(timeout="30s"))
    await settle()
    clock.turn("10s")
    await settle()

    assert isinstance(await waiting, Completed)


async def test_who_waits_with_a_timeout_is_cancelled_with_all_that_wait(runtime: Runtime) -> None:
    run = await (await doubling().create_run()).enqueue(1, delay="1h")
    before = asyncio.all_tasks()
    waiting = asyncio.ensure_future(run.result(timeout="30s"))
    await settle()
    for task in (*(asyncio.all_tasks() - before - {waiting}), waiting):  # all, as asyncio.run() does at its end
        task.cancel()
    await settle()

    assert waiting.cancelled()


async def test_a_timeout_of_the_world_is_not_taken_for_that_of_the_wait(runtime: Runtime) -> None:
    run = await (await doubling().create_run()).enqueue(1, delay="1h")

    slow = patch.object(runtime.runs, "located", side_effect=TimeoutError("the disk is slow"))
    with slow, pytest.raises(TimeoutError, match=r"^the disk is slow$"):
        await run.result(timeout="30s")


async def test_many_may_wait_for_one_run(runtime: Runtime, clock: ManualClock) -> None:
    run = await (await doubling().create_run()).enqueue(1, delay="10s")
    waiting = [asyncio.ensure_future(run.result()) for _ in range(5)]
    await settle()
    waiting[0].cancel()
    clock.turn("10s")
    await settle()

    assert [(await each).unwrap() for each in waiting[1:]] == [2] * 4


async def test_of_two_starts_of_one_run_id_at_once_one_is_refused(runtime: Runtime) -> None:
    workflow = doubling()
    runs = [await workflow.create_run(run_id="r-17") for _ in range(2)]
    results = await asyncio.gather(*(run.start(4) for run in runs), return_exceptions=True)

    assert [type(result) for result in results] == [Completed, RunExistsError]
    assert runtime.driver.driving == 0


async def test_a_refused_start_does_not_disturb_those_who_await_the_run(runtime: Runtime, clock: ManualClock) -> None:
    workflow = doubling()
    run = await (await workflow.create_run(run_id="r-17")).enqueue(4, delay="1h")
    waiting = asyncio.ensure_future(run.result())
    await settle()
    with pytest.raises(RunExistsError):
        await (await workflow.create_run(run_id="r-17")).start(5)
    await settle()
    assert not waiting.done()

    clock.turn("1h")
    await settle()
    assert (await waiting).unwrap() == 8


async def test_a_refused_start_takes_no_run_from_whom_it_is_awaited(clock: ManualClock) -> None:
    """Its id is that of a run of another workflow, which sleeps here, and no worker would wake it."""
    napping = create_workflow(id="napping", input_schema=int, output_schema=int).sleep("1h").commit()
    async with Runtime(":memory:", clock=clock, worker=False):
        run = await napping.create_run(run_id="r-17")
        assert isinstance(await run.start(1, wait="0s"), Waiting)
        with pytest.raises(RunExistsError):
            await (await doubling().create_run(run_id="r-17")).start(1)
        clock.turn("1h")
        await settle()

        assert (await run.snapshot()).status == "completed"


async def test_a_start_that_could_not_be_recorded_may_be_repeated(clock: ManualClock, tmp_path: Path) -> None:
    broken = False

    def fail(statement: str) -> None:
        if broken and statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")

    workflow = doubling()
    async with Runtime(world=SqliteWorld(tmp_path / "app.db", clock=clock, on_statement=fail), clock=clock) as runtime:
        run = await workflow.create_run(run_id="r-17")
        broken = True
        with pytest.raises(StoreError) as refused:
            await run.start(4)
        assert str(refused.value) == (
            "the database could not commit: disk I/O error; repeat the call with the same idempotency key"
        )
        with pytest.raises(StoreError):
            await (await workflow.create_run()).enqueue(4)
        broken = False
        assert (await runtime.runs.list()).data == []
        assert (await run.start(4)).unwrap() == 8


@pytest.mark.parametrize("worker", [True, False])
async def test_a_run_whose_step_cannot_be_recorded_stays_where_the_log_says(
    clock: ManualClock, tmp_path: Path, worker: bool
) -> None:
    broken, begun = False, 0

    def fail(statement: str) -> None:
        if broken and statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")

    @step
    async def break_disk(data: int) -> int:
        nonlocal broken, begun
        begun += 1
        broken = begun == 1
        return data + 1

    workflow = create_workflow(id="breaking", input_schema=int, output_schema=int).then(break_disk).commit()
    world = SqliteWorld(tmp_path / "app.db", clock=clock, on_statement=fail)
    async with Runtime(world=world, clock=clock, worker=worker) as runtime:
        run = await workflow.create_run(run_id="r-17")
        with pytest.raises(StoreError):
            await run.start(4)
        await settle()
        clock.turn("12s")  # the disk stays broken for a while
        await settle()
        broken = False
        recorded = (await runtime.runs.snapshot("r-17")).step_results["break-disk"]
        assert recorded.status == "running"
        waiting = asyncio.ensure_future(run.result())
        for _ in range(20):
            await settle()
            clock.turn("1s")

        assert waiting.done(), "nobody took the run up again"
        assert waiting.result().unwrap() == 5
    assert begun == 2
