"""The statements about large payloads, built as those in ``statements`` are."""

from __future__ import annotations

from sqlalchemy import and_, delete, exists, literal_column, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from . import tables as t
from .clauses import Clause, at, in_json

payloads, events = t.Table.metadata.tables["payloads"], t.Table.metadata.tables["events"]

_this = and_(payloads.c.namespace == at("namespace"), payloads.c.sha256 == at("sha256"))
_in_row = payloads.c.data.is_not(None)
_unused = and_(payloads.c.last_used_at < at("cutoff"), ~exists().where(events.c.payload_ref == payloads.c.sha256))
_insert = upsert(payloads)

PAYLOAD_STATEMENTS: dict[str, Clause] = {
    "PAYLOAD_STATE": select(payloads.c.last_used_at, payloads.c.doomed, _in_row).where(_this),
    "PAYLOAD_WRITE": _insert.on_conflict_do_update(
        index_elements=["namespace", "sha256"],
        set_={name: _insert.excluded[name] for name in ("last_used_at", "doomed", "data")},
    ),
    "PAYLOAD_USED": update(payloads).where(_this).values(last_used_at=at("now")),
    "PAYLOADS_NAMED": select(payloads.c.sha256, payloads.c.data).where(
        payloads.c.namespace == at("namespace"), payloads.c.sha256.in_(in_json("names"))
    ),
    # --- the collector: a doomed row is one whose deletion was begun
    "PAYLOADS_MARKED": select(payloads.c.sha256, or_(payloads.c.doomed, _unused))
    .where(payloads.c.namespace == at("namespace"), payloads.c.sha256 > at("after"))
    .order_by(payloads.c.sha256)
    .limit(at("row_limit")),
    "PAYLOAD_DELETE": delete(payloads).where(_this, _in_row, _unused),
    "PAYLOAD_DOOM": update(payloads)
    .where(_this, ~_in_row, or_(payloads.c.doomed, _unused))
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
"""A payload is used as long as an event refers to it, in whichever namespace: rather too long than too short."""
