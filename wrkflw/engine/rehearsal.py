"""A run gone through as far as its record goes, with nothing done and nothing written: whether the code still fits it.

What a graph recorded can be compared with the graph.  What a program asks for shows only when its code runs.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from wrkflw.errors import DefinitionChangedError, NondeterminismError
from wrkflw.world import events as e

from . import failures
from .definition import Definition
from .drive import Drive
from .journal import Journal
from .recorder import Recorder
from .services import Services
from .standing import BailedError, LeftError, Parked, StepEndedError


class _SilentRecorder(Recorder):
    """Writes nothing: where something would be written, the run goes no further.  Nothing is durable before that."""

    async def _lead(self) -> None:
        raise LeftError(Parked())

    async def catch_up(self) -> None:
        """Nobody writes to a copy."""

    async def write_now(self, event: e.NewEvent) -> None:
        raise LeftError(Parked())


async def rehearse(
    services: Services, definition: Definition, journal: Journal
) -> DefinitionChangedError | NondeterminismError | None:
    """What does not fit, if something does not.  Bodies are not run; functions between steps, and programs, are."""
    copy = journal.copy()
    copy.paused_by = None
    nowhere_to_stay = replace(services, hold=timedelta.min)
    drive = Drive(nowhere_to_stay, definition, copy, 1, _nobody_waits, _SilentRecorder)
    try:
        await drive.execution.flow()
    except (DefinitionChangedError, NondeterminismError) as changed:
        return changed
    except (LeftError, BailedError, StepEndedError, *failures.BETWEEN_STEPS):
        return None
    return None


def _nobody_waits(_run_id: str) -> None:
    pass
