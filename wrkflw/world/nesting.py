"""How deep small JSON may nest: not so deep that whoever reads the log gives up."""

from __future__ import annotations

import re

DEEPEST = 190
"""Who reads gives up at 200, and then the log cannot be read at all."""
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
"""Texts, which may hold brackets of their own, and the brackets that count."""


def is_too_deep(text: str, *, within: int = 0) -> bool:
    """Whether JSON nests deeper than may be, where it stands ``within`` so many lists and objects."""
    most = DEEPEST - within
    return len(text) > most and text.count("[") + text.count("{") > most and _depth(text) > most


def _depth(text: str) -> int:
    """How many lists and objects of JSON stand in one another at most."""
    depth = deepest = 0
    for mark in _MARKS.findall(text):
        depth += 1 if mark in "[{" else -1 if mark in "]}" else 0
        deepest = max(deepest, depth)
    return deepest
