from __future__ import annotations

import asyncio
import errno
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from wrkflw.errors import StoreError
from wrkflw.world.errors import EntityConflictError, StoreBusyError
from wrkflw.worlds.locks import WriteLock
from wrkflw.worlds.sql.database import Connection, Notice
from wrkflw.worlds.sql.statement import Statement
from wrkflw.worlds.wal import Wal
from wrkflw.worlds.writer import FAST_COMMIT, SLOW_COMMIT, Writer

INSERT = Statement("INSERT INTO notes VALUES (?)", ("text",))


class Disk:
    """A database that remembers what it was told, and is as slow or as broken as a test wants it."""

    def __init__(self, path: Path) -> None:
        self.texts: list[str] = []
        self.threads: list[str] = []
        self.failures: dict[str, list[BaseException]] = {}
        self.cost = 0.0
        self.also: Callable[[str], object] = len
        """Hears each statement, too."""
        self.gate, self.at_gate = threading.Event(), threading.Event()
        """Closed, it keeps whoever commits waiting."""
        self.gate.set()
        self._time = 0.0
        self.connection = Connection(sqlite3.connect(path, isolation_level=None, check_same_thread=False), self._hear)
        self._look = sqlite3.connect(path, isolation_level=None)
        self._look.execute("CREATE TABLE notes (text TEXT NOT NULL UNIQUE)")

    def _hear(self, text: str) -> None:
        self.also(text)
        if text == "COMMIT":
            self.at_gate.set()
            self.gate.wait()
            self._time += self.cost
            self.threads.append(threading.current_thread().name)
        if failures := self.failures.get(text):
            raise failures.pop()
        self.texts.append(text)

    def measure(self) -> float:
        return self._time

    @property
    def commits(self) -> int:
        return self.texts.count("COMMIT")

    def notes(self) -> list[str]:
        return [row[0] for row in self._look.execute("SELECT text FROM notes ORDER BY rowid")]

    def close(self) -> None:
        self._look.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "notes.db")
    yield disk
    disk.close()


@pytest.fixture
def told() -> list[Notice]:
    return []


@pytest.fixture
async def writer(disk: Disk, told: list[Notice]) -> Writer:
    return Writer(disk.connection, lock=WriteLock(), notify=told.extend, threads=True, measure=disk.measure)


def note(text: str, then: BaseException | None = None) -> Callable[[Connection], str]:
    """Write ``text``; afterwards, raise."""

    def work(connection: Connection) -> str:
        connection.run(INSERT, text=text)
        connection.notices.append((text, ["noted"]))
        if then is not None:
            raise then
        return text.upper()

    return work


def refuse(connection: Connection) -> str:
    raise EntityConflictError("no")


async def results(*futures: asyncio.Future[str]) -> list[str | BaseException]:
    return await asyncio.gather(*futures, return_exceptions=True)


async def test_what_is_submitted_in_one_turn_of_the_loop_is_one_commit(
    writer: Writer, disk: Disk, told: list[Notice]
) -> None:
    names = [f"note {number}" for number in range(100)]

    answers = await results(*(writer.submit(note(name)) for name in names))

    assert answers == [name.upper() for name in names]
    assert disk.commits == 1
    assert disk.notes() == names
    assert told == [(name, ["noted"]) for name in names]
    await writer.close()


async def test_while_each_turn_of_the_loop_brings_more_the_commit_waits_but_not_for_long(
    writer: Writer, disk: Disk
) -> None:
    """Requests of a server come in one turn after another; a commit for each would cost more than the requests."""
    futures: list[asyncio.Future[str]] = []
    for number in range(12):
        futures += [writer.submit(note(f"{number}a")), writer.submit(note(f"{number}b"))]
        await asyncio.sleep(0)

    assert disk.notes()[:8] == ["0a", "0b", "1a", "1b", "2a", "2b", "3a", "3b"]
    assert 1 < disk.commits < 5
    await results(*futures)
    await writer.close()


