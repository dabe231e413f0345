"""Schedules, as the code has them: a workflow, when it is to run, and what each run begins with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, get_args, overload

from wrkflw.errors import DefinitionError
from wrkflw.names import check_id, check_options, describe
from wrkflw.suggestions import did_you_mean
from wrkflw.world.schedules import Catchup, Missed, NewSchedule, Overlap

from .inputs import check_input
from .timings import Cron, Timing, check_timezone

if TYPE_CHECKING:
    from wrkflw.workflows import Workflow

    from .inputs import AnyWorkflow

InputT = TypeVar("InputT")
CATCHUP_MAX = 1000
_MOST_CATCHUP = 100_000
"""They are held, and written, at once."""


@dataclass(frozen=True, slots=True)
class Fire:
    """What an input function is told: which instant a run is made for, in the timezone of the schedule."""

    at: datetime
    schedule_id: str


class ScheduleOptions(TypedDict, total=False):
    """Options every schedule takes.

    ``id`` is what the database knows the schedule by: the id of the workflow, unless it is given.  ``timezone`` is that
    of the expression, and of ``fire.at``; UTC unless it is given.

    ``catchup`` says which instants make a run that passed while no process was there to see them: ``"latest"`` the last
    of them, ``"all"`` each of them, but for no more than the last ``catchup_max`` (1,000; 100,000 at most), and
    ``"skip"`` each that is not more than a minute late.

    ``overlap`` says what becomes of an instant while an earlier run of the schedule is open: ``"allow"`` a run beside
    it, ``"skip"`` none, and ``"queue"`` one that is recorded and begins when those before it have ended.
    """

    id: str | None
    timezone: str
    catchup: Catchup
    catchup_max: int
    overlap: Overlap


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule of a workflow, as :func:`cron` has made it."""

    id: str
    workflow: AnyWorkflow
    timing: Timing
    timezone: str
    input: Callable[[Fire], Any] | None
    catchup: Catchup
    catchup_max: int
    overlap: Overlap

    @property
    def definition(self) -> NewSchedule:
        """What the database keeps of it; code in which that differs is other code."""
        return NewSchedule(self.id, self.workflow.id, str(self.timing), self.timezone, self.catchup, self.overlap)

    def differs_from(self, newer: NewSchedule) -> str:
        """What other code has said in its place: ``timing 'every 1h', overlap 'skip'``; nothing when it is the same."""
        both = zip(NewSchedule._fields, self.definition, newer, strict=True)
        return ", ".join(f"{name.removesuffix('_name')} {there!r}" for name, here, there in both if here != there)


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule as it stands in a database, whether or not it is still in the code."""

    id: str
    workflow_id: str
    timing: str
    """The cron expression, ``every …`` or ``at …``."""
    timezone: str
    catchup: Catchup
    overlap: Overlap
    paused_at: datetime | None
    next_at: datetime | None
    """The next instant, in UTC; None when it is paused, or none comes any more."""
    last_run_id: str | None
    missed: tuple[Missed, ...]
    """The last instants that made no run though they were to, and why; newest first."""


@overload
def cron(
    workflow: Workflow[None, object, Any], expression: str | Timing, /, **options: Unpack[ScheduleOptions]
) -> Schedule: ...
@overload
def cron(
    workflow: Workflow[InputT, object, Any],
    expression: str | Timing,
    /,
    *,
    input: Callable[[Fire], InputT],
    **options: Unpack[ScheduleOptions],
) -> Schedule: ...
def cron(
    workflow: AnyWorkflow,
    expression: str | Timing,
    /,
    *,
    input: Callable[[Fire], object] | None = None,
    **options: Unpack[ScheduleOptions],
) -> Schedule:
    """Give a workflow a schedule.  A Runtime that is opened afterwards with the workflow in ``workflows=`` keeps it.

    ``expression`` is a cron expression, :func:`every` or :func:`at`.  ``input`` makes the input of a run from the
    :class:`Fire` that it is for.  It is plain and without effects, because several processes may call it for one
    instant; what it raises is logged and remembered, and that instant makes no run.  Instants count from the moment
    when a database first hears of a schedule, or of its changed expression.

    There is at most one run for each instant: its idempotency key is ``cron:<schedule id>:<instant>``.

    Raises:
        DefinitionError: the expression, the timezone or the id cannot be one; the workflow has a schedule of this id;
            or it takes an input, and there is no ``input=``, or one that gives something else.
        TypeError: an option is unknown.
    """
    return schedule_of(workflow, expression, input, options)


def schedule_of(
    workflow: AnyWorkflow,
    expression: str | Timing,
    input: Callable[[Fire], object] | None,
    options: ScheduleOptions,
) -> Schedule:
    """Give the workflow the schedule, once it is checked."""
    check_options(options, ScheduleOptions.__annotations__)
    if not hasattr(workflow, "schedules"):  # not all callers are typed
        raise DefinitionError(f"{workflow!r} cannot have a schedule; pass a workflow, as .commit() gives it")
    given = options.get("id")
    schedule_id = check_id("schedule", workflow.id if given is None else given)
    if any(other.id == schedule_id for other in workflow.schedules):
        cure = "give the second one its own id="
        raise DefinitionError(f"workflow {workflow.id!r} already has a schedule {schedule_id!r}; {cure}")
    if input is not None:
        check_input(f"schedule {schedule_id!r}", workflow, input, "a Fire")
    elif workflow.input_schema not in (None, type(None)):
        needs = f"workflow {workflow.id!r} takes {describe(workflow.input_schema)}"
        raise DefinitionError(f"schedule {schedule_id!r} gives no input, and {needs}; pass input=")
    timezone = options.get("timezone", expression.timezone if isinstance(expression, Cron) else "UTC")
    schedule = Schedule(
        schedule_id,
        workflow,
        _timing(schedule_id, expression, timezone),
        timezone,
        input,
        _one_of("catchup", options.get("catchup", "latest"), get_args(Catchup)),
        _at_least_one(options.get("catchup_max", CATCHUP_MAX)),
        _one_of("overlap", options.get("overlap", "allow"), get_args(Overlap)),
    )
    workflow.schedules = (*workflow.schedules, schedule)
    return schedule


def _timing(schedule_id: str, expression: object, timezone: str) -> Timing:
    check_timezone(timezone)
    if isinstance(expression, str):
        return Cron(expression, timezone)
    if not isinstance(expression, Timing):
        cure = "pass a cron expression, every(...) or at(...)"
        raise DefinitionError(f"schedule {schedule_id!r} cannot come by {expression!r}; {cure}")
    if isinstance(expression, Cron) and expression.timezone != timezone:
        both = f"{expression.timezone!r} in its Cron and {timezone!r} in timezone="
        raise DefinitionError(f"schedule {schedule_id!r} has two timezones, {both}; leave the second out")
    return expression


def _one_of(option: str, value: Any, known: tuple[str, ...]) -> Any:
    if value not in known:
        words = ", ".join(map(repr, known))
        raise DefinitionError(f"{option}= is one of {words}, got {value!r}{did_you_mean(str(value), known)}")
    return value


def _at_least_one(most: object) -> int:
    if not isinstance(most, int) or isinstance(most, bool):
        raise DefinitionError(f"catchup_max= is a number of instants, got {most!r}")
    if most < 1:
        raise DefinitionError(f"catchup_max={most} would catch up with nothing; use catchup='skip' for that")
    if most > _MOST_CATCHUP:
        raise DefinitionError(f"catchup_max={most} is too many to start at once; give at most {_MOST_CATCHUP}")
    return most
