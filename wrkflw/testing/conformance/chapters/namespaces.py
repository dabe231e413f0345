"""Namespaces: one store for several applications, which do not meet."""

from __future__ import annotations

from wrkflw.testing.conformance.acts import (
    WORKFLOW,
    begin,
    create,
    created,
    creation,
    hook,
    no_trace,
    record,
    signal,
    types_in,
)
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import all_refused, ensure_equal, present, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, HookNotFoundError, WorkflowRunNotFoundError
from wrkflw.world.storage import Claim, RunFence, RunFilter


@promise("§13.5", need="lasting")
async def check_reads_do_not_see_another_namespace(stage: Stage) -> None:
    """A run of another namespace is 404 for every read, and in no listing."""
    home, away = await stage.open(), await stage.open("shop")
    run_id = await create(home, creation(attributes={"team": "a"}, key="order-1"))
    await record(home, run_id, e.RunStarted(), created("step_a"), hook("hook_a", "t"))
    foreign = away.storage

    await all_refused(
        404, WorkflowRunNotFoundError,
        foreign.runs.get(run_id), foreign.runs.locate(run_id), foreign.events.list(run_id),
        foreign.events.get(run_id, e.event_id(1)), foreign.steps.get(run_id, "step_a"), foreign.steps.list(run_id),
        foreign.events.list_by_correlation_id(run_id, "step_a"), foreign.hooks.list(run_id),
        foreign.hooks.get("hook_a", run_id=run_id),
    )  # fmt: skip
    await refusal(foreign.hooks.get_by_token("t"), 404, HookNotFoundError)
    ensure_equal(list(await foreign.runs.get_many([run_id])), [None], "many runs")
    for where in (
        None,
        RunFilter(attributes={"team": "a"}),
        RunFilter(workflow_name=WORKFLOW),
        RunFilter(detail="waiting"),
    ):
        ensure_equal((await foreign.runs.list(where)).data, [], f"runs listed by {where}")
    ensure_equal(await foreign.runs.find(WORKFLOW, "order-1"), None, "the run of the key")


@promise("§13.5", need="lasting")
async def check_writes_do_not_reach_another_namespace(stage: Stage) -> None:
    """A write to a run of another namespace is 404 and changes nothing."""
    home, away = await stage.open(), await stage.open("shop")
    run_id = await begin(home, created("step_a"))
    events = away.storage.events

    async with no_trace(home, run_id):
        await all_refused(
            404, WorkflowRunNotFoundError,
            events.create(run_id, signal("paid")), events.create(run_id, e.RunCancelled()),
            events.create(run_id, e.RunStarted()), events.create(run_id, created("step_b"), fence=RunFence(0)),
            events.create_batch(run_id, [created("step_b")]), away.storage.runs.claim(run_id, owner=away.owner),
            away.storage.runs.release(run_id, RunFence(0), seen_slot=3, wake_at=None),
            away.storage.runs.delete(run_id), away.streamer.write(run_id, "out", b"x"),
            away.streamer.close(run_id, "out"), away.streamer.list(run_id), away.streamer.info(run_id, "out"),
            away.streamer.get_chunks(run_id, "out"),
        )  # fmt: skip
        ensure_equal(await away.storage.runs.wake(run_id), False, "whether a foreign run was woken")
        ensure_equal((await away.storage.runs.cancel_many([run_id]))[run_id], "not_found", "cancelling it among many")


@promise("§13.5", need="lasting")
async def check_workers_take_runs_of_their_namespace_alone(stage: Stage) -> None:
    """``claim_due`` and ``next_due`` know only the runs of their namespace."""
    home, away = await stage.open(), await stage.open("shop")
    run_id = await create(home)

    ensure_equal(await away.storage.runs.next_due([WORKFLOW]), None, "when the next is due, elsewhere")
    taken = await away.storage.runs.claim_due(owner=away.owner, workflow_names=[WORKFLOW], limit=10)
    ensure_equal(list(taken), [], "what is due elsewhere")
    taken = await home.storage.runs.claim_due(owner=home.owner, workflow_names=[WORKFLOW], limit=10)
    ensure_equal([run.run_id for run in taken], [run_id], "what is due at home")


@promise("§9", need="lasting")
async def check_tokens_are_unique_per_namespace(stage: Stage) -> None:
    """The same token may be held once in each namespace."""
    home, away = await stage.open(), await stage.open("shop")
    one, other = await begin(home, hook("hook_a", "t")), await begin(away, hook("hook_a", "t"))

    ensure_equal((await home.storage.hooks.get_by_token("t")).run_id, one, "the holder at home")
    ensure_equal((await away.storage.hooks.get_by_token("t")).run_id, other, "the holder elsewhere")
    ensure_equal((await types_in(away, other))[-1], "hook_created", "the event elsewhere")


@promise("§4.5", need="lasting")
async def check_keys_are_unique_per_namespace(stage: Stage) -> None:
    """The same idempotency key may start a run in each namespace."""
    home, away = await stage.open(), await stage.open("shop")
    one, other = await create(home, creation(key="order-1")), await create(away, creation(key="order-1"))

    found = [await world.storage.runs.find(WORKFLOW, "order-1") for world in (home, away)]

    ensure_equal([present(run, "the run").run_id for run in found], [one, other], "the runs of the key")


@promise("§13.5", need="lasting")
async def check_a_run_id_is_used_in_one_namespace(stage: Stage) -> None:
    """A run id that another namespace has is taken: 409, and nothing is said or changed of that run."""
    home, away = await stage.open(), await stage.open("shop")
    await home.storage.events.create("order-1", creation())

    async with no_trace(home, "order-1"):
        await refusal(away.storage.events.create("order-1", creation("refund")), 409, EntityConflictError)
        born = away.storage.events.create_batch("order-1", [creation()], claim=Claim(away.owner))
        await refusal(born, 409, EntityConflictError)
        started = away.storage.events.create("order-1", e.RunStarted(creation=creation("refund")))
        await refusal(started, 409, EntityConflictError)
    await refusal(away.storage.runs.get("order-1"), 404, WorkflowRunNotFoundError)


@promise("§13.5", need="lasting")
async def check_a_world_of_a_namespace_sees_all_of_it(stage: Stage) -> None:
    """Two Worlds of one namespace see the same runs."""
    one, other = await stage.open("shop"), await stage.open("shop")
    run_id = await begin(one, hook("hook_a", "t"))

    ensure_equal((await other.storage.runs.get(run_id)).status, "running", "the run")
    ensure_equal((await other.storage.hooks.get_by_token("t")).run_id, run_id, "the holder of the token")
