"""What is written: tables and JSON to stdout, remarks to stderr."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import IO, Literal, cast

from pydantic import BaseModel
from pydantic_core import to_json
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wrkflw.durations import format_duration

_WIDE = 10_000
"""Where nobody looks at a screen nothing is cut off."""
_LEAST = 12
"""Columns of the screen below which fitting text in makes it unreadable."""
COLOURS: Mapping[str, str] = {
    "completed": "green", "fits": "green", "good": "green", "ok": "green",
    "failed": "red", "breaks": "red", "bad": "red",
    "cancelled": "dim", "skipped": "dim",
    "running": "cyan", "pending": "cyan",
    "retrying": "yellow", "waiting": "yellow", "sleeping": "yellow", "suspended": "yellow", "paused": "yellow",
    "unknown": "yellow", "note": "yellow",
}  # fmt: skip
"""Of the words for how something stands."""
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of text or end its line."""


def console_of(file: IO[str]) -> Console:
    """Plain text: nothing in it is markup, and what is no terminal gets no colours."""
    width = None if file.isatty() else _WIDE
    return Console(file=file, markup=False, highlight=False, emoji=False, soft_wrap=False, width=width)


def say(text: str) -> None:
    """A remark, on stderr."""
    print(clean(text), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """A result, on stdout."""
    print(text, flush=True)


def show_value(text: str) -> None:
    """What was recorded, on stdout: as it is, but for what could steer a terminal that it is shown on."""
    show(clean(text) if sys.stdout.isatty() else text)


def json_text(value: object, *, indent: int | None = None) -> str:
    """JSON that any reader and any terminal takes: what is not a number there is null."""
    try:
        text = _json(value, indent)
    except ValueError:  # bytes that are no text, in a model, which goes its own way
        text = _json(_unpacked(value), indent)
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _json(value: object, indent: int | None) -> str:
    return to_json(value, inf_nan_mode="null", bytes_mode="base64", indent=indent, fallback=str).decode()


def _unpacked(value: object) -> object:
    """With dicts in place of models."""
    match value:
        case BaseModel():
            return _unpacked(value.model_dump())
        case dict():
            return {name: _unpacked(item) for name, item in cast("dict[object, object]", value).items()}
        case list() | tuple():
            return [_unpacked(item) for item in cast("Sequence[object]", value)]
        case _:
            return value


def show_json(value: object) -> None:
    """One JSON value, readable on a terminal and a line elsewhere."""
    show(json_text(value, indent=2 if sys.stdout.isatty() else None))


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    empty: str,
    last: Literal["whole", "folded", "cut"] = "whole",
) -> None:
    """Rows under their columns; without any, ``empty`` as a remark.

    What stands in a column is whole, however narrow the terminal is: ids and tokens are to be copied.  Only the
    ``last`` may be fitted into what is left of the width, if it is text.
    """
    cells = [[cell(value) for value in row] for row in rows]
    if not cells:
        say(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        if last != "whole" and number == len(columns) - 1:
            table.add_column(column, overflow="fold", min_width=_LEAST)
            for row in cells if last == "cut" else ():
                row[number].no_wrap, row[number].overflow = True, "ellipsis"
        else:
            longest = max(cell_len(column), *(row[number].cell_len for row in cells))
            table.add_column(column, no_wrap=True, min_width=longest)
    for row in cells:
        table.add_row(*row)
    _print(table)


def show_facts(facts: Mapping[str, object]) -> None:
    """Names and values below each other, without those that are None."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in facts.items():
        if value is not None:
            table.add_row(Text(name, style="dim"), cell(value))
    _print(table)


def _print(table: Table) -> None:
    console = console_of(sys.stdout)
    with console.capture() as captured:
        console.print(table, crop=False)
    show("\n".join(line.rstrip(" ") for line in captured.get().splitlines()))


def cell(value: object) -> Text:
    """A value as one line, in the colour of its word."""
    text = "" if value is None else since(value) if isinstance(value, datetime) else str(value)
    return Text(clean(text).replace("\n", " "), style=COLOURS.get(text.partition(" ")[0], ""))


def clean(text: str) -> str:
    """Without control characters, by which what was recorded could steer the terminal."""
    return _STEERING.sub("\ufffd", text)


def brief(value: object, longest: int = 60) -> str:
    """A value on one line, cut off where it is long."""
    text = value if isinstance(value, str) else json_text(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def since(moment: datetime, now: datetime | None = None) -> str:
    """``3m ago``, ``in 2 days``."""
    passed = (now or datetime.now(UTC)) - moment
    return f"{rough(passed)} ago" if passed >= timedelta(0) else f"in {rough(-passed)}"


def rough(duration: timedelta) -> str:
    """A duration with its largest unit alone, or in milliseconds."""
    for unit in (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)):
        if duration >= unit:
            return format_duration(unit * (duration // unit))
    return f"{duration // timedelta(milliseconds=1)}ms"


def facts_of(value: BaseModel) -> dict[str, object]:
    """The fields of a pydantic model, for JSON."""
    return value.model_dump(mode="python")
