"""Reading along with something that has no end of its own: with signs of life, and no longer than the server lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from enum import Enum
from typing import Any, Final, Literal, TypeAlias, TypeVar

from wrkflw.clock import Clock
from wrkflw.errors import RunNotFoundError, StoreError

T = TypeVar("T")

KEEP_ALIVE = timedelta(seconds=15)
"""How long nothing is sent before a sign of life is, lest somebody between takes the connection for dead."""


class _Sign(Enum):
    SILENT = "silent"


SILENT: Final = _Sign.SILENT
Silent: TypeAlias = Literal[_Sign.SILENT]


async def live(items: AsyncIterator[T], ending: asyncio.Event, clock: Clock) -> AsyncGenerator[T | Silent]:
    """The items, and SILENT whenever none came for a while; until they end, or ``ending`` is set."""
    ended = asyncio.ensure_future(ending.wait())
    following: asyncio.Future[T] | None = None
    try:
        while not ended.done():
            following = following or asyncio.ensure_future(anext(items))
            await _first_of(following, ended, clock)
            if following.done():
                try:
                    item = following.result()
                except (StopAsyncIteration, StoreError, RunNotFoundError):  # its end, a closed runtime, a deleted run
                    return
                following = None
                yield item
            elif not ended.done():
                yield SILENT
    finally:
        ended.cancel()
        await _close(items, following)


async def _first_of(following: asyncio.Future[Any], ended: asyncio.Future[Any], clock: Clock) -> None:
    """Until one of them is done, or it was silent for long."""
    if following.done():
        return
    silence = asyncio.Event()
    silent = asyncio.ensure_future(silence.wait())
    timer = clock.call_at(clock.now() + KEEP_ALIVE, silence.set)
    try:
        await asyncio.wait((following, ended, silent), return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        silent.cancel()


async def _close(items: AsyncIterator[T], following: asyncio.Future[T] | None) -> None:
    if following is not None:
        following.cancel()
        await asyncio.wait({following})
        if not following.cancelled():
            following.exception()  # it was asked for, and is of no interest any more
    if isinstance(items, AsyncGenerator):
        await items.aclose()
