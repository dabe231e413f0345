"""What is handed in to a run from outside, and what a run that waits for it shows."""

from __future__ import annotations

from typing import assert_type

from wrkflw import Event, RunResult, Suspended, create_workflow

from .campaign import Approval, Mail, Outgoing, Sent, User, ask_first, fetch_user

confirmed = Event("confirmed", Approval)
either = Event("either", Approval | None)

asking = (
    create_workflow(id="asking", input_schema=Outgoing, output_schema=Sent)
    .wait_for_event(confirmed, timeout="7d")
    .map_ctx(lambda _, ctx: ctx.init_data)
    .then(ask_first)
    .commit()
)


async def answer(mail: Outgoing) -> None:
    run = await asking.create_run()
    result = await run.start(mail)
    if isinstance(result, Suspended):
        assert_type(result.payload_of(ask_first), Mail | None)
    assert_type(await run.resume(ask_first, Approval(approved=True)), RunResult[Sent])
    assert_type(await run.resume(ask_first, Approval(approved=True), at="ask-first", wait=None), RunResult[Sent])
    assert_type(await run.resume(ask_first.with_id("second"), Approval(approved=True)), RunResult[Sent])
    assert_type(await run.send_event(confirmed, Approval(approved=True)), RunResult[Sent])
    assert_type(
        await run.send_event(confirmed, Approval(approved=True), dedupe_id="mail-1", wait="0s"), RunResult[Sent]
    )
    assert_type(await run.send_event(either, None), RunResult[Sent])
    await run.wake()
    await run.wake("sleep-1")
    assert_type(run.within("inner").get_step_result(fetch_user), User)
