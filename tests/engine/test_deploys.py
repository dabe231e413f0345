"""Changed code: a run that no longer fits is paused, never guessed on with; it goes on when the code fits again."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Literal, Self

import pytest
from pydantic import BaseModel, model_validator

from tests.clocks import ManualClock, settle
from wrkflw import (
    Completed,
    DefinitionChangedError,
    Event,
    Failed,
    Limits,
    Paused,
    RunNotFinishedError,
    Runtime,
    StepContext,
    StepNotRunError,
    StepTools,
    Waiting,
    check_runs,
    create_step,
    create_workflow,
    step,
    workflow,
)
from wrkflw.world import events as e

from .desk import HOUR, Desk, chain, open_keys, statuses, types

CALLED = Event("called", int)


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

    result = await go_on(database, clock, campaign(charge, fetch))

    assert isinstance(result, Paused)
    assert result.reason == (
        "run 'r-17' recorded 'charge' after 'fetch', but workflow 'campaign' now has it before; "
        "deploy the old code, or fork at an earlier step"
    )


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


async def nap(database: str, clock: ManualClock, workflow: Any) -> None:
    """A run r-17 that sleeps for an hour, from three minutes on, which it may have waited for an event."""
    async with Runtime(database, clock=clock, workflows=[workflow]):
        await (await workflow.create_run(run_id="r-17")).start(1, wait="0s")
        await settle()
        clock.turn("3m")
        await settle()


def answered(**late: Any) -> Any:
    """Waits for an event, then sleeps."""
    return (
        chain("campaign").wait_for_event(CALLED, **late).map(lambda number: number + 1).sleep("1h", id="nap").commit()
    )


@pytest.mark.parametrize("late", [{}, {"timeout": "1m"}])
async def test_a_wait_that_ran_out_and_no_longer_has_a_default_pauses_the_run(
    clock: ManualClock, database: str, late: dict[str, str]
) -> None:
    await nap(database, clock, answered(timeout="1m", default=-1))
    clock.turn("1h")

    result = await go_on(database, clock, answered(**late))

    assert isinstance(result, Paused)
    assert result.reason == (
        "run 'r-17' cannot be read by workflow 'campaign' as it is now: event at 'wait-1' did not come in time, "
        "and its wait has no default; deploy the old code, or give what is new a default"
    )


async def test_a_wait_that_will_run_out_does_not_fit_code_that_has_no_timeout(
    clock: ManualClock, database: str
) -> None:
    chain = create_workflow(id="campaign", input_schema=int, output_schema=int)
    timed = chain.wait_for_event(CALLED, timeout="1h", default=1, id="call").commit()
    untimed = chain.wait_for_event(CALLED, id="call").commit()
    async with Runtime(database, clock=clock):
        await (await timed.create_run(run_id="r-17")).start(1, wait="0s")
    clock.turn("2h")

    paused = await go_on(database, clock, untimed)

    assert isinstance(paused, Paused)
    assert "stands at 'call', which workflow 'campaign' no longer has" in str(paused.reason)
    async with Runtime(database, clock=clock, workflows=[timed]) as runtime:
        await settle()
        assert (await runtime.runs.snapshot("r-17")).result == 1


async def test_a_wait_that_ran_out_needs_no_default_where_nobody_asks_for_it(clock: ManualClock, database: str) -> None:
    def waiting(**late: Any) -> Any:
        return chain("campaign").wait_for_event(CALLED, **late).then(log).sleep("1h", id="nap").commit()

    await nap(database, clock, waiting(timeout="1m", default=-1))
    clock.turn("1h")

    assert (await go_on(database, clock, waiting())).unwrap() == -1


async def test_a_foreach_that_was_put_right_before_a_sleep_has_given_nothing(clock: ManualClock, database: str) -> None:
    def listing(*inserted: Any) -> Any:
        builder = chain("campaign", gives=Any).map(lambda number: [number])
        for each in inserted:
            builder = builder.foreach(each)
        return builder.sleep("1h", id="nap").commit()

    await nap(database, clock, listing())
    clock.turn("1h")

    result = await go_on(database, clock, listing(log))

    assert isinstance(result, Paused)
    assert result.reason == (
        "run 'r-17' needs the output of 'log', which workflow 'campaign' has put before what it had begun; "
        "deploy the old code, or fork at an earlier step"
    )
    async with Runtime(database, clock=clock, workflows=[listing()]) as runtime:
        await settle()
        assert (await runtime.runs.snapshot("r-17")).result == [1]


async def test_a_foreach_over_nothing_that_stands_before_a_sleep_gives_nothing(
    clock: ManualClock, database: str
) -> None:
    empty = chain("campaign", gives=Any).map(lambda number: []).foreach(log).sleep("1h", id="nap").commit()
    await nap(database, clock, empty)
    clock.turn("1h")

    assert (await go_on(database, clock, empty)).unwrap() == []


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


async def park_greeting(database: str, clock: ManualClock) -> Any:
    """A run r-17 that has recorded a Person, and waits for the second try of greet.  Gives its workflow."""
    flow = greeting(Person)
    async with Runtime(database, clock=clock):
        assert isinstance(await (await flow.create_run(run_id="r-17")).start(1), Waiting)
    clock.turn("1h")
    return flow


async def test_a_run_whose_values_the_code_can_no_longer_read_is_paused_and_goes_on_when_it_can(
    database: str, clock: ManualClock
) -> None:
    old, new = await park_greeting(database, clock), greeting(Adult)

    async with Runtime(database, clock=clock, workflows=[new]):
        paused = await (await new.get_run("r-17")).result()
        begun = (await types(await new.get_run("r-17"))).count("step_started")
    async with Runtime(database, clock=clock, workflows=[old]):
        await settle()
        result = await (await old.get_run("r-17")).result()

    assert isinstance(paused, Paused)
    assert paused.by == "engine"
    assert "age: field required; deploy the old code, or give what is new a default" in (paused.reason or "")
    assert begun == 2  # the try that could not be given its input has not begun
    assert result.unwrap() == 3


class Note(BaseModel):
    """Which the code can read, or cannot, as today's code has it."""

    readable: ClassVar[bool] = True
    text: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not Note.readable:
            raise ValueError("is of yesterday")
        return self


