"""Idempotency keys of messages: held for as long as their scope says, and no longer."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure, ensure_equal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world.queue import Delivery, Invocation, Message

from .queue import GREET, Inbox


@promise("§10 idempotency")
async def check_a_pending_key_is_held_until_the_message_is_taken(stage: Stage) -> None:
    """``pending``: the same key gives the first message's id while it waits; once taken, a new one is queued."""
    taken, go_on = asyncio.Event(), asyncio.Event()
    attempts: list[str] = []

    async def handle(_message: Message, delivery: Delivery) -> None:
        attempts.append(delivery.message_id)
        taken.set()
        await go_on.wait()

    world = await stage.open()
    first = await world.queue.queue(GREET, Invocation("order-1"), idempotency_key="k")
    ensure_equal(await world.queue.queue(GREET, Invocation("order-1"), idempotency_key="k"), first, "the id, again")
    world.queue.consume(handle)
    await taken.wait()

    second = await world.queue.queue(GREET, Invocation("order-1"), idempotency_key="k")

    ensure(second != first, "a wake-up that comes while the handler runs is a new message")
    go_on.set()
    await stage.settle()
    ensure_equal(attempts, [first, second], "deliveries")


@promise("§10 idempotency")
async def check_an_inflight_key_is_held_until_the_message_is_done(stage: Stage) -> None:
    """``inflight``: the same key gives the first message's id until that is acknowledged."""
    taken, go_on = asyncio.Event(), asyncio.Event()

    async def handle(_message: Message, _delivery: Delivery) -> None:
        taken.set()
        await go_on.wait()

    world = await stage.open()
    world.queue.consume(handle)

    async def enqueue() -> str:
        return await world.queue.queue(GREET, Invocation("order-1"), idempotency_key="k", scope="inflight")

    first = await enqueue()
    await taken.wait()
    ensure_equal(await enqueue(), first, "the id while the handler runs")
    go_on.set()
    await stage.settle()
    ensure(await enqueue() != first, "the key is free once the message is done")


@promise("§10 idempotency")
async def check_keys_do_not_run_out(stage: Stage) -> None:
    """A key is held however long, and a pending message that is queued again is due at the earlier time."""
    world, inbox = await stage.open(), Inbox()
    first = await world.queue.queue(GREET, Invocation("order-1"), idempotency_key="k", delay=timedelta(hours=1))
    stage.turn(minutes=59)

    again = await world.queue.queue(GREET, Invocation("order-1"), idempotency_key="k")

    ensure_equal(again, first, "the id, after 59 minutes")
    world.queue.consume(inbox.handle)
    await inbox.next()
    await stage.settle()
    ensure(inbox.empty(), "the two are one message")
