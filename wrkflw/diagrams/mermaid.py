"""An outline as Mermaid text: a flowchart from top to bottom."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from .outline import Box, BoxKind, Frame, Lanes, Part, Series

Ends: TypeAlias = tuple[tuple[str, str], ...]
"""Nodes that an edge leaves, each with the label of that edge."""

_SHAPES: dict[BoxKind, tuple[str, str]] = {
    "end": ("([", "])"),
    "step": ("[", "]"),
    "map": ("(", ")"),
    "sleep": ("{{", "}}"),
    "event": (">", "]"),
    "code": ("[[", "]]"),
}
# What could end a label, begin markup in it, or be taken for one.
_SPECIAL = re.compile(r"[^\w \-.,:→…]")


def to_mermaid(part: Part) -> str:
    """The text of a flowchart, with a line end."""
    writer = _Writer()
    writer.write(part, ())
    return "\n".join(["flowchart TD", *writer.lines]) + "\n"


@dataclass
class _Writer:
    lines: list[str] = field(default_factory=list[str])
    depth: int = 1
    count: int = 0

    def write(self, part: Part, before: Ends) -> Ends:
        """Draw the part behind ``before``; what the next one is drawn behind."""
        match part:
            case Box(kind, name, detail):
                opens, closes = _SHAPES[kind]
                node = self._new()
                label = _escaped(name) + (f"<br/>{_escaped(detail)}" if detail else "")
                self._line(f'{node}{opens}"{label}"{closes}')
                self._join(before, node)
                return ((node, ""),)
            case Series(parts):
                for one in parts:
                    before = self.write(one, before)
                return before
            case Lanes():
                return self._lanes(part, before)
            case Frame():
                return self._frame(part, before)
            case _:
                assert_never(part)

    def _lanes(self, lanes: Lanes, before: Ends) -> Ends:
        fork = self._new()
        self._line(f'{fork}{{"{lanes.kind}"}}')
        self._join(before, fork)
        after: list[tuple[str, str]] = []
        for lane in lanes.lanes:
            begin: Ends = ((fork, lane.label),)
            after += begin if lane.part is None else self.write(lane.part, begin)
        return tuple(after)

    def _frame(self, frame: Frame, before: Ends) -> Ends:
        name = self._new()
        self._line(f'subgraph {name}["{_escaped(frame.title)}"]')
        self.depth += 1
        entry = self._new()
        self._line(f'{entry}((" "))')
        after = self.write(frame.part, ((entry, ""),))
        if frame.kind == "loop":
            for node, _ in after:
                self._line(f"{node} -.-> {entry}")
        self.depth -= 1
        self._line("end")
        self._join(before, entry)
        return after

    def _join(self, before: Ends, node: str) -> None:
        for other, label in before:
            self._line(f'{other} -->|"{_escaped(label)}"| {node}' if label else f"{other} --> {node}")

    def _new(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def _line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"#{ord(found[0])};", text)
