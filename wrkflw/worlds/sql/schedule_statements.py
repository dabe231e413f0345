"""The statements about schedules and the runs that they make."""

from __future__ import annotations

from sqlalchemy import Table, and_, delete, func, insert, null, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from . import tables as t
from .clauses import Clause, at

schedules, scheduled, missed, runs = (
    t.Table.metadata.tables[name] for name in ("schedules", "scheduled_runs", "missed_instants", "runs")
)


def _of(table: Table) -> Clause:
    """Of the schedule of this namespace; named so that no column that is set has the name."""
    return and_(table.c.namespace == at("here"), table.c.schedule_id == at("id"))


_missed = upsert(missed)
_in_span = and_(
    runs.c.namespace == at("namespace"),
    runs.c.idempotency_key.is_not(None),  # which the index is about
    runs.c.idempotency_key.between(at("first"), at("last")),
)
_open = select(runs.c.run_no).where(runs.c.run_no == scheduled.c.run_no, runs.c.ended_slot.is_(None))
_newest = (
    select(missed.c.instant)
    .where(_of(missed))
    .order_by(missed.c.instant.desc())
    .limit(at("row_limit"))
    .scalar_subquery()
)
# As it was created: nobody ever had it, and it is not due.
_waits = and_(runs.c.status == "pending", runs.c.wake_at.is_(None), runs.c.epoch == 0)

SCHEDULE_STATEMENTS: dict[str, Clause] = {
    "SCHEDULE_BY_ID": select(schedules).where(_of(schedules)),
    "SCHEDULES_AFTER": select(schedules)
    .where(schedules.c.namespace == at("namespace"), schedules.c.version > at("version"))
    .order_by(schedules.c.schedule_id),
    "SCHEDULES_VERSION": select(func.max(schedules.c.version)).where(schedules.c.namespace == at("namespace")),
    "SCHEDULE_INSERT": insert(schedules),
    "SCHEDULE_UPDATE": update(schedules)
    .where(_of(schedules))
    .values(
        {
            item.name: at(item.name)
            for item in schedules.c
            if item.name not in ("namespace", "schedule_id", "last_run_id")
        }
    ),
    "SCHEDULE_MOVE": update(schedules)
    .where(_of(schedules))
    .values(cursor=at("cursor"), last_run_id=func.coalesce(at("last_run_id"), schedules.c.last_run_id)),
    # --- which instants have a run
    "SCHEDULED_MADE": select(runs.c.idempotency_key).where(_in_span),
    # --- the runs of a schedule whose runs do not overlap
    "SCHEDULED_ADOPT": insert(scheduled)
    .prefix_with("OR IGNORE")
    .from_select(
        ["namespace", "schedule_id", "run_no"],
        select(runs.c.namespace, at("id"), runs.c.run_no).where(_in_span, runs.c.ended_slot.is_(None)),
    ),
    "SCHEDULED_INSERT": insert(scheduled),
    "SCHEDULED_FORGET": delete(scheduled).where(_of(scheduled), ~_open.exists()),
    "SCHEDULED_OPEN": select(runs.c.run_no, runs.c.run_id, _waits)
    .select_from(scheduled.join(runs, runs.c.run_no == scheduled.c.run_no))
    .where(_of(scheduled), runs.c.ended_slot.is_(None))
    .order_by(runs.c.run_no),
    "SCHEDULES_WAITING": select(scheduled.c.schedule_id)
    .select_from(scheduled.join(runs, runs.c.run_no == scheduled.c.run_no))
    .where(scheduled.c.namespace == at("namespace"), runs.c.ended_slot.is_(None), _waits)
    .distinct(),
    "SCHEDULED_HOLD": update(runs).where(runs.c.run_no == at("no")).values(wake_at=null()),
    "SCHEDULED_BEGIN": update(runs).where(runs.c.run_no == at("no")).values(wake_at=at("now")),  # a paused one too
    # --- instants without a run
    "MISSED_WRITE": _missed.on_conflict_do_update(
        index_elements=["namespace", "schedule_id", "instant"], set_={"reason": _missed.excluded.reason}
    ),
    "MISSED_OF": select(missed.c.instant, missed.c.reason).where(_of(missed)).order_by(missed.c.instant.desc()),
    "MISSED_FORGET": delete(missed).where(_of(missed), missed.c.instant == at("moment")),
    "MISSED_TRIM": delete(missed).where(_of(missed), missed.c.instant.not_in(_newest)),
}
