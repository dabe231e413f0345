"""Large payloads: kept once under their hash, read back whole, and gone with the last run that has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from tests.world.looks import assert_the_views_are_the_fold, connection_of, log_of
from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.world.errors import DamagedPayloadError, EntityConflictError, PayloadTooLargeError, WorkflowRunNotFoundError
from wrkflw.world.payloads import INLINE_MAX
from wrkflw.world.storage import Claim, RunFence
from wrkflw.worlds.sql import compiled as sql
from wrkflw.worlds.sqlite import SqliteWorld

LARGE = b"\x00\xff large " * 4_000
OTHER = b"another one " * 4_000
OWNED = RunFence(1)


@pytest.fixture
def texts() -> list[str]:
    """Every statement that was executed."""
    return []


@pytest.fixture
async def world(clock: ManualClock, texts: list[str]) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(":memory:", clock=clock, on_statement=texts.append)
    await world.start()
    yield world
    await world.close()


def kept_in(world: SqliteWorld) -> list[bytes]:
    return [row[0] for row in connection_of(world).text("SELECT data FROM payloads ORDER BY sha256")]


async def created(world: SqliteWorld, run_id: str, data: bytes) -> None:
    await world.storage.events.create(run_id, e.RunCreated(workflow_name="w", input=data))


async def owned(world: SqliteWorld, run_id: str, *events: e.NewEvent) -> None:
    await world.storage.events.create_batch(
        run_id, [e.RunCreated(workflow_name="w"), *events], claim=Claim(world.owner)
    )


@pytest.mark.parametrize(("size", "kept"), [(0, 0), (INLINE_MAX, 0), (INLINE_MAX + 1, 1), (1_000_000, 1)])
async def test_a_payload_stands_in_its_event_up_to_a_limit(world: SqliteWorld, size: int, kept: int) -> None:
    await created(world, "r-1", b"x" * size)

    assert (await world.storage.runs.get("r-1")).input == b"x" * size
    assert len(kept_in(world)) == kept


async def test_what_is_equal_is_kept_once(world: SqliteWorld) -> None:
    await owned(world, "r-1", e.StepCreated(correlation_id="s", step_name="s", key="s", input=LARGE))
    await created(world, "r-2", LARGE)
    await created(world, "r-3", OTHER)

    assert sorted(kept_in(world)) == sorted([LARGE, OTHER])
    assert connection_of(world).text("SELECT count(*) FROM events WHERE length(payload) > 100") == [(0,)]


async def test_every_payload_is_read_as_it_was_written(world: SqliteWorld) -> None:
    step = e.StepCreated(correlation_id="step", step_name="s", key="s", input=LARGE)
    await owned(world, "r-1", step, e.StepStarted(correlation_id="step"))
    create = world.storage.events.create
    await create("r-1", e.StepRetrying(correlation_id="step", error=LARGE + b"2"), fence=OWNED)
    await create("r-1", e.StepCompleted(correlation_id="step", result=LARGE + b"3"), fence=OWNED)
    await create("r-1", e.HookCreated(correlation_id="hook", token="t", metadata=LARGE + b"4"), fence=OWNED)
    await create("r-1", e.HookReceived(correlation_id="hook", payload_data=LARGE + b"5"))
    await create("r-1", e.SignalReceived(signal_type="paid", payload_data=LARGE + b"6"))
    assert (await world.storage.hooks.get("hook", run_id="r-1")).metadata == LARGE + b"4"
    await create("r-1", e.RunFailed(error=LARGE + b"7"), fence=OWNED)

    found = await world.storage.steps.get("r-1", "step")
    assert (found.input, found.output) == (LARGE, LARGE + b"3")
    assert (await world.storage.runs.get("r-1")).error == LARGE + b"7"
    log = await log_of(world, "r-1")
    payloads = [getattr(one.event, one.event.payload) for one in log if one.event.payload is not None]
    given = [payload for payload in payloads if payload is not None]
    assert given == [LARGE, *(LARGE + b"%d" % n for n in range(2, 8))]
    assert [await world.storage.events.get("r-1", one.event_id) for one in log] == log
    assert list(await world.streamer.items("r-1")) == log
    await assert_the_views_are_the_fold(world, "r-1")


async def test_a_lazy_start_and_a_late_creation_carry_large_payloads_too(world: SqliteWorld) -> None:
    await world.storage.events.create("r-1", e.RunStarted(creation=e.RunCreated(workflow_name="w", input=LARGE)))
    lazy = e.StepStarted(correlation_id="step", step_name="s", key="s", input=OTHER)
    result = await world.storage.events.create("r-1", lazy)

    assert result.step is not None
    assert result.step.input == OTHER
    assert (await world.storage.runs.get("r-1")).input == LARGE
    assert len(kept_in(world)) == 2


async def test_listings_do_not_touch_large_payloads(world: SqliteWorld, texts: list[str]) -> None:
    await owned(world, "r-1", e.StepCreated(correlation_id="s", step_name="s", key="s", input=LARGE))
    texts.clear()

    runs = (await world.storage.runs.list()).data
    steps = (await world.storage.steps.list("r-1")).data
    events = (await world.storage.events.list("r-1", resolve_data="none")).data

    assert (runs[0].input, steps[0].input) == (None, None)
    assert all(getattr(one.event, "input", None) is None for one in events)
    assert not [text for text in texts if "payloads" in text and "FROM payloads" in text]


async def test_more_than_the_limit_is_refused_before_anything_is_written(clock: ManualClock) -> None:
    world = SqliteWorld(":memory:", clock=clock, payload_max=20_000)
    await world.start()
    await owned(world, "r-1")

    with pytest.raises(PayloadTooLargeError) as refused:
        await world.storage.events.create("r-1", e.SignalReceived(signal_type="paid", payload_data=b"x" * 20_001))
    with pytest.raises(PayloadTooLargeError, match="'chunk' for r-1 has 20,001 bytes"):
        await world.streamer.write("r-1", "log", b"x" * 20_001, fence=OWNED)

    assert refused.value.status == 413
    assert str(refused.value) == (
        "'payload_data' for r-1 has 20,001 bytes, the limit is 20,000; store it elsewhere and pass a reference, or "
        "raise payload_max"
    )
    assert len(await log_of(world, "r-1")) == 1
    assert kept_in(world) == []
    await world.close()


async def test_a_refused_event_leaves_no_payload_behind(world: SqliteWorld) -> None:
    await created(world, "r-1", b"1")

    with pytest.raises(EntityConflictError):
        await created(world, "r-1", LARGE)

    assert kept_in(world) == []


async def test_the_same_large_answer_twice_is_one_event(world: SqliteWorld) -> None:
    await created(world, "r-1", b"1")
    signal = e.SignalReceived(signal_type="paid", payload_data=LARGE)
    first = await world.storage.events.create("r-1", signal, resume_id="once")

    assert (await world.storage.events.create("r-1", signal, resume_id="once")).event == first.event
    with pytest.raises(EntityConflictError):
        await world.storage.events.create(
            "r-1", e.SignalReceived(signal_type="paid", payload_data=OTHER), resume_id="once"
        )


async def test_a_known_key_with_the_same_large_input_gives_the_run(world: SqliteWorld) -> None:
    creation = e.RunCreated(workflow_name="w", input=LARGE, idempotency_key="order-1")
    await world.storage.events.create("r-1", creation)

    again = await world.storage.events.create("r-2", creation, on_conflict="use_existing")

    assert (again.run.run_id, again.run.input) == ("r-1", LARGE)


# --- what is damaged -----------------------------------------------------------------------------------


async def test_a_payload_that_does_not_have_its_hash_is_not_handed_out(world: SqliteWorld) -> None:
    await created(world, "r-1", LARGE)
    await created(world, "r-2", OTHER)
    connection_of(world).text("UPDATE payloads SET data = zeroblob(36000) WHERE length(data) = 36000")
    assert len(LARGE) == 36_000

    with pytest.raises(DamagedPayloadError) as damaged:
        await world.storage.events.list("r-1")

    (name,) = connection_of(world).text("SELECT payload_ref FROM events WHERE run_no = 1")[0]
    assert str(damaged.value) == (
        f"slot 1 of run 'r-1' cannot be read: what is kept as {name!r} does not have this hash; "
        "restore it from a backup"
    )
    assert (damaged.value.run_id, damaged.value.part) == ("r-1", "slot 1")
    assert (await world.storage.runs.get("r-2")).input == OTHER
    assert (await world.storage.runs.get("r-1", resolve_data="none")).status == "pending"


async def test_a_payload_that_is_gone_is_named(world: SqliteWorld) -> None:
    await created(world, "r-1", LARGE)
    connection_of(world).text("DELETE FROM payloads")

    with pytest.raises(DamagedPayloadError, match=r"^slot 1 of run 'r-1' cannot be read: payload '\w{64}' is missing;"):
        await world.storage.runs.get("r-1")
    assert issubclass(DamagedPayloadError, StoreError)


# --- collecting ----------------------------------------------------------------------------------------


async def cancelled(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, e.RunCancelled())


async def test_a_payload_goes_with_the_last_run_that_refers_to_it(world: SqliteWorld) -> None:
    for run_id, data in (("r-1", LARGE), ("r-2", LARGE), ("r-3", OTHER)):
        await created(world, run_id, data)
        await cancelled(world, run_id)

    await world.storage.runs.delete("r-1")
    assert (await world.storage.runs.get("r-2")).input == LARGE
    await world.storage.runs.delete("r-2")

    assert kept_in(world) == [OTHER]
    assert (await world.storage.runs.get("r-3")).input == OTHER


async def test_a_payload_that_went_is_kept_again_for_who_writes_it_again(world: SqliteWorld) -> None:
    await created(world, "r-1", LARGE)
    await cancelled(world, "r-1")

    await asyncio.gather(world.storage.runs.delete("r-1"), created(world, "r-2", LARGE))

    assert (await world.storage.runs.get("r-2")).input == LARGE


async def test_what_is_left_without_an_event_is_collected_page_by_page(world: SqliteWorld) -> None:
    for number in range(450):
        await created(world, f"r-{number}", LARGE[: INLINE_MAX + 1] + b"%d" % number)
    connection_of(world).text("DELETE FROM events WHERE run_no % 2 = 0")

    assert await world.storage.payloads.collect() == 225
    assert len(kept_in(world)) == 225


async def test_two_namespaces_do_not_share_payloads(clock: ManualClock, tmp_path: Path) -> None:
    ours, theirs = (SqliteWorld(tmp_path / "app.db", namespace=name, clock=clock) for name in ("ours", "theirs"))
    await ours.start()
    await theirs.start()
    await created(ours, "r-1", LARGE)
    await created(theirs, "r-2", LARGE)
    assert len(kept_in(ours)) == 2

    await cancelled(theirs, "r-2")
    await theirs.storage.runs.delete("r-2")

    assert len(kept_in(ours)) == 1
    assert (await ours.storage.runs.get("r-1")).input == LARGE
    await ours.close()
    await theirs.close()


async def test_a_run_that_goes_while_it_is_read_is_not_called_damaged(world: SqliteWorld) -> None:
    await created(world, "r-1", LARGE)

    def goes(text: str) -> None:
        if text == sql.PAYLOADS_NAMED.text:  # the row of its event has been read
            connection_of(world).text("DELETE FROM events")
            connection_of(world).text("DELETE FROM runs")
            connection_of(world).text("DELETE FROM payloads")

    connection_of(world)._on_statement = goes

    with pytest.raises(WorkflowRunNotFoundError):
        await world.storage.runs.get("r-1")


async def test_what_is_small_and_plain_costs_no_statement(world: SqliteWorld, texts: list[str]) -> None:
    await created(world, "r-1", b"small")

    assert not [text for text in texts if "payloads" in text.split("SELECT")[0] and not text.startswith("CREATE")]
    assert sql.EVENT_INSERT.text in texts
