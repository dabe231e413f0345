"""The queue as those who produce see it: ids, keys, delays, dead letters; and what goes with a run."""

from __future__ import annotations

import asyncio
import sqlite3
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.clocks import ManualClock, settle
from wrkflw.codecs import AesGcm
from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, PayloadTooLargeError, WorldError
from wrkflw.world.queue import Defer, Delivery, HealthCheck, Invocation, Message, NewMessage, Scope
from wrkflw.world.storage import Claim, PageRequest, RunFence
from wrkflw.worlds.sqlite import SqliteWorld

GREET = "__wkf_workflow_greet"
CREATED = e.RunCreated(workflow_name="greet")


@pytest.fixture
async def world(clock: ManualClock) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(":memory:", clock=clock, max_deliveries=3)
    await world.start()
    yield world
    await world.close()


class Inbox:
    """A handler that keeps what it gets, and answers as it is told."""

    def __init__(self, *answers: Defer | Exception | None) -> None:
        self.got: list[tuple[str, Message, int]] = []
        self._answers = list(answers)

    async def __call__(self, message: Message, delivery: Delivery) -> Defer | None:
        self.got.append((delivery.message_id, message, delivery.attempt))
        answer = self._answers.pop(0) if self._answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def ids(self) -> list[str]:
        return [message_id for message_id, _, _ in self.got]


async def queued(world: SqliteWorld, run_id: str = "r", key: str | None = None, scope: Scope = "pending") -> str:
    return await world.queue.queue(GREET, Invocation(run_id), idempotency_key=key, scope=scope)


async def received(world: SqliteWorld) -> list[str]:
    """The ids of all messages that are due."""
    inbox = Inbox()
    end = world.queue.consume(inbox)
    await settle()
    await end()
    return inbox.ids


async def bury(world: SqliteWorld, clock: ManualClock) -> None:
    """Fail at whatever is due until it is dead."""
    end = world.queue.consume(Inbox(*(ValueError("no") for _ in range(3))))
    for _ in range(3):
        await settle()
        clock.turn("1m")
    await settle()
    await end()


# --- producing ---------------------------------------------------------------------------------------


async def test_messages_come_in_the_order_in_which_they_were_queued_each_with_an_id(world: SqliteWorld) -> None:
    ids = [await queued(world, run_id) for run_id in ("a", "b", "c")]

    assert all(message_id.startswith("msg_") and len(message_id) == 30 for message_id in ids)
    assert await received(world) == ids
    assert await received(world) == []


async def test_producing_starts_no_consumer(world: SqliteWorld) -> None:
    await queued(world)
    await settle()

    assert len(await received(world)) == 1


async def test_a_batch_answers_in_order_one_by_one(world: SqliteWorld) -> None:
    check = HealthCheck("c")
    first, refused, last = await world.queue.queue_batch(
        [NewMessage(GREET, check), NewMessage("__shop_wkf_workflow_greet", check), NewMessage(GREET, check)]
    )

    assert isinstance(refused, WorldError)
    assert str(refused) == ("queue '__shop_wkf_workflow_greet' is of namespace 'shop'; this world is 'default'")
    assert await received(world) == [first, last]


async def test_a_refused_message_raises(world: SqliteWorld) -> None:
    with pytest.raises(WorldError, match="is of namespace 'shop'") as refused:
        await world.queue.queue("__shop_wkf_workflow_greet", HealthCheck())

    assert refused.value.status == 400
    assert await received(world) == []


async def test_messages_outlive_their_process(tmp_path: Path, clock: ManualClock) -> None:
    world = SqliteWorld(tmp_path / "a.db", clock=clock)
    for _ in range(2):
        await world.start()
        await queued(world)
        await world.close()
    await world.start()

    assert len(await received(world)) == 2
    await world.close()


