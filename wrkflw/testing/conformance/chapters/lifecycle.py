"""The life of a World: opened and closed as often as anybody likes, and heard by those who listen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from wrkflw.errors import WrkflwError
from wrkflw.testing.conformance.acts import WORKFLOW, begin, create, created, creation, record, signal
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import Breach, ensure, ensure_equal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import SPEC_VERSION
from wrkflw.world import events as e
from wrkflw.world.queue import Invocation, NewMessage, QueueName
from wrkflw.world.storage import RunFence

Heard = list[tuple[str, list[str]]]


async def ensure_closed(attempt: Awaitable[object]) -> None:
    try:
        await attempt
    except WrkflwError:
        return
    except Exception as error:
        raise Breach(f"a closed World raises {type(error).__name__}, which is not of the family") from error
    raise Breach("a closed World does as if it were open")


@promise("§13.1")
async def check_a_world_says_what_it_is(stage: Stage) -> None:
    """Format, capabilities, deployment and the name of the owner are there, and runs carry the first."""
    world = await stage.open()

    ensure(1 <= world.spec_version <= SPEC_VERSION, f"the format is one that exists: {world.spec_version}")
    ensure(world.get_deployment_id() != "", "a World belongs to a deployment")
    ensure(world.owner != "", "a World has a name for what it claims")
    run = await world.storage.runs.get(await create(world))
    ensure_equal(run.spec_version, world.spec_version, "the format of a new run")


@promise("§13.1 start, close")
async def check_starting_and_closing_twice_is_once(stage: Stage) -> None:
    """``start()`` and ``close()`` are idempotent, and a closed World refuses in words of the family."""
    world = await stage.open()
    run_id = await begin(world)

    await world.start()
    ensure_equal((await world.storage.runs.get(run_id)).status, "running", "a run after the second start")
    storage = world.storage
    await stage.close(world)
    await world.close()

    await ensure_closed(storage.events.create(run_id, signal("paid")))
    await ensure_closed(storage.events.create_batch(run_id, [created("step_a")]))


@promise("§1.6")
async def check_what_was_begun_is_finished_by_the_close(stage: Stage) -> None:
    """Writes that were under way when the World closes are durable, or refused; none is left without an answer."""
    world = await stage.open()
    run_id = await begin(world)
    writing = [asyncio.ensure_future(world.storage.events.create(run_id, signal("paid"))) for _ in range(5)]
    await asyncio.sleep(0)

    await stage.close(world)

    for outcome in await asyncio.gather(*writing, return_exceptions=True):
        ensure(not isinstance(outcome, BaseException) or isinstance(outcome, WrkflwError), f"the answer: {outcome!r}")


@promise("§13.1 subscribe")
async def check_those_who_listen_hear_of_commits(stage: Stage) -> None:
    """After a commit listeners are told the run and what happened to it, until they end it."""
    world, heard = await stage.open(), Heard()

    def hear(run_id: str, types: Sequence[str]) -> None:
        heard.append((run_id, list(types)))

    end = world.subscribe(hear)
    run_id = await create(world)
    await record(world, run_id, signal("paid"))
    await world.storage.settled()
    end()
    await record(world, run_id, signal("sent"))
    await world.storage.settled()

    told = [types for about, types in heard if about == run_id]
    ensure_equal(told, [["run_created"], ["signal_received"]], "what was heard of the run")


@promise("§13.1 subscribe")
async def check_a_refusal_is_not_told(stage: Stage) -> None:
    """Listeners do not hear of what was refused."""
    world, heard = await stage.open(), Heard()
    run_id = await begin(world, e.RunCompleted())
    await world.storage.settled()
    end = world.subscribe(lambda about, types: heard.append((about, list(types))))

    await asyncio.gather(world.storage.events.create(run_id, signal("paid")), return_exceptions=True)
    await world.storage.settled()
    end()

    ensure_equal([told for told in heard if told[0] == run_id], [], "what was heard of the run")


@promise("§13.1 subscribe", need="lasting")
async def check_news_reaches_other_worlds(stage: Stage) -> None:
    """Whoever listens in another World is told that something was written."""
    one, other = await stage.open(), await stage.open()
    told = asyncio.Event()
    run_id = await begin(one)
    await stage.settle()
    end = other.subscribe(lambda about, _types: told.set() if about in ("", run_id) else None)

    await record(one, run_id, signal("paid"))

    await told.wait()
    end()


@promise("§4.3", need="lasting")
async def check_worlds_have_names_of_their_own(stage: Stage) -> None:
    """No two Worlds claim runs under one name."""
    one, other = await stage.open(), await stage.open()

    ensure(one.owner != other.owner, f"owners are told apart: {one.owner!r}")


@promise("§13.2 wake")
async def check_a_run_that_waits_can_be_woken(stage: Stage) -> None:
    """``wake`` makes a parked run due, and tells when there is nothing to wake."""
    world = await stage.open()
    runs = world.storage.runs
    parked = await runs.claim(await begin(world), owner=world.owner)
    await runs.release(parked.run_id, RunFence(parked.epoch), seen_slot=2, wake_at=None)
    owned = await runs.claim(await begin(world), owner=world.owner)
    paused, ended = await begin(world, e.RunPaused()), await begin(world, e.RunCompleted())

    for run_id in (owned.run_id, paused, ended, "missing"):
        ensure_equal(await runs.wake(run_id), False, f"whether {run_id} was woken")
    ensure_equal(await runs.wake(parked.run_id), True, "whether the parked run was woken")
    due = await runs.claim_due(owner=world.owner, workflow_names=[WORKFLOW], limit=10)
    ensure_equal([run.run_id for run in due], [parked.run_id], "what is due")


@promise("§4.5", need="transactional_enqueue")
async def check_creation_and_first_message_are_one(stage: Stage) -> None:
    """A start writes the creation and the first message together, and runs nothing before it answers."""
    world = await stage.open()
    queue_name = str(QueueName(WORKFLOW))
    arrived: asyncio.Queue[object] = asyncio.Queue()

    async def handle(message: object, _delivery: object) -> None:
        arrived.put_nowait(message)

    first = NewMessage(queue_name, Invocation("order-1"), scope="inflight", idempotency_key="order-1")
    result = await world.storage.events.create("order-1", creation(), messages=[first])

    ensure_equal((result.run.status, result.run.last_slot), ("pending", 1), "the run when it is answered")
    world.queue.consume(handle)
    ensure_equal(await arrived.get(), Invocation("order-1"), "the first message")
