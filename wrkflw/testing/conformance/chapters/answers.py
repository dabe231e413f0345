"""Answers: what is handed in at a hook is an event, recorded once and before the end."""

from __future__ import annotations

import asyncio

from wrkflw.testing.conformance.acts import (
    begin,
    disposed,
    hook,
    lazily_started,
    log_of,
    no_trace,
    received,
    record,
    suspending,
    types_in,
)
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure, ensure_equal, present, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, RunExpiredError


@promise("§5 hook_received")
async def check_payloads_are_events(stage: Stage) -> None:
    """A hook takes payloads as long as it lives; each is an event, and stands in the order it came."""
    world = await stage.open()
    run_id = await begin(world, hook("hook_a", "t"))

    await record(world, run_id, *(received("hook_a", payload) for payload in (b"1", b"2", b"1")))

    payloads = [getattr(event.event, "payload_data", None) for event in (await log_of(world, run_id))[3:]]
    ensure_equal(payloads, [b"1", b"2", b"1"], "payloads")


@promise("§5 hook_received")
async def check_a_suspension_is_answered_once(stage: Stage) -> None:
    """The second payload of a ``suspend`` hook is 409."""
    world = await stage.open()
    run_id = await begin(world, lazily_started("step_a"), suspending("hook_a", "step_a"), received("hook_a"))

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, received("hook_a", b"no")), 409, EntityConflictError)


@promise("§9 resume")
async def check_of_answers_at_once_one_is_taken(stage: Stage) -> None:
    """Two answers to a suspension at once: one is recorded, the other refused."""
    world = await stage.open()
    run_id = await begin(world, lazily_started("step_a"), suspending("hook_a", "step_a"))

    await asyncio.gather(
        *(world.storage.events.create(run_id, received("hook_a", payload)) for payload in (b"yes", b"no")),
        return_exceptions=True,
    )

    ensure_equal((await types_in(world, run_id)).count("hook_received"), 1, "answers")


@promise("§6, last paragraph")
async def check_an_answer_stands_before_the_end_or_is_refused(stage: Stage) -> None:
    """Answers and the end of the run at once: each is before the end in the log, or told 410."""
    world = await stage.open()
    run_id = await begin(world, hook("hook_a", "t"))
    events: list[e.NewEvent] = [received("hook_a", b"%d" % number) for number in range(10)]
    events.insert(5, e.RunCompleted())

    outcomes = await asyncio.gather(
        *(world.storage.events.create(run_id, event) for event in events), return_exceptions=True
    )

    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    ensure(all(isinstance(error, RunExpiredError) for error in refused), f"refusals are 410: {refused}")
    log = await types_in(world, run_id)
    ensure_equal(log[-1], "run_completed", "the last event")
    ensure_equal(log.count("hook_received"), 10 - len(refused), "answers in the log")


@promise("§9 dedupe", need="resume_dedupe")
async def check_an_answer_with_an_id_is_recorded_once(stage: Stage) -> None:
    """The same resume id and payload give the committed event, also after disposal and after the end of the run."""
    world = await stage.open()
    run_id = await begin(world, hook("hook_a", "t"))
    create_event = world.storage.events.create
    first = present((await create_event(run_id, received("hook_a"), resume_id="r1")).event, "the event")

    for between in (None, disposed("hook_a"), e.RunCompleted()):
        if between is not None:
            await record(world, run_id, between)
        async with no_trace(world, run_id):
            again = await create_event(run_id, received("hook_a"), resume_id="r1")
            ensure_equal(again.event, first, "the event that is given again")


@promise("§9 dedupe", need="resume_dedupe")
async def check_an_id_stands_for_one_answer(stage: Stage) -> None:
    """The same resume id with another payload or another hook is 409; without an id every call is a new event."""
    world = await stage.open()
    run_id = await begin(world, hook("hook_a", "t"), hook("hook_b", "u"))
    create_event = world.storage.events.create
    await create_event(run_id, received("hook_a"), resume_id="r1")

    async with no_trace(world, run_id):
        await refusal(create_event(run_id, received("hook_a", b"no"), resume_id="r1"), 409, EntityConflictError)
        await refusal(create_event(run_id, received("hook_b"), resume_id="r1"), 409, EntityConflictError)
    await create_event(run_id, received("hook_a"))
    await create_event(run_id, received("hook_a"))
    ensure_equal((await types_in(world, run_id)).count("hook_received"), 3, "answers")


@promise("§9 dedupe", need="resume_dedupe")
async def check_ids_belong_to_their_run(stage: Stage) -> None:
    """The same resume id in two runs is two answers; one id sent twice at once is one."""
    world = await stage.open()
    one, other = await begin(world, hook("hook_a", "t")), await begin(world, hook("hook_a", "u"))
    create_event = world.storage.events.create

    results = await asyncio.gather(
        *(create_event(run_id, received("hook_a"), resume_id="r1") for run_id in (one, other, one, other))
    )

    told = {(result.run.run_id, present(result.event, "the event").slot) for result in results}
    ensure_equal(told, {(one, 4), (other, 4)}, "the events that were given")
    ensure_equal((await log_of(world, one))[-1].slot, 4, "the end of the log")


@promise("§9 dedupe", need="resume_dedupe")
async def check_the_digest_decides_what_is_the_same(stage: Stage) -> None:
    """Where both calls bring a digest, it and not the payload says whether they ask for the same."""
    world = await stage.open()
    run_id = await begin(world, hook("hook_a", "t"))
    create_event = world.storage.events.create
    first = await create_event(run_id, received("hook_a", b"{ }"), resume_id="r1", resume_digest="d1")

    async with no_trace(world, run_id):
        again = await create_event(run_id, received("hook_a", b"{}"), resume_id="r1", resume_digest="d1")
        ensure_equal(again.event, first.event, "the event that is given again")
        other = create_event(run_id, received("hook_a", b"{ }"), resume_id="r1", resume_digest="d2")
        await refusal(other, 409, EntityConflictError)
