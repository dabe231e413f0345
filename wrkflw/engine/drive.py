"""Advance one run, under one claim, as far as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextvars import Context
from datetime import datetime
from typing import Any

from wrkflw.clock import later
from wrkflw.errors import DefinitionChangedError, InvalidValueError, LimitError
from wrkflw.schemas import Schema
from wrkflw.world import events as e
from wrkflw.world.storage import Claim, Storage

from . import damage
from .background import GRACE
from .backlog import Backlog
from .definition import Definition
from .execution import Execution
from .holding import Holding
from .journal import Journal
from .lanes import Lane
from .observers import Observer
from .recorder import Recorder
from .services import Services
from .standing import Ended, LeftError, Parked, Standing
from .stepping import Stepping
from .values import Settled


class Drive:
    """One run, advanced by this process while it holds the claim.

    ``on_wait`` is called, with its id, when the run begins to wait in place, and again when it goes on.

    Thousands may be under way at once, and all they hold is looked through whenever garbage is collected: what holds
    names alone is a dict, which is not looked into, and a function that only hands on to the next gives that one's
    coroutine, and needs none of its own.
    """

    def __init__(
        self,
        services: Services,
        definition: Definition,
        journal: Journal,
        epoch: int | None,
        on_wait: Callable[[str], None],
        make_recorder: Callable[[Storage, Claim, Journal, int | None], Recorder] = Recorder,
    ) -> None:
        self.services = services
        self.definition = definition
        self.run_id = journal.run_id
        self.journal = journal
        self.recorder = make_recorder(services.storage, services.claim, journal, epoch)
        self.steps = Stepping(self)
        self.bells: dict[Callable[[], None], None] = {}
        """Who is to be told that somebody else wrote to the run, in this order."""
        self.rung = False
        """Whether somebody wrote to the run since it was about to be given up."""
        self._paused = False
        self._overslept: tuple[Callable[[], None], ...] = ()
        """What fell due in a pause."""
        self.backlog = Backlog(services.clock, journal)
        self.stopping = False
        """Whether the run was cancelled, or its time is up: bodies should end."""
        self.begun: dict[str, bool] = {}
        """The keys whose body was called here, and whether it must not be called again."""
        self.unwanted: dict[str, None] = {}
        """The keys of the steps that the code of a program no longer waits for."""
        self.overdue = False
        """Whether the run was cancelled, and its body has had its time to end."""
        self._claims_late = False
        """Whether it is what comes from outside that claims the run."""
        self._deciding: list[asyncio.Future[None]] | None = None
        """Who waits to know whether that has claimed the run; None once it is known, or where nothing is to."""
        self._on_wait = on_wait
        self.holding = Holding(self, on_wait)
        self.chunks = services.chunks(self.recorder)
        self.execution = Execution(self)
        self._task: asyncio.Task[Standing] | None = None
        self.expired = False
        """Whether its time is up."""
        self._lets_go = False
        """Whether the run is being let go of, which is not to be cut short."""

    # --- what its parts ask ------------------------------------------------------------------------

    @property
    def cancelled(self) -> bool:
        """Whether somebody ended the run."""
        return self.stopping and not self.expired

    @property
    def leaving(self) -> bool:
        """Whether the task is to end: because the run was cancelled, its time is up, or this process leaves it."""
        return self.stopping or self.services.leaving()

    def is_unwanted(self, key: str) -> bool:
        """Whether nobody waits for the step any more, or for the workflow around it."""
        return any(key == each or key.startswith(f"{each}/") for each in self.unwanted)

    def go_on(self, lane: Lane | None = None, *, again: bool = False) -> None:
        """Something is about to begin.  Raises LeftError when nothing may: it is paused, its block or all drain.

        ``again``: it had begun before, which a block that drains waits for.
        """
        if self.journal.paused_by is not None:
            raise LeftError(Parked(paused=True))
        if lane is not None and ((lane.stopping and not again) or self.services.draining()):
            raise LeftError(Parked())

    def load(self, schema: Schema, data: bytes, key: str, what: str) -> object:
        """A recorded value.  Raises DefinitionChangedError when the code can no longer read what it once wrote."""
        try:
            return damage.read(schema, data, f"{what} {key!r}", self.run_id)
        except InvalidValueError as error:
            raise DefinitionChangedError.unreadable(self.run_id, key, self.definition.id, error) from error

    def meta_of_end(self, delta: dict[str, Any] | None) -> e.Meta | None:
        """What is recorded beside an outcome: what it changed in the state; for a program, when it was."""
        if not self.definition.has_code:
            return None if delta is None else {"state": delta}
        meta: e.Meta = {"at": self.services.clock.now().isoformat()}
        return meta if delta is None else {**meta, "state": delta}

    # --- what an observer sees ---------------------------------------------------------------------

    @property
    def workflow_id(self) -> str:
        return self.definition.id

    @property
    def trace(self) -> Mapping[str, str]:
        return self.journal.trace

    @property
    def status(self) -> str:
        return self.journal.status

    # --- life --------------------------------------------------------------------------------------

    @property
    def standing(self) -> Standing | None:
        """How the run stood when this process let go of it in good order; None before."""
        task = self._task
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return task.result()

    @property
    def refusal(self) -> BaseException | None:
        """Why the run never came to be, if so."""
        task = self._task
        if self.recorder.epoch or task is None or not task.done() or task.cancelled():
            return None
        return task.exception()

    def begin(self, created: e.RunCreated, record: Iterable[e.NewEvent], given: Settled | None) -> None:
        """The run is new: its creation, claim, the record it is born with and what begins first are one transaction."""
        self.execution.given = given
        for event in (created, e.RunStarted(), *record):
            self.recorder.note(event)
            self.recorder.born_with += 1

    def begin_with(self, event: e.NewEvent) -> None:
        """Go on as if this had come from outside: the first commit records it and claims the run, or nothing is."""
        self.recorder.note(event)
        self.recorder.born_with = 1
        self.recorder.on_claim = self._claimed
        self._claims_late, self._deciding = True, []

    def decision(self) -> asyncio.Future[None] | None:
        """Done once it is known whether what came from outside is recorded and has claimed the run.

        None when that is known, or when nothing came from outside.
        """
        if self._deciding is None:
            return None
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deciding.append(waiter)
        return waiter

    @property
    def turned_away(self) -> bool:
        """Whether it was to claim the run, and did not."""
        return self._claims_late and self._deciding is None and self.recorder.epoch == 0

    def decided(self) -> None:
        deciding, self._deciding = self._deciding, None
        for waiter in deciding or ():
            if not waiter.done():
                waiter.set_result(None)

    def _claimed(self) -> None:
        self.decided()
        if self.stopping:  # somebody stopped it meanwhile
            raise asyncio.CancelledError

    def start(self, context: Context | None) -> asyncio.Task[Standing]:
        """Advance, in a task of its own; in ``context``, if it is given.

        It raises StoreError or FencedError when this process can write no more to the run.
        """
        create = asyncio.get_running_loop().create_task
        if context is None:
            self._task = create(self._run(), name=f"wrkflw {self.run_id}")
        else:  # the task takes a copy of it, whatever makes tasks here
            self._task = context.run(create, self._run(), name=f"wrkflw {self.run_id}")
        return self._task

    def dismantle(self) -> None:
        """It has landed: its parts know it, and are to go with it at once, not when the collector finds the circle."""
        del self.steps, self.execution, self.holding

    def stop(self) -> None:
        """The run was cancelled, or its time is up: tell its bodies."""
        if self.stopping:
            return
        self.stopping = True
        grace = self.services.clock.call_at(self.services.clock.now() + GRACE, self._give_up)
        if self._task is not None:
            self._task.add_done_callback(lambda _: grace.cancel())
            if self._deciding is None:  # else it would not know whether it has the run
                self.interrupt()

    def interrupt(self) -> None:
        """Let go of the run, if that is not being done."""
        if self._task is not None and not self._lets_go:
            self._task.cancel()

    def pause(self, paused: bool) -> None:
        """Somebody is known to have paused the run, or unpaused it; the journal may not say so yet."""
        if self._paused and not paused:
            self.backlog.look_again()
        self._paused = paused
        if not paused:
            overslept, self._overslept = self._overslept, ()
            for call in overslept:
                call()

    def sleeps_over(self, call: Callable[[], None]) -> bool:
        """Whether the run is paused: then what has fallen due, ``call``, is to happen when it goes on."""
        if self._paused:
            self._overslept += (call,)
        return self._paused

    def ring(self) -> None:
        """Somebody else wrote to the run."""
        self.rung = True
        for bell in tuple(self.bells):
            bell()

    def _give_up(self) -> None:
        self.overdue = True
        self._on_wait(self.run_id)

    # --- the task ----------------------------------------------------------------------------------

    def _run(self) -> Coroutine[Any, Any, Standing]:
        observer = self.services.observer
        return self._run_to_standing() if observer is None else self._run_observed(observer)

    async def _run_observed(self, observer: Observer) -> Standing:
        with observer.driving(self):
            return await self._run_to_standing()

    async def _run_to_standing(self) -> Standing:
        try:
            return await self._advance_in_time()
        except asyncio.CancelledError:  # by another, or by what goes on in it and has found that it is to end
            self._lets_go = True
            return await self._interrupted()

    def _advance_in_time(self) -> Coroutine[Any, Any, Standing]:
        deadline = self._deadline()
        if deadline is None:
            return self._advance()
        if deadline <= self.services.clock.now():  # it passed while the run was parked, or its worker dead
            self.expired = True
            return self._time_is_up()
        return self._advance_until(deadline)

    async def _advance_until(self, deadline: datetime) -> Standing:
        timer = self.services.clock.call_at(deadline, self._expire)
        try:
            return await self._advance()
        finally:
            timer.cancel()

    async def _advance(self) -> Standing:
        """Go on until the run has ended, or is given up."""
        while True:
            try:
                standing = await self._go_as_far_as_possible()
                if isinstance(standing, Ended):
                    return standing
                if (parked := await self._parked(standing)) is not None:
                    return parked
            except LeftError as left:
                if isinstance(left.standing, Ended):
                    return left.standing
            except LimitError as error:  # the log takes only the end of the run
                self.execution.fail_between_steps(error)

    async def _go_as_far_as_possible(self) -> Standing:
        self.recorder.is_ahead = False
        self.backlog.look()
        try:
            await self.execution.run()
            await self.recorder.commit()
        except LeftError as left:
            return left.standing
        return Ended()

    async def _parked(self, standing: Parked) -> Parked | None:
        """Wait in place, or give the run up.  None when it may move again."""
        if await self.holding.stay(standing):
            return None
        deadline, paused = self._deadline(), self.journal.paused_by is not None
        until = None if paused else standing.until
        if deadline is not None and (until is None or deadline < until):
            until = deadline
        if self.services.draining() and not paused:
            until = self.services.clock.now()  # others go on with it
        parked = Parked(until, standing.on, paused)
        self.rung = False
        if await self.recorder.release(parked):
            return parked
        await self.recorder.catch_up()
        return None

    # --- interruptions -----------------------------------------------------------------------------

    async def _interrupted(self) -> Standing:
        """The task was cancelled: because the run was, its time is up, or this process is leaving."""
        await self.recorder.recover()
        if self.journal.ended:
            return Ended()
        if self.expired:
            return await self._time_is_up()
        return await self._let_go()

    async def _let_go(self) -> Standing:
        """Give the run up, for now.  Leaving in good order is not a crash: a try does not count as an interruption."""
        try:
            self._note_released()
            await self.holding.settle()
            now = self.services.clock.now()
            while not await self.recorder.release(parked := Parked(None if self.journal.paused_by else now)):
                await self.recorder.catch_up()
        except LeftError:
            return Ended()
        except LimitError as error:  # nobody could go on with it
            self.execution.fail_between_steps(error)
            await self.holding.settle()
            return Ended()
        return parked

    def _note_released(self) -> None:
        for record in self.journal.records.values():
            if record.status == "running" and not self.begun.get(record.key, False):
                self.recorder.note(e.StepRetrying(correlation_id=record.correlation_id, reason="released"))

    async def _time_is_up(self) -> Standing:
        self.execution.note_timeout()
        try:
            await self.recorder.commit()
        except LeftError as left:
            if not isinstance(left.standing, Ended):  # it was paused: what fell due meanwhile happens when it goes on
                self.expired = False
                return await self._let_go()
        return Ended()

    def _deadline(self) -> datetime | None:
        if self.definition.timeout is None:
            return None
        journal, now = self.journal, self.services.clock.now()
        begins_now = journal.of_instant and journal.status == "pending"
        begins = now if begins_now else journal.due_at or journal.created_at or now
        return later(begins, self.definition.timeout)

    def _expire(self) -> None:
        if not self.stopping and not self.sleeps_over(self._expire):
            self.expired = True
            self.stop()
