"""What an instant makes: the first event of its run, or why it has none."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from wrkflw.engine.definition import Definition
from wrkflw.engine.failures import text_of
from wrkflw.errors import WrkflwError
from wrkflw.errors.base import exception
from wrkflw.world.events import RunCreated
from wrkflw.world.schedules import Instant, key_of

from .schedules import Fire, Schedule

_LONGEST_REASON = 500

_log = logging.getLogger("wrkflw")


class Create(Protocol):
    """Makes the first event of a run."""

    def __call__(
        self,
        definition: Definition,
        run_id: str,
        input_data: object,
        initial_state: object,
        *,
        attributes: Mapping[str, str],
        idempotency_key: str | None,
    ) -> tuple[RunCreated, object]: ...


class Firing:
    def __init__(self, definitions: Mapping[str, Definition], new_run_id: Callable[[], str], create: Create) -> None:
        self._definitions = definitions
        self._new_run_id = new_run_id
        self._create = create

    def instant(self, schedule: Schedule, moment: datetime) -> Instant:
        """The instant, with its run; when there can be none, with the reason, which is logged."""
        try:
            return self.run_at(schedule, moment, key_of(schedule.id, moment))
        except (Exception, CancelledError) as error:  # what a function of the user's may raise  # noqa: BLE001
            _log.exception("schedule %r makes no run at %s: its input could not be made", schedule.id, moment)
            said = text_of(error)
            what = said if isinstance(error, WrkflwError) else exception(type(error).__name__, said)
            return Instant(moment, failure=f"its input could not be made: {what}"[:_LONGEST_REASON])

    def run_at(self, schedule: Schedule, moment: datetime, key: str | None) -> Instant:
        """The instant, with its run.  Raises what the input function raises; InvalidValueError, LimitError."""
        fire = Fire(moment.astimezone(ZoneInfo(schedule.timezone)), schedule.id)
        given = None if schedule.input is None else schedule.input(fire)
        definition, run_id = self._definitions[schedule.workflow.id], self._new_run_id()
        created, _ = self._create(definition, run_id, given, None, attributes={}, idempotency_key=key)
        return Instant(moment, run_id, created)