async def test_a_commit_waits_for_those_whom_the_last_one_answered(writer: Writer, disk: Disk) -> None:
    """Clients of a server come again one after another, each once it is answered: one commit does for them all."""

    async def come_again(turns: int) -> None:
        await writer.submit(note(f"{turns}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await writer.submit(note(f"{turns} again"))

    await asyncio.gather(*(come_again(turns) for turns in range(4)))

    assert disk.commits == 2
    await writer.close()


async def test_who_does_not_come_again_is_not_waited_for_long(writer: Writer, disk: Disk) -> None:
    await results(*(writer.submit(note(f"note {number}")) for number in range(100)))

    alone = writer.submit(note("alone"))
    for _ in range(6):
        await asyncio.sleep(0)

    assert alone.done()
    assert disk.commits == 2
    await writer.close()


async def test_who_comes_alone_does_not_wait_for_others(writer: Writer, disk: Disk) -> None:
    future = writer.submit(note("alone"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert disk.notes() == ["alone"]
    await future
    await writer.close()


async def test_nobody_is_answered_before_the_commit(writer: Writer, disk: Disk) -> None:
    seen: list[int] = []
    future = writer.submit(note("a"))
    future.add_done_callback(lambda _: seen.append(disk.commits))

    await future
    await asyncio.sleep(0)

    assert seen == [1]
    await writer.close()


async def test_a_refusal_undoes_nothing_of_its_neighbours(writer: Writer, disk: Disk) -> None:
    answers = await results(writer.submit(note("a")), writer.submit(refuse), writer.submit(note("b")))

    assert [answers[0], answers[2]] == ["A", "B"]
    assert isinstance(answers[1], EntityConflictError)
    assert disk.commits == 1
    assert disk.notes() == ["a", "b"]
    await writer.close()


@pytest.mark.parametrize("error", [RuntimeError("bug"), EntityConflictError("no"), sqlite3.IntegrityError("twice")])
async def test_who_breaks_after_writing_fails_alone(
    error: Exception, writer: Writer, disk: Disk, told: list[Notice]
) -> None:
    undone: list[bool] = []
    writer.transactions.on_rollback = lambda: undone.append(True)

    answers = await results(writer.submit(note("a")), writer.submit(note("broken", error)), writer.submit(note("b")))

    assert [answers[0], answers[2]] == ["A", "B"]
    assert isinstance(answers[1], StoreError if isinstance(error, sqlite3.Error) else type(error))
    assert disk.notes() == ["a", "b"]
    assert told == [("a", ["noted"]), ("b", ["noted"])]
    assert undone
    await writer.close()


@pytest.mark.parametrize("number", [1, 3])
async def test_when_a_commit_fails_nothing_is_acknowledged(
    number: int, writer: Writer, disk: Disk, told: list[Notice]
) -> None:
    disk.failures["COMMIT"] = [sqlite3.OperationalError("disk I/O error")]

    answers = await results(*(writer.submit(note(str(n))) for n in range(number)))

    assert [str(answer) for answer in answers] == [
        "the database could not commit: disk I/O error; repeat the call with the same idempotency key"
    ] * number
    assert all(isinstance(answer, StoreError) for answer in answers)
    assert disk.notes() == []
    assert told == []
    assert disk.commits == 0, "the disk is not asked again for those who were waiting"
    assert await writer.submit(note("later")) == "LATER"
    await writer.close()


async def test_when_another_process_holds_the_database_all_are_told_to_try_again(writer: Writer, disk: Disk) -> None:
    disk.failures["BEGIN IMMEDIATE"] = [
        sqlite3.OperationalError("database is locked")
    ] * 2  # on the loop, in the thread

    answers = await results(writer.submit(note("a")), writer.submit(note("b")))

    assert all(isinstance(answer, StoreBusyError) for answer in answers)
    assert await writer.submit(note("a")) == "A"
    await writer.close()


async def test_a_transaction_that_cannot_be_undone_stops_the_writer(writer: Writer, disk: Disk) -> None:
    disk.failures["COMMIT"] = [sqlite3.OperationalError("disk I/O error")]
    disk.failures["ROLLBACK"] = [sqlite3.OperationalError("disk I/O error")]

    with pytest.raises(StoreError, match="could not commit"):
        await writer.submit(note("a"))
    with pytest.raises(StoreError, match="the database could not undo a transaction; open a Runtime again"):
        await writer.submit(note("b"))

    await writer.close()
    assert disk.notes() == []


async def test_a_caller_who_has_gone_does_not_undo_what_it_asked_for(writer: Writer, disk: Disk) -> None:
    gone = writer.submit(note("a"))
    gone.cancel()

    assert await writer.submit(note("b")) == "B"

    assert disk.notes() == ["a", "b"]
    await writer.close()


async def test_a_fast_disk_is_written_on_the_event_loop(writer: Writer, disk: Disk) -> None:
    disk.cost = SLOW_COMMIT

    for number in range(50):
        await writer.submit(note(str(number)))

    assert set(disk.threads) == {threading.current_thread().name}
    await writer.close()


async def test_a_slow_disk_moves_to_a_thread_and_back_when_it_is_fast_again(writer: Writer, disk: Disk) -> None:
    loop, thread = threading.current_thread().name, "wrkflw-writer"

    disk.cost = 2 * SLOW_COMMIT
    for number in range(10):
        await writer.submit(note(f"slow {number}"))
    disk.cost = (SLOW_COMMIT + FAST_COMMIT) / 2
    for number in range(50):
        await writer.submit(note(f"in between {number}"))
    disk.cost = FAST_COMMIT / 2
    for number in range(50):
        await writer.submit(note(f"fast {number}"))

    assert disk.threads[0] == loop
    assert set(disk.threads[10:60]) == {thread}, "between the limits it stays where it is"
    assert disk.threads[-1] == loop
    assert len(disk.notes()) == 110
    await writer.close()


async def test_what_arrives_while_the_thread_commits_gathers_for_the_next(writer: Writer, disk: Disk) -> None:
    disk.cost = 1.0
    await writer.submit(note("slow"))

    disk.gate.clear()
    disk.at_gate.clear()
    first = writer.submit(note("first"))
    await asyncio.to_thread(disk.at_gate.wait)
    rest = [writer.submit(note(str(number))) for number in range(10)]
    disk.gate.set()
    await asyncio.gather(first, *rest)

    assert disk.commits == 3
    assert disk.notes() == ["slow", "first", *map(str, range(10))]
    await writer.close()


@pytest.mark.parametrize("cost", [0.0, 1.0])
async def test_close_commits_what_was_submitted_and_then_refuses(cost: float, writer: Writer, disk: Disk) -> None:
    disk.cost = cost
    await writer.submit(note("before"))
    futures = [writer.submit(note(str(number))) for number in range(1500)]

    await writer.close()

    assert all(future.done() and future.result() for future in futures)
    assert len(disk.notes()) == 1501
    with pytest.raises(StoreError, match="the database is closed; open a Runtime again"):
        await writer.submit(note("after"))


async def test_a_writer_that_is_stopped_leaves_what_was_not_committed(writer: Writer, disk: Disk) -> None:
    future = writer.submit(note("a"))

    writer.stop()

    assert future.cancelled()
    with pytest.raises(StoreError, match="the process was stopped"):
        await writer.submit(note("b"))
    assert disk.notes() == []


# --- tools of others -----------------------------------------------------------------------------------


@pytest.fixture
def tool(disk: Disk, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody at work on the file who knows nothing of our lock, and has begun to write."""
    with closing(sqlite3.connect(tmp_path / "notes.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


async def test_while_a_tool_of_somebody_elses_writes_the_loop_goes_on(
    writer: Writer, disk: Disk, tool: sqlite3.Connection
) -> None:
    futures = [writer.submit(note("a")), writer.submit(note("b"))]
    for _ in range(10):
        await asyncio.sleep(0)
    assert not any(future.done() for future in futures)

    tool.execute("ROLLBACK")

    assert await results(*futures) == ["A", "B"]
    assert disk.notes() == ["a", "b"]
    await writer.close()


async def test_a_tool_that_comes_between_the_parts_of_a_batch_is_waited_for(
    writer: Writer, disk: Disk, tmp_path: Path
) -> None:
    """One of them breaks, so each gets a transaction of its own, and the tool begins before the first of these."""
    begun = 0

    def hear(text: str) -> None:
        nonlocal begun
        begun += text == "BEGIN IMMEDIATE"
        if text == "BEGIN IMMEDIATE" and begun == 2:
            other.execute("BEGIN IMMEDIATE")

    disk.also = hear
    with closing(sqlite3.connect(tmp_path / "notes.db", isolation_level=None)) as other:
        futures = [writer.submit(note("a")), writer.submit(note("b", then=ValueError("no"))), writer.submit(note("c"))]
        for _ in range(10):
            await asyncio.sleep(0)
        assert not any(future.done() for future in futures)

        other.execute("ROLLBACK")
        answers = await results(*futures)

    assert [str(answer) for answer in answers] == ["A", "no", "C"]
    assert disk.notes() == ["a", "c"]
    await writer.close()


async def test_who_waits_for_a_tool_of_somebody_elses_is_told_when_it_takes_too_long(
    disk: Disk, told: list[Notice], tool: sqlite3.Connection
) -> None:
    writer = Writer(disk.connection, lock=WriteLock(), notify=told.extend, threads=True, patience=0.01)

    with pytest.raises(StoreBusyError, match="another process holds the database; try again"):
        await writer.submit(note("too soon"))

    tool.execute("ROLLBACK")
    assert await writer.submit(note("again")) == "AGAIN"
    assert disk.notes() == ["again"]
    await writer.close()


# --- other processes -----------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[WriteLock]:
    """The lock as another process has it."""
    lock = WriteLock(tmp_path / "notes.lock")
    lock.open()
    yield lock
    lock.close()


@pytest.fixture
async def sharing(disk: Disk, told: list[Notice], tmp_path: Path) -> AsyncIterator[Writer]:
    lock = WriteLock(tmp_path / "notes.lock")
    lock.open()
    writer = Writer(disk.connection, lock=lock, notify=told.extend, threads=True, measure=disk.measure, patience=0.01)
    yield writer
    await writer.close()
    lock.close()


async def test_while_another_process_writes_the_loop_goes_on_and_work_gathers(
    sharing: Writer, disk: Disk, elsewhere: WriteLock
) -> None:
    sharing._patience = 30
    elsewhere.acquire()
    first = sharing.submit(note("first"))
    await asyncio.sleep(0)  # it stands in line
    rest = [sharing.submit(note(str(number))) for number in range(10)]
    await asyncio.sleep(0)
    assert disk.texts == []

    elsewhere.release()
    await asyncio.gather(first, *rest)

    assert disk.commits == 1
    assert disk.notes() == ["first", *map(str, range(10))]


async def test_when_another_process_hangs_callers_are_told_to_try_again(
    sharing: Writer, disk: Disk, elsewhere: WriteLock
) -> None:
    elsewhere.acquire()
    for text in ("a", "b"):
        with pytest.raises(StoreBusyError, match="another process holds the database; try again"):
            await sharing.submit(note(text))
    elsewhere.release()
    sharing._patience = 30

    assert await sharing.submit(note("c")) == "C"
    assert disk.notes() == ["c"], "what was refused is not written later"


async def test_however_many_they_are_all_are_told_at_once(sharing: Writer, disk: Disk, elsewhere: WriteLock) -> None:
    elsewhere.acquire()
    futures = [sharing.submit(note(str(number))) for number in range(2_500)]
    with pytest.raises(StoreBusyError):
        await futures[0]

    assert all(future.done() for future in futures)
    await results(*futures)
    elsewhere.release()


@pytest.mark.parametrize("count", [1, 2_500])
async def test_a_process_that_hangs_keeps_nobody_from_closing(
    sharing: Writer, disk: Disk, elsewhere: WriteLock, count: int
) -> None:
    elsewhere.acquire()
    futures = [sharing.submit(note("a")) for _ in range(count)]

    await sharing.close()

    assert {type(each) for each in await results(*futures)} == {StoreBusyError}
    elsewhere.release()
    assert disk.notes() == []


# --- a lock that cannot be had -------------------------------------------------------------------------


class BrokenLock(WriteLock):
    """The next to take it are answered so: an error, or False when somebody else has it."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[OSError | bool] = []

    def acquire(self, *, wait: bool = True) -> bool:
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, OSError):
            raise answer
        return answer and super().acquire(wait=wait)


@pytest.fixture
def broken() -> BrokenLock:
    return BrokenLock()


@pytest.fixture
async def unlocked(disk: Disk, told: list[Notice], broken: BrokenLock) -> Writer:
    return Writer(disk.connection, lock=broken, notify=told.extend, threads=True, measure=disk.measure, patience=30)


def no_locks() -> OSError:
    return OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize("elsewhere_first", [False, True], ids=["on the loop", "in the thread"])
async def test_when_the_lock_cannot_be_taken_callers_are_told(
    elsewhere_first: bool, unlocked: Writer, broken: BrokenLock, disk: Disk
) -> None:
    broken.answers = [False, no_locks()] if elsewhere_first else [no_locks()]

    async with asyncio.timeout(20):
        answers = await results(unlocked.submit(note("a")), unlocked.submit(note("b")))

    assert [str(answer) for answer in answers] == [
        "the database could not be locked: No locks available; "
        "repeat the call, and keep the database on a local disk if it happens again"
    ] * 2
    assert all(type(answer) is StoreError for answer in answers)
    assert await unlocked.submit(note("c")) == "C"
    assert disk.notes() == ["c"], "what was refused is not written later"
    await unlocked.close()


async def test_on_a_slow_disk_too_callers_are_told_that_the_lock_cannot_be_taken(
    unlocked: Writer, broken: BrokenLock, disk: Disk
) -> None:
    disk.cost = 1.0
    await unlocked.submit(note("slow"))
    broken.answers = [no_locks()]

    async with asyncio.timeout(20):
        with pytest.raises(StoreError, match="could not be locked"):
            await unlocked.submit(note("a"))

    assert await unlocked.submit(note("b")) == "B"
    await unlocked.close()


async def test_those_behind_the_refused_have_their_turn(unlocked: Writer, broken: BrokenLock, disk: Disk) -> None:
    broken.answers = [no_locks()]

    async with asyncio.timeout(20):
        answers = await results(*(unlocked.submit(note(str(number))) for number in range(1500)))

    refused = [answer for answer in answers if isinstance(answer, StoreError)]
    assert (len(refused), len(disk.notes())) == (1000, 500)
    await unlocked.close()


async def test_a_lock_that_cannot_be_taken_keeps_nobody_from_closing(unlocked: Writer, broken: BrokenLock) -> None:
    broken.answers = [no_locks(), no_locks()]

    await unlocked.close()

    assert broken.answers == []
    with pytest.raises(StoreError, match="the database is closed"):
        await unlocked.submit(note("a"))


class FullWal(Wal):
    """Counts how often it is emptied, after which it is full no more."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.emptied = 0

    def check(self) -> None:
        pass

    @property
    def is_full(self) -> bool:
        return self.emptied == 0

    def empty(self, connection: Connection) -> None:
        self.emptied += 1


async def test_a_log_that_could_not_be_emptied_is_emptied_after_the_next_commit(
    disk: Disk, broken: BrokenLock, tmp_path: Path
) -> None:
    wal = FullWal(tmp_path / "notes.db")
    writer = Writer(disk.connection, lock=broken, notify=lambda _: None, threads=True, wal=wal, measure=disk.measure)
    broken.answers = [True, no_locks()]

    await writer.submit(note("a"))
    emptying = writer._in_thread
    assert emptying is not None
    await emptying
    assert (wal.emptied, writer._in_thread) == (0, None), "it is not tried again at once"
    await writer.submit(note("b"))
    await writer.close()

    assert wal.emptied == 1
