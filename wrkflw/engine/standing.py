"""How a run stands when its drive has gone as far as it can."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from wrkflw.results import StepError


@dataclass(frozen=True, slots=True)
class Ended:
    """The run has its last event."""


@dataclass(frozen=True, slots=True)
class Parked:
    """The run cannot move before ``until``, or before something is written to it; nobody owns it any more."""

    reason: Literal["retry", "paused", "interrupted"]
    until: datetime | None = None


Standing: TypeAlias = Ended | Parked


class StepEndedError(Exception):
    """A step failed for good: its error, as it is recorded."""

    def __init__(self, error: StepError) -> None:
        super().__init__(error.message)
        self.error = error


class LeftError(Exception):
    """The run goes no further here: it waits for long, or somebody ended or paused it."""

    def __init__(self, standing: Standing) -> None:
        super().__init__()
        self.standing = standing
