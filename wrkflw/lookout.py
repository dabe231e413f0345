"""Watching a run for somebody who waits for it: how it stands once it has ended, or goes no further by itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from .clock import later
from .engine.journal import Journal
from .engine.outcomes import next_timer, result_of
from .engine.standing import Ended, Parked
from .engine.views import StepReader
from .results import RunResult, Waiting

if TYPE_CHECKING:
    from .engine.definition import Definition
    from .engine.drive import Drive
    from .engine.driver import Driver
    from .runtime import Runtime


class Seen(NamedTuple):
    """How the run stands, and the record that says so."""

    result: RunResult[Any]
    journal: Journal


class Lookout:
    """``patience``: timers that are due within it are waited out; None for all.

    ``for_good``: events, and all timers, are waited for as well.
    """

    def __init__(
        self,
        runtime: Runtime,
        definition: Definition,
        run_id: str,
        patience: timedelta | None,
        *,
        for_good: bool = False,
    ) -> None:
        if not runtime.time_passes:  # nobody would ever wake who waits for a timer
            patience, for_good = timedelta(0), False
        self._runtime = runtime
        self._definition = definition
        self._run_id = run_id
        self._deadline = None if patience is None else later(runtime.clock.now(), patience)
        self._for_good = for_good

    async def watch(self, begun: Drive | None = None) -> Seen:
        """Wait until the run is finished or parked.  Raises what kept the run that was ``begun`` from coming to be."""
        driver = self._runtime.driver
        while True:
            with driver.watching(self._run_id) as news:
                drive = driver.drive_of(self._run_id)
                seen: Seen | None = None
                if drive is None or drive.overdue:
                    seen = await self._standing()
                elif drive.holding.until is not None:
                    seen = self._seen(drive.journal, goes_on=True)
                if seen is not None:
                    return seen
                driver.check_open(self._run_id)
                await driver.places.awaiting(news)
            if begun is not None and begun.refusal is not None:
                raise begun.refusal
            if drive is not None and (seen := self._landed(driver, drive)) is not None:
                return seen

    async def _standing(self) -> Seen | None:
        """How a run stands that is not driven here; None while it moves elsewhere, or soon will."""
        entity = await self._runtime.runs.located(self._run_id)
        if not entity.ended and entity.paused_at is None:
            if entity.owner is not None:
                return None
            if entity.wake_at is not None and entity.wake_at <= self._runtime.clock.now():
                return None
        journal = await self._runtime.runs.journal(self._run_id)
        if journal.status == "pending" and journal.paused_by is None:
            return self._to_start(journal, entity.wake_at)
        # Where the code was mended, no worker here may have looked at it yet.
        mended = journal.paused_by == "engine" and entity.owner is None
        if mended:
            if await self._runtime.driver.taker.unpause(self._run_id, self._definition):
                return None
            journal = await self._runtime.runs.journal(self._run_id)  # somebody may have been faster, or its log full
        return self._seen(journal)

    def _to_start(self, journal: Journal, when: datetime | None) -> Seen | None:
        """The run is to start later, or once those of its schedule before it have ended."""
        if self._for_good or self._deadline is None or (when is not None and when <= self._deadline):
            return None
        results = StepReader(journal, self._definition)
        return Seen(Waiting(self._run_id, results, "sleep", when), journal)

    def _landed(self, driver: Driver, drive: Drive) -> Seen | None:
        """How the run stood when this process let go of it; None when it has not, or it is to go on at once."""
        match drive.standing:
            case Ended():
                return self._seen(drive.journal)
            case Parked(until=until) if until is None or until > self._runtime.clock.now():
                return self._parked(driver, drive.journal)
            case _:
                return None

    def _parked(self, driver: Driver, journal: Journal) -> Seen | None:
        """The same of a run that was parked; None also when somebody may have gone on from its journal by now."""
        seen = self._seen(journal) if driver.leaving or driver.kept.keeps(journal) else None
        if seen is not None:
            driver.kept.lend(journal)
        return seen

    def _seen(self, journal: Journal, *, goes_on: bool = False) -> Seen | None:
        """What the record comes to; None when that is to be waited for.  ``goes_on``: a drive will write into it."""
        result = result_of(journal, self._definition)
        if result is None:
            return None
        if not journal.ended and journal.paused_by is None:
            due = next_timer(journal)
            if self._for_good:
                if result.status == "waiting":
                    return None
            elif due is not None and (self._deadline is None or due <= self._deadline):
                return None
        if not goes_on:
            return Seen(result, journal)
        journal = journal.copy()
        return Seen(result_of(journal, self._definition) or result, journal)
