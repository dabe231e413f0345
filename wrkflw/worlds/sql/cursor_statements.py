"""The statements about how far sources were read."""

from __future__ import annotations

from sqlalchemy import and_, null, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from . import tables as t
from .clauses import Clause, at

cursors = t.Table.metadata.tables["cursors"]

_taken = upsert(cursors)
# Named so that no column that is set has the name.
_mine = and_(cursors.c.namespace == at("here"), cursors.c.source == at("of_source"), cursors.c.owner == at("mine"))

CURSOR_STATEMENTS: dict[str, Clause] = {
    "CURSOR_BY_SOURCE": select(cursors.c.position, cursors.c.owner).where(
        cursors.c.namespace == at("here"), cursors.c.source == at("source")
    ),
    "CURSOR_TAKE": _taken.on_conflict_do_update(
        index_elements=["namespace", "source"], set_={"owner": _taken.excluded.owner}
    ),
    "CURSOR_ADVANCE": update(cursors).where(_mine).values(position=at("position")),
    "CURSOR_RELEASE": update(cursors).where(_mine).values(owner=null()),
}
