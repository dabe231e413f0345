"""Retries: how often, how far apart, what is worth another try; and that a restart resets none of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.clocks import START, ManualClock, settle
from wrkflw import (
    Completed,
    Failed,
    FatalError,
    InvalidValueError,
    Retry,
    RetryAfter,
    Run,
    RunNotFinishedError,
    Runtime,
    StepContext,
    Waiting,
    Workflow,
    create_workflow,
    step,
)
from wrkflw.builder import WorkflowOptions
from wrkflw.steps import StepOptions

from .lost import kill

Trying = Workflow[None, int, None]


class Tries:
    """A workflow of one step that fails until its ``succeeds``-th try, and when it was tried."""

    def __init__(self, clock: ManualClock, retry: Retry | None, *, succeeds: int = 99, error: Any = OSError) -> None:
        self.clock, self.times, self.attempts = clock, list[datetime](), list[int]()

        options: StepOptions = {} if retry is None else {"retry": retry}

        @step(**options)
        async def attempt(ctx_input: None, ctx: StepContext) -> int:
            self.times.append(clock.now())
            self.attempts.append(ctx.attempt)
            if len(self.times) < succeeds:
                raise error("not yet")
            return ctx.attempt

        self.workflow: Trying = (
            create_workflow(id="trying", input_schema=None, output_schema=int).then(attempt).commit()
        )
        self.step = attempt

    def seconds(self) -> list[float]:
        """Since the first try."""
        return [(time - self.times[0]).total_seconds() for time in self.times]


async def turned(clock: ManualClock, run: Run[None, int, None], by: str = "1s", times: int = 1) -> Any:
    """The result of starting the run, once the clock has been turned often enough."""
    starting = asyncio.ensure_future(run.start(wait=None))
    await settle()
    for _ in range(times):
        if starting.done():
            break
        clock.turn(by)
        await settle()
    assert starting.done(), "the run still waits"
    return starting.result()


async def test_a_step_without_a_policy_is_tried_once(runtime: Runtime, clock: ManualClock) -> None:
    tries = Tries(clock, None)
    result = await (await tries.workflow.create_run()).start()

    assert isinstance(result, Failed)
    assert (tries.attempts, result.error.attempts) == ([1], 1)


async def test_the_next_try_comes_after_the_delay_not_before(runtime: Runtime, clock: ManualClock) -> None:
    tries = Tries(clock, Retry(attempts=2, delay="2s", jitter=0), succeeds=2)
    starting = asyncio.ensure_future((await tries.workflow.create_run()).start())
    await settle()

    clock.turn(timedelta(seconds=2) - timedelta(microseconds=1))
    await settle()
    assert tries.attempts == [1]

    clock.turn(timedelta(microseconds=1))
    await settle()
    assert tries.attempts == [1, 2]
    assert (await starting).unwrap() == 2


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        (Retry(attempts=4, delay="1s", backoff="fixed", jitter=0), [0, 1, 2, 3]),
        (Retry(attempts=4, delay="1s", backoff="linear", jitter=0), [0, 1, 3, 6]),
        (Retry(attempts=4, delay="1s", backoff="exponential", jitter=0), [0, 1, 3, 7]),
        (Retry(attempts=4, delay="1s", max_delay="2s", jitter=0), [0, 1, 3, 5]),
        (Retry(attempts=4, backoff=lambda failures: timedelta(seconds=3 * failures), jitter=0), [0, 3, 9, 18]),
    ],
)
async def test_the_delays_grow_as_the_policy_says(
    runtime: Runtime, clock: ManualClock, retry: Retry, expected: list[float]
) -> None:
    tries = Tries(clock, retry)
    result = await turned(clock, await tries.workflow.create_run(), times=100)

    assert isinstance(result, Failed)
    assert tries.seconds() == expected
    assert tries.attempts == [1, 2, 3, 4]
    assert result.error.attempts == 4


async def test_jitter_keeps_to_its_part_of_the_delay(runtime: Runtime, clock: ManualClock) -> None:
    tries = Tries(clock, Retry(attempts=6, delay="100s", backoff="fixed", jitter=0.1))
    await turned(clock, await tries.workflow.create_run(), times=700)

    gaps = [later - sooner for sooner, later in zip(tries.seconds(), tries.seconds()[1:], strict=False)]
    assert len(gaps) == 5
    assert all(90 <= gap <= 111 for gap in gaps)


async def test_retry_after_sets_the_delay(runtime: Runtime, clock: ManualClock) -> None:
    tries = Tries(clock, Retry(attempts=3, delay="1s", jitter=0), error=lambda _text: RetryAfter("4s"))
    result = await turned(clock, await tries.workflow.create_run(), times=20)

    assert isinstance(result, Failed)
    assert tries.seconds() == [0, 4, 8]
    assert result.error.type == "RetryAfter"
    assert result.error.message == "try again after 4s"


async def test_retry_after_needs_a_policy_with_attempts(runtime: Runtime, clock: ManualClock) -> None:
    tries = Tries(clock, None, error=lambda _text: RetryAfter("4s"))
    result = await (await tries.workflow.create_run()).start()

    assert isinstance(result, Failed)
    assert tries.attempts == [1]


@pytest.mark.parametrize(
    "error",
    [
        FatalError,
        lambda text: InvalidValueError("it", "Letter", [text]),
        lambda text: ExceptionGroup("a task of a group", [OSError(text), ExceptionGroup(text, [FatalError(text)])]),
    ],
    ids=["FatalError", "InvalidValueError", "FatalError in a group"],
)
async def test_some_errors_are_never_worth_another_try(
    runtime: Runtime, clock: ManualClock, error: Callable[[str], Exception]
) -> None:
    tries = Tries(clock, Retry(attempts=5, delay="0s"), error=error)
    result = await (await tries.workflow.create_run()).start()

    assert isinstance(result, Failed)
    assert tries.attempts == [1]


async def test_a_group_of_errors_that_may_pass_is_tried_again(runtime: Runtime, clock: ManualClock) -> None:
    tries = Tries(clock, Retry(attempts=2, delay="0s"), error=lambda text: ExceptionGroup(text, [OSError(text)]))
    result = await (await tries.workflow.create_run()).start()

    assert isinstance(result, Failed)
    assert tries.attempts == [1, 2]


async def test_on_names_what_is_worth_another_try(runtime: Runtime, clock: ManualClock) -> None:
    chosen = Retry(attempts=3, delay="0s", on=(TimeoutError, KeyError))
    named, other = Tries(clock, chosen, error=TimeoutError), Tries(clock, chosen, error=OSError)
    await (await named.workflow.create_run()).start()
    other.workflow = other.workflow.with_id("other")
    await (await other.workflow.create_run()).start()

    assert (named.attempts, other.attempts) == ([1, 2, 3], [1])


async def test_a_step_that_recovers_gives_its_output(runtime: Runtime, clock: ManualClock) -> None:
    tries = Tries(clock, Retry(attempts=3, delay="0s"), succeeds=3)
    run = await tries.workflow.create_run()

    assert (await run.start()).unwrap() == 3
    recorded = (await run.snapshot()).step_results["attempt"]
    assert (recorded.status, recorded.attempt) == ("completed", 3)


async def test_the_policy_of_the_step_wins_over_the_workflows_and_that_over_the_runtimes(clock: ManualClock) -> None:
    async with Runtime(":memory:", clock=clock, retry=Retry(attempts=4, delay="0s")):
        counts: list[int] = []
        for own, workflows in ((2, 3), (None, 3), (None, None), (1, 3)):
            tries = Tries(clock, None if own is None else Retry(attempts=own, delay="0s"))
            default: WorkflowOptions = {} if workflows is None else {"retry": Retry(attempts=workflows, delay="0s")}
            chain: Any = create_workflow(id=f"w-{len(counts)}", input_schema=None, output_schema=int, **default)
            await (await chain.then(tries.step).commit().create_run()).start()
            counts.append(len(tries.attempts))

    assert counts == [2, 3, 4, 1]


async def test_a_backoff_that_raises_fails_the_step(runtime: Runtime, clock: ManualClock) -> None:
    def broken(failures: int) -> timedelta:
        raise ZeroDivisionError("no delay")

    tries = Tries(clock, Retry(attempts=3, backoff=broken))
    result = await (await tries.workflow.create_run()).start()

    assert isinstance(result, Failed)
    assert tries.attempts == [1]
    assert (result.error.type, result.error.message) == ("OSError", "not yet")


# --- patience ----------------------------------------------------------------------------------------


async def test_a_delay_within_the_patience_of_start_is_waited_out(runtime: Runtime, clock: ManualClock) -> None:
    tries = Tries(clock, Retry(attempts=2, delay="20s", jitter=0), succeeds=2)
    starting = asyncio.ensure_future((await tries.workflow.create_run()).start(wait="30s"))
    await settle()
    assert not starting.done()

    clock.turn("20s")
    await settle()
    assert (await starting).unwrap() == 2


@pytest.mark.parametrize("delay", ["2s", "20s"])
async def test_a_longer_delay_gives_waiting(runtime: Runtime, clock: ManualClock, delay: str) -> None:
    tries = Tries(clock, Retry(attempts=2, delay=delay, jitter=0), succeeds=2)
    run = await tries.workflow.create_run()
    result = await run.start(wait="1s")

    assert isinstance(result, Waiting)
    assert (result.reason, result.until, result.event) == (
        "retry",
        tries.times[0] + timedelta(seconds=int(delay[:-1])),
        None,
    )
    with pytest.raises(RunNotFinishedError) as parked:
        result.unwrap()
    assert str(parked.value) == f"run '{run.run_id}' is waiting for a retry; take it up with run.result()"


async def test_no_patience_parks_at_once(runtime: Runtime, clock: ManualClock) -> None:
    tries = Tries(clock, Retry(attempts=2, delay="1ms", jitter=0))

    assert isinstance(await (await tries.workflow.create_run()).start(wait="0s"), Waiting)


async def test_result_waits_on_after_waiting(runtime: Runtime, clock: ManualClock) -> None:
    tries = Tries(clock, Retry(attempts=2, delay="1h", max_delay="1h", jitter=0), succeeds=2)
    run = await tries.workflow.create_run()
    assert isinstance(await run.start(), Waiting)

    waiting = asyncio.ensure_future(run.result())
    await settle()
    assert not waiting.done()
    clock.turn("1h")
    await settle()
    assert (await waiting).unwrap() == 2


async def test_a_long_delay_frees_the_run(runtime: Runtime, clock: ManualClock) -> None:
    tries = Tries(clock, Retry(attempts=2, delay="1h", max_delay="1h", jitter=0))
    run = await tries.workflow.create_run()
    await run.start(wait="0s")
    await settle()

    entity = await runtime.world.storage.runs.get(run.run_id)
    assert (entity.owner, entity.wake_at) == (None, START + timedelta(hours=1))
    assert runtime.driver.drive_of(run.run_id) is None


async def test_a_runtime_that_takes_no_runs_wakes_its_own(clock: ManualClock) -> None:
    tries = Tries(clock, Retry(attempts=2, delay="1h", max_delay="1h", jitter=0), succeeds=2)
    async with Runtime(":memory:", clock=clock, worker=False):
        run = await tries.workflow.create_run()
        assert isinstance(await run.start(), Waiting)
        clock.turn("1h")
        await settle()

        assert (await run.result()).unwrap() == 2


# --- durable -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", ["4s", "10m"], ids=["in place", "parked"])
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "closed"])
async def test_a_restart_waits_only_the_remainder(clock: ManualClock, database: str, delay: str, killed: bool) -> None:
    tries = Tries(clock, Retry(attempts=3, delay=delay, backoff="fixed", max_delay="1h", jitter=0))
    async with Runtime(database, clock=clock, workflows=[tries.workflow]) as first:
        run = await tries.workflow.create_run(run_id="r-17")
        assert isinstance(await run.start(wait="0s"), Waiting)
        if killed:
            kill(first)
    clock.turn("3s")
    async with Runtime(database, clock=clock, workflows=[tries.workflow]):
        waiting = asyncio.ensure_future((await tries.workflow.get_run("r-17")).result())
        while not waiting.done():
            await settle()
            clock.turn("1s")
        result = waiting.result()

    assert isinstance(result, Failed)
    step_by = 4 if delay == "4s" else 600
    assert tries.seconds() == [0, step_by, 2 * step_by]
    assert tries.attempts == [1, 2, 3]
    assert result.error.attempts == 3


async def test_what_fell_due_while_nobody_ran_is_tried_at_once(clock: ManualClock, database: str) -> None:
    tries = Tries(clock, Retry(attempts=2, delay="10s", jitter=0), succeeds=2)
    async with Runtime(database, clock=clock):
        assert isinstance(await (await tries.workflow.create_run(run_id="r-17")).start(wait="0s"), Waiting)
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[tries.workflow]):
        result = await (await tries.workflow.get_run("r-17")).result()

    assert isinstance(result, Completed)
    assert tries.seconds() == [0, 3600]


async def test_a_try_that_failed_is_counted_after_a_kill(clock: ManualClock, database: str) -> None:
    tries = Tries(clock, Retry(attempts=2, delay="1s", jitter=0))
    async with Runtime(database, clock=clock, workflows=[tries.workflow]) as first:
        starting = asyncio.ensure_future((await tries.workflow.create_run(run_id="r-17")).start())
        await settle()
        kill(first)
        starting.cancel()
    async with Runtime(database, clock=clock, workflows=[tries.workflow]):
        waiting = asyncio.ensure_future((await tries.workflow.get_run("r-17")).result())
        await settle()
        clock.turn("1s")
        await settle()
        result = await waiting

    assert isinstance(result, Failed)
    assert tries.attempts == [1, 2]
