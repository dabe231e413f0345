"""The schema of an opened database: made, accepted, brought up to date, or refused.

An empty database gets the present schema at once; migrations, and with them alembic, are needed only by one that an
older version made.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from wrkflw.world.errors import StoreRefusedError

from . import compiled as sql
from .database import Connection

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0008", "0009", "0010", "0011", "0012")
"""Every schema there has been, oldest first; the last is the present one."""
VERSION_TABLE = "wrkflw_version"

# As alembic makes it.
_VERSION_TABLE = (
    f"CREATE TABLE {VERSION_TABLE} ( version_num VARCHAR(32) NOT NULL, "
    f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num) )"
)
_TABLES = "SELECT lower(name) FROM sqlite_master WHERE type = 'table'"  # to SQLite, Runs is runs
TABLES = {statement.split(maxsplit=3)[2] for statement in sql.SCHEMA if statement.startswith("CREATE TABLE ")}
_VERSION = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  # a constant


def prepare(connection: Connection, path: Path | None) -> None:
    """Bring the database to the present schema.

    Raises StoreRefusedError when a newer version made it, or when its tables are somebody else's.
    """
    connection.text("BEGIN IMMEDIATE")
    try:
        version = _version(connection, path)
        if version is None:
            for statement in sql.SCHEMA:
                connection.text(statement)
            connection.text(_VERSION_TABLE)
            connection.text(f"INSERT INTO {VERSION_TABLE} VALUES ('{REVISIONS[-1]}')")  # noqa: S608
        connection.text("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself; the cause matters more
            connection.text("ROLLBACK")
        raise
    if version is not None and version != REVISIONS[-1]:
        assert path is not None
        _upgrade(path)


def _version(connection: Connection, path: Path | None) -> str | None:
    tables = {row[0] for row in connection.text(_TABLES)}
    if VERSION_TABLE not in tables:
        if clash := sorted(TABLES & tables):
            raise StoreRefusedError(
                f"{path} already has a table {clash[0]!r} that is not wrkflw's; give wrkflw a file of its own"
            )
        return None
    found = connection.text(_VERSION)
    version = str(found[0][0]) if found else ""
    if version not in REVISIONS:
        raise StoreRefusedError(
            f"{path} has schema {version!r}, which this version of wrkflw does not know; upgrade wrkflw"
        )
    return version


def _upgrade(path: Path) -> None:
    from .migrations.upgrade import upgrade  # noqa: PLC0415  # alembic takes 0.3 s to import, and is rarely needed

    try:
        upgrade(path)
    except sqlite3.Error as error:
        raise StoreRefusedError(f"{path} could not be migrated: {error}; nothing was changed") from error
