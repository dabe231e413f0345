"""Functions between steps are plain: conditions, maps, and those of joins and waits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from wrkflw.builder import create_workflow
from wrkflw.decorators import step
from wrkflw.errors import DefinitionError
from wrkflw.events import Event


@step
def ask_first(number: int) -> int:
    return number


@step
def poll(number: int) -> int:
    return number


async def later(number: int) -> bool:
    return True


def one_by_one(number: int) -> Iterator[bool]:
    yield True


class Later:
    async def __call__(self, number: int) -> bool:
        return True


answered = Event("answered", int)


def chain() -> Any:
    """A builder whose checks are those of run time alone."""
    create: Callable[..., Any] = create_workflow
    return create(id="campaign", input_schema=int, output_schema=object)


PLACES: dict[str, Callable[[Any], Any]] = {
    "the condition of arm 'ask-first'": lambda f: chain().branch().when(f, ask_first).otherwise_pass(),
    "the condition of loop 'poll'": lambda f: chain().do_while(poll, f),
    "only_if of step 'poll'": lambda f: chain().then(poll.only_if(f)),
    "map 'map-1'": lambda f: chain().map(f),
    "join 'join-1'": lambda f: chain().map(lambda n: (n,)).join(f),
    "sleep_until 'sleep-1'": lambda f: chain().sleep_until(f),
    "join_event 'wait-1'": lambda f: chain().join_event(answered, f),
}
CONDITIONS = [place for place in PLACES if place.startswith(("the condition", "only_if"))]


def told(place: str, function: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        PLACES[place](function).commit()
    return str(caught.value)


@pytest.mark.parametrize("function", [later, partial(later), Later()], ids=["function", "partial", "object"])
@pytest.mark.parametrize("place", PLACES)
def test_what_is_async_belongs_in_a_step(place: str, function: Any) -> None:
    kind = "conditions" if place in CONDITIONS else "maps"

    assert told(place, function) == f"{place} is async; {kind} are plain functions, do the work in a step before"


@pytest.mark.parametrize("place", PLACES)
def test_a_step_is_no_function_between_steps(place: str) -> None:
    assert told(place, ask_first).startswith(f"{place} is async; ")


@pytest.mark.parametrize("place", PLACES)
def test_a_generator_gives_no_value(place: str) -> None:
    cure = "return True or False" if place in CONDITIONS else "a map gives one value, return a list"

    assert told(place, one_by_one) == f"{place} is a generator; {cure}"


@pytest.mark.parametrize("place", [place for place in PLACES if place != "sleep_until 'sleep-1'"])
def test_what_is_no_function_is_refused(place: str) -> None:
    assert told(place, 5) == f"{place} is 5; pass a function"


@pytest.mark.parametrize("place", [*CONDITIONS, "sleep_until 'sleep-1'"])
def test_a_condition_takes_one_value(place: str) -> None:
    assert told(place, lambda: True) == f"{place} takes 0 parameters but gets one value; take one parameter"
    assert told(place, lambda a, b: True) == f"{place} takes 2 parameters but gets one value; take one parameter"


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_passed_by_keyword(place: str) -> None:
    def strictly(number: int, *, strict: bool) -> bool:
        return strict

    text = f"{place} takes 'strict' by keyword, which nobody passes; give it a default"
    assert told(place, strictly) == text


def test_the_function_of_a_join_event_takes_two_values() -> None:
    text = "join_event 'wait-1' takes 1 parameter but gets what flows in and the payload; take two parameters"

    assert told("join_event 'wait-1'", lambda answer: answer) == text


@pytest.mark.parametrize("place", CONDITIONS)
def test_a_condition_gives_a_bool(place: str) -> None:
    def name(number: int) -> str:
        return str(number)

    def known(number: int) -> bool:
        return number > 0

    assert told(place, name) == f"{place} gives str, not a bool; compare explicitly"
    assert PLACES[place](known).commit()
    assert PLACES[place](lambda number: True).commit()


def test_guards_of_arms_and_members_are_checked_too() -> None:
    guarded = poll.only_if(later)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- the mistake
    text = re.escape("only_if of step 'poll' is async; conditions are plain functions, do the work in a step before")

    for builder in (chain().parallel(ask_first, guarded), chain().branch().when(bool, guarded).otherwise_pass()):
        with pytest.raises(DefinitionError, match=text):
            builder.commit()
