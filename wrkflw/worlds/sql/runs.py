"""Runs: who owns them, and when they are due."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from wrkflw.clock import Clock, to_microseconds
from wrkflw.world.entities import Run
from wrkflw.world.errors import EntityConflictError, FencedError, RunExpiredError, RunPausedError, WorldError
from wrkflw.world.live import Subscribe
from wrkflw.world.storage import RUN_DUE, RUN_PARKED, Events, RunFence
from wrkflw.world.writers import RunWriters
from wrkflw.worlds.writer import Writer

from . import compiled as sql
from . import rows
from .arguments import utf8
from .database import Connection, Reads
from .images import Images
from .mailbox import Mailbox
from .payloads import LargePayloads, release
from .run_reads import RunReads


class SqlRuns(RunReads, RunWriters):
    def __init__(
        self,
        writer: Writer,
        read: Reads,
        images: Images,
        mailbox: Mailbox,
        payloads: LargePayloads,
        clock: Clock,
        owner_is_live: Callable[[Connection, str], bool],
        subscribe: Subscribe,
        *,
        recovers: bool,
    ) -> None:
        super().__init__(read, images, payloads, clock, subscribe)
        self._writer = writer
        self._mailbox = mailbox
        self._owner_is_live = owner_is_live
        self._recovers = recovers

    def writes_to(self, events: Events) -> None:
        """Where what is written by name goes: the log, which is made of these reads."""
        self._events = events

    async def claim(self, run_id: str, *, owner: str) -> Run:
        if not owner:
            raise WorldError("a run is claimed by somebody; give owner=, such as world.owner")
        utf8("the owner of a run", owner)

        def work(connection: Connection) -> Run:
            run_no, run = self.located(run_id, connection)
            if run.ended:
                raise RunExpiredError(run_id, run.status, "claim")
            if run.paused_at is not None:
                raise RunPausedError(run_id, "claim")
            if run.owner is not None:
                if self._owner_is_live(connection, run.owner):
                    raise EntityConflictError(f"run {run_id} is being worked on by {run.owner}")
                self._take_over(connection, run.owner)
                run_no, run = self.located(run_id, connection)
            return run if run.ended else self._take(connection, run_no, run, owner)

        run = await self._writer.submit(work)
        if run.ended:  # just now: it has lost too many processes
            raise RunExpiredError(run_id, run.status, "claim")
        return run

    async def claim_due(self, *, owner: str, workflow_names: Sequence[str], limit: int) -> Sequence[Run]:
        if limit < 0:  # which to SQL is no limit at all
            raise WorldError(f"{limit} runs cannot be claimed; give a limit from 0")

        def work(connection: Connection) -> list[Run]:
            if self._recovers:
                self._free_the_dead(connection)
            due = connection.all(
                sql.RUNS_DUE,
                namespace=self._namespace,
                workflow_names=json.dumps(list(workflow_names)),
                now=to_microseconds(self._clock.now()),
                row_limit=limit,
            )
            return [self._take(connection, row[0], rows.run_from(row), owner) for row in due]

        return await self._writer.submit(work)

    async def release(self, run_id: str, fence: RunFence, *, seen_slot: int, wake_at: datetime | None) -> bool:
        def work(connection: Connection) -> bool:
            run_no, run = self.located(run_id, connection)
            if run.epoch != fence.epoch:
                self._images.forget(run_id)
                raise FencedError(run_id, f"epoch {fence.epoch}", f"epoch {run.epoch}")
            if run.last_slot > seen_slot:
                return False
            if run.ended:
                self._images.forget(run_id)
            else:
                run.owner, run.wake_at, run.seen_slot = None, wake_at, seen_slot
                self._save(connection, run_no, run)
                self._images.park(run)
                due = wake_at is not None and wake_at <= self._clock.now()
                connection.notices.append((run_id, [RUN_DUE if due else RUN_PARKED]))
                self._mailbox.forgive(connection, run_no)
            return True

        return await self._writer.submit(work)

    async def next_due(self, workflow_names: Sequence[str]) -> datetime | None:
        row = self._read.one(sql.NEXT_DUE, namespace=self._namespace, workflow_names=json.dumps(list(workflow_names)))
        return rows.moment(row[0]) if row is not None else None

    async def delete(self, run_id: str) -> None:
        def work(connection: Connection) -> None:
            run_no, run = self.located(run_id, connection)
            if not run.ended:
                raise EntityConflictError(f"run {run_id} is {run.status!r}; cancel it before you delete it")
            self._mailbox.run_deleted(connection, run_id, run_no)
            large = [row[0] for row in connection.all(sql.PAYLOADS_OF_RUN, run_no=run_no)]
            for statement in (
                sql.EVENTS_DELETE, sql.STEPS_DELETE, sql.HOOKS_DELETE, sql.WAITS_DELETE, sql.SIGNALS_DELETE,
                sql.ATTRIBUTES_CLEAR, sql.CHUNKS_DELETE, sql.STREAMS_DELETE, sql.EXPIRED_DELETE, sql.RUNS_DELETE,
            ):  # fmt: skip
                connection.run(statement, run_no=run_no)
            release(connection, self._namespace, large)

        await self._writer.submit(work)

    async def wake(self, run_id: str) -> bool:
        def work(connection: Connection) -> bool:
            now = to_microseconds(self._clock.now())
            woken = connection.run(sql.RUN_WAKE, id=run_id, namespace=self._namespace, now=now) > 0
            if woken:
                connection.notices.append((run_id, [RUN_DUE]))
            return woken

        return await self._writer.submit(work)

    def _take(self, connection: Connection, run_no: int, run: Run, owner: str) -> Run:
        claimed = replace(run, owner=owner, epoch=run.epoch + 1, wake_at=None)
        self._save(connection, run_no, claimed)
        return claimed

    def _save(self, connection: Connection, run_no: int, run: Run) -> None:
        values: dict[str, Any] = rows.run_values(run, self._namespace)
        connection.run(sql.RUN_UPDATE, no=run_no, **values)

    def _free_the_dead(self, connection: Connection) -> None:
        for (owner,) in connection.all(sql.OWNERS, namespace=self._namespace):
            if not self._owner_is_live(connection, owner):
                self._take_over(connection, owner)

    def _take_over(self, connection: Connection, gone: str) -> None:
        """Runs of a process that is gone become due now; one that has lost too many processes is given up.

        Those of another namespace are left to its own workers, who count what they have lost.
        """
        hopeless = self._mailbox.count_crashes(connection, gone)
        now = to_microseconds(self._clock.now())
        connection.run(sql.RUNS_TAKE_OVER, owner=None, now=now, gone=gone, namespace=self._namespace)
        connection.run(sql.OWNER_DELETE, owner=gone)
        for run_id, workflow_name, times in hopeless:
            self._mailbox.give_up(connection, run_id, workflow_name, times)
