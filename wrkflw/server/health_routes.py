"""Whether the server lives and can work, and what it counts: for those who watch over it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from wrkflw.clock import within
from wrkflw.errors import StoreError
from wrkflw.world.errors import WorldError

from . import metrics
from .problems import Refusal
from .routes import Answer, Routes, json_answer
from .service import Service

_FRESH = timedelta(seconds=1)
"""That no other proof is asked for: whoever asks for one may do so all the time."""
_PATIENCE = timedelta(milliseconds=500)
"""With a proof that is under way: another process may hold the database."""
_LASTING = timedelta(seconds=30)
"""That a proof counts while the next one takes its time."""
_NEVER = datetime.min.replace(tzinfo=UTC)
_OK = b'{"status":"ok"}'


class HealthRoutes:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._proven_at = _NEVER
        self._proof: asyncio.Future[bool] | None = None
        """Of all who ask meanwhile."""

    def add_to(self, routes: Routes) -> None:
        routes.add("open", "GET /healthz", self.get_health, Answer(200, "the process answers"))
        routes.add("open", "GET /readyz", self.get_readiness, Answer(200, "runs can be started"))
        text = Answer(200, "counters, as text for Prometheus", media="text/plain")
        routes.add("read", "GET /metrics", self.get_metrics, text)

    async def get_health(self) -> Response:
        """Whether the process answers."""
        return json_answer(_OK)

    async def get_readiness(self) -> Response:
        """Whether the runtime is open, and its database answers and can be written to."""
        self._service.check_open()
        if not await self._is_proven():
            raise Refusal(503, "the database does not answer, or takes nothing", {"Retry-After": "1"})
        return json_answer(_OK)

    async def get_metrics(self) -> Response:
        """What the server has counted since it began."""
        text = self._service.metrics.text(self._service.rt.driver.driving)
        return Response(text, media_type=metrics.MEDIA_TYPE)

    async def _is_proven(self) -> bool:
        clock = self._service.rt.clock
        if self._was_proven_within(_FRESH):
            return True
        if self._proof is None or self._proof.done():
            self._proof = asyncio.ensure_future(self._prove())
        try:
            async with within(clock, _PATIENCE):
                return await asyncio.shield(self._proof)
        except TimeoutError:
            return self._was_proven_within(_LASTING)

    def _was_proven_within(self, time: timedelta) -> bool:
        """Also when the clock was set back, no proof lasts longer."""
        return timedelta(0) <= self._service.rt.clock.now() - self._proven_at < time

    async def _prove(self) -> bool:
        storage = self._service.rt.world.storage
        try:
            await storage.runs.next_due([])
            await storage.check_writable()
        except (StoreError, WorldError):
            self._proven_at = _NEVER
            return False
        self._proven_at = self._service.rt.clock.now()
        return True
