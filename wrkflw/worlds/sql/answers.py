"""What a write is answered with: the event, the entities as they are now, and what its writer had not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.world.entities import Hook, Run, Step, Wait, copy_of
from wrkflw.world.errors import WorldError
from wrkflw.world.storage import EventResult, Page, Resolve

from . import compiled as sql
from .database import Connection, Reads, Row
from .hooks import add_created
from .log import log_from
from .pages import FAR, MOST, decode_cursor, encode_cursor, page_of
from .payloads import LargePayloads
from .request import Append, Appended
from .run_reads import RunReads
from .sealing import Reading
from .steps import resolved, rows_of

_NOTHING: Page[e.StoredEvent] = Page([], None, has_more=False)


class Asked(NamedTuple):
    """What the writer wants to hear."""

    event_count: int | None = None
    since: str | None = None
    resolve_data: Resolve = "all"
    skip_preload: bool = False


class Written(NamedTuple):
    """What a write came to, copied in its transaction: what is kept of the run goes on changing."""

    run_no: int
    event: e.NewEvent
    """The one that was asked for."""
    stored: e.StoredEvent | None
    run: Run
    step: Step | None
    hook: Hook | None
    wait: Wait | None
    step_created: bool
    claimed: bool
    own: int | None
    """The slot of what was appended."""


class Answers:
    """``max_events`` is how many events a run may have."""

    def __init__(self, read: Reads, runs: RunReads, payloads: LargePayloads, max_events: int) -> None:
        self._read = read
        self._runs = runs
        self._payloads = payloads
        self._max_events = max_events

    def check(self, connection: Connection, run_id: str, asked: Asked) -> None:
        """Raises WorldError (400) for what cannot be told, before anything is written."""
        if asked.event_count is not None and not 0 <= asked.event_count < FAR:
            raise WorldError(f"event_count is {asked.event_count}; give the number of events that are at hand")
        if asked.since is not None:
            run_no, _ = self._runs.located(run_id, connection)
            decode_cursor(asked.since, _listing(run_no), (0,))

    def existing(self, run: Run) -> EventResult:
        """A run that was there, and nothing written."""
        return EventResult(run, max_events=self._max_events)

    async def of(self, written: Written, asked: Asked) -> EventResult:
        """Once the write is durable: a large payload may be far away.

        What cannot be read is left out, for the write stands; whoever reads it hears what is wrong.
        """
        try:
            return await self._answer(written, asked)
        except StoreError:
            answer = await self._answer(written, asked._replace(resolve_data="none"))
            return replace(answer, event=_shown(written.stored, asked.resolve_data))  # it is at hand

    async def _answer(self, written: Written, asked: Asked) -> EventResult:
        run, step, run_no = copy_of(written.run), written.step, written.run_no
        if step is not None:
            found = rows_of(self._read, run_no, step)
            step = resolved(copy_of(step), found, await self._reading(run.run_id, [*found.values()], asked))
        if isinstance(written.event, e.RunCreated) and written.own is not None and asked.resolve_data == "none":
            pass  # nothing is known of it but what its creation says
        elif written.event.event_type in _OF_RUNS:
            run = await self._runs.resolved(run_no, run, asked.resolve_data)
        else:
            run.attributes = dict(self._read.all(sql.ATTRIBUTES_OF_RUN, run_no=run_no))
        hook = written.hook
        if hook is not None and asked.resolve_data == "none":
            hook = replace(hook, metadata=None)
        told = await self._told(written, asked)
        return EventResult(
            run,
            _shown(written.stored, asked.resolve_data),
            step,
            hook,
            written.wait,
            written.step_created,
            written.claimed,
            self._max_events,
            told.data,
            told.cursor,
            told.has_more,
        )

    async def _told(self, written: Written, asked: Asked) -> Page[e.StoredEvent]:
        """The events that the writer asked for, or is likely to ask for next."""
        if asked.since is not None:
            (after,) = decode_cursor(asked.since, _listing(written.run_no), (0,))
            return await self._page(written, after, asked)
        if asked.event_count is not None:
            page = await self._page(written, asked.event_count, asked)
            return Page([stored for stored in page.data if stored.slot != written.own], None, page.has_more)
        if written.event.event_type == "run_started" and not asked.skip_preload:
            return await self._page(written, 0, asked)
        return _NOTHING

    async def _page(self, written: Written, after: int, asked: Asked) -> Page[e.StoredEvent]:
        run_id, run_no = written.run.run_id, written.run_no
        found = self._read.all(sql.EVENTS_AFTER, run_no=run_no, after=after, row_limit=MOST + 1)
        log = log_from(run_id, run_no, found, self._read, await self._reading(run_id, found, asked))
        return page_of(log, MOST, asked.since, lambda stored: encode_cursor(_listing(run_no), stored.slot))

    async def _reading(self, run_id: str, found: Sequence[Row], asked: Asked) -> Reading:
        if asked.resolve_data == "none":
            return self._payloads.without
        return await self._payloads.read_ahead(run_id, found)


def written_by(appended: Appended, request: Append) -> Written:
    """What a write came to; to be asked in its transaction."""
    image, event = appended.image, request.events[0]
    about = getattr(event, "correlation_id", None) or ""
    stored, step, wait = appended.again, appended.step, image.waits.get(about)
    if stored is None and appended.last is not None:
        slot, last = appended.last
        stored = e.StoredEvent(image.run_id, slot, last, request.epoch, appended.at)
    assert image.run is not None
    return Written(
        appended.run_no,
        event,
        stored,
        copy_of(image.run),
        None if step is None else copy_of(step),
        _hook(appended, about, stored),
        None if wait is None else copy_of(wait),
        appended.step_created,
        appended.claimed,
        None if appended.last is None else appended.last[0],
    )


_OF_RUNS = frozenset({
    "run_created", "run_started", "run_completed", "run_failed", "run_cancelled", "run_paused", "run_resumed",
    "attr_set",
})  # fmt: skip
"""Events that are answered with all of the run."""


def _listing(run_no: int) -> str:
    """The name of a run's log, oldest first, in cursors."""
    return f"events of {run_no}"


def _shown(stored: e.StoredEvent | None, resolve_data: Resolve) -> e.StoredEvent | None:
    if stored is None or resolve_data == "all" or stored.event.payload is None:
        return stored
    return stored._replace(event=stored.event.model_copy(update={stored.event.payload: None}))


def _hook(appended: Appended, about: str, stored: e.StoredEvent | None) -> Hook | None:
    hook = appended.image.hooks.get(about)
    if hook is None:
        return None
    copy = copy_of(hook)
    if stored is not None and stored.event_type == "hook_created":
        add_created(copy, stored)
    return copy
