"""Mistakes in the chain; every marked line must be rejected by both checkers."""

from __future__ import annotations

from wrkflw import Workflow, WorkflowBuilder, create_workflow, step

from .campaign import (
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

# ------------------------------------------------------------------ what flows in
dropped_address = (
    create_workflow(id="dropped", input_schema=UserId, output_schema=Sent)
    .then(fetch_user)
    .then(generate_email)
    .then(send_email)  # E: takes Outgoing, gets Mail, which has no address
    .commit()
)

start.then(generate_email)  # E: takes User, gets UserId
start.then(send_email)  # E: takes Outgoing, gets UserId
fetched.then(fetch_user)  # E: takes UserId, gets User
fetched.then(ask_first)  # E: takes Outgoing, gets User
fetched.then(campaign)  # E: a workflow that takes UserId, gets User
fetched.then(fetch_user.with_id("again"))  # E: another id changes no type
fetched.map(lambda user: user.name).then(generate_email)  # E: the map gives str
fetched.map(lambda user: [user]).then(generate_email)  # E: the map gives a list
fetched.map(lambda user: user if user.name else None).then(generate_email)  # E: the map may give None
fetched.into(Mail).then(send_email)  # E: into gives Mail
fetched.then(now).then(generate_email)  # E: now gives str


# ------------------------------------------------------------------ what a node is
async def plain(user: User) -> Mail:
    return Mail(subject=user.name, body="")


@step
def many(users: list[User]) -> int:
    return len(users)


fetched.then(plain)  # E: a function, not a step
fetched.then(fetch_user(UserId(user_id="1")))  # E: a call of a step
fetched.then("fetch-user")  # E: an id, not a step
fetched.then(generate_email, send_email)  # E: two steps
fetched.then()  # E: no step
fetched.then(step=generate_email)  # E: by position only
fetched.then(many)  # E: takes a list, gets one
fetched.map(plain).then(generate_email)  # E: the map gives a coroutine
fetched.map(generate_email).then(send_email)  # E: a step used as a map gives an awaitable
fetched.map(lambda user: user.nmae)  # E: no such field
fetched.map(lambda: 1)  # E: a map takes what flows in
fetched.map(lambda user, ctx: user)  # E: a context is for map_ctx
fetched.map_ctx(lambda user: user)  # E: map_ctx gives a context too
fetched.map_ctx(lambda user, ctx: ctx.get_step_result(generate_email).subjct)  # E: no such field of the result
fetched.map_ctx(lambda user, ctx: ctx.init_data.name)  # E: the input has no name
fetched.map_ctx(lambda user, ctx: ctx.attempt)  # E: a map has no attempts
fetched.map(lambda user: user, name="same")  # E: id, not name
fetched.map(lambda user: user, id=1)  # E: ids are text
fetched.into(Mail(subject="", body=""))  # E: a value, not a type
fetched.into()  # E: no type

# ------------------------------------------------------------------ what comes out
fetched.then(generate_email).commit()  # E: promises Sent, gives Mail
start.commit()  # E: promises Sent, gives UserId
fetched.map(lambda user: user.name).commit()  # E: promises Sent, gives str
fetched.into(Sent).map(lambda sent: [sent]).commit()  # E: promises Sent, gives a list of them
fetched.into(Sent).map(lambda sent: sent if sent.message_id else None).commit()  # E: may give None
fetched.into(Sent).commit().then(send_email)  # E: nothing follows commit
fetched.commit  # E: nor is there a commit to hold
wrong_in: Workflow[User, Sent] = campaign  # E: takes UserId
wrong_out: Workflow[UserId, Mail] = campaign  # E: gives Sent
wrong_state: Workflow[Outgoing, Sent, Totals] = counted  # E: has Counters
unfinished: Workflow[UserId, Sent] = fetched.into(Sent)  # E: still a builder
finished: WorkflowBuilder[UserId, Sent, Sent] = campaign  # E: no builder any more

# ------------------------------------------------------------------ state
stateful = create_workflow(id="stateful", input_schema=Outgoing, output_schema=Sent, state_schema=Totals)
stateful.then(send_email).then(count)  # E: needs Counters, there are Totals
fetched.into(Sent).then(count)  # E: needs Counters, there is no state
stateful.map_ctx(lambda mail, ctx: ctx.state.sent)  # E: Totals has no such field

# ------------------------------------------------------------------ create_workflow
create_workflow(input_schema=UserId, output_schema=Sent)  # E: no id
create_workflow("campaign", UserId, Sent)  # E: by keyword only
create_workflow(id="campaign", output_schema=Sent)  # E: no input schema
create_workflow(id="campaign", input_schema=UserId)  # E: no output schema
create_workflow(id="campaign", input=UserId, output_schema=Sent)  # E: input_schema, not input
create_workflow(id=7, input_schema=UserId, output_schema=Sent)  # E: ids are text
create_workflow(id="campaign", input_schema=UserId(user_id="1"), output_schema=Sent)  # E: a value, not a type
create_workflow(id="campaign", input_schema=UserId, output_schema=Sent, state_schema=Counters())  # E: an instance, not a class
create_workflow(id="campaign", input_schema=UserId, output_schema=Sent, retries=3)  # E: retry, not retries
create_workflow(id="campaign", input_schema=UserId, output_schema=Sent, retry=3)  # E: a Retry, not a number
create_workflow(id="campaign", input_schema=UserId, output_schema=Sent, timeout=30)  # E: no unit
create_workflow(id="campaign", input_schema=UserId, output_schema=Sent, on_mismatch="ignore")  # E: pause or fail
create_workflow(id="campaign", input_schema=UserId, output_schema=Sent, on_failed=lambda: None)  # E: gets a RunInfo
create_workflow(id="campaign", input_schema=UserId, output_schema=Sent, on_completed=lambda info: info.output)  # E: RunInfo has no output
