"""Forks of a run."""

from __future__ import annotations

from typing import assert_type

from wrkflw import Fork, Run, RunCheck, RunResult, Runtime, check_runs

from .campaign import Counters, Outgoing, Sent, User, campaign, counted, fetch_user, send_email, tick


async def fork(mail: Outgoing) -> None:
    run = await counted.create_run()
    draft = run.fork(at=fetch_user).with_output(fetch_user, User(name="Ada", email=""))
    assert_type(draft, Fork[Outgoing, Sent, Counters])
    assert_type(draft.with_output(fetch_user.only_if(lambda data: True), None), Fork[Outgoing, Sent, Counters])
    again = draft.with_state(Counters(sent=2)).with_input(mail)
    assert_type(again, Fork[Outgoing, Sent, Counters])
    assert_type(await again.start(wait=None), RunResult[Sent])
    assert_type(await again.enqueue(), Run[Outgoing, Sent, Counters])
    assert_type((await run.fork().enqueue()).state, Counters)
    assert_type((await run.fork(key="send[3]").enqueue()).run_id, str)
    assert_type((await run.fork(send_email, key="send").start()).get_step_result(send_email), Sent)


async def fork_at_a_workflow() -> None:
    run = await tick.get_run("r-17")
    assert_type(await run.fork(at=campaign).with_output(campaign, Sent(message_id=None)).start(), RunResult[str])


async def check(runtime: Runtime) -> None:
    assert_type(await check_runs(runtime), list[RunCheck])
    [checked] = await check_runs(runtime, [campaign, counted, tick])
    assert_type(checked.fits, bool)
    assert_type(checked.reason, str | None)
