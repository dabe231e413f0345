"""What the demo prints: plain lines; on a terminal with colour, and with a board that moves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"


class Screen:
    """``moves`` is whether standard output is a terminal, where lines can be painted over."""

    def __init__(self) -> None:
        self.moves = sys.stdout.isatty()
        self._colours = self.moves and "NO_COLOR" not in os.environ
        self._broken: list[str] = []

    def title(self, text: str) -> None:
        print(f"\n{self.paint(text, BOLD)}\n")

    def say(self, text: str = "") -> None:
        print(f"  {text}" if text else "", flush=True)

    def tick(self, text: str) -> None:
        """A word of a line that is not at its end; ``say`` ends it."""
        print(f" {text}", end=" ", flush=True)

    def quote(self, text: str) -> None:
        """Something that was not written by the demo: a mail, JSON, a query."""
        for line in text.splitlines():
            print(self.paint(f"    {line}", DIM))
        print()

    def check(self, claim: str, holds: bool) -> None:
        """A claim, and whether it held.  One that did not makes the demo fail."""
        if not holds:
            self._broken.append(claim)
        self.say(f"{self.paint('ok', GREEN) if holds else self.paint('NOT SO', RED)}  {claim}")

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        lines = [list(head), *map(list, rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for number, cells in enumerate(lines):
            text = "   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
            self.say(self.paint(text, DIM) if number == 0 else text)
        print()

    def verdict(self) -> int:
        """The exit code."""
        if self._broken:
            self.say(self.paint(f"{len(self._broken)} of the claims above did not hold", RED))
            return 1
        self.say(self.paint("everything that was claimed held", GREEN))
        return 0

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text


_LOOKS = {
    "step_started": ("▸", CYAN, "{}"),
    "step_retrying": ("↻", YELLOW, "{}: put off, will be tried again"),
    "run_failed": ("✗", RED, "{}: failed"),
}
_NEWS = {"step_completed", "run_completed", *_LOOKS}


class Board:
    """One row for each run, painted over as its events are recorded; off a terminal, one line when there is news."""

    def __init__(self, screen: Screen, names: dict[str, str], steps: Sequence[str]) -> None:
        self._screen = screen
        self._names = names  # by run id
        self._steps = steps
        self._done = dict.fromkeys(names, 0)
        self._looks = dict.fromkeys(names, _LOOKS["step_started"])
        self._width = max(map(len, names.values()))
        if screen.moves:
            self._paint()

    def heard(self, run_id: str, event_types: Sequence[str]) -> None:
        """A listener for ``world.subscribe``: told of what was recorded of a run, once it is durable."""
        news = [event_type for event_type in event_types if event_type in _NEWS]
        if run_id not in self._names or not news:
            return
        for event_type in news:
            self._done[run_id] += event_type == "step_completed"
            self._looks[run_id] = _LOOKS.get(event_type, self._looks[run_id])
        if self._screen.moves:
            print(f"\x1b[{len(self._names)}A", end="")
            self._paint()
        elif news[-1] in ("step_retrying", "run_completed", "run_failed"):
            self._screen.say(self._row(run_id))

    def _paint(self) -> None:
        for run_id in self._names:
            print("\x1b[2K", end="")
            self._screen.say(self._row(run_id))

    def _row(self, run_id: str) -> str:
        done, left, paint = self._done[run_id], len(self._steps) - self._done[run_id], self._screen.paint
        marks, standing = [paint("●", GREEN)] * done, paint("done", GREEN)
        if left:
            mark, colour, text = self._looks[run_id]
            marks += [paint(mark, colour), *"·" * (left - 1)]
            standing = text.format(self._steps[done])
        return f"{self._names[run_id].ljust(self._width)}   {' '.join(marks)}   {standing}"
