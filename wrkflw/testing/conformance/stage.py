"""What a check plays on: a clock, and Worlds over one store, closed when the check is over."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Literal, Self, TypeAlias
from unittest import SkipTest

from wrkflw.testing.clocks import ManualClock
from wrkflw.world import World

from .worlds import Opening, Worlds

Need: TypeAlias = Literal[
    "lasting", "batch", "transactional_enqueue", "hook_retention", "resume_dedupe", "search", "schedules", "cursors"
]  # fmt: skip
"""A store that outlasts its World, or a capability of the World."""


class NotOffered(SkipTest):
    """The World does not claim to have what the check is about.  Test runners take it as a skipped test."""


class Stage:
    def __init__(self, worlds: Worlds, need: Need | None = None) -> None:
        self.clock = ManualClock()
        self.opened: list[World] = []
        """The Worlds that are open now, those opened first at the front."""
        self._worlds = worlds
        self._need: Need | None = need
        self._closing = AsyncExitStack()

    async def open(
        self,
        namespace: str = "default",
        *,
        max_events: int = 25_000,
        max_deliveries: int = 48,
        consume: bool = True,
    ) -> World:
        """Another World over the store; it is closed with the stage, if the check does not."""
        world = self._worlds.make(Opening(self.clock, namespace, max_events, max_deliveries))
        await world.start(consume=consume)
        self._closing.push_async_callback(world.close)
        self.opened.append(world)
        if self._need not in (None, "lasting") and not getattr(world.capabilities, self._need):
            raise NotOffered(f"the World does not claim {self._need!r}")
        return world

    async def close(self, world: World) -> None:
        self.opened.remove(world)
        await world.close()

    async def reopen(self, world: World) -> World:
        """The same store after the World has been closed and another made."""
        await self.close(world)
        return await self.open()

    def turn(self, **by: float) -> None:
        """Let time pass: ``turn(hours=1)``."""
        self.clock.turn(timedelta(**by))

    async def settle(self) -> None:
        """Let the Worlds do what they can do now."""
        for world in self.opened:
            for _ in range(5):
                await world.storage.settled()
                for _ in range(20):
                    await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        if self._need == "lasting" and not self._worlds.lasting:
            raise NotOffered("the store goes with its World")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.opened.clear()
        await self._closing.aclose()
