"""What one owner of a run records: noted at once, committed before anything outside depends on it.

A completed step and the start of the next share a transaction: what is noted gathers until a body is about to start, so
that a result is durable before anything depends on it, at one commit a step.  The branches of a run share the commits
as well: whoever commits first takes along what the others have noted by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

from wrkflw.errors import LimitError
from wrkflw.world import events as e
from wrkflw.world.errors import EventLimitError, PayloadTooLargeError, RunPausedError, WorldError
from wrkflw.world.storage import BatchResult, Claim, RunFence, Storage

from .journal import Journal
from .standing import Ended, LeftError, Parked

_RACING = (e.OfHook, e.OfWait, e.SignalReceived)
"""What the outside may decide as well."""
_BEGINS = (e.StepCreated, e.StepStarted, e.WaitCreated, e.HookDisposed, e.RunCompleted)
"""What a run that is paused does not do."""
_STAMPED = frozenset({"run_created", "hook_created", "hook_received", "wait_created", "wait_completed"})
"""Events whose time counts."""


class Recorder:
    """``epoch`` is that of the claim; None when the first commit is to claim the run.

    That run is yet to be created, or else it is claimed by what comes from outside, if it stands as the journal has it.
    """

    def __init__(self, storage: Storage, claim: Claim, journal: Journal, epoch: int | None) -> None:
        self.journal = journal
        self.branches = 0
        """How many branches of the run are under way side by side; their notes are worth waiting for."""
        self.born_with = 0
        """How many of the first notes claim the run: what a new one is made of, or what comes from outside."""
        self._storage = storage
        self._claim = claim
        self._epoch = epoch
        self._pending: list[e.NewEvent] = []
        self._noted = self._durable = 0
        self._confirmed = journal.last_slot
        """How far the log is known to be what the journal holds."""
        self._sending = False
        self._ends_wait = False
        """Whether what is being sent ends a wait, which this process has not heard of yet."""
        self._claims = False
        """Whether the commit that claims the run was begun."""
        self._followers: list[tuple[int, asyncio.Future[None]]] | None = None
        self._broken: BaseException | None = None
        self._full: LimitError | None = None
        """That the log took no more."""
        self._news = False
        """Whether a commit has brought in what others wrote, at which the run may not have looked yet."""
        self.is_ahead = False
        """Whether the log has refused, for the run was paused, what some branch may believe it holds: nothing more is
        begun until the run is gone through anew from its record."""

        self.on_claim: Callable[[], None] = _nobody
        """Called when the run is claimed by a commit, and all of that is durable."""

    @property
    def epoch(self) -> int:
        return self._epoch or 0

    @property
    def fence(self) -> RunFence:
        return RunFence(self.epoch)

    @property
    def clean(self) -> bool:
        """Whether all that was noted is durable."""
        return not self._pending and not self._sending

    def wrote_end_of_wait(self) -> bool:
        """Whether the end of a wait, which was just heard of, counts as its own: true once for each commit of one.

        If it was another's after all, its own is heard of next, and counts as another's.
        """
        own, self._ends_wait = self._ends_wait, False
        return own

    def note(self, event: e.NewEvent, at: datetime | None = None) -> None:
        """Record with the next commit; the journal has it at once.

        Raises LimitError once the log is full, unless it is an end, or what became of a body that runs; LeftError for
        what rests on something that the log has refused.
        """
        if self._full is not None and not self._still_fits(event):
            raise self._full
        if self.is_ahead and not self._stands(event):
            raise LeftError(Parked(paused=True))
        self._pending.append(event)
        self._noted += 1
        self.journal.add(event, at)

    async def commit(self) -> None:
        """Put what was noted on disk.

        Raises LeftError when the run was cancelled or paused meanwhile, FencedError when it was taken over.
        """
        upto = self._noted
        while (turn := self.turn(upto)) is not None:
            await turn

    @property
    def noted(self) -> int:
        """How much was noted so far."""
        return self._noted

    def turn(self, upto: int) -> Awaitable[None] | None:
        """What to await at once, and then to ask again, until so much is durable; None when it is.

        It is :meth:`commit` without a coroutine of its own, for callers of whom there are thousands.
        """
        if self._durable >= upto:
            return None
        if self._broken is not None:
            raise self._broken
        return self._joined() if self._sending else self._lead()

    async def catch_up(self) -> None:
        """Read what others wrote since.  Raises LeftError when they ended the run."""
        while self._sending:
            await self._joined()
        if self._epoch is not None:
            await self._merge(set(), ())
            self._news = False  # who catches up looks
            self._leave_if_ended()

    async def write_now(self, event: e.NewEvent) -> None:
        """Append one event that is not allowed in a batch.  Raises as :meth:`commit` does."""
        await self.commit()
        try:
            await self._storage.events.create(
                self.journal.run_id, event, fence=self.fence, resolve_data="none", skip_preload=True
            )
        except WorldError as refusal:
            await self._reload()
            self._leave_if_ended()
            self._leave_because_of(refusal)
        await self._merge(set(), ())

    async def recover(self) -> None:
        """After a cancellation, which may have come while a commit was under way: see what was decided.

        Raises WorkflowRunNotFoundError when the run never came to be, CancelledError when it exists and is not claimed.
        """
        # What is not committed is forgotten, but not what claims the run if that is yet to be done.
        del self._pending[self.born_with if self._epoch is None else 0 :]
        self._durable = self._noted - len(self._pending)
        self._sending, self._broken = False, None
        await self._storage.settled()
        if self._epoch is None:
            run = await self._storage.runs.locate(self.journal.run_id)
            self._epoch = run.epoch if self._claims and run.owner == self._claim.owner else None
            if self._epoch is None and self._confirmed:
                raise asyncio.CancelledError
        await self._reload()

    async def release(self, standing: Parked) -> bool:
        """Give the run up until what it waits for.  False when there is news to look at first.

        Raises FencedError when it was taken over.
        """
        if self._news:
            self._news = False
            return False
        runs, run_id = self._storage.runs, self.journal.run_id
        return await runs.release(run_id, self.fence, seen_slot=self._confirmed, wake_at=standing.until)

    # --- one commit --------------------------------------------------------------------------------

    async def _lead(self) -> None:
        self._sending = True
        failed: BaseException | None = None
        try:
            if self.branches > 1:
                await asyncio.sleep(0)  # the others are about to note something, too
            await self._send()
        except BaseException as error:
            failed = error
            if not isinstance(error, LeftError | LimitError):  # else somebody may write on
                self._broken = error
            raise
        finally:
            self._sending = self._ends_wait = False
            followers, self._followers = self._followers, None
            for upto, follower in followers or ():
                if follower.done():
                    continue
                in_one_boat = upto <= self._durable or failed is self._full or self.is_ahead
                if failed is not None and in_one_boat:
                    follower.set_exception(failed)
                else:
                    follower.set_result(None)

    def _joined(self) -> asyncio.Future[None]:
        """Done when the commit that is under way is, to be awaited at once; it raises what who leads it failed of."""
        follower: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._followers is None:
            self._followers = []
        self._followers.append((self._noted, follower))
        return follower

    async def _send(self) -> None:
        """Raises LimitError for a value that is larger than the World takes."""
        batch, self._pending = self._pending, []
        upto = self._noted
        types = [event.event_type for event in batch]
        self._ends_wait = "wait_completed" in types
        try:
            result = await self._append(batch)
        except PayloadTooLargeError as error:  # nothing of the batch is recorded
            if self._epoch is None:
                raise
            await self._reload()
            raise LimitError(str(error), limit=error.limit, got=error.got) from error
        if self._epoch is None:
            self._epoch = result.epoch
            told, self.on_claim = self.on_claim, _nobody
            told()
        self._durable = upto
        if not _STAMPED.isdisjoint(types):
            for event in batch:
                self.journal.stamp(event, result.at)
        if result.last_slot == self._confirmed + len(batch) and not result.refused:
            self._confirmed = result.last_slot
            return
        refused = [(event, item.refusal) for event, item in zip(batch, result.items, strict=True) if item.refusal]
        full = next((refusal for _, refusal in refused if isinstance(refusal, EventLimitError)), None)
        if full is not None and self._full is None:
            self._full = LimitError(str(full), limit=full.limit, got=full.limit + 1)
            self._full.__cause__ = full
        if refused:  # the journal holds what is not in the log
            self.is_ahead = self.is_ahead or any(isinstance(refusal, RunPausedError) for _, refusal in refused)
            expected = self._confirmed + len(batch) - len(refused)
            await self._reload()
            self._news = self._news or self._confirmed > expected
        else:
            await self._merge({item.slot for item in result.items}, batch)
        self._leave_if_ended()
        if full is not None and self._full is not None:
            raise self._full
        for event, refusal in refused:
            if not isinstance(event, e.WaitCompleted):  # else it was over, which the journal knows now
                self._leave_because_of(refusal)

    def _append(self, batch: Sequence[e.NewEvent]) -> Coroutine[Any, Any, BatchResult]:
        create_batch, run_id = self._storage.events.create_batch, self.journal.run_id
        if self._epoch is not None:
            return create_batch(run_id, batch, fence=self.fence)
        self._claims = True
        return create_batch(run_id, batch, claim=self._claim, expect_slot=self._confirmed or None)

    # --- what others wrote -------------------------------------------------------------------------

    async def _merge(self, own: set[int | None], batch: Sequence[e.NewEvent]) -> None:
        """Take in what others wrote; ``own`` are the slots of ``batch``, which the journal holds already."""
        tail = await self._storage.events.list(self.journal.run_id, after_slot=self._confirmed)
        others = [stored for stored in tail.data if stored.slot not in own]
        self._news = self._news or bool(others)
        mine = (*batch, *self._pending)
        if mine and others and any(isinstance(event, _RACING) for event in (*mine, *(one.event for one in others))):
            await self._reload()  # the order in which they stand in the log decides
            return
        for stored in others:
            self.journal.add(stored.event, stored.created_at)
        self._confirmed = tail.data[-1].slot if tail.data else self._confirmed
        self.journal.last_slot = self._confirmed + len(self._pending)

    async def _reload(self) -> None:
        """Read the log as it is, and what is still pending after it, as far as the log will take that."""
        log = await self._storage.events.list(self.journal.run_id)
        self.journal.reread(log.data)
        self._confirmed = self.journal.last_slot
        if self._full is not None:
            self._pending = [event for event in self._pending if self._still_fits(event)]
        if self.is_ahead:
            self._pending = [event for event in self._pending if self._stands(event)]
        self._durable = max(self._durable, self._noted - len(self._pending))
        for event in self._pending:
            self.journal.add(event)

    def _still_fits(self, event: e.NewEvent) -> bool:
        """Whether a log that is full takes it."""
        if isinstance(event, e.StepCompleted | e.StepFailed):
            return self.journal.is_running(event.correlation_id)
        return event.event_type in e.RUN_ENDS

    def _stands(self, event: e.NewEvent) -> bool:
        """Whether what the log has refused is nothing to it."""
        if isinstance(event, e.StepCompleted | e.StepFailed | e.StepRetrying):
            return self.journal.knows(event.correlation_id)
        return not isinstance(event, _BEGINS)

    def _leave_because_of(self, refusal: WorldError) -> None:
        match refusal:
            case RunPausedError():
                raise LeftError(Parked(paused=True))
            case EventLimitError():
                raise LimitError(str(refusal), limit=refusal.limit, got=self.journal.last_slot) from refusal
            case PayloadTooLargeError():
                raise LimitError(str(refusal), limit=refusal.limit, got=refusal.got) from refusal
            case _:
                raise refusal

    def _leave_if_ended(self) -> None:
        if self.journal.ended:
            raise LeftError(Ended())


def _nobody() -> None:
    pass
