"""Where runs live: which runtime is the current one, what it may be opened on, and synchronous code."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from pathlib import Path
from typing import Any, cast

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    DefinitionError,
    InvalidValueError,
    Limits,
    RunExistsError,
    RunFailedError,
    Runtime,
    StepTools,
    StoreError,
    Workflow,
    create_workflow,
    step,
    sync,
    workflow,
)
from wrkflw.runtime import current_runtime
from wrkflw.world import events as e

ROOT = Path(__file__).resolve().parents[2]


@step
async def double(data: int) -> int:
    return data * 2


def doubling(id: str = "doubling") -> Workflow[int, int, None]:
    return create_workflow(id=id, input_schema=int, output_schema=int).then(double).commit()


# --- the current one -----------------------------------------------------------------------------------


def test_a_policy_or_a_limit_that_is_none_is_refused() -> None:
    """A run would meet it only where its first step fails, and lose what that says."""
    with pytest.raises(TypeError, match="retry= takes a Retry, got 3"):
        Runtime(":memory:", retry=cast("Any", 3))
    for wrong in (0, -1, "5"):
        with pytest.raises(InvalidValueError, match="give a whole number from 1"):
            Limits(items=cast("Any", wrong))


async def test_the_innermost_runtime_is_the_current_one() -> None:
    async with Runtime(":memory:") as outer:
        assert await current_runtime() is outer
        async with Runtime(":memory:") as inner:
            assert await current_runtime() is inner
        assert await current_runtime() is outer


async def test_a_task_finds_the_runtime_it_was_started_in() -> None:
    async with Runtime(":memory:") as outer:
        async with Runtime(":memory:"):
            pass
        assert await asyncio.create_task(current_runtime()) is outer


async def test_a_task_started_before_finds_the_runtime_of_its_loop() -> None:
    opened, asked = asyncio.Event(), asyncio.Event()

    async def ask() -> Runtime:
        await opened.wait()
        return await current_runtime()

    asking = asyncio.create_task(ask())
    async with Runtime(":memory:") as runtime:
        opened.set()
        assert await asking is runtime
    assert not asked.is_set()


async def test_a_run_belongs_to_the_runtime_it_was_created_in() -> None:
    workflow = doubling()
    async with Runtime(":memory:") as outer:
        run = await workflow.create_run(run_id="r-17")
        async with Runtime(":memory:") as inner:
            await run.start(1)
            assert (await inner.runs.list()).data == []
        assert [info.run_id for info in (await outer.runs.list()).data] == ["r-17"]


async def test_a_runtime_that_is_not_open_says_so() -> None:
    runtime = Runtime(":memory:")

    with pytest.raises(RuntimeError, match=r"^the runtime is not open; use it with 'async with Runtime\(\.\.\.\)'$"):
        _ = runtime.driver
    with pytest.raises(
        StoreError, match=r"^the world is not open; call start\(\), or use 'async with Runtime\(\.\.\.\)'$"
    ):
        await runtime.runs.list()


async def test_a_runtime_may_be_opened_again(database: str, clock: ManualClock) -> None:
    runtime = Runtime(database, clock=clock)
    workflow = doubling()
    async with runtime:
        await (await workflow.create_run(run_id="r-17")).start(1)
    async with runtime:
        assert (await (await workflow.get_run("r-17")).result()).unwrap() == 2
        assert await workflow.run(3) == 6


async def test_what_is_open_already_is_not_opened_again(database: str, clock: ManualClock) -> None:
    workflow = doubling()
    async with Runtime(database, clock=clock, workflows=[workflow]) as runtime:
        with pytest.raises(RuntimeError, match=r"^the runtime is open already; use it as it is, or make another"):
            await runtime.open()

        assert await workflow.run(3) == 6


async def test_of_two_that_open_it_at_once_one_is_refused(clock: ManualClock, database: str) -> None:
    workflow = doubling()
    runtime = Runtime(database, clock=clock, workflows=[workflow])
    opened = await asyncio.gather(runtime.open(), runtime.open(), return_exceptions=True)
    stayed_open = runtime.is_open
    await runtime.close()

    assert [type(each) for each in opened] == [type(None), RuntimeError]
    assert stayed_open


async def test_a_second_close_waits_for_the_first(database: str, clock: ManualClock) -> None:
    """As when a signal closes what an ``async with`` is about to: the runs are let go of before the database is."""
    begins, last_words = asyncio.Event(), asyncio.Event()

    @step
    async def talk(data: int) -> int:
        begins.set()
        try:
            await asyncio.Event().wait()
        finally:
            await last_words.wait()
        raise AssertionError("unreachable")

    talking = create_workflow(id="talking", input_schema=int, output_schema=int).then(talk).commit()
    async with Runtime(database, clock=clock, workflows=[talking]) as runtime:
        run = await (await talking.create_run()).enqueue(1)
        await begins.wait()
        closings = [asyncio.ensure_future(runtime.close()) for _ in range(3)]
        await settle()
        assert not any(each.done() for each in closings)
        with pytest.raises(RuntimeError, match=r"^the runtime is being closed; wait for that, or"):
            await runtime.open()
        last_words.set()
        await asyncio.gather(*closings)

    async with Runtime(database, clock=clock):
        log = [stored.event async for stored in (await talking.get_run(run.run_id)).events()]
    assert isinstance(log[-1], e.StepRetrying)
    assert log[-1].reason == "released"


async def test_a_second_close_waits_for_the_first_though_that_was_cancelled(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime(database)
    await runtime.open()
    close, may_close = runtime.world.close, asyncio.Event()

    async def slowly() -> None:
        await may_close.wait()
        await close()

    monkeypatch.setattr(runtime.world, "close", slowly)
    first, second = (asyncio.ensure_future(runtime.close()) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    assert (first.done(), second.done()) == (True, False)
    with pytest.raises(RuntimeError, match="being closed"):
        await runtime.open()
    may_close.set()
    await second


async def test_closing_twice_does_no_harm() -> None:
    async with Runtime(":memory:") as runtime:
        await runtime.close()

    assert not runtime.is_open


async def test_two_workflows_with_one_id_are_refused(runtime: Runtime) -> None:
    with pytest.raises(DefinitionError) as refused:
        Runtime(":memory:", workflows=[doubling("campaign"), doubling("campaign")])
    assert str(refused.value) == (
        "a workflow 'campaign' is already registered; give one of them another id; "
        "what is defined anew, as in a notebook, needs a Runtime of its own"
    )

    await doubling().create_run()
    with pytest.raises(DefinitionError, match=r"^a workflow 'doubling' is already registered; "):
        await doubling().create_run()


async def test_the_same_workflow_may_be_made_known_twice(runtime: Runtime) -> None:
    workflow = doubling()
    runtime.define(workflow)
    runtime.define(workflow)

    assert await workflow.run(1) == 2


async def test_a_definition_is_shared_by_runtimes() -> None:
    workflow = doubling()
    async with Runtime(":memory:", workflows=[workflow]), Runtime(":memory:", workflows=[workflow]):
        assert await workflow.run(1) == 2


@pytest.mark.parametrize("url", ["mysql://localhost/db", "app.db", "sqlite://", "sqlite:///", "postgres:///x"])
def test_an_unknown_database_is_refused(url: str) -> None:
    with pytest.raises(StoreError) as refused:
        Runtime(url)

    assert str(refused.value) == (
        f"{url!r} is not a database this version knows; use 'sqlite:///path/to/file.db' or ':memory:'"
    )


async def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refused:
        async with Runtime(f"sqlite:///{tmp_path}/none/app.db"):
            pass

    assert str(refused.value) == f"{tmp_path}/none is not a folder; make it, or put the database elsewhere"


async def test_namespaces_do_not_see_each_other(clock: ManualClock, database: str) -> None:
    workflow = doubling()
    async with Runtime(database, clock=clock, namespace="one"):
        await (await workflow.create_run(idempotency_key="k")).start(1)
    async with Runtime(database, clock=clock, namespace="other") as other:
        assert (await other.runs.list()).data == []
        assert (await (await workflow.create_run(idempotency_key="k")).start(5)).unwrap() == 10


async def test_the_id_of_a_run_in_another_namespace_cannot_be_used(clock: ManualClock, database: str) -> None:
    workflow = doubling()
    async with Runtime(database, clock=clock, namespace="one"):
        await (await workflow.create_run(run_id="order-7")).start(1)
    async with Runtime(database, clock=clock, namespace="other") as other:
        run = await workflow.create_run(run_id="order-7")

        for begin in (run.start, run.enqueue):
            with pytest.raises(RunExistsError) as refused:
                await begin(1)
            assert str(refused.value) == "run id 'order-7' cannot be used here; choose another"
        assert (await other.runs.list()).data == []


# --- synchronous code ----------------------------------------------------------------------------------


async def test_run_sync_where_a_loop_runs_says_what_to_await() -> None:
    said = "run_sync() was called where an event loop runs; use 'await campaign.run(...)'"
    with pytest.raises(RuntimeError, match=f"^{re.escape(said)}$"):
        doubling("campaign").run_sync(1)


async def test_run_sync_in_a_workflow_written_as_code_says_to_make_it_a_step(runtime: Runtime) -> None:
    inner = doubling("inner")

    @workflow
    async def outer(_: StepTools, data: int) -> int:
        return inner.run_sync(data)

    with pytest.raises(RunFailedError, match=re.escape("event loop runs; use 'await step.run(...)'") + "$"):
        await outer.run(1)


async def test_sync_where_a_loop_runs_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"^sync\(\) was called where an event loop runs; use 'await'$"):
        sync(doubling().run(1))


async def test_a_sync_body_uses_the_runtime_that_executes_it(runtime: Runtime) -> None:
    inner = doubling("inner")

    @step
    def call(data: int) -> list[int]:
        run = sync(inner.create_run(run_id="r-inner"))
        return [sync(run.start(data)).unwrap(), inner.run_sync(data + 1)]

    outer = create_workflow(id="outer", input_schema=int, output_schema=list[int]).then(call).commit()

    assert await outer.run(1) == [2, 4]
    assert {info.workflow_id for info in (await runtime.runs.list()).data} == {"inner", "outer"}
    assert (await runtime.runs.get("r-inner")).status == "completed"


async def test_so_does_the_body_of_a_run_that_a_worker_took(runtime: Runtime) -> None:
    """Whoever asked for the run may be anywhere; here, within another runtime."""
    inner = doubling("inner")

    @step
    def call(data: int) -> int:
        return inner.run_sync(data)

    @step
    async def call_async(data: int) -> int:
        return await inner.run(data)

    chain = create_workflow(id="outer", input_schema=int, output_schema=int).then(call).then(call_async)
    run = await chain.commit().create_run()
    async with Runtime(":memory:", clock=runtime.clock) as other:
        await run.enqueue(1)
        assert (await run.result()).unwrap() == 4
        assert (await other.runs.list()).data == []

    assert [info.workflow_id for info in (await runtime.runs.list()).data] == ["inner", "inner", "outer"]


def test_beside_a_runtime_whose_loop_stands_still_no_other_is_opened() -> None:
    """As between the fixtures of a test: a second database would be made, and nobody would find the run."""
    workflow, said = doubling(), "was called while the event loop of its runtime stands still"
    with asyncio.Runner() as runner:
        runtime = Runtime(":memory:")
        runner.run(runtime.__aenter__())
        with pytest.raises(RuntimeError, match=said):
            Context().run(workflow.run_sync, 1)
        runner.run(runtime.__aexit__())


ENDING = """
import sys, threading, time
from wrkflw import create_workflow, step, sync

