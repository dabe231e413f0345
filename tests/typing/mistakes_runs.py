"""Mistakes with runs and their results; every marked line must be rejected by both checkers."""

from __future__ import annotations

from typing_extensions import assert_never

from wrkflw import Cancelled, Completed, Failed, Paused, Run, RunResult, Runtime, Suspended, Waiting, create_workflow, sync

from .campaign import Counters, Mail, Outgoing, Sent, Totals, User, UserId, ask_first, campaign, counted, fetch_user, send_email, tick


# ------------------------------------------------------------------ starting
def synchronously() -> None:
    campaign.run_sync()  # E: no input
    campaign.run_sync("1")  # E: takes UserId
    campaign.run_sync({"user_id": "1"})  # E: a dict is no UserId
    campaign.run_sync(user_id="1")  # E: a UserId, not its fields
    campaign.run_sync(UserId(user_id=1))  # E: ids of users are text
    campaign.run_sync(UserId(user_id="1"), initial_state=Counters())  # E: it has no state
    counted.run_sync(Outgoing(email="", subject="", body=""), initial_state=Totals())  # E: the state is Counters
    campaign.run_sync(UserId(user_id="1")).output  # E: the output itself, no result
    mail: Mail = campaign.run_sync(UserId(user_id="1"))  # E: gives Sent
    text: str = sync(campaign.run(UserId(user_id="1")))  # E: gives Sent
    tick.run_sync(1)  # E: takes nothing
    campaign(UserId(user_id="1")).message_id  # E: not run, and not awaited
    create_workflow(id="c", input_schema=UserId, output_schema=Sent).run_sync(UserId(user_id="1"))  # E: still a builder
    sync(campaign)  # E: not awaitable
    print(mail, text)


async def asynchronously() -> None:
    async with Runtime("sqlite:///app.db", workflows=[campaign.create_run]):  # E: a method is no workflow
        pass
    async with Runtime("sqlite:///app.db", workflows=campaign):  # E: a list of workflows
        pass
    async with Runtime("sqlite:///app.db", workers=2):  # E: worker, not workers
        pass
    with Runtime("sqlite:///app.db"):  # E: async with
        pass
    await campaign.run("1")  # E: takes UserId
    await campaign.run()  # E: no input
    await tick.run(UserId(user_id="1"))  # E: takes nothing
    unawaited: Sent = campaign.run(UserId(user_id="1"))  # E: not awaited
    await campaign.create_run("user-1")  # E: by keyword only
    await campaign.create_run(idempotency_key=1)  # E: keys are text
    await campaign.create_run(run_id=17)  # E: ids are text
    await campaign.create_run(attributes={"age": 17})  # E: values are text
    await campaign.create_run(on_conflict="ignore")  # E: use_existing or fail
    await campaign.create_run(input_data=UserId(user_id="1"))  # E: the input goes to start
    await campaign.get_run()  # E: no id
    await campaign.get_run(17)  # E: ids are text
    campaign.create_run().start  # E: not awaited
    run = await campaign.create_run()
    await run.start()  # E: no input
    await run.start(User(name="", email=""))  # E: takes UserId
    await run.start(UserId(user_id="1"), wait=30)  # E: no unit
    await run.start(UserId(user_id="1"), initial_state=Counters())  # E: it has no state
    await run.start(UserId(user_id="1"), timeout="30s")  # E: wait, not timeout
    sent: Sent = await run.start(UserId(user_id="1"))  # E: a result, not the output
    await run.result(timeout=5)  # E: no unit
    run.run_id = "r-17"  # E: read only
    run.get_step_result("send")  # E: a step, not its id
    run.get_step_result(fetch_user).subject  # E: User has no subject
    wrong: Mail = run.get_step_result(send_email)  # E: gives Sent
    other: Run[UserId, Mail] = run  # E: gives Sent
    counting = await counted.create_run()
    counting.state.amount  # E: Counters has no amount
    await counting.start(Outgoing(email="", subject="", body=""), initial_state=Totals())  # E: the state is Counters
    print(unawaited, sent, wrong, other)


# ------------------------------------------------------------------ results
def of_any(result: RunResult[Sent]) -> None:
    result.output  # E: only of Completed
    result.error  # E: only of Failed
    result.reason  # E: only of some
    result.unwrap().subject  # E: Sent has no subject
    result.get_step_result(fetch_user).subject  # E: User has no subject
    mail: RunResult[Mail] = result  # E: of Sent
    if result.status == "success":  # E: its word is completed
        print(mail)
    if result.status == "failed":
        print(result.output)  # E: a failed run has none
    if isinstance(result, Completed):
        print(result.output.subject)  # E: Sent has no subject
        print(result.error)  # E: a completed run has none


def not_all(result: RunResult[Sent]) -> str:
    match result:
        case Completed(output=sent):
            return sent.message_id  # E: may be None
        case Failed(error=error):
            return error  # E: a StepError, not text
        case Cancelled() | Suspended() | Waiting():
            return ""
        case _:
            assert_never(result)  # E: Paused is left


def of_a_suspension(parked: Suspended) -> None:
    parked.payload_of(send_email)  # E: a step that does not suspend
    parked.payload_of("ask-first")  # E: a step, not its id
    parked.payload_of(ask_first).subject  # E: may be None
    sent: Sent | None = parked.payload_of(ask_first)  # E: suspends with Mail
    print(sent)


def not_waiting(result: RunResult[Sent]) -> None:
    match result:
        case Completed() | Failed() | Cancelled() | Suspended() | Paused():
            return
        case _:
            assert_never(result)  # E: Waiting is left


def no_fallback(result: RunResult[Sent]) -> str:  # E: most members give nothing
    if isinstance(result, Completed):
        return ""


def too_many(result: RunResult[Sent]) -> None:
    match result:
        case Completed(_, _):  # E: its output is all there is by position
            pass
        case _:
            pass
