"""The short way under ``/workflows``: a run by an id of the caller's, in few words of its own.

Its statuses and steps are those of people who know workflows as code: ``errored``, ``terminated``, ``do``, ``sleep``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from starlette.requests import Request
from starlette.responses import Response

from wrkflw.births import Birth
from wrkflw.engine import failures
from wrkflw.engine.journal import Journal
from wrkflw.engine.records import Record, WaitRecord
from wrkflw.errors import RunFinishedError, RunNotFoundError
from wrkflw.ids import RUN_ID
from wrkflw.results import RunInfo, RunStatus
from wrkflw.run import Run
from wrkflw.schemas import plain
from wrkflw.world.errors import DamagedPayloadError

from .answers import json_of
from .inbox_routes import InboxRoutes, model_of
from .parameters import Limit, Name, RunId
from .routes import Answer, Routes, json_answer
from .service import AnyRun, Service

ShortStatus: TypeAlias = Literal["running", "sleeping", "waiting", "paused", "completed", "errored", "terminated"]
_ENDS: Mapping[RunStatus, ShortStatus] = {"completed": "completed", "failed": "errored", "cancelled": "terminated"}
_OPEN: Mapping[str, ShortStatus] = {
    "sleeping": "sleeping",
    "waiting": "waiting",
    "suspended": "waiting",
    "paused": "paused",
}
_STATUSES: Mapping[ShortStatus, list[RunStatus]] = {short: [status] for status, short in _ENDS.items()}
_STEPS = {"skipped": "completed", "cancelled": "failed", "retrying": "failed"}
_DONE = Answer(200, "done", None)
_MOST_READ = 100
"""Logs that one listing of a workflow reads."""


class NewRun(BaseModel):
    """A run to be: of which workflow, under which id, with which input."""

    model_config = ConfigDict(extra="forbid", defer_build=True)
    type: str = Field(min_length=1, max_length=128)
    id: str = Field(pattern=f"^{RUN_ID}$")
    payload: JsonValue = None


class ShortRoutes:
    def __init__(self, service: Service, inbox: InboxRoutes) -> None:
        self._service = service
        self._inbox = inbox
        self._runs = service.rt.runs

    def add_to(self, routes: Routes) -> None:
        one = "/workflows/{id}"
        made, unknown = Answer(201, "the run is recorded"), Answer(400, "there is no workflow of this type")
        routes.add("read", "GET /", self.list_types, _DONE)
        routes.add("start", "POST /workflows", self.create, made, unknown, body=NewRun.model_json_schema())
        routes.add("read", "GET /workflows", self.list_by_type, _DONE)
        routes.add("read", f"GET {one}", self.show, _DONE)
        routes.add("admin", f"POST {one}/pause", self.pause, _DONE)
        routes.add("admin", f"POST {one}/resume", self.resume, _DONE)
        routes.add("admin", f"POST {one}/terminate", self.terminate, _DONE)
        routes.add("resume", f"POST {one}/events/{{event}}", self.deliver, _DONE, body={})

    async def list_types(self) -> Response:
        """The workflows that are known here."""
        return json_answer(json_of({"status": "ok", "workflows": list(self._service.rt.definitions)}))

    async def create(self, request: Request) -> Response:
        """Record a run."""
        service = self._service
        asked = model_of(NewRun, await service.read(request))
        service.check_startable(asked.type)
        definition = service.rt.definitions.get(asked.type)
        if definition is None:
            return json_answer(json_of({"error": f'Unknown workflow type: "{asked.type}"'}), 400)
        data = definition.input_schema.load_tree(asked.payload, f"payload of workflow {asked.type!r}")
        workflow = service.workflow_of(definition)
        run: AnyRun = Run(await Birth.of(service.rt, workflow, run_id=asked.id, on_conflict="fail"))
        await run.enqueue(data)
        return json_answer(json_of({"id": asked.id, "type": asked.type, "status": "running"}), 201)

    async def show(self, id: RunId) -> Response:
        """A run with its steps; times are milliseconds since 1970."""
        info, journal = await self._runs.get(id), await self._runs.journal(id)
        error = failures.of_run(journal.error, journal.error_code) if journal.status == "failed" else None
        told = {
            "id": id,
            "type": info.workflow_id,
            "status": _short(info, journal),
            "payload": _value(journal.input),
            "result": _value(journal.output),
            "error": None if error is None else error.message,
            "steps": [_step(record) for record in _begun(journal)],
            "createdAt": _milliseconds(info.created_at),
            "updatedAt": _milliseconds(info.updated_at),
        }
        return json_answer(json_of(told))

    async def pause(self, id: RunId) -> Response:
        """Start nothing more of a run."""
        await self._runs.pause(id)
        return _said(id, "paused")

    async def resume(self, id: RunId) -> Response:
        """Let a paused run go on."""
        await self._runs.unpause(id)
        return _said(id, "running")

    async def terminate(self, id: RunId) -> Response:
        """End a run."""
        if not await self._runs.cancel(id):
            raise RunFinishedError(id, (await self._runs.get(id)).status)
        return _said(id, "terminated")

    async def deliver(self, request: Request, id: RunId, event: Name) -> Response:
        """Hand in an event, whose payload is the body."""
        body = await self._service.read(request)
        await self._inbox.send(await self._service.definition_of(id), id, event, body)
        return json_answer(json_of({"id": id, "event": event, "status": "delivered"}))

    async def list_by_type(
        self,
        type: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
        status: ShortStatus | None = None,
        limit: Limit = 50,
    ) -> Response:
        """Runs of one workflow, or of each, newest first."""
        if type is not None:
            return json_answer(json_of({"type": type, "instances": await self._instances(type, status, limit)}))
        known = self._service.rt.definitions
        found = [{"type": one, "instances": await self._instances(one, status, limit)} for one in known]
        return json_answer(json_of({"workflows": found}))

    async def _instances(self, type: str, status: ShortStatus | None, limit: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        unread = _MOST_READ
        async for info in self._infos(type, status):
            drive = self._service.rt.driver.drive_of(info.run_id)
            journal = None if drive is None else drive.journal
            if drive is None and unread and (journal := await self._held_elsewhere(info)) is not None:
                unread -= 1
            short = _short(info, journal)
            if status in (None, short):
                times = {"createdAt": _milliseconds(info.created_at), "updatedAt": _milliseconds(info.updated_at)}
                found.append({"id": info.run_id, "status": short, **times})
                if len(found) == limit:
                    break
        return found

    async def _held_elsewhere(self, info: RunInfo) -> Journal | None:
        """The journal of a run that another process has in memory, where it may wait for something short."""
        if info.status != "running" or info.waiting_for is not None:
            return None
        try:
            run = await self._runs.located(info.run_id)
            return None if run.owner is None else await self._runs.journal(info.run_id)
        except (RunNotFoundError, DamagedPayloadError):  # gone meanwhile, or unreadable: it is listed as it was
            return None

    async def _infos(self, type: str, status: ShortStatus | None) -> AsyncIterator[RunInfo]:
        """Those that may have the status."""
        statuses = None if status is None else _STATUSES.get(status, ["pending", "running"])
        cursor: str | None = None
        while True:
            page = await self._runs.list(workflow=type, status=statuses, cursor=cursor)
            for info in page.data:
                yield info
            if not page.has_more:
                return
            cursor = page.cursor


def _said(id: str, status: ShortStatus) -> Response:
    return json_answer(json_of({"id": id, "status": status}))


def _short(info: RunInfo, journal: Journal | None) -> ShortStatus:
    """``journal`` tells of waits that are too short for the run to be put away."""
    if info.status in _ENDS:
        return _ENDS[info.status]
    if info.waiting_for is not None:
        return _OPEN.get(info.waiting_for, "running")
    if journal is None or any(record.status == "running" for record in journal.records.values()):
        return "running"
    waits = [wait.kind for wait in journal.waits.values() if wait.open]
    return "running" if not waits else "sleeping" if "sleep" in waits else "waiting"


def _begun(journal: Journal) -> Iterator[Record | WaitRecord]:
    """What the run itself has begun, in order."""
    scope = journal.scopes.get("")
    for uses in () if scope is None else scope.by_id.values():
        yield from uses


def _step(record: Record | WaitRecord) -> dict[str, Any]:
    if isinstance(record, Record):
        failure = failures.load(record.error)
        return {
            "name": record.key,
            "type": "do",
            "status": _STEPS.get(record.status, record.status),
            "attempts": record.attempt,
            "result": _value(record.output),
            "error": None if failure is None else failure.message,
            "completedAt": _milliseconds(record.ended_at),
        }
    late = record.cause == "timeout"
    sleeps = record.kind == "sleep"
    name = record.key if sleeps else record.signal_type or record.key
    return {
        "name": name,
        "type": "sleep" if sleeps else "wait_for_event",
        "status": ("sleeping" if sleeps else "waiting") if record.open else "failed" if late else "completed",
        "attempts": 0,
        "result": _value(record.payload),
        "error": f'Event "{name}" timed out' if late else None,
        "completedAt": _milliseconds(record.ended_at),
    }


def _value(data: bytes | None) -> object:
    return None if data is None else plain(data)


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
