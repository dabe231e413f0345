from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tests.clocks import START, ManualClock
from wrkflw.world import events as e
from wrkflw.world.errors import WorldError
from wrkflw.world.fold import fold
from wrkflw.world.storage import RunFence, Stamp
from wrkflw.worlds.sql.log import event_columns, event_from
from wrkflw.worlds.sql.sealing import Part, Reading, Sealing
from wrkflw.worlds.sqlite import SqliteWorld

from .looks import log_of, new_run_id

BYTES = b"\x00nul \xff\xfe not UTF-8 \x00"
META: e.Meta = {"list": [1, 2.5, None, True], "text": "na\x00ïve \U0001f600", "map": {"": {}}, "big": 2**70}
RETENTION = START + timedelta(days=30)
EVERY_FIELD: list[e.NewEvent] = [
    e.RunCreated(
        workflow_name="sales/email@2 (old)[1]".replace(" ", "_"),
        deployment_id="dpl_7",
        input=BYTES,
        execution_context=META,
        attributes={"$team": "a", "é": ""},
        allow_reserved_attributes=True,
        definition_hash="sha",
        idempotency_key="order\x0017",
        parent_run_id="wrun_parent",
        replayed_from="wrun_before",
    ),
    e.RunStarted(),
    e.StepCreated(
        correlation_id="step_1",
        step_name="fetch user",
        key="enrich/fetch#2[3]",
        kind="child",
        child_run_id="wrun_child",
        input=BYTES,
        meta=META,
    ),
    e.StepStarted(correlation_id="step_1", attempt=1, owner="own_1", meta=META),
    e.HookCreated(
        correlation_id="hook_1",
        token="invoice-17 \x00é",
        kind="suspend",
        step_id="step_1",
        metadata=BYTES,
        token_retention_until=RETENTION,
        is_system=True,
        owner_id="own_7",
        project_id="shop",
        environment="staging",
    ),
    e.StepRetrying(
        correlation_id="step_1", error=BYTES, retry_after=START, reason="suspended", hook_id="hook_1", meta=META
    ),
    e.HookReceived(correlation_id="hook_1", token="invoice-17 \x00é", payload_data=BYTES, resume_digest="sha-1"),
    e.StepStarted(correlation_id="step_1"),
    e.StepCompleted(correlation_id="step_1", result=BYTES, meta=META),
    e.StepCreated(correlation_id="step_2", step_name="b", key="b"),
    e.StepFailed(correlation_id="step_2", error=BYTES, fatal=True, meta=META),
    e.WaitCreated(
        correlation_id="wait_1", kind="signal", key="until paid", resume_at=RETENTION, signal_type="paid", meta=META
    ),
    e.SignalReceived(signal_type="paid", payload_data=BYTES, resume_digest="sha-2"),
    e.WaitCompleted(correlation_id="wait_1", cause="woken"),
    e.HookDisposed(correlation_id="hook_1", token="invoice-17 \x00é"),
    e.AttrSet(
        correlation_id="attr_1",
        changes=[e.AttributeChange(key="$team", value=None), e.AttributeChange(key="b", value="\x01")],
        writer="operator",
        allow_reserved_attributes=True,
    ),
    e.RunPaused(reason="it is night", detail=META),
    e.RunResumed(reason="it is day"),
    e.RunCompleted(output=BYTES, meta=META),
]
FAILED = e.RunFailed(error=BYTES, error_code="USER_ERROR")
CANCELLED = e.RunCancelled(cancel_reason="x" * 512)
CONFLICT = e.HookConflict(correlation_id="hook_1", token="t", conflicting_run_id="wrun_other")

LAZY = {"step_name", "key", "input"}  # a lazy start is stored as two events, and these on the first
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
METAS = st.none() | st.dictionaries(st.text(), JSON, max_size=3)


@pytest.fixture
async def world(clock: ManualClock) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(":memory:", clock=clock, stamp=Stamp("own_7", "shop", "staging"))
    await world.start()
    yield world
    await world.close()


async def stored(world: SqliteWorld, clock: ManualClock, events: Sequence[e.NewEvent]) -> list[e.NewEvent]:
    run_id = new_run_id(clock.now())
    for event in events:
        await world.storage.events.create(run_id, event)
    return [logged.event for logged in await log_of(world, run_id)]