begun = threading.Event()

@step
def first(data: int) -> int:
    begun.set()
    time.sleep(0.3)
    return data + 1

@step
def second(data: int) -> int:
    return data * 10

chain = create_workflow(id="w", input_schema=int, output_schema=int).then(first).then(second).commit()
run = sync(chain.create_run(idempotency_key="k"))
if sys.argv[1:] == ["again"]:
    print(sync(run.start(1)).unwrap())
else:
    sync(run.enqueue(1))
    begun.wait()
"""


def test_a_script_that_ends_in_the_middle_of_a_run_leaves_it_to_the_next(tmp_path: Path) -> None:
    """Python begins no more work in threads by then, which is no failure of the step."""
    database = {"WRKFLW_DATABASE_URL": f"sqlite:///{tmp_path}/app.db"}

    ended = ran(tmp_path, ENDING, **database)
    again = ran(tmp_path, ENDING, "again", **database)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert (again.stdout, again.stderr) == ("20\n", "")


async def test_a_thread_uses_the_runtime_that_started_it(runtime: Runtime) -> None:
    workflow = doubling()

    assert await asyncio.to_thread(workflow.run_sync, 4) == 8
    assert len((await runtime.runs.list()).data) == 1


def ran(folder: Path, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(program)
    settings = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "WRKFLW_DATABASE_URL": ":memory:"}
    return subprocess.run(
        [sys.executable, "program.py", *arguments],
        cwd=folder,
        env={**os.environ, **settings, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_sys_exit_in_a_body_ends_the_program_that_called_run_sync(tmp_path: Path) -> None:
    ended = ran(tmp_path, LEAVING)

    assert (ended.returncode, ended.stdout) == (3, "it said 3\nnext\n")
    assert "Exception ignored" not in ended.stderr


def test_after_a_keyboard_interrupt_in_a_body_the_next_run_sync_goes_on(tmp_path: Path) -> None:
    ended = ran(tmp_path, INTERRUPTED)

    assert (ended.returncode, ended.stdout) == (0, "interrupted\n5\n")
    assert "Exception in thread" not in ended.stderr


LEAVING = """
import sys
from wrkflw import create_workflow, step

