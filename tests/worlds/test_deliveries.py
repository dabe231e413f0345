"""The consumer of a World: when it takes messages, how many, what becomes of them, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.clocks import ManualClock, settle
from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.world.errors import StoreRefusedError, WorldError
from wrkflw.world.queue import Defer, Delivery, Invocation, Message, NotDeliveredError
from wrkflw.world.storage import Stamp
from wrkflw.worlds.deliveries import BACKSTOP
from wrkflw.worlds.locks import WriteLock
from wrkflw.worlds.sql.mailbox import backoff
from wrkflw.worlds.sqlite import SqliteWorld

GREET = "__wkf_workflow_greet"
LEASE = timedelta(seconds=30)
MICROSECOND = timedelta(microseconds=1)
AT_ONCE = timedelta(0)


@pytest.fixture
async def world(clock: ManualClock) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(":memory:", clock=clock, max_deliveries=3)
    await world.start()
    yield world
    await world.close()


class Desk:
    """A handler that works until it is let go."""

    def __init__(self, answer: Defer | Exception | None = None) -> None:
        self.got: list[Delivery] = []
        self.cancelled = 0
        self.open = asyncio.Event()
        self.answer = answer

    async def __call__(self, _message: Message, delivery: Delivery) -> Defer | None:
        self.got.append(delivery)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @property
    def attempts(self) -> list[int]:
        return [delivery.attempt for delivery in self.got]


def answering(answer: Defer | Exception | None) -> Desk:
    desk = Desk(answer)
    desk.open.set()
    return desk


async def queued(world: SqliteWorld, delay: timedelta | None = None, **headers: str) -> str:
    return await world.queue.queue(GREET, Invocation("r"), delay=delay, headers=headers)


async def test_a_message_is_delivered_with_what_comes_with_it(world: SqliteWorld) -> None:
    desk = answering(None)
    world.queue.consume(desk)

    message_id = await queued(world, trace="00-1")
    await settle()

    assert desk.got == [Delivery(message_id, GREET, 1, {"trace": "00-1"})]


async def test_messages_of_another_environment_are_left_to_it(tmp_path: Path, clock: ManualClock) -> None:
    desks = {name: answering(None) for name in ("development", "production", "staging")}
    worlds = {name: SqliteWorld(tmp_path / "app.db", clock=clock, stamp=Stamp(environment=name)) for name in desks}
    for name, world in worlds.items():
        await world.start()
        world.queue.consume(desks[name])

    ids = {name: await worlds[name].queue.queue(GREET, Invocation("r")) for name in ("production", "development")}
    for _ in range(10):
        await settle()
        clock.turn(BACKSTOP)
    await settle()
    for world in worlds.values():
        await world.close()

    got = {name: [delivery.message_id for delivery in desk.got] for name, desk in desks.items()}
    assert got == {"production": [ids["production"]], "development": [ids["development"]], "staging": []}


async def test_a_message_of_another_environment_wakes_nobody_again_and_again(clock: ManualClock) -> None:
    statements: list[str] = []
    image = await _with_a_message_of(clock, "production")
    world = SqliteWorld(":memory:", clock=clock, on_statement=statements.append, image=image)
    await world.start()
    world.queue.consume(answering(None))
    await settle(50)
    statements.clear()

    await settle(50)

    assert statements == []
    await world.close()


async def _with_a_message_of(clock: ManualClock, environment: str) -> bytes:
    world = SqliteWorld(":memory:", clock=clock, stamp=Stamp(environment=environment))
    await world.start()
    await queued(world)
    image = world.abandon()
    assert image is not None
    return image


@pytest.mark.parametrize("concurrency", [0, -1])
async def test_a_consumer_handles_at_least_one_message(world: SqliteWorld, concurrency: int) -> None:
    with pytest.raises(WorldError, match=f"cannot handle {concurrency} messages at a time; give a concurrency from 1"):
        world.queue.consume(answering(None), concurrency=concurrency)


async def test_a_delayed_message_is_never_early(world: SqliteWorld, clock: ManualClock) -> None:
    desk = answering(None)
    world.queue.consume(desk)
    await queued(world, delay=timedelta(hours=1))
    await queued(world, delay=timedelta(hours=2))

    for pause, count in ((timedelta(hours=1) - MICROSECOND, 0), (MICROSECOND, 1), (timedelta(hours=1), 2)):
        await settle()
        clock.turn(pause)
        await settle()
        assert len(desk.got) == count


@pytest.mark.parametrize("seconds", [0, 0.5, 90])
async def test_a_deferred_message_comes_again_after_its_time_and_has_not_failed(
    world: SqliteWorld, clock: ManualClock, seconds: float
) -> None:
    desk = answering(Defer(seconds))
    message_id = await queued(world)
    end = world.queue.consume(desk)
    await settle(20)
    if seconds:
        assert desk.attempts == [1]
        clock.turn(timedelta(seconds=seconds) - MICROSECOND)
        await settle(20)
        assert desk.attempts == [1]
        clock.turn(MICROSECOND)
        await settle(20)

    assert desk.attempts[:2] == [1, 2]
    assert {delivery.message_id for delivery in desk.got} == {message_id}
    for _ in range(10):  # which would be too many failures
        clock.turn(timedelta(seconds=seconds))
        await settle(20)
    await end()
    assert (await world.queue.dead_letters()).data == []


async def test_a_failure_in_words_that_are_no_text_is_a_failure_like_any_other(
    world: SqliteWorld, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "wrkflw")  # xdist cannot hand on what is no text
    desk = answering(ValueError("no file caf\udce9"))
    await world.storage.events.create("r", e.RunCreated(workflow_name="greet"))
    await queued(world)
    world.queue.consume(desk)
    for failures in (1, 2, 3):
        await settle()
        clock.turn(backoff(failures))

    (letter,) = (await world.queue.dead_letters()).data
    assert (desk.attempts, letter.reason) == ([1, 2, 3], "ValueError: no file caf\\udce9")
    assert (await world.storage.runs.get("r")).error_code == "MAX_DELIVERIES_EXCEEDED"


async def test_a_failed_message_comes_again_later_each_time(world: SqliteWorld, clock: ManualClock) -> None:
    desk = answering(ValueError("no"))
    await queued(world)
    world.queue.consume(desk)
    await settle()

    for pause, attempts in ((timedelta(seconds=1), [1, 2]), (timedelta(seconds=2), [1, 2, 3])):
        clock.turn(pause - MICROSECOND)
        await settle()
        assert desk.attempts == attempts[:-1]
        clock.turn(MICROSECOND)
        await settle()
        assert desk.attempts == attempts


def test_the_pauses_grow_to_a_minute() -> None:
    assert [backoff(failures).total_seconds() for failures in (1, 2, 3, 6, 7, 48, 10_000)] == [1, 2, 4, 32, 60, 60, 60]


async def test_what_did_not_arrive_counts_as_no_attempt_and_no_failure(world: SqliteWorld, clock: ManualClock) -> None:
    desk = answering(NotDeliveredError("down", timedelta(seconds=7)))
    await queued(world)
    world.queue.consume(desk)
    for _ in range(5):
        await settle()
        clock.turn("7s")
    await settle()

    assert desk.attempts == [1] * 6
    assert (await world.queue.dead_letters()).data == []


async def test_a_handler_that_answers_anything_else_has_failed(world: SqliteWorld, clock: ManualClock) -> None:
    async def handle(_message: Message, _delivery: Delivery) -> Defer | None:
        return "ok"  # type: ignore[return-value]  # on purpose

    await queued(world)
    world.queue.consume(handle)
    for _ in range(3):
        await settle()
        clock.turn("1m")

    (letter,) = (await world.queue.dead_letters()).data
    assert letter.reason == "TypeError: a handler returns None or Defer, not str"


async def test_so_has_one_in_which_something_is_cancelled(world: SqliteWorld, clock: ManualClock) -> None:
    """Else it would be delivered again at once, and never given up."""
    begun: list[str] = []

    async def handle(_message: Message, _delivery: Delivery) -> Defer | None:
        begun.append("again")
        waiting = asyncio.ensure_future(asyncio.sleep(9))
        waiting.cancel()
        await waiting
        return None

    await queued(world)
    world.queue.consume(handle)
    for _ in range(5):
        await settle()
        clock.turn("1m")

    (letter,) = (await world.queue.dead_letters()).data
    assert letter.reason == "CancelledError: something that the handler waited for was cancelled"
    assert len(begun) == 3


async def test_no_more_are_handled_at_a_time_than_may_be(world: SqliteWorld) -> None:
    desk = Desk()
    for _ in range(5):
        await queued(world)
    world.queue.consume(desk, concurrency=2)
    await settle()
    assert len(desk.got) == 2

    desk.open.set()
    await settle()

    assert len(desk.got) == 5


async def test_a_slow_handler_keeps_its_message_as_long_as_its_process_lives(
    world: SqliteWorld, clock: ManualClock
) -> None:
    desk = Desk()
    await queued(world)
    world.queue.consume(desk, drain=AT_ONCE)
    await settle()

    clock.turn("1d")
    await settle()

    assert desk.attempts == [1]


async def test_an_idle_consumer_executes_nothing(clock: ManualClock) -> None:
    texts: list[str] = []
    world = SqliteWorld(":memory:", clock=clock, on_statement=texts.append)
    await world.start()
    world.queue.consume(answering(None))
    await settle()
    texts.clear()

    clock.turn("1d")
    await settle()

    assert texts == []
    await world.close()


async def test_a_settlement_that_fails_is_tried_again(clock: ManualClock) -> None:
    failures = [sqlite3.OperationalError("disk I/O error")]

    def fail(text: str) -> None:
        if failures and text.startswith("DELETE FROM queue_messages"):
            raise failures.pop()

    world = SqliteWorld(":memory:", clock=clock, on_statement=fail)
    await world.start()
    desk = answering(None)
    world.queue.consume(desk)
    await queued(world)
    await settle()
    clock.turn(BACKSTOP)
    await settle()
    clock.turn("1d")
    await settle()

    assert failures == []
    assert desk.attempts == [1]
    await world.close()


async def test_a_database_that_fails_is_asked_again(clock: ManualClock) -> None:
    failures = [sqlite3.OperationalError("disk I/O error")]

    def fail(text: str) -> None:
        if failures and text.startswith("UPDATE queue_messages"):
            raise failures.pop()

    world = SqliteWorld(":memory:", clock=clock, on_statement=fail)
    await world.start()
    desk = answering(None)
    await queued(world)
    world.queue.consume(desk)
    await settle()
    assert desk.attempts == []

    clock.turn(BACKSTOP)
    await settle()

    assert desk.attempts == [1]
    await world.close()


# --- roles -------------------------------------------------------------------------------------------


async def test_a_producer_delivers_nothing(tmp_path: Path, clock: ManualClock) -> None:
    producer, worker = (SqliteWorld(tmp_path / "a.db", clock=clock) for _ in range(2))
    await producer.start(consume=False)
    await worker.start()
    with pytest.raises(WorldError, match="this world only produces messages; start it with consume=True"):
        producer.queue.consume(answering(None))

    message_id = await queued(producer)
    desk = answering(None)
    worker.queue.consume(desk)
    await settle()

    assert [delivery.message_id for delivery in desk.got] == [message_id]
    await worker.close()
    await producer.close()


async def test_a_world_has_one_consumer_at_a_time(world: SqliteWorld) -> None:
    end = world.queue.consume(answering(None))
    with pytest.raises(WorldError, match="this world has a consumer already; end that one first"):
        world.queue.consume(answering(None))

    await end()

    world.queue.consume(answering(None))


async def test_an_ended_consumer_hears_of_nothing(world: SqliteWorld, clock: ManualClock) -> None:
    desk = answering(None)
    end = world.queue.consume(desk)
    await settle()
    await queued(world, delay=timedelta(hours=1))
    await settle()
    await end()

    await queued(world)
    clock.turn("1d")
    await settle()

    assert desk.got == []


# --- processes ---------------------------------------------------------------------------------------


@pytest.fixture
async def two(tmp_path: Path, clock: ManualClock) -> AsyncIterator[tuple[SqliteWorld, SqliteWorld]]:
    worlds = tuple(SqliteWorld(tmp_path / "a.db", clock=clock, lease=LEASE, max_deliveries=2) for _ in range(2))
    for world in worlds:
        await world.start()
    yield worlds[0], worlds[1]
    for world in worlds:
        await world.close()


async def test_a_message_goes_to_one_of_two_processes(two: tuple[SqliteWorld, SqliteWorld], clock: ManualClock) -> None:
    desks = [Desk(), Desk()]
    for world, desk in zip(two, desks, strict=True):
        world.queue.consume(desk)
    for _ in range(4):
        await queued(two[0])
    for _ in range(3):
        clock.turn(BACKSTOP)
        await settle()

    ids = [delivery.message_id for desk in desks for delivery in desk.got]
    assert len(ids) == len(set(ids)) == 4
    for desk in desks:
        desk.open.set()


async def test_a_message_of_a_process_that_died_has_failed_and_goes_to_another(
    two: tuple[SqliteWorld, SqliteWorld], clock: ManualClock
) -> None:
    dying, living = two
    lost, desk = Desk(), answering(None)
    dying.queue.consume(lost)
    message_id = await queued(dying)
    await settle()
    dying.abandon()
    assert lost.attempts == [1]

    living.queue.consume(desk)
    await settle()
    clock.turn(timedelta(seconds=1) - MICROSECOND)
    await settle()
    assert desk.got == []
    clock.turn(MICROSECOND)
    await settle()

    assert desk.got == [Delivery(message_id, GREET, 2)]


async def test_a_message_that_kills_its_processes_is_dead(
    two: tuple[SqliteWorld, SqliteWorld], clock: ManualClock, tmp_path: Path
) -> None:
    message_id = await queued(two[0])
    for world in two:
        world.queue.consume(Desk())
        await settle()
        clock.turn("1s")
        await settle()
        world.abandon()

    last = SqliteWorld(tmp_path / "a.db", clock=clock)
    await last.start()
    third = SqliteWorld(tmp_path / "a.db", clock=clock, max_deliveries=2)
    await third.start()
    desk = answering(None)
    third.queue.consume(desk)
    await settle()

    (letter,) = (await third.queue.dead_letters()).data
    assert (letter.message_id, letter.failures, desk.got) == (message_id, 2, [])
    assert letter.reason.endswith("died or stopped")
    await third.close()
    await last.close()


async def test_who_was_taken_for_dead_settles_nothing(two: tuple[SqliteWorld, SqliteWorld], clock: ManualClock) -> None:
    """Its lease ran out while it stood still; meanwhile another has the message."""
    stopped, other = two
    late, desk = Desk(), Desk()
    stopped.queue.consume(late)
    await queued(stopped)
    await settle()
    stopped._presence.drop()
    other.queue.consume(desk)
    await settle()
    clock.turn("1s")
    await settle()
    assert desk.attempts == [2]

    late.open.set()
    await settle()
    desk.answer = Defer(0)
    desk.open.set()
    await settle(30)

    assert desk.attempts[:2] == [2, 3]  # it was there to be deferred
    desk.answer = None
    await settle()


# --- closing -----------------------------------------------------------------------------------------


async def test_closing_waits_for_the_handlers_and_delivers_nothing_more(world: SqliteWorld) -> None:
    desk = Desk()
    for _ in range(3):
        await queued(world)
    end = world.queue.consume(desk, concurrency=2)
    await settle()
    ending = asyncio.ensure_future(end())
    await settle()
    assert not ending.done()

    desk.open.set()
    await ending

    assert (len(desk.got), desk.cancelled) == (2, 0)
    rest = answering(None)
    world.queue.consume(rest)
    await settle()
    assert len(rest.got) == 1


async def test_handlers_that_go_on_too_long_are_cancelled_and_their_messages_given_back(
    world: SqliteWorld, clock: ManualClock
) -> None:
    desk = Desk()
    message_id = await queued(world)
    end = world.queue.consume(desk, drain=AT_ONCE)
    await settle()
    await end()

    assert desk.cancelled == 1
    again = answering(None)
    world.queue.consume(again)
    await settle()
    assert again.got == [Delivery(message_id, GREET, 2)]


async def test_a_world_that_closes_ends_its_consumer(tmp_path: Path, clock: ManualClock) -> None:
    world = SqliteWorld(tmp_path / "a.db", clock=clock)
    await world.start()
    desk = Desk()
    message_id = await queued(world)
    world.queue.consume(desk, drain=AT_ONCE)
    await settle()
    await world.close()
    with pytest.raises(StoreRefusedError, match="the world is not open"):
        _ = world.queue

    await world.start()
    again = answering(None)
    world.queue.consume(again)
    await settle()
    assert again.got == [Delivery(message_id, GREET, 2)]  # at once: it had not failed
    await world.close()


async def test_what_is_taken_as_the_consumer_ends_is_given_back(tmp_path: Path, clock: ManualClock) -> None:
    world = SqliteWorld(tmp_path / "a.db", clock=clock)
    await world.start()
    desk = answering(None)
    await queued(world)
    end = world.queue.consume(desk)
    await asyncio.sleep(0)
    await end()
    await settle()

    again = answering(None)
    world.queue.consume(again)
    await settle()
    assert len(desk.got) + len(again.got) == 1
    assert (desk.attempts + again.attempts) == [1]
    await world.close()


async def test_what_is_being_taken_when_the_world_closes_is_given_back(tmp_path: Path, clock: ManualClock) -> None:
    """Another process writes just then: nobody has had the message, so it has not failed."""
    world = SqliteWorld(tmp_path / "a.db", clock=clock)
    await world.start()
    await queued(world, AT_ONCE + MICROSECOND)
    desk, again = answering(None), answering(None)
    world.queue.consume(desk)
    await settle()
    elsewhere = WriteLock(tmp_path / "a.db.lock")
    elsewhere.open()
    elsewhere.acquire()
    clock.turn("1s")
    await settle()
    closing = asyncio.ensure_future(world.close())
    await settle()
    elsewhere.release()
    elsewhere.close()
    await closing

    await world.start()
    world.queue.consume(again)
    await settle()
    assert (desk.attempts, again.attempts) == ([], [1])
    await world.close()


async def test_a_queue_of_a_closed_world_takes_nothing(clock: ManualClock) -> None:
    world = SqliteWorld(":memory:", clock=clock)
    await world.start()
    queue = world.queue
    await world.close()

    with pytest.raises(StoreError):
        await queue.queue(GREET, Invocation("r"))
