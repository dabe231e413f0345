"""Stores for the checks: SQLite, in a file or in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from wrkflw.worlds.sqlite import SqliteWorld

from .worlds import Opening, Worlds


class SqliteWorlds:
    """Worlds over the file at ``path``; each one over ``":memory:"`` has a database of its own."""

    def __init__(self, path: str | Path, durability: Literal["full", "normal"] = "full") -> None:
        self._path = path
        self._durability: Literal["full", "normal"] = durability

    @property
    def lasting(self) -> bool:
        return str(self._path) != ":memory:"

    def make(self, opening: Opening, /) -> SqliteWorld:
        return SqliteWorld(
            self._path,
            namespace=opening.namespace,
            clock=opening.clock,
            max_events=opening.max_events,
            max_deliveries=opening.max_deliveries,
            durability=self._durability,
        )


@asynccontextmanager
async def in_memory() -> AsyncGenerator[Worlds]:
    yield SqliteWorlds(":memory:")


@asynccontextmanager
async def in_files(folder: Path, durability: Literal["full", "normal"] = "full") -> AsyncGenerator[Worlds]:
    """A new file in a folder of its own below ``folder``, removed with all that is beside it."""
    with TemporaryDirectory(dir=folder, prefix="conformance-") as made:
        yield SqliteWorlds(Path(made) / "checks.db", durability)
