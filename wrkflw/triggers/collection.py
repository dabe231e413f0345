"""The schedules of a runtime, as a collection: look at them, pause, resume, trigger, backfill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from wrkflw.clock import Clock
from wrkflw.errors import DefinitionError
from wrkflw.world.schedules import Missed, Overlap
from wrkflw.world.schedules import Schedule as Standing
from wrkflw.world.schedules import Schedules as Ledger

from .firing import Firing
from .instants import instants_between, next_instant
from .schedules import Schedule, ScheduleInfo
from .timings import timing_of

MOST_BACKFILLED = 1000


class Backfilled(NamedTuple):
    """What a backfill has made, and which instants are without a run all the same."""

    run_ids: Sequence[str]
    missed: Sequence[Missed]


class Schedules:
    """``rt.schedules``: those that the database knows.

    What takes an id raises ScheduleNotFoundError when the database does not know it, and TypeError for what is no id.
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
        return await self._info(await self._ledger().get(_checked(schedule_id)))

    async def pause(self, schedule_id: str) -> ScheduleInfo:
        """Its instants make no runs until it is resumed, in any process.  Durable when it returns.

        Runs that were made before go on, and those of them that wait for their turn begin when it comes.
        """
        return await self._info(await self._ledger().pause(_checked(schedule_id)))

    async def resume(self, schedule_id: str) -> ScheduleInfo:
        """It goes on with its next instant; what came meanwhile was skipped, and can be run with :meth:`backfill`.

        Durable when it returns.
        """
        return await self._info(await self._ledger().resume(_checked(schedule_id)))

    async def trigger(self, schedule_id: str) -> str:
        """Start a run now, beside all others, also of a paused schedule; the id of the run, which is durable.

        Raises what the input function raises, DefinitionError when no workflow listed here has the schedule, or newer
        code has changed it.
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
            ValueError: a moment has no timezone, ``until`` is before ``since`` or to come, there are more than 1,000
                instants, or the calendar does not go back so far.
            TypeError: a moment is no datetime.
            DefinitionError: no workflow listed here has the schedule, or newer code has changed it.
        """
        return (await self.fill(schedule_id, since, until)).run_ids

    async def fill(self, schedule_id: str, since: datetime, until: datetime) -> Backfilled:
        """The same, and which instants are left without a run."""
        for moment in (since, until):
            _check_moment(moment)
        if since > until:
            raise ValueError(
                f"backfill() goes from {since.isoformat()} to {until.isoformat()}; write the earlier first"
            )
        if until > self._clock.now():
            raise ValueError(f"backfill() is about what has passed, and {until.isoformat()} is to come")
        schedule, ledger = await self._of_code(schedule_id), self._ledger()
        try:
            before = since.astimezone(UTC) - datetime.resolution
            moments = list(islice(instants_between(schedule.timing, before, until), MOST_BACKFILLED + 1))
        except OverflowError:
            raise ValueError(f"backfill() cannot go back to {since.isoformat()}; give a later moment") from None
        if len(moments) > MOST_BACKFILLED:
            raise ValueError(f"backfill() takes {MOST_BACKFILLED:,} instants at a time, and there are more; take less")
        instants = [self._firing.instant(schedule, moment) for moment in moments]
        overlap: Overlap = "allow" if schedule.overlap == "allow" else "queue"
        moved = await ledger.make(schedule_id, instants, overlap=overlap)
        return Backfilled(moved.run_ids, moved.missed)

    async def _of_code(self, schedule_id: str) -> Schedule:
        """The schedule, if code and database know it, and as the same."""
        standing = await self._ledger().get(_checked(schedule_id))
        schedule = self._schedules.get(schedule_id)
        if schedule is None:
            cure = "list its workflow in workflows="
            raise DefinitionError(f"schedule {schedule_id!r} is of no workflow that this runtime lists; {cure}")
        if newer := schedule.differs_from(standing.definition):
            cure = "start its runs from that code, or open a worker with this"
            raise DefinitionError(f"schedule {schedule_id!r} was changed by other code, to {newer}; {cure}")
        return schedule

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


def _checked(schedule_id: object) -> str:  # not all callers are typed
    if not isinstance(schedule_id, str):
        raise TypeError(f"a schedule is named by its id, got a {type(schedule_id).__name__}; pass the id, a str")
    return schedule_id


def _check_moment(moment: object) -> None:
    if not isinstance(moment, datetime):
        raise TypeError(f"backfill() takes datetimes, got {moment!r}; write datetime(..., tzinfo=UTC)")
    if moment.tzinfo is None:
        raise ValueError(f"backfill() takes moments with a timezone, got {moment.isoformat()}; add tzinfo=")
