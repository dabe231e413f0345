"""What a body and a map see of the run, typed."""

from __future__ import annotations

import logging
from typing import Any, assert_type

from wrkflw import Event, MapContext, StepContext, SuspendableStep, SuspendContext, create_workflow, step

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
)


@step
async def look_around(mail: Mail, ctx: StepContext[Counters]) -> Sent:
    assert_type(ctx.get_step_result(fetch_user), User)
    assert_type(ctx.get_step_result(fetch_user, default=None), User | None)
    assert_type(ctx.get_step_result(fetch_user, 0), User | int)
    assert_type(ctx.get_step_result(ask_first), Sent)
    assert_type(ctx.get_step_result(count), Sent)
    assert_type(ctx.get_step_results(fetch_user), list[User])
    assert_type(ctx.get_init_data(UserId), UserId)
    assert_type(ctx.get_init_data(UserId | None), UserId | None)
    assert_type(ctx.state, Counters)
    assert_type(ctx.state.sent, int)
    assert_type(ctx.attempt, int)
    assert_type(ctx.iteration, int | None)
    assert_type(ctx.index, int | None)
    assert_type(ctx.idempotency_key, str)
    assert_type(ctx.run_id + ctx.workflow_id + ctx.step_id + ctx.key, str)
    assert_type(ctx.fence, int)
    assert_type(ctx.stopping, bool)
    assert_type(ctx.logger, logging.LoggerAdapter[Any])
    ctx.heartbeat({"done": 3})
    ctx.heartbeat()
    ctx.raise_if_stopping()
    ctx.set_state(Counters(sent=2))
    ctx.logger.info("looking around")
    ctx.write("text")
    ctx.write(b"bytes", stream="raw")
    ctx.write({"done": 3, "of": [4, None]})
    ctx.write([1, 2])
    return Sent(message_id=None)


@step
def leave_early(mail: Mail, ctx: StepContext) -> Sent:
    if not mail.body:
        ctx.bail(Sent(message_id=None))  # never comes back
    else:
        return Sent(message_id=ctx.key)


@step
def approve(mail: Mail, ctx: SuspendContext[Approval, Mail, Counters]) -> Sent:
    assert_type(ctx.resume_data, Approval | None)
    answer = ctx.suspend(mail)
    assert_type(answer, Approval)
    assert_type(ctx.suspend(mail, timeout="7d"), Approval)
    assert_type(ctx.state, Counters)
    assert_type(ctx.get_step_result(fetch_user), User)
    ctx.write("asked")
    if not answer.approved:
        ctx.bail(Sent(message_id=None))
    return Sent(message_id=ctx.key)


@step
async def ask_for_text(mail: Mail, ctx: SuspendContext[str | None, dict[str, int]]) -> Sent:
    assert_type(ctx.suspend({"length": len(mail.body)}), str | None)
    return Sent(message_id=None)


assert_type(approve, SuspendableStep[Mail, Sent, Approval, Mail, Counters])
assert_type(ask_for_text, SuspendableStep[Mail, Sent, str | None, dict[str, int], object])


async def call_directly(mail: Mail) -> None:
    context = SuspendContext[Approval, Mail, Counters].for_test(answers=[Approval(approved=True)], state=Counters())
    assert_type(context, SuspendContext[Approval, Mail, Counters])
    assert_type(await approve(mail, context), Sent)


@step
def without_state(mail: Mail, ctx: StepContext) -> Sent:
    assert_type(ctx.state, object)
    return Sent(message_id=ctx.key)


def address(mail: Mail, ctx: MapContext[UserId, Counters]) -> Outgoing:
    assert_type(ctx.init_data, UserId)
    assert_type(ctx.state, Counters)
    assert_type(ctx.get_step_result(fetch_user), User)
    assert_type(ctx.get_step_result(generate_email, default=None), Mail | None)
    return Outgoing(email=ctx.get_step_result(fetch_user).email, subject=mail.subject, body=mail.body)


addressed = (
    create_workflow(id="addressed", input_schema=UserId, output_schema=Outgoing, state_schema=Counters)
    .then(fetch_user)
    .then(generate_email)
    .map_ctx(address)
    .commit()
)

approval = Event("approval", Approval)
either = Event("either", Approval | None)
assert_type(approval, Event[Approval])
assert_type(either, Event[Approval | None])
