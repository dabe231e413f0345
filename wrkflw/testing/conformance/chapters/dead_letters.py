"""Dead letters: what always fails is given up, with the reason, and its run with it."""

from __future__ import annotations

from wrkflw.testing.conformance.acts import begin, create
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure, ensure_equal, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import events as e
from wrkflw.world.queue import Invocation

from .queue import GREET, Inbox, dead_letters, raising


async def fail_to_death(stage: Stage, inbox: Inbox, failures: int) -> None:
    """Let the message come, and fail, as often as it takes."""
    for _ in range(failures):
        await inbox.next()
        await stage.settle()
        stage.turn(hours=1)
    await stage.settle()


@promise("§10 dead letters")
async def check_a_message_that_always_fails_is_given_up(stage: Stage) -> None:
    """After as many failures as allowed the message is dead, with the reason, and its run has failed."""
    world, inbox = await stage.open(max_deliveries=3), Inbox(raising)
    run_id = await create(world)
    world.queue.consume(inbox.handle)
    message_id = await world.queue.queue(GREET, Invocation(run_id))

    await fail_to_death(stage, inbox, 3)

    (letter,) = await dead_letters(world)
    ensure_equal((letter.message_id, letter.failures, letter.attempt), (message_id, 3, 3), "the dead letter")
    ensure("Boom" in letter.reason, f"a dead letter says why: {letter.reason!r}")
    run = await world.storage.runs.get(run_id)
    ensure_equal((run.status, run.error_code), ("failed", "MAX_DELIVERIES_EXCEEDED"), "the run")
    ensure(inbox.empty(), "a dead message does not come again")


@promise("§10 dead letters")
async def check_a_dead_letter_does_not_touch_a_run_that_is_over(stage: Stage) -> None:
    """When the run of a message that is given up has ended, it stays as it ended."""
    world, inbox = await stage.open(max_deliveries=1), Inbox(raising)
    run_id = await begin(world, e.RunCompleted(output=b"9"))
    world.queue.consume(inbox.handle)
    await world.queue.queue(GREET, Invocation(run_id), scope="inflight", idempotency_key="k")

    await fail_to_death(stage, inbox, 1)

    ensure_equal(len(await dead_letters(world)), 1, "dead letters")
    ensure_equal((await world.storage.runs.get(run_id)).status, "completed", "the run")


@promise("§10 dead letters")
async def check_dead_letters_are_sent_again_or_dropped(stage: Stage) -> None:
    """A dead letter can be queued again with no failures counted, or dropped; an unknown one is 404."""
    world, inbox = await stage.open(max_deliveries=1), Inbox(raising)
    world.queue.consume(inbox.handle)
    message_id = await world.queue.queue(GREET, Invocation("order-1"))
    await fail_to_death(stage, inbox, 1)

    await world.queue.requeue(message_id)
    _, delivery = await inbox.next()
    ensure_equal(delivery.message_id, message_id, "the message that comes again")
    await stage.settle()
    await world.queue.drop(message_id)

    ensure_equal(await dead_letters(world), [], "dead letters")
    for attempt in (world.queue.drop(message_id), world.queue.requeue(message_id), world.queue.drop("msg_unknown")):
        await refusal(attempt, 404)
