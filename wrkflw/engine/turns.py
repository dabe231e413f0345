"""Runs that wait for their turn in a schedule which no code here has: somebody must let them begin all the same."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from wrkflw.clock import Clock, sleep_until
from wrkflw.errors import WrkflwError
from wrkflw.world import World

_AGAIN = timedelta(seconds=5)
"""How long a database that could not be read is left alone."""

_log = logging.getLogger("wrkflw")


async def until_one_waits(world: World, clock: Clock) -> None:
    """Return once a run of any schedule waits for its turn.

    Asked at once, and again when something is heard of others: who queued it may have gone.
    """
    heard = asyncio.Event()
    unsubscribe = world.subscribe(lambda run_id, _types: None if run_id else heard.set())
    try:
        while not await _one_waits(world, clock):
            await heard.wait()
            heard.clear()
    finally:
        unsubscribe()


async def _one_waits(world: World, clock: Clock) -> bool:
    while True:
        try:
            return bool(await world.storage.schedules.waiting())
        except WrkflwError:
            _log.exception("the database could not be read; looking again")
            await sleep_until(clock, clock.now() + _AGAIN)
