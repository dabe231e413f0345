"""The queue over SQL: messages are rows, written in transactions like all else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from wrkflw.clock import Clock, from_microseconds
from wrkflw.world import Listener
from wrkflw.world.errors import WorldError
from wrkflw.world.queue import DRAIN, DeadLetter, Handler, Message, NewMessage, Scope
from wrkflw.world.storage import Page, PageRequest
from wrkflw.worlds.deliveries import Consumer
from wrkflw.worlds.writer import Writer

from . import compiled as sql
from .arguments import utf8
from .database import Connection, Reads
from .mailbox import Mailbox, MessageRow, Outcome, Taken
from .pages import FAR, decode_cursor, encode_cursor, limit_of, page_of

T = TypeVar("T")


class SqlQueue:
    """``subscribe`` tells of commits, ``alone`` whether nobody else uses the store; with ``consumes`` false nothing is
    delivered here."""

    def __init__(
        self,
        writer: Writer,
        read: Reads,
        mailbox: Mailbox,
        namespace: str,
        clock: Clock,
        *,
        subscribe: Callable[[Listener], Callable[[], None]],
        alone: Callable[[], bool],
        consumes: bool,
    ) -> None:
        self._writer = writer
        self._read = read
        self._mailbox = mailbox
        self._namespace = namespace
        self._clock = clock
        self._subscribe = subscribe
        self._alone = alone
        self._consumes = consumes
        self._consumer: Consumer | None = None

    # --- producing ---------------------------------------------------------------------------------

    async def queue(
        self,
        name: str,
        message: Message,
        *,
        idempotency_key: str | None = None,
        scope: Scope = "pending",
        delay: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        new = NewMessage(name, message, idempotency_key, scope, delay, headers or {})
        (outcome,) = await self.queue_batch([new])
        if isinstance(outcome, WorldError):
            raise outcome
        return outcome

    async def queue_batch(self, messages: Sequence[NewMessage]) -> list[str | WorldError]:
        refusals = [self._refusal_of(message) for message in messages]
        accepted = [message for message, refusal in zip(messages, refusals, strict=True) if refusal is None]
        ids: list[str] = []
        if accepted:
            ids = await self._writer.submit(self._mailbox.post, accepted)
        posted = iter(ids)
        return [next(posted) if refusal is None else refusal for refusal in refusals]

    def _refusal_of(self, message: NewMessage) -> WorldError | None:
        try:
            self._mailbox.check(message)
        except WorldError as refusal:
            return refusal
        return None

    # --- consuming ---------------------------------------------------------------------------------

    def consume(
        self, handler: Handler, *, concurrency: int = 16, drain: timedelta = DRAIN
    ) -> Callable[[], Awaitable[None]]:
        if concurrency < 1:
            raise WorldError(f"a consumer cannot handle {concurrency} messages at a time; give a concurrency from 1")
        if not self._consumes:
            raise WorldError("this world only produces messages; start it with consume=True", status=409)
        if self._consumer is not None:
            raise WorldError("this world has a consumer already; end that one first", status=409)
        consumer = self._consumer = Consumer(
            self, handler, self._clock, concurrency=concurrency, drain=drain, alone=self._alone
        )
        unsubscribe = self._subscribe(consumer.hear)
        consumer.start()

        async def end() -> None:
            unsubscribe()
            await consumer.close()
            if self._consumer is consumer:
                self._consumer = None

        self._end = end
        return end

    async def close(self) -> None:
        """Stop delivering, and give back what was taken."""
        if self._consumer is not None:
            await self._end()

    def abandon(self) -> None:
        if self._consumer is not None:
            self._consumer.abandon()

    async def take(self, limit: int) -> tuple[Sequence[Taken], datetime | None]:
        """Take up to ``limit`` messages that are due; and when the next one is."""
        ours = {"namespace": self._namespace, "environment": self._mailbox.environment}
        open_ones = self._read.one(sql.MESSAGES_OPEN, **ours)
        if open_ones is None or not open_ones[0]:
            return [], None

        def work(connection: Connection) -> tuple[list[Taken], datetime | None]:
            taken = self._mailbox.take(connection, limit)
            row = connection.one(sql.MESSAGE_NEXT, **ours)
            return taken, None if row is None or row[0] is None else from_microseconds(row[0])

        return await self._writer.submit(work)

    def opened(self, taken: Taken) -> Message:
        """The message that was taken.  Raises StoreError, WorldError when it cannot be read."""
        return self._mailbox.bodies.opened(taken.delivery.message_id, taken.run_id, taken.body)

    async def settle(self, taken: Taken, outcome: Outcome) -> None:
        await self._writer.submit(self._mailbox.settle, taken, outcome)

    # --- dead letters ------------------------------------------------------------------------------

    async def dead_letters(self, page: PageRequest | None = None) -> Page[DeadLetter]:
        request, listing = page or PageRequest(), "dead letters"
        dead, number = decode_cursor(request.cursor, listing, (FAR, FAR))
        limit = limit_of(request)
        found = self._read.all(
            sql.LETTERS_BEFORE, namespace=self._namespace, edge_dead=dead, edge_no=number, row_limit=limit + 1
        )
        rows = [MessageRow(*row) for row in found]
        listed = page_of(
            rows, limit, request.cursor, lambda row: encode_cursor(listing, row.dead_at or 0, row.message_no)
        )
        return Page([self._letter_from(row) for row in listed.data], listed.cursor, listed.has_more)

    async def requeue(self, message_id: str) -> None:
        utf8("the id of a message", message_id)
        await self._writer.submit(self._mailbox.requeue, message_id)

    async def drop(self, message_id: str) -> None:
        utf8("the id of a message", message_id)
        await self._writer.submit(self._mailbox.drop, message_id)

    def _letter_from(self, row: MessageRow) -> DeadLetter:
        return DeadLetter(
            row.message_id, row.queue_name, row.run_id,
            self._mailbox.bodies.read(row.message_id, row.run_id, row.body),
            row.attempt, row.failures, row.last_error or "",
            from_microseconds(row.created_at), from_microseconds(row.dead_at or 0),
        )  # fmt: skip
