"""How many of the runs that are driven count: one of which a body waits for another run leaves its place to that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager

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
        return len(self._driven) - len(self._left)

    @contextmanager
    def awaiting(self) -> Generator[None]:
        """Within, whoever it is waits for a run; it need not be a body."""
        call = trying.get()
        if call is None or call.run_id not in self._driven:
            yield
            return
        self._left[call.run_id] += 1
        self._freed()
        try:
            yield
        finally:
            self._left[call.run_id] -= 1
            if not self._left[call.run_id]:
                del self._left[call.run_id]
