"""check_runs: which runs in flight the code of today would break, told without touching one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from tests.clocks import ManualClock, settle
from wrkflw import (
    Completed,
    Event,
    Paused,
    Retry,
    RunCheck,
    Runtime,
    StepContext,
    StepTools,
    check_runs,
    create_step,
    create_workflow,
    step,
    workflow,
)
from wrkflw import deploys as module

HOUR = Retry(attempts=2, delay="1h", max_delay="1h", jitter=0)
made: list[str] = []


def passing(id: str) -> Any:
    async def body(data: int) -> int:
        made.append(id)
        return data

    return create_step(id=id, execute=body)


def stumbling(id: str) -> Any:
    async def body(data: int, ctx: StepContext) -> int:
        if ctx.attempt == 1:
            raise OSError("not yet")
        return data

    return create_step(id=id, execute=body, retry=HOUR)


fetch, log, charge = passing("fetch"), passing("log"), stumbling("charge")


def chain(*steps: Any, id: str = "campaign") -> Any:
    builder: Any = create_workflow(id=id, input_schema=int, output_schema=int)
    for each in steps:
        builder = builder.then(each)
    return builder.commit()


async def park(database: str, clock: ManualClock, *workflows: Any, runs: int = 1) -> None:
    """Runs ``<workflow>-<number>`` that wait for the second try of charge."""
    async with Runtime(database, clock=clock):
        for each in workflows:
            for number in range(runs):
                await (await each.create_run(run_id=f"{each.id}-{number}")).start(1)
    made.clear()


async def test_runs_that_fit_and_runs_that_break(database: str, clock: ManualClock) -> None:
    await park(database, clock, chain(fetch, charge), chain(log, charge, id="other"))
    async with Runtime(database, clock=clock, workflows=[chain(fetch, log), chain(log, charge, id="other")]) as runtime:
        checks = await check_runs(runtime)

    reason = (
        "run 'campaign-0' stands at 'charge', which workflow 'campaign' no longer has; "
        "deploy the old code, or fork at an earlier step"
    )
    assert checks == [
        RunCheck("other-0", "other", "fits"),
        RunCheck("campaign-0", "campaign", "breaks", "charge", reason),
    ]
    assert [check.fits for check in checks] == [True, False]


async def test_it_says_what_the_engine_would_pause_the_run_for(database: str, clock: ManualClock) -> None:
    await park(database, clock, chain(fetch, charge))
    changed = chain(charge, fetch)
    async with Runtime(database, clock=clock, worker=False) as runtime:
        [check] = await check_runs(runtime, [changed])
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[changed]):
        paused = await (await changed.get_run("campaign-0")).result()

    assert paused.reason == check.reason


async def test_it_writes_nothing_and_runs_nothing(database: str, clock: ManualClock) -> None:
    await park(database, clock, chain(fetch, charge))
    async with Runtime(database, clock=clock, worker=False) as runtime:
        before = await runtime.world.storage.runs.get("campaign-0")
        await check_runs(runtime, [chain(fetch, log)])
        await check_runs(runtime)
        after = await runtime.world.storage.runs.get("campaign-0")

    assert after == before
    assert made == []


async def test_definitions_that_are_given_need_not_be_known(database: str, clock: ManualClock) -> None:
    old, new = chain(fetch, charge), chain(fetch, log)
    await park(database, clock, old)
    async with Runtime(database, clock=clock, workflows=[old], worker=False) as runtime:
        assert [check.verdict for check in await check_runs(runtime)] == ["fits"]
        assert [check.verdict for check in await check_runs(runtime, [new])] == ["breaks"]
        assert [check.verdict for check in await check_runs(runtime, [old])] == ["fits"]
        assert await check_runs(runtime, [chain(fetch, id="another")]) == []


async def test_runs_of_workflows_that_nobody_knows_here_are_told(database: str, clock: ManualClock) -> None:
    await park(database, clock, chain(fetch, charge))
    async with Runtime(database, clock=clock) as runtime:
        checks = await check_runs(runtime)

    reason = "no workflow 'campaign' is known here; list it in workflows="
    assert checks == [RunCheck("campaign-0", "campaign", "unknown", "", reason)]
    assert not checks[0].fits


async def test_runs_that_have_ended_are_not_looked_at(database: str, clock: ManualClock) -> None:
    await park(database, clock, chain(fetch, log))
    async with Runtime(database, clock=clock, workflows=[chain(charge)]) as runtime:
        assert await check_runs(runtime) == []


async def test_all_pages_are_read(database: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    await park(database, clock, chain(fetch, charge), runs=7)
    monkeypatch.setattr(module, "_PAGE", 3)
    async with Runtime(database, clock=clock, worker=False) as runtime:
        checks = await check_runs(runtime, [chain(fetch, charge)])

    assert sorted(check.run_id for check in checks) == [f"campaign-{number}" for number in range(7)]


async def test_a_step_inside_a_nested_workflow_is_named_by_its_key(database: str, clock: ManualClock) -> None:
    await park(database, clock, chain(fetch, chain(charge, id="inner")))
    async with Runtime(database, clock=clock, worker=False) as runtime:
        [check] = await check_runs(runtime, [chain(fetch, chain(log, id="inner"))])

    assert (check.verdict, check.key) == ("breaks", "inner/charge")


def napping(*parts: Callable[[Any], Any]) -> Any:
    """These parts, and a sleep of an hour."""
    flow: Any = create_workflow(id="campaign", input_schema=int, output_schema=int)
    for part in parts:
        flow = part(flow)
    return flow.sleep("1h", id="nap").commit()


CALLED = Event("called", int)
PARTS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "step": ("log", lambda flow: flow.then(log)),
    "map": ("log", lambda flow: flow.then(log).map(lambda data: data)),
    "sleep": ("log", lambda flow: flow.then(log).sleep("0s")),
    "workflow": ("inner", lambda flow: flow.then(chain(log, id="inner"))),
    "loop": ("log", lambda flow: flow.do_until(log, lambda data: data > 0)),
    "parallel": ("log", lambda flow: flow.parallel(log, fetch).map(lambda both: both[0])),
    "branch": ("fetch", lambda flow: flow.branch().when(lambda data: False, fetch).otherwise(log)),
    "event": ("log", lambda flow: flow.wait_for_event(CALLED, timeout="0s", default=1, id="log")),
    "join": ("log", lambda flow: flow.join_event(CALLED, max, timeout="0s", default=1, id="log")),
}


@pytest.mark.parametrize(("key", "part"), PARTS.values(), ids=PARTS.keys())
async def test_what_was_put_right_before_a_sleep_breaks_the_runs_that_stand_there(
    database: str, clock: ManualClock, key: str, part: Callable[[Any], Any]
) -> None:
    async with Runtime(database, clock=clock):
        await (await napping().create_run(run_id="campaign-0")).start(1, wait="0s")
    changed = napping(part)
    async with Runtime(database, clock=clock, worker=False) as runtime:
        [check] = await check_runs(runtime, [changed])
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[changed]):
        paused = await (await changed.get_run("campaign-0")).result()

    reason = (
        f"run 'campaign-0' needs the output of {key!r}, which workflow 'campaign' has put before what it had begun; "
        "deploy the old code, or fork at an earlier step"
    )
    assert check == RunCheck("campaign-0", "campaign", "breaks", key, reason)
    assert paused.reason == reason


@pytest.mark.parametrize("part", [part for _, part in PARTS.values()], ids=PARTS.keys())
async def test_a_run_that_went_past_what_stands_before_its_sleep_fits(
    database: str, clock: ManualClock, part: Callable[[Any], Any]
) -> None:
    unchanged = napping(part)
    async with Runtime(database, clock=clock):
        await (await unchanged.create_run(run_id="campaign-0")).start(1, wait="0s")
        await settle()
    async with Runtime(database, clock=clock, worker=False) as runtime:
        checks = await check_runs(runtime, [unchanged])
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[unchanged]):
        result = await (await unchanged.get_run("campaign-0")).result()

    assert [check.verdict for check in checks] == ["fits"]
    assert result.unwrap() == 1


async def test_what_was_put_before_a_sleep_inside_a_nested_workflow_breaks_a_run(
    database: str, clock: ManualClock
) -> None:
    def around(*steps: Any) -> Any:
        inner: Any = create_workflow(id="inner", input_schema=int, output_schema=int)
        for each in steps:
            inner = inner.then(each)
        return chain(fetch, inner.sleep("1h", id="nap").commit())

    async with Runtime(database, clock=clock):
        await (await around().create_run(run_id="campaign-0")).start(1, wait="0s")
    async with Runtime(database, clock=clock, worker=False) as runtime:
        [check] = await check_runs(runtime, [around(log)])
        [unchanged] = await check_runs(runtime, [around()])

    assert (check.verdict, check.key) == ("breaks", "inner/log")
    assert unchanged.fits


BLOCKS: dict[str, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "parallel": (
        "fits",
        lambda flow: flow.parallel_all([charge, fetch]).map(sum),
        lambda flow: flow.then(log).parallel_all([charge, fetch]).map(sum),
    ),
    "parallel with a new member": (
        "breaks",
        lambda flow: flow.parallel_all([charge, fetch]).map(sum),
        lambda flow: flow.then(log).parallel_all([charge, fetch, passing("new")]).map(sum),
    ),
    "foreach": (
        "breaks",
        lambda flow: flow.map(lambda data: [data]).foreach(charge).map(sum),
        lambda flow: flow.then(log).map(lambda data: [data]).foreach(charge).map(sum),
    ),
    "loop": (
        "fits",
        lambda flow: flow.do_until(charge, lambda data: True),
        lambda flow: flow.then(log).do_until(charge, lambda data: True),
    ),
}


@pytest.mark.parametrize(("verdict", "block", "changed"), BLOCKS.values(), ids=BLOCKS.keys())
async def test_what_was_put_before_a_block_breaks_the_runs_in_it_if_the_block_goes_on_to_ask_for_it(
    database: str, clock: ManualClock, verdict: str, block: Callable[[Any], Any], changed: Callable[[Any], Any]
) -> None:
    flow: Any = create_workflow(id="campaign", input_schema=int, output_schema=int)
    await park(database, clock, block(flow).commit())
    after = changed(flow).commit()
    async with Runtime(database, clock=clock, worker=False) as runtime:
        [check] = await check_runs(runtime, [after])
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[after]):
        result = await (await after.get_run("campaign-0")).result()

    assert (check.verdict, check.key) == (verdict, None if check.fits else "log")
    assert isinstance(result, Completed if check.fits else Paused)
    assert (result.reason if isinstance(result, Paused) else None) == check.reason


@step
async def ring() -> int:
    return 7


INDIFFERENT: dict[str, Callable[[Any], Any]] = {
    "a step that takes nothing": lambda flow: flow.sleep("1h", id="nap").then(ring),
    "an event": lambda flow: flow.sleep("1h", id="nap").wait_for_event(CALLED, timeout="0s", default=7),
    "members that take nothing": lambda flow: flow.sleep("1h", id="nap").parallel_all([ring]).map(lambda rung: rung[0]),
}


@pytest.mark.parametrize("end", INDIFFERENT.values(), ids=INDIFFERENT.keys())
async def test_what_was_put_before_a_sleep_breaks_no_run_where_nobody_asks_what_it_gives(
    database: str, clock: ManualClock, end: Callable[[Any], Any]
) -> None:
    flow: Any = create_workflow(id="campaign", input_schema=int, output_schema=int)
    old, changed = end(flow).commit(), end(flow.then(log)).commit()
    async with Runtime(database, clock=clock):
        await (await old.create_run(run_id="campaign-0")).start(1, wait="0s")
    async with Runtime(database, clock=clock, worker=False) as runtime:
        [check] = await check_runs(runtime, [changed])
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[changed]):
        result = await (await changed.get_run("campaign-0")).result()
        await settle()
        result = await (await changed.get_run("campaign-0")).result()

    assert check.fits
    assert result.unwrap() == 7


class Small(BaseModel):
    n: int


class Large(BaseModel):
    n: int
    unit: str


def measuring(form: type[BaseModel]) -> Any:
    async def measure(data: int) -> Any:
        return form.model_validate({"n": data, "unit": "m"})

    async def tell(data: Any, ctx: StepContext) -> int:
        raise OSError("not yet")

    measured: Any = create_step(id="measure", input_schema=int, output_schema=form, execute=measure)
    told: Any = create_step(id="tell", input_schema=form, output_schema=int, execute=tell, retry=HOUR)
    return chain(measured, told)


async def test_a_value_that_can_no_longer_be_read_breaks_a_run(database: str, clock: ManualClock) -> None:
    await park(database, clock, measuring(Small))
    async with Runtime(database, clock=clock, worker=False) as runtime:
        [check] = await check_runs(runtime, [measuring(Large)])
        [same] = await check_runs(runtime, [measuring(Small)])

    assert (check.verdict, check.key) == ("breaks", "measure")
    assert "output of step 'measure' does not fit Large: unit: field required" in (check.reason or "")
    assert same.fits


async def test_an_input_that_can_no_longer_be_read_breaks_a_run(database: str, clock: ManualClock) -> None:
    await park(database, clock, chain(fetch, charge))
    changed: Any = create_workflow(id="campaign", input_schema=Small, output_schema=int)
    async with Runtime(database, clock=clock, worker=False) as runtime:
        [check] = await check_runs(runtime, [changed.map(lambda data: data.n).then(fetch).then(charge).commit()])

    assert (check.verdict, check.key) == ("breaks", "")
    assert "its input does not fit Small" in (check.reason or "")


@workflow(id="written")
async def written(step: StepTools, data: int) -> int:
    await step.sleep("nap", "1h")
    return data


@workflow(id="written")
async def rewritten(step: StepTools, data: Small) -> int:
    return data.n


@workflow(id="written")
async def written_otherwise(step: StepTools, data: int) -> int:
    await step.sleep("rest", "1h")
    return data


async def test_of_a_program_it_tells_what_its_code_would_ask_for(database: str, clock: ManualClock) -> None:
    async with Runtime(database, clock=clock):
        await (await written.create_run()).start(1, wait="0s")
    async with Runtime(database, clock=clock, worker=False) as runtime:
        verdicts = [(await check_runs(runtime, [one]))[0].verdict for one in (written, rewritten, written_otherwise)]

    assert verdicts == ["fits", "breaks", "breaks"]


@workflow
async def busy(step: StepTools, data: int) -> int:
    return await step.run(fetch, await step.run(waits_for_the_gate, await step.run(charge, data)))


gate: list[asyncio.Event] = []


@step
async def waits_for_the_gate(data: int) -> int:
    made.append("gate")
    await gate[0].wait()
    return data


async def pending(runtime: Runtime, clock: ManualClock) -> None:
    await (await busy.create_run(run_id="r-1")).enqueue(1, delay="1h")


async def retrying(runtime: Runtime, clock: ManualClock) -> None:
    await (await busy.create_run(run_id="r-1")).start(1, wait="0s")


async def running(runtime: Runtime, clock: ManualClock) -> None:
    """Its body is at work, here."""
    await retrying(runtime, clock)
    clock.turn("1h")
    await settle()


async def paused(runtime: Runtime, clock: ManualClock) -> None:
    await retrying(runtime, clock)
    await runtime.runs.pause("r-1")
    clock.turn("1h")


@pytest.mark.parametrize("stand", [pending, retrying, running, paused], ids=lambda stand: stand.__name__)
async def test_of_a_program_it_does_nothing_however_its_run_stands(
    stand: Callable[[Runtime, ManualClock], Awaitable[None]], database: str, clock: ManualClock
) -> None:
    """A step that comes next is not begun, and one that is at work is not begun again."""
    gate[:] = [asyncio.Event()]
    made.clear()
    async with Runtime(database, clock=clock, workflows=[busy]) as runtime:
        await stand(runtime, clock)
        begun, log = [*made], await runtime.runs.log("r-1")
        async with Runtime(database, clock=clock, worker=False) as beside:
            checks = await check_runs(beside, [busy])
        checks += await check_runs(runtime)
        await settle()

        assert [check.verdict for check in checks] == ["fits", "fits"]
        assert (await runtime.runs.log("r-1"), made) == (log, begun)
        gate[0].set()


async def test_the_runtime_must_be_open(database: str) -> None:
    with pytest.raises(RuntimeError, match="the runtime is not open; use it with 'async with Runtime"):
        await check_runs(Runtime(database))


async def test_the_steps_of_a_workflow_that_is_repeated_are_read_by_their_own_types(
    database: str, clock: ManualClock
) -> None:
    """Only what is repeated itself is given its own output; what stands in it is not, whatever its key holds."""

    async def spelled(data: int) -> str:
        return "x" * data

    @step(retry=HOUR)
    async def counted(data: str, ctx: StepContext) -> int:
        if ctx.attempt == 1:
            raise OSError("not yet")
        return len(data)

    spell = create_step(id="spell", execute=spelled)
    once = create_workflow(id="once", input_schema=int, output_schema=int).then(spell).then(counted).commit()
    builder = create_workflow(id="again", input_schema=int, output_schema=int)
    again = builder.do_until(once, lambda data: data > 0).commit()
    await park(database, clock, again)
    async with Runtime(database, clock=clock, workflows=[again]) as runtime:
        (check,) = await check_runs(runtime)
        fork = (await again.get_run("again-0")).fork(counted)

        assert check.fits
        assert (await fork.enqueue()).run_id != "again-0"
