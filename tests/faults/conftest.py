"""What all of these tests need: an empty database to begin with, a log that is soon full, and no threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from wrkflw.worlds import wal, writer
from wrkflw.worlds.sqlite import SqliteWorld

from . import virtual

_FEW_PAGES = 24 * 4120


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs."""
    path = tmp_path_factory.mktemp("template") / "empty.db"

    async def make() -> None:
        world = SqliteWorld(path)
        await world.start()
        await world.close()

    asyncio.run(make())
    return path


@pytest.fixture(autouse=True)
def _in_small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A scenario empties the log several times, and all that is done to the disk is done in one order."""
    monkeypatch.setattr(wal, "LIMIT", _FEW_PAGES)
    monkeypatch.setattr(wal, "_MORE", _FEW_PAGES)
    monkeypatch.setitem(wal.SETTINGS, "journal_size_limit", _FEW_PAGES)
    monkeypatch.setattr(writer, "Hand", virtual.Hand)
    monkeypatch.setattr(writer, "SLOW_COMMIT", float("inf"))
    logging.disable(logging.CRITICAL)  # thousands of failures are told, and all of them are wanted
    yield
    logging.disable(logging.NOTSET)
