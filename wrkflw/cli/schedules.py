"""``wrkflw schedules``: look at schedules, pause, resume, trigger and backfill them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from wrkflw.errors import InvalidValueError, LimitError, WrkflwError
from wrkflw.errors.base import exception

from .failures import FAILED
from .moments import moment_of
from .parameters import AsJson, Database, Targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wrkflw.triggers import ScheduleInfo
    from wrkflw.triggers.collection import Schedules

    from .targets import AnyWorkflow

ScheduleId: TypeAlias = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Its id.", show_default=False)]
Moment: TypeAlias = Annotated[
    datetime, typer.Option(parser=moment_of, metavar="TIME", help="2026-01-31, or 2026-01-31T09:30:00.")
]


class InputNotMadeError(WrkflwError):
    """The function of the schedule that makes the input of a run has failed."""

    def __init__(self, schedule_id: str, error: Exception) -> None:
        from wrkflw.engine.failures import text_of

        said = _first_line(text_of(error))
        if not isinstance(error, WrkflwError):
            said = f"{exception(type(error).__name__, said)}; mend its input="
        super().__init__(f"schedule {schedule_id!r} makes no run: {said}")


def list_schedules(db: Database = None, as_json: AsJson = False) -> None:
    """List the schedules that the database knows."""
    from .opening import perform

    perform(_list(db, as_json=as_json))


async def _list(db: str | None, *, as_json: bool) -> None:
    from .opening import opened

    async with opened(db) as runtime:
        _show(await runtime.schedules.list(), as_json=as_json)


def _show(schedules: list[ScheduleInfo], *, as_json: bool) -> None:
    from dataclasses import asdict

    from .screen import show_json, show_table

    if as_json:
        return show_json([asdict(one) for one in schedules])
    rows = [
        (
            one.id,
            one.workflow_id,
            f"{one.timing} {one.timezone}",
            "paused" if one.paused_at else "",
            one.next_at,
            one.last_run_id or "",
            len(one.missed) or "",
        )
        for one in schedules
    ]
    columns = ("schedule", "workflow", "timing", "status", "next", "last run", "missed")
    show_table(columns, rows, empty="the database knows no schedule; a worker makes them known")
    return None


def pause(schedule_id: ScheduleId, db: Database = None, as_json: AsJson = False) -> None:
    """Start no runs of a schedule.

    In any process, until it is resumed."""
    from .opening import perform

    perform(_changed(lambda schedules: schedules.pause(schedule_id), db, as_json=as_json))


def resume(schedule_id: ScheduleId, db: Database = None, as_json: AsJson = False) -> None:
    """Let a schedule go on with its next instant."""
    from .opening import perform

    perform(_changed(lambda schedules: schedules.resume(schedule_id), db, as_json=as_json))


async def _changed(change: Callable[[Schedules], Awaitable[ScheduleInfo]], db: str | None, *, as_json: bool) -> None:
    from .opening import opened

    async with opened(db) as runtime:
        _show([await change(runtime.schedules)], as_json=as_json)


def trigger(schedule_id: ScheduleId, targets: Targets = None, db: Database = None, as_json: AsJson = False) -> None:
    """Start a run of a schedule now.

    A worker takes it; its id is printed."""
    from .opening import perform
    from .targets import workflows_of

    perform(_trigger(schedule_id, workflows_of(targets), db, as_json=as_json))


async def _trigger(schedule_id: str, workflows: list[AnyWorkflow], db: str | None, *, as_json: bool) -> None:
    from .opening import opened

    async with opened(db, workflows) as runtime:
        try:
            run_id = await runtime.schedules.trigger(schedule_id)
        except Exception as error:
            if isinstance(error, WrkflwError) and not isinstance(error, (InvalidValueError, LimitError)):
                raise
            raise InputNotMadeError(schedule_id, error) from error
    _show_runs([run_id], as_json=as_json)


def backfill(
    schedule_id: ScheduleId,
    since: Moment,
    until: Moment,
    targets: Targets = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Start the runs that instants are without.

    Of those from --since to --until, in UTC; their ids are printed."""
    from .opening import perform
    from .targets import workflows_of

    perform(_backfill(schedule_id, (since, until), workflows_of(targets), db, as_json=as_json))


async def _backfill(
    schedule_id: str, span: tuple[datetime, datetime], workflows: list[AnyWorkflow], db: str | None, *, as_json: bool
) -> int:
    from .opening import opened
    from .screen import say

    async with opened(db, workflows) as runtime:
        run_ids, missed = await runtime.schedules.fill(schedule_id, *span)
    _show_runs(run_ids, as_json=as_json)
    if missed:
        say(f"{len(missed)} of the instants made no run; the first: {_first_line(missed[0].reason)}")
        return FAILED
    if not run_ids and not as_json:
        say("no instant in that time is without a run")
    return 0


def _show_runs(run_ids: Sequence[str], *, as_json: bool) -> None:
    from .screen import show, show_json

    if as_json:
        return show_json(list(run_ids))
    for run_id in run_ids:
        show(run_id)
    return None


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
