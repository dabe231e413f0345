"""The queue: messages arrive at least once, not before their time, and are given up in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeAlias

from wrkflw.testing.conformance.acts import begin, created, record, types_in
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure, ensure_equal, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, WorldError
from wrkflw.world.queue import DeadLetter, Defer, Delivery, HealthCheck, Invocation, Message, NewMessage, QueueName

GREET = str(QueueName("greet"))
Answer: TypeAlias = Callable[[Delivery], Defer | None]


class Boom(Exception):
    """What a handler fails with."""


class Inbox:
    """A handler that keeps what it gets, and answers as it is told."""

    def __init__(self, answer: Answer = lambda _delivery: None) -> None:
        self._arrived: asyncio.Queue[tuple[Message, Delivery]] = asyncio.Queue()
        self._answer = answer

    async def handle(self, message: Message, delivery: Delivery) -> Defer | None:
        self._arrived.put_nowait((message, delivery))
        return self._answer(delivery)

    async def next(self) -> tuple[Message, Delivery]:
        return await self._arrived.get()

    def empty(self) -> bool:
        return self._arrived.empty()


def raising(_delivery: Delivery) -> None:
    raise Boom


def to(run_id: str, *, key: str | None = None, delay: timedelta | None = None) -> NewMessage:
    return NewMessage(GREET, Invocation(run_id), idempotency_key=key, delay=delay)


async def dead_letters(world: World) -> list[DeadLetter]:
    return (await world.queue.dead_letters()).data


@promise("§10")
async def check_a_message_arrives(stage: Stage) -> None:
    """A message is delivered with its queue's name, its id, attempt 1 and its headers."""
    world, inbox = await stage.open(), Inbox()
    world.queue.consume(inbox.handle)

    message_id = await world.queue.queue(GREET, Invocation("order-1", wait_id="wait_a"), headers={"x-trace": "t"})

    message, delivery = await inbox.next()
    ensure_equal(message, Invocation("order-1", wait_id="wait_a"), "the message")
    ensure_equal((delivery.message_id, delivery.queue_name, delivery.attempt), (message_id, GREET, 1), "the delivery")
    ensure_equal(dict(delivery.headers), {"x-trace": "t"}, "the headers")
    ensure(message_id.startswith("msg_"), f"message ids are msg_ and a ULID, not {message_id!r}")


@promise("§10")
async def check_what_was_queued_before_is_delivered(stage: Stage) -> None:
    """Messages wait for a consumer, and a health check is a message too."""
    world, inbox = await stage.open(), Inbox()
    await world.queue.queue(GREET, HealthCheck("ping"))
    await world.queue.queue(GREET, Invocation("order-1"))

    world.queue.consume(inbox.handle)

    arrived = {(await inbox.next())[0] for _ in range(2)}
    ensure_equal(arrived, {HealthCheck("ping"), Invocation("order-1")}, "messages")


@promise("§10")
async def check_an_acknowledged_message_does_not_come_again(stage: Stage) -> None:
    """After the handler has returned None, the message is gone."""
    world, inbox = await stage.open(), Inbox()
    world.queue.consume(inbox.handle)
    await world.queue.queue(GREET, Invocation("order-1"))
    await inbox.next()
    await stage.settle()

    stage.turn(hours=1)
    await stage.settle()

    ensure(inbox.empty(), "an acknowledged message does not come again")


@promise("§10")
async def check_nothing_comes_before_its_time(stage: Stage) -> None:
    """A delay is kept to the store's clock: not a microsecond early, and then at once."""
    world, inbox = await stage.open(), Inbox()
    world.queue.consume(inbox.handle)
    await world.queue.queue(GREET, Invocation("order-1"), delay=timedelta(hours=1))

    stage.clock.turn(timedelta(hours=1) - timedelta(microseconds=1))
    await stage.settle()
    ensure(inbox.empty(), "nothing comes before its time")
    stage.clock.turn(timedelta(microseconds=1))

    await inbox.next()


@promise("§10 delivery")
async def check_a_deferred_message_comes_again_as_the_same(stage: Stage) -> None:
    """``Defer(n)`` gives the same message again after n seconds; it counts as an attempt, and not as a failure."""
    answers = iter([Defer(60), Defer(60), Defer(60), None])
    world, inbox = await stage.open(max_deliveries=2), Inbox(lambda _delivery: next(answers))
    world.queue.consume(inbox.handle)
    message_id = await world.queue.queue(GREET, Invocation("order-1"))

    for attempt in (1, 2, 3, 4):
        _, delivery = await inbox.next()
        ensure_equal((delivery.message_id, delivery.attempt), (message_id, attempt), "the delivery")
        await stage.settle()
        stage.turn(seconds=59)
        await stage.settle()
        ensure(inbox.empty(), "a deferred message does not come early")
        stage.turn(seconds=1)

    ensure_equal(await dead_letters(world), [], "dead letters")