@pytest.mark.parametrize("at_most_once", [False, True])
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_what_a_step_gave_right_before_the_misfit_shows_is_recorded(
    database: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, elsewhere: bool, at_most_once: bool
) -> None:
    """The body has run: wherever the run goes on, it goes on behind it."""
    calls: list[int] = []

    @step
    async def write(data: int) -> Note:
        return Note(text="hello")

    @step
    async def measure(data: Note) -> int:
        return 41

    @step(at_most_once=at_most_once)
    async def send(data: int) -> int:
        calls.append(data)
        return data

    flow = (
        chain().then(write).then(measure).sleep("1h").then(send)
        .map_ctx(lambda number, ctx: number + len(ctx.get_step_result(write).text)).commit()
    )  # fmt: skip

    async with Runtime(database, clock=clock, workflows=[flow]):
        run = await flow.create_run(run_id="r-17")
        assert isinstance(await run.start(1, wait="0s"), Waiting)
        monkeypatch.setattr(Note, "readable", False)
        clock.turn("1h")
        assert isinstance(await run.result(), Paused)
        assert (await statuses(run))["send"] == "completed"
        monkeypatch.setattr(Note, "readable", True)
        if not elsewhere:
            await run.unpause()
            assert (await run.result()).unwrap() == 46
    async with Runtime(database, clock=clock, workflows=[flow]):
        await settle()
        run = await flow.get_run("r-17")
        assert (await run.result()).unwrap() == 46
        assert (await types(run)).count("step_completed") == 3
    assert calls == [41]


class Citizen(BaseModel):
    full_name: str
    age: int

    @property
    def name(self) -> str:
        return self.full_name

    @model_validator(mode="before")
    @classmethod
    def _from_a_person(cls, recorded: Any) -> Any:
        return {"full_name": recorded["name"], "age": 0} if "name" in recorded else recorded


