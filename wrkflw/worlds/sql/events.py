"""The log over SQL: events written one by one or as a batch, and read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import get_args

from wrkflw.clock import Clock
from wrkflw.ids import Randomness, new_ulid
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.errors import DamagedPayloadError, KeyTakenError, RunExpiredError, WorldError
from wrkflw.world.queue import NewMessage
from wrkflw.world.storage import BatchResult, Claim, EventResult, Fence, OnConflict, Page, PageRequest, Resolve
from wrkflw.worlds.writer import Writer

from . import compiled as sql
from .answers import Answers, Asked, Written, written_by
from .append import Appender
from .arguments import aware, one_of
from .database import Connection, NoTextError, Reads, Row
from .identifiers import check_correlation_id, check_new_run_id, check_run_id, slot_of
from .log import event_from, log_from
from .mailbox import Mailbox
from .pages import FAR, decode_cursor, encode_cursor, limit_of, page_of
from .payloads import LargePayloads
from .request import Append, Appended
from .run_reads import RunReads
from .sealing import Reading
from .writable import FROM_OUTSIDE, TAKES_OVER, check_batch, checked

_ON_CONFLICT: tuple[OnConflict, ...] = get_args(OnConflict)


class SqlEvents:
    def __init__(
        self,
        writer: Writer,
        read: Reads,
        runs: RunReads,
        append: Appender,
        answers: Answers,
        mailbox: Mailbox,
        payloads: LargePayloads,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._writer = writer
        self._read = read
        self._runs = runs
        self._append = append
        self._answers = answers
        self._mailbox = mailbox
        self._payloads = payloads
        self._clock = clock
        self._randomness = randomness

    async def create(
        self,
        run_id: str | None,
        event: e.NewEvent,
        *,
        fence: Fence | None = None,
        claim: Claim | None = None,
        expect_slot: int | None = None,
        resume_id: str | None = None,
        resume_digest: str | None = None,
        wake_at: datetime | None = None,
        on_conflict: OnConflict = "fail",
        event_count: int | None = None,
        since: str | None = None,
        resolve_data: Resolve = "all",
        skip_preload: bool = False,
        messages: Sequence[NewMessage] = (),
    ) -> EventResult:
        event = checked(event, resume_id, resume_digest)
        one_of("on_conflict", on_conflict, _ON_CONFLICT)
        if wake_at is not None:
            aware("wake_at", wake_at)
        run_id = self._id_for(run_id, event)
        if claim is not None and (fence is not None or event.event_type not in FROM_OUTSIDE):
            raise WorldError(f"who writes {event.event_type!r} cannot claim the run by it; use runs.claim()")
        for message in messages:
            self._mailbox.check(message)
        request = Append(run_id, [event], fence, claim, expect_slot, resume_id, wake_at, messages=messages)
        if large := self._payloads.large_among(run_id, request.events):
            request.large = await self._payloads.keep_ahead(large)
        asked = Asked(event_count, since, resolve_data, skip_preload)
        done = await self._writer.submit(self._write, request, asked, on_conflict)
        return done if isinstance(done, EventResult) else await self._answers.of(done, asked)

    def _id_for(self, run_id: str | None, event: e.NewEvent) -> str:
        """The id of the run that the event is for: a new one for a creation that has none.  Raises WorldError (400)."""
        if run_id is None:
            if not isinstance(event, e.RunCreated):
                raise WorldError(f"{event.event_type!r} needs a run id; only 'run_created' may leave it to the World")
            return f"wrun_{new_ulid(self._clock.now(), self._randomness)}"
        if isinstance(event, e.RunCreated):
            check_new_run_id(run_id, self._clock.now())
        elif isinstance(event, e.RunStarted) and event.creation is not None:
            check_run_id(run_id)  # it may have been made at any time
        return run_id

    def _write(
        self, connection: Connection, request: Append, asked: Asked, on_conflict: OnConflict
    ) -> Written | EventResult:
        """One event, in its transaction; of a creation whose key is held, what ``on_conflict`` says."""
        self._answers.check(connection, request.run_id, asked)
        event = request.events[0]
        try:
            appended = self._append(connection, request)
        except KeyTakenError as taken:
            if on_conflict == "fail" or not isinstance(event, e.RunCreated):
                raise
            holder = self._runs.read(taken.run_id, connection)
            if on_conflict == "use_existing":
                if holder.expired_at is not None:  # its input is gone, so nobody can say whether this is the same
                    raise RunExpiredError.purged(holder.run_id, holder.status, holder.expired_at) from taken
                if holder.input != event.input:
                    raise
                return self._answers.existing(holder)
            if on_conflict == "allow_if_finished" and not holder.ended:
                raise
            appended = self._take_key(connection, holder, request)
        return written_by(appended, request)

    def _take_key(self, connection: Connection, holder: Run, request: Append) -> Appended:
        """Create a run with the key of another, which is ended if need be."""
        if not holder.ended:
            end = e.RunCancelled(cancel_reason=f"{request.run_id} has taken its idempotency key")
            self._append(connection, Append(holder.run_id, [end]))
        run_no, _ = self._runs.located(holder.run_id, connection)
        connection.run(sql.RUN_KEY_FREE, no=run_no, idempotency_key=None)
        return self._append(connection, request)

    async def create_batch(
        self,
        run_id: str,
        events: Sequence[e.NewEvent],
        *,
        fence: Fence | None = None,
        claim: Claim | None = None,
        expect_slot: int | None = None,
        messages: Sequence[NewMessage] = (),
    ) -> BatchResult:
        check_batch(events, fence=fence, claim=claim)
        takes_over = claim is not None and events[0].event_type in TAKES_OVER
        if claim is not None and not takes_over:
            check_new_run_id(run_id, self._clock.now())
        for message in messages:
            self._mailbox.check(message)
        request = Append(
            run_id, events, fence, claim, expect_slot,
            atomic=claim is not None, takes_over=takes_over, messages=messages,
        )  # fmt: skip
        if large := self._payloads.large_among(run_id, events):
            request.large = await self._payloads.keep_ahead(large)
        appended = await self._writer.submit(self._append, request)
        run = appended.image.run
        assert run is not None
        return BatchResult(run.epoch, run.last_slot, appended.outcomes, appended.at, appended.refused)

    async def get(self, run_id: str, event_id: str, *, resolve_data: Resolve = "all") -> e.StoredEvent:
        run_no, _ = self._runs.located(run_id)
        slot = slot_of(event_id)
        row = None if slot is None else self._read.one(sql.EVENT_AT, run_no=run_no, slot=slot)
        if row is None:
            raise WorldError(f"run {run_id} has no event {event_id!r}", status=404)
        return event_from(run_id, row, await self._reading(run_id, run_no, [row], resolve_data))

    async def _reading(self, run_id: str, run_no: int, found: Sequence[Row], resolve_data: Resolve) -> Reading:
        if resolve_data == "none":
            return self._payloads.without
        self._runs.check_kept(run_id, run_no)
        return await self._payloads.read_ahead(run_id, found)

    async def list(
        self, run_id: str, *, after_slot: int = 0, page: PageRequest | None = None, resolve_data: Resolve = "all"
    ) -> Page[e.StoredEvent]:
        run_no, _ = self._runs.located(run_id)
        request = page or PageRequest(limit=FAR)
        descending = request.sort_order == "desc"
        after_slot = min(after_slot, FAR)
        listing = f"events {'desc ' if descending else ''}of {run_no}"
        (edge,) = decode_cursor(request.cursor, listing, (FAR if descending else 0,))
        limit = request.limit if page is None else limit_of(request)
        found: Sequence[Row]
        if descending:
            found = self._read.all(sql.EVENTS_BEFORE, run_no=run_no, after=after_slot, before=edge, row_limit=limit + 1)
        else:
            after = max(edge, after_slot)
            found = self._after(run_id, run_no, after, limit + 1)
        reading = await self._reading(run_id, run_no, found, resolve_data)
        log = log_from(run_id, run_no, found, self._read, reading)
        return page_of(log, limit, request.cursor, lambda event: encode_cursor(listing, event.slot))

    def _after(self, run_id: str, run_no: int, after: int, most: int) -> Sequence[Row]:
        """Raises DamagedPayloadError, naming the slot, for a row that cannot even be fetched."""
        try:
            return self._read.all(sql.EVENTS_AFTER, run_no=run_no, after=after, row_limit=most)
        except NoTextError as error:
            slot = after + 1
            with suppress(NoTextError):
                while (row := self._read.one(sql.EVENTS_AFTER, run_no=run_no, after=slot - 1, row_limit=1)) is not None:
                    slot = row[0] + 1
            raise DamagedPayloadError(run_id, f"slot {slot}", "what it holds is no text any more") from error

    async def list_by_correlation_id(
        self, run_id: str, correlation_id: str, *, page: PageRequest | None = None, resolve_data: Resolve = "all"
    ) -> Page[e.StoredEvent]:
        run_no, _ = self._runs.located(run_id)
        check_correlation_id(correlation_id)
        request = page or PageRequest()
        descending = request.sort_order == "desc"
        listing = f"events {'desc ' if descending else ''}about {correlation_id} of {run_no}"
        (edge,) = decode_cursor(request.cursor, listing, (FAR if descending else 0,))
        limit = limit_of(request)
        found = self._about(run_no, correlation_id, edge, limit + 1, descending=descending)
        reading = await self._reading(run_id, run_no, found, resolve_data)
        log = log_from(run_id, run_no, found, self._read, reading)
        return page_of(log, limit, request.cursor, lambda event: encode_cursor(listing, event.slot))

    def _about(self, run_no: int, name: str, edge: int, most: int, *, descending: bool) -> Sequence[Row]:
        """The events about what has this id: between where it began and where it ended, and nowhere else."""
        of_entities = {"run_no": run_no, "step_id": name, "hook_id": name, "wait_id": name}
        spans: list[tuple[int, int | None]] = self._read.all(sql.SPANS_OF, **of_entities)
        once = [
            row[0]
            for statement in (sql.CONFLICT_OF, sql.ATTRIBUTE_CLAIM)
            if (row := self._read.one(statement, run_no=run_no, correlation_id=name)) is not None
        ]
        if not spans and not once:
            return []
        first = min([begin for begin, _ in spans] + once)
        last = max([FAR if end is None else end for _, end in spans] + once)
        about = {
            "run_no": run_no,
            "subjects": json.dumps([begin for begin, _ in spans]),
            "slots": json.dumps(once),
            "row_limit": most,
        }
        if descending:
            return self._read.all(sql.EVENTS_ABOUT_BEFORE, first=first, before=min(edge, last + 1), **about)
        return self._read.all(sql.EVENTS_ABOUT, after=max(edge, first - 1), last=last, **about)
