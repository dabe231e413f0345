"""A workflow in execution: the run's own, or one that is nested in it."""

from __future__ import annotations

from dataclasses import dataclass

from .definition import Definition
from .lanes import Lane
from .values import Flow


@dataclass(slots=True)
class Scope:
    definition: Definition
    prefix: str
    """What the keys of its steps begin with: empty, or ``enrich[3]/``."""
    input: Flow
    state: object
    """As JSON values: what the next step of its chain will see."""
    lane: Lane

    def key_of(self, id: str) -> str:
        return self.prefix + id
