"""The statements about large payloads, built as those in ``statements`` are."""

from __future__ import annotations

from sqlalchemy import and_, delete, exists, literal_column, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from . import tables as t
from .clauses import Clause, at, in_json

payloads, events, runs = (t.Table.metadata.tables[name] for name in ("payloads", "events", "runs"))

_this = and_(payloads.c.namespace == at("namespace"), payloads.c.sha256 == at("sha256"))
_in_row = payloads.c.data.is_not(None)
_unused = ~exists().where(
    events.c.payload_ref == payloads.c.sha256,
    runs.c.run_no == events.c.run_no,
    runs.c.namespace == payloads.c.namespace,
)
_forgotten = and_(or_(_in_row, payloads.c.last_used_at < at("cutoff")), _unused)
_named = and_(payloads.c.namespace == at("namespace"), payloads.c.sha256.in_(in_json("names")))
_insert = upsert(payloads)

PAYLOAD_STATEMENTS: dict[str, Clause] = {
    "PAYLOAD_STATE": select(payloads.c.doomed, _in_row).where(_this),
    "PAYLOAD_WRITE": _insert.on_conflict_do_update(
        index_elements=["namespace", "sha256"],
        set_={name: _insert.excluded[name] for name in ("last_used_at", "doomed", "data")},
    ),
    "PAYLOADS_NAMED": select(payloads.c.sha256, payloads.c.data).where(_named),
    "PAYLOADS_RELEASE": delete(payloads).where(_named, _in_row, _unused),
    "PAYLOADS_OF_RUN": select(events.c.payload_ref)
    .distinct()
    .where(events.c.run_no == at("run_no"), events.c.payload_ref.is_not(None)),
    # --- the collector: a doomed row is one whose deletion was begun
    "PAYLOADS_MARKED": select(payloads.c.sha256, or_(payloads.c.doomed, _forgotten))
    .where(payloads.c.namespace == at("namespace"), payloads.c.sha256 > at("after"))
    .order_by(payloads.c.sha256)
    .limit(at("row_limit")),
    "PAYLOAD_DOOM": update(payloads)
    .where(_this, ~_in_row, or_(payloads.c.doomed, _forgotten))
    .values(doomed=literal_column("1")),
    "PAYLOAD_STRAY": upsert(payloads)
    .values(
        namespace=at("namespace"),
        sha256=at("sha256"),
        size=literal_column("0"),
        last_used_at=literal_column("0"),
        doomed=literal_column("1"),
        data=literal_column("NULL"),
    )
    .on_conflict_do_nothing(),
    "PAYLOAD_GONE": delete(payloads).where(_this, ~_in_row, payloads.c.doomed),
}
"""A payload is used as long as an event of its namespace refers to it."""
