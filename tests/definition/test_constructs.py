"""Each construct of the builder as a node, and what is refused on its own line."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from wrkflw.builder import WorkflowBuilder, create_workflow
from wrkflw.decorators import step
from wrkflw.errors import DefinitionError
from wrkflw.events import Event
from wrkflw.graph import (
    MISSING,
    Arm,
    Branch,
    Foreach,
    Join,
    Loop,
    Match,
    Parallel,
    Sleep,
    SleepUntil,
    Then,
    WaitForEvent,
    graph_of,
    steps_of,
)


class Number(BaseModel):
    n: int


class Word(BaseModel):
    text: str


@step
def add_one(number: Number) -> Number:
    return Number(n=number.n + 1)


@step
def double(number: Number) -> Number:
    return Number(n=number.n * 2)


@step
def spell(number: Number) -> Word:
    return Word(text=str(number.n))


@step
def number_of(word: Word) -> Number:
    return Number(n=len(word.text))


@step
def several(number: Number) -> list[Number]:
    return [number]


def small(number: Number) -> bool:
    return number.n < 10


confirmed = Event("confirmed", Word)
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def builder(output_schema: Any = Number) -> WorkflowBuilder[Number, Any, Number]:
    return create_workflow(id="sums", input_schema=Number, output_schema=output_schema)


def loosely(output_schema: Any = object) -> Any:
    """A builder whose checks are those of run time alone."""
    return builder(output_schema)


def only_node(committed: Any) -> Any:
    (node,) = committed.graph.nodes
    return node


# ------------------------------------------------------------------ nodes
def test_members_stand_side_by_side() -> None:
    node = only_node(builder(tuple[Number, Word]).parallel(add_one, spell).commit())

    assert Parallel("parallel-1", (add_one, spell), "tuple") == node


def test_any_number_of_members_with_one_output_give_a_list() -> None:
    members = [add_one.with_id(f"add-{n}") for n in range(12)]
    node = only_node(builder(list[Number]).parallel_all(members, concurrency=3).commit())

    assert Parallel("parallel-1", tuple(members), "list", 3) == node


def test_a_join_is_a_node_of_its_own() -> None:
    def pair(number: Number, word: Word) -> Word:
        return Word(text=word.text * number.n)

    joined = builder(Word).parallel(add_one, spell).join(pair).commit()

    assert joined.graph.nodes[1] == Join("join-1", pair)


def test_a_branch_holds_its_arms_in_order() -> None:
    def odd(number: Number) -> bool:
        return number.n % 2 == 1

    node = only_node(builder().branch().when(small, add_one).when(odd, double).otherwise(spell_back).commit())

    assert Branch("branch-1", (Arm(small, add_one), Arm(odd, double)), spell_back) == node


@step
def spell_back(number: Number) -> Number:
    return number


def test_a_branch_may_pass_on_what_flows_in() -> None:
    node = only_node(builder(Number | Word).branch().when(small, spell).otherwise_pass().commit())

    assert Branch("branch-1", (Arm(small, spell),), None) == node


def test_a_match_holds_its_cases_in_order() -> None:
    chosen = builder(Number | Word).branch().when(small, spell).otherwise_pass()
    exhaustive = chosen.match().case(number_of).case(double).exhaustive().commit()
    rest = loosely().then(spell).match().case(number_of).otherwise(anything).commit()

    assert exhaustive.graph.nodes[1] == Match("match-1", (number_of, double), None)
    assert rest.graph.nodes[1] == Match("match-1", (number_of,), anything)


@step
def anything(data: object) -> str:
    return str(data)


def test_a_foreach_is_known_by_its_step() -> None:
    each = builder(list[Word]).then(several).foreach(spell, concurrency=4).commit()

    assert each.graph.nodes[1] == Foreach(spell, 4)
    assert each.graph.nodes[1].id == "spell"


def test_a_loop_is_known_by_its_step() -> None:
    looped = builder().do_while(add_one, small).do_until(double, small, max_iterations=5).commit()

    assert looped.graph.nodes == (Loop(add_one, small, False, 10_000), Loop(double, small, True, 5))
    assert [node.id for node in looped.graph.nodes] == ["add-one", "double"]


def test_sleeps_are_numbered_together() -> None:
    def soon(number: Number) -> datetime:
        return NOON

    slept = builder().sleep("1h 30m").sleep_until(NOON).sleep_until(soon).sleep(timedelta(0), id="kept").commit()

    assert slept.graph.nodes == (
        Sleep("sleep-1", timedelta(minutes=90)),
        SleepUntil("sleep-2", NOON),
        SleepUntil("sleep-3", soon),
        Sleep("kept", timedelta(0)),
    )


def test_waits_are_numbered_together() -> None:
    def pair(number: Number, word: Word) -> Number:
        return number

    default = Word(text="")
    waited = (
        builder(Word)
        .wait_for_event(confirmed, timeout="7d", default=default)
        .map(lambda word: Number(n=len(word.text)))
        .join_event(confirmed, pair, id="paired")
        .wait_for_event(confirmed)
        .commit()
    )

    assert waited.graph.nodes[0] == WaitForEvent("wait-1", confirmed, timedelta(days=7), default)
    assert waited.graph.nodes[2] == WaitForEvent("paired", confirmed, None, MISSING, pair)
    assert waited.graph.nodes[3] == WaitForEvent("wait-3", confirmed, None)


def test_none_is_a_default() -> None:
    either = Event("either", Word | None)
    node = only_node(builder(Word | None).wait_for_event(either, timeout="7d", default=None).commit())

    assert node.default is None


@pytest.mark.parametrize("default", [Word(text="later"), None])
def test_a_default_that_would_never_flow_on_is_refused(default: Word | None) -> None:
    either = Event("either", Word | None)
    refusal = r"^default= flows on when timeout= has passed, and there is none; give both, or neither$"

    with pytest.raises(TypeError, match=refusal):
        builder(Word).wait_for_event(either, default=default)
    with pytest.raises(TypeError, match=refusal):
        builder(Word).join_event(either, lambda before, word: word or before, default=default)


def test_nodes_of_a_kind_are_numbered_in_order() -> None:
    def add(one: Number, other: Number) -> Number:
        return Number(n=one.n + other.n)

    twice = (
        builder()
        .parallel(add_one, double)
        .join(add)
        .parallel(add_one.with_id("a"), double.with_id("b"))
        .join(add)
        .branch()
        .when(small, add_one.with_id("c"))
        .otherwise_pass()
        .branch()
        .when(small, add_one.with_id("d"))
        .otherwise_pass()
        .commit()
    )

    ids = [node.id for node in twice.graph.nodes]
    assert ids == ["parallel-1", "join-1", "parallel-2", "join-2", "branch-1", "branch-2"]
    assert list(twice.graph.steps) == ["add-one", "double", "a", "b", "c", "d"]


def test_a_workflow_is_a_step() -> None:
    inner = builder().then(add_one).sleep("1h").commit()
    outer = create_workflow(id="outer", input_schema=Number, output_schema=Number).then(inner).commit()

    assert only_node(outer) == Then(inner)
    assert graph_of(inner) is inner.graph
    assert graph_of(add_one) is None
    assert list(outer.graph.steps) == ["sums"]


def test_the_steps_of_a_node_are_told_in_order() -> None:
    branch = Branch("branch-1", (Arm(small, add_one), Arm(small, double)), spell_back)

    assert list(steps_of(branch)) == [add_one, double, spell_back]
    assert list(steps_of(Match("match-1", (number_of,), anything))) == [number_of, anything]
    assert list(steps_of(Sleep("sleep-1", timedelta(0)))) == []


# ------------------------------------------------------------------ immutability
def test_no_construct_changes_the_builder_it_is_called_on() -> None:
    begun = loosely().then(several)
    open_branch = begun.branch().when(bool, anything)
    open_match = begun.match().case(anything)
    calls: list[Callable[[], Any]] = [
        lambda: begun.parallel(anything, anything),
        lambda: begun.parallel_all([anything]),
        lambda: begun.join(print),
        lambda: begun.foreach(spell),
        lambda: begun.do_while(anything, bool),
        lambda: begun.do_until(anything, bool),
        lambda: begun.sleep("1s"),
        lambda: begun.sleep_until(NOON),
        lambda: begun.wait_for_event(confirmed),
        lambda: begun.join_event(confirmed, print),
        lambda: open_branch.when(bool, anything.with_id("b")),
        lambda: open_match.case(anything.with_id("b")),
    ]
    for call in calls:
        call()

    assert begun.commit().graph.nodes == (Then(several),)
    assert len(open_branch.otherwise_pass().commit().graph.nodes[1].arms) == 1
    assert len(open_match.exhaustive().commit().graph.nodes[1].cases) == 1


def test_a_list_that_changes_later_does_not_reach_the_workflow() -> None:
    members = [add_one, double]
    begun = builder(list[Number]).parallel_all(members)
    members.append(add_one)

    assert list(begun.commit().graph.steps) == ["add-one", "double"]


def test_open_parts_show_how_far_they_are() -> None:
    assert repr(builder().branch().when(small, add_one)) == "Branch('branch-1', 1 arms)"
    assert repr(loosely().match().case(add_one)) == "Match('match-1', 1 cases)"


# ------------------------------------------------------------------ refused on its own line
@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: loosely().parallel(*[add_one.with_id(f"a-{n}") for n in range(9)]),
            DefinitionError,
            "parallel takes two to eight steps, got 9; use .parallel_all()",
        ),
        (lambda: loosely().parallel(add_one), DefinitionError, "parallel takes two to eight steps, got 1; use .then()"),
        (lambda: loosely().parallel_all([]), DefinitionError, "parallel_all got no steps; give at least one"),
        (
            lambda: loosely().branch().otherwise(add_one),
            DefinitionError,
            "branch has no .when(); add one, or use .then()",
        ),
        (
            lambda: loosely().branch().otherwise_pass(),
            DefinitionError,
            "branch has no .when(); add one, or use .then()",
        ),
        (lambda: loosely().match().exhaustive(), DefinitionError, "match has no .case(); add one, or use .then()"),
        (
            lambda: loosely().branch().when(small, add_one).then,
            AttributeError,
            "the branch is not closed; end it with .otherwise(step) or .otherwise_pass()",
        ),
        (
            lambda: loosely().branch().run_sync,
            AttributeError,
            "the branch is not closed; end it with .otherwise(step) or .otherwise_pass()",
        ),
        (
            lambda: loosely().match().case(add_one).commit,
            AttributeError,
            "the match is not closed; end it with .exhaustive() or .otherwise(step)",
        ),
        (lambda: loosely().branch().wen, AttributeError, "'Branch' object has no attribute 'wen'"),
        (lambda: loosely().sleep("-5s"), ValueError, "cannot sleep for -5s; a duration is zero or more"),
        (
            lambda: loosely().sleep("5 minuts"),
            ValueError,
            "expected a duration like '30s', '5m', '24h' or a timedelta, got '5 minuts'; did you mean '5 minutes'?",
        ),
        (
            lambda: loosely().sleep_until(datetime(2026, 1, 1)),  # noqa: DTZ001 -- that is the mistake
            ValueError,
            "sleep_until needs a timezone-aware time, got 2026-01-01 00:00:00; add tzinfo",
        ),
        (lambda: loosely().foreach(spell, concurrency=0), ValueError, "concurrency must be one or more, got 0"),
        (
            lambda: loosely().parallel_all([spell], concurrency=-1),
            ValueError,
            "concurrency must be one or more, got -1",
        ),
        (lambda: loosely().foreach(spell, concurrency="2"), ValueError, "concurrency must be one or more, got '2'"),
        (
            lambda: loosely().sleep_until("noon"),
            TypeError,
            "sleep_until takes a datetime or a function, got 'noon'; use .sleep() for a duration",
        ),
        (
            lambda: loosely().do_while(add_one, small, max_iterations=0),
            ValueError,
            "max_iterations must be one or more, got 0",
        ),
        (lambda: loosely().parallel(add_one, small), TypeError, ".parallel() takes a step, got small; decorate it"),
        (
            lambda: loosely().parallel([add_one, spell]),
            TypeError,
            ".parallel() got a list; write .parallel(a, b) or use .parallel_all([...])",
        ),
        (
            lambda: loosely().then(loosely().then(add_one)),
            TypeError,
            ".then() takes a step, and 'sums' is still a builder; end the chain with .commit()",
        ),
        (
            lambda: loosely().then(add_one(Number(n=1))),
            TypeError,
            ".then() takes a step, got a call of step 'add-one'; pass the step itself",
        ),
        (
            lambda: loosely().parallel_all({add_one, spell}),
            TypeError,
            ".parallel_all() takes a list of steps, got a set; write [...]",
        ),
        (
            lambda: loosely().parallel_all(iter(())),
            TypeError,
            ".parallel_all() takes a list of steps, got a tuple_iter",
        ),
        (lambda: loosely().parallel_all([small]), TypeError, ".parallel_all() takes a step, got small; decorate it"),
        (lambda: loosely().branch().when(add_one, small), TypeError, ".when() takes a step, got small; decorate it"),
        (lambda: loosely().match().case(Number), TypeError, ".case() takes a step, got Number; decorate it"),
        (lambda: loosely().foreach(small), TypeError, ".foreach() takes a step, got small; decorate it with @step"),
        (lambda: loosely().do_while(small, small), TypeError, ".do_while() takes a step, got small; decorate it"),
        (lambda: loosely().do_until(small, small), TypeError, ".do_until() takes a step, got small; decorate it"),
        (
            lambda: loosely().wait_for_event("confirmed"),
            TypeError,
            "a wait takes an Event, got 'confirmed'; make one with Event(name, schema)",
        ),
        (lambda: loosely().sleep("1s", id="a/b"), DefinitionError, "'a/b' cannot be a sleep id"),
        (lambda: loosely().wait_for_event(confirmed, id="a b"), DefinitionError, "'a b' cannot be a wait id"),
    ],
)
def test_what_cannot_be_is_refused_on_its_own_line(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(text)):
        call()


# ------------------------------------------------------------------ only_if
def test_a_guarded_step_is_the_same_step_or_none() -> None:
    guarded = spell.only_if(small)

    assert (guarded.id, guarded.guards, spell.guards) == ("spell", (small,), ())
    assert guarded.input_schema is Number
    assert guarded.output_schema == Word | None
    assert guarded.stored_output_schema == Word | None
    assert guarded.body is spell.body


def test_a_guard_stays_under_another_id() -> None:
    again = spell.only_if(small).with_id("again")

    assert (again.id, again.guards, again.output_schema) == ("again", (small,), Word | None)


def test_a_workflow_may_be_guarded() -> None:
    inner = builder().then(add_one).commit()
    guarded = inner.only_if(small)

    assert (guarded.kind, guarded.guards, guarded.output_schema) == ("workflow", (small,), Number | None)
    assert graph_of(guarded) is inner.graph
    assert (inner.guards, inner.output_schema) == ((), Number)
