"""Idempotency keys: the same key is the same run, whoever asks, however often, at whatever moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import (
    Completed,
    InvalidValueError,
    Run,
    RunConflictError,
    RunExistsError,
    Runtime,
    Workflow,
    create_workflow,
    step,
)


class Doubling:
    def __init__(self, id: str = "doubling") -> None:
        self.begun: list[int] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

        @step
        async def double(data: int) -> int:
            self.begun.append(data)
            await self.go_on.wait()
            return data * 2

        self.workflow: Workflow[int, int, None] = (
            create_workflow(id=id, input_schema=int, output_schema=int).then(double).commit()
        )

    async def run(self, key: str = "user-1") -> Run[int, int, None]:
        return await self.workflow.create_run(idempotency_key=key)


async def test_a_known_key_gives_the_run_that_exists(runtime: Runtime) -> None:
    doubling = Doubling()
    first = await doubling.run()
    await first.start(1)
    second = await doubling.run()

    assert second.run_id == first.run_id
    assert (await second.start(1)).unwrap() == 2
    assert doubling.begun == [1]


async def test_keys_belong_to_a_workflow(runtime: Runtime) -> None:
    one, other = Doubling(), Doubling("other")
    await (await one.run()).start(1)
    run = await other.run()

    assert (await run.start(5)).unwrap() == 10
    assert len((await runtime.runs.list()).data) == 2


async def test_another_input_under_a_known_key_is_refused(runtime: Runtime) -> None:
    doubling = Doubling()
    first = await doubling.run()
    await first.start(1)

    with pytest.raises(RunConflictError) as refused:
        await (await doubling.run()).start(2)

    assert str(refused.value) == (
        f"run {first.run_id!r} was started with another input; start with that input, or use another idempotency key"
    )
    with pytest.raises(RunConflictError):
        await (await doubling.run()).enqueue(2)


async def test_on_conflict_fail_refuses_a_known_key(runtime: Runtime) -> None:
    doubling = Doubling()
    first = await doubling.run()
    await first.start(1)

    with pytest.raises(RunExistsError) as refused:
        await doubling.workflow.create_run(idempotency_key="user-1", on_conflict="fail")
    assert refused.value.run_id == first.run_id


async def exclusive(doubling: Doubling) -> Run[int, int, None]:
    return await doubling.workflow.create_run(idempotency_key="user-1", on_conflict="fail")


@pytest.mark.parametrize("how", ["start", "enqueue"])
async def test_of_handles_that_must_not_share_a_key_the_second_to_start_is_refused(how: str, runtime: Runtime) -> None:
    doubling = Doubling()
    first, second = await exclusive(doubling), await exclusive(doubling)
    await getattr(first, how)(1)

    for _ in range(2):  # the handle is not taken for one of a run that exists
        with pytest.raises(RunExistsError) as refused:
            await getattr(second, how)(1)
        assert refused.value.run_id == first.run_id
    await settle()
    assert doubling.begun == [1]


async def test_of_exclusive_starts_at_once_one_is_made(runtime: Runtime) -> None:
    doubling = Doubling()
    runs = [await exclusive(doubling) for _ in range(5)]
    results = await asyncio.gather(*(run.start(7) for run in runs), return_exceptions=True)

    assert sorted(type(result).__name__ for result in results) == ["Completed", *["RunExistsError"] * 4]
    assert doubling.begun == [7]


async def test_on_conflict_is_one_of_two_words(runtime: Runtime) -> None:
    unknown: Any = "terminate_existing"

    with pytest.raises(InvalidValueError) as refused:
        await Doubling().workflow.create_run(idempotency_key="user-1", on_conflict=unknown)
    assert str(refused.value) == "on_conflict= cannot be 'terminate_existing'; give 'use_existing' or 'fail'"


async def test_on_conflict_fail_takes_a_new_key(runtime: Runtime) -> None:
    run = await Doubling().workflow.create_run(idempotency_key="user-1", on_conflict="fail")

    assert (await run.start(1)).unwrap() == 2


async def test_a_start_under_the_key_of_a_running_run_awaits_it(runtime: Runtime) -> None:
    doubling = Doubling()
    doubling.go_on.clear()
    first = asyncio.ensure_future((await doubling.run()).start(1))
    await settle()
    second = asyncio.ensure_future((await doubling.run()).start(1))
    await settle()
    assert not second.done()
    doubling.go_on.set()

    assert (await first).unwrap() == (await second).unwrap() == 2
    assert doubling.begun == [1]


async def test_two_starts_at_once_make_one_run(runtime: Runtime) -> None:
    doubling = Doubling()
    runs = [await doubling.run() for _ in range(5)]  # none of them knows of another
    results = await asyncio.gather(*(run.start(7) for run in runs))

    assert {result.unwrap() for result in results} == {14}
    assert len({result.run_id for result in results}) == 1
    assert len({run.run_id for run in runs}) == 1
    assert doubling.begun == [7]
    assert len((await runtime.runs.list()).data) == 1


async def test_of_two_starts_at_once_with_two_inputs_one_is_refused(runtime: Runtime) -> None:
    doubling = Doubling()
    runs = [await doubling.run(), await doubling.run()]
    results = await asyncio.gather(*(run.start(data) for data, run in enumerate(runs)), return_exceptions=True)

    assert [isinstance(result, RunConflictError) for result in results] == [False, True]
    assert doubling.begun == [0]


async def test_two_enqueues_at_once_make_one_run(runtime: Runtime) -> None:
    doubling = Doubling()
    runs = await asyncio.gather(*[(await doubling.run()).enqueue(7) for _ in range(5)])
    results = await asyncio.gather(*(run.result() for run in runs))

    assert {result.unwrap() for result in results} == {14}
    assert doubling.begun == [7]


async def test_who_enqueues_again_does_not_run_it(clock: ManualClock, database: str) -> None:
    """A server repeats a request, and leaves the work to the workers all the same."""
    doubling = Doubling()
    async with Runtime(database, clock=clock, worker=False):
        run = await (await doubling.run()).enqueue(1)
        run = await (await doubling.run()).enqueue(1)
        await settle()
        assert doubling.begun == []
        assert repr(run) == f"Run({run.run_id!r}, workflow='doubling', status='pending')"


@pytest.mark.parametrize("turns", range(1, 9))
async def test_who_starts_a_run_by_its_key_as_the_runtime_is_closed_is_told_so(
    turns: int, clock: ManualClock, database: str
) -> None:
    """And not cancelled: nobody cancelled him."""
    doubling = Doubling()
    async with Runtime(database, clock=clock, worker=False) as runtime:
        await (await doubling.run()).enqueue(1)
        starting = asyncio.create_task((await doubling.run()).start(1))
        await settle(turns)
        await runtime.close()
        (ended,) = await asyncio.gather(starting, return_exceptions=True)

    assert isinstance(ended, Completed) or "the runtime was closed while run" in str(ended), ended
    async with Runtime(database, clock=clock, workflows=[doubling.workflow]):
        assert (await (await doubling.run()).start(1)).unwrap() == 2


async def test_a_start_and_an_enqueue_at_once_make_one_run(runtime: Runtime) -> None:
    doubling = Doubling()
    started, queued = await doubling.run(), await doubling.run()
    result, _ = await asyncio.gather(started.start(7), queued.enqueue(7))

    assert result.unwrap() == (await queued.result()).unwrap() == 14
    assert doubling.begun == [7]


async def test_two_runtimes_on_one_file_agree_on_a_key(clock: ManualClock, database: str) -> None:
    doubling = Doubling()
    async with Runtime(database, clock=clock):
        here = await doubling.run()
        async with Runtime(database, clock=clock):
            there = await doubling.run()
            results = await asyncio.gather(here.start(7), there.start(7))

    assert {result.unwrap() for result in results} == {14}
    assert len({result.run_id for result in results}) == 1
    assert doubling.begun == [7]


async def test_a_key_is_known_after_a_restart(clock: ManualClock, database: str) -> None:
    doubling = Doubling()
    async with Runtime(database, clock=clock):
        await (await doubling.run()).start(1)
    async with Runtime(database, clock=clock):
        assert (await (await doubling.run()).start(1)).unwrap() == 2

    assert doubling.begun == [1]


async def test_an_equal_input_written_otherwise_is_the_same_input(runtime: Runtime) -> None:
    seen: list[dict[str, int]] = []

    @step
    async def look(data: dict[str, int]) -> int:
        seen.append(data)
        return len(data)

    workflow = create_workflow(id="looking", input_schema=dict[str, int], output_schema=int).then(look).commit()
    await (await workflow.create_run(idempotency_key="k")).start({"a": 1, "b": 2})

    assert (await (await workflow.create_run(idempotency_key="k")).start({"b": 2, "a": 1})).unwrap() == 2
    assert len(seen) == 1
