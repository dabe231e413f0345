"""A process of the machine: a shipped Runtime on a shipped World, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from wrkflw import Limits, Runtime, Workflow
from wrkflw.engine.executor import Executable, Executor
from wrkflw.worlds.sql.database import Connection
from wrkflw.worlds.sqlite import SqliteWorld

from .loops import Loop, Task, Thread, WallClock
from .machine import Machine
from .tempers import LEASE

AnyWorkflow: TypeAlias = Workflow[Any, Any, Any]
Main: TypeAlias = Callable[[Runtime], Awaitable[None]]

_PATIENCE = Limits(interruptions=100_000)  # virtual crashes are all there is; none may end a step

_MOST_AWAITS = 50
"""How often a coroutine that is to end may await something once more."""


class Process:
    """Begins at once.  ``ended`` is called when it is no more, with what ``main`` raised, or that it was killed."""

    def __init__(
        self,
        machine: Machine,
        name: str,
        database: Path,
        workflows: Sequence[AnyWorkflow],
        main: Main,
        *,
        worker: bool,
        ended: Callable[[Process, BaseException | None], None],
    ) -> None:
        self.name = name
        self.dead = False
        self.paused_until = 0
        self.lease_connection: Connection | None = None
        self._machine = machine
        self._ended = ended
        self.loop = Loop(machine, self)
        self.threads = self.hand, self.lease, self.bodies = (
            Thread(machine, self),
            Thread(machine, self),
            Thread(machine, self),
        )
        self.threads_at_work = 0
        self.troubles: list[str] = []
        """What its loop had to say of callbacks that raised."""
        machine.processes.append(self)
        machine.run_lane(self, self.loop, lambda: self._begin(database, workflows, main, worker=worker))

    def _begin(self, database: Path, workflows: Sequence[AnyWorkflow], main: Main, *, worker: bool) -> None:
        clock = WallClock(self._machine, self.loop)
        self.world = SqliteWorld(
            database,
            clock=clock,
            randomness=Random(self._machine.random.getrandbits(64)),
            lease=timedelta(microseconds=LEASE),
            max_deliveries=100_000,
            on_statement=self._about_to_say,
        )
        self.runtime = _SimulatedRuntime(self, clock, workflows, worker=worker)
        task: Task = self.loop.create_task(self._live(main))
        task.add_done_callback(self._landed)
        self.main = task

    async def _live(self, main: Main) -> None:
        async with self.runtime:
            await main(self.runtime)

    def _landed(self, task: Task) -> None:
        if not self.dead:
            self.die(None if task.cancelled() else task.exception())

    def _about_to_say(self, sql: str) -> None:
        self._machine.point(self, sql, fails=sql != "ROLLBACK")

    def hear_of(self, context: dict[str, Any]) -> None:
        if not self.dead:
            self.troubles.append(f"{context['message']}: {context.get('exception')!r}")

    def ask_to_leave(self) -> None:
        """As a SIGTERM does."""
        self.main.cancel()

    def die(self, why: BaseException | None) -> None:
        """As a SIGKILL does, which ``why`` is if it is a Crash."""
        if self.dead:
            return
        self.dead = True
        self._machine.processes.remove(self)
        self._machine.buried.append(self)
        self._machine.run_lane(self, Grave(), self._abandon)
        self._machine.releases += 1
        self.bury()
        self.loop._ready.clear()
        self.loop._scheduled.clear()
        self.loop.close()
        self._ended(self, why)

    def _abandon(self) -> None:
        self.world.abandon()
        if self.lease_connection is not None:
            self.lease_connection.close()
        for thread in self.threads:
            thread.drop()
        self.threads_at_work = 0

    def bury(self) -> None:
        """End the coroutines of a dead process, but for those that are being unwound just now."""
        self._machine.run_lane(self, Grave(), self._close_all)

    def _close_all(self) -> None:
        for task in self.loop.tasks:  # on their way out they may make more
            if not task.done():
                _close(task)


def _close(task: Task) -> None:
    """What it would still do on its way out reaches nobody; what is in the midst of something goes when that does."""
    coroutine: Any = task.get_coro()
    for _ in range(_MOST_AWAITS):
        if coroutine.cr_frame is None or coroutine.cr_running:
            return
        with suppress(BaseException):
            coroutine.close()


class Grave:
    """Where a dead process is buried."""

    busy = is_thread = False

    def is_ready(self) -> bool:
        return False

    def run_next(self) -> None:
        pass


class _SimulatedRuntime(Runtime):
    def __init__(self, process: Process, clock: WallClock, workflows: Sequence[AnyWorkflow], *, worker: bool) -> None:
        self._process = process
        super().__init__(
            world=process.world, clock=clock, workflows=workflows, worker=worker, concurrency=4, limits=_PATIENCE
        )
        self._random = Random(process._machine.random.getrandbits(64))

    def _new_executor(self) -> Executor:
        return _SimulatedExecutor(self._process, self.clock, 32)


class _SimulatedExecutor(Executor):
    """Sync bodies have one thread between them."""

    def __init__(self, process: Process, clock: Any, threads: int) -> None:
        super().__init__(clock, threads)
        self._process = process

    async def _in_thread(self, work: Callable[[], object], call: Executable) -> object:
        body = self._process.bodies.do(work)
        try:
            return await asyncio.shield(body)
        except asyncio.CancelledError:
            if not self._process.bodies.forget(body) and call.run_was_cancelled:
                return await body
            raise
