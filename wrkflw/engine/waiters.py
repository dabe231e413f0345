"""Who waits for news of a run: woken, never polling."""

from __future__ import annotations

import asyncio

from wrkflw.world.errors import FencedError


class Waiters:
    """News is only that something may have changed; who is woken looks for himself."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def listening(self, run_id: str) -> Listening:
        """To be entered once, for a future of the next news.

        One listens first, then looks, then waits, so that nothing falls between.

        It raises StoreError when this process can write no more to the run.
        """
        return Listening(self, run_id)

    def enlist(self, run_id: str) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, []).append(waiter)
        return waiter

    def waits_for(self, run_id: str) -> bool:
        return run_id in self._waiting

    def tell(self, run_id: str, error: BaseException | None = None) -> None:
        """There is news of the run; ``error`` ends its drive here, unless somebody else has taken it over."""
        for waiter in self._waiting.pop(run_id, ()):
            if waiter.done():
                continue
            if error is None or isinstance(error, FencedError):
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    def tell_all(self, error: BaseException | None = None) -> None:
        for run_id in list(self._waiting):
            self.tell(run_id, error)

    def strike(self, run_id: str, waiter: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(run_id, [])
        if waiter in waiting:
            waiting.remove(waiter)
        if not waiting:
            self._waiting.pop(run_id, None)


class Listening:
    """One who listens, from when the block is entered until it is left."""

    __slots__ = ("_run_id", "_waiter", "_waiters")

    def __init__(self, waiters: Waiters, run_id: str) -> None:
        self._waiters = waiters
        self._run_id = run_id

    def __enter__(self) -> asyncio.Future[None]:
        self._waiter = self._waiters.enlist(self._run_id)
        return self._waiter

    def __exit__(self, *_: object) -> None:
        if not self._waiter.done() or self._waiter.cancelled():  # not told, so still listed
            self._waiters.strike(self._run_id, self._waiter)
        else:
            self._waiter.exception()  # who has seen enough does not wait for it
