"""Steps over SQL: rows that point into the log, where their times and payloads are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wrkflw.world import events as e
from wrkflw.world.entities import Step
from wrkflw.world.errors import WorldError
from wrkflw.world.storage import Events, Page, PageRequest, Resolve
from wrkflw.world.writers import StepWriters

from . import compiled as sql
from . import rows
from .database import Reads, Row
from .log import event_from
from .pages import FAR, decode_cursor, encode_cursor, limit_of, page_of
from .payloads import LargePayloads
from .run_reads import RunReads
from .sealing import Reading


class SqlSteps(StepWriters):
    def __init__(self, read: Reads, runs: RunReads, payloads: LargePayloads, events: Events) -> None:
        self._read = read
        self._runs = runs
        self._payloads = payloads
        self._events = events

    async def get(self, run_id: str, step_id: str, *, resolve_data: Resolve = "all") -> Step:
        run_no, _ = self._runs.located(run_id)
        row = self._read.one(sql.STEP_BY_ID, run_no=run_no, step_id=step_id)
        if row is None:
            raise WorldError(f"run {run_id} has no step {step_id!r}", status=404)
        (step,) = await self._resolved(run_id, run_no, [rows.step_from(run_id, row)], resolve_data)
        return step

    async def list(self, run_id: str, *, page: PageRequest | None = None, resolve_data: Resolve = "none") -> Page[Step]:
        run_no, _ = self._runs.located(run_id)
        request = page or PageRequest()
        ascending = request.sort_order == "asc"
        listing = f"steps {'asc ' if ascending else ''}of {run_no}"
        (edge,) = decode_cursor(request.cursor, listing, (0 if ascending else FAR,))
        limit = limit_of(request)
        if ascending:
            found = self._read.all(sql.STEPS_AFTER, run_no=run_no, after=edge, row_limit=limit + 1)
        else:
            found = self._read.all(sql.STEPS_BEFORE, run_no=run_no, before=edge, row_limit=limit + 1)
        steps = [rows.step_from(run_id, row) for row in found]
        listed = page_of(steps, limit, request.cursor, lambda step: encode_cursor(listing, step.created_slot))
        return Page([*await self._resolved(run_id, run_no, listed.data, resolve_data)], listed.cursor, listed.has_more)

    async def _resolved(self, run_id: str, run_no: int, steps: Sequence[Step], resolve_data: Resolve) -> Sequence[Step]:
        found = [rows_of(self._read, run_no, step) for step in steps]
        reading = self._payloads.without
        if resolve_data == "all":
            self._runs.check_kept(run_id, run_no)
            every = [row for of_step in found for row in of_step.values()]
            reading = await self._payloads.read_ahead(run_id, every)
        return [resolved(step, of_step, reading) for step, of_step in zip(steps, found, strict=True)]


def rows_of(connection: Reads, run_no: int, step: Step) -> dict[int, Row]:
    """The events that the step points at, by slot."""
    pointed_at = (step.created_slot, step.started_slot, step.ended_slot, step.updated_slot, step.error_slot)
    found = {
        slot: connection.one(sql.EVENT_AT, run_no=run_no, slot=slot)
        for slot in dict.fromkeys(pointed_at)
        if slot is not None
    }
    return {slot: row for slot, row in found.items() if row is not None}


def resolved(step: Step, found: Mapping[int, Row], reading: Reading) -> Step:
    """The step with its times and payloads, from the log."""

    def event_at(slot: int | None) -> e.StoredEvent | None:
        row = None if slot is None else found.get(slot)
        return None if row is None else event_from(step.run_id, row, reading)

    created, started = event_at(step.created_slot), event_at(step.started_slot)
    ended, updated, error = event_at(step.ended_slot), event_at(step.updated_slot), event_at(step.error_slot)
    step.created_at = created.created_at if created is not None else None
    step.started_at = started.created_at if started is not None else None
    step.completed_at = ended.created_at if ended is not None else None
    step.updated_at = updated.created_at if updated is not None else None
    step.input = created.event.input if created is not None and isinstance(created.event, e.StepCreated) else None
    step.output = ended.event.result if ended is not None and isinstance(ended.event, e.StepCompleted) else None
    if error is not None and isinstance(error.event, e.StepFailed | e.StepRetrying):
        step.error = error.event.error
    if updated is not None and isinstance(updated.event, e.StepStarted):
        step.lease_owner = updated.event.owner
    return step
