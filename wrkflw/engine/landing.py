"""What becomes of a run when it is no longer driven here: who is told, and who goes on with it."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import TYPE_CHECKING

from wrkflw.clock import sleep_until
from wrkflw.errors import WrkflwError
from wrkflw.world.errors import DamagedPayloadError, FencedError, WorkflowRunNotFoundError
from wrkflw.world.storage import RunFence

from .callbacks import call_back, callback_of, log_failure
from .damage import pause_if_damaged
from .definition import Definition
from .drive import Drive
from .standing import Ended, Parked, Standing

if TYPE_CHECKING:
    from .driver import Driver

_log = logging.getLogger("wrkflw")


class Landing:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def landed(self, drive: Drive, task: asyncio.Task[Standing]) -> None:
        """The task of a drive is done."""
        driver, run_id = self._driver, drive.run_id
        error = None if task.cancelled() else task.exception()
        drive.decided()
        if not driver.closing:
            if drive.turned_away or drive.refusal is not None:  # what was told of the run meanwhile was told to this
                driver.taker.unheard(run_id)
            else:
                driver.taker.asked(run_id, drive.definition)
                if error is not None:
                    self._lost(drive, error)
                elif not task.cancelled():
                    self._left(drive, task.result())
        if isinstance(error, DamagedPayloadError) or (error is None and drive.journal.paused_by == "engine"):
            driver.taker.misfit(run_id)
        elif error is None and not task.cancelled():
            driver.taker.went_on(run_id)
        driver.taker.freed()
        # Why a run never came to be is told to its starter alone: the id may be that of another run.
        driver.waiters.tell(run_id, error if drive.recorder.epoch else None)
        driver.readers.tell(run_id)

    def _left(self, drive: Drive, standing: Standing) -> None:
        """In good order."""
        driver, run_id = self._driver, drive.run_id
        if isinstance(standing, Parked) and drive.recorder.clean:
            driver.kept.keep(drive.journal, drive.recorder.epoch)
        match standing:
            case Ended():
                driver.taker.forget(run_id)
                if (callback := callback_of(drive.definition, drive.journal.status)) is not None:
                    driver.spawn(call_back(callback, run_id, drive.recorder.epoch, driver.services.storage.runs))
                elif not driver.waiters.waits_for(run_id):
                    log_failure(drive.journal)
            case Parked() if drive.rung:  # too late for this drive, and too early for the next to have heard it
                driver.taker.take_soon(run_id, drive.definition)
            case Parked(until=datetime() as until):
                driver.taker.expect(run_id, drive.definition, until)
            case Parked():
                pass

    def _lost(self, drive: Drive, error: BaseException) -> None:
        """This process can write no more to the run, for whatever reason; it must not keep it from others."""
        if isinstance(error, FencedError):
            _log.info("run %s was taken over by another process", drive.run_id)
        else:
            _log.error("run %s stopped here: %s", drive.run_id, error, exc_info=error)
            self._driver.spawn(self._pause_or_give_up(drive, error))

    async def _pause_or_give_up(self, drive: Drive, error: BaseException) -> None:
        await pause_if_damaged(self._driver.services.storage, drive.run_id, error)
        await self.give_up(drive.run_id, drive.recorder.fence, drive.definition)

    async def give_up(self, run_id: str, fence: RunFence, definition: Definition) -> None:
        """Release a run that is claimed here and not driven, for a later try; until that is done."""
        services = self._driver.services
        while True:
            later = services.clock.now() + services.hold
            try:
                seen = (await services.storage.runs.locate(run_id)).last_slot
                if await services.storage.runs.release(run_id, fence, seen_slot=seen, wake_at=later):
                    return self._driver.taker.expect(run_id, definition, later)
            except (FencedError, WorkflowRunNotFoundError):
                return  # it is another's, or no more
            except WrkflwError:
                _log.warning("run %s could not be released; trying again", run_id)
                await sleep_until(services.clock, later)
