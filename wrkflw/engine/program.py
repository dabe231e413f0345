"""A workflow that is written as a function: its code, run to where it waits, and told one thing at a time.

What ends is told to the code in the order of the log, and the code runs until nothing in it can move before it is told
the next.  So the log decides every race, and a replay, which tells the same things in the same order, ends where the
code was.  The code stays in memory while something of it goes on; it is replayed after that.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wrkflw.clock import LATEST
from wrkflw.errors import FatalError, ForeignAwaitError, NondeterminismError, StepFailedError, WaitTimeoutError

from . import failures
from .asked import Asked
from .branches import Branches
from .foreign import line_of_waiting
from .operations import Operation, Wanted
from .program_loop import ProgramLoop
from .records import Record, WaitRecord
from .scopes import Scope
from .standing import BailedError, LeftError, Parked, StepEndedError
from .values import NOTHING, Flow, Settled
from .waiting import begin_sleep, sleep_on

if TYPE_CHECKING:
    from .interpreter import Interpreter

_TASKS_NEST = sys.version_info < (3, 14)
"""Whether a task of one loop can run inside that of another.  Later versions know one current task for each thread."""


class Program:
    """One execution of the code of one scope.  ``make_tools`` makes what the code sees as its ``step``."""

    def __init__(
        self,
        interpreter: Interpreter,
        scope: Scope,
        function: Callable[[Any, Any], Coroutine[Any, Any, object]],
        make_tools: Callable[[Program], object],
    ) -> None:
        self.interpreter = interpreter
        self.drive = interpreter.drive
        self.scope = scope
        self.now = self._began_at()
        """The time of what the code was told last."""
        self._function = function
        self._make_tools = make_tools
        self._loop = ProgramLoop(self.drive.run_id, self._time, self._arm, self._disarm)
        self._branches = Branches(self.drive, scope.lane, self._advance)
        self.asked = Asked(self.drive, scope, self._branches)
        self._told = 0
        """Of how many endings in the record it was told."""
        self._last_key = ""
        self._problem: Exception | None = None
        """What is wrong with the record, or with what the code makes of it: for the owner, not for the code."""

    # --- the execution -----------------------------------------------------------------------------

    async def run(self, flow: Flow) -> Flow:
        """What the code gives.

        Raises StepEndedError for what it raises, NondeterminismError when it is not the code that was recorded,
        BailedError when a step ended the workflow, LeftError while it waits.
        """
        with self._branches.listening():
            try:
                main = self._loop.create_task(self._function(self._make_tools(self), flow.value))
                await self._run_to_the_end(main)
                return self._outcome(main)
            finally:
                self._loop.close()
                try:
                    await self._branches.abandon()
                finally:
                    self._branches.dissolve()

    async def _run_to_the_end(self, main: asyncio.Task[Any]) -> None:
        try:
            while await self._go_on(main):
                pass
            self.asked.check_all()
            self.asked.record_given_up()
        except LeftError as left:
            if isinstance(left.standing, Parked):  # what runs is finished and recorded, though not told
                await self._drain()
            raise
        except NondeterminismError:
            await self._drain()
            await self.drive.recorder.commit()  # what was done was done
            raise
        await self._drain()

    async def _go_on(self, main: asyncio.Task[Any]) -> bool:
        """Let the code run to where it waits, and something happen that it waits for.  False when it has ended."""
        await self._turn()
        if self._loop.foreign is not None:
            self._loop.foreign.key = self._last_key
            raise self._loop.foreign
        if self._problem is not None:
            raise self._problem
        if main.done():
            return False
        if await self._tell_next():
            return True
        self.asked.check_all()
        self.asked.record_given_up()
        if not await self._wait():
            what = f"something at {line_of_waiting(main)} that none of its steps will bring"
            raise ForeignAwaitError.of(self.drive.run_id, self._last_key, self.scope.definition.id, what)
        return True

    async def _turn(self) -> None:
        if _TASKS_NEST:
            self._loop.turn()
            return
        loop = asyncio.get_running_loop()
        turned: asyncio.Future[None] = loop.create_future()

        def turn() -> None:
            try:
                self._loop.turn()
            finally:
                turned.set_result(None)

        loop.call_soon(turn)
        await turned

    async def _wait(self) -> bool:
        """Let the operations go on until one has ended; False when there are none."""
        if self.scope.lane.stopping:
            self._branches.begin_again(self.asked.cut_off())
        try:
            going = await self._branches.advance(self.asked.todo, None)
        except LeftError as left:
            in_place = not self.scope.prefix and not self.drive.recorder.is_ahead
            if in_place and isinstance(left.standing, Parked) and await self.drive.holding.stay(left.standing):
                return True
            raise
        if self._branches.decided:
            await self._drain()
            self._branches.verdict()
        return going

    async def _drain(self) -> None:
        """Nothing more begins; what runs is waited for."""
        self.scope.lane.drain()
        while self._branches.running:
            await self._branches.advance(deque(), None)

    def _outcome(self, main: asyncio.Task[Any]) -> Flow:
        error = asyncio.CancelledError() if main.cancelled() else main.exception()
        if error is None:
            return Settled(main.result())
        if isinstance(error, StepFailedError):
            raise StepEndedError(error.error)
        key = self.scope.prefix.removesuffix("/")
        step_id = self.scope.definition.id if key else ""
        raise StepEndedError(failures.failure_of(error, key=key, step_id=step_id, attempts=1)) from error

    def _time(self) -> float:
        return self.now.timestamp()

    def _began_at(self) -> datetime:
        journal, key = self.drive.journal, self.scope.prefix.removesuffix("/")
        if not key:
            return journal.began_at or journal.created_at or self.drive.services.clock.now()
        meta = journal.records[key].meta or {}
        return datetime.fromisoformat(meta["at"])

    # --- telling -----------------------------------------------------------------------------------

    async def _tell_next(self) -> bool:
        """Tell the code of the next thing that ended.  False when there is none."""
        while (key := self._next_ending()) is not None:
            if self.drive.journal.paused_by is not None:
                raise LeftError(Parked(paused=True))  # it is in the record, and told when the run goes on
            if self.asked.open_waits and not self.drive.recorder.clean:
                await self.drive.recorder.commit()  # the log decides what came first
                continue
            self._told += 1
            if self.asked.is_patch(key):
                continue
            operation = self.asked.by_key.get(key)
            if operation is None:
                if self.asked.was_given_up(key):
                    continue  # the code knows
                raise self.asked.misses(key)
            if self._tell(operation):
                return True
        return False

    def _next_ending(self) -> str | None:
        records = self.drive.journal.scopes.get(self.scope.prefix)
        if records is None or self._told >= len(records.endings):
            return None
        return records.endings[self._told]

    def _tell(self, operation: Operation) -> bool:
        """Tell of its end.  Whether there was somebody to tell."""
        journal, key = self.drive.journal, operation.key
        record = journal.waits.get(key) or journal.records[key]
        if isinstance(record, Record) and record.bailed:
            raise BailedError(self.drive.steps.bailed(self.scope, record))
        self._note_told(record)
        self.asked.close(operation)
        if operation.timer is not None:
            self._loop.fire(operation.timer)
            return True
        future = operation.future
        if future is None or future.done():  # the code has given up waiting for it
            return False
        try:
            future.set_result(operation.read(record))
        except (StepFailedError, WaitTimeoutError) as error:
            # The frames of here hold the future, which would hold them: none of it would go before the collector comes.
            future.set_exception(error.with_traceback(None))
        return True

    def _tell_at_once(self, operation: Operation) -> None:
        self._told += 1
        try:
            self._tell(operation)
        except Exception as error:  # noqa: BLE001  # it is raised when the code has come to rest, and not inside it
            self._problem = error

    # --- asking ------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether the code is being torn down: whatever it asks for must have no effect."""
        return self._loop.poisoned

    def ask(
        self,
        name: str,
        wanted: Wanted,
        begin: Callable[[str], Coroutine[Any, Any, Flow]],
        read: Callable[[Any], object],
        timer: asyncio.TimerHandle | None = None,
    ) -> Operation:
        """The next use of a name.  It begins when somebody waits for it.  Raises FatalError inside a step."""
        self.check_inside(f"step {name!r}", "steps cannot call steps, await it in the workflow itself")
        return self.asked.next_use(name, wanted, begin, read, timer)

    def check_inside(self, what: str, cure: str) -> None:
        """Raises FatalError when it is not the code that asks, but a body, or somebody who kept its tools."""
        if asyncio._get_running_loop() is not self._loop:
            when = "when its workflow was not running" if self.is_over else "inside a step"
            raise FatalError(f"{what} was asked for {when}; {cure}")

    async def result_of(self, operation: Operation) -> Any:
        """Begin an operation, or take it from the record, and wait for it."""
        if self.is_over:
            return await self._loop.create_future()
        # What is long since over takes no turn of the loop; and if it was well, nothing else either.
        is_next, record = self._is_next(operation), self.drive.journal.records.get(operation.key)
        if is_next and record is not None and record.succeeded:
            try:
                return self._past(operation, record)
            except Exception as error:  # noqa: BLE001  # it is raised when the code has come to rest, and not inside it
                self._problem = error
            return await self._loop.create_future()
        operation.future = self._loop.create_future()
        self._begin(operation)
        if is_next and self._problem is None:
            self._tell_at_once(operation)
        try:
            return await operation.future
        except asyncio.CancelledError:
            self._give_up(operation)
            raise
        finally:
            del operation  # which an error that it brings would hold, and it the error

    def _past(self, operation: Operation, record: Record) -> object:
        """What the code is told of a step for which nothing need begin.  Raises NondeterminismError."""
        if (misfit := self.asked.misfit(operation, record)) is not None:
            raise misfit
        self._told += 1
        self._note_told(record)
        return operation.read(record)

    def _note_told(self, record: Record | WaitRecord) -> None:
        self.now = max(self.now, record.ended_at or self.now)
        self._last_key = record.key

    def _is_next(self, operation: Operation) -> bool:
        """Whether the code, were it to wait for this, would be told of its end next, and nothing moved before."""
        journal, key = self.drive.journal, operation.key
        if key != self._next_ending() or journal.paused_by is not None or self._problem is not None:
            return False
        if self.asked.open_waits and not self.drive.recorder.clean:
            return False
        record = journal.records.get(key)
        return (record is None or not record.bailed) and self._loop.is_at_rest

    def _begin(self, operation: Operation) -> None:
        misfit = self.asked.begin(operation)
        self._problem = self._problem or misfit

    async def _advance(self, number: int) -> Flow:
        operation = self.asked.by_number.get(number)
        if operation is None:
            return NOTHING
        with suppress(StepEndedError, WaitTimeoutError):  # it is in the record, from where the code is told
            await operation.begin(operation.key)
        if operation.is_wait:
            await self.drive.recorder.commit()  # only then its time is known
        return NOTHING

    def _give_up(self, operation: Operation) -> None:
        if not self.is_over:
            self.asked.give_up(operation)

    # --- timers of asyncio -------------------------------------------------------------------------

    def _arm(self, timer: asyncio.TimerHandle, name: str) -> None:
        until = _moment(timer.when())
        operation = self.ask(name, Wanted("sleep"), self.sleeping(lambda: until), _nothing, timer)
        self._begin(operation)

    def _disarm(self, timer: asyncio.TimerHandle) -> None:
        operation = self.asked.of_timer(timer)
        if operation is not None:
            self._give_up(operation)

    def sleeping(self, until: Callable[[], datetime]) -> Callable[[str], Coroutine[Any, Any, Flow]]:
        """How a sleep begins, and goes on."""

        async def begin(key: str) -> Flow:
            if key not in self.drive.journal.waits:
                self.drive.go_on(self.scope.lane)
                begin_sleep(self.drive, key, until())
            sleep_on(self.drive, key)
            return NOTHING

        return begin


def _moment(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError):  # as an asyncio.sleep(sys.maxsize) has it
        return LATEST


def _nothing(_: object) -> None:
    """What the end of a sleep brings."""
