"""The runtime that a command works with, and the loop it works on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from wrkflw.databases import path_of
from wrkflw.runtime import Runtime
from wrkflw.settings import Settings
from wrkflw.world.errors import StoreRefusedError

from .failures import MisuseError
from .targets import AnyWorkflow, codec_here

if TYPE_CHECKING:
    from wrkflw.telemetry import Tracing


def perform(work: Coroutine[Any, Any, int | None]) -> NoReturn:
    """Do it, and end the command with the exit code that it gives.

    Raises typer.Exit.
    """
    raise typer.Exit(asyncio.run(work) or 0)


def url_of(database: str | None) -> str:
    """The URL of the database that is meant; a path stands for the file there.  Raises MisuseError for another kind."""
    given = database or Settings.from_environment(os.environ).database_url
    url = given if given == ":memory:" or "://" in given else f"sqlite:///{given}"
    try:
        path_of(url)
    except StoreRefusedError as error:
        raise MisuseError(str(error)) from error
    return url


def file_of(database: str | None) -> Path:
    """The file of the database.  Raises MisuseError when there is none."""
    path = path_of(url_of(database))
    if path == ":memory:":
        raise MisuseError("a database in memory ends with its process; name a file with --db")
    if not Path(path).is_file():
        raise MisuseError(f"there is no database {path!r}; run a workflow first, or name another with --db")
    return Path(path)


def new_runtime(database: str | None, workflows: Sequence[AnyWorkflow] = (), **options: Any) -> Runtime:
    """A runtime that is not open yet, with the codec of the project in this folder.

    It sends the spans of OpenTelemetry where the environment asks for them.  Raises MisuseError.
    """
    return Runtime(url_of(database), workflows=workflows, codec=codec_here(), observer=_observer(), **options)


@asynccontextmanager
async def opened(database: str | None, workflows: Sequence[AnyWorkflow] = ()) -> AsyncGenerator[Runtime]:
    """A runtime that takes no runs by itself, on a database that is there, and is left with the schema that it has.

    Raises MisuseError, StoreRefusedError.
    """
    check_schema(file_of(database))
    async with new_runtime(database, workflows, worker=False) as runtime:
        yield runtime


def check_schema(path: Path, *, may_be_old: bool = False) -> str:
    """The schema of the database.

    Opening one makes the tables in it or brings them up to date, behind the back of older processes that work there:
    not for who came to look.

    Raises MisuseError when it is not ours, or an older version made it; StoreRefusedError when it cannot be read.
    """
    from wrkflw.worlds.health import revision_of
    from wrkflw.worlds.sql.schema import REVISIONS

    revision = revision_of(path)
    if revision is None:
        raise MisuseError(f"{path} is no database of wrkflw; name another with --db")
    if revision in REVISIONS[:-1] and not may_be_old:
        raise MisuseError(f"{path} has schema {revision}, and {REVISIONS[-1]} is needed; run wrkflw db upgrade")
    return revision


def _observer() -> Tracing | None:
    """Where OTEL_EXPORTER_OTLP_ENDPOINT, or _TRACES_ENDPOINT, names a collector, what sends it spans."""
    from .tracing import tracing_from

    return tracing_from(os.environ)