async def test_a_model_that_knows_its_older_form_reads_what_was_recorded_in_it(
    database: str, clock: ManualClock
) -> None:
    await park_greeting(database, clock)
    new = greeting(Citizen)

    async with Runtime(database, clock=clock, workflows=[new]) as runtime:
        assert [one.verdict for one in await check_runs(runtime)] == ["fits"]
        run = await new.get_run("r-17")
        assert (await run.result()).unwrap() == 3
    assert run.get_step_result(new.graph.steps["find"]) == Citizen(full_name="Ada", age=0)


async def test_a_function_that_was_renamed_goes_on_under_the_id_that_it_had(clock: ManualClock, database: str) -> None:
    @step(id="charge")
    async def take_payment(data: int) -> int:
        return data * 3

    await park(database, clock, fetch, charge)
    assert (await go_on(database, clock, campaign(fetch, take_payment))).unwrap() == 6


# --- blocks, waits, nested workflows ---------------------------------------------------------------


def stands_at(key: str) -> str:
    return (
        f"run 'r-17' stands at {key!r}, which workflow 'flow' no longer has; "
        "deploy the old code, or fork at an earlier step"
    )


def shapes(desk: Desk) -> dict[str, tuple[Any, Any, str]]:
    """By name: code in which 'ask' is parked, code that no longer fits, and the key it misses."""
    ask, other, quick = desk.asking("ask"), desk.asking("other"), desk.quick("quick")
    inner = chain("inner").then(ask)
    yes = lambda data: True  # noqa: E731
    return {
        "a step": (chain().then(ask), chain().then(other), "ask"),
        "an arm": (
            chain().branch().when(yes, ask).otherwise(quick),
            chain().branch().when(yes, other).otherwise(quick),
            "ask",
        ),
        "a member": (
            chain(gives=Any).parallel(ask, quick),
            chain(gives=Any).parallel(other, quick),
            "ask",
        ),
        "an item": (
            chain(gives=Any).map(lambda data: [data]).foreach(ask),
            chain(gives=Any).map(lambda data: [data]).foreach(other),
            "ask[0]",
        ),
        "an iteration": (chain().do_until(ask, yes), chain().do_until(other, yes), "ask#1"),
        "a nested step": (
            chain().then(inner.commit()),
            chain().then(chain("inner").then(other).commit()),
            "inner/ask",
        ),
        "a nested workflow": (chain().then(inner.commit()), chain().then(quick), "inner"),
        "a step that is a loop now": (chain().then(ask), chain().do_until(ask, yes), "ask"),
        "a loop that is a step now": (chain().do_until(ask, yes), chain().then(ask), "ask#1"),
        "a sleep": (
            chain().then(quick).sleep("0s", id="nap").then(ask),
            chain().then(quick).then(ask),
            "nap",
        ),
        "a wait": (
            chain().wait_for_event(CALLED, timeout="0s", default=1, id="call").then(ask),
            chain().then(ask),
            "call",
        ),
    }


@pytest.mark.parametrize("shape", list(shapes(Desk())))
async def test_what_a_run_stands_at_and_is_gone_pauses_it_until_it_is_back(
    clock: ManualClock, database: str, shape: str
) -> None:
    desk = Desk()
    fits, misfits, key = shapes(desk)[shape]
    old, new = fits.commit(), misfits.commit()
    async with Runtime(database, clock=clock):
        await (await old.create_run(run_id="r-17")).start(1)
    calls = list(desk.calls)
    async with Runtime(database, clock=clock, workflows=[new]):
        run = await new.get_run("r-17")
        await run.pause()  # so that somebody takes it up
        await run.unpause()
        await settle()
        paused = await run.result()
    assert isinstance(paused, Paused)
    assert (paused.by, paused.reason) == ("engine", stands_at(key))
    assert desk.calls == calls

    async with Runtime(database, clock=clock, workflows=[old]):
        run = await old.get_run("r-17")
        await settle()
        assert open_keys(await run.result()) == [asked(fits, key)]
        result = await run.resume(desk.asking("ask"), 10)
        assert result.status == "completed"


