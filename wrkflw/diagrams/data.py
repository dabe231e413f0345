"""An outline as data, for who draws it elsewhere."""

from __future__ import annotations

from typing import assert_never

from .outline import Box, Frame, Lanes, Part, Series


def to_json(part: Part) -> dict[str, object]:
    """Objects with a ``kind``; JSON can hold them.  What is one after the other stands in ``parts``."""
    match part:
        case Box(kind, name, detail):
            return {"kind": kind, "name": name, "detail": detail}
        case Lanes(kind, lanes):
            ways = [{"label": lane.label, "part": None if lane.part is None else to_json(lane.part)} for lane in lanes]
            return {"kind": kind, "lanes": ways}
        case Frame(kind, title, inner):
            return {"kind": kind, "title": title, "part": to_json(inner)}
        case Series(parts):
            return {"kind": "series", "parts": [to_json(one) for one in parts]}
        case _:
            assert_never(part)