@step
async def leave(data: int) -> int:
    if data > 0:
        sys.exit(data)
    return data

leaving = create_workflow(id="leaving", input_schema=int, output_schema=int).then(leave).commit()

try:
    leaving.run_sync(3)
except SystemExit as end:
    print("it said", end.code)
leaving.run_sync(0)
print("next")
leaving.run_sync(3)
"""
INTERRUPTED = """
from wrkflw import create_workflow, step

@step
def stop(data: int) -> int:
    if data == 3:
        raise KeyboardInterrupt
    return data

stopping = create_workflow(id="stopping", input_schema=int, output_schema=int).then(stop).commit()

try:
    stopping.run_sync(3)
except KeyboardInterrupt:
    print("interrupted")
print(stopping.run_sync(5))
"""


# --- the default one -----------------------------------------------------------------------------------

PROGRAM = """
import asyncio, sys
from wrkflw import create_workflow, step, sync

@step
async def double(data: int) -> int:
    return data * 2

doubling = create_workflow(id="doubling", input_schema=int, output_schema=int).then(double).commit()

if sys.argv[1] == "sync":
    print(doubling.run_sync(4), sync(sync(doubling.create_run(idempotency_key="k")).start(5)).unwrap())
elif sys.argv[1] == "async":
    async def main() -> None:
        print(await doubling.run(4), await doubling.run(5))
    asyncio.run(main())