def asked(fits: Any, key: str) -> str:
    """The key of the step that asks."""
    return {"inner": "inner/ask", "nap": "ask", "call": "ask"}.get(key, key)


async def test_an_answer_for_a_step_that_is_gone_is_refused(clock: ManualClock, database: str) -> None:
    desk = Desk()
    ask = desk.asking("ask")
    old, new = chain().then(ask).commit(), chain().then(desk.quick("quick")).commit()
    async with Runtime(database, clock=clock):
        await (await old.create_run(run_id="r-17")).start(1)
    async with Runtime(database, clock=clock):
        with pytest.raises(DefinitionChangedError) as gone:
            await (await new.get_run("r-17")).resume(ask, 10)
        assert str(gone.value) == stands_at("ask")
    async with Runtime(database, clock=clock):
        assert (await (await old.get_run("r-17")).resume(ask, 10)).unwrap() == 11


async def test_steps_that_were_inserted_before_a_block_are_not_run_and_those_behind_it_are(
    clock: ManualClock, database: str
) -> None:
    desk = Desk()
    ask, first, b = desk.asking("ask"), desk.quick("first"), desk.quick("b")
    old = chain(gives=Any).then(first).parallel(ask, b).map(list).commit()
    begun = chain(gives=Any).then(first).then(desk.quick("inserted", 100))
    new = begun.parallel(b, ask).map(list).then(summing(desk)).commit()
    async with Runtime(database, clock=clock):
        await (await old.create_run(run_id="r-17")).start(1)
    async with Runtime(database, clock=clock, workflows=[new]):
        result = await (await new.get_run("r-17")).resume(ask, 10)

    assert result.unwrap() == 15
    assert desk.calls == ["first", "ask", "b", "ask", "sum"]


async def test_a_member_that_was_added_to_an_open_block_runs(clock: ManualClock, database: str) -> None:
    desk = Desk()
    ask, first, b = desk.asking("ask"), desk.quick("first"), desk.quick("b")
    old = chain(gives=Any).then(first).parallel(ask, b).map(list).commit()
    new = chain(gives=Any).then(first).parallel(desk.quick("added"), ask, b).map(list).then(summing(desk)).commit()
    async with Runtime(database, clock=clock):
        await (await old.create_run(run_id="r-17")).start(1)
    async with Runtime(database, clock=clock, workflows=[new]):
        result = await (await new.get_run("r-17")).resume(ask, 10)

    assert result.unwrap() == 18
    assert sorted(desk.calls) == ["added", "ask", "ask", "b", "first", "sum"]


def summing(desk: Desk) -> Any:
    @step(id="sum")
    async def body(data: list[int]) -> int:
        desk.calls.append("sum")
        return sum(data)

    return body


async def test_a_body_that_runs_beside_a_misfit_is_not_lost(clock: ManualClock, database: str) -> None:
    """One member can no longer read what it was asked with; the other finishes, and is not run again."""
    desk = Desk()

    def code(takes: Any) -> Any:
        async def late(data: Any, ctx: StepContext) -> int:
            desk.calls.append("late")
            if ctx.attempt == 1:
                raise OSError("not yet")
            return 1

        reading: Any = create_step(id="late", input_schema=takes, output_schema=int, execute=late, retry=HOUR)
        mapped = chain("inner").map(lambda data: Person(name="Ada") if takes is Person else Adult(name="Ada", age=3))
        return chain(gives=Any).parallel(mapped.then(reading).commit(), desk.slow("slow")).map(list).commit()

    old, new = code(Person), code(Adult)
    async with Runtime(database, clock=clock, workflows=[old]):
        await (await old.create_run(run_id="r-17")).enqueue(1)
        await settle()
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[new]):
        run = await new.get_run("r-17")
        await settle()
        desk.let("slow")
        assert isinstance(await run.result(), Paused)
        assert (await run.snapshot()).step_results["slow"].status == "completed"
    async with Runtime(database, clock=clock, workflows=[old]):
        await settle()
        assert (await (await old.get_run("r-17")).result()).unwrap() == [1, 2]
    assert desk.counts == {"slow": 2, "late": 2}


