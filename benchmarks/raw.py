"""The limit: what the disk and the driver can do, with nothing around them.

The standard library's sqlite3, WAL and ``synchronous=FULL``; a step is one transaction that inserts its row and moves
its run on.  For runs in flight together, one thread commits whatever has gathered.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

from .measure import Timed, timed

_SCHEMA = (
    "CREATE TABLE runs(id TEXT PRIMARY KEY, workflow TEXT, status TEXT, input TEXT, output TEXT, seq INTEGER, "
    "created REAL, updated REAL)",
    "CREATE TABLE steps(run_id TEXT, seq INTEGER, name TEXT, status TEXT, output TEXT, started REAL, ended REAL, "
    "PRIMARY KEY(run_id, seq)) WITHOUT ROWID",
    "CREATE TABLE events(run_id TEXT, slot INTEGER, kind TEXT, subject TEXT, data TEXT, at REAL, "
    "PRIMARY KEY(run_id, slot)) WITHOUT ROWID",
)
_NEW_RUN = "INSERT INTO runs VALUES(?, ?, ?, ?, ?, ?, ?, ?)"
_NEW_STEP = "INSERT INTO steps VALUES(?, ?, ?, ?, ?, ?, ?)"
_MOVE_RUN = "UPDATE runs SET seq = ?, status = ?, output = ?, updated = ? WHERE id = ?"
_NEW_EVENT = "INSERT INTO events VALUES(?, ?, ?, ?, ?, ?)"
_LOG = "SELECT slot, kind, subject, data, at FROM events WHERE run_id = ? ORDER BY slot"
_MOST_AT_ONCE = 1000
_EVENTS = ("created", "started", "completed")

# On the machine for which the goals were set, in steps/s and items/s:
CHAIN = 7_800
GROUP_COMMIT = 52_700
FAN = 87_000

Writes: TypeAlias = Sequence[tuple[str, tuple[object, ...]]]


@contextmanager
def _database(folder: Path) -> Generator[sqlite3.Connection]:
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None, check_same_thread=False)
    with closing(connection):
        for text in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", *_SCHEMA):
            connection.execute(text)
        yield connection


async def chain(folder: Path, runs: int, length: int) -> Timed:
    """``runs`` of ``length`` steps, one after another, in a new database in ``folder``."""
    with _database(folder) as connection:
        return await timed(runs * length, _one_after_another(connection, runs, length))


async def concurrent(folder: Path, runs: int, in_flight: int, length: int) -> Timed:
    """The same, up to ``in_flight`` at a time, over one thread that writes."""
    with _database(folder) as connection:
        group = GroupCommit(connection)
        try:
            return await timed(runs * length, _together(group, runs, in_flight, length))
        finally:
            group.close()


async def fan(folder: Path, items: int, *, logged: bool = True) -> Timed:
    """One run of ``items`` steps that wait for nobody; a step is a row, and three more when it is ``logged``."""
    with _database(folder) as connection:
        group = GroupCommit(connection)
        try:
            return await timed(items, _side_by_side(group, items, logged))
        finally:
            group.close()


async def replay(folder: Path, steps: int) -> Timed:
    """Read the log of one run of ``steps`` steps, and load the value in each entry."""
    with _database(folder) as connection:
        name = uuid4().hex
        log = [write for step in range(1, steps + 1) for write in _item(name, step, logged=True)]
        _commit(connection, log)
        return await timed(steps, _read(connection, name))


async def _read(connection: sqlite3.Connection, run: str) -> None:
    for _, _, _, data, _ in connection.execute(_LOG, (run,)).fetchall():
        json.loads(data)


async def _side_by_side(group: GroupCommit, items: int, logged: bool) -> None:
    name = uuid4().hex
    await group.commit(_creation(name))
    await asyncio.gather(*(group.commit(_item(name, item, logged=logged)) for item in range(1, items + 1)))
    await group.commit([(_MOVE_RUN, (items, "completed", "[]", time.time(), name))])


async def _one_after_another(connection: sqlite3.Connection, runs: int, length: int) -> None:
    for _ in range(runs):
        name = uuid4().hex
        _commit(connection, _creation(name))
        value = {"n": 0}
        for step in range(1, length + 1):
            value = {"n": value["n"] + 1}
            _commit(connection, _completion(name, step, value, length))


async def _together(group: GroupCommit, runs: int, in_flight: int, length: int) -> None:
    free = asyncio.Semaphore(in_flight)

    async def run() -> None:
        async with free:
            name = uuid4().hex
            await group.commit(_creation(name))
            value = {"n": 0}
            for step in range(1, length + 1):
                value = {"n": value["n"] + 1}
                await group.commit(_completion(name, step, value, length))

    await asyncio.gather(*(run() for _ in range(runs)))


class GroupCommit:
    """Whatever was handed in while the last transaction was written makes the next."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[tuple[asyncio.Future[None], Writes] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def commit(self, writes: Writes) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((future, writes))
        return future

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            while len(batch) < _MOST_AT_ONCE:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    self._queue.put(None)
                    break
                batch.append(following)
            _commit(self._connection, [write for _, writes in batch for write in writes])
            self._loop.call_soon_threadsafe(_settle, [future for future, _ in batch])


def _settle(futures: Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _creation(run: str) -> Writes:
    now = time.time()
    return [(_NEW_RUN, (run, "w", "running", json.dumps({"n": 0}), None, 0, now, now))]


def _completion(run: str, step: int, value: object, length: int) -> Writes:
    now, data = time.time(), json.dumps(value)
    status = "completed" if step == length else "running"
    return [
        (_NEW_STEP, (run, step, f"add-{step}", "completed", data, now, now)),
        (_MOVE_RUN, (step, status, data, now, run)),
    ]


def _item(run: str, item: int, *, logged: bool) -> Writes:
    now, data, name = time.time(), json.dumps({"n": item}), f"add-{item}"
    step: Writes = [(_NEW_STEP, (run, item, name, "completed", data, now, now))]
    if not logged:
        return step
    first = item * len(_EVENTS)
    return [*((_NEW_EVENT, (run, first + n, kind, name, data, now)) for n, kind in enumerate(_EVENTS)), *step]


def _commit(connection: sqlite3.Connection, writes: Writes) -> None:
    execute = connection.execute
    execute("BEGIN IMMEDIATE")
    for text, values in writes:
        execute(text, values)
    execute("COMMIT")
