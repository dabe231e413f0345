"""Waiting a while, with a request open, for what a run comes to."""

from __future__ import annotations

from datetime import timedelta

from wrkflw.clock import within
from wrkflw.durations import parse_duration
from wrkflw.engine.definition import Definition
from wrkflw.engine.outcomes import result_of
from wrkflw.lookout import Lookout, Seen

from .service import Service


def patience_of(service: Service, text: str | None) -> timedelta | None:
    """How long ``?wait=`` waits: not at all without one, and never longer than the server lets it."""
    return None if text is None else min(parse_duration(text), service.limits.wait)


async def outcome(service: Service, definition: Definition, run_id: str, patience: timedelta) -> Seen | None:
    """How the run stands once it has ended or parked, or ``patience`` is over; None while it moves then."""
    if patience:
        lookout = Lookout(service.rt, definition, run_id, patience)
        try:
            async with within(service.rt.clock, patience):
                return await lookout.watch()
        except TimeoutError:
            pass
    journal = await service.rt.runs.journal(run_id)
    result = result_of(journal, definition)
    return None if result is None else Seen(result, journal)
