"""What can be watched of a run, live: its events and chunks in one order, and the bytes of one stream.

Everything is read from the store, a page at a time: a reader that is slow, or never comes back, holds nothing.  News
only says that it is worth reading again.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

from .errors import InvalidValueError, RunNotFoundError
from .ids import correlation_id
from .results import StreamItem
from .world import events as e
from .world.errors import WorkflowRunNotFoundError
from .world.live import Pages, chunks_of
from .world.storage import PageRequest
from .world.streamer import LONGEST_NAME, Chunk, Item, Position, can_be_called

if TYPE_CHECKING:
    from .engine.driver import Driver
    from .runtime import Runtime

Until: TypeAlias = Literal["finished", "parked"]

_PAGE = 100
_LAST_CHUNK = 2**62
"""No run has as many chunks."""
_CURSOR = re.compile(r"(\d{1,18})(?:\.(\d{1,18})|(r))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader is: behind event ``slot``; behind the reset that belongs to it; or behind a chunk after it."""

    slot: int = 0
    number: int = 0
    is_reset: bool = False

    @classmethod
    def of(cls, cursor: str | None) -> Self:
        """Raises InvalidValueError when it is none."""
        if cursor is None:
            return cls()
        found = _CURSOR.fullmatch(cursor)
        if found is None:
            raise _no_cursor(cursor, "is no cursor of a stream")
        return cls(int(found[1]), int(found[2] or 0), found[3] is not None)

    @property
    def cursor(self) -> str:
        if self.is_reset:
            return f"{self.slot}r"
        return f"{self.slot}.{self.number}" if self.number else str(self.slot)

    @property
    def is_event(self) -> bool:
        return self.slot > 0 and self.number == 0 and not self.is_reset


class Watched:
    """A run, as its readers see it."""

    def __init__(self, runtime: Runtime, run_id: str) -> None:
        self.run_id = run_id
        self.storage = runtime.world.storage
        self.streamer = runtime.world.streamer
        self._runtime = runtime
        self._driver: Driver = runtime.driver

    async def last_slot(self) -> int:
        return (await self._runtime.runs.entity(self.run_id)).last_slot

    async def has_stopped(self, until: Until) -> bool:
        """Whether nothing more happens; with ``parked``, whether nothing does by itself."""
        run = await self._runtime.runs.entity(self.run_id)
        if run.ended or until == "finished":
            return run.ended
        if self._driver.drive_of(self.run_id) is not None:
            return False
        if run.paused_at is not None:
            return True
        return run.owner is None and (run.wake_at is None or run.wake_at > self._runtime.clock.now())

    def listening(self) -> AbstractContextManager[Awaitable[None]]:
        """To the next thing that is written to it.  Raises StoreError when the runtime is closed meanwhile."""
        return self._driver.listening(self.run_id)

    @contextmanager
    def found(self) -> Generator[None]:
        """Within: that there is no such run any more is said as everywhere."""
        try:
            yield
        except WorkflowRunNotFoundError as error:
            raise RunNotFoundError(self.run_id) from error


# --- events and chunks ---------------------------------------------------------------------------------


async def stream_of(runtime: Runtime, run_id: str, place: Place, until: Until) -> AsyncIterator[StreamItem]:
    """Events and chunks in one order, behind ``place``.  Raises RunNotFoundError, InvalidValueError."""
    run = Watched(runtime, run_id)
    if place.slot > await run.last_slot():
        raise _no_cursor(place.cursor, f"is no cursor of run {run_id!r}")
    # Whether a reset belongs to the event where the reader was, the event says: it is read once more.
    again = place.slot if place.is_event else None
    at = Position(place.slot - 1, _LAST_CHUNK) if again else Position(place.slot, place.number)
    keys = _Keys(run)
    created: str | None = None

    async def read() -> Sequence[Item]:
        with run.found():
            return await run.streamer.items(run_id, after=at, limit=_PAGE)

    pages = Pages(run.listening, read, lambda: run.has_stopped(until))
    while page := await pages.next():
        for item in page:
            if isinstance(item, Chunk):
                at = item.position
                yield _chunk_item(item)
                continue
            at = Position(item.slot)
            event = item.event
            key = await keys.of(event)
            if item.slot != again:
                yield StreamItem(Place(item.slot).cursor, "event", item, key, None, None)
            begins_again = isinstance(event, e.StepStarted) and event.correlation_id != created
            if begins_again and key is not None and await run.streamer.wrote(run_id, key, before_slot=item.slot):
                yield StreamItem(Place(item.slot, is_reset=True).cursor, "reset", None, key, None, None)
            created = event.correlation_id if isinstance(event, e.StepCreated) else None


def _chunk_item(chunk: Chunk) -> StreamItem:
    return StreamItem(Place(*chunk.position).cursor, "chunk", None, chunk.key, chunk.stream, chunk.data)


class _Keys:
    """The keys of the steps that events are about."""

    def __init__(self, run: Watched) -> None:
        self._run = run
        self._open: dict[str, str] = {}
        """Of those that have not ended: no more are kept."""

    async def of(self, event: e.NewEvent) -> str | None:
        match event:
            case e.StepCreated():
                self._open[event.correlation_id] = event.key
                return event.key
            case e.StepCompleted() | e.StepFailed():
                return self._open.pop(event.correlation_id, None) or await self._find(event.correlation_id)
            case e.StepStarted() | e.StepRetrying():
                name = event.correlation_id
                if name not in self._open and (key := await self._find(name)) is not None:
                    self._open[name] = key
                return self._open.get(name)
            case _:
                return None

    async def _find(self, step_id: str) -> str | None:
        return (await self._run.storage.steps.get(self._run.run_id, step_id, resolve_data="none")).key


# --- the bytes of one stream ---------------------------------------------------------------------------


async def bytes_of(runtime: Runtime, run_id: str, name: str, start_index: int) -> AsyncIterator[bytes]:
    """The chunks of one stream from an index on; a negative one counts from the end.

    Raises RunNotFoundError, InvalidValueError.
    """
    if not can_be_called(name):  # nothing would ever come
        cure = f"use 1 to {LONGEST_NAME} printable characters"
        raise InvalidValueError.because(repr(name)[:80], "cannot be the name of a stream", cure=cure)
    run = Watched(runtime, run_id)
    await run.last_slot()  # there is such a run
    with run.found():
        async for page in chunks_of(run.streamer, run_id, name, start_index, run.listening):
            for chunk in await _standing(run, page):
                yield chunk.data


async def _standing(run: Watched, page: Sequence[Chunk]) -> list[Chunk]:
    """Without those of a body that began again later."""
    keys = {chunk.key for chunk in page if chunk.key is not None}
    began = {key: await _last_start(run, key) for key in keys}
    return [chunk for chunk in page if chunk.key is None or chunk.after_slot >= began[chunk.key]]


async def _last_start(run: Watched, key: str) -> int:
    """The event by which the body of a step last began."""
    name, request = correlation_id("step", run.run_id, key), PageRequest(_PAGE, sort_order="desc")
    log = await run.storage.events.list_by_correlation_id(run.run_id, name, page=request, resolve_data="none")
    return next((stored.slot for stored in log.data if isinstance(stored.event, e.StepStarted)), 0)


def _no_cursor(cursor: str, problem: str) -> InvalidValueError:
    return InvalidValueError.because(f"{cursor[:80]!r}", problem, cure="pass the cursor of one of its items")
