"""Broken streams and queues."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from wrkflw.world.queue import Delivery, Message
from wrkflw.world.storage import RunFence

from .defects import BrokenWorld, noticed_by

# --- streams -----------------------------------------------------------------------------------------


@noticed_by("streams/chunks_come_in_pages", "readers/who_reads_along_misses_nothing")
def repeats_a_chunk_at_the_seam(world: BrokenWorld) -> None:
    last: dict[tuple[str, str], Any] = {}

    async def get_chunks(sound: Any, run_id: str, name: str, *, cursor: str | None = None, **how: Any) -> object:
        page = await sound(run_id, name, cursor=cursor, **how)
        before = last.get((run_id, name))
        if not page.data:
            return page
        last[run_id, name] = page.data[-1]
        return page if cursor is None or before is None else page._replace(data=[before, *page.data])

    world.alter(world.streamer, "get_chunks", get_chunks)


@noticed_by("streams/chunks_come_in_the_order_they_were_written", "readers/a_late_reader_gets_everything")
def mixes_chunks_up(world: BrokenWorld) -> None:
    async def get_chunks(sound: Any, *what: Any, **how: Any) -> object:
        page = await sound(*what, **how)
        return page._replace(data=page.data[::-1])

    world.alter(world.streamer, "get_chunks", get_chunks)


@noticed_by("streams/an_ended_stream_takes_nothing", "streams/a_stream_without_a_chunk_is_listed")
def forgets_that_a_stream_has_ended(world: BrokenWorld) -> None:
    async def close(_sound: Any, *_what: Any, **_how: Any) -> None:
        """Nothing happens."""

    world.alter(world.streamer, "close", close)


@noticed_by("streams/streams_do_not_meet")
def knows_streams_by_their_name_alone(world: BrokenWorld) -> None:
    """All runs write to, and read from, the streams of the first."""
    first: list[str] = []

    async def of_the_first(sound: Any, run_id: str, *what: Any, **how: Any) -> object:
        first.append(run_id)
        return await sound(first[0], *what, **how)

    for name in ("write", "get_chunks", "list"):
        world.alter(world.streamer, name, of_the_first)


@noticed_by("streams/chunks_are_fenced_as_events_are")
def takes_chunks_of_those_who_were_replaced(world: BrokenWorld) -> None:
    async def write(sound: Any, run_id: str, *what: Any, **how: Any) -> object:
        return await sound(run_id, *what, fence=RunFence((await world.runs.locate(run_id)).epoch))

    world.alter(world.streamer, "write", write)


@noticed_by("readers/where_a_reader_begins")
def takes_every_beginning_for_the_first(world: BrokenWorld) -> None:
    async def get_chunks(sound: Any, *what: Any, start_index: int = 0, **how: Any) -> object:
        return await sound(*what, start_index=max(0, start_index), **how)

    world.alter(world.streamer, "get_chunks", get_chunks)


# --- the queue ---------------------------------------------------------------------------------------


@noticed_by("queue/nothing_comes_before_its_time", "queue/messages_outlive_their_world")
def delivers_too_early(world: BrokenWorld) -> None:
    async def queue(sound: Any, *what: Any, delay: timedelta | None = None, **how: Any) -> object:
        return await sound(*what, **how)

    world.alter(world.queue, "queue", queue)


@noticed_by("queue/a_deferred_message_comes_again_as_the_same", "queue/zero_seconds_is_at_once")
def calls_every_attempt_the_first(world: BrokenWorld) -> None:
    def consume(sound: Any, handler: Any, **how: Any) -> object:
        async def handle(message: Message, delivery: Delivery) -> object:
            return await handler(message, replace(delivery, attempt=1))

        return sound(handle, **how)

    world.alter(world.queue, "consume", consume)


@noticed_by("queue/a_failed_message_comes_again_later")
def loses_what_fails(world: BrokenWorld) -> None:
    def consume(sound: Any, handler: Any, **how: Any) -> object:
        async def handle(message: Message, delivery: Delivery) -> object:
            try:
                return await handler(message, delivery)
            except Exception:  # noqa: BLE001  # that is the defect
                return None

        return sound(handle, **how)

    world.alter(world.queue, "consume", consume)


@noticed_by(
    "message_keys/a_pending_key_is_held_until_the_message_is_taken",
    "message_keys/an_inflight_key_is_held_until_the_message_is_done",
    "message_keys/keys_do_not_run_out",
)
def forgets_idempotency_keys(world: BrokenWorld) -> None:
    async def queue(sound: Any, *what: Any, idempotency_key: str | None = None, **how: Any) -> object:
        return await sound(*what, **how)

    world.alter(world.queue, "queue", queue)


@noticed_by("message_keys/an_inflight_key_is_held_until_the_message_is_done")
def takes_every_scope_for_pending(world: BrokenWorld) -> None:
    async def queue(sound: Any, *what: Any, scope: object = None, **how: Any) -> object:
        return await sound(*what, **how)

    world.alter(world.queue, "queue", queue)


@noticed_by("queue/messages_commit_with_their_event")
def queues_the_messages_of_what_it_refuses(world: BrokenWorld) -> None:
    async def create(sound: Any, *what: Any, messages: Any = (), **how: Any) -> object:
        await world.queue.queue_batch(list(messages))
        return await sound(*what, **how)

    world.alter(world.events, "create", create)


@noticed_by("queue/an_acknowledged_message_does_not_come_again")
def delivers_again_what_was_acknowledged(world: BrokenWorld) -> None:
    def consume(sound: Any, handler: Any, **how: Any) -> object:
        async def handle(message: Message, delivery: Delivery) -> object:
            answer = await handler(message, delivery)
            await world.queue.queue(delivery.queue_name, message)
            return answer

        return sound(handle, **how)

    world.alter(world.queue, "consume", consume)
