"""The chain: what flows, what it ends in, and what a run of it gives."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from wrkflw import Retry, Run, RunInfo, RunResult, Runtime, Workflow, WorkflowBuilder, create_workflow, sync

from .campaign import (
    Counters,
    Mail,
    Outgoing,
    Sent,
    User,
    UserId,
    campaign,
    count,
    counted,
    fetch_user,
    generate_email,
    now,
    send_email,
    tick,
)

# ------------------------------------------------------------------ the chain
start = create_workflow(id="campaign", input_schema=UserId, output_schema=Sent)
assert_type(start, WorkflowBuilder[UserId, Sent, UserId])
assert_type(start.then(fetch_user), WorkflowBuilder[UserId, Sent, User])
assert_type(start.then(fetch_user).then(generate_email), WorkflowBuilder[UserId, Sent, Mail])
assert_type(start.then(fetch_user).map(lambda user: user.email), WorkflowBuilder[UserId, Sent, str])
assert_type(start.then(fetch_user).map(lambda user: [user], id="list"), WorkflowBuilder[UserId, Sent, list[User]])
assert_type(
    start.map_ctx(lambda data, ctx: (data, ctx.init_data)), WorkflowBuilder[UserId, Sent, tuple[UserId, UserId]]
)
assert_type(start.then(fetch_user).into(UserId), WorkflowBuilder[UserId, Sent, UserId])
assert_type(start.into(UserId | None), WorkflowBuilder[UserId, Sent, UserId | None])
assert_type(start.then(now), WorkflowBuilder[UserId, Sent, str])

assert_type(campaign, Workflow[UserId, Sent])
assert_type(counted, Workflow[Outgoing, Sent, Counters])
assert_type(tick, Workflow[None, str])
assert_type(campaign.with_id("another"), Workflow[UserId, Sent])
assert_type(campaign.id, str)

# A subclass fits where its base is asked for, at either end.
as_mail = create_workflow(id="as-mail", input_schema=Outgoing, output_schema=Mail).map(lambda mail: mail).commit()
assert_type(as_mail, Workflow[Outgoing, Mail])
widened = create_workflow(id="widened", input_schema=Outgoing, output_schema=Sent | None).then(send_email).commit()
assert_type(widened, Workflow[Outgoing, Sent | None])

stateful = create_workflow(
    id="stateful",
    input_schema=Outgoing,
    output_schema=int,
    state_schema=Counters,
    description="Counts what it sends",
    retry=Retry(attempts=2),
    timeout=timedelta(days=7),
    retention="30d",
    on_mismatch="fail",
    on_completed=lambda info: print(info.run_id),
    on_failed=lambda info: print(info.status),
)
assert_type(stateful, WorkflowBuilder[Outgoing, int, Outgoing, Counters])
assert_type(
    stateful.then(send_email).then(count).map_ctx(lambda _, ctx: ctx.state.sent).commit(),
    Workflow[Outgoing, int, Counters],
)


def report(info: RunInfo) -> None:
    print(info.workflow_id, info.waiting_for)


reported = create_workflow(id="reported", input_schema=None, output_schema=str, on_completed=report).then(now).commit()


# ------------------------------------------------------------------ its runs
def synchronously() -> None:
    assert_type(campaign.run_sync(UserId(user_id="1")), Sent)
    assert_type(counted.run_sync(Outgoing(email="", subject="", body=""), initial_state=Counters(sent=3)), Sent)
    assert_type(tick.run_sync(), str)
    assert_type(sync(campaign.run(UserId(user_id="1"))), Sent)
    assert_type(sync(campaign.create_run()), Run[UserId, Sent])


async def asynchronously() -> None:
    async with Runtime("sqlite:///app.db", workflows=[campaign, counted, tick]) as runtime:
        assert_type(runtime, Runtime)
        assert_type(await campaign.run(UserId(user_id="1")), Sent)
        assert_type(await tick.run(), str)
        run = await campaign.create_run(idempotency_key="user-1", attributes={"team": "shop"}, on_conflict="fail")
        assert_type(run, Run[UserId, Sent])
        assert_type(await run.start(UserId(user_id="1"), wait=None), RunResult[Sent])
        assert_type(await run.result(timeout="5s"), RunResult[Sent])
        assert_type((await run.result()).unwrap(), Sent)
        assert_type(run.get_step_result(fetch_user), User)
        assert_type(run.get_step_result(fetch_user, default=None), User | None)
        assert_type(await campaign.get_run("r-17"), Run[UserId, Sent])
        counting = await counted.create_run(run_id="r-18")
        assert_type(counting.state, Counters)
        await counting.start(Outgoing(email="", subject="", body=""), initial_state=Counters(sent=1), wait="0s")
        ticking = await tick.create_run()
        assert_type(await ticking.start(), RunResult[str])
