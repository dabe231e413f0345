"""Whether the server lives and can work, and what it counts: for those who watch over it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from wrkflw.errors import StoreError
from wrkflw.world.errors import WorldError

from . import metrics
from .problems import Refusal
from .routes import Answer, Routes, json_answer
from .service import Service

_PROOF = timedelta(seconds=1)
_OK = b'{"status":"ok"}'


class HealthRoutes:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._proven_until = datetime.min.replace(tzinfo=UTC)
        """How long it counts that something could be written: whoever asks may do so all the time."""

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
        storage, now = self._service.rt.world.storage, self._service.rt.clock.now()
        try:
            await storage.settled()
            await storage.runs.next_due([])
            if now >= self._proven_until:
                await storage.check_writable()
                self._proven_until = now + _PROOF
        except (StoreError, WorldError):
            raise Refusal(503, "the database does not answer, or takes nothing", {"Retry-After": "1"}) from None
        return json_answer(_OK)

    async def get_metrics(self) -> Response:
        """What the server has counted since it began."""
        text = self._service.metrics.text(self._service.rt.driver.driving)
        return Response(text, media_type=metrics.MEDIA_TYPE)
