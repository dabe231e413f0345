"""Every construct of the chain: what flows out of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, assert_type

from pydantic import BaseModel

from wrkflw import Branch, Event, Match, Merge, Step, SuspendableStep, Workflow, WorkflowBuilder, create_workflow, step

from .campaign import (
    Approval,
    Counters,
    Mail,
    Outgoing,
    Sent,
    User,
    UserId,
    ask_first,
    campaign,
    count,
    counted,
    fetch_user,
    generate_email,
    now,
    send_email,
)


class Dog(BaseModel):
    barks: bool


class Cat(BaseModel):
    lives: int


class Job(BaseModel):
    left: int


class Finished(Job):
    total: int


@step
def length(user: User) -> int:
    return len(user.name)


@step
def initial(user: User) -> str:
    return user.name[:1]


@step
def is_ada(user: User) -> bool:
    return user.name == "Ada"


@step
def weight(user: User) -> float:
    return float(len(user.name))


@step
def raw(user: User) -> bytes:
    return user.name.encode()


@step
def users(data: UserId) -> list[User]:
    return [User(name=data.user_id, email="")]


@step
def poll(job: Job) -> Job:
    return Job(left=job.left - 1)


@step
def finish(job: Job) -> Finished:
    return Finished(left=0, total=job.left)


@step
def pet(data: UserId) -> Dog | Cat:
    return Dog(barks=True)


@step
def bark(dog: Dog) -> str:
    return "wuff" if dog.barks else ""


@step
def purr(cat: Cat) -> int:
    return cat.lives


@step
def feed(animal: Dog | Cat) -> Sent:
    return Sent(message_id=None)


start = create_workflow(id="campaign", input_schema=UserId, output_schema=Sent)
fetched = start.then(fetch_user)
addressed = fetched.then(generate_email).into(Outgoing)
confirmed = Event("confirmed", Approval)

# ------------------------------------------------------------------ only_if
assert_type(length.only_if(lambda user: user.name == "Ada"), Step[User, int | None])
assert_type(length.only_if(lambda user: True).with_id("again"), Step[User, int | None])
assert_type(ask_first.only_if(lambda mail: mail.email != ""), Step[Outgoing, Sent | None])
assert_type(count.only_if(lambda sent: sent.message_id is None), Step[Sent, Sent | None, Counters])
assert_type(campaign.only_if(lambda data: data.user_id == "1"), Step[UserId, Sent | None])
assert_type(fetched.then(length.only_if(lambda user: True)), WorkflowBuilder[UserId, Sent, int | None])

# ------------------------------------------------------------------ parallel
assert_type(fetched.parallel(length, initial), WorkflowBuilder[UserId, Sent, tuple[int, str]])
assert_type(fetched.parallel(length, initial, is_ada), WorkflowBuilder[UserId, Sent, tuple[int, str, bool]])
assert_type(
    fetched.parallel(length, initial, is_ada, weight), WorkflowBuilder[UserId, Sent, tuple[int, str, bool, float]]
)
assert_type(
    fetched.parallel(length, initial, is_ada, weight, raw),
    WorkflowBuilder[UserId, Sent, tuple[int, str, bool, float, bytes]],
)
assert_type(
    fetched.parallel(length, initial, is_ada, weight, raw, now),
    WorkflowBuilder[UserId, Sent, tuple[int, str, bool, float, bytes, str]],
)
assert_type(
    fetched.parallel(length, initial, is_ada, weight, raw, now, generate_email),
    WorkflowBuilder[UserId, Sent, tuple[int, str, bool, float, bytes, str, Mail]],
)
assert_type(
    fetched.parallel(length, initial, is_ada, weight, raw, now, generate_email, length.with_id("l2")),
    WorkflowBuilder[UserId, Sent, tuple[int, str, bool, float, bytes, str, Mail, int]],
)
assert_type(
    fetched.parallel(length.only_if(lambda user: True), initial.only_if(lambda user: user.name != "")),
    WorkflowBuilder[UserId, Sent, tuple[int | None, str | None]],
)
assert_type(start.parallel(campaign, fetch_user), WorkflowBuilder[UserId, Sent, tuple[Sent, User]])
assert_type(fetched.parallel_all([length, length.with_id("l2")]), WorkflowBuilder[UserId, Sent, list[int]])
assert_type(
    fetched.parallel_all([length.with_id(f"l-{n}") for n in range(20)], concurrency=4),
    WorkflowBuilder[UserId, Sent, list[int]],
)


def spread(length: int, initial: str) -> Mail:
    return Mail(subject=initial, body=str(length))


assert_type(fetched.parallel(length, initial).join(spread), WorkflowBuilder[UserId, Sent, Mail])
assert_type(fetched.parallel(length, initial).join(lambda n, s: s * n), WorkflowBuilder[UserId, Sent, str])
assert_type(
    fetched.parallel(length, initial, is_ada).join(lambda n, s, ada: (n, ada)),
    WorkflowBuilder[UserId, Sent, tuple[int, bool]],
)

# ------------------------------------------------------------------ branch
assert_type(fetched.branch().when(lambda user: True, length), Branch[UserId, Sent, User, int, None])
assert_type(
    fetched.branch().when(lambda user: user.name == "Ada", length).otherwise(initial),
    WorkflowBuilder[UserId, Sent, int | str],
)
assert_type(
    fetched.branch().when(lambda user: True, length).when(lambda user: False, initial).otherwise(raw),
    WorkflowBuilder[UserId, Sent, int | str | bytes],
)
assert_type(
    fetched.branch().when(lambda user: True, length).otherwise_pass(), WorkflowBuilder[UserId, Sent, int | User]
)
assert_type(
    addressed.branch().when(lambda mail: mail.email == "", ask_first).otherwise(send_email).commit(),
    Workflow[UserId, Sent],
)

# ------------------------------------------------------------------ match
pets = start.then(pet)
assert_type(pets.match().case(bark), Match[UserId, Sent, Dog | Cat, str, Dog, None])
assert_type(pets.match().case(bark).case(purr).exhaustive(), WorkflowBuilder[UserId, Sent, str | int])
assert_type(pets.match().case(bark).otherwise(feed), WorkflowBuilder[UserId, Sent, str | Sent])
assert_type(pets.match().case(feed).exhaustive().commit(), Workflow[UserId, Sent])

# ------------------------------------------------------------------ foreach
assert_type(start.then(users).foreach(length), WorkflowBuilder[UserId, Sent, list[int]])
assert_type(start.then(users).foreach(generate_email, concurrency=5), WorkflowBuilder[UserId, Sent, list[Mail]])
assert_type(
    start.then(users).foreach(length.only_if(lambda user: user.name == "")),
    WorkflowBuilder[UserId, Sent, list[int | None]],
)
assert_type(start.map(lambda data: [data]).foreach(campaign), WorkflowBuilder[UserId, Sent, list[Sent]])
assert_type(fetched.parallel_all([length]).map(sum), WorkflowBuilder[UserId, Sent, int])

# ------------------------------------------------------------------ loops
jobs = create_workflow(id="jobs", input_schema=Job, output_schema=Job)
assert_type(jobs.do_while(poll, lambda job: job.left > 0), WorkflowBuilder[Job, Job, Job])
assert_type(jobs.do_until(poll, lambda job: job.left == 0, max_iterations=100), WorkflowBuilder[Job, Job, Job])
assert_type(jobs.do_until(finish, lambda job: job.total > 3), WorkflowBuilder[Job, Job, Finished])
assert_type(jobs.do_while(jobs.then(poll).sleep("5s").commit(), lambda job: job.left > 0).commit(), Workflow[Job, Job])

# ------------------------------------------------------------------ waiting
assert_type(fetched.sleep("7d"), WorkflowBuilder[UserId, Sent, User])
assert_type(fetched.sleep(timedelta(hours=1), id="cool-off"), WorkflowBuilder[UserId, Sent, User])
assert_type(fetched.sleep_until(datetime(2030, 1, 1, tzinfo=UTC)), WorkflowBuilder[UserId, Sent, User])
assert_type(
    fetched.sleep_until(lambda user: datetime(2000 + len(user.name), 1, 1, tzinfo=UTC)),
    WorkflowBuilder[UserId, Sent, User],
)
assert_type(fetched.wait_for_event(confirmed), WorkflowBuilder[UserId, Sent, Approval])
assert_type(
    fetched.wait_for_event(confirmed, timeout="7d", default=Approval(approved=False), id="ok"),
    WorkflowBuilder[UserId, Sent, Approval],
)
assert_type(
    fetched.wait_for_event(Event("either", Approval | None), timeout="7d", default=None),
    WorkflowBuilder[UserId, Sent, Approval | None],
)
assert_type(
    fetched.join_event(confirmed, lambda user, answer: (user, answer.approved)),
    WorkflowBuilder[UserId, Sent, tuple[User, bool]],
)
assert_type(
    fetched.join_event(confirmed, lambda user, answer: user.name, timeout="1h", default=Approval(approved=False)),
    WorkflowBuilder[UserId, Sent, str],
)

# ------------------------------------------------------------------ nested
assert_type(start.then(campaign), WorkflowBuilder[UserId, Sent, Sent])
assert_type(addressed.then(counted), WorkflowBuilder[UserId, Sent, Sent])  # its own state stays its own
assert_type(counted.with_id("second"), Workflow[Outgoing, Sent, Counters])
assert_type(addressed.branch().when(lambda mail: True, counted).otherwise(send_email).commit(), Workflow[UserId, Sent])


# ------------------------------------------------------------------ state
class Tally(BaseModel):
    total: Annotated[int, Merge.SUM] = 0
    last: Annotated[str, Merge.LAST] = ""


tallied = create_workflow(id="tallied", input_schema=UserId, output_schema=int, state_schema=Tally)
assert_type(tallied.then(fetch_user).map_ctx(lambda user, ctx: ctx.state.total).commit(), Workflow[UserId, int, Tally])
assert_type(Tally().total, int)
assert_type(ask_first, SuspendableStep[Outgoing, Sent, Approval, Mail, object])
