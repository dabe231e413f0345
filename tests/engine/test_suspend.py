"""Suspend and resume: a body is left, and runs again from the top with its answer."""

from __future__ import annotations

import asyncio
import pickle
import re
from contextlib import suppress
from typing import Any, cast

import pytest
from pydantic import BaseModel

from tests.clocks import ManualClock, settle
from wrkflw import (
    AlreadyResumedError,
    AmbiguousResumeError,
    Cancelled,
    Completed,
    Failed,
    InvalidValueError,
    NotSuspendedError,
    Retry,
    Run,
    RunNotFinishedError,
    RunNotFoundError,
    Runtime,
    StepContext,
    StepTools,
    SuspendContext,
    Suspended,
    WaitTimeoutError,
    step,
    workflow,
)

from .desk import HOUR, Desk, assert_nothing_moves, chain, open_keys, recorded, statuses, types
from .lost import kill


class Approval(BaseModel):
    approved: bool


class Mail(BaseModel):
    text: str


@pytest.fixture
def desk() -> Desk:
    return Desk()


@step
async def approve(data: int, ctx: SuspendContext[Approval, Mail]) -> str:
    answer = ctx.suspend(Mail(text=f"may I? {data}"))
    return "yes" if answer.approved else "no"


def approval(id: str = "flow") -> Any:
    return chain(id, gives=str).then(approve).commit()


async def suspended(flow: Any, data: Any = 1, run_id: str = "r-17") -> Run[Any, Any, Any]:
    run: Run[Any, Any, Any] = await flow.create_run(run_id=run_id)
    assert isinstance(await run.start(data), Suspended)
    return run


# --- the way there and back ------------------------------------------------------------------------


async def test_how_a_run_stands_can_be_told_to_another_process(runtime: Runtime) -> None:
    """By an error too, as a pool of processes hands it on; the results of steps stay with their definitions."""
    run = await suspended(approval())
    with pytest.raises(RunNotFinishedError) as parked:
        (await run.result()).unwrap()

    there = pickle.loads(pickle.dumps(parked.value))  # noqa: S301  # our own

    assert (str(there), there.result) == (str(parked.value), parked.value.result)
    with pytest.raises(RuntimeError, match=re.escape("take the run with get_run('r-17')")):
        there.result.get_step_result(approve)


async def test_a_run_waits_for_an_answer_and_goes_on_with_it(runtime: Runtime, clock: ManualClock) -> None:
    run = await approval().create_run(run_id="r-17")
    result = await run.start(1)

    assert isinstance(result, Suspended)
    (suspension,) = result.suspensions
    assert (suspension.key, suspension.step_id, suspension.payload) == ("approve", "approve", Mail(text="may I? 1"))
    assert suspension.since == clock.now()
    assert result.payload_of(approve) == Mail(text="may I? 1")
    assert result.step_id == "approve"
    assert (await runtime.runs.get("r-17")).waiting_for == "suspended"
    assert await statuses(run) == {"approve": "waiting"}
    assert_nothing_moves(runtime, run)
    with pytest.raises(RunNotFinishedError) as parked:
        result.unwrap()
    assert str(parked.value) == "run 'r-17' is suspended at 'approve'; answer it with run.resume(approve, ...)"
    assert (await run.resume(approve, Approval(approved=True))).unwrap() == "yes"


async def test_no_line_after_it_runs_before_the_answer(runtime: Runtime) -> None:
    lines: list[str] = []

    @step
    async def ask(data: int, ctx: SuspendContext[int, str]) -> int:
        lines.append("before")
        try:
            answer = ctx.suspend("how many?")
        except Exception:  # what leaves the body is none
            lines.append("caught")
            raise
        lines.append("after")
        return answer

    run = await suspended(chain().then(ask).commit())
    assert lines == ["before"]
    await run.resume(ask, 5)
    assert lines == ["before", "before", "after"]


