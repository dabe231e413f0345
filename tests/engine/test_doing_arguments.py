"""The arguments of ``step.do``: stored by their annotations, and given as a recovery would give them."""

from __future__ import annotations

import functools
import gc
import re
import weakref
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any, Protocol

import pytest
from pydantic import BaseModel

from wrkflw.engine.arguments import Doing
from wrkflw.errors import InvalidValueError, LimitError
from wrkflw.ids import correlation_id

LIMIT = 10_000


class Mail(BaseModel):
    to: str


class Outgoing(Mail):
    subject: str


class HasTo(Protocol):
    to: str


class Connection:
    pass


def make_link(email: str, *, days: int, since: date | None = None) -> str:
    return f"{email}/{days}/{since}"


def read(mail: HasTo, more: Any, untyped, later: Undefined) -> None:  # type: ignore[no-untyped-def, name-defined]  # noqa: F821
    pass


def collect(first: int, *mails: Mail, **dates: date) -> list[Mail]:
    return list(mails)


async def fetch(number: int) -> Mail:
    return Mail(to=str(number))


class Client:
    def send(self, mail: Mail) -> Awaitable[int]:
        raise NotImplementedError

    async def __call__(self, mail: Mail) -> int:
        return len(mail.to)


def stored(function: Callable[..., object], *args: object, **kwargs: object) -> bytes:
    return Doing("link", function).store(args, kwargs, LIMIT)[0]


def test_arguments_are_stored_by_the_names_of_their_parameters() -> None:
    data, args, kwargs = Doing("link", make_link).store(("ada",), {"days": 7, "since": date(2026, 1, 1)}, LIMIT)

    assert data == b'{"email":"ada","days":7,"since":"2026-01-01"}'
    assert (args, kwargs) == (("ada",), {"days": 7, "since": date(2026, 1, 1)})


def test_they_come_back_as_they_went_in() -> None:
    doing = Doing("link", make_link)
    data, *given = doing.store(("ada",), {"days": 7, "since": date(2026, 1, 1)}, LIMIT)

    assert Doing("link", make_link).load(data) == tuple(given)


def test_it_does_not_matter_how_they_are_passed() -> None:
    assert stored(fetch, 7) == stored(fetch, number=7)


def test_the_function_gets_a_copy() -> None:
    mail = Mail(to="ada")
    _, (copy,), _ = Doing("send", Client()).store((mail,), {}, LIMIT)

    assert copy == mail
    assert copy is not mail


def test_spread_arguments_are_stored_one_by_one() -> None:
    doing = Doing("collect", collect)
    given = (1, Mail(to="ada"), Mail(to="bob")), {"since": date(2026, 1, 1)}
    data, args, kwargs = doing.store(*given, LIMIT)

    assert data == b'{"first":1,"mails":[{"to":"ada"},{"to":"bob"}],"dates":{"since":"2026-01-01"}}'
    assert (args, kwargs) == given
    assert Doing("collect", collect).load(data) == given


def test_what_has_no_annotation_is_stored_by_what_it_is() -> None:
    doing = Doing("read", read)
    given = Mail(to="ada"), Outgoing(to="bob", subject="hello"), date(2026, 1, 1), Mail(to="eve")
    data, args, _ = doing.store(given, {}, LIMIT)

    assert args == given
    assert doing.load(data) == (given, {})


def test_without_the_values_it_is_read_as_plain_json() -> None:
    assert Doing("read", read).load(b'{"mail":{"to":"ada"},"more":1}') == (({"to": "ada"}, 1), {})


def test_a_lambda_takes_no_arguments_mostly() -> None:
    doing = Doing("link", lambda: 7)

    assert doing.store((), {}, LIMIT) == (b"{}", (), {})
    assert doing.load(b"{}") == ((), {})


def test_what_does_not_tell_its_signature_takes_anything() -> None:
    doing = Doing("most", max)

    assert doing.store((1, 2), {"default": 3}, LIMIT) == (
        b'{"args":[1,2],"kwargs":{"default":3}}',
        (1, 2),
        {"default": 3},
    )