# --- keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["pending", "inflight"])
async def test_a_held_key_gives_the_first_message(world: SqliteWorld, scope: Scope) -> None:
    first = await queued(world, key="k", scope=scope)

    assert await queued(world, key="k", scope=scope) == first
    assert await queued(world, key="other", scope=scope) != first
    assert first in await received(world)
    assert await queued(world, key="k", scope=scope) != first


async def test_the_two_scopes_do_not_know_each_other(world: SqliteWorld) -> None:
    assert await queued(world, key="k", scope="pending") != await queued(world, key="k", scope="inflight")


async def test_a_wake_up_that_comes_while_the_handler_runs_is_a_new_one(world: SqliteWorld) -> None:
    ids: list[str] = []

    async def handle(_message: Message, delivery: Delivery) -> None:
        if not ids:
            ids.append(await queued(world, key="k"))
        ids.append(delivery.message_id)

    first = await queued(world, key="k")
    end = world.queue.consume(handle)
    await settle()

    assert ids[1:] == [first, ids[0]]
    await end()


async def test_an_inflight_key_is_held_until_the_message_is_acknowledged(world: SqliteWorld) -> None:
    ids: list[str] = []

    async def handle(_message: Message, delivery: Delivery) -> None:
        ids.append(await queued(world, key="k", scope="inflight"))
        ids.append(delivery.message_id)

    first = await queued(world, key="k", scope="inflight")
    end = world.queue.consume(handle)
    await settle()

    assert ids == [first, first]
    await end()


async def test_a_pending_message_is_due_at_the_earliest_moment_it_was_asked_for(
    world: SqliteWorld, clock: ManualClock
) -> None:
    for delay in (timedelta(hours=1), timedelta(minutes=1), timedelta(hours=2)):
        await world.queue.queue(GREET, Invocation("r"), idempotency_key="k", delay=delay)

    clock.turn(timedelta(minutes=1) - timedelta(microseconds=1))
    assert await received(world) == []
    clock.turn(timedelta(microseconds=1))
    assert len(await received(world)) == 1


async def test_a_wake_up_that_returns_becomes_one_with_the_newer(world: SqliteWorld, clock: ManualClock) -> None:
    newer: list[str] = []
    inbox = Inbox()

    async def handle(message: Message, delivery: Delivery) -> Defer | None:
        await inbox(message, delivery)
        if newer:
            return None
        hour = timedelta(hours=1)
        newer.append(await world.queue.queue(GREET, Invocation("r"), idempotency_key="k", delay=hour))
        return Defer(60)

    first = await queued(world, key="k")
    end = world.queue.consume(handle)
    await settle()
    clock.turn("1m")
    await settle()
    clock.turn("1d")
    await settle()

    assert [(message_id, attempt) for message_id, _, attempt in inbox.got] == [(first, 1), (newer[0], 2)]
    await end()


# --- messages with events ----------------------------------------------------------------------------


async def test_messages_are_queued_with_their_event(world: SqliteWorld) -> None:
    wake = NewMessage(GREET, Invocation("r-1"))

    await world.storage.events.create("r-1", CREATED, messages=[wake])

    assert len(await received(world)) == 1


async def test_messages_of_a_refused_event_are_not_queued(world: SqliteWorld) -> None:
    await world.storage.events.create("r-1", CREATED)
    wake = NewMessage(GREET, Invocation("r-1"))

    with pytest.raises(EntityConflictError):
        await world.storage.events.create("r-1", CREATED, messages=[wake])
    await world.storage.events.create_batch("r-1", [e.StepCompleted(correlation_id="none")], messages=[wake])

    assert await received(world) == []


async def test_an_event_is_refused_with_its_message(world: SqliteWorld) -> None:
    foreign = NewMessage("__shop_wkf_workflow_greet", Invocation("r-1"))

    with pytest.raises(WorldError, match="is of namespace 'shop'"):
        await world.storage.events.create("r-1", CREATED, messages=[foreign])

    assert await world.storage.runs.get_many(["r-1"]) == [None]


