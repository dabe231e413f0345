"""Mistakes in forks of a run; every marked line must be rejected by both checkers."""

from __future__ import annotations

from wrkflw import Runtime, check_runs

from .campaign import Totals, User, UserId, campaign, counted, fetch_user, send_email


async def fork() -> None:
    run = await counted.get_run("r-17")
    run.fork("fetch-user")  # E: a step, not its id
    run.fork(key=3)  # E: keys are text
    run.fork().with_output("send", None)  # E: a step, not its id
    run.fork().with_output(fetch_user, "Ada")  # E: gives a User
    run.fork().with_output(fetch_user, UserId(user_id="1"))  # E: it takes that, and gives a User
    run.fork().with_output(campaign, None)  # E: gives Sent
    run.fork().with_state(Totals())  # E: the state is Counters
    run.fork().with_input(UserId(user_id="1"))  # E: takes Outgoing
    run.fork().start().unwrap()  # E: not awaited
    await run.fork().start(UserId(user_id="1"))  # E: the input was given before
    await run.fork().enqueue(delay="1h")  # E: it has no delay
    user: User = (await run.fork().start()).unwrap()  # E: gives Sent
    print(user, send_email)


async def without_state() -> None:
    run = await campaign.get_run("r-17")
    run.fork().with_state(Totals())  # E: it has none


async def check(runtime: Runtime) -> None:
    await check_runs(runtime, ["campaign"])  # E: workflows, not their ids
    await check_runs(runtime, [fetch_user])  # E: a step is no workflow
    await check_runs([campaign])  # E: of a runtime