async def test_a_sync_body_suspends_too(runtime: Runtime) -> None:
    @step
    def ask(data: int, ctx: SuspendContext[int, str]) -> int:
        return data + ctx.suspend("how many?")

    run = await suspended(chain().then(ask).commit())

    assert (await run.resume(ask, 5)).unwrap() == 6


async def test_a_task_of_the_body_suspends_too(runtime: Runtime) -> None:
    @step
    async def ask(data: int, ctx: SuspendContext[int, str]) -> int:
        async def question() -> int:
            return ctx.suspend("q")

        async with asyncio.TaskGroup() as outer, asyncio.TaskGroup() as inner:
            first, second = inner.create_task(question()), outer.create_task(question())
        return data + first.result() + second.result()

    run = await chain().then(ask).commit().create_run()

    assert open_keys(await run.start(1)) == ["ask"]
    assert open_keys(await run.resume(ask, 10)) == ["ask"]
    assert (await run.resume(ask, 100)).unwrap() == 111


async def test_a_task_that_fails_beside_one_that_suspends_fails_the_body(runtime: Runtime) -> None:
    tries: list[int] = []

    @step(retry=Retry(attempts=2, delay="0s"))
    async def ask(data: int, ctx: SuspendContext[int, str]) -> int:
        tries.append(ctx.attempt)

        async def question() -> int:
            return ctx.suspend("q")

        async def mistake() -> int:
            raise OSError("down")

        async with asyncio.TaskGroup() as group:
            group.create_task(question())
            group.create_task(mistake())
        return data

    result = await (await chain().then(ask).commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.type == "ExceptionGroup"
    assert result.error.cause is not None
    assert result.error.cause.message == "down"
    assert tries == [1, 2]


async def test_a_group_of_errors_without_a_suspension_is_what_it_is(runtime: Runtime) -> None:
    class Trouble(ExceptionGroup[Exception]):
        pass

    tries: list[int] = []

    @step(retry=Retry(attempts=2, delay="0s", on=Trouble))
    async def stumble(data: int, ctx: StepContext) -> int:
        tries.append(ctx.attempt)
        raise Trouble("both", [OSError("down"), ValueError("odd")])

    @step
    async def swallow(data: int, ctx: SuspendContext[int, str]) -> int:
        with suppress(BaseException):
            ctx.suspend("q")
        raise ExceptionGroup("both", [OSError("down")])

    stumbled = await (await chain().then(stumble).commit().create_run()).start(1)
    swallowed = await (await chain("swallowing").then(swallow).commit().create_run()).start(1)

    assert isinstance(stumbled, Failed)
    assert (stumbled.error.type, tries) == ("Trouble", [1, 2])
    assert isinstance(swallowed, Failed)
    assert swallowed.error.type == "SuspendSwallowedError"


async def test_who_swallows_a_suspension_does_not_end_the_workflow_instead(runtime: Runtime) -> None:
    @step
    async def swallow(data: int, ctx: SuspendContext[int, str]) -> int:
        with suppress(BaseException):
            ctx.suspend("q")
        ctx.bail(4)

    result = await (await chain().then(swallow).commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert result.error.type == "SuspendSwallowedError"


@pytest.mark.parametrize("answer", [False, 0, None, "", []], ids=repr)
async def test_every_value_is_an_answer(runtime: Runtime, answer: Any) -> None:
    @step
    async def ask(data: int, ctx: SuspendContext[Any, str]) -> list[Any]:
        return [ctx.suspend("?"), ctx.resume_data]

    run = await suspended(chain(gives=Any).then(ask).commit())

    assert (await run.resume(ask, answer)).unwrap() == [answer, answer]


async def test_several_in_one_body_are_answered_one_after_the_other(runtime: Runtime) -> None:
    asked: list[int] = []

    @step
    async def ask(data: int, ctx: SuspendContext[int, int]) -> list[int]:
        answers = []
        for number in range(3):
            asked.append(number)
            answers.append(ctx.suspend(number + len(asked)))
        return answers

    run = await chain(gives=list[int]).then(ask).commit().create_run()
    result = await run.start(1)
    payloads = []
    for answer in (10, 20, 30):
        assert isinstance(result, Suspended)
        payloads += [suspension.payload for suspension in result.suspensions]
        assert len((await run.snapshot()).step_results) == 1
        result = await run.resume(ask, answer)

    assert result.unwrap() == [10, 20, 30]
    assert asked == [0, 0, 1, 0, 1, 2, 0, 1, 2]
    assert payloads == [1, 4, 8]


async def test_what_is_recorded_of_a_payload_stays(clock: ManualClock, database: str) -> None:
    payloads = iter(["first", "second", "third"])

    @step
    async def ask(data: int, ctx: SuspendContext[int, str]) -> int:
        return ctx.suspend(next(payloads))

    flow = chain().then(ask).commit()
    async with Runtime(database, clock=clock):
        await suspended(flow)
    async with Runtime(database, clock=clock, workflows=[flow]):
        result = await (await flow.get_run("r-17")).result()
    assert isinstance(result, Suspended)
    assert [suspension.payload for suspension in result.suspensions] == ["first"]


async def test_a_payload_that_does_not_fit_fails_the_step(runtime: Runtime) -> None:
    @step
    async def ask(data: int, ctx: SuspendContext[int, Mail]) -> int:
        return ctx.suspend("text")  # type: ignore[arg-type]

    result = await (await chain().then(ask).commit().create_run()).start(1)

    assert isinstance(result, Failed)
    assert (result.error.key, result.error.type) == ("ask", "InvalidValueError")
    assert result.error.message.startswith("payload of step 'ask' does not fit Mail: ")


async def test_what_a_suspended_attempt_changed_in_the_state_is_lost(runtime: Runtime) -> None:
    class Counters(BaseModel):
        n: int = 0

    @step
    async def ask(data: int, ctx: SuspendContext[int, str, Counters]) -> int:
        ctx.state.n += 1
        answer = ctx.suspend("?")
        ctx.state.n += answer
        return ctx.state.n

    run = await chain(state_schema=Counters).then(ask).commit().create_run()
    await run.start(1)
    assert run.state == Counters(n=0)
    assert (await run.resume(ask, 10)).unwrap() == 11
    assert run.state == Counters(n=11)


# --- swallowed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("goes_on", ["returns", "raises", "suspends again"])
async def test_a_body_that_goes_on_fails(runtime: Runtime, goes_on: str) -> None:
    calls: list[int] = []

    @step(id="approve", retry=Retry(attempts=3, delay="0s"))
    async def ask(data: int, ctx: SuspendContext[int, str]) -> int:
        calls.append(data)
        try:
            ctx.suspend("?")
        except BaseException:  # noqa: BLE001
            if goes_on == "raises":
                raise OSError("clumsy") from None
            if goes_on == "suspends again":
                try:
                    ctx.suspend("?")
                except BaseException:  # noqa: BLE001
                    return 0
        return data

    run = await chain().then(ask).commit().create_run()
    result = await run.start(1)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == (
        "SuspendSwallowedError",
        "step 'approve' went on after suspend(); catch Exception, not BaseException",
    )
    assert calls == [1]
    assert "hook_created" not in await types(run)


# --- refused answers -------------------------------------------------------------------------------


async def test_an_answer_that_does_not_fit_changes_nothing(runtime: Runtime) -> None:
    run = await suspended(approval())
    before = await types(run)

    with pytest.raises(InvalidValueError) as refused:
        await run.resume(cast("Any", approve), {"approve": True})
    assert str(refused.value) == "answer to step 'approve' does not fit Approval: approved: field required"
    assert await types(run) == before
    assert (await run.resume(approve, Approval(approved=False))).unwrap() == "no"


async def test_what_is_not_suspended_takes_no_answer(runtime: Runtime, desk: Desk) -> None:
    ask = desk.asking("review")
    flow = chain(takes=list[int], gives=Any).foreach(ask, concurrency=6).commit()
    run = await suspended(flow, [0] * 6)
    for index in (0, 1, 3, 4):
        await run.resume(ask, 1, at=f"review[{index}]")

    with pytest.raises(NotSuspendedError) as refused:
        await run.resume(approve, Approval(approved=True))
    assert str(refused.value) == "step 'approve' of run 'r-17' is not suspended; open: 'review[2]', 'review[5]'"
    with pytest.raises(AmbiguousResumeError) as ambiguous:
        await run.resume(ask, 1)
    assert str(ambiguous.value) == "step 'review' waits at 'review[2]' and 'review[5]'; pass at="
    with pytest.raises(NotSuspendedError):
        await run.resume(ask, 1, at="review[7]")


async def test_an_answer_counts_once(runtime: Runtime, clock: ManualClock, desk: Desk) -> None:
    ask = desk.asking("approve")
    run = await suspended(chain().then(ask).then(desk.asking("last")).commit())
    clock.turn("3m")
    clock.turn("11s")
    await run.resume(ask, 10)

    with pytest.raises(AlreadyResumedError) as answered:
        await run.resume(ask, 20)
    assert str(answered.value) == "'approve' of run 'r-17' was answered at 12:03:11; nothing was changed"
    assert open_keys(await run.result()) == ["last"]


async def test_of_two_answers_at_once_one_counts_and_the_other_is_told(runtime: Runtime, desk: Desk) -> None:
    ask = desk.asking("ask")
    flow = chain().then(ask).then(desk.slow("slow")).commit()
    run = await suspended(flow)
    other = await flow.get_run("r-17")
    answers = [asyncio.ensure_future(handle.resume(ask, 10 * n)) for n, handle in enumerate((run, other, run), 1)]
    await settle()
    desk.let("slow")
    given = await asyncio.gather(*answers, return_exceptions=True)

    assert [type(each) for each in given] == [Completed, AlreadyResumedError, AlreadyResumedError]
    assert given[0].unwrap() == 12  # type: ignore[union-attr]
    assert desk.counts["ask"] == 2


async def test_the_loser_of_a_race_does_not_answer_the_next_question(runtime: Runtime) -> None:
    """It saw the first question; by the time it answers, the body has asked a second one."""

    @step
    async def ask(data: int, ctx: SuspendContext[int, str]) -> list[int]:
        return [ctx.suspend("first?"), ctx.suspend("second?")]

    flow = chain(gives=list[int]).then(ask).commit()
    run = await suspended(flow)
    other = await flow.get_run("r-17")
    await run.resume(ask, 1)

    with pytest.raises(AlreadyResumedError):
        await other.resume(ask, 100)
    assert (await other.resume(ask, 2)).unwrap() == [1, 2]


async def test_a_run_that_has_ended_takes_no_answer(runtime: Runtime) -> None:
    run = await suspended(approval())
    await run.resume(approve, Approval(approved=True))

    with pytest.raises(NotSuspendedError) as refused:
        await run.resume(approve, Approval(approved=True))
    assert str(refused.value) == (
        "step 'approve' of run 'r-17' is not suspended: the run is already completed; fork it instead"
    )


async def test_a_run_that_never_was_takes_no_answer(runtime: Runtime) -> None:
    run = await approval().create_run()

    with pytest.raises(RunNotFoundError):
        await run.resume(approve, Approval(approved=True))


async def test_a_cancel_closes_it(runtime: Runtime) -> None:
    run = await suspended(approval())
    await run.cancel()

    assert isinstance(await run.result(), Cancelled)
    assert await statuses(run) == {"approve": "cancelled"}
    with pytest.raises(NotSuspendedError):
        await run.resume(approve, Approval(approved=True))


# --- from elsewhere, later -------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "closed"])
async def test_it_is_answered_after_a_restart(clock: ManualClock, database: str, killed: bool) -> None:
    flow = approval()
    async with Runtime(database, clock=clock) as runtime:
        run = await suspended(flow)
        token = (await run.result()).suspensions[0].token  # type: ignore[union-attr]
        if killed:
            kill(runtime)
    clock.turn("400d")
    async with Runtime(database, clock=clock):
        run = await flow.get_run("r-17")
        result = await run.result()
        assert isinstance(result, Suspended)
        assert result.suspensions[0].token == token
        assert (await run.resume(approve, Approval(approved=True))).unwrap() == "yes"


async def test_another_runtime_on_the_same_file_answers(clock: ManualClock, database: str) -> None:
    flow = approval()
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await suspended(flow)
        async with Runtime(database, clock=clock, worker=False):
            other = await flow.get_run("r-17")
            assert (await other.resume(approve, Approval(approved=True))).unwrap() == "yes"
        assert (await run.result()).unwrap() == "yes"


async def test_an_answer_that_was_recorded_survives_a_crash(clock: ManualClock, database: str, desk: Desk) -> None:
    ask = desk.asking("ask")
    flow = chain().then(ask).then(desk.slow("slow")).commit()
    async with Runtime(database, clock=clock) as runtime:
        run = await suspended(flow)
        resuming = asyncio.ensure_future(run.resume(ask, 10))
        await recorded(run, "hook_received")
        kill(runtime)
        resuming.cancel()
    desk.let("slow")
    async with Runtime(database, clock=clock, workflows=[flow]):
        assert (await (await flow.get_run("r-17")).result()).unwrap() == 12


# --- timeouts --------------------------------------------------------------------------------------


def impatient() -> Any:
    @step(id="ask")
    async def ask(data: int, ctx: SuspendContext[int, str]) -> list[object]:
        try:
            first: object = ctx.suspend("first?", timeout="1h")
        except WaitTimeoutError as error:
            first = str(error)
        return [first, ctx.suspend("second?")]

    return ask


async def test_when_its_time_is_up_the_body_is_told_and_may_catch_it(runtime: Runtime, clock: ManualClock) -> None:
    ask = impatient()
    run = await suspended(chain(gives=Any).then(ask).commit())
    clock.turn("1h")
    await settle()
    assert open_keys(await run.result()) == ["ask"]

    assert (await run.resume(ask, 2)).unwrap() == [
        "no answer to step 'ask' within 1h; answer it earlier, raise timeout= or catch this", 2
    ]  # fmt: skip


async def test_an_answer_in_time_is_taken(runtime: Runtime, clock: ManualClock) -> None:
    ask = impatient()
    run = await suspended(chain(gives=Any).then(ask).commit())
    clock.turn("59m")
    await run.resume(ask, 1)
    clock.turn("59m")

    assert (await run.resume(ask, 2)).unwrap() == [1, 2]


async def test_an_answer_given_in_a_pause_beats_a_deadline_that_passed_in_it(
    runtime: Runtime, clock: ManualClock
) -> None:
    ask = impatient()
    run = await suspended(chain(gives=Any).then(ask).commit())
    await run.pause()
    clock.turn("2h")
    await settle()
    await run.resume(ask, 1)
    await run.unpause()
    await settle()

    assert (await run.resume(ask, 2)).unwrap() == [1, 2]


async def test_a_body_that_does_not_catch_it_fails(runtime: Runtime, clock: ManualClock) -> None:
    @step
    async def ask(data: int, ctx: SuspendContext[int, str]) -> int:
        return ctx.suspend("?", timeout="1h")

    run = await suspended(chain().then(ask).commit())
    clock.turn("1h")
    await settle()
    result = await run.result()

    assert isinstance(result, Failed)
    assert result.error.type == "WaitTimeoutError"
    with pytest.raises(NotSuspendedError):
        await run.resume(ask, 1)


async def test_its_time_passes_while_nobody_runs(clock: ManualClock, database: str) -> None:
    ask = impatient()
    flow = chain(gives=Any).then(ask).commit()
    async with Runtime(database, clock=clock) as runtime:
        await suspended(flow)
        kill(runtime)
    clock.turn("5h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.get_run("r-17")
        await settle()
        assert open_keys(await run.result()) == ["ask"]
        assert (await run.resume(ask, 2)).unwrap()[1] == 2


async def test_the_log_decides_between_the_answer_and_the_deadline(runtime: Runtime, clock: ManualClock) -> None:
    for turns in range(30):
        ask = impatient()
        flow = chain(f"flow-{turns}", gives=Any).then(ask).commit()
        run = await suspended(flow, run_id=f"r-{turns}")
        stale = await flow.get_run(run.run_id)
        clock.turn("1h")
        await settle(turns)
        try:
            await stale.resume(ask, 1, wait="0s")
        except (NotSuspendedError, AlreadyResumedError):
            answered = False
        else:
            answered = True
        await settle()
        await run.refresh()
        first, second = (await run.resume(ask, 2)).unwrap()
        assert (first == 1) is answered, f"answered after {turns} turns"
        assert second == 2


# --- retries ---------------------------------------------------------------------------------------


async def test_tries_start_again_at_one_after_an_answer(runtime: Runtime, clock: ManualClock) -> None:
    seen: list[tuple[int, bool]] = []

    @step(retry=HOUR)
    async def ask(data: int, ctx: SuspendContext[int, str]) -> int:
        seen.append((ctx.attempt, ctx.resume_data is not None))
        if len(seen) in (1, 3):
            raise OSError("not yet")
        return data + ctx.suspend("?")

    run = await chain().then(ask).commit().create_run()
    await run.start(1)
    clock.turn("1h")
    await settle()
    await run.resume(ask, 5)
    clock.turn("1h")

    assert (await run.result()).unwrap() == 6
    assert seen == [(1, False), (2, False), (1, True), (2, True)]


async def test_the_policy_holds_after_an_answer(runtime: Runtime, clock: ManualClock) -> None:
    @step(retry=HOUR)
    async def ask(data: int, ctx: SuspendContext[int, str]) -> int:
        ctx.suspend("?")
        raise OSError(f"try {ctx.attempt}")

    run = await suspended(chain().then(ask).commit())
    await run.resume(ask, 5)
    clock.turn("1h")
    result = await run.result()

    assert isinstance(result, Failed)
    assert (result.error.message, result.error.attempts) == ("try 2", 2)


async def test_start_waits_out_short_timers_beside_a_suspension(runtime: Runtime, clock: ManualClock) -> None:
    desk = Desk()
    nap = chain("nap").sleep("10s").then(desk.quick("x")).commit()
    run = await chain(gives=Any).parallel(nap, desk.asking("ask")).commit().create_run()
    starting = asyncio.ensure_future(run.start(1))
    await settle()
    assert not starting.done()
    clock.turn("10s")

    assert open_keys(await starting) == ["ask"]
    assert desk.calls == ["ask", "nap/x"]


async def test_a_payload_in_a_workflow_as_code_is_of_its_type_too(runtime: Runtime) -> None:
    @workflow
    async def flow(step: StepTools, data: int) -> str:
        return await step.run(approve, data)

    result = await (await flow.create_run()).start(1)

    assert isinstance(result, Suspended)
    assert result.suspensions[0].payload == {"text": "may I? 1"}
    assert result.payload_of(approve) == Mail(text="may I? 1")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("approve", "resume() takes a step, got 'approve'; pass the step itself"),
        (suspended, "resume() takes a step, got suspended; pass the step itself"),
    ],
)
async def test_only_a_step_is_answered(runtime: Runtime, given: Any, text: str) -> None:
    run = await suspended(approval())

    with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
        await run.resume(given, Approval(approved=True))
