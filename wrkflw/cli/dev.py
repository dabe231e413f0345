"""``wrkflw dev``: a server that begins anew whenever the code changes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from .parameters import Database, Targets
from .serve import Host, Port, SmtpPort

_PATIENCE = 10
"""Seconds that a server has to end in: it lets the steps that run come to their end."""


def dev(
    targets: Targets = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    watch: Annotated[
        list[Path] | None,
        typer.Option(help="A folder whose .py files are watched; this one, unless one is named.", show_default=False),
    ] = None,
    smtp_port: SmtpPort = None,
    db: Database = None,
) -> None:
    """Serve, and begin anew when the code changes.

    As 'serve' does; whenever a .py file changes, in a new process.
    Runs go on where they were: what had been recorded is not done again.
    """
    import logging

    from watchfiles import PythonFilter, run_process

    from .failures import MisuseError
    from .screen import say

    folders = watch or [Path()]
    for folder in folders:
        if not folder.exists():
            raise MisuseError(f"there is no folder {str(folder)!r} to watch")
    logging.getLogger("watchfiles").setLevel(logging.CRITICAL)  # that it was told to stop is no news
    say(f"watching {', '.join(str(folder.resolve()) for folder in folders)}")
    run_process(
        *folders,
        target=_command(targets or [], host, port, smtp_port, db),
        target_type="command",
        watch_filter=PythonFilter(),
        callback=lambda changes: say(f"{_named(changes)} changed; beginning anew"),
        sigint_timeout=_PATIENCE,
    )


def _command(targets: list[str], host: str, port: int, smtp_port: int | None, db: str | None) -> str:
    import shlex

    mail = [] if smtp_port is None else ["--smtp-port", str(smtp_port)]
    database = [] if db is None else ["--db", db]
    begin = [sys.executable, "-m", "wrkflw", "serve", *targets, "--verbose", "--grace", "2s"]
    return shlex.join([*begin, "--host", host, "--port", str(port), *mail, *database])


def _named(changes: Iterable[tuple[object, str]]) -> str:
    names = sorted({Path(path).name for _, path in changes})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
