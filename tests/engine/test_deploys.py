"""Changed code: a run that no longer fits is paused, never guessed on with; it goes on when the code fits again."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel

from tests.clocks import ManualClock, settle
from wrkflw import (
    Completed,
    Failed,
    Paused,
    Retry,
    RunNotFinishedError,
    Runtime,
    StepContext,
    StepNotRunError,
    Waiting,
    create_step,
    create_workflow,
    step,
)

HOUR = Retry(attempts=2, delay="1h", max_delay="1h", jitter=0)


@step
async def fetch(data: int) -> int:
    return data + 1


@step(retry=HOUR)
async def charge(data: int, ctx: StepContext) -> int:
    if ctx.attempt == 1:
        raise OSError("not yet")
    return data * 2


@step
async def log(data: int) -> int:
    return data


def campaign(*steps: Any, on_mismatch: Literal["pause", "fail"] = "pause") -> Any:
    chain: Any = create_workflow(id="campaign", input_schema=int, output_schema=int, on_mismatch=on_mismatch)
    for each in steps:
        chain = chain.then(each)
    return chain.commit()


async def park(database: str, clock: ManualClock, *steps: Any) -> None:
    """A run r-17 that waits for the second try of charge."""
    workflow = campaign(*steps)
    async with Runtime(database, clock=clock):
        assert isinstance(await (await workflow.create_run(run_id="r-17")).start(1), Waiting)
    clock.turn("1h")


async def go_on(database: str, clock: ManualClock, workflow: Any) -> Any:
    async with Runtime(database, clock=clock, workflows=[workflow]):
        return await (await workflow.get_run("r-17")).result()


async def test_a_step_that_is_gone_pauses_the_run(clock: ManualClock, database: str) -> None:
    await park(database, clock, fetch, charge)
    result = await go_on(database, clock, campaign(fetch, log))

    reason = (
        "run 'r-17' stands at 'charge', which workflow 'campaign' no longer has; "
        "deploy the old code, or fork at an earlier step"
    )
    assert isinstance(result, Paused)
    assert (result.by, result.reason) == ("engine", reason)
    with pytest.raises(RunNotFinishedError) as parked:
        result.unwrap()
    assert str(parked.value) == f"run 'r-17' is paused ({reason}); go on with run.unpause()"


async def test_a_paused_run_shows_itself_as_paused(clock: ManualClock, database: str) -> None:
    await park(database, clock, fetch, charge)
    await go_on(database, clock, campaign(fetch, log))
    async with Runtime(database, clock=clock, worker=False) as runtime:
        info = await runtime.runs.get("r-17")
        listed = await runtime.runs.list(waiting_for="paused")

    assert (info.status, info.waiting_for) == ("running", "paused")
    assert [each.run_id for each in listed.data] == ["r-17"]


async def test_code_that_fits_again_takes_the_run_up(clock: ManualClock, database: str) -> None:
    await park(database, clock, fetch, charge)
    assert isinstance(await go_on(database, clock, campaign(fetch, log)), Paused)
    async with Runtime(database, clock=clock, workflows=[campaign(fetch, charge)]) as runtime:
        await settle()
        snapshot = await runtime.runs.snapshot("r-17")

    assert (snapshot.status, snapshot.result) == ("completed", 4)


async def test_steps_that_changed_places_do_not_fit(clock: ManualClock, database: str) -> None:
    await park(database, clock, fetch, charge)

    assert isinstance(await go_on(database, clock, campaign(charge, fetch)), Paused)


async def test_a_policy_of_fail_fails_the_run(clock: ManualClock, database: str) -> None:
    await park(database, clock, fetch, charge)
    result = await go_on(database, clock, campaign(fetch, log, on_mismatch="fail"))

    assert isinstance(result, Failed)
    assert result.error.type == "DefinitionChangedError"


async def test_a_step_added_after_the_parked_one_runs(clock: ManualClock, database: str) -> None:
    await park(database, clock, fetch, charge)
    result = await go_on(database, clock, campaign(fetch, charge, log))

    assert isinstance(result, Completed)
    assert result.get_step_result(log) == 4


async def test_a_step_added_before_the_parked_one_is_not_run_for_that_run(clock: ManualClock, database: str) -> None:
    await park(database, clock, fetch, charge)
    result = await go_on(database, clock, campaign(fetch, log, charge))

    assert isinstance(result, Completed)
    assert result.output == 4
    with pytest.raises(StepNotRunError) as missing:
        result.get_step_result(log)
    assert str(missing.value) == "step 'log' has no result here; finished before this point: 'fetch', 'charge'"


async def test_a_run_that_has_ended_is_left_alone(clock: ManualClock, database: str) -> None:
    async with Runtime(database, clock=clock):
        await (await campaign(fetch, log).create_run(run_id="r-17")).start(1)

    result = await go_on(database, clock, campaign(charge))

    assert isinstance(result, Completed)
    assert result.output == 2


class Person(BaseModel):
    name: str


class Adult(BaseModel):
    name: str
    age: int


def greeting(person: type[BaseModel]) -> Any:
    """The same workflow by its names; what its first step gives is of the type that the code has today."""

    async def find(data: int) -> Any:
        return person.model_validate({"name": "Ada", "age": 36})

    async def greet(found: Any, ctx: StepContext) -> int:
        if ctx.attempt == 1:
            raise OSError("not yet")
        return len(found.name)

    found: Any = create_step(id="find", input_schema=int, output_schema=person, execute=find)
    greeted: Any = create_step(id="greet", input_schema=person, output_schema=int, execute=greet, retry=HOUR)
    chain: Any = create_workflow(id="greeting", input_schema=int, output_schema=int)
    return chain.then(found).then(greeted).commit()


async def test_a_run_whose_values_the_code_can_no_longer_read_is_paused_and_goes_on_when_it_can(
    database: str, clock: ManualClock
) -> None:
    old, new = greeting(Person), greeting(Adult)
    async with Runtime(database, clock=clock):
        assert isinstance(await (await old.create_run(run_id="r-17")).start(1), Waiting)
    clock.turn("1h")

    async with Runtime(database, clock=clock, workflows=[new]):
        paused = await (await new.get_run("r-17")).result()
    async with Runtime(database, clock=clock, workflows=[old]):
        await settle()
        result = await (await old.get_run("r-17")).result()

    assert isinstance(paused, Paused)
    assert paused.by == "engine"
    assert "age: field required; deploy the old code, or give what is new a default" in (paused.reason or "")
    assert result.unwrap() == 3