async def test_messages_of_a_batch_are_queued_if_any_of_it_was_appended(world: SqliteWorld) -> None:
    events: list[e.NewEvent] = [CREATED, e.StepCreated(correlation_id="s", step_name="s", key="s")]

    await world.storage.events.create_batch(
        "r-1", events, claim=Claim(world.owner), messages=[NewMessage(GREET, Invocation("r-1"))]
    )

    assert len(await received(world)) == 1


async def test_the_end_of_a_run_removes_its_wake_ups_and_no_more(world: SqliteWorld, clock: ManualClock) -> None:
    for run_id in ("r-1", "r-2"):
        await world.storage.events.create(run_id, CREATED)
    await queued(world, "r-1", key="k")
    kept = [await queued(world, "r-1", key="k", scope="inflight"), await queued(world, "r-2")]

    await world.storage.events.create("r-1", e.RunCancelled())

    assert await received(world) == kept


async def test_the_end_of_a_run_costs_no_statement_while_the_queue_is_empty(clock: ManualClock) -> None:
    texts: list[str] = []
    world = SqliteWorld(":memory:", clock=clock, on_statement=texts.append)
    await world.start()
    for run_id in ("r-1", "r-2", "r-3"):
        await world.storage.events.create(run_id, CREATED)
    await world.storage.events.create("r-1", e.RunCancelled())  # which finds the queue empty
    texts.clear()

    await world.storage.events.create("r-2", e.RunCancelled())
    assert not [text for text in texts if "queue_messages" in text or "crashes" in text]
    await queued(world, "r-3")
    await world.storage.events.create("r-3", e.RunCancelled())
    assert await received(world) == []
    await world.close()


async def test_what_another_process_queued_is_removed_with_its_run(tmp_path: Path, clock: ManualClock) -> None:
    one, two = (SqliteWorld(tmp_path / "a.db", clock=clock) for _ in range(2))
    await one.start()
    for run_id in ("r-1", "r-2"):
        await one.storage.events.create(run_id, CREATED)
    await one.storage.events.create("r-1", e.RunCancelled())
    await two.start()
    await queued(two, "r-2")
    await two.close()

    await one.storage.events.create("r-2", e.RunCancelled())

    assert await received(one) == []
    await one.close()


async def test_a_rollback_forgets_that_the_queue_was_empty(clock: ManualClock) -> None:
    """The transaction that found it empty may have been the one that emptied it."""
    failing = False

    def fail(text: str) -> None:
        if failing and text == "COMMIT":
            raise OSError("disk")

    world = SqliteWorld(":memory:", clock=clock, on_statement=fail)
    await world.start()
    await world.storage.events.create("r-1", CREATED)
    await queued(world, "r-1")
    failing = True
    with pytest.raises(StoreError, match="could not commit: disk"):
        await world.storage.events.create("r-1", e.RunCancelled())
    failing = False

    await world.storage.events.create("r-1", e.RunCancelled())

    assert await received(world) == []
    await world.close()


async def test_a_deleted_run_takes_its_messages_along(world: SqliteWorld, clock: ManualClock) -> None:
    await world.storage.events.create("r-1", CREATED)
    await queued(world, "r-1")
    await bury(world, clock)
    assert (await world.storage.runs.get("r-1")).status == "failed"

    await world.storage.runs.delete("r-1")

    assert (await world.queue.dead_letters()).data == []


# --- dead letters ------------------------------------------------------------------------------------


async def test_a_message_that_failed_too_often_is_dead_and_its_run_failed(
    world: SqliteWorld, clock: ManualClock
) -> None:
    await world.storage.events.create("r-1", CREATED)
    message_id = await queued(world, "r-1")

    await bury(world, clock)

    (letter,) = (await world.queue.dead_letters()).data
    assert (letter.message_id, letter.queue_name, letter.run_id) == (message_id, GREET, "r-1")
    assert (letter.message, letter.attempt, letter.failures) == (Invocation("r-1"), 3, 3)
    assert letter.reason == "ValueError: no"
    assert letter.created_at < letter.dead_at
    run = await world.storage.runs.get("r-1")
    assert (run.status, run.error_code) == ("failed", "MAX_DELIVERIES_EXCEEDED")
    assert run.error == b'"a message failed 3 times, at last: ValueError: no"'
    assert await received(world) == []


