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
from wrkflw.world import events as e

from . import failures
from .branches import Branches
from .foreign import line_of_program, line_of_waiting
from .keys import of_iteration
from .operations import Operation, Wanted
from .program_loop import ProgramLoop
from .records import Record
from .scopes import Scope
from .standing import BailedError, LeftError, Parked, StepEndedError
from .values import NOTHING, Flow, Settled
from .waiting import begin_sleep, sleep_on

if TYPE_CHECKING:
    from .interpreter import Interpreter

_MOST_NAMED = 3  # keys that a text names
PATCH = "?"
"""What the keys of patches begin with, which no id can have."""
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
        self._tools = make_tools(self)
        self._loop = ProgramLoop(self.drive.run_id, self._time, self._arm, self._disarm)
        self._branches = Branches(self.drive, scope.lane, self._advance)
        self._operations: dict[str, Operation] = {}
        """By key: those that have begun, and of whose end the code was not told."""
        self._numbered: dict[int, Operation] = {}
        self._timers: dict[asyncio.TimerHandle, Operation] = {}
        self._todo: deque[int] = deque()
        """The operations that are to begin, by number."""
        self._uses: dict[str, int] = {}
        self._asked = self._told = 0
        """How many operations the code asked for, and of how many endings in the record it was told."""
        self._unwanted: set[str] = set()
        """The keys of the waits that the code has given up: of their ends it is not told."""
        self._given_up: list[str] = []
        """Those of which that is yet to be recorded."""
        self._last_key = ""
        self._open_waits = 0
        self._problem: Exception | None = None
        """What is wrong with the record, or with what the code makes of it: for the owner, not for the code."""
        records = self.drive.journal.scopes.get(scope.prefix)
        begun = [] if records is None else [one.key for found in records.by_id.values() for one in found]
        self._unasked = dict.fromkeys(key for key in begun if not self._is_patch(key))
        """What is in the record, and the code has not asked for yet."""

    # --- the execution -----------------------------------------------------------------------------

    async def run(self, flow: Flow) -> Flow:
        """What the code gives.

        Raises StepEndedError for what it raises, NondeterminismError when it is not the code that was recorded,
        BailedError when a step ended the workflow, LeftError while it waits.
        """
        with self._branches.listening():
            try:
                main = self._loop.create_task(self._function(self._tools, flow.value))
                await self._run_to_the_end(main)
                return self._outcome(main)
            finally:
                self._loop.close()
                await self._branches.abandon()

    async def _run_to_the_end(self, main: asyncio.Task[Any]) -> None:
        try:
            while await self._go_on(main):
                pass
            self._check_all_asked()
            self._record_given_up()
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
        self._check_all_asked()
        self._record_given_up()
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
            self._branches.begin_again(self._cut_off())
        try:
            going = await self._branches.advance(self._todo, None)
        except LeftError as left:
            at_the_top = not self.scope.prefix
            if at_the_top and isinstance(left.standing, Parked) and await self.drive.stay(left.standing):
                return True
            raise
        if self._branches.decided:
            await self._drain()
            self._branches.verdict()
        return going

    def _cut_off(self) -> list[int]:
        """What ran when a process died, and is to begin here though nothing else does."""
        keys = self.drive.journal.interrupted(self.scope.prefix)
        found = [number for number in self._todo if self._numbered[number].key in keys]
        for number in found:
            self._todo.remove(number)
        return found

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
            if self._open_waits and not self.drive.recorder.clean:
                await self.drive.recorder.commit()  # the log decides what came first
                continue
            self._told += 1
            if self._is_patch(key):
                continue
            operation = self._operations.pop(key, None)
            if operation is None:
                wait = self.drive.journal.waits.get(key)
                if key in self._unwanted or (wait is not None and wait.cause == "cancelled"):
                    continue  # the code knows
                raise self._not_asked(key)
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
        if isinstance(record, Record) and record.bailed and operation.wanted.plan is not None:
            raise BailedError(self.drive.steps.bailed(self.scope, operation.wanted.plan.step, record))
        self.now = max(self.now, record.ended_at or self.now)
        self._last_key = key
        self._close(operation)
        operation.told = True
        if operation.timer is not None:
            self._timers.pop(operation.timer, None)
            self._loop.fire(operation.timer)
            return True
        if operation.future.done():  # the code has given up waiting for it
            return False
        try:
            operation.future.set_result(operation.read(record))
        except (StepFailedError, WaitTimeoutError) as error:
            operation.future.set_exception(error)
        return True

    def _tell_at_once(self, operation: Operation) -> None:
        self._told += 1
        try:
            self._tell(self._operations.pop(operation.key))
        except Exception as error:  # noqa: BLE001  # it is raised when the code has come to rest, and not inside it
            self._problem = error

    def _close(self, operation: Operation) -> None:
        self._numbered.pop(operation.number, None)
        self._branches.forget(operation.number)
        if operation.is_wait:
            self._open_waits -= 1

    # --- asking ------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether the code is being torn down: whatever it asks for must have no effect."""
        return self._loop.poisoned

    @property
    def is_behind(self) -> bool:
        """Whether the record holds things that the code has yet to ask for."""
        return bool(self._unasked)

    def key_of(self, name: str) -> str:
        """The key of the next use of a name."""
        use = self._uses[name] = self._uses.get(name, 0) + 1
        return self._key(name, use)

    def _key(self, name: str, use: int) -> str:
        return self.scope.key_of(name if use == 1 else of_iteration(name, use))

    def ended_before(self, name: str) -> Record | None:
        """What is on record for the next use of a name, if that is over."""
        if not self._unasked:
            return None
        use = self._uses.get(name, 0) + 1
        record = self.drive.journal.records.get(self._key(name, use))
        return record if record is not None and record.ended is not None else None

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
        self._asked += 1
        future = self._loop.create_future()
        return Operation(self.key_of(name), self._asked, wanted, begin, read, future, timer)

    def check_inside(self, what: str, cure: str) -> None:
        """Raises FatalError when it is not the code that asks, but a body, or somebody who kept its tools."""
        if asyncio._get_running_loop() is not self._loop:
            when = "when its workflow was not running" if self.is_over else "inside a step"
            raise FatalError(f"{what} was asked for {when}; {cure}")

    async def result_of(self, operation: Operation) -> Any:
        """Begin an operation, or take it from the record, and wait for it."""
        if self.is_over:
            return await self._loop.create_future()
        self._begin(operation)
        if self._is_next(operation):  # what is long since over takes no turn of the loop
            self._tell_at_once(operation)
        try:
            return await operation.future
        except asyncio.CancelledError:
            self._give_up(operation)
            raise

    def _is_next(self, operation: Operation) -> bool:
        """Whether the code, were it to wait for this, would be told of its end next, and nothing moved before."""
        journal, key = self.drive.journal, operation.key
        if key != self._next_ending() or journal.paused_by is not None or self._problem is not None:
            return False
        if self._open_waits and not self.drive.recorder.clean:
            return False
        record = journal.records.get(key)
        return (record is None or not record.bailed) and self._loop.is_at_rest

    def _begin(self, operation: Operation) -> None:
        key, journal = operation.key, self.drive.journal
        record = journal.waits.get(key) or journal.records.get(key)
        self._unasked.pop(key, None)
        if record is not None and (was := operation.wanted.misfit(record)) is not None:
            self._problem = self._problem or self._another(key, was, operation.wanted.what)
            return
        self._operations[key] = self._numbered[operation.number] = operation
        if operation.is_wait:
            self._open_waits += 1
        if record is None or record.ended is None:
            self._todo.append(operation.number)

    async def _advance(self, number: int) -> Flow:
        operation = self._numbered.get(number)
        if operation is None:
            return NOTHING
        with suppress(StepEndedError, WaitTimeoutError):  # it is in the record, from where the code is told
            await operation.begin(operation.key)
        if operation.is_wait:
            await self.drive.recorder.commit()  # only then its time is known
        return NOTHING

    def _give_up(self, operation: Operation) -> None:
        """The code no longer waits: a step goes on all the same, a wait is closed and takes nothing."""
        if self.is_over or not operation.is_wait or operation.told or operation.number not in self._numbered:
            return
        self._close(operation)
        self._operations.pop(operation.key, None)
        wait = self.drive.journal.waits.get(operation.key)
        if wait is None:
            self._todo.remove(operation.number)
            return
        self._unwanted.add(operation.key)
        if wait.open:
            self._given_up.append(operation.key)

    def _record_given_up(self) -> None:
        """Only when it is known that the code fits the record: else the wait may still be wanted."""
        for key in self._given_up:
            wait = self.drive.journal.waits[key]
            if wait.open:
                self.drive.recorder.note(e.WaitCompleted(correlation_id=wait.wait_id, cause="cancelled"))
        self._given_up.clear()

    # --- timers of asyncio -------------------------------------------------------------------------

    def _arm(self, timer: asyncio.TimerHandle) -> None:
        until = _moment(timer.when())
        operation = self.ask("timer", Wanted("sleep"), self.sleeping(lambda: until), _nothing, timer)
        self._timers[timer] = operation
        self._begin(operation)

    def _disarm(self, timer: asyncio.TimerHandle) -> None:
        operation = self._timers.pop(timer, None)
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

    # --- what does not fit -------------------------------------------------------------------------

    def _is_patch(self, key: str) -> bool:
        return key.startswith(PATCH, len(self.scope.prefix))

    def _check_all_asked(self) -> None:
        for key in self._unasked:
            raise self._not_asked(key)

    def _another(self, key: str, was: str, now: str) -> NondeterminismError:
        asks = f"workflow {self.scope.definition.id!r} now asks for {now} there"
        line = "" if (where := line_of_program()) is None else f" ({where})"
        return self._nondeterminism(key, f"recorded {was} at {key!r}, and {asks}{line}")

    def _not_asked(self, key: str) -> NondeterminismError:
        asks = f"workflow {self.scope.definition.id!r} does not ask for at that point"
        journal = self.drive.journal
        new = [repr(one) for one in self._operations if one not in journal.records and one not in journal.waits]
        instead = f"; it asks for {' and '.join(new[:_MOST_NAMED])}" if new else ""
        return self._nondeterminism(key, f"recorded {key!r}, which {asks}{instead}")

    def _nondeterminism(self, key: str, what: str) -> NondeterminismError:
        cure = "deploy the old code, or guard what is new with step.patched('...')"
        return NondeterminismError(self.drive.run_id, key, f"run {self.drive.run_id!r} {what}; {cure}")


def _moment(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError):  # as an asyncio.sleep(sys.maxsize) has it
        return LATEST


def _nothing(_: object) -> None:
    """What the end of a sleep brings."""
