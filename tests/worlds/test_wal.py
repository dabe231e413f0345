"""The write-ahead log as a file: emptied before it grows, and no longer trusted once somebody has removed it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.world.errors import StoreRefusedError
from wrkflw.worlds.database_file import DatabaseFile, create
from wrkflw.worlds.sqlite import SqliteWorld
from wrkflw.worlds.wal import LIMIT

LARGE = b'"' + b"x" * 1_000_000 + b'"'


def created(text: bytes = b"null") -> e.RunCreated:
    return e.RunCreated(workflow_name="greet", input=text)


@pytest.fixture
async def here(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "a.db", clock=clock, payload_inline_max=len(LARGE))
    await world.start()
    yield world
    await world.close()


async def test_the_log_is_emptied_before_it_grows(here: SqliteWorld, tmp_path: Path) -> None:
    sizes: list[int] = []
    for _ in range(4 * LIMIT // len(LARGE)):
        await here.storage.events.create(None, created(LARGE))
        sizes.append((tmp_path / "a.db-wal").stat().st_size)

    assert LIMIT < max(sizes) < 2 * LIMIT
    assert (tmp_path / "a.db").stat().st_size > 2 * LIMIT


async def test_the_log_is_emptied_when_the_last_one_leaves(tmp_path: Path, here: SqliteWorld) -> None:
    await here.storage.events.create(None, created())

    await here.close()

    assert not (tmp_path / "a.db-wal").exists()


@pytest.mark.parametrize("name", ["a.db-wal", "a.db"])
@pytest.mark.parametrize("what", ["removed", "replaced"])
async def test_nothing_more_is_acknowledged_once_the_log_is_another(
    what: str, name: str, here: SqliteWorld, tmp_path: Path
) -> None:
    """As when somebody puts a backup in the place of the database: what follows would go into neither."""
    run_id = (await here.storage.events.create(None, created())).run.run_id
    log = tmp_path / name
    os.rename(log, tmp_path / "elsewhere")
    if what == "replaced":
        log.write_bytes((tmp_path / "elsewhere").read_bytes())

    for _ in range(2):
        with pytest.raises(StoreError) as refused:
            await here.storage.events.create(None, created())
        assert str(refused.value) == (
            f"{log} was {what} while it was in use, and what was written since may be lost; "
            "stop every process that uses the database, check it, and open a Runtime again"
        )
    assert (await here.storage.runs.get(run_id)).run_id == run_id, "what is there can be read"
    with pytest.raises(StoreError, match="stop every process"):
        await here.close()
    log.unlink(missing_ok=True)
    os.rename(tmp_path / "elsewhere", log)


def test_where_the_database_is_gone_no_empty_one_is_made(tmp_path: Path) -> None:
    """It is opened a second time to renew the lease; and the next start would take that one for the database."""
    path = tmp_path / "a.db"
    file = DatabaseFile(path, "full", None)
    create(path)
    file.connect().close()
    path.unlink()

    with pytest.raises(StoreRefusedError, match="cannot be opened"):
        file.connect()
    assert not path.exists()


async def test_who_can_write_no_more_counts_as_dead(here: SqliteWorld, tmp_path: Path, clock: ManualClock) -> None:
    other = SqliteWorld(tmp_path / "a.db", clock=clock)
    await other.start()
    run_id = (await here.storage.events.create(None, created())).run.run_id
    await here.storage.runs.claim(run_id, owner=here.owner)
    os.rename(tmp_path / "a.db-wal", tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="removed"):
        await here.storage.events.create(None, created())
    os.rename(tmp_path / "elsewhere", tmp_path / "a.db-wal")

    taken = await other.storage.runs.claim_due(owner=other.owner, workflow_names=["greet"], limit=9)

    assert run_id in {run.run_id for run in taken}
    await other.close()
    with pytest.raises(StoreError, match="removed"):
        await here.close()