@promise("§10 delivery")
async def check_zero_seconds_is_at_once(stage: Stage) -> None:
    """``Defer(0)`` gives the message again at once, without the clock being turned."""
    answers = iter([Defer(0), None])
    world, inbox = await stage.open(), Inbox(lambda _delivery: next(answers))
    world.queue.consume(inbox.handle)
    await world.queue.queue(GREET, Invocation("order-1"))

    attempts = [(await inbox.next())[1].attempt for _ in range(2)]

    ensure_equal(attempts, [1, 2], "attempts")


@promise("§10 delivery")
async def check_a_failed_message_comes_again_later(stage: Stage) -> None:
    """After an exception the same message comes again, later, as its next attempt."""
    failures = iter([True, False])

    def fail_once(_delivery: Delivery) -> None:
        if next(failures):
            raise Boom

    world, inbox = await stage.open(), Inbox(fail_once)
    world.queue.consume(inbox.handle)
    message_id = await world.queue.queue(GREET, Invocation("order-1"))
    await inbox.next()
    await stage.settle()
    ensure(inbox.empty(), "a failed message does not come again at once")
    stage.turn(hours=1)

    _, delivery = await inbox.next()

    ensure_equal((delivery.message_id, delivery.attempt), (message_id, 2), "the second delivery")


@promise("§10")
async def check_a_batch_is_answered_in_order(stage: Stage) -> None:
    """``queue_batch`` gives one answer for each message, in their order."""
    world = await stage.open()

    ids = await world.queue.queue_batch([to("order-1", key="a"), to("order-2"), to("order-1", key="a")])

    ensure(not any(isinstance(answer, WorldError) for answer in ids), f"all are queued: {ids}")
    ensure_equal((ids[0] == ids[2], ids[0] == ids[1]), (True, False), "the answers to one key and to another")


@promise("§10")
async def check_what_is_no_queue_is_refused(stage: Stage) -> None:
    """Names without the prefix, of steps, of other alphabets, and what is no message of a run: 400, nothing queued."""
    world, inbox = await stage.open(), Inbox()
    names = ("", "greet", "__wkf_workflow_", "__wkf_step_greet", "__wkf_workflow_a b", "__wkf_workflow_a\x00",
             "__SHOP_wkf_workflow_greet", "__default_wkf_workflow_greet", "../__wkf_workflow_greet")  # fmt: skip

    for name in names:
        await refusal(world.queue.queue(name, Invocation("order-1")), 400)
    for run_id in ("", "a/b", "a\x00", "a" * 129):
        await malformed(partial(Invocation, run_id))
    for delay in (timedelta(seconds=-1), timedelta(days=9999)):
        await refusal(world.queue.queue(GREET, Invocation("order-1"), delay=delay), 400)
    await refusal(world.queue.queue(GREET, Invocation("order-1"), idempotency_key=""), 400)

    world.queue.consume(inbox.handle)
    await stage.settle()
    ensure(inbox.empty(), "what was refused is not delivered")


async def malformed(make: Callable[[], Message]) -> None:
    async def attempt() -> None:
        make()

    await refusal(attempt(), 400)


@promise("§10")
async def check_a_foreign_queue_is_refused(stage: Stage) -> None:
    """A World queues messages of its own namespace alone."""
    world = await stage.open("shop")

    await refusal(world.queue.queue(GREET, Invocation("order-1")), 400)
    await world.queue.queue(str(QueueName("greet", "shop")), Invocation("order-1"))


@promise("§13.5", need="lasting")
async def check_messages_stay_in_their_namespace(stage: Stage) -> None:
    """Consumers take, and list as dead, what is of their namespace and nothing else."""
    home, away = await stage.open(), await stage.open("shop", max_deliveries=1)
    at_home, elsewhere = Inbox(), Inbox(raising)
    home.queue.consume(at_home.handle)
    away.queue.consume(elsewhere.handle)

    await away.queue.queue(str(QueueName("greet", "shop")), Invocation("order-1"))
    await elsewhere.next()
    await stage.settle()

    ensure(at_home.empty(), "a message of another namespace is not delivered")
    ensure_equal((len(await dead_letters(away)), len(await dead_letters(home))), (1, 0), "dead letters")
    (letter,) = await dead_letters(away)
    await refusal(home.queue.drop(letter.message_id), 404)


