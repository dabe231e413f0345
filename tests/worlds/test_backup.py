"""Putting a backup back: with what a dead process left beside the database, and never under a living one."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from wrkflw.world import events as e
from wrkflw.world.errors import StoreRefusedError
from wrkflw.worlds.backup import back_up, restore
from wrkflw.worlds.sqlite import SqliteWorld


async def add(world: SqliteWorld, *run_ids: str) -> None:
    for run_id in run_ids:
        await world.storage.events.create(run_id, e.RunCreated(workflow_name="w", input=b"x" * 9_000))


def runs_in(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {run_id for (run_id,) in connection.execute("SELECT run_id FROM runs")}


@pytest.fixture
async def backup(tmp_path: Path) -> Path:
    """Of a database at ``app.db`` with one run; it has had more since, and its process has died."""
    world = SqliteWorld(tmp_path / "app.db")
    await world.start()
    await add(world, "before")
    back_up(tmp_path / "app.db", tmp_path / "backup.db")
    await add(world, *(f"after-{number}" for number in range(20)))
    left = {name: (tmp_path / name).read_bytes() for name in ("app.db-wal", "app.db-shm")}
    world.abandon()
    for name, data in left.items():  # which SQLite has tidied away, as no process does that is killed
        (tmp_path / name).write_bytes(data)
    return tmp_path / "backup.db"


async def test_a_database_that_somebody_holds_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = SqliteWorld(tmp_path / "app.db")
    await world.start()
    await world.close()
    monkeypatch.setattr("wrkflw.worlds.health.PATIENCE", 0)

    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreRefusedError, match="could not be copied: database is locked"):
            back_up(tmp_path / "app.db", tmp_path / "backup.db")

    assert not (tmp_path / "backup.db").exists()


def test_a_log_that_a_dead_process_left_goes_with_its_database(backup: Path, tmp_path: Path) -> None:
    path, before = tmp_path / "app.db", backup.read_bytes()

    size, aside = restore(backup, path)

    assert (size, aside) == (path.stat().st_size, tmp_path / "app.db.before-restore")
    assert runs_in(path) == {"before"}
    assert len(runs_in(tmp_path / "app.db.before-restore")) == 21
    assert path.stat().st_mode & 0o777 == 0o600
    assert backup.read_bytes() == before


def test_every_database_that_was_replaced_is_kept(backup: Path, tmp_path: Path) -> None:
    path = tmp_path / "app.db"

    kept = [restore(backup, path).aside for _ in range(3)]

    assert kept == [tmp_path / f"app.db.before-restore{number}" for number in ("", "-2", "-3")]
    assert len(runs_in(tmp_path / "app.db.before-restore")) == 21


def test_a_database_that_was_lost_comes_back_without_the_log_that_is_left(backup: Path, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.unlink()

    assert restore(backup, path).aside is None

    assert runs_in(path) == {"before"}


@pytest.mark.parametrize("ending", [OSError(28, "No space left on device"), MemoryError()])
def test_a_restore_that_does_not_come_to_its_end_leaves_all_there_was(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: BaseException
) -> None:
    def replace(_copy: Path, _path: Path) -> Path:
        raise ending

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises((StoreRefusedError, MemoryError)):
        restore(backup, tmp_path / "app.db")

    assert len(runs_in(tmp_path / "app.db")) == 21
    assert not (tmp_path / "app.db.before-restore").exists()


def test_a_damaged_database_can_be_replaced(backup: Path, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(b"\xff" * 8192)

    restore(backup, path)

    assert runs_in(path) == {"before"}


async def test_nothing_is_replaced_under_a_living_process(backup: Path, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    world = SqliteWorld(path)
    await world.start()
    link = tmp_path / "link.db"
    link.symlink_to(path)

    with pytest.raises(StoreRefusedError) as refused:
        restore(backup, link)

    assert str(refused.value) == (f"{path} is in use; stop every process that works on it, wrkflw doctor names them")
    await add(world, "later")
    await world.close()
    assert "later" in runs_in(path)


@pytest.mark.skipif(os.name != "posix", reason="Windows replaces no open file")
def test_nor_under_somebody_who_looks_with_other_tools(backup: Path, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    look = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM runs').fetchall(); "
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", look, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"

        with pytest.raises(StoreRefusedError, match=r"app\.db is in use; stop every process"):
            restore(backup, path)

        other.communicate("", timeout=60)


def test_what_is_no_sound_backup_changes_nothing(backup: Path, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    damaged, text, other, newer = (tmp_path / name for name in ("damaged.db", "text.db", "other.db", "newer.db"))
    data = backup.read_bytes()
    damaged.write_bytes(data[: 4096 * 3] + b"\xff" * 8192 + data[4096 * 5 :])
    text.write_text("not a database, but long enough to look like one " * 50)
    newer.write_bytes(data)
    with closing(sqlite3.connect(other)) as foreign, closing(sqlite3.connect(newer)) as ahead, ahead:
        foreign.execute("CREATE TABLE things (id INTEGER)")
        ahead.execute("UPDATE wrkflw_version SET version_num = '9999'")

    for wrong, why in {
        damaged: r"is damaged|malformed",
        text: "file is not a database",
        other: "is no database of wrkflw; name a backup",
        newer: "has schema '9999', which is of a newer version; upgrade wrkflw",
        path: "is the database itself; name a backup",
        tmp_path / "no.db": "is no file; name a backup",
    }.items():
        with pytest.raises(StoreRefusedError, match=why):
            restore(wrong, path)

    assert not [one for one in tmp_path.iterdir() if "restor" in one.name]
    assert len(runs_in(path)) == 21