async def test_every_field_of_every_event_comes_back_as_it_was_written(world: SqliteWorld, clock: ManualClock) -> None:
    assert await stored(world, clock, EVERY_FIELD) == EVERY_FIELD
    for end in (FAILED, CANCELLED):
        log = [e.RunCreated(workflow_name="greet"), end]
        assert await stored(world, clock, log) == log


def test_no_event_and_no_field_is_left_out_of_that() -> None:
    events = [*EVERY_FIELD, FAILED, CANCELLED, CONFLICT, e.Noop(sealed=True)]
    for cls in get_args(get_args(e.NewEvent)[0]):
        written = {name for event in events if type(event) is cls for name in event.model_dump(exclude_defaults=True)}
        left = cls.model_fields.keys() - written - {"event_type"}
        assert left == (LAZY if cls is e.StepStarted else {"creation"} if cls is e.RunStarted else set()), cls


def _nothing_large(name: str, part: Part) -> bytes:
    raise LookupError(name)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    st.builds(e.RunCompleted, output=st.none() | st.binary(), meta=METAS)
    | st.builds(e.RunCreated, workflow_name=st.just("a"), input=st.none() | st.binary(), execution_context=METAS)
    | st.builds(e.RunPaused, reason=st.none() | st.text(), detail=METAS)
    | st.builds(e.RunFailed, error=st.none() | st.binary(), error_code=st.none() | st.text())
)
def test_whatever_stands_in_an_event_survives_its_row(event: e.NewEvent) -> None:
    data, payload = event_columns(event)

    row = (1, event.event_type, None, data, payload, None, None, None, 0)
    read = event_from("wrun_1", row, Reading(Sealing("default", None), _nothing_large))

    assert read.event == event


async def test_without_payloads_everything_else_is_still_there(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    for event in EVERY_FIELD:
        await world.storage.events.create(run_id, event)

    log = (await world.storage.events.list(run_id, resolve_data="none")).data

    assert [logged.event for logged in log] == [
        event.model_copy(update={event.payload: None}) if event.payload is not None else event for event in EVERY_FIELD
    ]


async def test_an_event_is_answered_as_it_is_read_later(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, EVERY_FIELD[0])
    run = await world.storage.runs.claim(run_id, owner=world.owner)
    clock.turn(timedelta(microseconds=1))

    by_owner = await world.storage.events.create(run_id, EVERY_FIELD[2], fence=RunFence(run.epoch))
    from_outside = await world.storage.events.create(run_id, e.RunPaused())

    log = await log_of(world, run_id)
    assert [by_owner.event, from_outside.event] == log[1:]
    assert [logged.epoch for logged in log] == [None, 1, None]
    assert log[1].event_id == "evnt_00000000000000000000000002"
    assert await world.storage.events.get(run_id, log[1].event_id) == log[1]


@pytest.mark.parametrize(
    "event_id", ["", "evnt_", "evnt_²", "2", "evnt_2", f"evnt_{0:026d}", f"evnt_{9:026d}", "evnt_" + "9" * 26]
)
async def test_an_id_that_no_event_has_is_not_found(event_id: str, world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, EVERY_FIELD[0])

    with pytest.raises(WorldError, match="has no event") as refused:
        await world.storage.events.get(run_id, event_id)

    assert refused.value.status == 404


async def test_times_do_not_go_back_within_a_run_even_when_the_clock_does(
    world: SqliteWorld, clock: ManualClock
) -> None:
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, EVERY_FIELD[0])
    clock.turn(-timedelta(hours=1))

    await world.storage.events.create(run_id, e.RunStarted())

    assert [logged.created_at for logged in await log_of(world, run_id)] == [START, START]


@pytest.mark.parametrize("kind", ["lock_created", "lock_acquired", "lock_released", "step_skipped", ""])
def test_reserved_and_unknown_events_cannot_be_made(kind: str) -> None:
    adapter: TypeAdapter[e.NewEvent] = TypeAdapter(e.NewEvent)

    with pytest.raises(ValidationError, match="event_type"):
        adapter.validate_python({"event_type": kind, "correlation_id": "lock_1"})


@pytest.mark.parametrize("name", ["", "a" * 129, "a b", "../a", "a\n"])
def test_ids_are_plain(name: str) -> None:
    with pytest.raises(ValidationError):
        e.StepStarted(correlation_id=name)


@pytest.mark.parametrize("name", ["", "a" * 257, "a#1", "a/b", "a\x00"])
def test_step_names_leave_room_for_keys(name: str) -> None:
    with pytest.raises(ValidationError):
        e.StepCreated(correlation_id="step_1", step_name=name, key="a")


