"""Branch and match: one of several, chosen once."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from tests.clocks import ManualClock, settle
from wrkflw import Failed, Runtime, StepContext, StepNotRunError, Suspended, create_workflow, step

from .desk import Desk, chain, open_keys, statuses
from .lost import kill


@pytest.fixture
def desk() -> Desk:
    return Desk()


class Animal(BaseModel):
    name: str


class Dog(Animal):
    barks: bool = True


class Bird(Animal):
    flies: bool = True


class Asked:
    """A condition that tells what it was asked."""

    def __init__(self, verdict: Any) -> None:
        self.verdict = verdict
        self.by: list[object] = []

    def __call__(self, data: int) -> Any:
        self.by.append(data)
        return self.verdict


# --- branch ----------------------------------------------------------------------------------------


async def test_the_first_condition_that_holds_wins_and_later_ones_are_not_asked(runtime: Runtime, desk: Desk) -> None:
    no, yes, late = Asked(False), Asked(True), Asked(True)
    begun = chain().branch().when(no, desk.quick("a")).when(yes, desk.quick("b", 10)).when(late, desk.quick("c"))
    run = await begun.otherwise(desk.quick("d")).commit().create_run()

    assert (await run.start(1)).unwrap() == 11
    assert (no.by, yes.by, late.by) == ([1], [1], [])
    assert desk.calls == ["b"]


async def test_otherwise_is_taken_where_no_condition_holds(runtime: Runtime, desk: Desk) -> None:
    flow = chain().branch().when(Asked(False), desk.quick("a")).otherwise(desk.quick("b", 10)).commit()

    assert await flow.run(1) == 11


async def test_otherwise_pass_hands_on_what_flowed_in(runtime: Runtime, desk: Desk) -> None:
    flow = chain().branch().when(Asked(False), desk.quick("a")).otherwise_pass().then(desk.quick("b")).commit()

    assert await flow.run(1) == 2
    assert desk.calls == ["b"]


async def test_a_condition_has_a_copy(runtime: Runtime) -> None:
    @step
    async def count(data: list[int]) -> int:
        return len(data)

    def greedy(data: list[int]) -> bool:
        data.clear()
        return True

    flow = create_workflow(id="flow", input_schema=list[int], output_schema=int)

    assert await flow.branch().when(greedy, count).otherwise(count.with_id("other")).commit().run([1, 2]) == 2


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (
            lambda data: data.to,
            "the condition of arm 'ask-first' raised AttributeError: 'int' object has no attribute 'to'; "
            "conditions must not raise",
        ),
        (lambda data: "yes", "the condition of arm 'ask-first' gave 'yes', not a bool; compare explicitly"),
        (lambda data: 1, "the condition of arm 'ask-first' gave 1, not a bool; compare explicitly"),
    ],
    ids=["raises", "text", "number"],
)
async def test_a_condition_that_is_none_fails_the_run(runtime: Runtime, desk: Desk, condition: Any, text: str) -> None:
    flow = chain().branch().when(condition, desk.quick("ask-first")).otherwise(desk.quick("b")).commit()
    run = await flow.create_run()
    result = await run.start(1)

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == ("ConditionError", text)
    assert (result.error.key, result.errors) == ("", [result.error])
    assert await statuses(run) == {}


async def test_an_arm_that_was_not_taken_has_no_result(runtime: Runtime, desk: Desk) -> None:
    a, b = desk.quick("a"), desk.quick("b")

    @step
    async def after(data: int, ctx: StepContext) -> int:
        assert ctx.get_step_result(a, default=None) is None
        return int(ctx.get_step_result(b))

    run = await chain().branch().when(Asked(False), a).otherwise(b).then(after).commit().create_run()

    assert (await run.start(1)).unwrap() == 2
    with pytest.raises(StepNotRunError):
        run.get_step_result(a)
    assert (await run.snapshot()).execution_path == ["b", "after"]


async def test_an_arm_that_was_chosen_is_not_chosen_again(clock: ManualClock, database: str, desk: Desk) -> None:
    """Neither by an answer, nor after a crash, even if the condition is of another opinion by then."""
    condition, ask = Asked(True), desk.asking("ask")
    flow = chain().branch().when(condition, ask).otherwise(desk.quick("other")).then(desk.quick("end")).commit()
    async with Runtime(database, clock=clock) as runtime:
        assert isinstance(await (await flow.create_run(run_id="r-17")).start(1), Suspended)
        kill(runtime)
    condition.verdict = False
    async with Runtime(database, clock=clock):
        assert (await (await flow.get_run("r-17")).resume(ask, 10)).unwrap() == 12

    assert condition.by == [1]
    assert desk.calls == ["ask", "ask", "end"]


async def test_a_body_that_was_lost_in_an_arm_runs_again_in_it(clock: ManualClock, database: str, desk: Desk) -> None:
    condition = Asked(True)
    flow = chain().branch().when(condition, desk.slow("slow")).otherwise(desk.quick("other")).commit()
    async with Runtime(database, clock=clock, workflows=[flow]) as runtime:
        await (await flow.create_run(run_id="r-17")).enqueue(1)
        await settle()
        kill(runtime)
    condition.verdict = False
    desk.let("slow")
    async with Runtime(database, clock=clock, workflows=[flow]):
        assert (await (await flow.get_run("r-17")).result()).unwrap() == 2

    assert (condition.by, desk.calls) == ([1], ["slow", "slow"])


async def test_a_branch_that_passed_is_not_asked_once_the_next_step_began(
    clock: ManualClock, database: str, desk: Desk
) -> None:
    condition, ask = Asked(False), desk.asking("ask")
    flow = chain().branch().when(condition, desk.quick("a")).otherwise_pass().then(ask).commit()
    async with Runtime(database, clock=clock):
        await (await flow.create_run(run_id="r-17")).start(1)
    condition.verdict = True
    async with Runtime(database, clock=clock):
        assert (await (await flow.get_run("r-17")).resume(ask, 10)).unwrap() == 11

    assert (condition.by, desk.calls) == ([1], ["ask", "ask"])


async def test_a_nested_workflow_is_an_arm(runtime: Runtime, desk: Desk) -> None:
    ask = desk.asking("ask")
    inner = chain("inner").then(ask).then(desk.quick("b")).commit()
    run = await chain().branch().when(Asked(True), inner).otherwise(desk.quick("c")).commit().create_run()

    assert open_keys(await run.start(1)) == ["inner/ask"]
    assert (await run.resume(ask, 10)).unwrap() == 12


async def test_a_guarded_arm_that_is_skipped_is_the_arm_all_the_same(runtime: Runtime, desk: Desk) -> None:
    guarded = desk.quick("a").only_if(lambda data: False)
    run = await chain(gives=Any).branch().when(Asked(True), guarded).otherwise(desk.quick("b")).commit().create_run()

    assert (await run.start(1)).unwrap() is None
    assert await statuses(run) == {"a": "skipped"}


async def test_a_branch_in_a_nested_workflow_chooses_for_each_call(runtime: Runtime, desk: Desk) -> None:
    odd = desk.quick("odd", 100)
    inner = chain("inner").branch().when(lambda data: data % 2 == 1, odd).otherwise(desk.quick("even")).commit()

    assert await chain("flow", list[int], list[int]).foreach(inner, concurrency=3).commit().run([1, 2, 3]) == [
        101, 3, 103
    ]  # fmt: skip


# --- match -----------------------------------------------------------------------------------------


@step
async def dog(data: Dog) -> str:
    return f"{data.name} barks"


@step
async def bird(data: Bird) -> str:
    return f"{data.name} flies"


@step
async def animal(data: Animal) -> str:
    return f"{data.name} is"


def zoo(*cases: Any, otherwise: Any = None) -> Any:
    matching = chain("zoo", Dog | Bird | Animal, str).match()
    for case in cases:
        matching = matching.case(case)
    return (matching.otherwise(otherwise) if otherwise is not None else matching.exhaustive()).commit()


async def test_the_first_case_whose_type_fits_is_taken(runtime: Runtime) -> None:
    flow = zoo(dog, bird, animal)

    assert await flow.run(Dog(name="Rex")) == "Rex barks"
    assert await flow.run(Bird(name="Tweety")) == "Tweety flies"
    assert await flow.run(Animal(name="Nemo")) == "Nemo is"


async def test_look_alikes_are_told_apart_after_a_restart(clock: ManualClock, database: str) -> None:
    class Yes(BaseModel):
        value: int

    class No(BaseModel):
        value: int

    calls: list[str] = []

    @step
    async def decide(data: int) -> Yes | No:
        return No(value=data)

    @step
    async def yes(data: Yes) -> int:
        calls.append("yes")
        return data.value

    @step
    async def no(data: No) -> int:
        calls.append("no")
        return -data.value

    flow = chain("flow").then(decide).sleep("1h").match().case(yes).case(no).exhaustive().commit()
    async with Runtime(database, clock=clock):
        await (await flow.create_run(run_id="r-17")).start(3)
    clock.turn("1h")
    async with Runtime(database, clock=clock, workflows=[flow]):
        assert (await (await flow.get_run("r-17")).result()).unwrap() == -3
    assert calls == ["no"]


async def test_otherwise_takes_the_rest(runtime: Runtime) -> None:
    assert await zoo(dog, otherwise=animal).run(Bird(name="Tweety")) == "Tweety is"


async def test_nothing_fits(runtime: Runtime) -> None:
    flow = chain("zoo", str, str).map(lambda name: Bird(name=name)).match().case(dog).exhaustive().commit()
    result = await (await flow.create_run()).start("Tweety")

    assert isinstance(result, Failed)
    assert (result.error.type, result.error.message) == (
        "NoMatchError",
        "none of the cases 'dog' takes Bird; add a case or .otherwise(step)",
    )


async def test_a_case_that_was_chosen_is_not_chosen_again(clock: ManualClock, database: str) -> None:
    """The map before it gives something else after the restart; the case that began goes on with what it had."""
    given: list[Any] = [Dog(name="Rex")]
    desk = Desk()
    ask: Any = desk.asking("ask")

    @step
    async def barks(data: Dog) -> int:
        return 1

    inner = chain("dogs", Dog, int).then(barks).then(ask).commit()

    @step
    async def birds(data: Bird) -> int:
        return 1000

    flow = chain("flow").map(lambda data: given[0]).match().case(inner).case(birds).exhaustive().commit()
    async with Runtime(database, clock=clock):
        await (await flow.create_run(run_id="r-17")).start(1)
    given[0] = Bird(name="Tweety")
    async with Runtime(database, clock=clock):
        assert (await (await flow.get_run("r-17")).resume(ask, 10)).unwrap() == 11
