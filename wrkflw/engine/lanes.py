"""Where a step runs: inside which blocks and nested workflows, and whether these are about to end."""

from __future__ import annotations

import asyncio


class Lane:
    """One branch of a run, inside that of ``outer``; ``timed``: its time may be up before that of the run is."""

    __slots__ = ("_abandoned", "_draining", "bodies", "expired", "outer", "timed")

    def __init__(self, outer: Lane | None = None, *, timed: bool = False) -> None:
        self.outer = outer
        self.timed: bool = timed or (outer is not None and outer.timed)
        """Whether it, or a lane around it, has a time of its own: then bodies enter it."""
        self.expired = False
        """Whether its time is up: its bodies are not only told, but cancelled."""
        self.bodies: dict[asyncio.Task[object], None] = {}
        """The tasks in which a body runs now, here or further inside."""
        self._draining = self._abandoned = False

    @property
    def stopping(self) -> bool:
        """Whether nothing starts here any more, and what runs should end."""
        return self._draining or (self.outer is not None and self.outer.stopping)

    @property
    def out_of_time(self) -> bool:
        return self.expired or (self.outer is not None and self.outer.out_of_time)

    @property
    def abandoned(self) -> bool:
        """Whether this process goes on with it no more, and nothing that it is told now is an outcome."""
        return self._abandoned or (self.outer is not None and self.outer.abandoned)

    def abandon(self) -> None:
        self._draining = self._abandoned = True

    def drain(self) -> None:
        """Start nothing more; what runs is waited for."""
        self._draining = True

    def expire(self) -> None:
        """The time of a nested workflow is up."""
        self._draining = self.expired = True
        for body in tuple(self.bodies):
            body.cancel()

    def enter(self, body: asyncio.Task[object]) -> None:
        self.bodies[body] = None
        if self.outer is not None:
            self.outer.enter(body)

    def leave(self, body: asyncio.Task[object]) -> None:
        self.bodies.pop(body, None)
        if self.outer is not None:
            self.outer.leave(body)
