"""``wrkflw doctor``: whether this machine, and a database on it, are as wrkflw needs them."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .parameters import AsJson, Database

if TYPE_CHECKING:
    from wrkflw.runtime import Runtime
    from wrkflw.worlds.health import Finding

_AHEAD = 2
"""Seconds by which what was recorded may be ahead of the clock: time servers move it by less."""


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Read every run, and check that its log adds up.")] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Look at the installation and the database.

    Versions, file, settings, processes, clock.
    Exit code 1 when something is bad, 2 when there is no such database.
    """
    from .opening import perform

    perform(_doctor(db, deep=deep, as_json=as_json))


async def _doctor(db: str | None, *, deep: bool, as_json: bool) -> int:
    from wrkflw.databases import path_of

    from .opening import file_of, url_of
    from .screen import show_json, show_table

    path = Path(path_of(url_of(db))) if db is None else file_of(db)
    found = [*_installation(), *await _database(path, db, deep=deep)]
    if as_json:
        show_json([asdict(one) for one in found])
    else:
        show_table(
            ("check", "verdict", "finding"),
            [(one.check, one.verdict, one.detail) for one in found],
            empty="",
            last="folded",
        )
    return 1 if any(one.verdict == "bad" for one in found) else 0


def _installation() -> list[Finding]:
    import platform
    from importlib.metadata import version

    from wrkflw.worlds.health import Finding, sqlite_finding

    python = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    return [
        Finding("wrkflw", "ok", version("wrkflw")),
        Finding("python", "ok" if sys.version_info >= (3, 11) else "bad", python),
        sqlite_finding(),
    ]


async def _database(path: Path, db: str | None, *, deep: bool) -> list[Finding]:
    from wrkflw.errors import StoreError
    from wrkflw.worlds.health import Finding, examine, revision_of
    from wrkflw.worlds.sql.schema import REVISIONS

    from .opening import opened

    if (absence := _absence(path)) is not None:
        return [absence]
    found = examine(path)
    if any(one.verdict == "bad" for one in found) or revision_of(path) != REVISIONS[-1]:
        return found  # to open an older one is to upgrade it
    try:
        async with opened(db) as runtime:
            found.append(Finding("settings", "ok", "each pragma was set, and reads back as it was set"))
            found += await _contents(runtime)
            if deep:
                found += await _deep(runtime, path)
    except StoreError as error:
        found.append(Finding("settings", "bad", str(error)))
    return found


def _absence(path: Path) -> Finding | None:
    from wrkflw.worlds.health import Finding

    if path.is_file():
        return None
    if path.exists():
        return Finding("database", "bad", f"{path} is no file; name one with --db")
    return Finding("database", "note", f"{path} is not there yet; a first run makes it")


async def _contents(runtime: Runtime) -> list[Finding]:
    """The clock, and what waits for somebody."""
    from datetime import UTC, datetime, timedelta

    from wrkflw.world.storage import PageRequest
    from wrkflw.worlds.health import Finding

    newest = (await runtime.runs.list(limit=1)).data
    ahead = newest[0].updated_at - datetime.now(UTC) if newest else timedelta(0)
    behind = ahead > timedelta(seconds=_AHEAD)
    clock = (
        f"what was recorded last is {ahead} ahead of the clock; set the clock" if behind else "not behind the record"
    )
    letters = await runtime.world.queue.dead_letters(PageRequest(100))
    dead = (
        f"{len(letters.data)}{' or more' if letters.has_more else ''} messages were given up; see wrkflw dead-letters"
    )
    return [
        Finding("clock", "bad" if behind else "ok", clock),
        Finding("dead letters", "note", dead) if letters.data else Finding("dead letters", "ok", "none"),
    ]


async def _deep(runtime: Runtime, path: Path) -> list[Finding]:
    from contextlib import closing
    from functools import partial

    from wrkflw.testing.consistency import check_record
    from wrkflw.worlds.health import Finding, reading, references, waits_of

    with closing(reading(path)) as connection:
        violations = await check_record(runtime.world, partial(waits_of, connection))
    record = [Finding("record", "bad", str(violation)) for violation in violations]
    return [references(path), *(record or [Finding("record", "ok", "every log adds up")])]
