"""Mistakes with contexts; every marked line must be rejected by both checkers."""

from __future__ import annotations

from wrkflw import MapContext, StepContext, SuspendContext, create_workflow, step

from .campaign import Approval, Counters, Mail, Outgoing, Sent, Totals, User, UserId, count, fetch_user, generate_email


@step
async def look_around(mail: Mail, ctx: StepContext[Counters]) -> Sent:
    ctx.get_step_result("fetch-user")  # E: a step, not its id
    ctx.get_step_result(User)  # E: a step, not its type
    ctx.get_step_result()  # E: no step
    ctx.get_step_result(fetch_user, fallback=None)  # E: default, not fallback
    ctx.get_step_result(fetch_user).subject  # E: User has no subject
    ctx.get_step_result(fetch_user, default=None).email  # E: may be None
    ctx.get_step_result(fetch_user)["email"]  # E: a model, not a dict
    mail_of_user: Mail = ctx.get_step_result(fetch_user)  # E: gives User
    certain: User = ctx.get_step_result(fetch_user, default=None)  # E: may be None
    first: User = ctx.get_step_results(fetch_user)  # E: a list of them
    await ctx.get_step_result(fetch_user)  # E: nothing to await
    ctx.get_init_data(UserId(user_id="1"))  # E: a type, not a value
    ctx.get_init_data(UserId).name  # E: the input has no name
    ctx.get_init_data()  # E: no type
    ctx.state.amount  # E: Counters has no amount
    ctx.state = Counters()  # E: set_state, not assignment
    ctx.set_state(Totals())  # E: the state is Counters
    ctx.set_state({"sent": 1})  # E: a dict is no Counters
    ctx.set_state()  # E: no state
    ctx.attempt = 2  # E: read only
    ctx.attempts  # E: attempt, not attempts
    ctx.index + 1  # E: None outside a foreach
    ctx.iteration + 1  # E: None outside a loop
    ctx.run_id + 1  # E: text
    ctx.idempotency_key()  # E: a property, not a method
    ctx.input_data  # E: the input is the first parameter
    ctx.write()  # E: no chunk
    ctx.write({1, 2})  # E: JSON has no sets
    ctx.write(5)  # E: no chunk of text, bytes, dict or list
    ctx.write("text", "raw")  # E: the stream by keyword only
    ctx.write("text", stream=1)  # E: names are text
    ctx.suspend(mail)  # E: a StepContext does not suspend
    ctx.resume_data  # E: a StepContext does not suspend
    print(mail_of_user, certain, first)
    return mail  # E: promises Sent


@step
def without_state(mail: Mail, ctx: StepContext) -> Sent:
    ctx.state.sent += 1  # E: no state was declared
    if mail.body:
        ctx.bail()  # E: no output
    return Sent(message_id=None)


@step
def approve(mail: Mail, ctx: SuspendContext[Approval, Mail]) -> Sent:
    ctx.suspend()  # E: no payload
    ctx.suspend(Sent(message_id=None))  # E: suspends with Mail
    ctx.suspend({"subject": ""})  # E: a dict is no Mail
    ctx.suspend(mail, timeout=5)  # E: no unit
    ctx.suspend(mail).denied  # E: Approval has no such field
    answer: Sent = ctx.suspend(mail)  # E: gives Approval
    ctx.resume_data.approved  # E: None the first time
    ctx.resume_data = Approval(approved=True)  # E: read only
    ctx.state.sent += 1  # E: no state was declared
    print(answer)
    return ctx.bail  # E: a method is no Sent


def address(mail: Mail, ctx: MapContext[UserId, Counters]) -> Outgoing:
    ctx.init_data.email  # E: the input has no email
    ctx.state.amount  # E: Counters has no amount
    ctx.set_state(Counters())  # E: a map reads only
    ctx.idempotency_key  # E: a map is no step
    ctx.get_step_result(fetch_user).subject  # E: User has no subject
    return Outgoing(email=ctx.get_step_result(generate_email), subject=mail.subject, body=mail.body)  # E: Mail is no text


def on_other_input(mail: Mail, ctx: MapContext[Mail, None]) -> Mail:
    return mail


def on_other_state(mail: Mail, ctx: MapContext[UserId, Totals]) -> Mail:
    return mail


written = create_workflow(id="w", input_schema=UserId, output_schema=Mail, state_schema=Counters).then(fetch_user).then(generate_email)
written.map_ctx(on_other_input)  # E: the workflow takes UserId
written.map_ctx(on_other_state)  # E: the state is Counters

SuspendContext[Approval, Mail].for_test(answers=[Sent(message_id=None)])  # E: answers are Approvals
StepContext.for_test(answers=[])  # E: a StepContext does not suspend
StepContext.for_test(run=1)  # E: run_id, not run
StepContext.for_test(run_id=1)  # E: ids are text
StepContext.for_test(results={"fetch-user": User(name="", email="")})  # E: by step, not by id


async def call_directly() -> None:
    await count(Sent(message_id=None), "context")  # E: text is no context
