"""How a run, or a part of it, stands when it has gone as far as it can."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from wrkflw.results import StepError

from .values import Flow


@dataclass(frozen=True, slots=True)
class Ended:
    """The run has its last event."""


@dataclass(frozen=True, slots=True)
class Parked:
    """It cannot move before ``until``, or before one of ``on`` stirs: hooks that are answered, waits that are over."""

    until: datetime | None = None
    on: frozenset[str] = frozenset()
    paused: bool = False
    """Whether it is the run that was paused: nothing else stirs it then."""

    @classmethod
    def together(cls, parts: Iterable[Parked]) -> Parked:
        """What all of ``parts`` wait for."""
        parts = tuple(parts)
        untils = [part.until for part in parts if part.until is not None]
        on = frozenset[str]().union(*(part.on for part in parts))
        return cls(min(untils, default=None), on, any(part.paused for part in parts))


Standing: TypeAlias = Ended | Parked


class StepEndedError(Exception):
    """A step failed for good: its error, as it is recorded."""

    def __init__(self, error: StepError) -> None:
        super().__init__(error.message)
        self.error = error


class BailedError(Exception):
    """A step ended its workflow early, with this output."""

    def __init__(self, output: Flow) -> None:
        super().__init__()
        self.output = output


class LeftError(Exception):
    """It goes no further now: it waits, or somebody ended or paused the run."""

    def __init__(self, standing: Standing) -> None:
        super().__init__()
        self.standing = standing
