"""Being told to stop, by SIGTERM or Ctrl-C: once is asking, twice is ending at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager

from wrkflw.runtime import Runtime

from .screen import say

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def told_to_stop() -> Generator[asyncio.Event]:
    """Within: an event that is set by the first signal; a second one does what it does to any process."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def hear() -> None:
        stop.set()
        forget()

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
