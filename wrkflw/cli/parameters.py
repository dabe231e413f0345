"""The parameters that commands share, each with its help."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

Targets: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET",
        help="module:workflow or path/to/file.py:workflow; without a name behind it, all workflows of the module. "
        "Without any, those that [tool.wrkflw] in pyproject.toml lists.",
        show_default=False,
    ),
]
Code: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="TARGET",
        help="Where the workflow of the run is; without it, what [tool.wrkflw] in pyproject.toml lists.",
        show_default=False,
    ),
]
Database: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URL",
        help="The database: sqlite:///path/to/file.db, or the path alone. Without it WRKFLW_DATABASE_URL, else "
        "sqlite:///wrkflw.db.",
        show_default=False,
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunId: TypeAlias = Annotated[str, typer.Argument(metavar="RUN", help="The id of the run.", show_default=False)]
Reason: TypeAlias = Annotated[str | None, typer.Option("--reason", help="Why; it is recorded.", show_default=False)]
AuthservId: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Believe what the mail server of this name says of senders of mail.", show_default=False
    ),
]
Dkim: TypeAlias = Annotated[bool, typer.Option("--dkim", help="Check the signatures of mail here.")]
Grace: TypeAlias = Annotated[
    str, typer.Option(metavar="DURATION", help="How long steps that run may take to end when the process is stopped.")
]
Given: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="JSON|@FILE|KEY=VALUE",
        help="JSON, a file of it (@- for stdin), or a field of the value; may be repeated.",
        show_default=False,
    ),
]
HandedIn: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="JSON|@FILE|KEY=VALUE", help="What is handed in; as --input of run.", show_default=False),
]
