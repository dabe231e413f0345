"""``wrkflw graph``: a picture of a workflow."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .parameters import AsJson


class Format(StrEnum):
    mermaid = "mermaid"
    svg = "svg"
    json = "json"


def graph(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="module:workflow or path/to/file.py:workflow.")],
    format: Annotated[Format, typer.Option("--format", "-f")] = Format.mermaid,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; stdout without it.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a workflow.

    As Mermaid text, as SVG in light and dark, or as data."""
    from wrkflw.diagrams import outline_of, to_json, to_mermaid, to_svg

    from .screen import json_text, say
    from .targets import workflow_of

    workflow = workflow_of(target)
    outline = outline_of(workflow.graph)
    match Format.json if as_json else format:
        case Format.mermaid:
            drawn = to_mermaid(outline)
        case Format.svg:
            drawn = to_svg(outline, workflow.id)
        case _:
            told = {"workflow_id": workflow.id, "fingerprint": workflow.graph.fingerprint, "graph": to_json(outline)}
            drawn = json_text(told, indent=2) + "\n"
    if output is None:
        typer.echo(drawn, nl=False)
    else:
        output.write_text(drawn, encoding="utf-8")
        say(f"{output} shows {workflow.id}")
