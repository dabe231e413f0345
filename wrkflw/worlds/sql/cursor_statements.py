"""The statements about how far sources were read."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

from sqlalchemy import and_, bindparam, null, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from . import tables as t

Clause: TypeAlias = Any  # SQLAlchemy's expressions have no useful common type

cursors = t.Table.metadata.tables["cursors"]


def at(name: str) -> Clause:
    return cast("Clause", bindparam(name))


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
