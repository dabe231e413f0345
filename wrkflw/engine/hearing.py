"""What is written to runs, by this process or another, as it concerns those that are driven or waited for here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from wrkflw.clock import sleep_until
from wrkflw.errors import WrkflwError
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.storage import RUN_PARKED

from .takers import FROM_OUTSIDE, MAKES_DUE

if TYPE_CHECKING:
    from .driver import Driver

_PAUSES = {"run_paused": True, "run_resumed": False}
_NEWS = e.RUN_ENDS | MAKES_DUE | {RUN_PARKED}

_log = logging.getLogger("wrkflw")


class Hearing:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._looks, self._must_look = False, False
        """Whether somebody looks what others have written to the runs that are driven here, and is to look again."""

    def hear(self, run_id: str, event_types: Sequence[str]) -> None:
        """What was written.  Without a run: somebody has written something, or a process has come or gone."""
        driver = self._driver
        if not run_id:
            self._hear_of_anything()
            return
        driver.readers.tell(run_id)
        if _NEWS.isdisjoint(event_types):
            return
        drive = driver.drives.get(run_id)
        if not e.RUN_ENDS.isdisjoint(event_types):
            driver.taker.ended(run_id)
            if drive is None:
                driver.kept.forget(run_id)
        if drive is None:
            if not driver.outside.is_writing_to(run_id):  # else who writes it goes on with the run
                driver.taker.heard(run_id, event_types)
                driver.waiters.tell(run_id)
        elif "run_cancelled" in event_types:  # its landing tells
            drive.stop()
        elif not FROM_OUTSIDE.isdisjoint(event_types):
            for event_type in event_types:
                if event_type in _PAUSES:
                    drive.pause(_PAUSES[event_type])
            drive.ring()
        elif "wait_completed" in event_types and not drive.recorder.wrote_end_of_wait():
            drive.ring()  # somebody has woken it

    def _hear_of_anything(self) -> None:
        driver = self._driver
        if driver.closing:
            return
        driver.taker.heard_of_anything(lambda run_id: run_id not in driver.drives and driver.waiters.waits_for(run_id))
        driver.waiters.tell_all()
        driver.readers.tell_all()
        if driver.drives:
            self._must_look = True
            if not self._looks:
                self._looks = True
                driver.spawn(self._look_at_drives())

    async def _look_at_drives(self) -> None:
        """What others may have written to the runs that are driven here: the log says what."""
        driver = self._driver
        try:
            while self._must_look:
                self._must_look = False
                try:
                    runs = await driver.services.storage.runs.get_many(list(driver.drives))
                except WrkflwError:
                    _log.exception("the database could not be read; looking again")
                    await sleep_until(driver.services.clock, driver.services.clock.now() + driver.services.hold)
                    self._must_look = True
                else:
                    self._tell_drives(runs)
        finally:
            self._looks = False

    def _tell_drives(self, runs: Iterable[Run | None]) -> None:
        for run in runs:
            drive = None if run is None else self._driver.drives.get(run.run_id)
            if run is not None and drive is not None:
                drive.pause(run.paused_at is not None)
                (drive.stop if run.status == "cancelled" else drive.ring)()
