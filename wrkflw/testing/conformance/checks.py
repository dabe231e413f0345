"""A check: one promise of the contract, and the code that holds a World to it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from .audit import audit
from .ensure import Breach
from .stage import Need, Stage
from .worlds import Worlds

PATIENCE = 60.0
"""Seconds of real time after which a check that hangs has failed; every one takes milliseconds."""

Play: TypeAlias = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Check:
    """Call it with a store that is empty.  ``clause`` is the section of the contract that it holds the World to."""

    chapter: str
    name: str
    clause: str
    promise: str
    play: Play
    need: Need | None = None

    async def __call__(self, worlds: Worlds) -> None:
        """Raises Breach where the World does not keep the promise, NotOffered where it does not make it.

        Whatever a check was about, in the end every log is dense and every view is the fold of its log.
        """
        try:
            async with asyncio.timeout(PATIENCE), Stage(worlds, self.need) as stage:
                await self.play(stage)
                for world in stage.opened:
                    await audit(world)
        except TimeoutError as error:
            raise Breach(f"it hangs: nothing came within {PATIENCE:g} s") from error

    def __str__(self) -> str:
        return f"{self.chapter}/{self.name}"


def promise(clause: str, *, need: Need | None = None) -> Callable[[Play], Check]:
    """Make a check of a function: its module is the chapter, its docstring the promise."""

    def made(play: Play) -> Check:
        chapter = play.__module__.rpartition(".")[2]
        text = inspect.getdoc(play) or ""
        return Check(chapter, play.__name__.removeprefix("check_"), clause, text, play, need)

    return made
