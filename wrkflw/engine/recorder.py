"""What one owner of a run records: noted at once, committed before anything outside depends on it.

A completed step and the start of the next share a transaction: what is noted gathers until the next body is about to
start, so that a result is durable before anything depends on it, at one commit a step.
"""

from __future__ import annotations

from wrkflw.errors import LimitError
from wrkflw.world import events as e
from wrkflw.world.errors import EventLimitError, RunPausedError, WorldError
from wrkflw.world.storage import Claim, RunFence, Storage

from .journal import Journal
from .standing import Ended, LeftError, Parked


class Recorder:
    """``epoch`` is that of the claim; None for a run that is yet to be created, which its first commit claims."""

    def __init__(self, storage: Storage, owner: str, journal: Journal, epoch: int | None) -> None:
        self.journal = journal
        self._storage = storage
        self._owner = owner
        self._epoch = epoch
        self._pending: list[e.NewEvent] = []

    @property
    def epoch(self) -> int:
        return self._epoch or 0

    @property
    def fence(self) -> RunFence:
        return RunFence(self.epoch)

    def note(self, event: e.NewEvent) -> None:
        """Record with the next commit; the journal has it at once."""
        self._pending.append(event)
        self.journal.add(event)

    def discard(self) -> None:
        """Forget what is not committed."""
        self._pending.clear()

    async def commit(self) -> None:
        """Put what was noted on disk.

        Raises LeftError when the run was cancelled or paused meanwhile, FencedError when it was taken over.
        """
        if not self._pending:
            return
        batch, self._pending = self._pending, []
        expected = self.journal.last_slot
        events = self._storage.events
        if self._epoch is None:
            result = await events.create_batch(self.journal.run_id, batch, claim=Claim(self._owner))
            self._epoch = result.epoch
        else:
            result = await events.create_batch(self.journal.run_id, batch, fence=self.fence)
        for item in result.items:
            if item.refusal is not None:
                await self._refused(item.refusal)
        if result.last_slot != expected:  # somebody else wrote meanwhile
            await self.reload()
            self._leave_if_ended()

    async def write_now(self, event: e.NewEvent) -> None:
        """Append one event that is not allowed in a batch.  Raises as :meth:`commit` does."""
        try:
            await self._storage.events.create(self.journal.run_id, event, fence=self.fence)
        except WorldError as refusal:
            await self._refused(refusal)
        await self.reload()

    async def recover(self) -> None:
        """After a cancellation, which may have come while a commit was under way: see what was decided.

        Raises WorkflowRunNotFoundError when the run never came to be.
        """
        self._pending.clear()
        await self._storage.settled()
        if self._epoch is None:
            run = await self._storage.runs.get(self.journal.run_id, resolve_data="none")
            self._epoch = run.epoch if run.owner == self._owner else None
        await self.reload()

    async def reload(self) -> None:
        """Read the log as it is."""
        log = await self._storage.events.list(self.journal.run_id)
        self.journal = Journal.of(self.journal.run_id, log.data)

    async def release(self, standing: Parked) -> None:
        """Give the run up until what it waits for.  Raises FencedError when it was taken over."""
        run_id, seen, until, runs = self.journal.run_id, self.journal.last_slot, standing.until, self._storage.runs
        while not await runs.release(run_id, self.fence, seen_slot=seen, wake_at=until):
            # An event came in between, which may be what the run waits for: the next owner is to read it at once.
            run = await runs.get(run_id, resolve_data="none")
            seen, until = run.last_slot, run.updated_at

    async def _refused(self, refusal: WorldError) -> None:
        await self.reload()
        self._leave_if_ended()
        if isinstance(refusal, RunPausedError):
            raise LeftError(self.paused())
        if isinstance(refusal, EventLimitError):
            raise LimitError(str(refusal), limit=refusal.limit, got=self.journal.last_slot)
        raise refusal

    def paused(self) -> Parked:
        # Unpaused since: the one who did it found the run owned, so it is due at once.
        return Parked("paused", None if self.journal.paused_by else self.journal.updated_at)

    def _leave_if_ended(self) -> None:
        if self.journal.ended:
            raise LeftError(Ended())
