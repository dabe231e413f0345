"""Schedules: how far each was considered, and the runs that its instants make, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from wrkflw.clock import Clock, from_microseconds, to_microseconds
from wrkflw.world.errors import ScheduleNotFoundError
from wrkflw.world.schedules import (
    MOST_MISSED,
    SCHEDULES_CHANGED,
    Instant,
    Missed,
    Moved,
    NewSchedule,
    Overlap,
    Schedule,
    key_of,
    prefix_of_keys,
)
from wrkflw.world.storage import RUN_DUE
from wrkflw.worlds.writer import Writer

from . import compiled as sql
from . import rows
from .append import Appender
from .database import Connection, Notice, Reads, Row
from .payloads import LargePayloads
from .request import Append

_CHANGED: Notice = ("", (SCHEDULES_CHANGED,))


class _Line(NamedTuple):
    """The open runs of a schedule whose runs do not overlap, in the order in which they were created."""

    begun: Sequence[tuple[int, str]] = ()
    waiting: Sequence[tuple[int, str]] = ()

    @property
    def ahead(self) -> str | None:
        """Whom a new run comes after.  One that waits counts, though its turn may have come just now."""
        return next((run_id for _, run_id in (*self.begun, *self.waiting)), None)


class SqlSchedules:
    def __init__(self, writer: Writer, read: Reads, append: Appender, payloads: LargePayloads, clock: Clock) -> None:
        self._writer = writer
        self._read = read
        self._append = append
        self._payloads = payloads
        self._namespace = payloads.namespace
        self._clock = clock

    # --- what the code and people say of them ------------------------------------------------------

    async def define(self, schedules: Sequence[NewSchedule]) -> Sequence[Schedule]:
        def work(connection: Connection) -> Sequence[Schedule]:
            return [self._define(connection, new) for new in schedules]

        return await self._writer.submit(work)

    async def get(self, schedule_id: str) -> Schedule:
        return self._found(self._read, schedule_id)

    async def list(self, *, after_version: int = 0) -> list[Schedule]:
        found = self._read.all(sql.SCHEDULES_AFTER, namespace=self._namespace, version=after_version)
        return [_schedule_from(row) for row in found]

    async def missed(self, schedule_id: str) -> Sequence[Missed]:
        self._found(self._read, schedule_id)
        found = self._read.all(sql.MISSED_OF, here=self._namespace, id=schedule_id)
        return [Missed(from_microseconds(moment), reason) for moment, reason in found]

    async def pause(self, schedule_id: str) -> Schedule:
        def work(connection: Connection) -> Schedule:
            found = self._found(connection, schedule_id)
            if found.paused_at is not None:
                return found
            return self._change(connection, found, found.definition, found.cursor, self._clock.now())

        return await self._writer.submit(work)

    async def resume(self, schedule_id: str) -> Schedule:
        def work(connection: Connection) -> Schedule:
            found = self._found(connection, schedule_id)
            if found.paused_at is None:
                return found
            return self._change(connection, found, found.definition, self._from_now(found), None)

        return await self._writer.submit(work)

    def _define(self, connection: Connection, new: NewSchedule) -> Schedule:
        row = connection.one(sql.SCHEDULE_BY_ID, here=self._namespace, id=new.schedule_id)
        if row is None:
            version = self._tell(connection)
            now = to_microseconds(self._clock.now())
            values = {**new._asdict(), "cursor": now, "paused_at": None, "last_run_id": None, "version": version}
            connection.run(sql.SCHEDULE_INSERT, namespace=self._namespace, **values)
            return self._found(connection, new.schedule_id)
        found = _schedule_from(row)
        if found.definition == new:
            return found
        if found.overlap == "allow" != new.overlap:  # until now its open runs were in nobody's way
            begin = prefix_of_keys(found.schedule_id)
            place = {"namespace": self._namespace, "id": found.schedule_id}
            connection.run(sql.SCHEDULED_ADOPT, first=begin, last=f"{begin}~", **place)
        same = (found.timing, found.timezone) == (new.timing, new.timezone)
        return self._change(connection, found, new, found.cursor if same else self._from_now(found), found.paused_at)

    def _change(
        self, connection: Connection, found: Schedule, new: NewSchedule, cursor: datetime, paused_at: datetime | None
    ) -> Schedule:
        values = new._asdict()
        connection.run(
            sql.SCHEDULE_UPDATE,
            here=self._namespace,
            id=values.pop("schedule_id"),
            cursor=to_microseconds(cursor),
            paused_at=rows.stored(paused_at),
            version=self._tell(connection),
            **values,
        )
        return self._found(connection, found.schedule_id)

    def _from_now(self, found: Schedule) -> datetime:
        """Never back: a clock may have been turned back since."""
        return max(found.cursor, self._clock.now())

    def _tell(self, connection: Connection) -> int:
        """The number of this change, which listeners hear of."""
        if _CHANGED not in connection.notices[-1:]:
            connection.notices.append(_CHANGED)
        row = connection.one(sql.SCHEDULES_VERSION, namespace=self._namespace)
        return 1 + ((row[0] or 0) if row is not None else 0)

    def _found(self, connection: Reads, schedule_id: str) -> Schedule:
        row = connection.one(sql.SCHEDULE_BY_ID, here=self._namespace, id=schedule_id)
        if row is None:
            raise ScheduleNotFoundError(schedule_id)
        return _schedule_from(row)

    # --- what their instants make ------------------------------------------------------------------

    async def move(self, expected: Schedule, to: datetime, instants: Sequence[Instant]) -> Moved:
        now = await self.get(expected.schedule_id)
        if not _stands_as(now, expected):  # another process was faster: that can be seen without writing
            return Moved(now, moved=False)
        requests = await self._requests(instants)

        def work(connection: Connection) -> Moved:
            found = self._found(connection, expected.schedule_id)
            if not _stands_as(found, expected):
                return Moved(found, moved=False)
            return self._make(connection, found, instants, requests, to, found.overlap, by_hand=False)

        return await self._writer.submit(work)

    async def make(self, schedule_id: str, instants: Sequence[Instant], *, overlap: Overlap) -> Moved:
        requests = await self._requests(instants)

        def work(connection: Connection) -> Moved:
            found = self._found(connection, schedule_id)
            moved = self._make(connection, found, instants, requests, found.cursor, overlap, by_hand=True)
            if moved.ahead is not None:  # those who let others begin do not know of it
                connection.notices.append(_CHANGED)
            return moved

        return await self._writer.submit(work)

    async def waiting(self) -> Sequence[str]:
        return [schedule_id for (schedule_id,) in self._read.all(sql.SCHEDULES_WAITING, namespace=self._namespace)]

    async def next_turn(self, schedule_id: str) -> str | None:
        def work(connection: Connection) -> str | None:
            self._found(connection, schedule_id)
            line = self._line(connection, schedule_id)
            if not line.waiting:
                return None
            (run_no, run_id), *behind = line.waiting
            if line.begun and line.begun[0][0] < run_no:  # one that was triggered later runs beside it
                return line.begun[0][1]
            connection.run(sql.SCHEDULED_BEGIN, no=run_no, now=to_microseconds(self._clock.now()))
            connection.notices.append((run_id, [RUN_DUE]))
            return run_id if behind else None

        return await self._writer.submit(work)

    async def _requests(self, instants: Sequence[Instant]) -> dict[str, Append]:
        """What creates the runs, by their ids; large inputs are kept ahead."""
        requests: dict[str, Append] = {}
        for instant in instants:
            if instant.run_id is not None and instant.creation is not None:
                request = requests[instant.run_id] = Append(instant.run_id, [instant.creation])
                if large := self._payloads.large_among(instant.run_id, request.events):
                    request.large = await self._payloads.keep_ahead(large)
        return requests

    def _make(
        self,
        connection: Connection,
        found: Schedule,
        instants: Sequence[Instant],
        requests: dict[str, Append],
        cursor: datetime,
        overlap: Overlap,
        *,
        by_hand: bool,
    ) -> Moved:
        """Create the runs, as if the overlap of the schedule was this one.  There is a line only where it has one."""
        lines_up = found.overlap != "allow"
        overlap = overlap if lines_up else "allow"
        line = self._line(connection, found.schedule_id) if lines_up or by_hand else _Line()
        ahead = line.ahead if lines_up else None
        done = self._made(connection, found, instants)
        made, missed, waits = list[str](), dict[int, str](), False
        for instant in instants:
            moment = to_microseconds(instant.at)
            if _key_of(found, instant) in done:
                continue
            if (reason := _why_missed(instant, ahead, overlap)) is not None:
                missed[moment] = reason
            elif instant.run_id is not None:
                run_no = self._append(connection, requests[instant.run_id]).run_no
                made.append(instant.run_id)
                connection.run(sql.MISSED_FORGET, here=self._namespace, id=found.schedule_id, moment=moment)
                if lines_up or _key_of(found, instant) is None:  # by its key it could be found later
                    connection.many(sql.SCHEDULED_INSERT, [(self._namespace, found.schedule_id, run_no)])
                if ahead is None:
                    ahead = instant.run_id
                elif overlap == "queue":
                    connection.run(sql.SCHEDULED_HOLD, no=run_no)
                    waits = True
        self._miss(connection, found.schedule_id, missed)
        told = [Missed(from_microseconds(moment), reason) for moment, reason in missed.items()]
        last = {"cursor": to_microseconds(cursor), "last_run_id": made[-1] if made else None}
        connection.run(sql.SCHEDULE_MOVE, here=self._namespace, id=found.schedule_id, **last)
        return Moved(self._found(connection, found.schedule_id), True, made, ahead if waits else None, told)

    def _made(self, connection: Connection, found: Schedule, instants: Sequence[Instant]) -> set[str]:
        """The keys of those that have a run: it may have been asked for by hand, or be of another workflow."""
        keys = [key for instant in instants if (key := _key_of(found, instant)) is not None]
        if not keys:
            return set()
        span = {"namespace": self._namespace, "first": min(keys), "last": max(keys)}
        return {key for (key,) in connection.all(sql.SCHEDULED_MADE, **span)}

    def _miss(self, connection: Connection, schedule_id: str, missed: dict[int, str]) -> None:
        """Remember the instants that made no run, and of all of them the newest."""
        if not missed:
            return
        found = [(self._namespace, schedule_id, moment, reason) for moment, reason in missed.items()]
        connection.many(sql.MISSED_WRITE, found)
        connection.run(sql.MISSED_TRIM, here=self._namespace, id=schedule_id, row_limit=MOST_MISSED)

    def _line(self, connection: Connection, schedule_id: str) -> _Line:
        connection.run(sql.SCHEDULED_FORGET, here=self._namespace, id=schedule_id)
        open_runs = connection.all(sql.SCHEDULED_OPEN, here=self._namespace, id=schedule_id)
        begun = [(run_no, run_id) for run_no, run_id, waits in open_runs if not waits]
        return _Line(begun, [(run_no, run_id) for run_no, run_id, waits in open_runs if waits])


def _schedule_from(row: Row) -> Schedule:
    _, schedule_id, workflow_name, timing, timezone, catchup, overlap, cursor, paused_at, last_run_id, version = row
    return Schedule(
        schedule_id, workflow_name, timing, timezone, catchup, overlap,
        from_microseconds(cursor), rows.moment(paused_at), last_run_id, version,
    )  # fmt: skip


def _why_missed(instant: Instant, ahead: str | None, overlap: Overlap) -> str | None:
    """Why an instant makes no run, if it makes none."""
    if ahead is not None and overlap == "skip":
        return f"run {ahead!r} of the schedule was still open"
    return instant.failure


def _key_of(found: Schedule, instant: Instant) -> str | None:
    """The key of its run; None for one that is of no instant."""
    created = instant.creation
    return key_of(found.schedule_id, instant.at) if created is None else created.idempotency_key


def _stands_as(found: Schedule, expected: Schedule) -> bool:
    """Whether it may be moved on by who has seen it so."""
    return found.paused_at is None and found.cursor == expected.cursor and found.definition == expected.definition
