from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from wrkflw.databases import path_of
from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.world.errors import StoreRefusedError
from wrkflw.worlds.sql.database import Connection
from wrkflw.worlds.sqlite import SqliteWorld

CREATED = e.RunCreated(workflow_name="greet")


async def refusal_of(world: SqliteWorld) -> str:
    with pytest.raises(StoreRefusedError) as refused:
        await world.start()
    with pytest.raises(StoreRefusedError, match="the world is not open"):
        _ = world.storage
    return str(refused.value)


def failing(beginning: str, error: Exception) -> Callable[[str], None]:
    """Fail the first statement that begins so."""

    def hear(text: str) -> None:
        if errors and text.startswith(beginning):
            raise errors.pop()

    errors = [error]
    return hear


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written, with a file ``a.db`` in it that cannot be either."""
    (tmp_path / "a.db").touch(mode=0o400)
    tmp_path.chmod(0o500)
    if os.access(tmp_path / "a.db", os.W_OK):
        pytest.skip("this user may write anything")
    yield tmp_path
    tmp_path.chmod(0o700)


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


# --- settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("normal", 1)])
async def test_every_connection_has_the_settings_that_durability_rests_on(
    durability: str, synchronous: int, tmp_path: Path
) -> None:
    world = SqliteWorld(tmp_path / "a.db", durability="full" if durability == "full" else "normal")
    await world.start()
    connections = [world._write, world._read, world._file.connect()]

    for connection in connections:
        assert connection is not None
        assert connection.text("PRAGMA journal_mode") == [("wal",)]
        assert connection.text("PRAGMA synchronous") == [(synchronous,)]
        assert connection.text("PRAGMA foreign_keys") == [(1,)]
        # On the loop nobody is waited for: the thread does that.
        assert connection.text("PRAGMA busy_timeout") == [(0 if connection is world._write else 5000,)]
        assert connection.text("PRAGMA wal_autocheckpoint") == [(0,)]

    assert connections[-1] is not None
    connections[-1].close()
    await world.close()


def test_a_database_that_keeps_another_setting_is_refused(tmp_path: Path) -> None:
    """One in memory, which has no log to write ahead, stands for a file system that cannot have one."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(":memory:")) as driver, pytest.raises(StoreRefusedError) as refused:
        SqliteWorld(path)._file.configure(Connection(driver))

    assert str(refused.value) == (
        f"{path} keeps journal_mode = memory where wal is needed; use a local disk that can be written"
    )


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
async def test_only_the_owner_can_read_the_files_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        world = SqliteWorld(tmp_path / "a.db")
        await world.start()
        await world.storage.events.create(None, CREATED)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files_in(tmp_path)}
        owner = world.owner
        await world.close()
    finally:
        os.umask(before)

    assert modes.pop("a.db-owners") == 0o700
    assert set(modes) == {"a.db", "a.db-shm", "a.db-wal", "a.db.lock", owner, f"{owner}.bell"}
    assert set(modes.values()) == {0o600}


async def test_runs_outlive_the_world_they_were_made_in(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    for number in range(2):
        world = SqliteWorld(path)
        await world.start()
        await world.storage.events.create(None, CREATED)
        assert len((await world.storage.runs.list()).data) == number + 1
        await world.close()


async def test_a_database_in_memory_is_gone_when_it_is_closed() -> None:
    world = SqliteWorld(":memory:")
    for _ in range(2):
        await world.start()
        await world.storage.events.create(None, CREATED)
        assert len((await world.storage.runs.list()).data) == 1
        await world.close()


async def test_start_and_close_may_be_repeated(tmp_path: Path) -> None:
    world = SqliteWorld(tmp_path / "a.db")
    await world.start()
    await world.start()
    await world.storage.events.create(None, CREATED)
    await world.close()
    await world.close()

    await world.start()
    assert len((await world.storage.runs.list()).data) == 1
    await world.close()


async def test_a_listener_hears_of_commits_until_it_has_heard_enough() -> None:
    world = SqliteWorld(":memory:")
    await world.start()
    heard: list[tuple[str, list[str]]] = []
    end = world.subscribe(lambda run_id, types: heard.append((run_id, list(types))))

    run_id = (await world.storage.events.create(None, CREATED)).run.run_id
    assert heard == [(run_id, ["run_created"])]
    end()
    await world.storage.events.create(run_id, e.RunCancelled())

    assert len(heard) == 1
    await world.close()


async def test_a_listener_that_fails_harms_nobody() -> None:
    world = SqliteWorld(":memory:")
    await world.start()
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(str(context["message"])))
    heard: list[str] = []

    def fail(run_id: str, types: object) -> None:
        raise RuntimeError("bug")

    world.subscribe(fail)
    world.subscribe(lambda run_id, _: heard.append(run_id))
    first = (await world.storage.events.create(None, CREATED)).run.run_id
    second = (await world.storage.events.create(None, CREATED)).run.run_id

    assert heard == [first, second]
    assert complaints[0] == f"a listener failed on ['run_created'] of {first}"
    await world.close()


# --- refusals ----------------------------------------------------------------------------------------


async def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert await refusal_of(SqliteWorld(tmp_path / "no" / "a.db")) == (
        f"{tmp_path / 'no'} is not a folder; make it, or put the database elsewhere"
    )


async def test_a_folder_is_no_database(tmp_path: Path) -> None:
    folder = tmp_path / "a.db"
    folder.mkdir()

    assert await refusal_of(SqliteWorld(folder)) == f"{folder} is a folder; give wrkflw a file of its own"
    assert files_in(tmp_path) == [folder]


