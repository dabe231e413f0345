"""Bad input: refused by the right member of the error family, without a trace."""

from __future__ import annotations

from collections.abc import Coroutine

from wrkflw.testing.conformance.acts import (
    begin,
    create,
    created,
    creation,
    hook,
    no_trace,
    offer,
    received,
    record,
    sight_of,
    signal,
)
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import Breach, ensure_equal, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.errors import WorldError

BAD_IDS = (
    "", " ", ".", "..", "../step_a", "a/b", "a\\b", "a b", "a\x00", "\x00", "a\n", "é", "a" * 129, "%2e%2e", "a;b",
    "a:b",
)  # fmt: skip


async def ensure_unusable(world: World, run_id: str) -> None:
    """No write and no read takes it for the id of a run: 400 or 404, and nothing comes of it."""
    storage = world.storage
    await ensure_refused_as_unknown(
        f"run id {run_id!r}",
        storage.events.create(run_id, e.RunCancelled()), storage.events.create_batch(run_id, [created("step_a")]),
        storage.runs.get(run_id), storage.runs.locate(run_id), storage.runs.delete(run_id),
        storage.runs.claim(run_id, owner=world.owner), storage.events.list(run_id), storage.steps.list(run_id),
        storage.hooks.list(run_id), world.streamer.write(run_id, "out", b"x"), world.streamer.list(run_id),
    )  # fmt: skip


async def ensure_refused_as_unknown(what: str, *attempts: Coroutine[object, object, object]) -> None:
    try:
        for attempt in attempts:
            await _ensure_unknown(what, attempt)
    finally:
        for attempt in attempts:
            attempt.close()


async def _ensure_unknown(what: str, attempt: Coroutine[object, object, object]) -> None:
    try:
        given = await attempt
    except WorldError as error:
        if error.status in (400, 404):
            return
        raise Breach(f"{what}: expected 400 or 404, got {error.status}: {error}") from error
    except Exception as error:
        raise Breach(f"{what}: {type(error).__name__} is not of the family: {error}") from error
    raise Breach(f"{what} was accepted and gave {given!r}"[:300])


@promise("§2")
async def check_what_is_no_id_makes_no_run(stage: Stage) -> None:
    """Empty texts, path fragments, NUL bytes, other alphabets and over-long ids are 400 for a new run."""
    world = await stage.open()

    for run_id in BAD_IDS:
        await refusal(world.storage.events.create(run_id, creation()), 400)
        await refusal(world.storage.events.create(run_id, e.RunStarted(creation=creation())), 400)

    ensure_equal((await world.storage.runs.list()).data, [], "runs")


@promise("§2")
async def check_what_is_no_id_finds_no_run(stage: Stage) -> None:
    """Such ids are refused, or found nowhere, at every entry point."""
    world = await stage.open()
    await create(world)

    for run_id in BAD_IDS:
        await ensure_unusable(world, run_id)


@promise("§2")
async def check_what_is_no_id_is_about_nothing(stage: Stage) -> None:
    """Steps, hooks, waits and attribute changes cannot have such ids."""
    world = await stage.open()
    run_id = await begin(world)
    later = stage.clock.now()
    events: dict[str, dict[str, object]] = {
        "step_created": {"step_name": "charge", "key": "charge"}, "step_started": {"step_name": "charge"},
        "step_completed": {}, "step_failed": {}, "step_retrying": {}, "hook_created": {"token": "t"},
        "hook_received": {}, "hook_disposed": {}, "wait_created": {"resume_at": later}, "wait_completed": {},
        "attr_set": {"changes": []},
    }  # fmt: skip

    async with no_trace(world, run_id):
        for name in BAD_IDS:
            for event_type, fields in events.items():
                await offer(world, run_id, event_type, correlation_id=name, **fields)


@promise("§2")
async def check_what_is_no_id_is_not_read(stage: Stage) -> None:
    """Reading by such an id is 400 or 404, never another thing of the run."""
    world = await stage.open()
    run_id = await begin(world, created("step_a"), hook("hook_a", "t"))
    storage = world.storage

    for name in (*BAD_IDS, "step_%", "step__", "STEP_A", "evnt_1", "evnt_" + "0" * 26, "evnt_" + "9" * 26, "evnt_-1"):
        await ensure_refused_as_unknown(
            f"id {name!r}",
            storage.steps.get(run_id, name), storage.events.get(run_id, name), storage.hooks.get(name, run_id=run_id),
            storage.hooks.get(name),
        )  # fmt: skip
    for name in BAD_IDS:
        await refusal(storage.events.list_by_correlation_id(run_id, name), 400)


@promise("§2")
async def check_names_that_build_keys_are_plain(stage: Stage) -> None:
    """Workflow names and step names keep to their alphabet: no control characters, ``#`` or ``/`` in a step's."""
    world = await stage.open()
    run_id = await begin(world)

    for name in ("", "a b", "a\x00", "a\n", "é", "a;b", "a" * 257):
        await offer(world, None, "run_created", workflow_name=name)
    ensure_equal(len((await world.storage.runs.list()).data), 1, "runs")
    async with no_trace(world, run_id):
        for name in ("", "a#b", "a/b", "a\x00", "a\n", "a\x7f", "a" * 257):
            await offer(world, run_id, "step_created", correlation_id="step_a", step_name=name, key="charge")
            await offer(world, run_id, "signal_received", signal_type=name)


