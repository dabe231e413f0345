"""How many of the runs that are driven count: one of which a body waits for another run leaves its place to that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection

from wrkflw.logs import trying


class Places:
    """``driven`` are the ids of the runs; ``freed`` is called when there is room for another."""

    def __init__(self, driven: Collection[str], freed: Callable[[], None]) -> None:
        self._driven = driven
        self._freed = freed
        self._left: Counter[str] = Counter()
        """The runs of which bodies wait, and how many of them do."""

    @property
    def occupied(self) -> int:
        return len(self._driven) - sum(run_id in self._driven for run_id in self._left)

    def awaiting(self, news: Awaitable[None]) -> Awaitable[None]:
        """``news`` of a run.  While it is awaited by a body, that one's own run leaves its place to another."""
        call = trying.get()
        return news if call is None or call.run_id not in self._driven else self._leave_for(call.run_id, news)

    async def _leave_for(self, run_id: str, news: Awaitable[None]) -> None:
        self._left[run_id] += 1
        self._freed()
        try:
            await news
        finally:
            self._left[run_id] -= 1
            if not self._left[run_id]:
                del self._left[run_id]
