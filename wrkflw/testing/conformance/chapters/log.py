"""The log: dense slots, one order, a prefix at every moment."""

from __future__ import annotations

import asyncio

from wrkflw.testing.conformance.acts import (
    RUN_STARTED,
    attributes,
    begin,
    completed,
    create,
    created,
    creation,
    lazily_started,
    log_of,
    no_trace,
    record,
    signal,
    started,
    types_in,
)
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure, ensure_equal, present, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import events as e
from wrkflw.world.errors import EventLimitError, PreconditionFailedError, WorldError
from wrkflw.world.storage import PageRequest


@promise("§2.1")
async def check_slots_count_from_one(stage: Stage) -> None:
    """Slots are dense from 1, and an event's id is ``evnt_`` and its slot as 26 digits."""
    world = await stage.open()
    run_id = await begin(world, created("step_a"), started("step_a"))

    log = await log_of(world, run_id)

    ensure_equal([event.slot for event in log], [1, 2, 3, 4], "slots")
    ensure_equal(log[0].event_id, "evnt_00000000000000000000000001", "the first id")
    ensure_equal({event.run_id for event in log}, {run_id}, "the run of the events")


@promise("§2.1")
async def check_a_refused_write_leaves_no_hole(stage: Stage) -> None:
    """A write that is refused takes no slot: the next gets the one that would have been its."""
    world = await stage.open()
    run_id = await begin(world, created("step_a"))

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, created("step_a")), 409)
        await refusal(world.storage.events.create(run_id, completed("step_b")), 404)

    result = await record(world, run_id, started("step_a"))
    ensure_equal(present(result.event, "the event").slot, 4, "the slot of the next event")


@promise("§2.1")
async def check_the_event_that_is_given_back_is_the_stored_one(stage: Stage) -> None:
    """What a write returns is what stands in the log: slot, event, time."""
    world = await stage.open()
    run_id = await create(world)
    for event in (RUN_STARTED, lazily_started("step_a"), completed("step_a"), signal("paid"), attributes(team="a")):
        stored = present((await world.storage.events.create(run_id, event)).event, "the event")

        ensure_equal(await world.storage.events.get(run_id, stored.event_id), stored, "the event, read")


@promise("§2.1")
async def check_writers_at_once_take_a_slot_each(stage: Stage) -> None:
    """Many writers to one run at once: every event is in the log once, and no slot is skipped."""
    world = await stage.open()
    run_id = await begin(world)

    results = await asyncio.gather(
        *(world.storage.events.create(run_id, signal("paid", b"%d" % number)) for number in range(25))
    )

    slots = sorted(present(result.event, "the event").slot for result in results)
    ensure_equal(slots, list(range(3, 28)), "slots")
    payloads = {getattr(event.event, "payload_data", None) for event in (await log_of(world, run_id))[2:]}
    ensure_equal(payloads, {b"%d" % number for number in range(25)}, "payloads in the log")


@promise("§2.1", need="lasting")
async def check_two_worlds_on_one_run_take_a_slot_each(stage: Stage) -> None:
    """Two Worlds write to one run in turn and at once: the log of both is the same, and dense."""
    one, other = await stage.open(), await stage.open()
    run_id = await begin(one)

    await asyncio.gather(
        *(
            world.storage.events.create(run_id, signal("paid", b"%d" % number))
            for number in range(10)
            for world in (one, other)
        )
    )

    log = await log_of(one, run_id)
    ensure_equal([event.slot for event in log], list(range(1, 23)), "slots")
    ensure_equal(await log_of(other, run_id), log, "the log, as the other World reads it")


@promise("§1.5")
async def check_a_reader_always_sees_a_prefix(stage: Stage) -> None:
    """Whenever the log is read, it is the beginning of what it will be."""
    world = await stage.open()
    run_id = await begin(world)
    seen: list[list[e.StoredEvent]] = []

    async def look() -> None:
        for _ in range(10):
            seen.append(await log_of(world, run_id))
            await asyncio.sleep(0)

    await asyncio.gather(look(), *(world.storage.events.create(run_id, signal("paid")) for _ in range(20)))

    log = await log_of(world, run_id)
    ensure(all(log[: len(prefix)] == prefix for prefix in seen), "an earlier reading is a prefix of the log")


@promise("§1.7")
async def check_times_do_not_go_back(stage: Stage) -> None:
    """``created_at`` comes from the store's clock and does not decrease, though the clock be turned back."""
    world = await stage.open()
    stage.turn(hours=1)
    run_id = await begin(world)
    before = stage.clock.now()
    stage.turn(minutes=-30)

    await record(world, run_id, signal("paid"), created("step_a"))

    times = [event.created_at for event in await log_of(world, run_id)]
    ensure_equal(times[:2], [before, before], "times before")
    ensure(times == sorted(times), f"times do not decrease: {times}")