@promise("§9")
async def check_a_token_is_not_empty(stage: Stage) -> None:
    """A hook with an empty token is refused."""
    world = await stage.open()
    run_id = await begin(world)

    async with no_trace(world, run_id):
        await offer(world, run_id, "hook_created", correlation_id="hook_a", token="")


@promise("§5")
async def check_unknown_events_are_refused(stage: Stage) -> None:
    """An unknown event type, an unknown field, or a reserved type is no event."""
    world = await stage.open()
    run_id = await begin(world)

    async with no_trace(world, run_id):
        for event_type in ("run_exploded", "", "RUN_PAUSED", "noop"):
            await offer(world, run_id, event_type)
        await offer(world, run_id, "run_paused", status="completed")
        await offer(world, run_id, "lock_created", correlation_id="lock_a")


@promise("§5")
async def check_an_event_needs_what_it_is_about(stage: Stage) -> None:
    """Where the catalogue demands a correlation id or a field, an event without it is none."""
    world = await stage.open()
    run_id = await begin(world)

    async with no_trace(world, run_id):
        await offer(world, run_id, "step_created", step_name="charge", key="charge")
        await offer(world, run_id, "step_created", correlation_id="step_a")
        await offer(world, run_id, "hook_created", correlation_id="hook_a")
        for event_type in ("step_completed", "hook_received", "wait_completed", "signal_received", "attr_set"):
            await offer(world, run_id, event_type)
        await offer(world, run_id, "wait_completed", correlation_id="wait_a", cause="boredom")
        await offer(world, run_id, "step_retrying", correlation_id="step_a", retry_after="2026-01-01T00:00:00")
        await offer(world, run_id, "run_cancelled", cancel_reason="r" * 513)
    await offer(world, None, "run_created")


@promise("§2")
async def check_only_a_creation_may_leave_the_id_out(stage: Stage) -> None:
    """Any event but ``run_created`` without a run id is 400."""
    world = await stage.open()
    for event in (e.RunStarted(), e.RunStarted(creation=creation()), signal("paid"), e.RunCancelled()):
        await refusal(world.storage.events.create(None, event), 400)

    ensure_equal((await world.storage.runs.list()).data, [], "runs")


@promise("§4.1 resume_id")
async def check_a_resume_id_is_for_what_comes_from_outside(stage: Stage) -> None:
    """A resume id on anything but ``hook_received`` and ``signal_received`` is 400."""
    world = await stage.open()
    run_id = await begin(world)

    async with no_trace(world, run_id):
        for event in (created("step_a"), e.RunCancelled(), e.RunPaused()):
            await refusal(world.storage.events.create(run_id, event, resume_id="r1"), 400)


@promise("§4.2")
async def check_deep_json_is_kept_or_refused(stage: Stage) -> None:
    """JSON of 65 levels in the fields that take JSON comes back as it was, or is 400: it breaks nothing."""
    world = await stage.open()
    deep: e.Meta = {"leaf": 1}
    for _ in range(65):
        deep = {"level": deep}
    run_id = await begin(world)

    try:
        await record(world, run_id, e.StepCreated(correlation_id="step_a", step_name="charge", key="charge", meta=deep))
    except WorldError as error:
        ensure_equal(error.status, 400, "the status of the refusal")
        return
    event = (await sight_of(world, run_id)).log[-1].event
    ensure_equal(getattr(event, "meta", None), deep, "meta")


@promise("§2")
async def check_quotes_and_wildcards_are_letters(stage: Stage) -> None:
    """What means something to a query language is text like any other."""
    world = await stage.open()
    odd = "x'); DELETE FROM runs; -- %_*?\\"
    run_id = await begin(world, e.StepCreated(correlation_id="step_a", step_name=odd, key=odd), hook("hook_a", odd))
    await record(world, run_id, signal(odd), e.RunPaused(reason=odd), e.RunFailed(error_code=odd))

    ensure_equal((await world.storage.steps.get(run_id, "step_a")).key, odd, "the key")
    ensure_equal((await world.storage.runs.get(run_id)).error_code, odd, "the error code")


@promise("§12")
async def check_a_payload_that_is_too_large_is_refused(stage: Stage) -> None:
    """A payload of 100 MB is refused before anything is written, wherever it comes."""
    world = await stage.open()
    run_id = await begin(world, created("step_a"), hook("hook_a", "t"))
    huge = bytes(100 * 1024 * 1024)
    create_event = world.storage.events.create

    async with no_trace(world, run_id):
        await refusal(create_event(run_id, received("hook_a", huge)), 413)
        await refusal(create_event(run_id, e.StepCompleted(correlation_id="step_a", result=huge)), 413)
        await refusal(world.streamer.write(run_id, "out", huge), 413)
    await refusal(create_event(None, e.RunCreated(workflow_name="greet", input=huge)), 413)

    ensure_equal(len((await world.storage.runs.list()).data), 1, "runs")


@promise("§4.2")
async def check_a_batch_with_bad_input_is_refused_whole_or_by_one(stage: Stage) -> None:
    """A payload that is too large leaves no part of its batch behind that the answer does not tell of."""
    world = await stage.open()
    run_id = await begin(world)
    huge = e.StepCreated(correlation_id="step_b", step_name="charge", key="b", input=bytes(100 * 1024 * 1024))

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create_batch(run_id, [created("step_a"), huge]), 413)