@pytest.mark.parametrize(
    ("function", "args", "text"),
    [
        (make_link, (), "step 'link' cannot call make_link(): missing a required argument: 'email'"),
        (fetch, (1, 2), "step 'link' cannot call fetch(): too many positional arguments"),
    ],
)
def test_arguments_the_function_does_not_take_are_refused(
    function: Callable[..., object], args: tuple[object, ...], text: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(text) + "$"):
        stored(function, *args)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "text"),
    [
        (make_link, ("ada",), {"days": "7"}, "argument 'days' of step 'link'"),
        (make_link, ("ada",), {"days": 7.5}, "argument 'days' of step 'link'"),
        (
            collect,
            (1, Outgoing(to="ada", subject="hello")),
            {},
            "argument '*mails[0]' of step 'link' is Outgoing, which does not survive storage as Mail; "
            "declare Outgoing or a union",
        ),
        (collect, (1,), {"since": 7}, "argument 'since' of step 'link'"),
        (
            read,
            (Connection(), 1, 2, 3),
            {},
            "argument 'mail' of step 'link' is Connection, which cannot be stored; "
            "annotate the parameter with a type that can be stored, or pass plain data",
        ),
        (read, (1, [Mail(to="ada")], 2, 3), {}, "argument 'more' of step 'link' does not survive storage as list"),
    ],
)
def test_an_argument_that_does_not_survive_storage_is_named(
    function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object], text: str
) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(text)):
        stored(function, *args, **kwargs)


def test_arguments_have_a_limit() -> None:
    with pytest.raises(LimitError, match=r"arguments of step 'link' have 36 bytes, the limit is 20; store them") as got:
        Doing("link", make_link).store(("ada@example.org",), {"days": 7}, 20)

    assert (got.value.limit, got.value.got) == (20, 36)


def test_what_the_function_no_longer_takes_cannot_be_read() -> None:
    text = "argument 'gone' of step 'link' was recorded, but the function no longer takes it"
    with pytest.raises(InvalidValueError, match=text):
        Doing("link", make_link).load(b'{"email":"ada","gone":1}')


def test_what_the_function_now_takes_otherwise_cannot_be_read() -> None:
    with pytest.raises(InvalidValueError, match="argument 'days' of step 'link' does not fit int"):
        Doing("link", make_link).load(b'{"email":"ada","days":"soon"}')


@pytest.mark.parametrize(
    ("function", "form", "is_async"),
    [
        (make_link, str, False),
        (fetch, Mail, True),
        (Client().send, int, True),
        (Client(), int, True),
        (functools.partial(make_link, days=7), str, False),
        (functools.partial(fetch, 1), Mail, True),
        (read, type(None), False),
        (lambda: 7, object, None),
        (max, object, None),
        (Mail, Mail, False),
    ],
)
def test_the_annotation_says_what_it_gives(
    function: Callable[..., object], form: object, is_async: bool | None
) -> None:
    doing = Doing("link", function)

    assert doing.result.form == form
    assert doing.is_async is is_async


def test_results_without_a_type_are_plain_json() -> None:
    schema = Doing("link", lambda: 7).result

    assert schema.store({"a": [1, None]}, "output")[1] == {"a": [1, None]}
    with pytest.raises(InvalidValueError) as refused:
        schema.store(Mail(to="ada"), "output")
    assert str(refused.value) == (
        "output is Mail, which does not survive storage as object; declare Mail or a union, "
        "with '->' on a def if a lambda gave it"
    )


def test_a_partial_is_called_with_what_is_left() -> None:
    doing = Doing("link", functools.partial(make_link, "ada"))

    assert doing.store((), {"days": 7}, LIMIT) == (b'{"days":7}', (), {"days": 7})


def test_closures_are_not_held_on_to() -> None:
    def make() -> Callable[[int], int]:
        def closure(number: int) -> int:
            return number

        return closure

    closure = make()
    seen = weakref.ref(closure)
    assert Doing("link", closure).store((1,), {}, LIMIT)[0] == b'{"number":1}'
    del closure
    gc.collect()

    assert seen() is None


def test_functions_of_the_library_can_be_called_too() -> None:
    assert stored(correlation_id, "step", "r-1", key="send") == b'{"kind":"step","run_id":"r-1","key":"send"}'