# --- several processes, of which some have the new code ----------------------------------------------


def sleeping(*steps: Any) -> Any:
    chain: Any = create_workflow(id="campaign", input_schema=int, output_schema=int)
    for each in steps:
        chain = chain.then(each)
    return chain.sleep("1h", id="nap").then(log).commit()


async def sleep_in(database: str, clock: ManualClock, workflow: Any, *run_ids: str) -> None:
    async with Runtime(database, clock=clock, workflows=[workflow]):
        for run_id in run_ids or ("r-17",):
            assert isinstance(await (await workflow.create_run(run_id=run_id)).start(1, wait="0s"), Waiting)


async def test_code_that_fits_takes_the_run_up_beside_code_that_does_not(clock: ManualClock, database: str) -> None:
    fits, misfits = sleeping(fetch), sleeping(fetch.with_id("renamed"))
    await sleep_in(database, clock, fits)
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[misfits]):
        run = await misfits.get_run("r-17")
        assert isinstance(await run.result(), Paused)
        async with Runtime(database, clock=clock, workflows=[fits]):
            await settle()
            assert (await types(run))[-7:] == [
                "run_paused", "run_resumed", "wait_completed",
                "step_created", "step_started", "step_completed", "run_completed",
            ]  # fmt: skip


async def test_who_unpauses_a_run_goes_on_with_it_if_the_code_there_fits(clock: ManualClock, database: str) -> None:
    fits, misfits = sleeping(fetch), sleeping(fetch.with_id("renamed"))
    await sleep_in(database, clock, fits)
    clock.turn("1h")
    async with (
        Runtime(database, clock=clock, workflows=[misfits]),
        Runtime(database, clock=clock, worker=False),
    ):
        run = await fits.get_run("r-17")
        await settle()
        assert isinstance(await run.result(), Paused)
        await run.unpause()
        assert (await run.result()).unwrap() == 2


async def test_a_run_that_others_pause_later_goes_on_where_the_code_fits(clock: ManualClock, database: str) -> None:
    fits, misfits = sleeping(fetch), sleeping(fetch.with_id("renamed"))
    await sleep_in(database, clock, fits)
    async with (
        Runtime(database, clock=clock, workflows=[fits]),
        Runtime(database, clock=clock, workflows=[misfits]),
    ):
        run = await misfits.get_run("r-17")
        await run.wake()
        assert isinstance(await run.result(), Paused)
        await settle()
        clock.turn("5s")
        await settle()
        assert (await run.snapshot()).result == 2


async def test_code_that_only_seems_to_fit_pauses_a_run_once_in_each_process(clock: ManualClock, database: str) -> None:
    """That nobody can read the event which came shows only when the run goes on."""
    waiting = chain("campaign").wait_for_event(CALLED).then(log).commit()
    async with Runtime(database, clock=clock):
        await (await waiting.create_run(run_id="r-17")).start(1, wait="0s")
    async with Runtime(database, clock=clock, worker=False) as runtime:
        unreadable = e.SignalReceived(signal_type="called", payload_data=b'"many"')
        await runtime.world.storage.events.create("r-17", unreadable)
    async with (
        Runtime(database, clock=clock, workflows=[waiting]),
        Runtime(database, clock=clock, workflows=[waiting]),
    ):
        run = await waiting.get_run("r-17")
        for _ in range(10):
            await settle()
            clock.turn("5s")
        assert (await types(run))[-3:] == ["run_paused", "run_resumed", "run_paused"]
        assert (await types(run)).count("run_paused") == 2


