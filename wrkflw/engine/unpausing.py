"""Runs that the engine has paused because the code did not fit: they go on where there is code that does."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from wrkflw.clock import Clock
from wrkflw.errors import LimitError, StoreError
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.errors import DamagedPayloadError, EntityConflictError, RunExpiredError, WorkflowRunNotFoundError
from wrkflw.world.storage import PageRequest, RunFilter

from .definition import Definition
from .journal import Journal
from .messages import Wakes

_PAGE = 1000
_MOST_REMEMBERED = 10_000

_log = logging.getLogger("wrkflw")


class Drives(Wakes, Protocol):
    """What it takes to let a run go on."""

    async def misfit(self, definition: Definition, journal: Journal) -> Exception | None: ...


class Unpausing:
    """``again`` is how long what could not be done, or may come soon, is left alone."""

    def __init__(
        self, world: World, definitions: Mapping[str, Definition], drives: Drives, clock: Clock, *, again: timedelta
    ) -> None:
        self._world = world
        self._definitions = definitions
        self._drives = drives
        self._clock = clock
        self._again = again
        self._look_at: datetime | None = clock.now()
        """When to look for paused runs; None when all have been seen."""
        self._seen: dict[str, int] = {}
        """Those that were there at the last look, each with the end of its log."""
        self._found: dict[str, Definition] = {}
        """Those of them that are yet to be looked into."""
        self._paused_here: dict[str, None] = {}
        """Runs that the engine has paused here, and would again: whatever a look at them says, they do not fit."""

    # --- what it is told ---------------------------------------------------------------------------

    def look(self) -> None:
        """Code was made known that paused runs may fit."""
        self._look_at = self._clock.now()

    def expect(self) -> None:
        """Another process may have paused a run: see, once it has let go of it, whether that fits what is here."""
        if self._look_at is None:
            self._look_at = self._later()

    def paused(self, run_id: str) -> None:
        """The engine has paused the run here."""
        self._paused_here[run_id] = None
        if len(self._paused_here) > _MOST_REMEMBERED:
            del self._paused_here[next(iter(self._paused_here))]

    def went_on(self, run_id: str) -> None:
        """The run got further here: the engine paused it, if it did, for something that is over."""
        self._paused_here.pop(run_id, None)

    # --- what is to be done ------------------------------------------------------------------------

    @property
    def is_to_look(self) -> bool:
        """Whether there may be paused runs that were not seen."""
        return self._look_at is not None

    @property
    def has_found(self) -> bool:
        """Whether some are yet to be looked into."""
        return bool(self._found)

    async def go_on(self, has_room: Callable[[], bool]) -> None:
        """Runs that the engine paused go on when the code fits their record again, as far as there is room for them.

        What the database refuses now is tried again later; a log that cannot be read is passed over.
        """
        if self._look_at is not None and self._look_at <= self._clock.now():
            await self._find()
        while self._found and has_room():
            run_id = next(iter(self._found))
            await self._unpause_if_fitting(run_id, self._found.pop(run_id))

    async def unpause(self, run_id: str, definition: Definition) -> bool:
        """The same of one, now, for somebody who waits for it; whether it goes on."""
        if run_id in self._paused_here:
            return False
        self._found.pop(run_id, None)
        return await self._unpause_if_fitting(run_id, definition)

    async def _find(self) -> None:
        """Those that have changed since they were seen last are to be looked into."""
        self._look_at = None
        seen: dict[str, int] = {}
        try:
            async for run in self._paused():
                definition = self._definitions.get(run.workflow_name)
                if definition is None or run.run_id in self._paused_here:
                    continue
                if run.owner == self._world.owner:  # it is paused by somebody else than the engine
                    continue
                if run.owner is not None:  # who paused it has not let go of it, and may have died so
                    self.expect()
                    continue
                seen[run.run_id] = run.last_slot
                if self._seen.get(run.run_id) != run.last_slot:
                    self._found[run.run_id] = definition
        except Exception:  # noqa: BLE001  # it is one part of the work only
            _log.exception("paused runs could not be looked for; trying again in %s", self._again)
            self._look_at = self._later()
        else:
            self._seen = seen

    async def _paused(self) -> AsyncIterator[Run]:
        runs, cursor = self._world.storage.runs, None
        while True:
            page = await runs.list(RunFilter(detail="paused"), page=PageRequest(_PAGE, cursor))
            for run in page.data:
                yield run
            if not page.has_more:
                return
            cursor = page.cursor

    async def _unpause_if_fitting(self, run_id: str, definition: Definition) -> bool:
        try:
            log = (await self._world.storage.events.list(run_id)).data
            if not await self._was_paused_for(definition, run_id, log):
                return False
            # In one transaction with the claim: else a process whose code does not fit may be faster.
            await self._drives.deliver(run_id, definition, e.RunResumed(reason="the code fits again"))
        except (EntityConflictError, LimitError, RunExpiredError, WorkflowRunNotFoundError) as refusal:
            _log.info("run %s was not unpaused: %s", run_id, refusal)  # somebody was faster, or its log is full
        except DamagedPayloadError as damaged:
            _log.error("run %s stays paused: %s", run_id, damaged)
        except StoreError:
            _log.exception("run %s could not be unpaused; trying again in %s", run_id, self._again)
            self._look_at = self._later()
            self._seen.pop(run_id, None)
        except Exception:  # noqa: BLE001  # one bad log must not keep the others paused
            _log.exception("run %s cannot be read and stays paused", run_id)
        else:
            return True
        return False

    async def _was_paused_for(self, definition: Definition, run_id: str, log: Sequence[e.StoredEvent]) -> bool:
        """Whether the engine paused the run because the code did not fit, and now it does."""
        try:
            journal = Journal.of(run_id, log)
        except StoreError:  # it has a gap, and will have it at every sweep
            _log.exception("run %s stays paused", run_id)
            return False
        return journal.paused_by == "engine" and await self._drives.misfit(definition, journal) is None

    def _later(self) -> datetime:
        return self._clock.now() + self._again