@promise("§1.6", need="lasting")
async def check_what_was_acknowledged_is_there_after_reopening(stage: Stage) -> None:
    """A World that is opened later finds every event, every payload and every view as they were."""
    world = await stage.open()
    run_id = await begin(world, lazily_started("step_a"), completed("step_a"), signal("paid"), attributes(team="a"))
    log, run = await log_of(world, run_id), await world.storage.runs.get(run_id)

    world = await stage.reopen(world)

    ensure_equal(await log_of(world, run_id), log, "the log")
    ensure_equal((await world.storage.runs.get(run_id)).attributes, run.attributes, "the attributes")
    ensure_equal((await world.storage.steps.get(run_id, "step_a")).output, b"3", "the output of the step")
    result = await record(world, run_id, created("step_b"))
    ensure_equal(present(result.event, "the event").slot, len(log) + 1, "the next slot")


@promise("§4.1 expect_slot")
async def check_a_write_may_insist_on_its_slot(stage: Stage) -> None:
    """``expect_slot`` refuses with 412 unless the log ends there."""
    world = await stage.open()
    run_id = await begin(world)
    create_event = world.storage.events.create

    async with no_trace(world, run_id):
        for wrong in (0, 1, 3):
            await refusal(create_event(run_id, signal("paid"), expect_slot=wrong), 412, PreconditionFailedError)

    result = await create_event(run_id, signal("paid"), expect_slot=2)
    ensure_equal(present(result.event, "the event").slot, 3, "the slot")


@promise("§4.1 expect_slot")
async def check_of_two_that_insist_on_one_slot_one_gets_it(stage: Stage) -> None:
    """Two writes that expect the same slot at once: one is accepted, the other 412."""
    world = await stage.open()
    run_id = await begin(world)

    outcomes = await asyncio.gather(
        *(world.storage.events.create(run_id, signal("paid"), expect_slot=2) for _ in range(4)),
        return_exceptions=True,
    )

    refused = [outcome for outcome in outcomes if isinstance(outcome, PreconditionFailedError)]
    ensure_equal(len(refused), 3, "refused")
    ensure_equal(len(await log_of(world, run_id)), 3, "events")


@promise("§8 events.get")
async def check_an_event_is_found_by_its_id(stage: Stage) -> None:
    """``events.get`` gives the event of the slot; one that is not there is 404."""
    world = await stage.open()
    run_id = await begin(world)

    stored = await world.storage.events.get(run_id, e.event_id(2))

    ensure_equal((stored.slot, stored.event_type), (2, "run_started"), "the event")
    await refusal(world.storage.events.get(run_id, e.event_id(3)), 404)


@promise("§8 list_by_correlation_id")
async def check_the_story_of_one_step_is_told_in_order(stage: Stage) -> None:
    """``list_by_correlation_id`` gives what is about one thing in this run, oldest first, and nothing else."""
    world = await stage.open()
    run_id = await begin(world, created("step_a"), created("step_b"), started("step_a"), completed("step_a"))
    await begin(world, created("step_a"))

    story = (await world.storage.events.list_by_correlation_id(run_id, "step_a")).data

    ensure_equal(
        [(event.run_id, event.event_type) for event in story],
        [(run_id, "step_created"), (run_id, "step_started"), (run_id, "step_completed")],
        "what happened to the step",
    )


@promise("§8 events.list")
async def check_a_log_can_be_read_from_a_slot_on(stage: Stage) -> None:
    """``after_slot`` leaves out what is known, whole or in pages."""
    world = await stage.open()
    run_id = await begin(world, created("step_a"), created("step_b"))

    rest = await world.storage.events.list(run_id, after_slot=2)
    first = await world.storage.events.list(run_id, after_slot=2, page=PageRequest(limit=1))

    ensure_equal([event.slot for event in rest.data], [3, 4], "slots")
    ensure_equal(([event.slot for event in first.data], first.has_more), ([3], True), "the first page")


@promise("§4.2, event ceiling")
async def check_a_full_log_takes_ends_alone(stage: Stage) -> None:
    """At the limit only the end of the run and outcomes of running steps are accepted; others are refused."""
    world = await stage.open(max_events=4)
    run_id = await begin(world, lazily_started("step_a"))

    async with no_trace(world, run_id):
        for event in (created("step_b"), signal("paid"), started("step_a"), attributes(team="a")):
            await refusal(world.storage.events.create(run_id, event), 409, EventLimitError)

    await record(world, run_id, completed("step_a"), e.RunFailed(error_code="MAX_EVENTS_EXCEEDED"))
    ensure_equal((await types_in(world, run_id))[-2:], ["step_completed", "run_failed"], "the end of the log")