async def test_the_run_of_a_dead_letter_may_have_ended_or_never_been(world: SqliteWorld, clock: ManualClock) -> None:
    await world.storage.events.create("r-1", CREATED)
    await world.storage.events.create("r-1", e.RunCancelled())
    for run_id in ("r-1", "r-2"):
        await queued(world, run_id, key=run_id, scope="inflight")
        await bury(world, clock)

    assert [letter.run_id for letter in (await world.queue.dead_letters()).data] == ["r-2", "r-1"]
    assert (await world.storage.runs.get("r-1")).status == "cancelled"


@pytest.mark.parametrize("scope", ["pending", "inflight"])
async def test_a_dead_letter_holds_no_key(world: SqliteWorld, clock: ManualClock, scope: Scope) -> None:
    dead = await queued(world, key="k", scope=scope)
    await bury(world, clock)

    assert await queued(world, key="k", scope=scope) != dead


async def test_a_requeued_letter_begins_anew_under_its_id(world: SqliteWorld, clock: ManualClock) -> None:
    message_id = await queued(world)
    await bury(world, clock)

    await world.queue.requeue(message_id)
    inbox = Inbox(ValueError("again"))
    end = world.queue.consume(inbox)
    await settle()
    clock.turn("1s")
    await settle()
    await end()

    assert [(each, attempt) for each, _, attempt in inbox.got] == [(message_id, 4), (message_id, 5)]
    assert (await world.queue.dead_letters()).data == []


async def test_a_requeued_wake_up_becomes_one_with_that_which_holds_its_key(
    world: SqliteWorld, clock: ManualClock
) -> None:
    dead = await queued(world, key="k")
    await bury(world, clock)
    newer = await world.queue.queue(GREET, Invocation("r"), idempotency_key="k", delay=timedelta(hours=1))

    await world.queue.requeue(dead)

    assert await received(world) == [newer]
    assert (await world.queue.dead_letters()).data == []


async def test_a_letter_is_not_requeued_beside_one_that_holds_its_inflight_key(
    world: SqliteWorld, clock: ManualClock
) -> None:
    dead = await queued(world, key="k", scope="inflight")
    await bury(world, clock)
    newer = await queued(world, key="k", scope="inflight")

    with pytest.raises(EntityConflictError, match=f"message '{newer}' holds the key of '{dead}'; drop one of the two"):
        await world.queue.requeue(dead)


async def test_a_dropped_letter_is_gone(world: SqliteWorld, clock: ManualClock) -> None:
    message_id = await queued(world)
    await bury(world, clock)

    await world.queue.drop(message_id)

    for once_more in (world.queue.drop, world.queue.requeue):
        with pytest.raises(WorldError, match=f"dead letter '{message_id}' was not found") as refused:
            await once_more(message_id)
        assert refused.value.status == 404


async def test_only_dead_letters_are_dropped_or_requeued(world: SqliteWorld) -> None:
    message_id = await queued(world)

    with pytest.raises(WorldError, match="was not found"):
        await world.queue.drop(message_id)


async def test_dead_letters_come_in_pages_the_latest_first(world: SqliteWorld, clock: ManualClock) -> None:
    ids: list[str] = []
    for _ in range(3):
        ids.insert(0, await queued(world))
        await bury(world, clock)

    first = await world.queue.dead_letters(PageRequest(limit=2))
    rest = await world.queue.dead_letters(PageRequest(limit=2, cursor=first.cursor))
    none = await world.queue.dead_letters(PageRequest(cursor=rest.cursor))

    assert [letter.message_id for letter in first.data + rest.data] == ids
    assert (first.has_more, rest.has_more, none.data, none.cursor) == (True, False, [], rest.cursor)
    with pytest.raises(WorldError, match="is not a cursor of this listing"):
        await world.queue.dead_letters(PageRequest(cursor="x"))