@promise("§4.1 messages", need="transactional_enqueue")
async def check_messages_commit_with_their_event(stage: Stage) -> None:
    """Messages of an accepted event are queued with it; those of a refused event or batch are not."""
    world, inbox = await stage.open(), Inbox()
    run_id = await begin(world)
    events = world.storage.events

    await events.create(run_id, created("step_a"), messages=[to("order-1")])
    await refusal(events.create(run_id, created("step_a"), messages=[to("order-2")]), 409, EntityConflictError)
    await refusal(events.create_batch("missing", [created("step_b")], messages=[to("order-3")]), 404)
    await events.create_batch(run_id, [created("step_b")], messages=[to("order-4")])
    world.queue.consume(inbox.handle)

    arrived = {(await inbox.next())[0] for _ in range(2)}
    await stage.settle()
    ensure_equal(arrived, {Invocation("order-1"), Invocation("order-4")}, "messages")
    ensure(inbox.empty(), "messages of what was refused are not delivered")


@promise("§13.3", need="transactional_enqueue")
async def check_the_end_of_a_run_removes_its_wake_ups(stage: Stage) -> None:
    """Wake-ups that are queued for a run go with its end."""
    world, inbox = await stage.open(), Inbox()
    run_id = await begin(world)
    await world.queue.queue(GREET, Invocation(run_id), idempotency_key="k", delay=timedelta(hours=1))

    await record(world, run_id, e.RunCancelled())

    world.queue.consume(inbox.handle)
    stage.turn(hours=2)
    await stage.settle()
    ensure(inbox.empty(), "a wake-up of an ended run is not delivered")
    ensure_equal((await types_in(world, run_id))[-1], "run_cancelled", "the last event")


@promise("§10", need="lasting")
async def check_messages_outlive_their_world(stage: Stage) -> None:
    """A message that was queued is delivered after the store was closed and opened again, at its time."""
    world, inbox = await stage.open(), Inbox()
    message_id = await world.queue.queue(GREET, Invocation("order-1"), delay=timedelta(hours=1))

    world = await stage.reopen(world)
    world.queue.consume(inbox.handle)
    await stage.settle()
    ensure(inbox.empty(), "nothing comes before its time")
    stage.turn(hours=1)

    ensure_equal((await inbox.next())[1].message_id, message_id, "the message")


@promise("§10", need="lasting")
async def check_nothing_is_delivered_after_the_close(stage: Stage) -> None:
    """A World that closes delivers no more; what its handlers had comes to another, and producing starts nobody."""
    one, other = await stage.open(), await stage.open(consume=False)
    had, late = Inbox(), Inbox()
    one.queue.consume(had.handle)

    await stage.close(one)
    await other.queue.queue(GREET, Invocation("order-1"))
    await stage.settle()
    ensure(had.empty(), "nothing is delivered after the close, nor where only producers are")

    (await stage.open()).queue.consume(late.handle)
    await late.next()


@promise("§10", need="lasting")
async def check_two_consumers_share_the_messages(stage: Stage) -> None:
    """Consumers of two Worlds: each message goes to one of them."""
    one, other = await stage.open(), await stage.open()
    arrived: list[str] = []

    async def handle(message: Message, _delivery: Delivery) -> None:
        ensure(isinstance(message, Invocation), f"the message is the one that was queued: {message}")
        arrived.append(getattr(message, "run_id", ""))

    await one.queue.queue_batch([to(f"order-{number}") for number in range(20)])
    for world in (one, other):
        world.queue.consume(handle)
    while len(arrived) < 20:
        await stage.settle()

    await stage.settle()
    ensure_equal(sorted(arrived), sorted(f"order-{number}" for number in range(20)), "messages that arrived")


@promise("§13.1 start")
async def check_a_producer_does_not_consume(stage: Stage) -> None:
    """A World that was started without consuming refuses a consumer, and queues all the same."""
    world = await stage.open(consume=False)

    await world.queue.queue(GREET, Invocation("order-1"))

    async def consume() -> None:
        world.queue.consume(Inbox().handle)

    await refusal(consume(), 409)
