"""What is told of a database file from outside, and copying it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from wrkflw import Runtime, create_workflow, step
from wrkflw.world.errors import StoreRefusedError
from wrkflw.worlds import places
from wrkflw.worlds.backup import back_up
from wrkflw.worlds.health import Finding, examine, revision_of, sqlite_finding
from wrkflw.worlds.sql.schema import REVISIONS
from wrkflw.worlds.sqlite import SqliteWorld


@step
async def same(number: int) -> int:
    return number


numbers = create_workflow(id="numbers", input_schema=int, output_schema=int).then(same).commit()


def findings(path: Path) -> dict[str, Finding]:
    return {found.check: found for found in examine(path)}


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database with a run in it."""
    async with Runtime(f"sqlite:///{tmp_path / 'app.db'}"):
        await numbers.run(1)
    return tmp_path / "app.db"


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ((3, 40, 1), "note"),
        ((3, 44, 5), "note"),
        ((3, 44, 6), "ok"),
        ((3, 45, 0), "note"),
        ((3, 50, 7), "ok"),
        ((3, 51, 2), "note"),
        ((3, 51, 3), "ok"),
        ((3, 52, 0), "ok"),
    ],
)
def test_versions_with_the_wal_reset_bug_are_known(version: tuple[int, ...], verdict: str) -> None:
    assert sqlite_finding(version).verdict == verdict


def test_a_database_in_order_is_found_so(path: Path) -> None:
    found = findings(path)

    assert {one.verdict for one in found.values()} <= {"ok"}
    assert found["schema"].detail == REVISIONS[-1] == revision_of(path)
    assert found["processes"].detail == "none"


async def test_a_process_at_work_is_told_from_one_that_died(path: Path) -> None:
    world = SqliteWorld(path)
    await world.start()
    at_work = findings(path)["processes"]
    world.abandon()
    dead = findings(path)["processes"]

    assert (at_work.verdict, at_work.detail) == ("ok", f"{world.owner} is at work")
    assert (dead.verdict, dead.detail) == ("note", f"{world.owner} has died; others take its runs")


async def test_a_process_at_work_is_known_through_a_link_too(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(path)
    world = SqliteWorld(link)
    await world.start()
    found = findings(link)
    log = (tmp_path / "app.db-wal").stat().st_size
    await world.close()

    assert (found["processes"].verdict, found["processes"].detail) == ("ok", f"{world.owner} is at work")
    assert found["disk"].detail.endswith(f"the write-ahead log has {log:,}")
    assert log > 0


def test_memory_is_no_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_memory(_: Path, mounts: Path = path) -> str:
        return "tmpfs"

    monkeypatch.setattr(places, "file_system_of", in_memory)

    found = findings(path)["file system"]

    assert found.verdict == "note"
    assert found.detail == (
        "tmpfs is memory, and what is there is gone when the machine is; use a disk for what is to stay"
    )


def test_looking_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    examine(path)

    assert path.read_bytes() == before
    assert sorted(one.name for one in path.parent.iterdir() if "-wal" not in one.name and "-shm" not in one.name) == [
        "app.db",
        "app.db.lock",
    ]


def test_what_others_may_read_is_noted(path: Path) -> None:
    os.chmod(path, 0o644)

    assert findings(path)["file"].detail == f"others can read or write it (mode 644); chmod 600 {path}"


def test_a_damaged_file_is_bad(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 5] = b"\xff" * 8192
    path.write_bytes(bytes(data))

    assert "bad" in {one.verdict for one in findings(path).values()}


async def test_a_copy_is_whole_although_others_write(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    async with Runtime(f"sqlite:///{path}") as runtime:
        run = await (await numbers.create_run(run_id="before")).start(2)
        size = await asyncio.to_thread(back_up, path, copy)
        await (await numbers.create_run(run_id="after")).start(3)
        assert run.unwrap() == 2
        assert runtime.is_open

    assert size == copy.stat().st_size
    assert copy.stat().st_mode & 0o777 == 0o600
    async with Runtime(f"sqlite:///{copy}", worker=False) as copied:
        assert "before" in [one.run_id for one in (await copied.runs.list()).data]
        assert "after" not in [one.run_id for one in (await copied.runs.list()).data]


def test_a_copy_never_replaces_anything(path: Path) -> None:
    with pytest.raises(StoreRefusedError, match=r"app\.db is there already; name a file that is not"):
        back_up(path, path)


def test_what_is_no_database_leaves_no_copy(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("not a database, but long enough to look like one " * 50)

    with pytest.raises(StoreRefusedError, match=r"text\.db could not be copied: file is not a database"):
        back_up(text, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_database_of_others_has_no_revision(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE things (id INTEGER)")

    assert revision_of(path) is None
    assert findings(path)["schema"].detail == "this is no database of wrkflw; give it a file of its own"


def test_what_is_no_database_has_no_revision_either(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("not a database, but long enough to look like one " * 50)

    with pytest.raises(StoreRefusedError) as refused:
        revision_of(path)

    assert str(refused.value) == f"{path} cannot be read: file is not a database; give the file of a wrkflw database"


def test_where_nothing_can_be_written_a_copy_is_advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite opens no database there; in its place stands a folder, which it cannot open either."""
    with pytest.raises(StoreRefusedError, match=r"; wrkflw doctor tells more$"):
        revision_of(tmp_path)

    def only_to_be_read(_: Path, mode: int) -> bool:
        return mode != os.W_OK

    monkeypatch.setattr(os, "access", only_to_be_read)

    cure = "copy it, with its -wal file if it has one, to another folder"
    with pytest.raises(StoreRefusedError, match=rf" cannot be read where it is read-only \(.+\); {cure}$"):
        revision_of(tmp_path)
