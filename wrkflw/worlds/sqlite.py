"""A World in one SQLite file, or in memory: no server."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

from wrkflw.clock import Clock, SystemClock
from wrkflw.ids import Randomness, new_ulid, system_randomness
from wrkflw.world import SPEC_VERSION, Capabilities, Listener
from wrkflw.world.errors import StoreRefusedError
from wrkflw.world.payloads import INLINE_MAX, PAYLOAD_MAX, BlobStore, PayloadCodec
from wrkflw.world.queue import Queue, prefix_of
from wrkflw.world.retention import DEFAULT_RETENTION
from wrkflw.world.storage import STORE_LOST, Stamp, Storage
from wrkflw.world.streamer import Streamer

from . import places
from .blobs import blobs_at
from .children import belongs_here
from .database_file import DatabaseFile, Durability, create
from .listeners import Listeners
from .locks import WriteLock
from .neighbours import Neighbours
from .presence import Presence
from .sql.bodies import Bodies
from .sql.database import Connection, Notice, OnStatement, WordedReads, forked
from .sql.mailbox import Mailbox
from .sql.payloads import PayloadOptions
from .sql.queue import SqlQueue
from .sql.sealing import Sealing
from .sql.storage import SqlStorage
from .wal import LogLostError, Wal
from .watch import Watch
from .writer import PATIENCE, Writer

_DATABASE_VERSION = "PRAGMA data_version"

__all__ = ["Durability", "SqliteWorld"]


class SqliteWorld:
    """Runs in the SQLite file at ``path``, which is made if need be; ``":memory:"`` keeps them in this process.

    ``durability="full"`` puts every commit on the disk before it is acknowledged; ``"normal"`` may lose the last ones
    when the power fails, never when the process dies.  ``lease`` is how long a process that stopped keeps its runs,
    ``poll`` how often it is looked whether others have written, should they have died before they could tell.
    Payloads of more than ``payload_inline_max`` bytes are kept once each: in ``blobs``, a store or the URL of one
    (``file:///…``, ``s3://…``), else in the file; more than ``payload_max`` are refused.  ``codec`` encodes payloads.
    ``retention`` is how long the payloads of ended runs are kept that do not say so themselves.
    ``max_deliveries`` is how many failures of a message, or deaths of a run's processes in a row, are one too many.
    ``stamp`` is what hooks are marked with; messages of another environment than its own are left to others.
    ``on_statement`` is called with each SQL text before it is executed; ``image`` is what a database in memory begins
    with, as :meth:`abandon` left it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        namespace: str = "default",
        durability: Durability = "full",
        clock: Clock | None = None,
        randomness: Randomness | None = None,
        lease: timedelta = timedelta(seconds=30),
        poll: timedelta = timedelta(seconds=5),
        max_events: int = 25_000,
        max_deliveries: int = 48,
        retention: timedelta = DEFAULT_RETENTION,
        deployment_id: str = "dpl_local",
        stamp: Stamp = Stamp(),  # noqa: B008  # a tuple
        payload_inline_max: int = INLINE_MAX,
        payload_max: int = PAYLOAD_MAX,
        codec: PayloadCodec | None = None,
        blobs: BlobStore | str | None = None,
        on_statement: OnStatement | None = None,
        image: bytes | None = None,
    ) -> None:
        prefix_of(namespace)  # or it is refused: a namespace is part of the names of queues
        # By the name that SQLite gives its own files, whatever links lead to it.
        self._path = None if str(path) == ":memory:" else Path(os.path.realpath(path))
        self._namespace = namespace
        self._clock = clock or SystemClock()
        self._randomness = randomness or system_randomness()
        self._max_events = max_events
        self._max_deliveries = max_deliveries
        self._deployment_id = deployment_id
        self._stamp = stamp
        self._retention = retention
        store = blobs_at(blobs) if isinstance(blobs, str) else blobs
        self._payloads = PayloadOptions(payload_inline_max, payload_max, codec, store)
        self._file = DatabaseFile(self._path, durability, on_statement, image)
        folder = None if self._path is None else self._path.with_name(self._path.name + "-owners")
        owner = f"own_{new_ulid(self._clock.now(), self._randomness)}"
        self._presence = Presence(owner, self._clock, lease, folder)
        self._neighbours = Neighbours(folder, owner, self._clock, lease)
        self._watch: Watch | None = None
        if folder is not None:
            self._watch = Watch(
                folder,
                owner,
                self._neighbours,
                clock=self._clock,
                poll=poll,
                mark=self.written_elsewhere,
                heard=self._heard,
            )
        self._listeners = Listeners()
        self._lock = WriteLock(None if self._path is None else self._path.with_name(self._path.name + ".lock"))
        self._storage: SqlStorage | None = None
        self._queue: SqlQueue | None = None
        self._writer: Writer | None = None
        self._write: Connection | None = None
        self._read: Connection | None = None
        self._wal: Wal | None = None
        self._seen_version: object = 0

    @property
    def spec_version(self) -> int:
        return SPEC_VERSION

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            batch=True,
            transactional_enqueue=True,
            hook_retention=True,
            resume_dedupe=True,
            search=True,
            schedules=True,
            cursors=True,
        )

    def get_deployment_id(self) -> str:
        return self._deployment_id

    @property
    def queue(self) -> Queue:
        if self._storage is None or self._queue is None:
            raise _not_open()
        return self._queue

    @property
    def storage(self) -> Storage:
        if self._storage is None:
            raise _not_open()
        return self._storage

    @property
    def streamer(self) -> Streamer:
        if self._storage is None:
            raise _not_open()
        return self._storage.streamer

    @property
    def owner(self) -> str:
        return self._presence.owner

    def subscribe(self, listener: Listener, /, *, own: bool = False) -> Callable[[], None]:
        return self._listeners.add(listener, own=own)

    async def start(self, *, consume: bool = True, recover: bool = True) -> None:
        if self._storage is not None:
            return
        self._write, self._read = self._opened()
        belongs_here(self)
        self._wal = None if self._path is None else Wal(self._path)
        self._writer = Writer(
            self._write, lock=self._lock, notify=self._notify, threads=self._path is not None, wal=self._wal
        )
        self._writer.transactions.on_lost = partial(self._lost, asyncio.get_running_loop())
        mailbox = self._new_mailbox()
        self._queue = SqlQueue(
            self._writer, WordedReads(self._read), mailbox, self._namespace, self._clock,
            subscribe=self.subscribe, alone=lambda: self.alone, consumes=consume,
        )  # fmt: skip
        self._storage = SqlStorage(
            mailbox=mailbox,
            recovers=recover,
            writer=self._writer,
            read=self._read,
            namespace=self._namespace,
            clock=self._clock,
            randomness=self._randomness,
            owner=self.owner,
            owner_is_live=self._presence.is_live,
            max_events=self._max_events,
            stamp=self._stamp,
            payloads=self._payloads,
            subscribe=self.subscribe,
            retention=self._retention,
        )
        try:
            await self._writer.submit(self._presence.announce)
        except BaseException:
            await self._give_up()
            raise
        if self._path is not None:
            self._presence.keep_alive(self._file.connect, self._lock)
        if self._watch is not None:
            self._watch.begin()

    async def close(self) -> None:
        if self._storage is None or self._writer is None:
            return
        if self._queue is not None:
            await self._queue.close()
        self._presence.rest()
        try:
            await self._writer.submit(self._presence.retire)
        finally:  # others free what could not be given up, once the lock is gone
            await self._give_up()

    def abandon(self) -> bytes | None:
        """Leave as a process leaves that is killed: nothing more is written, and nothing is given up.

        For tests of what others then find; they find what was in memory in the image that this returns.
        """
        left = self._write.image() if self._path is None and self._write is not None else None
        self._storage = None
        if self._queue is not None:
            self._queue.abandon()
        self._presence.rest()
        if self._read is not None and self._read is not self._write:
            self._read.close()
        if self._writer is not None:
            self._writer.stop()
        self._presence.drop()
        if self._watch is not None:
            self._watch.end()
        self._lock.close()
        return left

    def in_child(self) -> None:
        """Everything here is the parent's, who goes on with it."""
        if self._writer is not None:
            self._writer.transactions.refuse(forked())
        self._presence.drop()
        if self._watch is not None:
            self._watch.drop()
        self._lock.close()

    def _new_mailbox(self) -> Mailbox:
        return Mailbox(
            namespace=self._namespace,
            owner=self.owner,
            clock=self._clock,
            randomness=self._randomness,
            max_deliveries=self._max_deliveries,
            owner_is_live=self._presence.is_live,
            others_wrote=self._written_by_others,
            bodies=Bodies(Sealing(self._namespace, self._payloads.codec), self._payloads.largest),
            environment=self._stamp.environment,
        )

    async def _give_up(self) -> None:
        assert self._writer is not None
        assert self._read is not None
        self._storage = None
        try:
            await self._writer.close(() if self._read is self._write else (self._read,))
        finally:
            self._presence.let_go()
            if self._watch is not None:
                self._watch.end()
            self._lock.close()
            self._notify([("", ())])  # who reads along hears that it is over

    def written_elsewhere(self) -> object:
        """A mark that changes when another process has committed to the file.

        While nobody else is at work on the file, the database is not asked.
        """
        if self._write is None or self._wal is None or self._storage is None or self._writer is None:
            return None
        try:
            self._wal.look()  # one who has nothing to write hears of it as well
        except LogLostError as error:
            self._writer.transactions.lose(error)
        if not self._neighbours.may_have_written:
            return self._seen_version
        # While the thread of the writer commits, the last answer.
        if self._lock.threads.acquire(blocking=False):
            try:
                self._written_by_others()
            except sqlite3.Error:  # asked again soon; who reads then hears what is wrong
                pass
            finally:
                self._lock.threads.release()
        return self._seen_version

    def _written_by_others(self) -> object:
        """The same, for who uses the writing connection: its own commits do not count."""
        if self._write is not None and self._neighbours.may_have_written:
            self._seen_version = self._write.text(_DATABASE_VERSION)[0][0]
            self._neighbours.asked()
        return self._seen_version

    @property
    def alone(self) -> bool:
        return self._neighbours.alone

    def _notify(self, notices: list[Notice]) -> None:
        """What this process has committed."""
        self._listeners.tell(notices, own=True)
        if self._watch is not None:
            self._watch.tell(notices)

    def _heard(self, run_id: str, event_types: Sequence[str]) -> None:
        """What another process has committed."""
        if self._storage is not None:
            self._listeners.tell([(run_id, event_types)], own=False)

    def _lost(self, loop: asyncio.AbstractEventLoop) -> None:
        """On whatever thread: nothing can be written any more, so others are to take over."""
        self._presence.resign()
        told: list[Notice] = [("", (STORE_LOST,))]
        loop.call_soon_threadsafe(self._notify, told)

    # --- connections -------------------------------------------------------------------------------

    def _opened(self) -> tuple[Connection, Connection]:
        """To write and to read.  Making the file, and recovering it, are writes too."""
        if self._path is not None:
            places.check(self._path)
            create(self._path)
        self._lock.open()
        if not self._lock.acquire_within(PATIENCE):
            self._lock.close()
            raise self._file.held()
        opened: list[Connection] = []
        try:
            opened.append(self._file.connect())
            self._file.prepare(opened[0])
            # A database in memory belongs to its one connection.
            opened.append(opened[0] if self._path is None else self._file.connect())
        except BaseException:
            for connection in opened:
                connection.close()
            raise
        finally:
            self._lock.release()
            if len(opened) < 2:
                self._lock.close()
        return opened[0], opened[1]


def _not_open() -> StoreRefusedError:
    return StoreRefusedError("the world is not open; call start(), or use 'async with Runtime(...)'")
