"""How far sources were read: one process at a time, and from where the last one was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from wrkflw.world.cursors import Held
from wrkflw.worlds.sqlite import SqliteWorld


@asynccontextmanager
async def opened(path: Path | str, namespace: str = "default") -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(path, namespace=namespace)
    await world.start()
    try:
        yield world
    finally:
        await world.close()


async def test_a_source_is_read_from_where_it_was_read_last(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as world:
        assert await world.storage.cursors.take("mail") == Held(None)
        assert await world.storage.cursors.advance("mail", "7")
        await world.storage.cursors.release("mail")
    async with opened(tmp_path / "a.db") as world:
        assert await world.storage.cursors.take("mail") == Held("7")


async def test_one_process_at_a_time_reads_a_source(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as one, opened(tmp_path / "a.db") as other:
        assert await one.storage.cursors.take("mail") == Held(None)

        assert await other.storage.cursors.take("mail") is None
        assert await one.storage.cursors.take("mail") is None
        assert not await other.storage.cursors.advance("mail", "9")
        assert await other.storage.cursors.take("post") == Held(None)

        await other.storage.cursors.release("mail")
        assert await one.storage.cursors.advance("mail", "3")
        await one.storage.cursors.release("mail")
        assert await other.storage.cursors.take("mail") == Held("3")
        assert not await one.storage.cursors.advance("mail", "4")


async def test_who_is_gone_reads_no_more(tmp_path: Path) -> None:
    gone = SqliteWorld(tmp_path / "a.db")
    await gone.start()
    await gone.storage.cursors.take("mail")
    await gone.storage.cursors.advance("mail", "5")
    gone.abandon()

    async with opened(tmp_path / "a.db") as world:
        assert await world.storage.cursors.take("mail") == Held("5")


async def test_namespaces_have_sources_of_their_own(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as one, opened(tmp_path / "a.db", "other") as other:
        await one.storage.cursors.take("mail")

        assert await other.storage.cursors.take("mail") == Held(None)
