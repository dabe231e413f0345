"""Others who open the file of a database with tools of their own: what was acknowledged stays, or nothing more is."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.worlds.sqlite import SqliteWorld

CREATED = e.RunCreated(workflow_name="greet", input=b"null")
LOOK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM runs").fetchone()
connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
connection.close()
"""


def look_at(path: Path) -> None:
    """As somebody with the shell of SQLite does, who empties the log, too."""
    subprocess.run([sys.executable, "-c", LOOK, path], check=True, capture_output=True, timeout=60)


def runs_in(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {run_id for (run_id,) in connection.execute("SELECT run_id FROM runs")}


async def test_who_looks_at_the_database_with_other_tools_takes_nothing(tmp_path: Path, clock: ManualClock) -> None:
    path, acknowledged = tmp_path / "a.db", set[str]()
    world = SqliteWorld(path, clock=clock)
    await world.start()
    for _ in range(3):
        acknowledged.add((await world.storage.events.create(None, CREATED)).run.run_id)
        look_at(path)
        acknowledged.add((await world.storage.events.create(None, CREATED)).run.run_id)
    await world.close()

    assert runs_in(path) == acknowledged
    assert len(acknowledged) == 6


async def test_who_reads_the_file_in_this_process_takes_its_locks_and_nothing_acknowledged_is_lost(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Whoever opens and closes the file drops the locks of the process on it, so another one takes it for unused."""
    path = tmp_path / "a.db"
    world = SqliteWorld(path, clock=clock)
    await world.start()
    first = (await world.storage.events.create(None, CREATED)).run.run_id
    path.read_bytes()
    look_at(path)
    assert not (tmp_path / "a.db-wal").exists(), "the other one was the last to close it, as it seemed"

    with pytest.raises(StoreError, match="was removed while it was in use"):
        await world.storage.events.create(None, CREATED)
    with pytest.raises(StoreError, match="stop every process"):
        await world.close()

    assert first in runs_in(path)
