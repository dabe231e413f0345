"""Reading along: what has been written, then what is new, each time it is asked for.

Everything is read from the store, a page at a time: a reader that is slow, or never comes back, holds nothing.  News
only says that it is worth reading again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, TypeAlias, TypeVar

from .streamer import Chunk, Streamer

T = TypeVar("T")
Listening: TypeAlias = Callable[[], AbstractContextManager[Awaitable[None]]]
"""Begins to listen; what it gives is done when there is news, and nothing is left behind when it is left."""
Subscribe: TypeAlias = Callable[[Callable[[str, Sequence[str]], None]], Callable[[], None]]
"""That of a World."""


@contextmanager
def listening_to(run_id: str, subscribe: Subscribe) -> Generator[asyncio.Future[None]]:
    """A future of the next thing that is written to the run, by whomever."""
    news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def hear(about: str, _types: Sequence[str]) -> None:
        if (not about or about == run_id) and not news.done():  # without an id, anything may have been written
            news.set_result(None)

    end = subscribe(hear)
    try:
        yield news
    finally:
        end()


class Pages(Generic[T]):
    """What ``read`` gives, and then what is new, until ``is_over``."""

    def __init__(
        self,
        listening: Listening,
        read: Callable[[], Awaitable[Sequence[T]]],
        is_over: Callable[[], Awaitable[bool]],
    ) -> None:
        self._listening = listening
        self._read = read
        self._is_over = is_over

    async def next(self) -> Sequence[T]:
        """What follows, once there is something; nothing when it is over.  Raises what reading raises."""
        over = False
        while True:
            with self._listening() as news:  # first, so that nothing falls between
                page = await self._read()
                if page or over:
                    return page
                over = await self._is_over()  # and whatever was written before that is read now
                if not over:
                    await news


async def chunks_of(
    streamer: Streamer, run_id: str, name: str, start_index: int, listening: Listening
) -> AsyncIterator[Sequence[Chunk]]:
    """The chunks of one stream by the page, live, until it ends."""
    cursor: str | None = None
    done = False

    async def read() -> Sequence[Chunk]:
        nonlocal cursor, done
        page = await streamer.get_chunks(run_id, name, cursor=cursor, start_index=start_index)
        cursor, done = page.cursor, page.done
        return page.data

    async def is_over() -> bool:
        return done

    pages = Pages(listening, read, is_over)
    while page := await pages.next():
        yield page
