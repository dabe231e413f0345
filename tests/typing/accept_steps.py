"""Every way to make a step, and what a checker then knows of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Literal, assert_type

from typing_extensions import TypedDict

from wrkflw import Retry, Step, StepContext, SuspendableStep, SuspendContext, create_step, step

from .campaign import (
    Approval,
    Counters,
    Mail,
    Outgoing,
    Sent,
    User,
    UserId,
    ask_first,
    count,
    fetch_user,
    generate_email,
    lookup,
    now,
    send_email,
)


class Row(TypedDict):
    sku: str
    price: int


# ------------------------------------------------------------------ @step
assert_type(fetch_user, Step[UserId, User])
assert_type(generate_email, Step[User, Mail])
assert_type(count, Step[Sent, Sent, Counters])
assert_type(ask_first, SuspendableStep[Outgoing, Sent, Approval, Mail, object])
assert_type(now, Step[object, str])


@step
async def clock() -> float:
    return 0.0


@step
def remember(sent: Sent, ctx: StepContext[Counters]) -> None:
    ctx.set_state(Counters(sent=ctx.state.sent + 1))


assert_type(clock, Step[object, float])
assert_type(remember, Step[Sent, None, Counters])


# ------------------------------------------------------------------ @step(...)
@step()
def plain(user: User) -> str:
    return user.name


@step(id="rows", timeout=timedelta(seconds=5), at_most_once=True, description="Rows", metadata={"team": "shop"})
async def rows(data: UserId) -> list[Row]:
    return [Row(sku=data.user_id, price=1)]


@step(retry=Retry(on=(TimeoutError, OSError), backoff=lambda failures: timedelta(seconds=failures)))
async def stateful(rows: list[Row], ctx: StepContext[Counters]) -> dict[str, int]:
    return {row["sku"]: row["price"] for row in rows}


@step(id="ask")
def ask(mail: Mail, ctx: SuspendContext[Approval, Mail, Counters]) -> bool:
    return True


assert_type(plain, Step[User, str])
assert_type(rows, Step[UserId, list[Row]])
assert_type(stateful, Step[list[Row], dict[str, int], Counters])
assert_type(ask, SuspendableStep[Mail, bool, Approval, Mail, Counters])


# ------------------------------------------------------------------ create_step
async def load(data: UserId) -> User:
    return User(name=data.user_id, email="")


async def load_counted(data: UserId, ctx: StepContext[Counters]) -> User:
    return User(name=str(ctx.state.sent), email="")


def approve(mail: Mail, ctx: SuspendContext[Approval, Mail]) -> bool:
    return True


def load_later(data: UserId) -> Awaitable[User]:
    return load(data)


assert_type(lookup, Step[User, str])
assert_type(create_step(id="load", execute=load), Step[UserId, User])
assert_type(create_step(id="load", execute=load_later), Step[UserId, User])
assert_type(create_step(id="load", execute=load_counted), Step[UserId, User, Counters])
assert_type(create_step(id="approve", execute=approve), SuspendableStep[Mail, bool, Approval, Mail, object])
assert_type(create_step(id="load", input_schema=UserId, output_schema=User, execute=load), Step[UserId, User])
assert_type(
    create_step(id="load", execute=load_counted, retry=Retry(attempts=1), timeout="5s"), Step[UserId, User, Counters]
)
assert_type(
    create_step(id="price", input_schema=int | None, output_schema=str, execute=lambda n: str(n)), Step[int | None, str]
)


@create_step(id="decorated", input_schema=UserId, output_schema=User)
async def decorated(data: UserId) -> User:
    return await load(data)


@create_step(id="union", input_schema=int | str, output_schema=Literal["number", "text"])
def union(data: int | str) -> Literal["number", "text"]:
    return "number" if isinstance(data, int) else "text"


@create_step(id="contextual", input_schema=UserId, output_schema=User, timeout="5s")
async def contextual(data: UserId, ctx: StepContext[Counters]) -> User:
    return await load(data)


assert_type(decorated, Step[UserId, User])
assert_type(union, Step[int | str, Literal["number", "text"]])
assert_type(contextual, Step[UserId, User, Counters])
assert_type(
    create_step(id="many", input_schema=Annotated[int, "items"], output_schema=str, execute=str), Step[int, str]
)

# ------------------------------------------------------------------ using a step
assert_type(fetch_user.with_id("again"), Step[UserId, User])
assert_type(ask_first.with_id("again"), SuspendableStep[Outgoing, Sent, Approval, Mail, object])
assert_type(fetch_user.id, str)


def address(mail: Mail) -> Outgoing:
    return Outgoing(email="", subject=mail.subject, body=mail.body)


addressed = create_step(id="address", execute=address)
# A step may take more than it is given, give more than is asked for, and need no state where there is one.
asked_for_less: Step[Outgoing, Mail, Counters] = addressed
make: Callable[[str], Step[UserId, User]] = fetch_user.with_id


async def call_directly() -> None:
    assert_type(await fetch_user(UserId(user_id="1")), User)
    assert_type(await generate_email(User(name="Ada", email="")), Mail)
    context = StepContext.for_test(state=Counters(), results={fetch_user: User(name="Ada", email="")}, run_id="r")
    assert_type(await count(Sent(message_id=None), context), Sent)
    assert_type(await send_email(Outgoing(email="", subject="", body=""), StepContext.for_test()), Sent)
