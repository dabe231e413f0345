"""TestRuntime: a runtime for tests, in which time moves only when it is told to, and which can be killed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, get_args

from wrkflw.databases import WorldOptions, path_of
from wrkflw.durations import parse_duration
from wrkflw.engine.driver import THREADS, Driver
from wrkflw.runs import Runs
from wrkflw.runtime import Runtime
from wrkflw.suggestions import did_you_mean
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.worlds.sqlite import SqliteWorld

from .bodies import Mocks, UnderWay, WatchedExecutor
from .clocks import START, ManualClock
from .consistency import assert_world
from .lives import Crashed, Life
from .rest import Rest

if TYPE_CHECKING:
    from wrkflw.steps import Replaceable

OutputT = TypeVar("OutputT")

_NEVER = timedelta(days=36_500)


class TestRuntime(Runtime):
    """In-memory World, virtual clock, seeded ids.

    Time moves by :meth:`advance` alone; no call waits for it: ``wait`` counts as 0, and ``run.result()`` gives Waiting
    when nothing can move without it.  Ids, tokens and backoff come from ``seed``; in a file that holds runs
    already, new ids and tokens also from how far these are, so that none comes twice.

    ``database`` may be a file (``sqlite:///path``), which nobody else may have open.  ``options`` are those of Runtime,
    but for ``world`` and ``clock``; ``durability`` is ``"normal"`` unless it is given.

    Raises ValueError for a ``start`` without a timezone, TypeError for one that is no time, ``world`` and ``clock``.
    """

    __test__ = False

    def __init__(
        self, database: str = "sqlite:///:memory:", *, seed: int = 0, start: datetime = START, **options: Any
    ) -> None:
        _check_start(start)
        for option in ("world", "clock"):
            if option in options:
                raise TypeError(f"a TestRuntime has a {option} of its own; leave out {option}=")
        self._virtual_clock = ManualClock(start)
        self._seed, self._chance = seed, Random(f"{seed}/{held}" if (held := _held_in(database)) else seed)
        self.mocks = Mocks()
        """What stands in for bodies; another runtime may share it."""
        self._executing: WatchedExecutor | None = None
        self._in_memory = path_of(database) == ":memory:"
        self._one_at_a_time = asyncio.Lock()
        self._dying: set[asyncio.Task[Any]] = set()
        options.setdefault("durability", "normal")
        super().__init__(database, clock=self._virtual_clock, **options)
        self._random = self._chance
        self._rest = Rest(lambda: self.bodies_under_way, self._written)

    def _new_world(self, url: str, **options: Unpack[WorldOptions]) -> World:
        options["poll"] = _NEVER  # nobody else writes to it

        def make_world(*, on_statement: Callable[[str], None], image: bytes | None) -> SqliteWorld:
            return SqliteWorld(path_of(url), **options, randomness=self._chance, on_statement=on_statement, image=image)

        self._make_world = make_world
        self.life = self._new_life(None)
        """That of the process which this runtime is now."""
        return self.life.world

    # --- time --------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """What time it is, in UTC."""
        return self._virtual_clock.now()

    @property
    def time_passes(self) -> bool:
        return False

    async def advance(self, duration: timedelta | str, /) -> None:
        """Fire everything that falls due, in order, each until its run ends or parks again.

        ``"0s"`` settles what is ready.  A body that is at work is waited for in real time: up to 5 seconds, or a
        quarter of a second when it has a ``timeout=``; then it counts as waiting for the clock, and time moves on.

        Raises ValueError for what is no duration, Crashed when the process dies meanwhile.
        """
        passing = parse_duration(duration, "advance by")
        async with self._one_at_a_time:
            until = self.now + passing
            await self._settle()
            while (due := self._virtual_clock.next_call) is not None and due <= until:
                await self._turn_to(due)
            await self._turn_to(until)

    async def advance_to_next(self) -> bool:
        """Move time on to whatever falls due next.  False when nothing ever does."""
        async with self._one_at_a_time:
            await self._settle()
            due = self._virtual_clock.next_call
            if due is not None:
                await self._turn_to(due)
            return due is not None

    async def _turn_to(self, moment: datetime) -> None:
        self._virtual_clock.turn(moment - self.now)
        await self._settle()

    async def _settle(self) -> None:
        self.life.check()
        await self._rest.settle()
        self.life.check()

    # --- what stands in for the outside -------------------------------------------------------------

    def mock(
        self,
        step: Replaceable[OutputT],
        result: OutputT
        | BaseException
        | type[BaseException]
        | Callable[..., OutputT]
        | Callable[..., Awaitable[OutputT]],
        /,
    ) -> None:
        """From now on the body of ``step`` is not called: ``result`` is what it gives, raises, or is called instead.

        A callable receives what the body would, and may be asynchronous.  What it gives is checked and recorded as the
        body's own, what it raises is retried as the step is.  It holds wherever the step is used under this id: in
        blocks, loops, nested workflows and programs.

        Raises TypeError for what is no step, and for a workflow, whose steps are mocked one by one.
        """
        self.mocks.set(step, result)

    # --- crashes -----------------------------------------------------------------------------------

    def crash_after(self, event_type: str, n: int = 1) -> None:
        """Kill the process once the ``n``-th event of this type from now on is durable.

        From then on every call, those under way too, raises Crashed; :meth:`restart` begins the next process.

        Raises ValueError when there is no such event.
        """
        known = get_args(e.EventType)
        if event_type not in known:
            raise ValueError(f"{event_type!r} is no type of event{did_you_mean(event_type, known)}")
        if n < 1:
            raise ValueError(f"n is {n}; the first event is 1")
        self.life.end_after(event_type, n)

    async def restart(self) -> None:
        """Begin the next process on the same database, at the same time; mocks and handles of runs stay as they are.

        When the process has not crashed, it is killed now.  What was under way is taken up again, and has gone as far
        as it goes without time when this returns.
        """
        self.life.end("at the restart")
        image = await self._bury()
        self.life = self._new_life(image)
        self._world = self.life.world
        await self.open()
        await self.advance("0s")

    def _new_life(self, image: bytes | None) -> Life:
        life = Life(self._make_world, image)
        life.on_death = self._die_soon
        return life

    def _die_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._die)  # not in the middle of what is being done

    def _die(self) -> None:
        """Nobody goes on: whoever waits hears that the process is gone, and bodies are cancelled."""
        driver, self._driver = self._driver, None
        if driver is not None:
            self._dying |= driver.abandon(Crashed("the process crashed; go on with restart()"))

    async def _bury(self) -> bytes | None:
        """Wait for the end of what the dead process was doing; what it left in memory."""
        self._die()
        await asyncio.sleep(0)  # who is being told something hears it
        dying, self._dying = self._dying, set()
        for task in dying:
            task.cancel()
        await asyncio.gather(*dying, return_exceptions=True)
        return await self.life.abandon()

    async def close(self) -> None:
        if self.life.is_over:
            await self._bury()
        else:
            await super().close()

    async def assert_consistent(self) -> None:
        """All invariants of :func:`check_world` hold.  Raises AssertionError that lists those that do not."""
        await assert_world(self.world)

    # --- for Runtime -------------------------------------------------------------------------------

    @property
    def driver(self) -> Driver:
        self.life.check()
        return super().driver

    @property
    def world(self) -> World:
        self.life.check()
        return super().world

    @property
    def runs(self) -> Runs:
        self.life.check()
        return super().runs

    def _chance_of_backoff(self, call_id: str, failures: int) -> Random:
        return Random(f"{self._seed}/{call_id}/{failures}")  # whatever else was drawn before, and by which process

    def _new_executor(self) -> WatchedExecutor:
        self._executing = WatchedExecutor(self._virtual_clock, THREADS, self.mocks)
        return self._executing

    @property
    def bodies_under_way(self) -> set[UnderWay]:
        """The bodies that are being executed now."""
        return self._executing.under_way if self._executing is not None else set()

    async def _written(self) -> None:
        if not self._in_memory:  # else what is written is written at once
            await self._world.storage.settled()


_HELD = "SELECT count(*), max(run_no), sum(epoch), sum(last_slot) FROM runs"


def _held_in(database: str) -> str:
    """What tells how far the runs in a file are; empty without any."""
    path = Path(path_of(database))
    if not path.is_file():  # ":memory:" is none
        return ""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            runs, *how_far = connection.execute(_HELD).fetchone()
    except sqlite3.Error:  # who opens it is told what is wrong
        return ""
    return "/".join(map(str, (runs, *how_far))) if runs else ""


def _check_start(start: object) -> None:  # of any object: not all callers are typed
    if not isinstance(start, datetime):
        raise TypeError(f"start= takes a datetime, got {start!r}; write start=datetime(..., tzinfo=UTC)")
    if start.tzinfo is None:
        raise ValueError(f"start= is {start.isoformat()} without a timezone; add tzinfo=UTC")
