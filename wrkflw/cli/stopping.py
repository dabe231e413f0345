"""Being told to stop, by SIGTERM or Ctrl-C: once is asking, twice is ending at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from wrkflw.runtime import Runtime
from wrkflw.world.storage import STORE_LOST

from .screen import say

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_MOMENT = 1.0
"""Seconds in which signals are one: what starts processes, ``wrkflw dev`` for one, passes on what the terminal sent."""


@contextmanager
def told_to_stop() -> Generator[asyncio.Event]:
    """Within: an event that is set by the first signal; a second one ends the process where it is."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def hear() -> None:
        if not stop.is_set():
            stop.set()
            loop.call_later(_MOMENT, end_at_the_next)

    def end_at_the_next() -> None:
        forget()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    def forget() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, hear)
    try:
        yield stop
    finally:
        forget()


async def told(stop: asyncio.Event, runtime: Runtime, *others: asyncio.Future[None]) -> None:
    """Wait until the process is told to stop, or one of the others is over.

    Raises StoreError when nothing can be written any more: who started the process starts it anew.
    """
    lost = asyncio.Event()

    def hear(_run_id: str, types: Sequence[str]) -> None:
        if STORE_LOST in types:
            lost.set()

    forget = runtime.world.subscribe(hear, own=True)
    any_of: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait()) for event in (stop, lost)]
    try:
        await asyncio.wait([*any_of, *others], return_when=asyncio.FIRST_COMPLETED)
        if lost.is_set():
            await runtime.world.storage.settled()
    finally:
        forget()
        for each in any_of:
            each.cancel()


async def leave(runtime: Runtime, grace: str) -> None:
    """Take nothing more, and let the steps that run come to their end, for as long as ``grace``."""
    busy = runtime.driver.driving
    if busy:
        runs = "1 run" if busy == 1 else f"{busy} runs"
        say(f"stopping; the steps of {runs} have {grace} to end, and others go on with what follows")
    await runtime.drain(grace)
