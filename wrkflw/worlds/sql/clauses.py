"""What statements are put together from: placeholders, and conditions and values that many of them share."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

from sqlalchemy import Executable, Table, and_, bindparam, func, literal_column, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from .statement import ABSENT

Clause: TypeAlias = Any  # SQLAlchemy's expressions have no useful common type


def at(name: str) -> Clause:
    """What is bound to ``name`` when the statement is run."""
    return cast("Clause", bindparam(name))


def row_where(table: Table, *names: str) -> Clause:
    """The columns have the values that are bound to their names."""
    return and_(*(table.c[name] == at(name) for name in names))


def any_of(item: Clause, name: str) -> Clause:
    """``item`` is in the JSON array bound to ``name``, or that is null."""
    members = func.json_each(at(name)).table_valued("value", name=name)
    return or_(at(name).is_(None), item.in_(select(members.c.value)))


def in_json(name: str) -> Clause:
    """The members of the JSON array bound to ``name``."""
    return select(func.json_each(at(name)).table_valued("value").c.value)


def unindexed(item: Clause) -> Clause:
    """The text column, as no reason to choose an index, for a condition on the few rows that another one finds.

    Without statistics SQLite takes for granted that equality finds fewer than ``IN`` or ``IS NOT NULL``, and would go
    through all runs of a namespace.
    """
    return item.concat(literal_column("''"))


def or_absent(item: Clause) -> Clause:
    """The value bound for a column; NULL for ABSENT."""
    return func.nullif(at(item.name), literal_column(repr(ABSENT))) if item.nullable else at(item.name)


def replace(table: Table) -> Executable:
    """Insert a row, or overwrite the one with its key."""
    statement = upsert(table)
    keys = [item.name for item in table.primary_key]
    changed = {item.name: statement.excluded[item.name] for item in table.c if item.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)
