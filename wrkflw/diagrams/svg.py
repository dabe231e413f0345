"""An outline as SVG: every part measured, then drawn inside the room it was measured to need.

Each part is entered at the middle of its upper edge and left at the middle of its lower one.  Colours follow the
reader's choice of light or dark.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, assert_never
from xml.sax.saxutils import escape

from .outline import Box, Frame, Lane, Lanes, Part, Series

_GAP = 26
"""Between one part and the next below it; an arrow stands there."""
_BESIDE = 28
_PAD = 18
_TITLE = 20
_FORK = 38
"""Above the lanes, where the ways part; the label of each stands there."""
_JOIN = 22
_MARGIN = 16
_BACK = 26
"""Beside what is done again, for the way back."""
_LETTER = 7.4
_SMALL_LETTER = 6.2
_LONGEST = 44
"""Characters of a line that are shown; the whole of it stands in the title of its box."""

# No variables: not all that shows SVG knows them.
_COLOURS = """.wrkflw .paper {{ fill: {paper}; }} .wrkflw text {{ fill: {ink}; }}
.wrkflw .detail, .wrkflw .label {{ fill: {faint}; }}
.wrkflw .box {{ fill: {box}; stroke: {line}; }} .wrkflw .step {{ fill: {step}; stroke: {edge}; }}
.wrkflw .sleep, .wrkflw .event {{ fill: {wait}; stroke: {waits}; }}
.wrkflw .frame, .wrkflw .way {{ stroke: {line}; }} .wrkflw .tip {{ fill: {line}; }}"""
_LIGHT = _COLOURS.format(
    ink="#1f2933", faint="#5f6b78", line="#8a97a6", paper="#ffffff", box="#f4f7fa",
    step="#e8f1fb", edge="#4a7fb5", wait="#fdf3dc", waits="#b98a1d",
)  # fmt: skip
_DARK = _COLOURS.format(
    ink="#e4e9ef", faint="#9aa7b5", line="#66727f", paper="#14191f", box="#1e252d",
    step="#1c2f43", edge="#6ba3d9", wait="#3a3017", waits="#d3a642",
)  # fmt: skip
_STYLE = f"""
.wrkflw text {{ font: 13px system-ui, sans-serif; text-anchor: middle; }}
.wrkflw .detail, .wrkflw .label {{ font-size: 11px; }}
.wrkflw .frame, .wrkflw .way {{ fill: none; }} .wrkflw .way {{ stroke-width: 1.4; }}
.wrkflw .frame {{ stroke-dasharray: 4 3; }} .wrkflw .frame.workflow {{ stroke-dasharray: none; }}
{_LIGHT}
@media (prefers-color-scheme: dark) {{ {_DARK} }}
""".strip()

Draw: TypeAlias = "Callable[[float, float], list[str]]"
"""What draws a part, given the middle of its upper edge."""


@dataclass(frozen=True)
class _Measured:
    """A part: the room it needs, and what draws it there."""

    width: float
    height: float
    draw: Draw
    is_pointed_at: bool = False
    """Whether an arrow ends at its upper edge, and not inside of it."""


def to_svg(part: Part, title: str = "") -> str:
    """A whole SVG document.  ``title`` is what it is read out as."""
    whole = _measure(part)
    width, height = whole.width + 2 * _MARGIN, whole.height + 2 * _MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="wrkflw" role="img" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>',
        f'<rect class="paper" width="{width:g}" height="{height:g}"/>',
        *whole.draw(width / 2, _MARGIN),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _measure(part: Part) -> _Measured:
    match part:
        case Box():
            return _box(part)
        case Series(parts):
            return _series([_measure(one) for one in parts])
        case Lanes():
            return _lanes(part)
        case Frame():
            return _frame(part)
        case _:
            assert_never(part)


def _box(box: Box) -> _Measured:
    name, detail = _cut(box.name), _cut(box.detail)
    width = max(_width(name, _LETTER), _width(detail, _SMALL_LETTER), 60) + 2 * 14
    height = 44.0 if detail else 30.0
    round_by = height / 2 if box.kind in ("end", "map") else 6

    def draw(x: float, y: float) -> list[str]:
        whole = f"{box.name}: {box.detail}" if box.detail else box.name
        lines = [
            f"<g><title>{escape(whole)}</title>",
            f'<rect class="box {box.kind}" x="{x - width / 2:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
            f'rx="{round_by:g}"/>',
            _text(name, x, y + 19.5),
        ]
        return [*lines, *([_text(detail, x, y + 35, "detail")] if detail else ()), "</g>"]

    return _Measured(width, height, draw, is_pointed_at=True)


def _series(parts: list[_Measured]) -> _Measured:
    height = sum(part.height for part in parts) + _GAP * (len(parts) - 1)

    def draw(x: float, y: float) -> list[str]:
        lines: list[str] = []
        for number, part in enumerate(parts):
            if number:
                lines.append(_way(f"M{x:g} {y:g}V{y + _GAP:g}", tip=part.is_pointed_at))
                y += _GAP
            lines += part.draw(x, y)
            y += part.height
        return lines

    return _Measured(max((part.width for part in parts), default=0), max(height, 0), draw)


def _lanes(lanes: Lanes) -> _Measured:
    measured = [(lane, _lane(lane)) for lane in lanes.lanes]
    inner = max(way.height for _, way in measured)
    width = sum(way.width for _, way in measured) + _BESIDE * (len(measured) - 1)

    def draw(x: float, y: float) -> list[str]:
        lines: list[str] = []
        at, below = x - width / 2, y + _FORK + inner
        for lane, way in measured:
            middle = at + way.width / 2
            lines.append(_way(f"M{x:g} {y:g}V{y + 8:g}H{middle:g}V{y + _FORK:g}", tip=way.is_pointed_at))
            lines.append(_way(f"M{middle:g} {y + _FORK + way.height:g}V{below + _JOIN - 8:g}H{x:g}V{below + _JOIN:g}"))
            if lane.label:
                lines.append(_label(_cut(lane.label), middle, y + _FORK - 9))
            lines += way.draw(middle, y + _FORK)
            at += way.width + _BESIDE
        return lines

    return _Measured(width, _FORK + inner + _JOIN, draw)


def _lane(lane: Lane) -> _Measured:
    wide = _width(_cut(lane.label), _SMALL_LETTER) + 8
    if lane.part is None:
        return _Measured(max(wide, 24), 0, lambda x, y: [])
    part = _measure(lane.part)
    return _Measured(max(part.width, wide), part.height, part.draw, part.is_pointed_at)


def _frame(frame: Frame) -> _Measured:
    part, title = _measure(frame.part), _cut(frame.title)
    beside = 2 * _BACK if frame.kind == "loop" else 0
    width = max(part.width + beside, _width(title, _SMALL_LETTER)) + 2 * _PAD
    above = _TITLE + _PAD
    height = above + part.height + _PAD

    def draw(x: float, y: float) -> list[str]:
        left, top, bottom = x - width / 2, y + above, y + above + part.height
        lines = [
            f'<rect class="frame {frame.kind}" x="{left:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8"/>',
            _way(f"M{x:g} {y:g}V{top:g}", tip=part.is_pointed_at),
            _label(title, left + 10 + _width(title, _SMALL_LETTER) / 2, y + 15),
            *part.draw(x, top),
            _way(f"M{x:g} {bottom:g}V{y + height:g}"),
        ]
        if frame.kind == "loop":
            right = x + part.width / 2 + _BACK - 8
            lines.append(_way(f"M{x:g} {bottom + 7:g}H{right:g}V{top - 9:g}H{x + 3:g}", tip=True))
        return lines

    return _Measured(width, height, draw)


# --- what it is drawn with ---------------------------------------------------------------------------


def _way(path: str, *, tip: bool = False) -> str:
    end = ' marker-end="url(#tip)"' if tip else ""
    return f'<path class="way" d="{path}"{end}/>'


def _text(text: str, x: float, y: float, role: str = "name") -> str:
    return f'<text class="{role}" x="{x:g}" y="{y:g}">{escape(text)}</text>'


def _label(text: str, x: float, y: float) -> str:
    """Small, and over the lines that it is about, which it covers."""
    wide = _width(text, _SMALL_LETTER)
    cover = f'<rect class="paper" x="{x - wide / 2:g}" y="{y - 10:g}" width="{wide:g}" height="13"/>'
    return f"{cover}{_text(text, x, y, 'label')}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _width(text: str, letter: float) -> float:
    return letter * sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)
