"""Who listens to a World, and is told of every commit."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

from wrkflw.world import Listener

from .sql.database import Notice


class Listeners:
    def __init__(self) -> None:
        self._listeners: dict[int, tuple[Listener, bool]] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, listener: Listener, *, own: bool = False) -> Callable[[], None]:
        """Tell it from now on; what is returned ends that.  ``own``: only what this process has committed."""
        number = next(self._numbers)
        self._listeners[number] = listener, own

        def end() -> None:
            self._listeners.pop(number, None)

        return end

    def tell(self, notices: Sequence[Notice], *, own: bool) -> None:
        """In the order in which they came; the loop hears of what a listener raises, and the others do not."""
        for listener, own_alone in tuple(self._listeners.values()):
            for run_id, event_types in notices if own or not own_alone else ():
                try:
                    listener(run_id, event_types)
                except Exception as error:  # noqa: BLE001  # what a listener does wrong is no matter of the writer's
                    context = {"message": f"a listener failed on {event_types!r} of {run_id}", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(context)