async def test_namespaces_share_a_file_and_no_messages(tmp_path: Path, clock: ManualClock) -> None:
    ours, theirs = (
        SqliteWorld(tmp_path / "a.db", namespace=name, clock=clock, max_deliveries=1) for name in ("default", "shop")
    )
    await ours.start()
    await theirs.start()
    mine = await ours.queue.queue(GREET, HealthCheck(), idempotency_key="k")
    other = await theirs.queue.queue("__shop_wkf_workflow_greet", HealthCheck(), idempotency_key="k")

    assert mine != other
    assert await received(ours) == [mine]
    end = theirs.queue.consume(Inbox(ValueError("no")))
    await settle()
    await end()
    assert [letter.message_id for letter in (await theirs.queue.dead_letters()).data] == [other]
    assert (await ours.queue.dead_letters()).data == []
    with pytest.raises(WorldError, match="was not found"):
        await ours.queue.requeue(other)
    await theirs.close()
    await ours.close()


# --- runs that lose their processes --------------------------------------------------------------------


async def crash(world: SqliteWorld, run_id: str, times: int) -> None:
    """A process claims the run and dies, so many times."""
    for number in range(times):
        await world.storage.runs.claim(run_id, owner=f"own_dead{number}")


async def taken(world: SqliteWorld) -> list[str]:
    runs = await world.storage.runs.claim_due(owner=world.owner, workflow_names=["greet"], limit=10)
    return [run.run_id for run in runs]


async def test_a_run_that_loses_too_many_processes_fails_and_leaves_a_letter(world: SqliteWorld) -> None:
    await world.storage.events.create("r-1", CREATED)
    await crash(world, "r-1", 3)

    assert await taken(world) == []

    run = await world.storage.runs.get("r-1")
    assert (run.status, run.error_code) == ("failed", "MAX_DELIVERIES_EXCEEDED")
    (letter,) = (await world.queue.dead_letters()).data
    assert (letter.queue_name, letter.run_id, letter.failures) == (GREET, "r-1", 3)
    assert letter.reason == "its process died or stopped 3 times while it had the run"


async def test_a_claim_of_a_run_that_lost_too_many_processes_finds_it_failed(world: SqliteWorld) -> None:
    await world.storage.events.create("r-1", CREATED)
    await crash(world, "r-1", 3)

    with pytest.raises(WorldError, match="cannot record 'claim' on r-1: it is already 'failed'"):
        await world.storage.runs.claim("r-1", owner=world.owner)

    assert (await world.storage.runs.get("r-1")).status == "failed"


async def test_an_event_that_claims_the_run_of_a_dead_process_counts_as_well(world: SqliteWorld) -> None:
    await world.storage.events.create("r-1", CREATED)
    await world.storage.runs.claim("r-1", owner="own_dead0")
    for number in (1, 2):
        paid = e.SignalReceived(signal_type="paid")
        await world.storage.events.create("r-1", paid, claim=Claim(f"own_dead{number}"))

    assert await taken(world) == []
    assert (await world.storage.runs.get("r-1")).error_code == "MAX_DELIVERIES_EXCEEDED"


async def test_a_run_that_was_given_up_in_good_order_is_forgiven(world: SqliteWorld) -> None:
    await world.storage.events.create("r-1", CREATED)
    await crash(world, "r-1", 2)
    run = await world.storage.runs.claim("r-1", owner=world.owner)
    await world.storage.runs.release("r-1", RunFence(run.epoch), seen_slot=1, wake_at=None)
    await crash(world, "r-1", 2)

    assert await taken(world) == ["r-1"]


