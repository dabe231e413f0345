"""A loop of a program, turned by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from wrkflw.engine.program_loop import ProgramLoop


class Owner:
    """Turns a loop by hand, and keeps its timers."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.timers: list[asyncio.TimerHandle] = []
        self.loop = ProgramLoop(
            "r-1", lambda: self.seconds, lambda timer, _: self.timers.append(timer), self.timers.remove
        )

    def start(self, program: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self.loop.create_task(program)
        self.loop.turn()
        return task

    def begin(self, program: Coroutine[Any, Any, Any]) -> None:
        """Start it, for those who do not look at what it gives."""
        _ = self.start(program)

    def future(self) -> asyncio.Future[Any]:
        return self.loop.create_future()

    def give(self, future: asyncio.Future[Any], value: object = None) -> None:
        future.set_result(value)
        self.loop.turn()

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds
        for timer in sorted(self.timers):
            if timer.when() <= self.seconds:
                self.timers.remove(timer)
                self.loop.fire(timer)
        self.loop.turn()

    def foreign(self) -> str:
        assert self.loop.foreign is not None
        return str(self.loop.foreign)
