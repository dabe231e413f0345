"""One machine with several processes, on one thread: who goes on is drawn from the seed.

Each process has lanes: its event loop, and in place of each of its threads one more.  What a lane does at a time is one
callback, or one piece of a thread's work.  At each statement and each line of the witness others may be let in: they
run on top of it, and it goes on when they have come to the end of what they were doing.  Nothing is lost by that order:
a callback either reads or makes one transaction, nothing of which others see before it is committed.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import sqlite3
from asyncio import events
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from .tempers import LEASE, SECOND, Temper

if TYPE_CHECKING:
    from .processes import Process

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
_DEEPEST = 3
"""How many may be let in on top of one another."""
_EDGES = ("BEGIN IMMEDIATE", "COMMIT")
_FAULTS = ("database or disk is full", "disk I/O error", "database is locked")


class Crash(BaseException):
    """The process is dead: nothing it does reaches anybody."""


class Blocked(BaseException):
    """A thread has to wait for a lock.  It has done nothing yet, and begins again when some lock was given up."""


class Lane(Protocol):
    """One thing at a time."""

    busy: bool
    """Whether it is in the middle of something: others were let in."""
    is_thread: bool

    def is_ready(self) -> bool: ...
    def run_next(self) -> None: ...


class Machine:
    """``temper`` decides, by ``random``, what happens at each point."""

    def __init__(self, seed: int, temper: Temper) -> None:
        self.random = Random(seed)
        self.temper = temper
        self.processes: list[Process] = []
        self.buried: list[Process] = []
        self.current: Process | None = None
        self.elapsed = 0
        """Microseconds since it was switched on."""
        self.steps = 0
        self.statements = 0
        self.crashes = self.pauses = self.jumps = 0
        self.releases = 0
        """How often a lock was given up."""
        self.latest = 0
        """The latest that the wall clock has shown."""
        self.set_by = 0
        """How far the wall clock was set, in microseconds."""
        self._depth = 0
        self._trace = hashlib.blake2b(digest_size=16)
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        self._last: Lane | None = None
        self._lane: Lane | None = None

    # --- time --------------------------------------------------------------------------------------

    @property
    def wall(self) -> int:
        """Microseconds of the wall clock since the start."""
        return self.elapsed + self.set_by

    @property
    def now(self) -> datetime:
        wall = self.wall
        self.latest = max(self.latest, wall)
        return START + timedelta(microseconds=wall)

    def set_clock(self, by: int) -> None:
        self.set_by += by
        self.jumps += 1

    def later(self, delay: int, act: Callable[[], None]) -> None:
        """Do it after so many microseconds."""
        heapq.heappush(self._agenda, (self.elapsed + delay, next(self.numbers), act))

    # --- going on ----------------------------------------------------------------------------------

    def run(self, until: int, done: Callable[[], bool] = lambda: False) -> None:
        """Let everybody go on until this moment, or until it is done."""
        while self.elapsed < until and not done():
            if not self._step():
                self._pass_time(until)

    def _step(self) -> bool:
        """One callback of somebody.  False when nobody has anything to do now."""
        while self._agenda and self._agenda[0][0] <= self.elapsed:
            heapq.heappop(self._agenda)[2]()
        lanes: list[Lane] = []
        elapsed = self.elapsed
        for process in self.processes:
            if process.paused_until <= elapsed:
                loop = process.loop
                if not loop.busy and loop.is_ready():
                    lanes.append(loop)
                if process.threads_at_work:
                    lanes += [lane for lane in process.threads if not lane.busy and lane.is_ready()]
        if not lanes:
            return False
        lane = self._last
        if lane not in lanes or self.random.random() >= self.temper.stay:
            lane = self._last = lanes[int(self.random.random() * len(lanes))]
        assert lane is not None
        self.steps += 1
        self.elapsed += 1 + int(self.random.random() * self.temper.pace)
        lane.run_next()
        return True

    def _pass_time(self, until: int) -> None:
        """Nobody has anything to do: turn to the next moment at which somebody has."""
        self.elapsed = max(self.elapsed + 1, min(until, self._next_moment()))

    def _next_moment(self) -> int:
        moment = self._agenda[0][0] if self._agenda else self.elapsed + SECOND
        for process in self.processes:
            if process.paused_until > self.elapsed:
                moment = min(moment, process.paused_until)
            elif not process.loop.busy and (due := process.loop.next_due()) is not None:
                moment = min(moment, due)
        return moment

    def run_lane(self, process: Process, lane: Lane, work: Callable[[], None]) -> None:
        """What ``work`` does is done by this process."""
        above = self.current, self._lane, events._get_running_loop()
        loop = above[2]
        task = None if loop is None else asyncio.current_task(loop)
        if loop is not None and task is not None:
            asyncio.tasks._leave_task(loop, task)
        self.current, self._lane, lane.busy = process, lane, True
        events._set_running_loop(process.loop)
        try:
            work()
        finally:
            self.current, self._lane, lane.busy = *above[:2], False
            events._set_running_loop(loop)
            if loop is not None and task is not None:
                asyncio.tasks._enter_task(loop, task)

    # --- points ------------------------------------------------------------------------------------

    def point(self, process: Process, what: str, *, fails: bool = False) -> None:
        """Here others may be let in, and the process may stop or die.  ``fails``: what comes next may fail."""
        if process.dead:
            raise Crash
        self.statements += 1
        self._trace.update(f"{process.name} {what}\n".encode())
        temper, random = self.temper, self.random.random
        crash = temper.edge if what in _EDGES and temper.edge else temper.crash
        if crash and random() < crash:
            self.crashes += 1
            process.die(Crash())
            raise Crash
        if temper.jump and random() < temper.jump:
            self.set_clock(int(self.random.choice((1.2 * LEASE, 1.2 * LEASE, 2 * SECOND, -5 * SECOND))))
        if self._depth < _DEEPEST:
            if temper.pause and random() < temper.pause:
                self.stop(process)
            elif temper.switch and random() < temper.switch:
                self._let_others_in(int(random() * 6))
        if process.dead:
            raise Crash
        if fails and temper.fault and random() < temper.fault:
            raise sqlite3.OperationalError(self.random.choice(_FAULTS))

    def stop(self, process: Process) -> None:
        """Nothing of the process moves for a while."""
        self.pauses += 1
        process.paused_until = self.elapsed + int(self.random.random() * 1.5 * LEASE)
        self._depth += 1
        try:
            self.run(process.paused_until, lambda: process.dead)
        finally:
            self._depth -= 1

    def sleep(self, seconds: float) -> None:
        """Who is at work waits for a lock in this way, at least until something else can happen."""
        if self._lane is not None and self._lane.is_thread:
            raise Blocked
        self._depth += 1
        try:
            self.run(max(self.elapsed + int(seconds * SECOND), self._next_moment()))
        finally:
            self._depth -= 1

    def _let_others_in(self, steps: int) -> None:
        self._depth += 1
        try:
            for _ in range(steps):
                if not self._step():
                    break
        finally:
            self._depth -= 1

    @property
    def trace(self) -> str:
        """A digest of every statement and every line, in order."""
        return self._trace.hexdigest()

    def mark(self, what: Any) -> None:
        """Make it part of the trace."""
        self._trace.update(repr(what).encode())
