"""Arguments that cannot be meant: refused by the family, never guessed at and never passed over."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wrkflw.testing.conformance.acts import WORKFLOW, begin, create, creation, no_trace, signal
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure_equal, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import events as e
from wrkflw.world.errors import FencedError
from wrkflw.world.queue import HealthCheck, Invocation
from wrkflw.world.storage import PageRequest, RunFence, RunFilter

from .bad_input import ensure_refused_as_unknown


@promise("§4.2")
async def check_data_beside_a_payload_is_bounded_too(stage: Stage) -> None:
    """100 MB of reason, state or meta are as much as 100 MB of payload: refused, and nothing is written."""
    world = await stage.open()
    run_id = await begin(world)
    huge = "x" * (100 * 1024 * 1024)

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, e.RunPaused(reason=huge)), 413)
    await refusal(world.storage.events.create(None, creation(execution_context={"state": huge})), 413)

    ensure_equal(len((await world.storage.runs.list()).data), 1, "runs")


@promise("§2")
async def check_the_texts_of_a_creation_are_short(stage: Stage) -> None:
    """Empty and over-long keys, deployments and hashes are 400, as are relatives that no run can be."""
    world = await stage.open()

    for field in ("idempotency_key", "deployment_id", "definition_hash"):
        for text in ("", "x" * 10_000):
            await refusal(world.storage.events.create(None, creation().model_copy(update={field: text})), 400)
    for field in ("parent_run_id", "replayed_from"):
        for text in ("", "../up", "a\x00"):
            await refusal(world.storage.events.create(None, creation().model_copy(update={field: text})), 400)

    ensure_equal((await world.storage.runs.list()).data, [], "runs")


@promise("§4.5")
async def check_an_unknown_word_for_a_conflict_ends_nobody(stage: Stage) -> None:
    """Of what to do with a key that is taken, no word is guessed at: its run goes on."""
    world = await stage.open()
    holder = await world.storage.events.create(None, creation(key="order-1"))
    unknown: Any = "ignore"

    await refusal(world.storage.events.create(None, creation(key="order-1"), on_conflict=unknown), 400)

    ensure_equal((await world.storage.runs.get(holder.run.run_id)).status, "pending", "the run that has the key")


@promise("§8")
async def check_what_nothing_can_be_asked_for_is_refused(stage: Stage) -> None:
    """Orders, statuses and details that there are not, and moments without a timezone, are 400, not an empty page."""
    world = await stage.open()
    await create(world)
    runs = world.storage.runs
    no_zone = datetime(2026, 1, 1)  # noqa: DTZ001  # that is the point
    filters: list[dict[str, Any]] = [
        {"statuses": ["paused"]}, {"statuses": "sleeping"}, {"statuses": ["exploded"]}, {"detail": "running"},
        {"since": no_zone}, {"until": no_zone},
    ]  # fmt: skip
    sideways: Any = "sideways"

    for where in filters:
        await refusal(runs.list(RunFilter(**where)), 400)
    await refusal(runs.list(page=PageRequest(sort_order=sideways)), 400)
    await refusal(world.storage.events.create(None, creation(), wake_at=no_zone), 400)

    ensure_equal(len((await runs.list(RunFilter(statuses="pending"))).data), 1, "one status, given by itself")


@promise("§2")
async def check_half_a_character_is_no_text(stage: Stage) -> None:
    """Texts that no encoding has are refused in the family, wherever they come."""
    world = await stage.open()
    run_id, half = await begin(world), "\ud800"
    queue, name = world.queue, "__wkf_workflow_greet"

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, signal("paid"), resume_id=half), 400)
        await refusal(world.streamer.write(run_id, "out", half), 400)
    await refusal(queue.queue(name, Invocation(run_id), idempotency_key=half), 400)
    await refusal(queue.queue(name, Invocation(run_id, step_id=half)), 400)
    await refusal(queue.queue(name, Invocation(run_id, trace={half: half})), 400)
    await refusal(queue.queue(name, HealthCheck(half)), 400)
    for attempt in (queue.requeue(half), queue.drop(half)):
        await ensure_refused_as_unknown("a message", attempt)


@promise("§4.1")
async def check_numbers_beyond_every_log_are_no_accident(stage: Stage) -> None:
    """Slots, counts and indexes that no log reaches are refused, or find nothing."""
    world = await stage.open()
    run_id, far = await begin(world), 10**30

    ensure_equal((await world.storage.events.list(run_id, after_slot=far)).data, [], "events behind the end")
    ensure_equal((await world.streamer.get_chunks(run_id, "out", start_index=far)).data, [], "chunks behind the end")
    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, e.RunPaused(), event_count=far), 400)
        await refusal(world.storage.events.create(run_id, e.RunPaused(), expect_slot=far), 412)
        await refusal(world.storage.events.create(run_id, e.RunPaused(), fence=RunFence(far)), 409, FencedError)
    await refusal(world.storage.runs.claim_due(owner=world.owner, workflow_names=[WORKFLOW], limit=-1), 400)