async def test_a_log_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.db-wal").mkdir()

    assert await refusal_of(SqliteWorld(tmp_path / "a.db")) == (
        f"{tmp_path / 'a.db-wal'} is a folder; give wrkflw a file of its own"
    )


async def test_a_device_is_no_database() -> None:
    assert await refusal_of(SqliteWorld("/dev/null")) == "/dev/null is no regular file; give wrkflw a file of its own"


async def test_a_name_that_leaves_no_room_for_the_files_beside_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251)

    assert await refusal_of(SqliteWorld(path)) == (
        f"{path}-journal cannot be used: File name too long; give the database a shorter name"
    )
    assert files_in(tmp_path) == []


FEW_FILES = """
import asyncio, os, resource, sys
from wrkflw.world.errors import StoreRefusedError
from wrkflw.worlds.sqlite import SqliteWorld
async def main():
    world = SqliteWorld(sys.argv[1])
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        await world.start()
    except StoreRefusedError as refused:
        print(refused)
asyncio.run(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX's")
@pytest.mark.parametrize("more", range(5))
def test_a_process_that_may_open_too_few_files_is_told_so(more: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FEW_FILES, str(tmp_path / "a.db"), str(more)]

    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)

    assert ended.stdout.endswith(
        ": Too many open files; close some, or let the process have more of them (ulimit -n)\n"
    )


async def test_a_damaged_database_asks_for_a_backup(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    world = SqliteWorld(path)
    await world.start()
    await world.close()
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096 * 3)

    assert (await refusal_of(world)).endswith("; restore a backup")


@pytest.mark.parametrize("content", [b"hello", b"not a database, and long enough to be taken for one" * 50])
async def test_a_file_that_is_not_a_database_is_refused_and_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)

    assert await refusal_of(SqliteWorld(path)) == (f"{path} is not a SQLite database; give wrkflw a file of its own")
    assert path.read_bytes() == content


async def test_a_file_that_cannot_be_written_is_refused(read_only: Path) -> None:
    assert await refusal_of(SqliteWorld(read_only / "a.db")) == (
        f"{read_only / 'a.db'} is read-only; make it writable for this user, or use another file"
    )


async def test_a_folder_that_cannot_be_written_is_refused(read_only: Path) -> None:
    assert await refusal_of(SqliteWorld(read_only / "b.db")) == (
        f"{read_only / 'b.db'} cannot be made: Permission denied; make it and its folder writable for this user"
    )


@pytest.mark.parametrize("where", ["PRAGMA journal_mode", "BEGIN IMMEDIATE"])
async def test_a_read_only_medium_is_refused_wherever_it_shows(where: str, tmp_path: Path) -> None:
    """Root may write a file of any mode, and a file that is in WAL mode already is not written before BEGIN."""
    path = tmp_path / "a.db"
    world = SqliteWorld(
        path, on_statement=failing(where, sqlite3.OperationalError("attempt to write a readonly database"))
    )

    assert await refusal_of(world) == f"{path} is read-only; make it writable for this user, or use another file"


async def test_a_database_that_another_process_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    world = SqliteWorld(path, on_statement=failing("BEGIN", sqlite3.OperationalError("database is locked")))

    assert await refusal_of(world) == f"{path} is held by another process; try again when it is done"


async def test_a_foreign_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as driver, driver:
        driver.execute("CREATE TABLE runs (id INTEGER)")

    assert await refusal_of(SqliteWorld(path)) == (
        f"{path} already has a table 'runs' that is not wrkflw's; give wrkflw a file of its own"
    )


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    world = SqliteWorld(path)
    await world.start()
    await world.close()
    with closing(sqlite3.connect(path)) as driver, driver:
        driver.execute("UPDATE wrkflw_version SET version_num = '9999'")

    assert await refusal_of(world) == (
        f"{path} has schema '9999', which this version of wrkflw does not know; upgrade wrkflw"
    )


async def test_a_world_that_could_not_be_announced_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    world = SqliteWorld(
        path, on_statement=failing("INSERT INTO owners", sqlite3.OperationalError("database or disk is full"))
    )

    with pytest.raises(StoreError, match="could not commit: database or disk is full"):
        await world.start()
    assert [found.name for found in files_in(tmp_path)] == ["a.db", "a.db.lock"]

    await world.start()
    await world.close()


async def test_a_world_that_cannot_give_up_its_runs_closes_all_the_same(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "a.db"
    world = SqliteWorld(
        path,
        clock=clock,
        on_statement=failing("DELETE FROM owners", sqlite3.OperationalError("disk I/O error")),
    )
    await world.start()
    run_id = (await world.storage.events.create(None, CREATED)).run.run_id
    await world.storage.runs.claim(run_id, owner=world.owner)

    with pytest.raises(StoreError, match="disk I/O error"):
        await world.close()

    other = SqliteWorld(path, clock=clock, lease=timedelta(seconds=30))
    await other.start()
    (taken,) = await other.storage.runs.claim_due(owner=other.owner, workflow_names=["greet"], limit=1)
    assert taken.run_id == run_id
    await other.close()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (":memory:", ":memory:"),
        ("sqlite:///app.db", "app.db"),
        ("sqlite:///data/app.db", "data/app.db"),
        ("sqlite:////var/app.db", "/var/app.db"),
    ],
)
def test_a_url_names_a_file(url: str, path: str) -> None:
    assert path_of(url) == path


@pytest.mark.parametrize("url", ["postgresql://localhost/app", "sqlite:///", "app.db", "sqlite://app.db", ""])
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(StoreRefusedError) as refused:
        path_of(url)

    assert str(refused.value) == (
        f"{url!r} is not a database this version knows; use 'sqlite:///path/to/file.db' or ':memory:'"
    )