async def test_a_run_that_was_paused_here_for_what_is_over_goes_on_here_again(
    clock: ManualClock, database: str
) -> None:
    """Also when others, whose code does not fit, pause it later."""
    broken = [True]

    def napping(*, then: str) -> Any:
        @workflow(id="campaign")
        async def campaign(step: StepTools, number: int) -> int:
            await step.sleep("nap", "1h")
            if broken:
                await asyncio.get_running_loop().run_in_executor(None, int)
            await step.sleep(then, "1h")
            return number

        return campaign

    fits, misfits = napping(then="again"), napping(then="otherwise")
    async with Runtime(database, clock=clock, workflows=[fits]):
        run = await fits.create_run(run_id="r-17")
        await run.start(1, wait="0s")
        clock.turn("1h")
        await settle()
        assert isinstance(await run.result(), Paused)
        broken.clear()
        await run.unpause()
        await settle()
        async with Runtime(database, clock=clock, workflows=[misfits]):
            same = await misfits.get_run("r-17")
            await same.wake()
            assert isinstance(await same.result(), Paused)
        for _ in range(3):
            await settle()
            clock.turn("5s")
        await settle()
        assert (await run.snapshot()).result == 1


async def test_paused_runs_go_on_as_there_is_room_for_them(clock: ManualClock, database: str) -> None:
    desk = Desk()

    def ending(*steps: Any) -> Any:
        return chain("campaign").then(*steps).sleep("1h", id="nap").then(desk.slow("slow")).commit()

    fits, ids = ending(fetch), [f"r-{number}" for number in range(3)]
    await sleep_in(database, clock, fits, *ids)
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[ending(log)]) as runtime:
        await settle()
        assert len((await runtime.runs.list(waiting_for="paused")).data) == 3
    async with Runtime(database, clock=clock, workflows=[fits], concurrency=2) as runtime:
        await settle()
        assert desk.calls == ["slow", "slow"]
        desk.let("slow")
        await settle()
        for run_id in ids:
            assert (await (await fits.get_run(run_id)).result()).unwrap() == 3


@pytest.mark.parametrize("how", ["result", "start by key", "send_event"])
async def test_who_asks_at_once_where_the_code_was_mended_is_not_told_of_the_pause(
    clock: ManualClock, database: str, how: str
) -> None:
    """No worker has looked at the run by then; what it was paused for is over."""
    called: Any = create_workflow(id="campaign", input_schema=int, output_schema=int)
    good = called.then(fetch).wait_for_event(CALLED).then(log).commit()
    bad = called.then(log).wait_for_event(CALLED).then(fetch).commit()
    async with Runtime(database, clock=clock, workflows=[good]):
        await (await good.create_run(run_id="r-17", idempotency_key="k")).start(1)
    async with Runtime(database, clock=clock, workflows=[bad]):
        assert isinstance(await (await bad.get_run("r-17")).send_event(CALLED, 5), Paused)

    async with Runtime(database, clock=clock, workflows=[good]):
        run = await good.create_run(idempotency_key="k")
        match how:
            case "result":
                result = await run.result()
            case "send_event":
                result = await run.send_event(CALLED, 6)
            case _:
                result = await run.start(1)

    assert isinstance(result, Completed)
    assert result.output == 5


async def test_of_a_step_that_is_over_it_is_not_said_that_the_run_stands_there(
    clock: ManualClock, database: str
) -> None:
    await park(database, clock, fetch, charge)
    result = await go_on(database, clock, campaign(log, charge))

    assert isinstance(result, Paused)
    assert result.reason == (
        "run 'r-17' went past 'fetch', which workflow 'campaign' no longer has; "
        "give it back the id it had, deploy the old code, or fork at an earlier step"
    )


async def test_who_asks_where_the_mended_code_meets_a_full_log_is_told_how_the_run_ended(
    clock: ManualClock, database: str
) -> None:
    await park(database, clock, fetch, charge)
    assert isinstance(await go_on(database, clock, campaign(fetch, log)), Paused)

    good = campaign(fetch, charge)
    async with Runtime(database, clock=clock, workflows=[good], limits=Limits(events=8)):
        result = await (await good.get_run("r-17")).result()

    assert isinstance(result, Failed)
    assert result.error.type == "LimitError"