def test_moments_have_a_time_zone() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        e.WaitCreated(correlation_id="wait_1", resume_at=datetime(2026, 3, 1))  # noqa: DTZ001  # that is the point


@pytest.mark.parametrize("event", [CONFLICT, e.Noop()], ids=lambda event: str(event.event_type))
async def test_no_caller_writes_what_is_the_worlds_own(
    event: e.NewEvent, world: SqliteWorld, clock: ManualClock
) -> None:
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, EVERY_FIELD[0])

    with pytest.raises(WorldError, match=f"'{event.event_type}' is written by the World alone") as refused:
        await world.storage.events.create(run_id, event)

    assert refused.value.status == 400


async def test_what_is_no_event_is_refused_in_words(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, EVERY_FIELD[0])
    unknown = EVERY_FIELD[1].model_copy(update={"event_type": "workflow_started"})

    with pytest.raises(WorldError, match="'workflow_started' is no type of event"):
        await world.storage.events.create(run_id, unknown)
    with pytest.raises(WorldError, match="'dict' is no type of event"):
        await world.storage.events.create(run_id, {"event_type": "run_started"})  # type: ignore[arg-type]  # a mistake

    assert len(await log_of(world, run_id)) == 1


async def test_a_noop_is_listed_numbered_past_and_says_nothing(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, e.RunCreated(workflow_name="greet"))
    driver = world._write
    assert driver is not None
    driver.text("INSERT INTO events (run_no, slot, event_type, created_at) VALUES (1, 2, 'noop', 1)")
    driver.text("UPDATE runs SET last_slot = 2")

    await world.storage.events.create(run_id, e.RunStarted())

    log = await log_of(world, run_id)
    assert [(logged.slot, logged.event_type) for logged in log] == [(1, "run_created"), (2, "noop"), (3, "run_started")]
    assert fold(run_id, log).run == replace(await world.storage.runs.get(run_id), owner=None, wake_at=None)


@pytest.mark.parametrize("depth", [65, 180, 250, 3000])
async def test_small_json_is_kept_if_it_can_be_read_back(depth: int, world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    nested: object = 'a "bracket" [ in a text'
    for _ in range(depth):
        nested = [nested]
    context = e.RunCreated.model_construct(workflow_name="greet", execution_context={"nested": nested})

    if depth < 190:
        await world.storage.events.create(run_id, context)
        assert (await world.storage.runs.get(run_id)).execution_context == {"nested": nested}
    else:
        with pytest.raises(WorldError, match="what 'run_created' holds is nested more than 190 deep"):
            await world.storage.events.create(run_id, context)
        with pytest.raises(WorldError, match="was not found"):
            await world.storage.runs.get(run_id)


@pytest.mark.parametrize(
    "event",
    [
        e.RunPaused(reason="caf\udce9"),
        e.RunPaused(detail={"caf\udce9": 1}),
        e.RunCreated(workflow_name="greet", idempotency_key="caf\udce9"),
        e.RunCreated(workflow_name="greet", definition_hash="caf\udce9"),
    ],
    ids=["reason", "detail", "key", "hash"],
)
async def test_what_is_no_text_is_said_to_be_none(event: e.NewEvent, world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    if isinstance(event, e.RunPaused):
        await world.storage.events.create(run_id, e.RunCreated(workflow_name="greet"))

    with pytest.raises(WorldError, match=r"is no Unicode text.*; decode it before you pass it on$") as refused:
        await world.storage.events.create(run_id, event)
    assert refused.value.status == 400


async def test_no_run_is_claimed_by_what_is_no_text(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, e.RunCreated(workflow_name="greet"))

    with pytest.raises(WorldError, match="the owner of a run is no Unicode text"):
        await world.storage.runs.claim(run_id, owner="caf\udce9")
    with pytest.raises(WorldError, match="the name of a stream is no Unicode text"):
        await world.streamer.get_chunks(run_id, "caf\udce9")


async def test_brackets_in_a_text_are_no_nesting(world: SqliteWorld) -> None:
    paused = e.RunPaused(detail={"text": '[{"' * 1000})
    run = (await world.storage.events.create(None, e.RunCreated(workflow_name="greet"))).run

    await world.storage.events.create(run.run_id, paused)

    assert (await log_of(world, run.run_id))[-1].event == paused
