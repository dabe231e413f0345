"""``wrkflw db``: bring a database up to date, copy it while it is in use and back, remove what is kept no longer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .parameters import AsJson, Database


def upgrade(db: Database = None, as_json: AsJson = False) -> None:
    """Bring the tables up to date.

    To what this version of wrkflw needs; all of it or nothing."""
    from .opening import perform

    perform(_upgrade(db, as_json=as_json))


async def _upgrade(db: str | None, *, as_json: bool) -> None:
    from .opening import check_schema, file_of, new_runtime
    from .screen import say, show_json

    path = file_of(db)
    before = check_schema(path, may_be_old=True)
    async with new_runtime(db, worker=False):
        pass
    after = check_schema(path)
    if as_json:
        return show_json({"database": str(path), "before": before, "after": after})
    say(
        f"{path} has schema {after} already"
        if before == after
        else f"{path} was brought from schema {before} to {after}"
    )
    return None


def back_up(
    to: Annotated[
        Path, typer.Argument(metavar="FILE", help="The copy, which must not be there yet.", show_default=False)
    ],
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Copy the database while it is in use.

    As it is at one moment.
    Large values that are kept in a blob store are not in it.
    """
    from wrkflw.worlds.backup import back_up as copied

    from .opening import check_schema, file_of
    from .screen import say, show_json

    path = file_of(db)
    check_schema(path, may_be_old=True)
    size = copied(path, to)
    if as_json:
        return show_json({"database": str(path), "copy": str(to), "bytes": size})
    say(f"{to} is a copy of {path}, {size:,} bytes")
    return None


def restore(
    backup: Annotated[Path, typer.Argument(metavar="FILE", help="The backup; it stays as it is.", show_default=False)],
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of the database.

    While no process uses it.
    The one that was there is kept beside it, as NAME.before-restore.
    """
    from wrkflw.databases import path_of
    from wrkflw.worlds.backup import restore as restored

    from .failures import MisuseError
    from .opening import url_of
    from .screen import say, show_json

    path = path_of(url_of(db))
    if path == ":memory:":
        raise MisuseError("a database in memory ends with its process; name a file with --db")
    if not backup.is_file():
        raise MisuseError(f"there is no backup {str(backup)!r}; name a file that wrkflw db backup has made")
    size, aside = restored(backup, Path(path))
    if as_json:
        kept = None if aside is None else str(aside)
        return show_json({"database": path, "backup": str(backup), "bytes": size, "kept": kept})
    said = f"{path} is a copy of {backup} now, {size:,} bytes"
    say(said if aside is None else f"{said}; what was there is {aside}")
    return None


def collect(db: Database = None, as_json: AsJson = False) -> None:
    """Remove what is kept no longer.

    Payloads of runs that ended long ago, and blobs that no run refers to any more and nobody has written for a day."""
    from .opening import perform

    perform(_collect(db, as_json=as_json))


async def _collect(db: str | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from wrkflw.retention import gc

    from .opening import opened
    from .screen import say, show_json

    async with opened(db) as runtime:
        collected = await gc(runtime)
    if as_json:
        show_json(asdict(collected))
    else:
        say(f"{collected.runs} runs lost their payloads; {collected.payloads} blobs were deleted")
