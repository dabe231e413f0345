"""One life of a process: a World that can be cut off at any commit, as when the process is killed there.

From that moment on nothing reaches the store, and nobody hears what came of what was under way.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Literal, Protocol, TypeAlias, cast

from wrkflw.errors import StoreError
from wrkflw.world import World
from wrkflw.world.storage import Storage
from wrkflw.worlds.sqlite import SqliteWorld

Side: TypeAlias = Literal["before", "after"]
"""Of a commit."""


class Crashed(BaseException):  # no error, and nobody may catch it by chance: the process is gone
    """The process of the test was killed, as the test wanted it.  ``restart()`` begins the next.

    Whatever was under way when it happened, it was done fully or not at all.
    """


class MakeWorld(Protocol):
    """A World over the store of the test."""

    def __call__(self, *, on_statement: Callable[[str], None], image: bytes | None) -> SqliteWorld: ...


class Life:
    """From the opening of a World to its end.  ``image`` is what the process before left in memory."""

    def __init__(self, make: MakeWorld, image: bytes | None = None) -> None:
        self.commits: list[list[str]] = []
        """The types of the events that each commit brought, since :meth:`count_commits`."""
        self.on_death: Callable[[], None] = _nothing
        self._sqlite = make(on_statement=self._on_statement, image=image)
        self.world = cast("World", _Guard(self._sqlite, self))
        self._unsubscribe = self._sqlite.subscribe(self._committed)
        self._cause: str | None = None
        self._counts = False
        self._side: Side | None = None
        self._number = 0
        self._left: Counter[str] = Counter()
        """How many events of each type are still to come before it dies."""

    @property
    def is_over(self) -> bool:
        return self._cause is not None

    def check(self) -> None:
        """Raises Crashed once it is over."""
        if self._cause is not None:
            raise Crashed(f"the process crashed {self._cause}; go on with restart()")

    def end(self, cause: str) -> None:
        """Die now."""
        if self._cause is None:
            self._cause = cause
            self.on_death()

    async def abandon(self) -> bytes | None:
        """Close what a dead process holds; what it left in memory, for the next."""
        self._unsubscribe()
        with suppress(Crashed, StoreError):
            await self._sqlite.storage.settled()  # a thread may be at a commit, which no connection outlives
        return self._sqlite.abandon()

    # --- when it is to end -------------------------------------------------------------------------

    def end_after(self, event_type: str, n: int) -> None:
        """Die when the ``n``-th event of this type from now on is durable."""
        self._left[event_type] = n

    def count_commits(self, side: Side | None = None, number: int = 0) -> None:
        """Count commits from now on, and die just before, or just after, the one of this number.

        For a database in memory, where each is made on the loop.
        """
        self._counts, self._side, self._number = True, side, number

    def count_no_more(self) -> None:
        """What is committed from now on is no matter."""
        self._counts = False

    def _on_statement(self, sql: str) -> None:
        if self.is_over and sql != "ROLLBACK":
            self.check()
        if not self._counts or sql != "COMMIT":
            return
        self.commits.append([])
        if len(self.commits) != self._number:
            return
        if self._side == "before":
            self.end(f"before commit {self._number}")
            self.check()
        else:  # called before all that the end of this commit calls
            asyncio.get_running_loop().call_soon(self.end, f"after commit {self._number}")

    def _committed(self, _run_id: str, event_types: Sequence[str]) -> None:
        if self._counts and self.commits:
            self.commits[-1].extend(event_types)
        for event_type in event_types:
            if event_type in self._left:
                self._left[event_type] -= 1
                if not self._left[event_type]:
                    del self._left[event_type]
                    self.end(f"after {event_type!r}")


_KINDS = {name for name, member in vars(Storage).items() if isinstance(member, property)}
_PARTS = {"storage", "queue", "streamer"} | _KINDS


class _Guard:
    """A part of a World as a living process has it: once that is over, every call raises Crashed.

    So does a call that is under way then, whatever came of it.
    """

    def __init__(self, part: object, life: Life) -> None:
        self._part = part
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name in _PARTS:
            return _Guard(found, self._life)
        if not callable(found):
            return found

        def call(*args: object, **kwargs: object) -> object:
            self._life.check()
            given = found(*args, **kwargs)
            return self._heard(given) if inspect.isawaitable(given) else given

        return call

    async def _heard(self, given: Awaitable[object]) -> object:
        try:
            return await given
        finally:
            self._life.check()


def _nothing() -> None:
    pass
