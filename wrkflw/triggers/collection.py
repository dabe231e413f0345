"""The schedules of a runtime, as a collection: look at them, pause, resume, trigger, backfill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice

from wrkflw.clock import Clock
from wrkflw.errors import DefinitionError
from wrkflw.world.schedules import Overlap
from wrkflw.world.schedules import Schedule as Standing
from wrkflw.world.schedules import Schedules as Ledger

from .firing import Firing
from .instants import instants_between, next_instant
from .schedules import Schedule, ScheduleInfo
from .timings import timing_of

MOST_BACKFILLED = 1000


class Schedules:
    """``rt.schedules``: those that the database knows.

    What takes an id raises ScheduleNotFoundError when the database does not know it.
    """

    def __init__(
        self, ledger: Callable[[], Ledger], schedules: Mapping[str, Schedule], firing: Firing, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._schedules = schedules
        self._firing = firing
        self._clock = clock

    async def list(self) -> list[ScheduleInfo]:
        """By id, those too that the code no longer has."""
        return [await self._info(standing) for standing in await self._ledger().list()]

    async def get(self, schedule_id: str) -> ScheduleInfo:
        """How the schedule stands."""
        return await self._info(await self._ledger().get(schedule_id))

    async def pause(self, schedule_id: str) -> ScheduleInfo:
        """It starts no runs until it is resumed, in any process.  Durable when it returns."""
        return await self._info(await self._ledger().pause(schedule_id))

    async def resume(self, schedule_id: str) -> ScheduleInfo:
        """It goes on with its next instant; what came meanwhile was skipped, and can be run with :meth:`backfill`.

        Durable when it returns.
        """
        return await self._info(await self._ledger().resume(schedule_id))

    async def trigger(self, schedule_id: str) -> str:
        """Start a run now, beside all others, also of a paused schedule; the id of the run, which is durable.

        Raises what the input function raises, DefinitionError when no workflow listed here has the schedule.
        """
        schedule, ledger = await self._of_code(schedule_id), self._ledger()
        instant = self._firing.run_at(schedule, self._clock.now(), None)
        [run_id] = (await ledger.make(schedule_id, [instant], overlap="allow")).run_ids
        return run_id

    async def backfill(self, schedule_id: str, since: datetime, until: datetime) -> Sequence[str]:
        """A run for each instant from ``since`` to ``until``, both included, that has none yet; the ids of these runs.

        All are durable when it returns.  Where runs do not overlap, they begin one after another.  An instant whose
        input cannot be made has none; :meth:`get` says why.

        Raises:
            ValueError: a moment has no timezone, ``until`` is before ``since`` or to come, or there are more than 1,000
                instants.
            DefinitionError: no workflow listed here has the schedule.
        """
        for moment in (since, until):
            if moment.tzinfo is None:
                raise ValueError(f"backfill() takes moments with a timezone, got {moment.isoformat()}; add tzinfo=")
        if since > until:
            raise ValueError(
                f"backfill() goes from {since.isoformat()} to {until.isoformat()}; write the earlier first"
            )
        if until > self._clock.now():
            raise ValueError(f"backfill() is about what has passed, and {until.isoformat()} is to come")
        schedule, ledger = await self._of_code(schedule_id), self._ledger()
        before = since.astimezone(UTC) - datetime.resolution
        moments = list(islice(instants_between(schedule.timing, before, until), MOST_BACKFILLED + 1))
        if len(moments) > MOST_BACKFILLED:
            raise ValueError(f"backfill() takes {MOST_BACKFILLED:,} instants at a time, and there are more; take less")
        instants = [self._firing.instant(schedule, moment) for moment in moments]
        overlap: Overlap = "allow" if schedule.overlap == "allow" else "queue"
        return (await ledger.make(schedule_id, instants, overlap=overlap)).run_ids

    async def _of_code(self, schedule_id: str) -> Schedule:
        """The schedule, if code and database know it."""
        await self._ledger().get(schedule_id)
        if schedule_id in self._schedules:
            return self._schedules[schedule_id]
        cure = "list its workflow in workflows="
        raise DefinitionError(f"schedule {schedule_id!r} is of no workflow that this runtime lists; {cure}")

    async def _info(self, standing: Standing) -> ScheduleInfo:
        timing = timing_of(standing.timing, standing.timezone)
        return ScheduleInfo(
            standing.schedule_id,
            standing.workflow_name,
            standing.timing,
            standing.timezone,
            standing.catchup,
            standing.overlap,
            standing.paused_at,
            None if standing.paused_at is not None else next_instant(timing, standing.cursor),
            standing.last_run_id,
            tuple(await self._ledger().missed(standing.schedule_id)),
        )
