"""The statements about what is removed some time after the end of a run."""

from __future__ import annotations

from sqlalchemy import and_, delete, null, or_, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert as upsert

from . import tables as t
from .clauses import Clause, at

retained, expired, runs, events, chunks, payloads = (
    t.Table.metadata.tables[name] for name in ("retained", "expired", "runs", "events", "chunks", "payloads")
)

_here = retained.c.namespace == at("namespace")
_holds = or_(events.c.payload.is_not(None), events.c.payload_ref.is_not(None), events.c.data.is_not(None))
_place = tuple_(chunks.c.after_slot, chunks.c.number)

RETENTION_STATEMENTS: dict[str, Clause] = {
    "RETAINED_INSERT": upsert(retained).on_conflict_do_nothing(),
    "RETAINED_NEXT": select(retained.c.due_at).where(_here).order_by(retained.c.due_at).limit(1),
    "RETAINED_DUE": select(retained.c.due_at, retained.c.run_no, runs.c.run_id)
    .select_from(retained.outerjoin(runs, runs.c.run_no == retained.c.run_no))
    .where(_here, retained.c.due_at <= at("now"))
    .order_by(retained.c.due_at)
    .limit(1),
    "RETAINED_DELETE": delete(retained).where(
        _here, retained.c.due_at == at("due_at"), retained.c.run_no == at("run_no")
    ),
    "EXPIRED_AT": select(expired.c.expired_at).where(expired.c.run_no == at("run_no")),
    "RUN_EXPIRED_AT": select(runs.c.status, expired.c.expired_at)
    .select_from(runs.outerjoin(expired, expired.c.run_no == runs.c.run_no))
    .where(runs.c.run_id == at("run_id")),
    "EXPIRED_INSERT": upsert(expired).on_conflict_do_nothing(),
    "EXPIRED_DELETE": delete(expired).where(expired.c.run_no == at("run_no")),
    "EVENTS_HELD": select(
        events.c.slot, events.c.event_type, events.c.data, events.c.codec, events.c.payload_ref, payloads.c.size
    )
    .select_from(
        events.outerjoin(
            payloads, and_(payloads.c.namespace == at("namespace"), payloads.c.sha256 == events.c.payload_ref)
        )
    )
    .where(events.c.run_no == at("run_no"), events.c.slot > at("after"), _holds)
    .order_by(events.c.slot)
    .limit(at("row_limit")),
    "EVENT_EMPTY": update(events)
    .where(and_(events.c.run_no == at("no"), events.c.slot == at("place")))
    .values(data=at("data"), codec=at("codec"), payload=null(), payload_ref=null()),
    "CHUNKS_FORGET": delete(chunks).where(
        chunks.c.run_no == at("run_no"),
        _place.in_(
            select(chunks.c.after_slot, chunks.c.number).where(chunks.c.run_no == at("run_no")).limit(at("row_limit"))
        ),
    ),
}
