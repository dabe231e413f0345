"""Batches of an owner (contract §4.4, widened): thousands of events, and whole stories of one entity."""

from __future__ import annotations

import pytest

from tests.clocks import START, ManualClock
from wrkflw.world import events as e
from wrkflw.world.errors import WorldError
from wrkflw.world.storage import Claim, RunFence
from wrkflw.worlds.sqlite import SqliteWorld

from .looks import assert_the_views_are_the_fold, log_of, new_run_id, views_of

CREATED = e.RunCreated(workflow_name="greet", input=b"1")
RUN_STARTED = e.RunStarted()
OWNED = RunFence(1)


def created(name: str) -> e.StepCreated:
    return e.StepCreated(correlation_id=name, step_name="ask", key=name)


def started(name: str) -> e.StepStarted:
    return e.StepStarted(correlation_id=name)


def hook(name: str, token: str, step: str | None = None) -> e.HookCreated:
    return e.HookCreated(correlation_id=name, token=token, kind="hook" if step is None else "suspend", step_id=step)


def suspended(name: str, by: str) -> e.StepRetrying:
    return e.StepRetrying(correlation_id=name, reason="suspended", hook_id=by)


def disposed(name: str) -> e.HookDisposed:
    return e.HookDisposed(correlation_id=name)


def wait_for(name: str, signal_type: str = "paid") -> e.WaitCreated:
    return e.WaitCreated(correlation_id=name, kind="signal", signal_type=signal_type)


@pytest.fixture
async def run_id(world: SqliteWorld, clock: ManualClock) -> str:
    """A run that this process owns."""
    run_id = new_run_id(clock.now())
    await world.storage.events.create_batch(run_id, [CREATED, RUN_STARTED], claim=Claim(world.owner))
    return run_id


async def append(world: SqliteWorld, run_id: str, *events: e.NewEvent) -> list[int | None]:
    return [item.slot for item in (await world.storage.events.create_batch(run_id, events, fence=OWNED)).items]


async def test_a_fan_of_suspensions_is_three_batches(world: SqliteWorld, run_id: str) -> None:
    names = [f"step_{number}" for number in range(1000)]
    begin = [event for name in names for event in (created(name), started(name))]
    ask = [event for name in names for event in (hook(f"hook_{name}", name, name), suspended(name, f"hook_{name}"))]
    give_up = [event for name in names for event in (disposed(f"hook_{name}"), started(name))]
    done = [e.StepCompleted(correlation_id=name, result=b"1") for name in names]

    for events in (begin, ask, give_up, [*done, e.RunCompleted()]):
        assert None not in await append(world, run_id, *events)

    assert (await world.storage.runs.get(run_id)).status == "completed"
    await assert_the_views_are_the_fold(world, run_id)


async def test_one_of_many_suspensions_is_answered_by_reading_one_hook(clock: ManualClock) -> None:
    texts: list[str] = []
    world = SqliteWorld(":memory:", clock=clock, on_statement=texts.append)
    await world.start()
    run_id = new_run_id(clock.now())
    asks: list[e.NewEvent] = [hook(f"hook_{number}", f"token {number}") for number in range(100)]
    await world.storage.events.create_batch(run_id, [CREATED, *asks], claim=Claim(world.owner))
    texts.clear()

    await world.storage.events.create(run_id, e.HookReceived(correlation_id="hook_50"))

    assert len([text for text in texts if "FROM hooks" in text]) == 1
    assert all("hooks.hook_id = ?" in text for text in texts if "FROM hooks" in text)
    await world.close()


async def test_a_token_that_a_batch_sets_free_can_be_taken_in_it(world: SqliteWorld, run_id: str) -> None:
    await append(world, run_id, hook("hook_1", "t"))

    result = await world.storage.events.create_batch(
        run_id, [hook("hook_2", "t"), disposed("hook_1"), hook("hook_3", "t"), hook("hook_4", "t")], fence=OWNED
    )

    assert [item.conflicting_run_id for item in result.items] == [run_id, None, None, run_id]
    again = await world.storage.events.create_batch(run_id, [hook("hook_4", "t")], fence=OWNED)
    assert again.items == [result.items[3]]
    assert [stored.event_type for stored in (await log_of(world, run_id))[3:]] == [
        "hook_conflict", "hook_disposed", "hook_created", "hook_conflict",
    ]  # fmt: skip
    await assert_the_views_are_the_fold(world, run_id)


