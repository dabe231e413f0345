"""Storage over SQL: every write through the writer, every read whole and at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial

from pydantic_core import to_json

from wrkflw.clock import Clock
from wrkflw.ids import Randomness
from wrkflw.world import events as e
from wrkflw.world.errors import WorldError
from wrkflw.world.live import Subscribe
from wrkflw.world.queue import MAX_DELIVERIES_EXCEEDED
from wrkflw.world.storage import Stamp
from wrkflw.worlds.writer import Writer

from .admission import Admission
from .answers import Answers
from .append import Appender
from .collector import Collector
from .cursors import SqlCursors
from .database import Connection, WordedReads
from .events import SqlEvents
from .hooks import SqlHooks
from .images import Images
from .mailbox import Mailbox
from .payloads import LargePayloads, PayloadOptions
from .request import Append
from .retention import SqlRetention
from .runs import SqlRuns
from .schedules import SqlSchedules
from .steps import SqlSteps
from .streamer import SqlStreamer


class SqlStorage:
    """``write`` is the writer of the process, ``read`` a connection to read from; both see what was committed."""

    def __init__(
        self,
        *,
        writer: Writer,
        read: Connection,
        namespace: str,
        clock: Clock,
        randomness: Randomness,
        owner: str,
        owner_is_live: Callable[[Connection, str], bool],
        max_events: int,
        stamp: Stamp,
        subscribe: Subscribe,
        retention: timedelta,
        payloads: PayloadOptions,
        mailbox: Mailbox,
        recovers: bool,
    ) -> None:
        images, reads = Images(namespace), WordedReads(read)
        large = LargePayloads(writer, reads, namespace, clock, payloads)
        admission = Admission(large, owner_is_live, stamp)
        self.retention = SqlRetention(writer, reads, large, clock, retention)
        appender = Appender(images, admission, large, mailbox, self.retention, clock, max_events)
        mailbox.fail_run = partial(_fail_run, appender)

        def forget() -> None:
            images.forget_all()
            mailbox.forget()

        writer.transactions.on_rollback = forget
        self._writer = writer
        self.runs = SqlRuns(writer, reads, images, mailbox, large, clock, owner_is_live, subscribe, recovers=recovers)
        answers = Answers(reads, self.runs, large, max_events)
        self.events = SqlEvents(writer, reads, self.runs, appender, answers, mailbox, large, clock, randomness)
        self.runs.writes_to(self.events)
        self.steps = SqlSteps(reads, self.runs, large, self.events)
        self.hooks = SqlHooks(reads, self.runs, large, clock, self.events)
        self.streamer = SqlStreamer(writer, reads, self.runs, admission, large, clock, subscribe)
        self.cursors = SqlCursors(writer, namespace, owner, owner_is_live)
        self.schedules = SqlSchedules(writer, reads, appender, large, clock)
        self.payloads = Collector(writer, reads, self.cursors, namespace, clock, payloads.blobs)

    async def settled(self) -> None:
        await self._writer.submit(_nothing)

    async def check_writable(self) -> None:
        await self._writer.submit(_something)


def _nothing(_connection: Connection) -> None:
    """Writers work in order: when this is done, so is what came before."""


def _something(connection: Connection) -> None:
    """What takes a page of the log, as any write does, and is true already."""
    connection.text("UPDATE owners SET lease_until = lease_until")


def _fail_run(appender: Appender, connection: Connection, run_id: str, reason: str) -> None:
    """End a run whose messages, or processes, have failed too often."""
    end = e.RunFailed(error=to_json(reason), error_code=MAX_DELIVERIES_EXCEEDED)
    with suppress(WorldError):  # it has ended, or never came to be
        appender(connection, Append(run_id, [end]))
