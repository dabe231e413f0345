"""Mistakes in the constructs of the chain; every marked line must be rejected by both checkers."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from wrkflw import Event, Merge, Step, Workflow, WorkflowBuilder, create_workflow, step

from .accept_flow import Cat, Dog, Job, bark, feed, finish, initial, is_ada, jobs, length, pets, poll, purr, raw, spread, users, weight
from .campaign import (
    Approval,
    Counters,
    Mail,
    Outgoing,
    Sent,
    Totals,
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

start = create_workflow(id="campaign", input_schema=UserId, output_schema=Sent)
fetched = start.then(fetch_user)
confirmed = Event("confirmed", Approval)

# ------------------------------------------------------------------ only_if
length.only_if(lambda user: user.nmae == "")  # E: no such field
length.only_if(lambda user: user.name)  # E: text is no bool
length.only_if(lambda: True)  # E: a condition gets the input
length.only_if(True)  # E: no function
length.only_if()  # E: no condition
fetched.then(generate_email.only_if(lambda user: True)).into(Outgoing).then(campaign)  # E: takes UserId
fetched.then(length.only_if(lambda user: True)).map(lambda n: n + 1)  # E: may be None
certain: Step[User, int] = length.only_if(lambda user: True)  # E: may give None
start.then(campaign.only_if(lambda data: True)).commit()  # E: may give None


async def later(user: User) -> bool:
    return True


length.only_if(later)  # E: gives a coroutine

# ------------------------------------------------------------------ parallel
fetched.parallel()  # E: no steps
fetched.parallel(length)  # E: one step
fetched.parallel(length, initial, is_ada, weight, raw, now, generate_email, length.with_id("a"), length.with_id("b"))  # E: nine
fetched.parallel([length, initial])  # E: a list is for parallel_all
fetched.parallel(length, fetch_user)  # E: takes UserId, gets User
fetched.parallel(fetch_user, length)  # E: takes UserId, gets User
fetched.parallel(length, initial, is_ada, campaign)  # E: a workflow that takes UserId
fetched.parallel(length, spread)  # E: a function, not a step
fetched.parallel(length, initial).then(length)  # E: takes User, gets a tuple
fetched.parallel(length, initial).map(lambda both: both[2])  # E: two parts
fetched.parallel(length, initial).map(lambda both: both[1] + 1)  # E: the second is text
fetched.parallel(length, initial).commit()  # E: promises Sent
fetched.parallel(length.only_if(lambda user: True), initial).map(lambda both: both[0] + 1)  # E: may be None
fetched.into(Sent).parallel(count, count.with_id("again"))  # E: needs Counters, there is no state
fetched.parallel_all(length)  # E: no list
fetched.parallel_all([length, fetch_user])  # E: takes UserId, gets User
fetched.parallel_all([length], concurrency="2")  # E: a number
fetched.parallel_all([length]).then(length)  # E: takes User, gets a list
fetched.parallel_all([length], 3)  # E: by keyword only
wrong: WorkflowBuilder[UserId, Sent, tuple[str, int]] = fetched.parallel(length, initial)  # E: int, then str


# ------------------------------------------------------------------ join
def three(first: int, second: str, third: bool) -> str:
    return second


def swapped(first: str, second: int) -> str:
    return first


fetched.join(spread)  # E: no tuple
fetched.parallel(length, initial).join(three)  # E: three parameters, two values
fetched.parallel(length, initial, is_ada).join(spread)  # E: two parameters, three values
fetched.parallel(length, initial).join(swapped)  # E: int, then str
fetched.parallel(length, initial).join(spread).then(send_email)  # E: the join gives Mail
fetched.parallel(length, initial).join(lambda n, s: s + 1)  # E: the second is text

# ------------------------------------------------------------------ branch
fetched.branch().then(length)  # E: not closed
fetched.branch().when(lambda user: True, length).then(initial)  # E: not closed
fetched.branch().when(lambda user: True, length).commit()  # E: not closed
fetched.branch().when(lambda user: True, fetch_user)  # E: takes UserId, gets User
fetched.branch().when(lambda user: user.name, length)  # E: text is no bool
fetched.branch().when(lambda user: user.nmae == "", length)  # E: no such field
fetched.branch().when(later, length)  # E: gives a coroutine
fetched.branch().when(length, lambda user: True)  # E: the condition comes first
fetched.branch().when(lambda user: True)  # E: no step
fetched.branch().when(lambda user: True, length).otherwise()  # E: no step
fetched.branch().when(lambda user: True, length).otherwise(fetch_user)  # E: takes UserId, gets User
fetched.branch().when(lambda user: True, length).otherwise(initial).map(lambda x: x + 1)  # E: int or str
fetched.branch().when(lambda user: True, length).otherwise_pass().map(lambda x: x + 1)  # E: int or User
fetched.branch().when(lambda user: True, length).otherwise_pass(length)  # E: takes nothing
fetched.branch().when(lambda user: True, length).otherwise(initial).commit()  # E: promises Sent
fetched.into(Sent).branch().when(lambda sent: True, count).otherwise_pass()  # E: needs Counters, there is no state

# ------------------------------------------------------------------ match
pets.match().case(bark).exhaustive()  # E: Cat is left
pets.match().exhaustive()  # E: both are left
pets.match().case(bark).then(feed)  # E: not closed
pets.match().case(bark).commit()  # E: not closed
pets.match().case(bark).otherwise(length)  # E: takes User, gets Dog or Cat
pets.match().case(bark).otherwise(purr)  # E: takes Cat only
pets.match().case(lambda dog: dog)  # E: a function, not a step
pets.match().case(Dog)  # E: a type, not a step
pets.match().case(bark).case(purr).exhaustive().map(lambda x: x + 1)  # E: str or int
pets.match().case(bark).case(purr).exhaustive().commit()  # E: promises Sent
fetched.match().case(bark).exhaustive()  # E: User is left

# ------------------------------------------------------------------ foreach
fetched.foreach(length)  # E: no list
start.then(users).foreach(fetch_user)  # E: takes UserId, the items are Users
start.then(users).foreach(users)  # E: takes UserId, the items are Users
start.then(users).foreach(length).then(length)  # E: takes User, gets a list
start.then(users).foreach(length, concurrency="2")  # E: a number
start.then(users).foreach(length, 2)  # E: by keyword only
start.then(users).foreach(spread)  # E: a function, not a step
start.then(users).foreach(length).map(lambda ns: ns[0].name)  # E: the items are numbers
fetched.then(initial).foreach(now)  # E: text is no list
start.map(lambda data: (data, data)).foreach(fetch_user)  # E: a tuple is no list
start.map(lambda data: {data.user_id: data}).foreach(fetch_user)  # E: a dict is no list

# ------------------------------------------------------------------ loops
jobs.do_while(bark, lambda text: True)  # E: takes Dog, gets Job


@step
def once(job: Job) -> str:
    return str(job.left)


jobs.do_while(once, lambda text: True)  # E: takes Job, gives str
jobs.do_until(once, lambda text: True)  # E: takes Job, gives str
jobs.do_while(poll, lambda job: job.left)  # E: a number is no bool
jobs.do_while(poll, lambda job: job.right > 0)  # E: no such field
jobs.do_while(poll)  # E: no condition
jobs.do_until(poll, lambda job: True, max_iterations="10")  # E: a number
jobs.do_until(poll, lambda job: True, 10)  # E: by keyword only
jobs.do_until(poll, lambda: True)  # E: a condition gets the output
jobs.do_until(campaign, lambda sent: True)  # E: takes UserId, gets Job
jobs.do_until(finish, lambda job: job.done)  # E: no such field

# ------------------------------------------------------------------ waiting
fetched.sleep(5)  # E: no unit
fetched.sleep()  # E: no duration
fetched.sleep(datetime.now())  # E: a time is for sleep_until
fetched.sleep("5s", name="x")  # E: id, not name
fetched.sleep("5s").then(fetch_user)  # E: takes UserId, User flows on
fetched.sleep_until("2030-01-01")  # E: text is no time
fetched.sleep_until(date(2030, 1, 1))  # E: a day is no time
fetched.sleep_until(timedelta(days=1))  # E: a duration is for sleep
fetched.sleep_until(lambda user: user.name)  # E: text is no time
fetched.sleep_until(lambda user: user.born)  # E: no such field
fetched.wait_for_event("confirmed")  # E: an Event, not its name
fetched.wait_for_event(Approval)  # E: an Event, not its type
fetched.wait_for_event(confirmed).then(length)  # E: takes User, gets Approval
fetched.wait_for_event(confirmed).map(lambda answer: answer.denied)  # E: no such field
fetched.wait_for_event(confirmed, timeout=5)  # E: no unit
fetched.wait_for_event(confirmed, default=None).map(lambda answer: answer.approved)  # E: the default is no Approval
fetched.join_event(confirmed)  # E: no function
fetched.join_event(confirmed, lambda user: user)  # E: two values
fetched.join_event(confirmed, lambda user, answer: answer.denied)  # E: no such field
fetched.join_event(confirmed, lambda user, answer: user.born)  # E: no such field
fetched.join_event(confirmed, lambda user, answer: user.name).then(length)  # E: takes User, gets str

# ------------------------------------------------------------------ nested
fetched.then(counted)  # E: takes Outgoing, gets User
start.then(campaign).then(campaign)  # E: takes UserId, gets Sent
start.then(campaign.with_id("again")).map(lambda sent: sent.subject)  # E: no such field
no_state: Workflow[Outgoing, Sent, Totals] = counted  # E: has Counters

# ------------------------------------------------------------------ merging
Merge.MAX  # E: LAST and SUM
Merge("sum").total  # E: no such field
print(Mail, Cat, Counters, ask_first, certain, wrong, no_state)
