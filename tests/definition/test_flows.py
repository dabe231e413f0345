"""What flows from node to node: into every construct, out of it, and where it does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Literal, cast

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from wrkflw.builder import create_workflow
from wrkflw.decorators import create_step, step
from wrkflw.errors import DefinitionError
from wrkflw.events import Event


class UserId(BaseModel):
    user_id: str


class User(BaseModel):
    name: str


class Admin(User):
    rights: list[str] = []


class Letter(BaseModel):
    body: str


class Job(BaseModel):
    left: int


class Row(TypedDict):
    name: str


@step
def fetch(data: UserId) -> User:
    return User(name=data.user_id)


@step
def write(user: User) -> Letter:
    return Letter(body=user.name)


@step
def length(user: User) -> int:
    return len(user.name)


@step
def send(letter: Letter) -> str:
    return letter.body


@step
def poll(job: Job) -> Job:
    return job


@step
def users(data: UserId) -> list[User]:
    return []


@step
def either(data: UserId) -> User | Letter:
    return User(name="")


@step
def measure(data: object) -> int:
    return len(repr(data))


@step
def promote(admin: Admin) -> str:
    return admin.name


answered = Event("answered", Letter)


def chain(input_schema: Any = UserId, output_schema: Any = object) -> Any:
    """A builder whose checks are those of run time alone."""
    create: Callable[..., Any] = create_workflow
    return create(id="campaign", input_schema=input_schema, output_schema=output_schema)


def problems(builder: Any) -> list[str]:
    """What commit() tells: the error, then its notes."""
    with pytest.raises(DefinitionError) as caught:
        builder.commit()
    return [str(caught.value), *getattr(caught.value, "__notes__", [])]


fetched = chain().then(fetch)


# ------------------------------------------------------------------ what flows out
@pytest.mark.parametrize(
    ("builder", "gives"),
    [
        (fetched.then(length.only_if(bool)), "int | None"),
        (fetched.parallel(write, length), "tuple[Letter, int]"),
        (fetched.parallel(write.only_if(bool), length), "tuple[Letter | None, int]"),
        (fetched.parallel_all([write, write.with_id("b")]), "list[Letter]"),
        (fetched.parallel_all([write, length]), "list[Letter | int]"),
        (fetched.branch().when(bool, write).otherwise(length), "Letter | int"),
        (fetched.branch().when(bool, write).otherwise_pass(), "Letter | User"),
        (chain().then(either).match().case(write).case(send).exhaustive(), "Letter | str"),
        (chain().then(either).match().case(write).otherwise(measure), "Letter | int"),
        (chain().then(users).foreach(length), "list[int]"),
        (chain(Job).do_while(poll, bool), "Job"),
        (fetched.sleep("1s"), "User"),
        (fetched.wait_for_event(answered), "Letter"),
        (fetched.parallel(write, length).join(lambda letter, n: n), None),
        (fetched.join_event(answered, lambda user, letter: user), None),
        (fetched.branch().when(bool, write).otherwise_pass().map(lambda x: x), None),
    ],
)  # fmt: skip
def test_what_flows_out_is_compared_with_what_is_promised(builder: Any, gives: str | None) -> None:
    class Receipt(BaseModel):
        """Nothing gives it."""

    promising = chain(output_schema=Receipt)
    nodes = builder.commit().graph.nodes
    for node in nodes:
        promising = promising._with(node)

    if gives is None:
        assert promising.commit()
    else:
        (told,) = problems(promising) if nodes[0].id != "poll" else problems(promising)[1:]
        assert re.fullmatch(
            rf"workflow 'campaign' promises Receipt but its last (step|node) '[a-z0-9-]+' gives {re.escape(gives)}",
            told,
        )


def test_a_class_may_be_a_map() -> None:
    class Pair(BaseModel):
        left: int

    assert problems(fetched.map(dict).then(send))[0].startswith("step 'send' takes Letter but follows 'map-1'")
    assert problems(chain(int).map(str).then(send)) == [
        "step 'send' takes Letter but follows 'map-1', which gives str; put a .map() between them"
    ]


# ------------------------------------------------------------------ what flows in
MISFIT = "step 'send' takes Letter but follows 'fetch', which gives User; put a .map() between them"


@pytest.mark.parametrize(
    "builder",
    [
        fetched.then(send),
        fetched.then(send.only_if(lambda letter: True)),
        fetched.parallel(write, send),
        fetched.parallel_all([send]),
        fetched.branch().when(lambda user: True, send).otherwise(write),
        fetched.branch().when(lambda user: True, write).otherwise(send),
        fetched.match().case(write).otherwise(send),
        fetched.sleep("1s").then(send),
    ],
    ids=["then", "only_if", "parallel", "parallel_all", "when", "otherwise", "match", "after a sleep"],
)
def test_a_step_takes_what_flows_in_wherever_it_stands(builder: Any) -> None:
    assert [MISFIT.replace("'fetch'", "'sleep-1'") if "sleep-1" in str(problems(builder)) else MISFIT] == problems(
        builder
    )


def test_a_foreach_takes_a_list_of_what_its_step_takes() -> None:
    text = "foreach 'send' takes list[Letter] but follows 'fetch', which gives {}; put a .map() between them"
    of_users = text.format("list[User]").replace("'fetch'", "'users'")

    assert problems(fetched.foreach(send)) == [text.format("User")]
    assert problems(chain().then(users).foreach(send)) == [of_users]


@pytest.mark.parametrize("form", [tuple[User, ...], set[str], dict[str, User], str, None, list[User] | None])
def test_a_foreach_takes_nothing_but_a_list(form: Any) -> None:
    assert problems(chain(form).foreach(write))[0].startswith("foreach 'write' takes list[User] but is first")


def test_a_foreach_takes_a_list_of_anything_that_fits() -> None:
    assert chain(list[Admin]).foreach(write).commit()
    assert chain(list).foreach(write).commit()
    assert chain(list[Admin] | list[User]).foreach(write).commit()


def test_a_loop_takes_its_own_output_too() -> None:
    @step
    def once(job: Job) -> str:
        return ""

    text = "loop 'once' takes Job but gets its own output, which is str; make it take both"

    assert problems(chain(Job).do_until(once, lambda _: True)) == [text]
    assert problems(fetched.do_while(poll, lambda _: True)) == [
        "step 'poll' takes Job but follows 'fetch', which gives User; put a .map() between them"
    ]


# ------------------------------------------------------------------ functions with annotations
def of_letter(letter: Letter) -> bool:
    return letter.body != ""


def test_annotated_conditions_are_checked_too() -> None:
    assert problems(fetched.branch().when(of_letter, write).otherwise_pass()) == [
        "the condition of arm 'write' takes Letter but gets User; make them agree"
    ]
    assert problems(chain(Job).do_while(poll, of_letter)) == [
        "the condition of loop 'poll' takes Letter but gets Job; make them agree"
    ]
    assert problems(fetched.then(write.only_if(cast("Any", of_letter)).only_if(lambda user: True))) == [
        "only_if of step 'write' takes Letter but gets User; make them agree"
    ]
    guarded = write.only_if(of_letter)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] -- the mistake
    assert problems(fetched.then(guarded)) == ["only_if of step 'write' takes Letter but gets User; make them agree"]


def test_a_wrapped_function_takes_what_its_wrapper_does() -> None:
    def twice(function: Callable[[int, int], int]) -> Callable[[int], int]:
        @wraps(function)
        def inner(a: int) -> int:
            return function(a, a)

        return inner

    @twice
    def multiply(a: int, b: int) -> int:
        return a * b

    assert chain(int).map(multiply).commit()
    assert problems(chain(str).map(multiply))[0].startswith("map 'map-1' takes int but is first in workflow")


def test_annotated_functions_of_waits_are_checked_too() -> None:
    def on(letter: Letter) -> datetime:
        return datetime.now(UTC)

    def at(user: User) -> str:
        return user.name

    def pair(letter: Letter, user: User) -> str:
        return letter.body

    assert problems(fetched.sleep_until(on)) == [
        "sleep_until 'sleep-1' takes Letter but follows 'fetch', which gives User; put a .map() between them"
    ]
    assert problems(fetched.sleep_until(at)) == [
        "sleep_until 'sleep-1' needs a datetime but its function gives str; return a timezone-aware one"
    ]
    assert problems(fetched.join_event(answered, pair)) == [
        "join_event 'wait-1' takes Letter but follows 'fetch', which gives User; put a .map() between them",
        "join_event 'wait-1' takes User but event 'answered' brings Letter; make them agree",
    ]


# ------------------------------------------------------------------ join
side_by_side = fetched.parallel(write, length, length.with_id("again"))


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda a, b: a, "join's function takes 2 parameters but parallel gives 3 values; add a parameter"),
        (lambda a: a, "join's function takes 1 parameter but parallel gives 3 values; add 2 parameters"),
        (lambda a, b, c, d: a, "join's function takes 4 parameters but parallel gives 3 values; remove a parameter"),
    ],
)
def test_a_join_has_a_parameter_for_each_value(function: Any, text: str) -> None:
    assert problems(side_by_side.join(function)) == [text]


def test_a_join_may_take_what_it_wants() -> None:
    def some(letter: Letter, *numbers: int) -> str:
        return letter.body

    def defaulted(letter: Letter, one: int, two: int, three: int = 3) -> str:
        return letter.body

    assert side_by_side.join(lambda *parts: parts).commit()
    assert side_by_side.join(some).commit()
    assert side_by_side.join(defaulted).commit()
    assert chain(tuple[int, ...]).join(max).commit()
    assert chain(Any).join(max).commit()


def test_an_annotated_join_takes_the_parts_in_order() -> None:
    def swapped(number: int, letter: Letter, again: int) -> str:
        return letter.body

    assert problems(side_by_side.join(swapped)) == [
        "join 'join-1' takes int but parallel gives Letter; make them agree",
        "join 'join-1' takes Letter but parallel gives int; make them agree",
    ]


def test_a_join_takes_apart_a_tuple() -> None:
    assert problems(fetched.join(lambda user: user)) == [
        "join 'join-1' takes apart a tuple but 'fetch' gives User; use .map()"
    ]
    assert problems(chain(tuple[int, str]).join(lambda n: n)) == [
        "join's function takes 1 parameter but 'campaign' gives 2 values; add a parameter"
    ]


# ------------------------------------------------------------------ match
def case(id: str, form: Any) -> Any:
    return create_step(id=id, input_schema=form, output_schema=str, execute=lambda data: "")


@pytest.mark.parametrize("form", [list[int], Row, dict[str, int], User | list[int], Any])
def test_a_case_takes_a_class(form: Any) -> None:
    name = {Row: "Row", Any: "Any"}.get(form) if form in (Row, Any) else None
    told = problems(chain(Any).match().case(case("add-up", form)).otherwise(case("rest", object)))

    assert re.fullmatch(r"case 'add-up' takes .*, which cannot be told apart at run time; wrap it in a model", told[0])
    assert name is None or f"takes {name}," in told[0]


def test_values_are_told_apart_by_a_branch() -> None:
    a, b = case("a", Literal["a"]), case("b", Literal["b"])
    cure = "which cannot be told apart at run time; use .branch()"

    assert problems(chain(Literal["a", "b"]).match().case(a).case(b).exhaustive()) == [
        f"case 'a' takes Literal['a'], {cure}",
        f"case 'b' takes Literal['b'], {cure}",
    ]
    assert problems(chain(Literal["a", "b"]).match().case(a).exhaustive()) == [
        f"case 'a' takes Literal['a'], {cure}",
        "none of the cases 'a' takes Literal['b']; add a case or .otherwise(step)",
    ]


def test_a_case_for_a_subclass_comes_first() -> None:
    text = "case 'promote' can never be reached after case 'write'; put the subclass first"

    assert problems(chain(User | Letter).match().case(write).case(promote).case(send).exhaustive()) == [text]
    assert chain(User | Letter).match().case(promote).case(write).case(send).exhaustive().commit()


def test_a_case_is_not_made_twice() -> None:
    text = "case 'again' can never be reached after case 'write'; leave it out"

    assert problems(chain(User).match().case(write).case(write.with_id("again")).exhaustive()) == [text]


def test_a_case_of_a_union_is_hidden_only_as_a_whole() -> None:
    both = case("both", User | Letter)

    assert chain(User | Letter).match().case(write).case(both).exhaustive().commit()
    assert problems(chain(User | Letter).match().case(write).case(send).case(both).exhaustive()) == [
        "case 'both' can never be reached after case 'write'; leave it out"
    ]


def test_an_exhaustive_match_takes_every_member() -> None:
    text = "none of the cases 'write', 'send' takes Job; add a case or .otherwise(step)"

    assert problems(chain(User | Letter | Job).match().case(write).case(send).exhaustive()) == [text]
    assert chain(User | None).match().case(write).case(case("none", None)).exhaustive().commit()
    assert chain(Any).match().case(write).exhaustive().commit()
