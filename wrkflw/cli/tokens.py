"""``wrkflw tokens``: who may call a server, in a file that holds digests only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, cast

import typer

from .parameters import AsJson

if TYPE_CHECKING:
    from wrkflw.server import Permission, TokenFile

TokensFile: TypeAlias = Annotated[Path, typer.Option("--file", help="The file; 'serve --tokens' reads it.")]
Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is.", show_default=False)]
_FILE = Path("wrkflw-tokens.json")


def list_tokens(file: TokensFile = _FILE, as_json: AsJson = False) -> None:
    """List the tokens, without their text."""
    from .screen import show_json, show_table

    known = [{"name": one.name, "permissions": sorted(one.permissions)} for one in _file(file).load()]
    if as_json:
        return show_json(known)
    rows = [(one["name"], " ".join(one["permissions"])) for one in known]
    show_table(("name", "permissions"), rows, empty=f"{file} has no token")
    return None


def add(
    name: Name,
    permission: Annotated[
        list[str] | None, typer.Option("--permission", "-p", help="read, start, resume or admin.", show_default=False)
    ] = None,
    file: TokensFile = _FILE,
) -> None:
    """Make a token, and print it: this once.

    It may do everything, unless permissions are given."""
    from .screen import say, show

    wanted = cast("list[Permission]", permission or ["admin"])  # refused by add(), if it is none
    show(_file(file).add(name, wanted))
    say(f"{file} keeps its digest; send it as 'Authorization: Bearer ...'")


def remove(name: Name, file: TokensFile = _FILE) -> None:
    """Remove a token.

    Servers that are running keep it until they begin anew."""
    from .failures import MisuseError
    from .screen import say

    if not _file(file).remove(name):
        raise MisuseError(f"{file} has no token {name!r}; see 'wrkflw tokens list'")
    say(f"token {name!r} is gone")


def _file(path: Path) -> TokenFile:
    from wrkflw.server import TokenFile

    return TokenFile(path)
