"""Forks of workflows written as functions; and of either kind when the code has changed, or a process dies."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    Completed,
    DefinitionChangedError,
    Failed,
    Paused,
    Run,
    Runtime,
    StepFailedError,
    StepTools,
    Waiting,
    Workflow,
    create_step,
    create_workflow,
    step,
    workflow,
)

from .forking import Calls, chain, confirmed, log_of, started
from .lost import kill


@pytest.fixture
def calls() -> Calls:
    return Calls()


# --- workflows as functions ----------------------------------------------------------------------------


async def add(first: int, second: int) -> int:
    return first + second


class Program:
    """``a``, a sleep, ``b`` which may fail and is forgiven, ``c``; with the time, chance and ids among their inputs."""

    def __init__(self, calls: Calls) -> None:
        self.a, self.b, self.c = map(calls.step, "abc")

        @workflow(id="written")
        async def written(step: StepTools, data: int) -> int:
            first = await step.run(self.a, data)
            await step.sleep("nap", "1h")
            number = await step.do("chance", add, step.random().randrange(10**9), int(step.now().timestamp()))
            await step.do("id", str, str(step.uuid()))
            try:
                first = await step.run(self.b, first)
            except StepFailedError:
                first += 100
            await step.run(self.c, number)
            return await step.run(self.c, first)

        self.workflow = written


async def slept(clock: ManualClock, program: Program) -> Run[int, int, None]:
    run = await started(program.workflow)
    clock.turn("1h")
    await run.result()
    return cast("Run[int, int, None]", run)


async def test_a_program_goes_on_from_what_had_ended(runtime: Runtime, clock: ManualClock, calls: Calls) -> None:
    program = Program(calls)
    run = await slept(clock, program)
    clock.turn("5h")
    assert calls.forget() == ["a", "b", "c", "c#2"]
    result = await run.fork(key="c#2").start(wait="0s")

    assert calls.forget() == ["c#2"]
    assert result.unwrap() == 4
    assert (await run.fork(at=program.b).start(wait="0s")).unwrap() == 4
    assert calls.forget() == ["b", "c", "c#2"]
    assert isinstance(await run.fork(key="nap").start(wait="0s"), Waiting)
    assert calls.forget() == []


async def test_a_fork_of_a_fork_of_a_program(runtime: Runtime, clock: ManualClock, calls: Calls) -> None:
    program = Program(calls)
    run = await slept(clock, program)
    clock.turn("5h")
    first = await run.fork(at=program.b).start(wait="0s")
    clock.turn("5h")
    calls.forget()
    again = await program.workflow.get_run(first.run_id)

    assert (await again.fork(key="c#2").start(wait="0s")).unwrap() == 4
    assert calls.made == ["c#2"]


async def test_a_failure_that_a_program_has_forgiven_stands(runtime: Runtime, clock: ManualClock, calls: Calls) -> None:
    program = Program(calls)
    calls.broken |= {"b", "c#2"}
    run = await slept(clock, program)
    assert isinstance(await run.result(), Failed)
    calls.broken.clear()
    calls.forget()

    assert (await run.fork().start()).unwrap() == 103
    assert calls.made == ["c#2"]


async def test_another_output_in_a_program(runtime: Runtime, clock: ManualClock, calls: Calls) -> None:
    program = Program(calls)
    run = await slept(clock, program)
    calls.forget()

    assert (await run.fork(key="c#2").with_output(program.b, 50).start()).unwrap() == 51
    assert (await run.fork(key="c#2").with_output(program.a, 50).start()).unwrap() == 4
    assert (await run.fork(key="c#2").with_input(50).start()).unwrap() == 4
    assert calls.forget() == ["c#2"] * 3
    assert (await run.fork(key="c#2").with_output(program.c, 9).start()).unwrap() == 9
    assert calls.forget() == []


async def test_what_went_on_beside_in_a_program(runtime: Runtime, calls: Calls) -> None:
    a, b, c = map(calls.step, "abc")

    @workflow(id="beside")
    async def beside(step: StepTools, data: int) -> int:
        return sum(await asyncio.gather(*(step.run(each, data) for each in (a, b, c))))

    calls.broken.add("b")
    run = await started(beside)
    calls.broken.clear()
    calls.forget()

    assert (await run.fork().start()).unwrap() == 6
    assert calls.forget() == ["b"]
    assert (await run.fork(at=a).start()).unwrap() == 6
    assert sorted(calls.forget()) == ["a", "b", "c"]


async def test_a_program_in_a_chain_and_a_chain_in_a_program(runtime: Runtime, calls: Calls) -> None:
    a, b, x, y = map(calls.step, "abxy")
    inner = chain(x, y, id="inner")

    @workflow(id="written")
    async def written(step: StepTools, data: int) -> int:
        return await step.run(b, await step.run(inner, data))

    run = await started(chain(a, written))
    assert calls.forget() == ["a", "written/inner/x", "written/inner/y", "written/b"]

    assert (await run.fork(at=b).start()).unwrap() == 5
    assert calls.forget() == ["written/b"]
    assert (await run.fork(at=y).start()).unwrap() == 5
    assert calls.forget() == ["written/inner/y", "written/b"]
    assert (await run.fork(at=y).with_output(x, 30).start()).unwrap() == 32
    assert calls.forget() == ["written/inner/y", "written/b"]


async def test_an_event_that_a_program_used(runtime: Runtime, calls: Calls) -> None:
    b = calls.step("b")

    @workflow(id="written")
    async def written(step: StepTools, data: int) -> int:
        first = await step.wait_for_event(confirmed)
        second = await step.wait_for_event(confirmed)
        return await step.run(b, first * 10 + second)

    run = await started(written)
    await run.send_event(confirmed, 1)
    assert (await run.send_event(confirmed, 2)).unwrap() == 13

    assert (await run.fork(at=b).start()).unwrap() == 13
    parked = await run.fork(key="confirmed#2").start()
    assert isinstance(parked, Waiting)
    assert (await (await written.get_run(parked.run_id)).send_event(confirmed, 7)).unwrap() == 18


async def test_a_program_that_is_another_one_pauses_its_fork(database: str, clock: ManualClock, calls: Calls) -> None:
    program = Program(calls)
    async with Runtime(database, clock=clock):
        await slept(clock, program)

    @workflow(id="written")
    async def rewritten(step: StepTools, data: int) -> int:
        return await step.run(program.c, data)

    async with Runtime(database, clock=clock):
        run = await rewritten.get_run("r-17")
        result = await run.fork(key="c").start()
        assert isinstance(result, Paused)
        assert (await (await rewritten.get_run(result.run_id)).result()).status == "paused"


# --- changed code ------------------------------------------------------------------------------------


async def test_a_record_that_does_not_fit_is_refused(database: str, clock: ManualClock, calls: Calls) -> None:
    a, b, c, d = map(calls.step, "abcd")
    async with Runtime(database, clock=clock):
        await started(chain(a, b, c))
    for changed in (chain(a, c), chain(b, a, c), chain(a, d, c)):
        async with Runtime(database, clock=clock, workflows=[changed]) as runtime:
            with pytest.raises(DefinitionChangedError):
                await (await changed.get_run("r-17")).fork(at=c).start()
            assert [info.run_id for info in (await runtime.runs.list()).data] == ["r-17"]


async def test_a_value_that_can_no_longer_be_read_is_refused(database: str, clock: ManualClock, calls: Calls) -> None:
    a, b = map(calls.step, "ab")
    async with Runtime(database, clock=clock):
        await started(chain(a, b))

    async def tell(data: int) -> str:
        return str(data)

    async def hear(data: str) -> int:
        return len(data)

    told: Any = create_step(id="a", execute=tell)
    heard: Any = create_step(id="b", execute=hear)
    async with Runtime(database, clock=clock):
        run = await chain(told, heard).get_run("r-17")
        with pytest.raises(DefinitionChangedError, match="output of step 'a' does not fit str"):
            await run.fork(at=heard).start()
        mended = await run.fork(at=heard).with_output(told, "four").start()

    assert mended.unwrap() == 4


async def test_todays_definition_is_what_goes_on(database: str, clock: ManualClock, calls: Calls) -> None:
    a, b, c, d = map(calls.step, "abcd")
    calls.broken.add("b")
    async with Runtime(database, clock=clock):
        await started(chain(a, b))
    calls.broken.clear()
    calls.forget()
    async with Runtime(database, clock=clock):
        run = await chain(a, c, d).get_run("r-17")
        with pytest.raises(DefinitionChangedError) as gone:
            await run.fork().start()
        result = await run.fork(at=a).start()

    assert "stands at 'b', which workflow 'chain' no longer has" in str(gone.value)
    assert calls.made == ["a", "c", "d"]
    assert result.unwrap() == 4


# --- durable -----------------------------------------------------------------------------------------


async def test_a_fork_that_is_enqueued_is_taken_by_a_worker(database: str, clock: ManualClock, calls: Calls) -> None:
    a, b = map(calls.step, "ab")
    workflow = chain(a, b)
    async with Runtime(database, clock=clock, worker=False):
        run = await started(workflow)
        calls.forget()
        forked: Run[Any, Any, Any] = await run.fork(at=b).with_output(a, 10).enqueue()
        await settle()
        assert forked.get_step_result(a) == 10
        assert calls.made == []
    async with Runtime(database, clock=clock, workflows=[workflow]):
        result = await (await workflow.get_run(forked.run_id)).result()

    assert calls.made == ["b"]
    assert result.unwrap() == 11


async def test_a_worker_of_the_same_runtime_takes_it_at_once(runtime: Runtime, calls: Calls) -> None:
    a, b = map(calls.step, "ab")
    run = await started(chain(a, b))
    forked = await run.fork(at=a).enqueue()

    assert (await forked.result()).unwrap() == 3


async def test_a_fork_is_born_with_its_record_or_not_at_all(database: str, clock: ManualClock, calls: Calls) -> None:
    a, b = calls.step("a"), asyncio.Event()
    reached = asyncio.Event()

    @step
    async def hold(data: int) -> int:
        reached.set()
        await b.wait()
        return data

    workflow = chain(a, hold)
    async with Runtime(database, clock=clock, workflows=[workflow]):
        b.set()
        run = await started(workflow)
        assert (await run.result()).unwrap() == 2
    b.clear()
    reached.clear()
    async with Runtime(database, clock=clock, workflows=[workflow]) as dying:
        forking = asyncio.create_task((await workflow.get_run("r-17")).fork(at=hold).start())
        await reached.wait()
        kill(dying)
        forking.cancel()
    calls.forget()
    b.set()
    async with Runtime(database, clock=clock, workflows=[workflow]) as other:
        await settle()
        [forked] = [info for info in (await other.runs.list()).data if info.run_id != "r-17"]
        run = await workflow.get_run(forked.run_id)
        result = await run.result()
        log = await log_of(run)

    assert isinstance(result, Completed)
    assert result.unwrap() == 2
    assert calls.made == []
    assert [stored.event_type for stored in log][:6] == [
        "run_created", "run_started", "step_created", "step_completed", "step_created", "step_started",
    ]  # fmt: skip
    assert len({stored.created_at for stored in log[:6]}) == 1


async def test_a_fork_is_recovered_as_any_run(database: str, clock: ManualClock, calls: Calls) -> None:
    """After its birth nothing tells it from a run that recorded this itself: sleeps, events, state, nested steps."""
    a, x, d = map(calls.step, "axd")
    builder: Any = create_workflow(id="long", input_schema=int, output_schema=int)
    workflow: Workflow[int, int, None] = (
        builder.then(a).sleep("1h").then(chain(x, id="inner")).wait_for_event(confirmed).then(d).sleep("1h").commit()
    )
    async with Runtime(database, clock=clock, workflows=[workflow]):
        run = await started(workflow)
        clock.turn("1h")
        await settle()
        await run.send_event(confirmed, 5)
        calls.forget()
        parked = await run.fork(at=d).start()
        assert isinstance(parked, Waiting)
        assert calls.forget() == ["d"]
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[workflow]):
        result = await (await workflow.get_run(parked.run_id)).result()

    assert result.unwrap() == 6
    assert calls.made == []
