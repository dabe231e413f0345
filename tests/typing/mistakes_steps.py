"""Mistakes in steps and retry policies; every marked line must be rejected by both checkers."""

from __future__ import annotations

from datetime import timedelta

from wrkflw import Event, Retry, Step, StepContext, create_step, step

from .campaign import Approval, Counters, Mail, Sent, Totals, User, UserId, count, fetch_user, generate_email


# ------------------------------------------------------------------ what a body is
def three(data: UserId, ctx: StepContext, more: int) -> User:
    return User(name="", email="")


def no_context(data: UserId, user: User) -> User:
    return user


def keyword(data: UserId, *, strict: bool) -> User:
    return User(name="", email="")


async def load(data: UserId) -> User:
    return User(name=data.user_id, email="")


step(three)  # E: three parameters
step(no_context)  # E: the second parameter is no context
step(keyword)  # E: nobody passes strict
step("send")  # E: the id is passed as id=
step(42)  # E: not a function
step(id="send")(three)  # E: three parameters
step(id="send")(no_context)  # E: the second parameter is no context
step(id="send")("send")  # E: not a function
create_step(id="send", execute=three)  # E: three parameters
create_step(id="send", execute=no_context)  # E: the second parameter is no context
create_step(id="send", execute=load(UserId(user_id="1")))  # E: a coroutine, not a function

# ------------------------------------------------------------------ options
step(name="send")  # E: id, not name
step(id=7)  # E: ids are text
step(id="send", retries=3)  # E: retry, not retries
step(id="send", retry=3)  # E: a Retry, not a number
step(id="send", timeout=30)  # E: no unit
step(id="send", at_most_once="yes")  # E: a bool
step(id="send", metadata={"attempts": 3})  # E: values are text
step(load, retry=Retry())  # E: options come without the function
create_step(execute=load)  # E: no id
create_step(id="load")  # E: no function and no schemas
create_step(id="load", handler=load)  # E: execute, not handler
create_step(id="load", execute=load, retry="often")  # E: a Retry, not text
create_step(id="load", input_schema=UserId, output_schema=User(name="", email=""))  # E: a value, not a type

# ------------------------------------------------------------------ schemas and functions
typed = create_step(id="typed", input_schema=UserId, output_schema=User)


def load_mail(data: UserId) -> Mail:
    return Mail(subject=data.user_id, body="")


def load_from_mail(data: Mail) -> User:
    return User(name=data.subject, email="")


typed(load_mail)  # E: gives Mail, the schema says User
typed(load_from_mail)  # E: takes Mail, the schema says UserId
typed(three)  # E: three parameters
create_step(id="load", input_schema=Mail, output_schema=User, execute=load)  # E: takes UserId, the schema says Mail
create_step(id="load", input_schema=UserId, execute=load_from_mail)  # E: takes Mail, the schema says UserId

# ------------------------------------------------------------------ what a step is
giving_mail: Step[UserId, Mail] = fetch_user  # E: gives User
taking_mail: Step[Mail, User] = fetch_user  # E: takes UserId
stateless: Step[Sent, Sent] = count  # E: needs Counters
other_state: Step[Sent, Sent, Totals] = count  # E: needs Counters
fetch_user.with_id()  # E: no id
fetch_user.with_id(7)  # E: ids are text
fetch_user.with_name("again")  # E: no such method
fetch_user.then(generate_email)  # E: a chain begins with create_workflow
user: User = fetch_user  # E: a step is not its output


async def call_directly() -> None:
    await fetch_user("1")  # E: takes UserId
    await fetch_user()  # E: no input
    await count(Sent(message_id=None), Counters())  # E: a state is no context
    mail: Mail = await fetch_user(UserId(user_id="1"))  # E: gives User
    fetch_user(UserId(user_id="1")).name  # E: not awaited
    (await fetch_user(UserId(user_id="1"))).nmae  # E: no such field
    user: User = fetch_user(UserId(user_id="1"))  # E: not awaited
    print(mail, user)


# ------------------------------------------------------------------ retry policies
Retry(attempts="3")  # E: a number
Retry(tries=3)  # E: attempts, not tries
Retry(3, 5)  # E: a delay has a unit
Retry(delay=1.5)  # E: no unit
Retry(max_delay=300)  # E: no unit
Retry(backoff="fibonacci")  # E: fixed, linear or exponential
Retry(backoff="constant")  # E: its name is fixed
Retry(backoff=timedelta(seconds=5))  # E: a delay, not a function
Retry(backoff=lambda failures: failures * 2)  # E: the function gives a timedelta
Retry(backoff=lambda: timedelta(seconds=5))  # E: the function takes the failures
Retry(jitter="10%")  # E: a number
Retry(on=TimeoutError())  # E: an instance, not a class
Retry(on=[TimeoutError, OSError])  # E: a list, not a tuple
Retry(on=KeyboardInterrupt)  # E: not an Exception
Retry(on="TimeoutError")  # E: a name, not a class
Retry().attempts = 5  # E: policies are frozen

# ------------------------------------------------------------------ events
Event("approval")  # E: no schema
Event(Approval)  # E: no name
Event("approval", Approval(approved=True))  # E: a value, not a type
nullable: Event[Approval | None] = Event[Approval]("approval", Approval)  # E: invariant, as payloads go in
