"""A statement ready for the driver: its text, and the names of its placeholders in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ABSENT = 0.5
"""Bound for NULL where rows are written by the thousand: the driver takes longer for None than for all else of a row.

No column holds such a number, whatever its type, so the statement can tell it.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """Known by identity: each is made once."""

    text: str
    params: tuple[str, ...]

    def bind(self, values: Mapping[str, object]) -> list[object]:
        """The values in the order of the placeholders.  Raises KeyError naming one that is missing."""
        return [values[name] for name in self.params]
