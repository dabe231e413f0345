"""Watching a run: its events and chunks as server-sent events, and the bytes of one stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response, StreamingResponse

from wrkflw.asgi import Receive, Scope, Send
from wrkflw.errors import InvalidValueError
from wrkflw.streams import Place, bytes_of, stream_of
from wrkflw.world.entities import Run
from wrkflw.world.errors import RunExpiredError
from wrkflw.world.streamer import Position

from .answers import item_of_stream, json_of
from .live import SILENT, live
from .metrics import Metrics
from .parameters import LastEventId, Name, RunId
from .problems import Refusal
from .routes import Answer, Routes
from .service import Service

_SSE = "text/event-stream"
_BYTES = "application/octet-stream"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class StreamRoutes:
    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, routes: Routes) -> None:
        one = "/api/runs/{run_id}"
        events = Answer(200, "live, until the run has ended", media=_SSE, live=True)
        no_more = Answer(204, "the run has ended, and nothing follows the cursor: not to be asked again", media="")
        routes.add("read", f"GET {one}/stream", self.stream_run, events, no_more)
        chunks = Answer(200, "the chunks, one behind the other", media=_BYTES, live=True)
        routes.add("read", f"GET {one}/streams/{{name}}", self.read_stream, chunks)

    async def stream_run(
        self,
        run_id: RunId,
        after: Annotated[str | None, Query(max_length=64)] = None,
        until: Literal["finished", "parked"] = "finished",
        last_event_id: LastEventId = None,
    ) -> Response:
        """Events and chunks of a run in one order, live.

        The id of each is its cursor: who comes again with it, as `Last-Event-ID` or `after`, goes on behind it.
        """
        place = Place.of(last_event_id or after)
        run = await self._kept(run_id)
        if place.slot > run.last_slot:
            problem = f"is no cursor of run {run_id!r}"
            raise InvalidValueError.because(f"{place.cursor!r}", problem, cure="pass the cursor of one of its items")
        if run.ended and not await self._follows(run_id, place):
            return Response(status_code=204)  # after anything else a browser comes again, for ever
        return self._open(self._frames(run_id, place, until), _SSE)

    async def read_stream(
        self, run_id: RunId, name: Name, start_index: Annotated[int, Query(ge=-(2**31), lt=2**31)] = 0
    ) -> Response:
        """The chunks of one stream of a run, from an index on, until it is closed or the run has ended."""
        await self._kept(run_id)
        return self._open(self._chunks(run_id, name, start_index), _BYTES)

    async def _follows(self, run_id: str, place: Place) -> bool:
        """Whether something stands behind the place."""
        behind = Position(place.slot, place.number)
        return bool(await self._service.rt.world.streamer.items(run_id, after=behind, limit=1))

    async def _kept(self, run_id: str) -> Run:
        """Raises RunNotFoundError, and RunExpiredError: once an answer has begun, it can be no refusal."""
        run = await self._service.rt.runs.entity(run_id)
        if run.expired_at is not None:
            raise RunExpiredError.purged(run_id, run.status, run.expired_at)
        return run

    def _open(self, content: AsyncGenerator[bytes], media: str) -> Response:
        """Raises Refusal when too many are open."""
        if self._service.metrics.streams >= self._service.limits.streams:
            raise Refusal(429, "too many streams are open; come again", {"Retry-After": "5"})
        return _Stream(content, media, self._service.metrics)

    async def _frames(self, run_id: str, place: Place, until: Literal["finished", "parked"]) -> AsyncGenerator[bytes]:
        items = stream_of(self._service.rt, run_id, place, until)
        async for item in live(items, self._service.ending, self._service.rt.clock):
            if item is SILENT:
                yield b": keep-alive\n\n"
            else:
                said = item.cursor.encode(), item.kind.encode(), json_of(item_of_stream(item))
                yield b"id: %b\nevent: %b\ndata: %b\n\n" % said

    async def _chunks(self, run_id: str, name: str, start_index: int) -> AsyncGenerator[bytes]:
        chunks = bytes_of(self._service.rt, run_id, name, start_index)
        async for chunk in live(chunks, self._service.ending, self._service.rt.clock):
            if chunk is not SILENT:
                yield chunk


class _Stream(StreamingResponse):
    """Counted from the moment it was allowed."""

    def __init__(self, content: AsyncGenerator[bytes], media: str, metrics: Metrics) -> None:
        super().__init__(content, headers=_HEADERS, media_type=media)
        self._content = content
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics.streams += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._metrics.streams -= 1
            await self._content.aclose()
