"""Being told to stop, by SIGTERM or Ctrl-C: once is asking, twice is ending at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager

from wrkflw.runtime import Runtime

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


async def leave(runtime: Runtime, grace: str) -> None:
    """Take nothing more, and let the steps that run come to their end, for as long as ``grace``."""
    busy = runtime.driver.driving
    if busy:
        runs = "1 run" if busy == 1 else f"{busy} runs"
        say(f"stopping; the steps of {runs} have {grace} to end, and others go on with what follows")
    await runtime.drain(grace)