@promise("§1.8")
async def check_what_is_handed_out_are_copies(stage: Stage) -> None:
    """Changing a value that was returned changes nothing that is stored."""
    world = await stage.open()
    run_id = await begin(world, attributes(team="a"), lazily_started("step_a"))
    result = await record(world, run_id, signal("paid"))

    for run in (result.run, await world.storage.runs.get(run_id), (await world.storage.runs.list()).data[0]):
        run.status, run.last_slot = "failed", 99
        run.attributes["team"] = "b"
    step = await world.storage.steps.get(run_id, "step_a")
    step.status, step.attempt = "failed", 99
    (await log_of(world, run_id)).clear()

    after = await world.storage.runs.get(run_id)
    ensure_equal((after.status, after.last_slot, after.attributes), ("running", 6, {"team": "a"}), "the run")
    ensure_equal((await world.storage.steps.get(run_id, "step_a")).attempt, 1, "the step's attempt")
    next_slot = present((await record(world, run_id, completed("step_a"))).event, "the event").slot
    ensure_equal(next_slot, 7, "the next slot")


@promise("§1.6")
async def check_a_write_happens_whole_or_not_at_all(stage: Stage) -> None:
    """A write that is called off has happened entirely or not: its event and its entity are there, or neither."""
    world = await stage.open()
    run_id = await begin(world)
    for turns in range(4):
        step_id = f"step_{turns}"
        writing = asyncio.ensure_future(world.storage.events.create(run_id, lazily_started(step_id)))
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await world.storage.settled()

        story = (await world.storage.events.list_by_correlation_id(run_id, step_id)).data
        try:
            attempt = (await world.storage.steps.get(run_id, step_id)).attempt
        except WorldError:
            attempt = 0
        ensure_equal((len(story), attempt) in ((2, 1), (0, 0)), True, f"{len(story)} events, attempt {attempt}: agreed")


@promise("§2.1")
async def check_a_run_created_by_its_start_has_both_slots(stage: Stage) -> None:
    """An event that the World adds stands in the slot before the one that asked for it."""
    world = await stage.open()
    await world.storage.events.create("order-1", e.RunStarted(creation=creation()))

    result = await record(world, "order-1", lazily_started("step_a"))

    ensure_equal(present(result.event, "the event").slot, 4, "the slot of the start")
    ensure_equal(
        await types_in(world, "order-1"), ["run_created", "run_started", "step_created", "step_started"], "the log"
    )


@promise("§2.1 bump and tell")
async def check_a_writer_is_told_what_it_has_not_seen(stage: Stage) -> None:
    """With ``event_count`` a write is never refused for being behind: the result has the events that were missed."""
    world = await stage.open()
    run_id = await begin(world, signal("paid"), signal("sent"))
    create_event = world.storage.events.create

    behind = await create_event(run_id, created("step_a"), event_count=2)
    level = await create_event(run_id, created("step_b"), event_count=5)
    silent = await create_event(run_id, created("step_c"))

    told = [event.slot for event in behind.events]
    ensure_equal([slot for slot in told if slot != 5], [3, 4], "slots that were missed")
    ensure_equal((present(behind.event, "the event").slot, behind.cursor), (5, None), "the write that was behind")
    ensure_equal([event.slot for event in level.events if event.slot != 6], [], "what who is level has missed")
    ensure_equal(list(silent.events), [], "what is told to who does not ask")


@promise("§2.1 since")
async def check_a_write_may_ask_for_the_page_behind_a_cursor(stage: Stage) -> None:
    """``since`` gives the page that ``events.list`` would give from there, the new event included."""
    world = await stage.open()
    run_id = await begin(world)
    cursor = present((await world.storage.events.list(run_id, page=PageRequest(10))).cursor, "the cursor")
    await record(world, run_id, signal("paid"))

    result = await world.storage.events.create(run_id, created("step_a"), since=cursor)

    ensure_equal(([event.slot for event in result.events], result.has_more), ([3, 4], False), "the page")
    page = await world.storage.events.list(run_id, page=PageRequest(10, cursor))
    ensure_equal(
        (list(result.events), result.cursor), (page.data, page.cursor), "the page and the cursor of the listing"
    )
    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, created("step_b"), since="nonsense"), 400)


@promise("§5 run_started")
async def check_a_start_may_bring_the_log(stage: Stage) -> None:
    """What a start preloads is the log, and with ``skip_preload`` nothing."""
    world = await stage.open()
    one, other = await create(world), await create(world)

    loaded = await world.storage.events.create(one, RUN_STARTED)
    bare = await world.storage.events.create(other, RUN_STARTED, skip_preload=True)

    ensure(list(loaded.events) in ([], await log_of(world, one)), "what is preloaded is the log, or nothing")
    ensure_equal(list(bare.events), [], "what is preloaded though nobody wants it")
