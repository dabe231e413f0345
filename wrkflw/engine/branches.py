"""What goes on side by side in a run: those that are under way, those that are parked, and what stirs these again.

A branch that cannot move is not kept: it ends with what it waits for, and is begun anew when that stirs.  The record
tells it how far it was, so that a parked branch costs an entry in a table and nothing else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import contextmanager
from contextvars import copy_context
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from wrkflw.clock import Timer
from wrkflw.errors import DefinitionChangedError, LimitError, NondeterminismError, StoreError, WrkflwError
from wrkflw.world.errors import WorldError

from .lanes import Lane
from .standing import BailedError, LeftError, Parked, StepEndedError
from .values import Flow

if TYPE_CHECKING:
    from .drive import Drive


_UNDER_WAY = 1000
"""How many branches of one block may be under way, those that are parked not counted."""


class Branches:
    """The branches of one block.

    ``begin(n)`` begins branch ``n``, from wherever its record ends, and awaiting what it gives advances it.  Those that
    begin together, if each noted that when it was begun, are advanced when it is durable: none waits for it by itself.
    """

    def __init__(self, drive: Drive, lane: Lane, begin: Callable[[int], Coroutine[object, object, Flow]]) -> None:
        self.outcomes: dict[int, Flow] = {}
        self._drive = drive
        self._lane = lane
        self._begin = begin
        self._begun: list[tuple[int, Coroutine[object, object, Flow]]] = []
        """Those that are yet to be advanced."""
        self._unnoted = False
        """Whether one of them will note that it begins only when it is advanced."""
        self._running: dict[asyncio.Task[Flow], int] = {}
        self._parked: dict[int, Parked] = {}
        self._waits_for: dict[str, int] = {}
        """Which branch a hook or wait belongs to."""
        self._timed: set[int] = set()
        """The parked ones that also wait for a time, or for the run to go on."""
        self._stirred = drive.journal.stirred
        self._seen = len(self._stirred)
        """How far that list was looked at."""
        self._unclaimed: set[str] = set()
        """What stirred while nobody here waited for it; a branch may be about to say that it does."""
        self._due: set[int] = set()
        """The parked ones for which that was so."""
        self._ended: deque[asyncio.Task[Flow]] = deque()
        """Those that gave nothing, and are to be looked at."""
        self._context = copy_context()
        """In which their ends are heard: one for all, for each callback would copy its own."""
        self._failures: list[Exception] = []
        self._bails: list[BailedError] = []
        self._gave_up: BaseException | None = None
        self._stir: asyncio.Future[None] | None = None
        self._news = False
        self._moved = False
        """Whether one has ended since ends were last looked at."""

    @property
    def decided(self) -> bool:
        """Whether nothing more is begun, because one has failed or bailed."""
        return bool(self._failures or self._bails or self._gave_up) or self._lane.stopping

    @property
    def gave_up(self) -> bool:
        """Whether the record no longer fits the code: what is open stays open, until code that fits is there."""
        return self._gave_up is not None

    def decide(self, how: StepEndedError | BailedError) -> None:
        """One of them had failed, or bailed, before: what is open is not begun again."""
        if isinstance(how, BailedError):
            self._bails.append(how)
        else:
            self._failures.append(how)

    def park(self, number: int, standing: Parked) -> None:
        """A branch cannot move now."""
        self._parked[number] = standing
        self._waits_for.update(dict.fromkeys(standing.on, number))
        if standing.until is not None or standing.paused:
            self._timed.add(number)
        if not self._unclaimed.isdisjoint(standing.on):
            self._due.add(number)

    def forget(self, number: int) -> None:
        """A parked branch is no longer wanted."""
        standing = self._parked.pop(number, None)
        if standing is not None:
            self._timed.discard(number)
            self._due.discard(number)
            for name in standing.on:
                self._waits_for.pop(name, None)

    @property
    def running(self) -> bool:
        return bool(self._running or self._begun)

    async def run(self, numbers: Iterable[int], limit: int | None, again: Iterable[int] = ()) -> None:
        """Advance these branches, up to ``limit`` unfinished at a time, until all have ended.

        When one fails or bails, no other is begun; those under way are waited for, which are those of ``again`` from
        the beginning.  Raises LeftError when all that are left are parked.
        """
        todo = deque(numbers)
        with self.listening():
            try:
                self.begin_again(again)
                while await self.advance(todo, limit):
                    pass
            except BaseException:
                await self.abandon()
                raise

    def begin_again(self, numbers: Iterable[int]) -> None:
        """Go on with what a crash cut off: that is under way, and waited for however all of it is decided."""
        for number in numbers:
            self._start(number)

    @contextmanager
    def listening(self) -> Generator[None]:
        """Meanwhile they hear of what others write to the run."""
        self._drive.bells[self._ring] = None
        try:
            yield
        finally:
            self._drive.bells.pop(self._ring, None)

    def verdict(self) -> None:
        """Raise what decides the block, if something does: a failure before a bail, the first of its kind."""
        if self._gave_up is not None:
            raise self._gave_up
        if self._failures:
            raise self._failures[0]
        if self._bails:
            raise self._bails[0]
        if self._lane.stopping:
            raise LeftError(Parked())

    # --- one turn ----------------------------------------------------------------------------------

    async def advance(self, todo: deque[int], limit: int | None) -> bool:
        """Begin what may begin, and wait until something happens.  False when nothing is left to do."""
        while todo and not self.decided and self._has_room(limit):
            self._start(todo.popleft())
        if self._begun:
            await self._launch()
        if not self._running:
            if self.decided or not (self._parked or todo):
                return False
            if not self._wake() and not self._reach_next():
                raise LeftError(Parked.together(self._parked.values()))
            return True
        await self._something()
        if self._news:
            self._news = False
            await self._drive.recorder.catch_up()
        self._moved = False
        while self._ended:
            self._collect(self._ended.popleft())
        if not self.decided:
            self._wake()
        return True

    def _has_room(self, limit: int | None) -> bool:
        under_way = len(self._running) + len(self._begun)
        return under_way < _UNDER_WAY and (limit is None or under_way + len(self._parked) < limit)

    def _start(self, number: int) -> None:
        noted = self._drive.recorder.noted
        try:
            self._begun.append((number, self._begin(number)))
        except Exception as error:  # noqa: BLE001  # it is told apart there
            self._settle(number, error)
        else:
            self._unnoted = self._unnoted or self._drive.recorder.noted == noted

    async def _launch(self) -> None:
        if not self._unnoted and not await self._secure():
            self._drop_begun()
            return
        self._unnoted = False
        loop, context, recorder = asyncio.get_running_loop(), self._context, self._drive.recorder
        begun, self._begun = self._begun, []
        recorder.branches += len(begun)
        for number, branch in begun:
            task = loop.create_task(branch)
            self._running[task] = number
            task.add_done_callback(self._one_ended, context=context)

    def _one_ended(self, task: asyncio.Task[Flow]) -> None:
        self._drive.recorder.branches -= 1
        # An exception is asked for here in any case: else asyncio would complain of it where the block is left.
        if not task.cancelled() and task.exception() is None:
            self.outcomes[self._running.pop(task)] = task.result()
        else:
            self._ended.append(task)
        self._moved = True
        self._set_stir()

    def _collect(self, task: asyncio.Task[Flow]) -> None:
        number = self._running.pop(task)
        if task.cancelled():
            raise asyncio.CancelledError
        error = task.exception()
        assert error is not None, "what it gave was taken when it ended"
        self._settle(number, error)

    def _settle(self, number: int, error: BaseException) -> None:
        """A branch ended without an output, or could not begin."""
        match error:
            case LeftError(standing=Parked() as standing):
                self.park(number, standing)
            case BailedError():
                self._bails.append(error)
                self._lane.drain()
            case DefinitionChangedError() | NondeterminismError():
                self._gave_up = self._gave_up or error
                self._lane.drain()
            case LeftError() | WorldError() | StoreError():
                raise error
            case StepEndedError() | WrkflwError():
                self._failures.append(error)
                self._lane.drain()
            case _:
                raise error

    # --- waking ------------------------------------------------------------------------------------

    def _wake(self) -> bool:
        """Begin the parked branches that may move again.  Whether there was one."""
        journal = self._drive.journal
        if journal.paused_by is not None or self._drive.recorder.is_ahead:
            return False
        if journal.stirred is not self._stirred:  # the log was read anew, and its order may be another
            self._stirred, self._seen = journal.stirred, 0
        stirred = self._stirred[self._seen :]
        self._seen = len(self._stirred)
        numbers = {self._waits_for[name] for name in stirred if name in self._waits_for} | self._due
        self._unclaimed.update(name for name in stirred if name not in self._waits_for)
        due = self._drive.backlog.due()
        for number in self._timed:
            standing = self._parked[number]
            if standing.paused or (standing.until is not None and standing.until <= due):
                numbers.add(number)
        for _, number in sorted((min(self._parked[number].until or due, due), number) for number in numbers):
            self.forget(number)
            self._start(number)
        return bool(numbers)

    async def _something(self) -> None:
        """Wait until a branch ends, or may begin again."""
        await self._secure()
        if self._moved or self._news:
            return
        self._stir = asyncio.get_running_loop().create_future()
        timer = self._timer()
        try:
            await self._stir
        finally:
            self._stir = None
            if timer is not None:
                timer.cancel()
                self._drive.backlog.forget(self)

    async def _secure(self) -> bool:
        """What has ended, or begins, is durable before others, which may take long, go on.  False: the log is full."""
        if self._drive.recorder.clean:
            return True
        try:
            await self._drive.recorder.commit()
        except LeftError as left:
            if not isinstance(left.standing, Parked):  # else the run is paused, which the branches hear for themselves
                raise
        except LimitError as error:
            self._failures.append(error)
            self._lane.drain()
            return False
        return True

    def _timer(self) -> Timer | None:
        due: datetime | None = None
        if not self.decided and self._drive.journal.paused_by is None:
            due = Parked.together(self._parked[number] for number in self._timed).until
        if due is None:
            return None
        self._drive.backlog.expect(self, due)
        return self._drive.services.clock.call_at(due, partial(self._reach, due, self._stir))

    def _reach(self, moment: datetime, stir: asyncio.Future[None] | None) -> None:
        if self._stir is not stir:  # it stirred for another reason
            return
        if self._drive.backlog.comes_before(moment):  # they have been rung for, and are about to go on
            self._drive.services.clock.call_at(moment, partial(self._reach, moment, stir))
            return
        self._drive.backlog.reach(moment)
        self._set_stir()

    def _reach_next(self) -> bool:
        """Nothing goes on here, and no other block is entered: then the next that is overdue is due."""
        drive = self._drive
        if not drive.backlog.is_open or len(drive.bells) > 1 or drive.journal.paused_by is not None:
            return False
        due = Parked.together(self._parked[number] for number in self._timed).until
        return due is not None and drive.backlog.reach(due)

    def _ring(self) -> None:
        self._news = True
        self._set_stir()

    def _set_stir(self) -> None:
        if self._stir is not None and not self._stir.done():
            self._stir.set_result(None)

    def dissolve(self) -> None:
        """Nothing begins any more: who began them is held no longer."""
        self._begin = _never

    async def abandon(self) -> None:
        """The block is left: what is under way is cancelled, and has ended when this returns."""
        self._drop_begun()
        tasks: list[asyncio.Task[Flow]] = [task for task in self._running if not task.done()]
        if tasks:
            self._lane.abandon()
        for task in tasks:
            task.cancel()
        cancelled = False
        while tasks:  # also when the run is interrupted meanwhile: what still goes on would write after it was let go
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError:
                cancelled = True
                for task in tasks:  # one that has not heard of the first hears of this
                    task.cancel()
            tasks = [task for task in tasks if not task.done()]
        if cancelled:
            raise asyncio.CancelledError

    def _drop_begun(self) -> None:
        while self._begun:
            self._begun.pop()[1].close()


async def _never(_number: int) -> Flow:
    raise AssertionError("nothing begins in a block that was left")
