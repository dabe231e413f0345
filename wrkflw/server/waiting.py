"""Waiting a while, with a request open, for what a run comes to."""

from __future__ import annotations

import asyncio
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
    """How the run stands once it has ended or parked, ``patience`` is over or the server ends; None while it moves."""
    if patience:
        lookout = Lookout(service.rt, definition, run_id, patience)
        try:
            async with within(service.rt.clock, patience) as limit:
                ended = asyncio.ensure_future(_at_the_end(service.ending, limit))
                try:
                    return await lookout.watch()
                finally:
                    ended.cancel()
        except TimeoutError:
            pass
    journal = await service.rt.runs.journal(run_id)
    result = result_of(journal, definition)
    return None if result is None else Seen(result, journal)


async def _at_the_end(ending: asyncio.Event, limit: asyncio.Timeout) -> None:
    """Nobody waits any longer than the server lives: a connection that it ends by force hears of a failure."""
    await ending.wait()
    limit.reschedule(asyncio.get_running_loop().time())