async def test_a_conflict_is_recorded_once_in_a_batch_too(world: SqliteWorld, run_id: str) -> None:
    assert await append(world, run_id, hook("hook_1", "t"), hook("hook_2", "t"), hook("hook_2", "u")) == [3, 4, 4]


async def test_waits_of_a_batch_take_signals_in_their_order(world: SqliteWorld, run_id: str) -> None:
    for payload in (b"1", b"2"):
        await world.storage.events.create(run_id, e.SignalReceived(signal_type="paid", payload_data=payload))
    give_back = e.WaitCompleted(correlation_id="w1", cause="cancelled")

    await append(world, run_id, wait_for("w1"), give_back, wait_for("w2"), wait_for("w3"), wait_for("w4"))
    await world.storage.events.create(run_id, e.SignalReceived(signal_type="paid"))

    waits = views_of(world, run_id).waits
    assert [waits[name].matched_slot for name in ("w1", "w2", "w3", "w4")] == [None, 3, 4, 10]
    await assert_the_views_are_the_fold(world, run_id)


async def test_a_fork_is_born_with_what_has_happened_already(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    events: list[e.NewEvent] = [
        CREATED,
        RUN_STARTED,
        created("step_1"),
        e.StepCompleted(correlation_id="step_1", result=b"1"),
        e.SignalReceived(signal_type="paid"),
        wait_for("w1"),
        e.WaitCompleted(correlation_id="w1", cause="woken"),
        wait_for("w2"),
        created("step_2"),
        hook("hook_1", "t", "step_2"),
        suspended("step_2", "hook_1"),
        e.SignalReceived(signal_type="shipped"),
    ]

    result = await world.storage.events.create_batch(run_id, events, claim=Claim(world.owner))

    assert (result.epoch, result.last_slot, result.at) == (1, len(events), START)
    await assert_the_views_are_the_fold(world, run_id)
    await append(world, run_id, disposed("hook_1"), started("step_2"), wait_for("w3", "shipped"), e.RunCompleted())
    assert views_of(world, run_id).waits["w3"].matched_slot == 12
    await assert_the_views_are_the_fold(world, run_id)


@pytest.mark.parametrize("event", [hook("hook_1", "t"), disposed("hook_1")], ids=lambda event: str(event.event_type))
async def test_hooks_come_and_go_in_batches_of_the_owner_alone(
    event: e.NewEvent, world: SqliteWorld, run_id: str
) -> None:
    await append(world, run_id, hook("hook_1", "t"))

    with pytest.raises(WorldError, match=f"'{event.event_type}' cannot be part of a batch; append it with create"):
        await world.storage.events.create_batch(run_id, [event])


async def test_a_suspension_that_timed_out_goes_on_when_its_hook_is_gone(world: SqliteWorld, run_id: str) -> None:
    await append(world, run_id, created("a"), started("a"), hook("h", "t", "a"), suspended("a", "h"))

    assert await append(world, run_id, started("a")) == [None]
    assert await append(world, run_id, disposed("h"), started("a")) == [7, 8]


async def test_the_order_of_the_log_decides_between_an_answer_and_the_end_of_its_hook(
    world: SqliteWorld, run_id: str
) -> None:
    await append(world, run_id, created("a"), started("a"), hook("h", "t", "a"), suspended("a", "h"))
    await world.storage.events.create(run_id, e.HookReceived(correlation_id="h", payload_data=b"yes"))

    assert await append(world, run_id, disposed("h"), started("a")) == [8, 9]
    with pytest.raises(WorldError, match="no live hook has this token"):
        await world.storage.events.create(run_id, e.HookReceived(correlation_id="h"))
    await assert_the_views_are_the_fold(world, run_id)


async def test_a_step_may_suspend_on_a_hook_of_an_earlier_batch(world: SqliteWorld, run_id: str) -> None:
    await append(world, run_id, hook("h", "t"), created("a"), started("a"))

    assert await append(world, run_id, suspended("a", "h"), started("a")) == [6, None]