else:
    async def count() -> int:
        from wrkflw.runtime import current_runtime
        return len((await (await current_runtime()).runs.list()).data)
    print(sync(count()))
"""


def execute(folder: Path, how: str, database: str | None) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    environment.pop("WRKFLW_DATABASE_URL", None)
    if database is not None:
        environment["WRKFLW_DATABASE_URL"] = database
    command = [sys.executable, "program.py", how]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_the_default_runtime_is_named_by_the_environment(tmp_path: Path, how: str) -> None:
    ended = execute(tmp_path, how, f"sqlite:///{tmp_path}/named.db")

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "8 10\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "named.db",
        "named.db.lock",
        "program.py",
    ]  # and it was closed in good order
    assert execute(tmp_path, "count", f"sqlite:///{tmp_path}/named.db").stdout == "2\n"


def test_without_a_name_the_default_runtime_is_in_the_working_directory(tmp_path: Path) -> None:
    ended = execute(tmp_path, "sync", None)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "8 10\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["program.py", "wrkflw.db", "wrkflw.db.lock"]


def test_a_wrong_name_in_the_environment_is_refused(tmp_path: Path) -> None:
    ended = execute(tmp_path, "sync", "mysql://localhost/db")

    assert ended.returncode == 1
    assert "'mysql://localhost/db' is not a database this version knows" in ended.stderr


def test_one_workflow_in_place_of_several_is_refused() -> None:
    one: Any = create_workflow(id="the-one", input_schema=int, output_schema=int).then(double).commit()

    with pytest.raises(InvalidValueError, match=r"workflows= takes several; put even one into a list: \[the_one\]"):
        Runtime(":memory:", workflows=one)


@pytest.mark.parametrize("given", [None, "flows:hello"])
def test_what_holds_no_workflows_is_refused(given: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"workflows= takes several; put even one into a list: \[\.\.\.\]"):
        Runtime(":memory:", workflows=given)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (double, "Step('double', int -> int)"),
        ("flows:hello", "'flows:hello'"),
        (create_workflow(id="one", input_schema=int, output_schema=int), "WorkflowBuilder('one', 0 nodes)"),
    ],
    ids=["a step", "a name", "a builder"],
)
def test_what_is_no_workflow_is_refused_by_name(given: Any, shown: str) -> None:
    text = f"workflows= takes workflows, got {shown}; pass what .commit() or @workflow gives"

    with pytest.raises(TypeError, match=re.escape(text)):
        Runtime(":memory:", workflows=[doubling(), given])


def test_a_body_may_wait_until_the_loop_goes_on() -> None:
    """It stands still between two runs of it, as between a fixture and its test: only its own thread may not wait."""
    begun, stands, asks = (threading.Event() for _ in range(3))

    async def add(number: int) -> int:
        return number + 1

    @step
    def ask(number: int) -> int:
        begun.set()
        stands.wait()
        asks.set()
        return sync(add(number))

    asking = create_workflow(id="asking", input_schema=int, output_schema=int).then(ask).commit()
    with asyncio.Runner() as runner:
        runtime = Runtime(":memory:", workflows=[asking])
        runner.run(runtime.open())
        run = runner.run(asking.create_run())
        runner.run(run.enqueue(1))
        runner.run(asyncio.to_thread(begun.wait))
        stands.set()
        asks.wait()

        assert runner.run(run.result()).unwrap() == 2
        runner.run(runtime.close())


async def test_a_thread_that_nobody_started_within_it_uses_the_runtime_that_is_open(runtime: Runtime) -> None:
    """As those are on which web servers call what is not async."""
    workflow = doubling()

    assert await asyncio.to_thread(Context().run, workflow.run_sync, 4) == 8
    assert len((await runtime.runs.list()).data) == 1


async def test_of_several_runtimes_none_is_guessed() -> None:
    async with Runtime(":memory:"), Runtime(":memory:"):
        with pytest.raises(RuntimeError, match="of none of the 2 runtimes that are open here") as refused:
            await asyncio.to_thread(Context().run, doubling().run_sync, 4)

    assert str(refused.value) == (
        "run_sync() was called on a thread of none of the 2 runtimes that are open here; "
        "take one's loop: 'asyncio.run_coroutine_threadsafe(..., rt.loop)'"
    )


@pytest.mark.parametrize("what", ["start", "enqueue", "create"])
async def test_from_another_loop_nothing_is_recorded(runtime: Runtime, what: str) -> None:
    workflow = doubling()
    run = await workflow.create_run()
    calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "start": lambda: run.start(1),
        "enqueue": lambda: run.enqueue(1),
        "create": workflow.create_run,
    }

    with pytest.raises(RuntimeError, match=r"^the runtime was opened on another event loop; use it there, or from a"):
        await asyncio.to_thread(lambda: asyncio.run(calls[what]()))

    assert (await runtime.runs.list()).data == []
