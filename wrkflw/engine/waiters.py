"""Who waits for news of a run: woken, never polling."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from wrkflw.world.errors import FencedError


class Waiters:
    """News is only that something may have changed; who is woken looks for himself."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    @contextmanager
    def listening(self, run_id: str) -> Generator[asyncio.Future[None]]:
        """A future of the next news: one listens first, then looks, then waits, so that nothing falls between.

        It raises StoreError when this process can write no more to the run.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, []).append(waiter)
        try:
            yield waiter
        finally:
            if not waiter.done() or waiter.cancelled():  # not told, so still listed
                self._strike(run_id, waiter)
            else:
                waiter.exception()  # who has seen enough does not wait for it

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

    def _strike(self, run_id: str, waiter: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(run_id, [])
        if waiter in waiting:
            waiting.remove(waiter)
        if not waiting:
            self._waiting.pop(run_id, None)
