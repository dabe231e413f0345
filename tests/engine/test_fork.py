"""Forks of graphs: a new run takes over what another recorded up to a point, and goes on from there."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from tests.clocks import ManualClock, settle
from wrkflw import (
    AmbiguousResumeError,
    Cancelled,
    Failed,
    InvalidValueError,
    LimitError,
    Limits,
    Merge,
    Retry,
    Run,
    RunFinishedError,
    RunNotFoundError,
    Runtime,
    StepContext,
    StepNotRunError,
    StoreError,
    SuspendContext,
    Suspended,
    UnknownStepError,
    Waiting,
    create_step,
    create_workflow,
    step,
)
from wrkflw.world import events as e

from .forking import Calls, chain, confirmed, log_of, started
from .lost import kill


@pytest.fixture
def calls() -> Calls:
    return Calls()


# --- what is taken over ------------------------------------------------------------------------------


async def test_what_precedes_is_taken_over_and_the_rest_runs_again(runtime: Runtime, calls: Calls) -> None:
    a, b, c = map(calls.step, "abc")
    run = await started(chain(a, b, c))
    calls.forget()
    result = await run.fork(at=b).start()

    assert calls.made == ["b", "c"]
    assert result.unwrap() == 4
    assert [result.get_step_result(each) for each in (a, b, c)] == [2, 3, 4]


async def test_a_fork_is_a_new_run_that_names_its_origin(runtime: Runtime, calls: Calls) -> None:
    a, b = map(calls.step, "ab")
    run = await started(chain(a, b))
    result = await run.fork(at=b).start()
    entity = await runtime.world.storage.runs.get(result.run_id)

    assert result.run_id != "r-17"
    assert entity.replayed_from == "r-17"
    assert (await run.fork(at=b).start()).run_id not in ("r-17", result.run_id)


async def test_the_original_stays_as_it_was(runtime: Runtime, calls: Calls) -> None:
    a, b = map(calls.step, "ab")
    run = await started(chain(a, b))
    before, snapshot = await log_of(run), await run.snapshot()
    await run.fork(at=b).with_output(a, 40).start()

    assert await log_of(run) == before
    assert await run.snapshot() == snapshot


async def test_steps_that_run_again_have_idempotency_keys_of_their_own(runtime: Runtime, calls: Calls) -> None:
    a, b = map(calls.step, "ab")
    run = await started(chain(a, b))
    before = calls.ids["b"]
    result = await run.fork(at=b).start()

    assert before == "r-17:b"
    assert calls.ids == {"a": "r-17:a", "b": f"{result.run_id}:b"}


async def test_a_fork_at_the_first_step_takes_over_nothing_but_the_input(runtime: Runtime, calls: Calls) -> None:
    a, b = map(calls.step, "ab")
    run = await started(chain(a, b), 5)
    calls.forget()
    result = await run.fork(at=a).start()

    assert calls.made == ["a", "b"]
    assert result.unwrap() == 7


async def test_a_fork_of_a_fork(runtime: Runtime, calls: Calls) -> None:
    a, b, c = map(calls.step, "abc")
    workflow = chain(a, b, c)
    run = await started(workflow)
    first = await run.fork(at=b).with_output(a, 10).start()
    calls.forget()
    second = await (await workflow.get_run(first.run_id)).fork(at=c).start()

    assert calls.made == ["c"]
    assert first.unwrap() == second.unwrap() == 12
    assert (await runtime.world.storage.runs.get(second.run_id)).replayed_from == first.run_id


async def test_attempts_and_errors_are_not_taken_over(runtime: Runtime, calls: Calls) -> None:
    tries = Counter[str]()

    @step(retry=Retry(attempts=3, delay="0s"))
    async def stumble(data: int) -> int:
        tries["stumble"] += 1
        if tries["stumble"] < 3:
            raise OSError("not yet")
        return data + 1

    b = calls.step("b")
    run = await started(chain(stumble, b))
    result = await run.fork(at=b).start()
    log = (await runtime.world.storage.events.list(result.run_id)).data

    assert [stored.event_type for stored in log] == [
        "run_created", "run_started", "step_created", "step_completed",
        "step_created", "step_started", "step_completed", "run_completed",
    ]  # fmt: skip


async def test_attributes_are_taken_over_and_the_idempotency_key_is_not(runtime: Runtime, calls: Calls) -> None:
    a = calls.step("a")
    run = await chain(a).create_run(idempotency_key="k", attributes={"customer": "ada"})
    await run.start(1)
    result = await run.fork(at=a).start()
    entity = await runtime.world.storage.runs.get(result.run_id)

    assert entity.attributes == {"customer": "ada"}
    assert entity.idempotency_key is None


# --- retry from failure ------------------------------------------------------------------------------


async def test_without_a_step_it_goes_on_where_the_run_failed(runtime: Runtime, calls: Calls) -> None:
    a, b, c = map(calls.step, "abc")
    calls.broken.add("b")
    run = await started(chain(a, b, c))
    calls.broken.clear()
    calls.forget()
    result = await run.fork().start()

    assert calls.made == ["b", "c"]
    assert result.unwrap() == 4
    assert (await run.result()).status == "failed"


async def test_a_run_that_failed_between_its_steps_goes_on_there(runtime: Runtime, calls: Calls) -> None:
    a, b = map(calls.step, "ab")
    broken = [True]

    def shift(data: int) -> int:
        if broken:
            raise ValueError("broken")
        return data * 10

    builder: Any = create_workflow(id="mapped", input_schema=int, output_schema=int)
    run = await started(builder.then(a).map(shift).then(b).commit())
    broken.clear()
    calls.forget()
    result = await run.fork().start()

    assert calls.made == ["b"]
    assert result.unwrap() == 21


async def test_a_run_that_has_completed_must_be_told_where(runtime: Runtime, calls: Calls) -> None:
    run = await started(chain(calls.step("a")))
    with pytest.raises(RunFinishedError) as refused:
        await run.fork().start()

    assert str(refused.value) == "run 'r-17' is already completed; pass at= to fork it before one of its steps"


async def test_a_cancelled_run_goes_on_at_its_first_open_call(runtime: Runtime, calls: Calls) -> None:
    a, c = calls.step("a"), calls.step("c")

    @step
    async def ask(data: int, ctx: SuspendContext[int, None]) -> int:
        calls.made.append("ask")
        return data + ctx.suspend(None)

    workflow = chain(a, ask, c)
    run = await started(workflow)
    await run.cancel()
    calls.forget()
    parked = await run.fork().start()
    assert calls.forget() == ["ask"]
    assert isinstance(parked, Suspended)
    again = await workflow.get_run(parked.run_id)

    assert (await again.resume(ask, 10)).unwrap() == 13
    assert isinstance(await run.result(), Cancelled)


async def test_a_running_run_can_be_forked(runtime: Runtime, calls: Calls) -> None:
    a = calls.step("a")
    held, forked = asyncio.Event(), asyncio.Event()

    @step
    async def hold(data: int) -> int:
        calls.made.append("hold")
        if not forked.is_set():
            held.set()
            await asyncio.Event().wait()
        return data

    workflow = chain(a, hold)
    run = await workflow.create_run(run_id="r-17")
    driving = asyncio.create_task(run.start(1))
    await held.wait()
    forked.set()
    result = await run.fork().start()
    status = (await runtime.runs.get("r-17")).status
    await run.cancel()
    await driving

    assert calls.made == ["a", "hold", "hold"]
    assert result.unwrap() == 2
    assert status == "running"


async def test_an_at_most_once_step_whose_outcome_is_not_known_can_be_given_one(
    database: str, clock: ManualClock
) -> None:
    calls = Calls()
    paid = asyncio.Event()

    @step(at_most_once=True)
    async def pay(data: int) -> int:
        paid.set()
        await asyncio.Event().wait()
        return data

    workflow = chain(pay, calls.step("b"))
    async with Runtime(database, clock=clock) as runtime:
        run = await workflow.create_run(run_id="r-17")
        driving = asyncio.create_task(run.start(1))
        await paid.wait()
        kill(runtime)
        driving.cancel()
    async with Runtime(database, clock=clock, workflows=[workflow]):
        run = await workflow.get_run("r-17")
        failed = await run.result()
        assert isinstance(failed, Failed)
        assert failed.error.type == "OutcomeUnknownError"
        result = await run.fork().with_output(pay, 7).start()

    assert result.unwrap() == 8


# --- blocks ------------------------------------------------------------------------------------------


def spread(member: Any, *, concurrency: int) -> Any:
    builder: Any = create_workflow(id="spread", input_schema=list[int], output_schema=list[int])
    return builder.foreach(member, concurrency=concurrency).commit()


async def test_of_a_foreach_side_by_side_only_the_item_runs_again(runtime: Runtime, calls: Calls) -> None:
    send = calls.step("send")
    run = await started(spread(send, concurrency=4), [1, 2, 3, 4, 5])
    calls.forget()
    result = await run.fork(key="send[3]").start()

    assert calls.made == ["send[3]"]
    assert result.unwrap() == [2, 3, 4, 5, 6]


async def test_the_first_item_can_be_repeated_too(runtime: Runtime, calls: Calls) -> None:
    send = calls.step("send")
    run = await started(spread(send, concurrency=2), [1, 2, 3])
    calls.forget()

    assert (await run.fork(at=send, key="send[0]").with_output(send, 9).start()).unwrap() == [9, 3, 4]
    assert calls.made == []
    assert (await run.fork(at=send, key="send[0]").start()).unwrap() == [2, 3, 4]
    assert calls.made == ["send[0]"]


async def test_of_a_foreach_one_after_the_other_the_items_that_follow_run_again(runtime: Runtime, calls: Calls) -> None:
    send = calls.step("send")
    run = await started(spread(send, concurrency=1), [1, 2, 3, 4])
    calls.forget()
    result = await run.fork(key="send[2]").start()

    assert calls.made == ["send[2]", "send[3]"]
    assert result.unwrap() == [2, 3, 4, 5]


async def test_a_failed_foreach_repeats_what_failed_or_was_skipped(runtime: Runtime, calls: Calls) -> None:
    send = calls.step("send")
    calls.broken.add("send[2]")
    run = await started(spread(send, concurrency=2), [1, 2, 3, 4, 5, 6])
    finished = [key for key in calls.forget() if key != "send[2]"]
    calls.broken.clear()
    result = await run.fork().start()

    assert result.unwrap() == [2, 3, 4, 5, 6, 7]
    assert sorted([*calls.made, *finished]) == [f"send[{index}]" for index in range(6)]


async def test_finished_members_of_a_parallel_are_kept(runtime: Runtime, calls: Calls) -> None:
    a, b, c, d = map(calls.step, "abcd")
    calls.broken.add("c")
    builder: Any = create_workflow(id="beside", input_schema=int, output_schema=int)
    run = await started(builder.then(a).parallel(b, c).join(lambda b, c: b + c).then(d).commit())
    calls.broken.clear()
    calls.forget()

    assert (await run.fork().start()).unwrap() == 7
    assert calls.forget() == ["c", "d"]
    assert (await run.fork(at=c).with_output(a, 5).start()).unwrap() == 10
    assert calls.forget() == ["c", "d"]


async def test_a_finished_member_is_not_given_another_output(runtime: Runtime, calls: Calls) -> None:
    a, b = map(calls.step, "ab")
    builder: Any = create_workflow(id="beside", input_schema=int, output_schema=int)
    run = await started(builder.parallel(a, b).join(lambda a, b: a + b).commit())
    with pytest.raises(InvalidValueError) as refused:
        await run.fork(at=b).with_output(a, 5).start()

    sentence = (
        "output of step 'a' was given, but it does not precede 'b'; give one to a step before it, or fork at another"
    )
    assert str(refused.value) == sentence


async def test_a_member_that_bailed_runs_again(runtime: Runtime, calls: Calls) -> None:
    a = calls.step("a")
    early = [True]

    @step
    async def leave(data: int, ctx: StepContext) -> int:
        calls.made.append("leave")
        if early:
            ctx.bail(99)
        return data

    builder: Any = create_workflow(id="beside", input_schema=int, output_schema=int)
    run = await started(builder.parallel(a, leave).join(lambda a, b: a + b).commit())
    assert (await run.result()).unwrap() == 99
    early.clear()
    calls.forget()

    assert (await run.fork(at=a).start()).unwrap() == 3
    assert sorted(calls.made) == ["a", "leave"]


async def test_earlier_iterations_of_a_loop_are_kept(runtime: Runtime, calls: Calls) -> None:
    a, poll, d = map(calls.step, ("a", "poll", "d"))
    builder: Any = create_workflow(id="looping", input_schema=int, output_schema=int)
    workflow = builder.then(a).do_until(poll, lambda data: data >= 6).then(d).commit()
    run = await started(workflow)
    assert calls.forget() == ["a", "poll#1", "poll#2", "poll#3", "poll#4", "d"]

    assert (await run.fork(key="poll#3").start()).unwrap() == 7
    assert calls.forget() == ["poll#3", "poll#4", "d"]
    assert (await run.fork(key="poll#3").with_output(poll, 5).start()).unwrap() == 7
    assert calls.forget() == ["poll#4", "d"]
    assert (await run.fork(at=d).with_output(poll, 50).start()).unwrap() == 51
    assert calls.forget() == ["d"]


async def test_another_value_may_lead_to_another_arm(runtime: Runtime, calls: Calls) -> None:
    a, small, large = map(calls.step, ("a", "small", "large"))
    builder: Any = create_workflow(id="branching", input_schema=int, output_schema=int)
    workflow = builder.then(a).branch().when(lambda data: data < 10, small).otherwise(large).commit()
    run = await started(workflow)
    calls.forget()
    result = await run.fork(at=small).with_output(a, 10).start()

    assert calls.made == ["large"]
    assert result.unwrap() == 11


async def test_a_list_that_was_overridden_does_not_repeat_the_items_that_are_kept(
    runtime: Runtime, calls: Calls
) -> None:
    send = calls.step("send")

    @step
    async def find(data: int) -> list[int]:
        return [data, data]

    @step
    async def total(data: list[int]) -> int:
        return sum(data)

    builder: Any = create_workflow(id="mailing", input_schema=int, output_schema=int)
    run = await started(builder.then(find).foreach(send, concurrency=2).then(total).commit())
    calls.forget()

    assert (await run.fork(key="send[1]").with_output(find, [5, 7]).start()).unwrap() == 10
    assert calls.forget() == ["send[1]"]
    assert (await run.fork(at=total).with_output(find, [5, 7, 9]).start()).unwrap() == 4
    assert (await run.fork(at=total).with_input(100).start()).unwrap() == 4
    assert calls.forget() == []


# --- nested workflows --------------------------------------------------------------------------------


async def test_a_nested_workflow_is_opened_again(runtime: Runtime, calls: Calls) -> None:
    a, x, y, d = map(calls.step, "axyd")
    inner = chain(x, y, id="inner")
    run = await started(chain(a, inner, d))
    assert calls.forget() == ["a", "inner/x", "inner/y", "d"]
    result = await run.fork(at=y).start()

    assert calls.forget() == ["inner/y", "d"]
    assert result.unwrap() == 5
    assert (await run.fork(at=y).with_output(x, 10).start()).unwrap() == 12
    assert calls.forget() == ["inner/y", "d"]
    assert (await run.fork(at=inner).start()).unwrap() == 5
    assert calls.forget() == ["inner/x", "inner/y", "d"]
    assert (await run.fork(at=inner).with_output(inner, 50).start()).unwrap() == 51
    assert calls.forget() == ["d"]


async def test_a_nested_workflow_that_is_over_is_taken_over_with_all_that_is_in_it(
    runtime: Runtime, calls: Calls
) -> None:
    x, d = map(calls.step, "xd")
    inner = chain(x, id="inner")
    workflow = chain(inner, d)
    run = await started(workflow)
    result = await run.fork(at=d).start()
    again = await workflow.get_run(result.run_id)

    assert again.within("inner").get_step_result(x) == 2
    assert (await again.snapshot()).execution_path == ["inner/x", "d"]


async def test_the_failure_of_a_nested_workflow_is_retried_where_it_happened(runtime: Runtime, calls: Calls) -> None:
    x, y = map(calls.step, "xy")
    inner = chain(x, y, id="inner")
    calls.broken.add("inner[1]/y")
    run = await started(spread(inner, concurrency=3), [1, 2, 3])
    calls.broken.clear()
    calls.forget()
    result = await run.fork().start()

    assert result.unwrap() == [3, 4, 5]
    assert calls.made == ["inner[1]/y"]


async def test_what_an_unfinished_neighbour_had_finished_is_kept(runtime: Runtime, calls: Calls) -> None:
    x, y, b = map(calls.step, "xyb")
    inner = chain(x, y, id="inner")
    calls.broken |= {"inner/y", "b"}
    builder: Any = create_workflow(id="beside", input_schema=int, output_schema=int)
    run = await started(builder.parallel(inner, b).join(lambda one, other: one + other).commit())
    ran_before = calls.forget()
    calls.broken.clear()
    result = await run.fork(at=b).start()

    assert result.unwrap() == 5
    assert "inner/x" in ran_before
    assert sorted(calls.made) == ["b", "inner/y"]


async def test_a_nested_workflow_that_failed_between_its_steps_goes_on_there(runtime: Runtime, calls: Calls) -> None:
    x, y = map(calls.step, "xy")
    broken = [True]

    def shift(data: int) -> int:
        if broken:
            raise ValueError("broken")
        return data

    builder: Any = create_workflow(id="inner", input_schema=int, output_schema=int)
    run = await started(chain(builder.then(x).map(shift).then(y).commit()))
    broken.clear()
    calls.forget()

    assert (await run.fork().start()).unwrap() == 3
    assert calls.made == ["inner/y"]


# --- waits -------------------------------------------------------------------------------------------


async def test_a_sleep_that_is_over_is_not_slept_again(runtime: Runtime, clock: ManualClock, calls: Calls) -> None:
    a, b = map(calls.step, "ab")
    builder: Any = create_workflow(id="sleeping", input_schema=int, output_schema=int)
    run = await started(builder.then(a).sleep("1h").then(b).commit())
    clock.turn("1h")
    await settle()

    assert (await run.fork(at=b).start(wait="0s")).unwrap() == 3


async def test_a_sleep_that_was_ended_early_is_over_too(runtime: Runtime, calls: Calls) -> None:
    b = calls.step("b")
    builder: Any = create_workflow(id="sleeping", input_schema=int, output_schema=int)
    run = await started(builder.sleep("1h").then(b).commit())
    await run.wake()
    await settle()

    assert (await run.fork(at=b).start(wait="0s")).unwrap() == 2


async def test_a_sleep_that_is_not_over_begins_anew(runtime: Runtime, clock: ManualClock, calls: Calls) -> None:
    a, b = map(calls.step, "ab")
    builder: Any = create_workflow(id="sleeping", input_schema=int, output_schema=int)
    run = await started(builder.then(a).sleep("1h").then(b).commit())
    clock.turn("20m")
    result = await run.fork().start(wait="0s")

    assert isinstance(result, Waiting)
    assert result.until is not None
    assert (result.until - clock.now()).total_seconds() == 3600
    assert calls.made == ["a"]


async def test_an_event_that_was_used_is_taken_over_and_one_that_was_not_is_not(runtime: Runtime, calls: Calls) -> None:
    b = calls.step("b")
    builder: Any = create_workflow(id="waiting", input_schema=int, output_schema=int)
    workflow = builder.wait_for_event(confirmed).then(b).wait_for_event(confirmed, id="second").commit()
    run = await started(workflow)
    for payload in (10, 20):
        await run.send_event(confirmed, payload)
    assert (await run.result()).unwrap() == 20
    calls.forget()
    parked = await run.fork(at=b).start()

    assert calls.made == ["b"]
    assert isinstance(parked, Waiting)
    again = await workflow.get_run(parked.run_id)
    assert again.get_step_result(b) == 11
    assert (await again.send_event(confirmed, 30)).unwrap() == 30


async def test_an_event_that_came_before_its_wait_is_taken_over_with_it(runtime: Runtime, calls: Calls) -> None:
    a, b = map(calls.step, "ab")

    @step
    async def ask(data: int, ctx: SuspendContext[int, None]) -> int:
        return data + ctx.suspend(None)

    builder: Any = create_workflow(id="waiting", input_schema=int, output_schema=int)
    run = await started(builder.then(a).then(ask).wait_for_event(confirmed).then(b).commit())
    await run.send_event(confirmed, 10)
    assert (await run.resume(ask, 1)).unwrap() == 11

    assert (await run.fork(at=b).start()).unwrap() == 11


async def test_a_fork_can_begin_at_a_wait(runtime: Runtime, calls: Calls) -> None:
    a = calls.step("a")
    builder: Any = create_workflow(id="waiting", input_schema=int, output_schema=int)
    workflow = builder.then(a).wait_for_event(confirmed, id="answer").commit()
    run = await started(workflow)
    await run.send_event(confirmed, 10)
    calls.forget()
    parked = await run.fork(key="answer").start()

    assert isinstance(parked, Waiting)
    assert calls.made == []


async def test_a_wait_whose_time_was_up_is_repeated_where_that_failed_the_run(
    runtime: Runtime, clock: ManualClock, calls: Calls
) -> None:
    a = calls.step("a")
    builder: Any = create_workflow(id="waiting", input_schema=int, output_schema=int)
    workflow = builder.then(a).wait_for_event(confirmed, timeout="1h").commit()
    run = await started(workflow)
    clock.turn("1h")
    assert isinstance(await run.result(), Failed)
    parked = await run.fork().start()
    assert isinstance(parked, Waiting)
    again = await workflow.get_run(parked.run_id)

    assert (await again.send_event(confirmed, 3)).unwrap() == 3
    assert calls.made == ["a"]


async def test_an_answer_is_not_taken_over_with_a_step_that_runs_again(runtime: Runtime, calls: Calls) -> None:
    b = calls.step("b")

    @step
    async def ask(data: int, ctx: SuspendContext[int, None]) -> int:
        return data + ctx.suspend(None)

    workflow = chain(ask, b)
    run = await started(workflow)
    await run.resume(ask, 10)
    assert isinstance(await run.fork(at=ask).start(), Suspended)

    assert (await run.fork(at=b).start()).unwrap() == 12


# --- state -------------------------------------------------------------------------------------------


class Totals(BaseModel):
    n: int = 0
    summed: Annotated[int, Merge.SUM] = 0


def counting(id: str, seen: list[tuple[str, int, int]]) -> Any:
    async def count(data: int, ctx: StepContext[Totals]) -> int:
        seen.append((ctx.key, ctx.state.n, ctx.state.summed))
        if ctx.index is None:
            ctx.state.n += 1
        ctx.state.summed += data
        return data

    return create_step(id=id, execute=count)


async def test_the_state_is_that_which_it_was_there(runtime: Runtime) -> None:
    seen: list[tuple[str, int, int]] = []
    a, b, c = (counting(id, seen) for id in "abc")
    builder: Any = create_workflow(id="counting", input_schema=int, output_schema=int, state_schema=Totals)
    workflow = builder.then(a).then(b).then(c).commit()
    run = await workflow.create_run()
    await run.start(1, initial_state=Totals(n=5))
    seen.clear()
    result = await run.fork(at=b).start()

    assert seen == [("b", 6, 1), ("c", 7, 2)]
    assert (await workflow.get_run(result.run_id)).state == Totals(n=8, summed=3)
    assert run.state == Totals(n=8, summed=3)


async def test_another_state(runtime: Runtime) -> None:
    seen: list[tuple[str, int, int]] = []
    a, b = (counting(id, seen) for id in "ab")
    builder: Any = create_workflow(id="counting", input_schema=int, output_schema=int, state_schema=Totals)
    workflow = builder.then(a).then(b).commit()
    run = await started(workflow)
    seen.clear()
    result = await run.fork(at=b).with_state(Totals(n=100)).start()

    assert seen == [("b", 100, 0)]
    assert (await workflow.get_run(result.run_id)).state == Totals(n=101, summed=1)


async def test_in_a_block_finished_members_keep_what_they_changed(runtime: Runtime) -> None:
    seen: list[tuple[str, int, int]] = []
    item, d = counting("item", seen), counting("d", seen)
    builder: Any = create_workflow(id="counting", input_schema=list[int], output_schema=int, state_schema=Totals)
    workflow = builder.foreach(item, concurrency=3).map(sum).then(d).commit()
    run = await started(workflow, [1, 2, 4])
    seen.clear()
    await run.fork(key="item[1]").start()
    await run.fork(key="item[1]").with_state(Totals(summed=100)).start()

    assert seen == [("item[1]", 0, 0), ("d", 0, 7), ("item[1]", 0, 100), ("d", 0, 107)]


async def test_a_nested_workflow_keeps_its_own_state(runtime: Runtime) -> None:
    seen: list[tuple[str, int, int]] = []
    x, y, d = (counting(id, seen) for id in "xyd")
    inner: Any = create_workflow(id="inner", input_schema=int, output_schema=int, state_schema=Totals)
    builder: Any = create_workflow(id="outer", input_schema=int, output_schema=int, state_schema=Totals)
    run = await started(builder.then(inner.then(x).then(y).commit()).then(d).commit())
    seen.clear()
    await run.fork(at=y).with_state(Totals(n=100)).start()

    assert seen == [("inner/y", 1, 1), ("d", 100, 0)]


# --- other values ------------------------------------------------------------------------------------


async def test_an_overridden_output_is_marked_in_the_log(runtime: Runtime, calls: Calls) -> None:
    a, b, c = map(calls.step, "abc")
    run = await started(chain(a, b, c))
    calls.forget()
    draft = run.fork(at=c)
    result = await draft.with_output(a, 7).with_output(c, 70).start()
    log = (await runtime.world.storage.events.list(result.run_id)).data
    ends = [stored.event for stored in log if isinstance(stored.event, e.StepCompleted)]

    assert [end.meta for end in ends] == [{"overridden": True}, None, {"overridden": True}]
    assert result.unwrap() == 70
    assert calls.made == []
    assert (await draft.start()).unwrap() == 4  # with_output gave another draft


async def test_an_overridden_output_must_be_what_the_step_gives(runtime: Runtime, calls: Calls) -> None:
    a = calls.step("a")
    run = await started(chain(a))
    with pytest.raises(InvalidValueError) as refused:
        run.fork(at=a).with_output(a, "many")

    assert str(refused.value).startswith("output of step 'a' does not fit int: input should be a valid integer")


async def test_an_output_of_a_step_that_follows_is_refused(runtime: Runtime, calls: Calls) -> None:
    a, b = map(calls.step, "ab")
    run = await started(chain(a, b))
    with pytest.raises(InvalidValueError, match="output of step 'b' was given, but it does not precede 'a'"):
        await run.fork(at=a).with_output(b, 1).start()
    with pytest.raises(UnknownStepError, match="workflow 'chain' has no step 'z'"):
        await run.fork(at=a).with_output(calls.step("z"), 1).start()


async def test_an_output_of_one_of_many_items_is_refused(runtime: Runtime, calls: Calls) -> None:
    send, d = map(calls.step, ("send", "d"))
    builder: Any = create_workflow(id="mailing", input_schema=list[int], output_schema=int)
    run = await started(builder.foreach(send).map(sum).then(d).commit(), [1, 2])
    with pytest.raises(AmbiguousResumeError):
        await run.fork(at=d).with_output(send, 1).start()


async def test_another_input_is_what_follows_sees(runtime: Runtime, calls: Calls) -> None:
    a = calls.step("a")

    @step
    async def ask_for_input(data: int, ctx: StepContext) -> int:
        return ctx.get_init_data(int)

    run = await started(chain(a, ask_for_input))
    calls.forget()

    assert (await run.fork(at=ask_for_input).with_input(9).start()).unwrap() == 9
    assert calls.made == []
    assert (await run.fork(at=a).with_input(9).start()).get_step_result(a) == 10
    with pytest.raises(InvalidValueError, match="input of a fork of run 'r-17' does not fit int"):
        run.fork().with_input("many")


async def test_a_state_that_does_not_fit_is_refused(runtime: Runtime, calls: Calls) -> None:
    run = await started(chain(calls.step("a")))
    with pytest.raises(InvalidValueError) as refused:
        run.fork().with_state(Totals())

    sentence = "state of a fork of run 'r-17' was given, but workflow 'chain' has none; declare state_schema="
    assert str(refused.value) == sentence


# --- where ---------------------------------------------------------------------------------------------


async def test_a_step_that_was_never_reached(runtime: Runtime, calls: Calls) -> None:
    a, b, c = map(calls.step, "abc")
    calls.broken.add("b")
    run = await started(chain(a, b, c))
    with pytest.raises(StepNotRunError) as refused:
        await run.fork(at=c).start()

    assert str(refused.value) == "run 'r-17' never reached 'c'; it can be forked at 'a', 'b'"
    with pytest.raises(StepNotRunError, match="run 'r-17' never reached 'a#2'"):
        await run.fork(key="a#2").start()
    with pytest.raises(StepNotRunError, match="run 'r-17' never reached 'a'"):
        await run.fork(at=b, key="a").start()


async def test_a_step_that_the_workflow_has_not(runtime: Runtime, calls: Calls) -> None:
    run = await started(chain(calls.step("charge")))
    with pytest.raises(UnknownStepError) as refused:
        await run.fork(at=calls.step("chrage")).start()

    assert str(refused.value) == "workflow 'chain' has no step 'chrage'; did you mean 'charge'"


async def test_a_step_that_ran_several_times(runtime: Runtime, calls: Calls) -> None:
    send = calls.step("send")
    run = await started(spread(send, concurrency=1), [1, 2, 3, 4])
    with pytest.raises(AmbiguousResumeError) as refused:
        await run.fork(at=send).start()

    assert str(refused.value) == "'send' ran 4 times; pass key='send[3]'"


async def test_an_output_of_a_step_that_ran_several_times(runtime: Runtime, calls: Calls) -> None:
    send = calls.step("send-it")

    @step
    async def total(sent: list[int]) -> int:
        return sum(sent)

    builder: Any = create_workflow(id="many", input_schema=list[int], output_schema=int)
    many = builder.foreach(send).then(total).commit()
    run = await started(many, [1, 2, 3])
    with pytest.raises(AmbiguousResumeError) as refused:
        await run.fork(at=total).with_output(send, 9).start()

    assert str(refused.value) == (
        "'send-it' ran 3 times; fork at the call that is meant: "
        "run.fork(at=send_it, key='send-it[2]').with_output(send_it, ...)"
    )
    assert (await run.fork(at=send, key="send-it[2]").with_output(send, 9).start()).unwrap() == 2 + 3 + 9


@pytest.mark.parametrize("named", [True, False])
async def test_a_call_that_there_never_was(named: bool, runtime: Runtime, calls: Calls) -> None:
    send = calls.step("send")
    run = await started(spread(send, concurrency=1), [1, 2])
    with pytest.raises(StepNotRunError) as refused:
        await run.fork(at=send if named else None, key="send[9]").start()

    assert str(refused.value) == "run 'r-17' never reached 'send[9]'; it can be forked at 'send[0]', 'send[1]'"


async def test_a_call_that_there_never_was_beside_many(runtime: Runtime, calls: Calls) -> None:
    run = await started(spread(calls.step("send"), concurrency=1), list(range(50)))
    with pytest.raises(StepNotRunError) as refused:
        await run.fork(key="send[50]").start()

    assert str(refused.value) == "run 'r-17' never reached 'send[50]'; it can be forked at 'send[0]' to 'send[49]'"
    assert len(refused.value.finished) == 50


async def test_a_call_of_a_step_that_never_ran(runtime: Runtime, calls: Calls) -> None:
    run = await started(chain(calls.step("a"), calls.step("b")))
    with pytest.raises(StepNotRunError) as refused:
        await run.fork(key="c#2").start()

    assert str(refused.value) == "run 'r-17' never reached 'c#2'; it can be forked at 'a', 'b'"


async def test_a_run_that_was_never_started(runtime: Runtime, calls: Calls) -> None:
    run = await chain(calls.step("a")).create_run(run_id="r-18")
    with pytest.raises(RunNotFoundError):
        await run.fork().start()


async def test_a_fork_with_other_items_goes_on_from_what_a_foreach_over_none_gave(
    clock: ManualClock, database: str
) -> None:
    @step
    async def items(count: int) -> list[int]:
        return list(range(count))

    @step
    async def double(item: int) -> int:
        return item * 2

    @step
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    chain = create_workflow(id="summing", input_schema=int, output_schema=int).then(items)
    summing = chain.foreach(double).sleep("1m", id="nap").then(total).commit()
    async with Runtime(database, clock=clock, workflows=[summing]):
        run = await summing.create_run(run_id="r-17")
        await run.start(0, wait="0s")
        clock.turn("1m")
        await run.result()

        forked = await run.fork(at=total).with_output(items, [1, 2]).start()

    assert forked.unwrap() == 0


@pytest.mark.parametrize("turns", range(1, 9))
async def test_who_forks_for_a_worker_as_the_runtime_is_closed_is_told_whether_it_is_recorded(
    turns: int, clock: ManualClock, database: str, calls: Calls
) -> None:
    a, b = map(calls.step, "ab")
    flow = chain(a, b)
    ended: Any
    async with Runtime(database, clock=clock) as runtime:
        run = await started(flow)
        forking = asyncio.create_task(run.fork(at=b).enqueue())
        await settle(turns)
        await runtime.close()
        (ended,) = await asyncio.gather(forking, return_exceptions=True)

    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        runs = [one.run_id for one in (await runtime.runs.list()).data if one.run_id != run.run_id]
        assert runs == ([ended.run_id] if isinstance(ended, Run) else [])
    assert isinstance(ended, Run | StoreError)


@pytest.mark.parametrize("how", ["start", "enqueue"])
async def test_a_fork_that_takes_over_more_than_a_log_may_hold_is_refused(
    how: str, clock: ManualClock, database: str, calls: Calls
) -> None:
    steps = [calls.step(id) for id in "abcdef"]
    flow = chain(*steps)
    async with Runtime(database, clock=clock):
        run = await started(flow)
    async with Runtime(database, clock=clock, limits=Limits(events=10)) as runtime:
        draft = (await flow.get_run(run.run_id)).fork(at=steps[-1])
        with pytest.raises(LimitError, match="has 10 events, which is the limit; split the run, or raise it"):
            await (draft.start() if how == "start" else draft.enqueue())
        assert [each.run_id for each in (await runtime.runs.list()).data] == [run.run_id]