async def test_a_run_is_given_up_by_its_own_namespace_whoever_else_is_at_the_file(
    tmp_path: Path, clock: ManualClock
) -> None:
    async def opened(namespace: str) -> SqliteWorld:
        world = SqliteWorld(tmp_path / "a.db", namespace=namespace, clock=clock, max_deliveries=2)
        await world.start()
        return world

    others = await opened("others")
    for _ in range(2):
        ours = await opened("ours")
        if (await ours.storage.runs.list()).data == []:
            await ours.storage.events.create("r-1", CREATED)
        assert await taken(ours) == ["r-1"]
        ours.abandon()
        assert await taken(others) == []

    ours = await opened("ours")
    assert await taken(ours) == []
    assert (await ours.storage.runs.get("r-1")).error_code == "MAX_DELIVERIES_EXCEEDED"
    assert len((await ours.queue.dead_letters()).data) == 1
    await ours.close()
    await others.close()


async def test_a_process_that_leaves_in_good_order_counts_for_nothing(tmp_path: Path, clock: ManualClock) -> None:
    world = SqliteWorld(tmp_path / "a.db", clock=clock, max_deliveries=1)
    await world.start()
    await world.storage.events.create("r-1", CREATED)
    assert await taken(world) == ["r-1"]
    await world.close()
    await world.start()

    assert await taken(world) == ["r-1"]
    await world.close()


# --- waking ------------------------------------------------------------------------------------------


async def test_only_a_run_that_waits_can_be_woken(world: SqliteWorld, clock: ManualClock) -> None:
    runs, hour = world.storage.runs, clock.now() + timedelta(hours=1)
    for run_id in ("waits", "owned", "paused", "ended"):
        await world.storage.events.create(run_id, CREATED)
        claimed = await runs.claim(run_id, owner=world.owner)
        await world.storage.events.create(run_id, e.RunStarted(), fence=RunFence(claimed.epoch))
        await runs.release(run_id, RunFence(claimed.epoch), seen_slot=2, wake_at=None)
    await runs.claim("owned", owner=world.owner)
    await world.storage.events.create("paused", e.RunPaused())
    await world.storage.events.create("ended", e.RunCancelled())
    await world.storage.events.create("later", CREATED, wake_at=hour)

    names = ("waits", "owned", "paused", "ended", "later", "unknown")
    assert [await runs.wake(name) for name in names] == [True, False, False, False, False, False]
    assert await taken(world) == ["waits"]


async def test_a_key_is_held_by_one_message_whoever_else_asks_at_once(world: SqliteWorld) -> None:
    await asyncio.gather(*(queued(world, key="k") for _ in range(10)))

    assert len(await received(world)) == 1


# --- what is too much, and what is secret ------------------------------------------------------------


async def test_a_message_that_nobody_could_record_is_not_queued(clock: ManualClock) -> None:
    world = SqliteWorld(":memory:", clock=clock, payload_max=1000)
    await world.start()
    for message in (
        Invocation("r", run_input=e.RunCreated(workflow_name="greet", input=bytes(1001))),
        Invocation("r", hook_input=e.SignalReceived(signal_type="paid", payload_data=bytes(1001))),
        HealthCheck("x" * 1001),
    ):
        with pytest.raises(PayloadTooLargeError, match="the limit is 1,000"):
            await world.queue.queue(GREET, message)
        with pytest.raises(PayloadTooLargeError):
            await world.storage.events.create("r", CREATED, messages=[NewMessage(GREET, message)])

    assert await world.storage.runs.get_many(["r"]) == [None]
    assert await received(world) == []
    await world.close()


async def test_what_is_no_message_is_not_queued(world: SqliteWorld) -> None:
    nothing: Any = None
    with pytest.raises(WorldError, match="this cannot be queued: it is no message"):
        await world.queue.queue(GREET, nothing)


SECRET = Invocation("r", hook_input=e.SignalReceived(signal_type="paid", payload_data=b"canary-in-the-mine"))


