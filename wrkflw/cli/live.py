"""Showing a run while it goes on: rows that change on a terminal, a line for each end of a step elsewhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from wrkflw.run import Run
from wrkflw.runtime import Runtime

from .progress import ENDED, Progress, Row, State
from .screen import COLOURS, clean, console_of, rough, since

T = TypeVar("T")

_ICONS: dict[State, str] = {
    "running": "›", "retrying": "↻", "waiting": "…", "sleeping": "…", "suspended": "?",
    "completed": "✓", "failed": "✗", "skipped": "-",
}  # fmt: skip
_PLAIN: dict[State, str] = {
    "running": ">", "retrying": "~", "waiting": ".", "sleeping": ".", "suspended": "?",
    "completed": "+", "failed": "x", "skipped": "-",
}  # fmt: skip
_MOST = 30
"""Rows that are shown at once: the last, and of those before them how many there are."""


class Screen:
    """Where the progress of one run is shown, on stderr."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._console: Console = console_of(sys.stderr)
        self._icons = _ICONS if self._console.encoding.lower().startswith("utf") else _PLAIN
        self._spinners: dict[int, Spinner] = {}
        self._live: Live | None = None

    def __enter__(self) -> Screen:
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._whole,
                refresh_per_second=8,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live is not None:
            self._live.stop()

    def changed(self, row: Row) -> None:
        """A terminal is drawn anew by itself; elsewhere each end is a line."""
        if self._live is None and (row.state in ENDED or row.state in ("retrying", "suspended", "sleeping", "waiting")):
            took = "" if row.took is None else f" ({rough(row.took)})"
            detail = _detail(row)
            print(clean(f"{row.key} {row.state}{took}{f': {detail}' if detail else ''}"), file=sys.stderr, flush=True)

    def _whole(self) -> RenderableType:
        rows = list(self._progress.rows.values())
        grid = Table.grid(padding=(0, 1, 0, 0))
        if len(rows) > _MOST:
            grid.add_row("", Text(f"{len(rows) - _MOST} before", style="dim"))
        for row in rows[-_MOST:]:
            colour = COLOURS.get(row.state, "")
            took = "" if row.took is None else rough(row.took)
            grid.add_row(
                self._icon(row), Text(clean(row.key)), Text(_detail(row), style=colour), Text(took, style="dim")
            )
        if self._progress.paused:
            grid.add_row("", Text("paused", style="yellow"))
        return grid

    def _icon(self, row: Row) -> RenderableType:
        if row.state == "running":  # kept, so that it goes on turning
            return self._spinners.setdefault(
                id(row), Spinner("dots" if self._icons is _ICONS else "line", style="cyan")
            )
        return Text(self._icons[row.state], style=COLOURS.get(row.state, ""))


def _detail(row: Row) -> str:
    parts = [row.note] if row.note else []
    if row.attempt > 1 and row.state not in ENDED:
        parts.append(f"attempt {row.attempt}")
    if row.until is not None:
        parts.append(f"goes on {since(row.until)}" if row.state == "sleeping" else f"until {since(row.until)}")
    if row.state == "retrying" and row.until is not None:
        parts = [*parts[:-1], f"next attempt {since(row.until)}"]
    return ", ".join(parts)


@asynccontextmanager
async def shown(runtime: Runtime, run: Run[Any, Any, Any], *, quiet: bool) -> AsyncGenerator[None]:
    """Within: the run is shown as it goes on, from its first event to where it stands at the end."""
    if quiet:
        yield
        return
    progress = Progress()
    exists = asyncio.Event()

    def heard(run_id: str, event_types: object) -> None:
        if run_id in ("", run.run_id):
            exists.set()

    unsubscribe = runtime.world.subscribe(heard)
    with Screen(progress) as screen:
        following = asyncio.ensure_future(_follow(run, progress, screen, exists))
        try:
            yield
        finally:
            unsubscribe()
            following.cancel()
            await asyncio.wait([following])
        if exists.is_set():
            await _read(run, progress, screen)


async def _follow(run: Run[Any, Any, Any], progress: Progress, screen: Screen, exists: asyncio.Event) -> None:
    await exists.wait()
    async for item in run.stream():
        if (row := progress.hear(item)) is not None:
            screen.changed(row)


async def _read(run: Run[Any, Any, Any], progress: Progress, screen: Screen) -> None:
    """What was recorded since."""
    from wrkflw.errors import RunNotFoundError

    try:
        async for item in run.stream(after=progress.cursor, until="parked"):
            if (row := progress.hear(item)) is not None:
                screen.changed(row)
    except RunNotFoundError:  # it was refused
        pass


async def with_progress(runtime: Runtime, run: Run[Any, Any, Any], work: Awaitable[T], *, quiet: bool) -> T:
    """What ``work`` gives, while the run is shown."""
    async with shown(runtime, run, quiet=quiet):
        return await work
