"""A defect: something that a sound World does otherwise from now on, and the checks that must notice."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from wrkflw.testing.conformance import Opening, Worlds
from wrkflw.worlds.sqlite import SqliteWorld

_NUMBERS = itertools.count()


class BrokenWorld(SqliteWorld):
    """Sound until it is started, then as ``damage`` leaves it.  ``others`` are all that were made over the store."""

    def __init__(self, path: Path, opening: Opening, damage: Callable[[BrokenWorld], None]) -> None:
        super().__init__(
            path,
            namespace=opening.namespace,
            clock=opening.clock,
            max_events=opening.max_events,
            max_deliveries=opening.max_deliveries,
            durability="normal",
        )
        self.others: list[BrokenWorld] = []
        self._damage = damage
        self._patches = ExitStack()

    async def start(self, **how: Any) -> None:
        await super().start(**how)
        self._damage(self)

    async def close(self) -> None:
        self._patches.close()
        await super().close()

    @property
    def events(self) -> Any:
        return self.storage.events

    @property
    def runs(self) -> Any:
        return self.storage.runs

    @property
    def steps(self) -> Any:
        return self.storage.steps

    @property
    def hooks(self) -> Any:
        return self.storage.hooks

    def alter(self, part: object, name: str, otherwise: Callable[..., object]) -> None:
        """Call ``otherwise(sound, …)`` in place of the method, which it gets first."""
        setattr(part, name, partial(otherwise, getattr(part, name)))

    def alter_module(self, module: ModuleType, name: str, otherwise: Callable[..., object]) -> None:
        """The same for a function of a module, until the World is closed."""
        self._patches.enter_context(patch.object(module, name, partial(otherwise, getattr(module, name))))

    def sql(self, statement: str, *values: object) -> None:
        """Behind the back of everybody."""
        assert self._write is not None
        self._write._driver.execute(statement, values)


@dataclass(frozen=True, slots=True)
class Defect:
    """``fails`` are the checks that must fail."""

    damage: Callable[[BrokenWorld], None]
    fails: tuple[str, ...]

    def __str__(self) -> str:
        return self.damage.__name__

    @asynccontextmanager
    async def worlds(self, folder: Path) -> AsyncGenerator[Worlds]:
        yield _Worlds(folder / f"{self}-{next(_NUMBERS)}.db", self.damage)


class _Worlds:
    lasting = True

    def __init__(self, path: Path, damage: Callable[[BrokenWorld], None]) -> None:
        self._path = path
        self._damage = damage
        self._made: list[BrokenWorld] = []

    def make(self, opening: Opening, /) -> BrokenWorld:
        world = BrokenWorld(self._path, opening, self._damage)
        world.others = self._made
        self._made.append(world)
        return world


DEFECTS: list[Defect] = []


def noticed_by(*checks: str) -> Callable[[Callable[[BrokenWorld], None]], Defect]:
    """Make a defect of a function that damages a World."""

    def made(damage: Callable[[BrokenWorld], None]) -> Defect:
        defect = Defect(damage, checks)
        DEFECTS.append(defect)
        return defect

    return made
