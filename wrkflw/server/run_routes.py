"""Runs: looking at them, and ending, pausing, waking and deleting one."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from wrkflw.results import Page, RunInfo, RunStatus, Snapshot, WaitingFor
from wrkflw.world.storage import PageRequest

from .answers import RecordedEvent, RunStanding, event_of_log, json_of, snapshot_json
from .parameters import Attributes, Cursor, Key, Limit, Moment, Reason, RunId, Wait
from .routes import Answer, Routes, json_answer
from .service import Service
from .workflow_routes import attributes_of, started

_NOW = Answer(200, "how the run stands now", RunInfo)


class EventPage(BaseModel):
    """Part of the log of a run."""

    model_config = ConfigDict(defer_build=True)
    data: list[RecordedEvent]
    cursor: str | None
    has_more: bool


class RunRoutes:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._runs = service.rt.runs

    def add_to(self, routes: Routes) -> None:
        one = "/api/runs/{run_id}"
        routes.add("read", "GET /api/runs", self.list_runs, Answer(200, "newest first", Page[RunInfo]))
        routes.add("read", f"GET {one}", self.get_run, Answer(200, "the whole of it", Snapshot))
        routes.add("read", f"GET {one}/events", self.list_events, Answer(200, "oldest first", EventPage))
        ends = Answer(200, "the run has ended", RunStanding), Answer(202, "the run goes on, or waits", RunStanding)
        routes.add("read", f"GET {one}/result", self.get_result, *ends)
        routes.add("resume", f"POST {one}/wake", self.wake_run, _NOW)
        routes.add("admin", f"POST {one}/cancel", self.cancel_run, _NOW)
        routes.add("admin", f"POST {one}/pause", self.pause_run, _NOW)
        routes.add("admin", f"POST {one}/unpause", self.unpause_run, _NOW)
        routes.add("admin", f"DELETE {one}", self.delete_run, Answer(204, "it is gone", media=""))

    # --- looking -----------------------------------------------------------------------------------

    async def list_runs(
        self,
        workflow: Annotated[str | None, Query(max_length=128)] = None,
        status: Annotated[list[RunStatus] | None, Query()] = None,
        waiting_for: WaitingFor | None = None,
        attribute: Attributes = [],  # noqa: B006  # FastAPI makes its own
        since: Moment | None = None,
        until: Moment | None = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """Runs, newest first; `since` (inclusive) and `until` are about their creation."""
        page = await self._runs.list(
            workflow=workflow,
            status=status,
            waiting_for=waiting_for,
            attributes=attributes_of(attribute) or None,
            since=since,
            until=until,
            limit=limit,
            cursor=cursor,
        )
        return json_answer(json_of(page.model_dump(mode="python")))

    async def get_run(self, run_id: RunId) -> Response:
        """The whole of a run, as its log stands now."""
        return json_answer(await snapshot_json(self._service.rt, run_id))

    async def list_events(self, run_id: RunId, limit: Limit = 100, cursor: Cursor = None) -> Response:
        """The log of a run, a page at a time."""
        await self._runs.located(run_id)
        events = self._service.rt.world.storage.events
        page = await events.list(run_id, page=PageRequest(limit, cursor))
        told = [event_of_log(stored) for stored in page.data]
        return json_answer(json_of({"data": told, "cursor": page.cursor, "has_more": page.has_more}))

    async def get_result(self, request: Request, run_id: RunId, wait: Wait = None) -> Response:
        """What a run came to; with `wait`, once it has ended or parked, or that time is over."""
        definition = await self._service.definition_of(run_id)
        return await started(self._service, request, definition, run_id, wait or "0ms")

    # --- doing -------------------------------------------------------------------------------------

    async def wake_run(self, run_id: RunId, key: Key = None) -> Response:
        """End one sleep of a run, by its key, or all that are open."""
        inbox = self._service.rt.inbox_of(await self._service.definition_of(run_id))
        return await self._after(run_id, inbox.wake(run_id, key))

    async def cancel_run(self, run_id: RunId, reason: Reason = None) -> Response:
        """End a run; one that had ended otherwise stays as it is."""
        return await self._after(run_id, self._runs.cancel(run_id, reason))

    async def pause_run(self, run_id: RunId, reason: Reason = None) -> Response:
        """Start nothing more of a run; what it does now is finished and recorded."""
        return await self._after(run_id, self._runs.pause(run_id, reason))

    async def unpause_run(self, run_id: RunId) -> Response:
        """Let a run go on."""
        return await self._after(run_id, self._runs.unpause(run_id))

    async def delete_run(self, run_id: RunId) -> Response:
        """Remove a run that has ended, and its log with it."""
        await self._runs.delete(run_id)
        return Response(status_code=204)

    async def _after(self, run_id: str, done: Coroutine[Any, Any, object]) -> Response:
        await done
        return json_answer(json_of((await self._runs.get(run_id)).model_dump(mode="python")))
