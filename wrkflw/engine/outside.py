"""What comes to a run from outside: an answer, an event, a decision; who records it goes on with the run."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.errors import FencedError, WorkflowRunNotFoundError
from wrkflw.world.storage import RunFence

from .definition import Definition
from .overflow import ending_if_full

if TYPE_CHECKING:
    from .driver import Driver


_AT_ONCE = 64
"""How many runs may be taken up together.  One commit does for them; of a thousand, what each holds while it waits for
it would cost more, in the caches and with the garbage collector, than a few commits more."""


class Outside:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._writing: Counter[str] = Counter()
        """Runs to which something is being written here that is to claim them."""

    def is_writing_to(self, run_id: str) -> bool:
        return run_id in self._writing

    async def deliver(
        self, run_id: str, definition: Definition, event: e.NewEvent, resume_id: str | None = None
    ) -> None:
        """Record it, and drive the run here if nobody does.  Durable when it returns.

        Raises what the World refuses it with, LimitError when the log is full.
        """
        # Nobody goes on from a journal that was kept of a run that is paused; and a program takes the time from what
        # comes, which only the log knows.
        goes_on = resume_id is None and event.event_type != "run_resumed" and not definition.has_code
        if goes_on and await self._may_go_on(run_id):
            await self._room.acquire()
            try:
                if await self._go_on_with(run_id, definition, event):
                    return
            finally:
                self._room.release()
        async with ending_if_full(self._driver.services.storage, run_id):
            self._refuse_late(run_id)
            await self._driver.background.finish(self._deliver(run_id, definition, event, resume_id))

    def _refuse_late(self, run_id: str) -> None:
        """Raises StoreError, and nothing is recorded, once the driver waits for nothing more that is handed in."""
        if self._driver.hands_over:
            raise StoreError(f"the runtime is being closed; hand it in to run {run_id!r} with another")

    async def _may_go_on(self, run_id: str) -> bool:
        """Whether a journal of the run is kept, and nobody here goes on from it; who is about to is waited for."""
        driver = self._driver
        while (drive := driver.drives.get(run_id)) is not None and (decision := drive.decision()) is not None:
            await decision
        return drive is None and driver.takes_more and not self.is_writing_to(run_id) and driver.kept.has(run_id)

    async def _go_on_with(self, run_id: str, definition: Definition, event: e.NewEvent) -> bool:
        """Go on from the journal that was kept, as if the event stood in the log behind it.

        The event is recorded together with what comes of it before the first body begins, in one transaction that also
        claims the run.  False, and nothing is recorded, when there is no such journal or the run has moved on.  Raises
        StoreError when nothing can be recorded.
        """
        driver = self._driver
        self._refuse_late(run_id)
        journal = driver.kept.take(run_id) if await self._may_go_on(run_id) else None
        if journal is None or journal.paused_by is not None:
            return False
        drive = driver.new_drive(definition, journal)
        drive.begin_with(event)
        driver.launch(drive)
        if (decision := drive.decision()) is not None:
            await decision
        if isinstance(drive.refusal, StoreError):
            raise drive.refusal
        return not drive.turned_away

    async def _deliver(self, run_id: str, definition: Definition, event: e.NewEvent, resume_id: str | None) -> None:
        driver, services = self._driver, self._driver.services
        claim = services.claim if driver.takes_more and run_id not in driver.drives else None
        self._writing[run_id] += 1
        try:
            result = await services.storage.events.create(run_id, event, claim=claim, resume_id=resume_id)
        finally:
            self._writing[run_id] -= 1
            if not self._writing[run_id]:
                del self._writing[run_id]
        if result.claimed and driver.leaving:
            await self._leave_to_others(result.run)
        elif result.claimed:
            await driver.resume_or_give_up(result.run, definition, result.event)
        elif run_id in driver.drives:
            driver.ring(run_id)
        elif driver.takes_more:  # its drive here has landed meanwhile, or somebody else has it
            await driver.taker.take(run_id, definition)

    async def _leave_to_others(self, run: Run) -> None:
        """This process has claimed the run, and would interrupt at once what it begins."""
        services, seen = self._driver.services, run.last_slot
        runs, fence = services.storage.runs, RunFence(run.epoch)
        with suppress(FencedError, WorkflowRunNotFoundError):  # it is another's, or no more
            while not await runs.release(run.run_id, fence, seen_slot=seen, wake_at=services.clock.now()):
                seen = (await runs.locate(run.run_id)).last_slot
