"""Mistakes in what is handed in to a run from outside; every marked line must be rejected by both checkers."""

from __future__ import annotations

from .accept_answers import asking, confirmed
from .campaign import Approval, Mail, Sent, ask_first, fetch_user, send_email


async def answer() -> None:
    run = await asking.get_run("r-17")
    await run.resume(ask_first)  # E: no answer
    await run.resume(ask_first, True)  # E: takes Approval
    await run.resume(ask_first, {"approved": True})  # E: a dict is no Approval
    await run.resume("ask-first", Approval(approved=True))  # E: a step, not its id
    await run.resume(send_email, Approval(approved=True))  # E: a step that does not suspend
    await run.resume(ask_first.only_if(lambda mail: True), Approval(approved=True))  # E: the step itself, without its guard
    await run.resume(ask_first, Approval(approved=True), at=2)  # E: keys are text
    await run.resume(ask_first, Approval(approved=True), "ask-first")  # E: by keyword only
    await run.resume(ask_first, Approval(approved=True), wait=30)  # E: no unit
    mail: Mail = await run.resume(ask_first, Approval(approved=True))  # E: a result
    await run.send_event(confirmed)  # E: no payload
    await run.send_event(confirmed, True)  # E: takes Approval
    await run.send_event(confirmed, None)  # E: takes Approval
    await run.send_event("confirmed", Approval(approved=True))  # E: an Event, not its name
    await run.send_event(confirmed, Approval(approved=True), dedupe_id=1)  # E: ids are text
    sent: Sent = await run.send_event(confirmed, Approval(approved=True))  # E: a result
    await run.wake(1)  # E: ids are text
    run.within(ask_first)  # E: the key of a workflow
    run.within("inner").state  # E: results only
    run.within("inner").get_step_result(fetch_user).subject  # E: User has no subject
    print(mail, sent)
