"""What the processes on one file tell each other: each commit is rung to the others, who hear it at once.

A slow look at the file is the backstop for what was not rung, because who committed it died or hung before.  Where
there are no bells, the same look is all there is, and is taken often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from wrkflw.clock import Clock, Timer
from wrkflw.world import events as e

from .bells import Heard, OthersBells, OwnBell, bell_of
from .neighbours import Neighbours
from .sql.database import Notice

WITHOUT_BELLS = timedelta(milliseconds=50)
_UNTIL_ITS_LOCK_IS_FREE = (0.002, 0.02, 0.2)  # seconds; in which order the system closes the files is its own affair


class Watch:
    """``mark`` changes when another process has committed; ``heard`` is told what the others wrote.

    ``poll`` is how often the file is looked at although nobody rang.
    """

    def __init__(
        self,
        folder: Path,
        owner: str,
        neighbours: Neighbours,
        *,
        clock: Clock,
        poll: timedelta,
        mark: Callable[[], object],
        heard: Heard,
    ) -> None:
        self._neighbours = neighbours
        self._clock = clock
        self._poll = poll
        self._mark = mark
        self._heard = heard
        self._own = OwnBell(bell_of(folder / owner), self._hear)
        self._others = OthersBells(folder, self._somebody_died)
        self._again: list[asyncio.TimerHandle] = []
        self._seen: object = None
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Hear from now on.  The lock file of this process must be there: who finds it looks for the bell."""
        if not self._own.hang():
            self._poll = min(self._poll, WITHOUT_BELLS)
        self._seen = self._mark()
        self._others.find(self._neighbours.names)
        self._arm()

    def tell(self, notices: Sequence[Notice]) -> None:
        """Tell the others what was committed here."""
        self._others.ring(notices, brief=e.STEP_EVENTS)

    def end(self) -> None:
        """Hear nothing more, which tells the others that this process is gone."""
        for timer in (self._timer, *self._again):
            if timer is not None:
                timer.cancel()
        self._own.close()
        self._others.close()

    def drop(self) -> None:
        """In a forked child: all of it is the parent's."""
        self._own.drop()
        self._others.drop()

    def _hear(self, run_id: str, event_types: Sequence[str]) -> None:
        if not run_id:
            self._anything()
        else:
            self._heard(run_id, event_types)

    def _anything(self) -> None:
        """Perhaps somebody has come, who does not know this process either; or gone, with work left to do."""
        self._seen = self._mark()
        self._others.find(self._neighbours.names)
        self._heard("", ())

    def _somebody_died(self) -> None:
        """Its lock may outlive its bell by a moment, and then it still counts as alive."""
        self._anything()
        loop = asyncio.get_running_loop()
        self._again = [timer for timer in self._again if timer.when() > loop.time()]
        self._again += [loop.call_later(seconds, self._anything) for seconds in _UNTIL_ITS_LOCK_IS_FREE]

    def _arm(self) -> None:
        self._timer = self._clock.call_at(self._clock.now() + self._poll, self._look)

    def _look(self) -> None:
        self._arm()
        mark = self._mark()
        if mark != self._seen:
            self._anything()
