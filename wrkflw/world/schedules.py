"""The ledger of schedules: which instants were considered, so that each makes at most one run.

A schedule has a cursor, the last instant that was considered.  It moves on in the transaction that creates the runs of
what it moves over, and only from where it was found: of any number of processes one does it, and a crash leaves it done
or not begun.  The idempotency key of a run names its instant too, so what was asked for by hand makes no second one.

What is kept of a timing is text, which a World compares and does not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol, TypeAlias

from .entities import Run
from .events import RunCreated

Catchup: TypeAlias = Literal["skip", "latest", "all"]
"""Which of the instants that passed while nobody looked make a run."""
Overlap: TypeAlias = Literal["allow", "skip", "queue"]
"""What an instant makes while a run of its schedule is open: one beside it, none, or one that begins when it ended."""

SCHEDULES_CHANGED: Literal["schedules_changed"] = "schedules_changed"
"""What listeners are told, without a run id, when a schedule was defined anew, paused or resumed."""
MOST_MISSED = 100
"""Instants without a run that are remembered of each schedule."""


_KEY = "cron:"


def key_of(schedule_id: str, instant: datetime) -> str:
    """The idempotency key of the run of an instant."""
    return f"{prefix_of_keys(schedule_id)}{instant.astimezone(UTC).isoformat().replace('+00:00', 'Z')}"


def prefix_of_keys(schedule_id: str) -> str:
    """What the idempotency keys of the runs of all its instants begin with; a digit follows."""
    return f"{_KEY}{schedule_id}:"


def is_of_instant(key: str | None) -> bool:
    """Whether a run of this idempotency key is that of an instant."""
    return key is not None and key.startswith(_KEY)


def waits_in_line(run: Run) -> bool:
    """Whether the run begins when those of its schedule before it have ended: nobody ever had it, and it is not due."""
    return run.status == "pending" and run.epoch == 0 and run.wake_at is None


class NewSchedule(NamedTuple):
    """A schedule as the code has it."""

    schedule_id: str
    workflow_name: str
    timing: str
    timezone: str
    catchup: Catchup = "latest"
    overlap: Overlap = "allow"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as it stands."""

    schedule_id: str
    workflow_name: str
    timing: str
    timezone: str
    catchup: Catchup
    overlap: Overlap
    cursor: datetime
    """The last instant that was considered, or since when there is something to consider."""
    paused_at: datetime | None
    last_run_id: str | None
    version: int
    """Which change of all schedules was the last one of this; runs do not count."""

    @property
    def definition(self) -> NewSchedule:
        """What the code said of it that decides."""
        return NewSchedule(self.schedule_id, self.workflow_name, self.timing, self.timezone, self.catchup, self.overlap)


class Instant(NamedTuple):
    """An instant that was considered: with the run that it is to make, or why it makes none."""

    at: datetime
    run_id: str | None = None
    creation: RunCreated | None = None
    failure: str | None = None


class Missed(NamedTuple):
    """An instant that made no run, though it was to: its input could not be made, or an earlier run was still open."""

    at: datetime
    reason: str


class Moved(NamedTuple):
    """What became of a wish to move a schedule on.  ``schedule`` is how it stands now."""

    schedule: Schedule
    moved: bool
    """False when it no longer stood as it was expected to, and nothing was written."""
    run_ids: Sequence[str] = ()
    """The runs that were created."""
    ahead: str | None = None
    """The open run that those which were to wait wait for."""
    missed: Sequence[Missed] = ()
    """The instants that made none, though they were to."""


class Schedules(Protocol):
    """Schedules of a namespace.  What takes an id raises ScheduleNotFoundError."""

    async def define(self, schedules: Sequence[NewSchedule]) -> Sequence[Schedule]:
        """Make the schedules known as the code has them, and say how each stands.

        A new one, and one with another timing, starts now: what came before is none of its instants.
        """
        ...

    async def get(self, schedule_id: str) -> Schedule: ...

    async def list(self, *, after_version: int = 0) -> Sequence[Schedule]:
        """By id; those that changed after the change of this number."""
        ...

    async def missed(self, schedule_id: str) -> Sequence[Missed]:
        """Newest first, as many as are remembered."""
        ...

    async def pause(self, schedule_id: str) -> Schedule:
        """It makes no runs until it is resumed.  Durable when it returns; once paused, nothing changes."""
        ...

    async def resume(self, schedule_id: str) -> Schedule:
        """What came while it was paused is none of its instants.  Durable when it returns."""
        ...

    async def move(self, expected: Schedule, to: datetime, instants: Sequence[Instant]) -> Moved:
        """Move the cursor on, and create the runs of these instants, in one transaction.

        Only from the definition and cursor that are expected, and not while it is paused.
        """
        ...

    async def make(self, schedule_id: str, instants: Sequence[Instant], *, overlap: Overlap) -> Moved:
        """Create the runs of these instants that have none yet, in one transaction; the cursor stays.

        A run of another workflow counts, too: the schedule may have been of that.  ``overlap`` stands in for that of
        the schedule.  A run without an idempotency key is of no instant.
        """
        ...

    async def waiting(self) -> Sequence[str]:
        """The schedules of which a run waits for its turn."""
        ...

    async def next_turn(self, schedule_id: str) -> str | None:
        """Let the next run that waits begin, if none of those before it is open; nothing else makes it due.

        The open run that others wait for still; None when none waits.
        """
        ...