def locked(name: str = "2026-01", key: bytes = b"k" * 32) -> AesGcm:
    return AesGcm(keys={name: key}, current=name)


async def stored_with_a_codec(clock: ManualClock, *messages: Message) -> bytes:
    """The database, with these messages."""
    world = SqliteWorld(":memory:", clock=clock, codec=locked())
    await world.start()
    for message in messages:
        await world.queue.queue(GREET, message)
    image = world.abandon()
    assert image is not None
    return image


async def test_a_codec_encodes_messages_too(clock: ManualClock) -> None:
    image = await stored_with_a_codec(clock, SECRET, HealthCheck("canary-in-the-mine"))
    assert b"canary" not in image
    assert b64encode(b"canary-in-the-mine")[:20] not in image

    world = SqliteWorld(":memory:", clock=clock, codec=locked(), image=image)
    await world.start()
    inbox = Inbox()
    world.queue.consume(inbox)
    await settle()
    await world.close()

    assert [message for _, message, _ in inbox.got] == [SECRET, HealthCheck("canary-in-the-mine")]


@pytest.mark.parametrize("codec", [None, locked("2027-01", b"n" * 32)])
async def test_a_message_whose_key_is_missing_waits_for_it_and_has_not_failed(
    clock: ManualClock, codec: AesGcm | None
) -> None:
    image = await stored_with_a_codec(clock, SECRET)
    world = SqliteWorld(":memory:", clock=clock, codec=codec, image=image, max_deliveries=1)
    await world.start()
    plain = await queued(world, "other")
    inbox = Inbox()
    end = world.queue.consume(inbox)
    for _ in range(5):
        await settle()
        clock.turn("10s")
    assert inbox.ids == [plain]
    assert (await world.queue.dead_letters()).data == []
    await end()
    rest = world.abandon()

    world = SqliteWorld(":memory:", clock=clock, codec=locked(), image=rest)
    await world.start()
    clock.turn("10s")
    world.queue.consume(inbox)
    await settle()
    await world.close()

    assert [(message, attempt) for _, message, attempt in inbox.got[1:]] == [(SECRET, 1)]


async def test_a_message_in_plain_text_waits_for_who_reads_it(clock: ManualClock) -> None:
    world = SqliteWorld(":memory:", clock=clock)
    await world.start()
    await world.queue.queue(GREET, SECRET)
    image, inbox = world.abandon(), Inbox()

    cases: list[tuple[Literal["refuse", "read"], list[Message]]] = [("refuse", []), ("read", [SECRET])]
    for plaintext, delivered in cases:
        codec = AesGcm(keys={"2026-01": b"k" * 32}, current="2026-01", plaintext=plaintext)
        world = SqliteWorld(":memory:", clock=clock, codec=codec, image=image, max_deliveries=1)
        await world.start()
        end = world.queue.consume(inbox)
        await settle()
        clock.turn("10s")
        await settle()
        assert [message for _, message, _ in inbox.got] == delivered
        assert (await world.queue.dead_letters()).data == []
        await end()
        image = world.abandon()


async def test_a_message_that_was_tampered_with_is_given_up(clock: ManualClock, tmp_path: Path) -> None:
    database = tmp_path / "app.db"
    world = SqliteWorld(database, clock=clock, codec=locked(), max_deliveries=1)
    await world.start()
    message_id = await world.queue.queue(GREET, SECRET)
    other = await world.queue.queue(GREET, Invocation("other"))
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE queue_messages SET body = (SELECT body FROM queue_messages WHERE message_id = ?)", [other]
        )
    inbox = Inbox()
    world.queue.consume(inbox)
    await settle(20)

    (letter,) = (await world.queue.dead_letters()).data
    assert (letter.message_id, letter.message) == (message_id, None)
    assert "did not write it here" in letter.reason
    assert inbox.ids == [other]
    await world.close()
