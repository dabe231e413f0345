"""The scheduler of a process: sleeps until the next instant of all its schedules, and starts what that makes.

Every process has one, and none leads: the ledger decides which of them has moved a schedule on.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from wrkflw.clock import Clock, Timer, sleep_until
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.errors import ScheduleNotFoundError
from wrkflw.world.schedules import SCHEDULES_CHANGED
from wrkflw.world.schedules import Schedule as Standing

from .catching import Passed, passed
from .firing import Firing
from .instants import next_instant
from .schedules import Schedule

AGAIN = timedelta(seconds=5)
"""When it tries again what the database has refused."""
_AT_ONCE = 100
"""Schedules that are written in one transaction, or moved on side by side."""

_log = logging.getLogger("wrkflw")


class Scheduler:
    def __init__(self, world: World, schedules: Iterable[Schedule], firing: Firing, clock: Clock) -> None:
        self._world = world
        self._ledger = world.storage.schedules
        self._schedules = {schedule.id: schedule for schedule in schedules}
        self._firing = firing
        self._clock = clock
        self._standings: dict[str, Standing] = {}
        self._due: dict[str, datetime] = {}
        """When each is next looked at; those that never are, are not here."""
        self._heap: list[tuple[datetime, str]] = []
        """The same in order, with some that no longer hold."""
        self._woken = asyncio.Event()
        self._timer: Timer | None = None
        self._changed = True
        """Whether others may have changed schedules, or left runs that wait for their turn."""
        self._version = 0
        self._behind: defaultdict[str, set[str]] = defaultdict(set)
        """The schedules of which runs wait for the end of a run, by that."""
        self._turns: set[str] = set()
        """The schedules of which a run that waits may begin."""

    async def define(self) -> None:
        """Make the schedules known to the database.  Durable when it returns."""
        new = [schedule.definition for schedule in self._schedules.values()]
        for begin in range(0, len(new), _AT_ONCE):
            for standing in await self._ledger.define(new[begin : begin + _AT_ONCE]):
                self._version = max(self._version, standing.version)
                self._stand(standing)

    async def work(self) -> None:
        """Start what is due, until cancelled."""
        unsubscribe = self._world.subscribe(self._hear)
        try:
            while True:
                self._woken.clear()
                try:
                    await self._look()
                except Exception:  # noqa: BLE001  # nobody would begin this again: what went wrong may be over then
                    _log.exception("schedules could not be looked at; trying again in %s", AGAIN)
                    self._changed = True
                    await sleep_until(self._clock, self._clock.now() + AGAIN)
                else:
                    self._arm()
                    await self._woken.wait()
        finally:
            unsubscribe()
            self._disarm()

    def _hear(self, run_id: str, event_types: Sequence[str]) -> None:
        if not run_id:
            if not event_types or SCHEDULES_CHANGED in event_types:
                self._changed = True
                self._woken.set()
        elif run_id in self._behind and not e.RUN_ENDS.isdisjoint(event_types):
            self._turns |= self._behind.pop(run_id)
            self._woken.set()

    # --- knowing how they stand --------------------------------------------------------------------

    async def _refresh(self) -> None:
        """What others may have done."""
        for standing in await self._ledger.list(after_version=self._version):
            self._version = max(self._version, standing.version)
            if standing.schedule_id in self._schedules:
                self._stand(standing)
        self._turns.update(await self._ledger.waiting())

    def _stand(self, standing: Standing) -> None:
        """So the schedule stands: look at it when its next instant has come."""
        schedule = self._schedules[standing.schedule_id]
        before = self._standings.get(schedule.id)
        self._standings[schedule.id] = standing
        due = None
        if newer := schedule.differs_from(standing.definition):
            if before is None or before.definition != standing.definition:
                _log.info("schedule %r is left to processes with newer code: %s", schedule.id, newer)
        elif standing.paused_at is None:
            due = next_instant(schedule.timing, standing.cursor)
        self._expect(schedule.id, due)

    def _expect(self, schedule_id: str, due: datetime | None) -> None:
        if due is None:
            self._due.pop(schedule_id, None)
        elif self._due.get(schedule_id) != due:
            self._due[schedule_id] = due
            heapq.heappush(self._heap, (due, schedule_id))

    # --- starting runs -----------------------------------------------------------------------------

    async def _look(self) -> None:
        """Start all that may begin now."""
        while True:
            if self._changed:
                self._changed = False
                await self._refresh()
            if self._turns:
                await self._let_begin(self._turns.pop())
            elif due := self._take_due():
                await asyncio.gather(*(self._move(schedule_id) for schedule_id in due))
            else:
                return

    def _take_due(self) -> list[str]:
        """Some of those that are due now."""
        due: list[str] = []
        while len(due) < _AT_ONCE and (first := self._first()) is not None and first[0] <= self._clock.now():
            due.append(heapq.heappop(self._heap)[1])
            del self._due[due[-1]]
        return due

    def _first(self) -> tuple[datetime, str] | None:
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    async def _move(self, schedule_id: str) -> None:
        """Start what the instants that have passed make, unless another process was faster."""
        schedule, standing = self._schedules[schedule_id], self._standings[schedule_id]
        try:
            come = passed(schedule.timing, standing.cursor, self._clock.now(), schedule.catchup, schedule.catchup_max)
            if come is None:  # the clock was turned back
                return self._stand(standing)
            instants = [self._firing.instant(schedule, moment) for moment in come.instants]
            moved = await self._ledger.move(standing, come.until, instants)
        except ScheduleNotFoundError:
            _log.warning(
                "schedule %r is no longer in the database; it comes back when a runtime is opened", schedule_id
            )
        except Exception:  # noqa: BLE001  # the others are not to suffer from it
            _log.exception("schedule %r could not be moved on; trying again in %s", schedule_id, AGAIN)
            self._expect(schedule_id, self._clock.now() + AGAIN)
        else:
            if moved.moved:
                _tell_skipped(schedule_id, come)
            if moved.ahead is not None and schedule_id not in self._behind.get(moved.ahead, ()):
                self._turns.add(schedule_id)
            self._stand(moved.schedule)

    async def _let_begin(self, schedule_id: str) -> None:
        """The next run that waits for its turn, when the one before it has ended."""
        heard = ""
        while (ahead := await self._ledger.next_turn(schedule_id)) is not None:
            if schedule_id in self._behind.get(ahead, ()):
                return
            self._behind.pop(heard, None)
            self._behind[ahead].add(schedule_id)  # and asked again: it may have ended before anybody listened
            heard = ahead
        self._behind.pop(heard, None)

    # --- the timer ---------------------------------------------------------------------------------

    def _arm(self) -> None:
        """One timer, whatever the number of schedules."""
        self._disarm()
        if (first := self._first()) is not None:
            self._timer = self._clock.call_at(first[0], self._woken.set)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _tell_skipped(schedule_id: str, come: Passed) -> None:
    if come.first_skipped is not None:
        text = "schedule %r: instants from %s on, up to %s, came while nobody looked; run them with backfill()"
        _log.warning(text, schedule_id, come.first_skipped, come.instants[0] if come.instants else come.until)
