"""The application: the routes, and what every request passes on its way to them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Any, Never

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from wrkflw.asgi import AsgiApp, Message, Receive, Scope, Send, mounted_at
from wrkflw.events import Event
from wrkflw.runtime import Runtime
from wrkflw.steps import Step
from wrkflw.triggers.endpoints import check_path

from .answers import json_of
from .callers import Callers
from .contract import document_of
from .endpoint_routes import endpoint_routes
from .gate import LOOPBACK_HOSTS, Gate, refuse
from .health_routes import HealthRoutes
from .inbox_routes import InboxRoutes
from .lifespans import lifespan
from .limits import ServerLimits
from .metrics import Metrics
from .problems import Problem, problem_of
from .routes import Answer, Group, Routes, json_answer
from .run_routes import RunRoutes
from .service import Service
from .short_routes import ShortRoutes
from .stream_routes import StreamRoutes
from .tokens import Keyring, Token
from .workflow_routes import WorkflowRoutes


def app(
    rt: Runtime,
    *,
    tokens: Sequence[Token] = (),
    hosts: Collection[str] = (),
    origins: Collection[str] = (),
    events: Sequence[Event[Any]] = (),
    steps: Sequence[Step[Never, object, Never]] = (),
    limits: ServerLimits | None = None,
    mounts: Mapping[str, AsgiApp] | None = None,
    trust_callers: bool = False,
) -> AsgiApp:
    """An ASGI application over the runs of ``rt``, to be served or mounted.

    Served by itself it opens the runtime and closes it; where it is mounted, :func:`lifespan` does.

    Args:
        rt: with the workflows that are to be seen; their endpoints (:func:`wrkflw.triggers.http`) are served too.
        tokens: who may call.  Without any, only this machine may.
        hosts: names of the server, besides those of the loopback; ``"*"`` for any, where something before it checks.
        origins: those that requests may carry besides the server's own, ``"https://app.example.org"``, for instance
            behind a proxy that rewrites ``Host``.  There is no CORS.
        events: those that a workflow written as code waits for, where its function does not name them itself.
        steps: those that it calls, likewise: their suspensions can be answered then.
        limits: of requests.
        mounts: applications by their paths, as ``{"/mail": MailHook(...)}``.  They look themselves at who calls them,
            and at how much they are sent.
        trust_callers: let everybody in, because the application that this one is mounted in has looked at them.

    Raises:
        DefinitionError: two workflows have the same endpoint, or what is mounted stands before a route.
    """
    return Application(
        rt,
        tokens=tokens,
        hosts=hosts,
        origins=origins,
        events=events,
        steps=steps,
        limits=limits or ServerLimits(),
        mounts=mounts or {},
        trust_callers=trust_callers,
    )


class Application:
    """What :func:`app` gives; :func:`serve` tells it when it ends."""

    def __init__(
        self,
        rt: Runtime,
        *,
        tokens: Sequence[Token],
        hosts: Collection[str],
        origins: Collection[str],
        events: Sequence[Event[Any]],
        steps: Sequence[Step[Never, object, Never]],
        limits: ServerLimits,
        mounts: Mapping[str, AsgiApp],
        trust_callers: bool,
    ) -> None:
        known_events = {event.name: event for event in events}
        known_steps = {step.id: step for step in steps}
        callers, metrics = Callers(Keyring(tokens), trusted=trust_callers), Metrics(rt)
        self.service = Service(rt, callers, limits, metrics, origins, known_events, known_steps)
        self.api = FastAPI(
            lifespan=lifespan(rt), openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
        )
        self.routes = Routes(self.api, self.service)
        self._contract: tuple[tuple[str, list[str]], bytes] | None = None
        self._mounts = mounts
        self._add_routes()
        for path in mounts:
            check_path(path, f"what is mounted at {path!r}")
        self._gate = Gate(self._inside, self.service, {*LOOPBACK_HOSTS, *hosts}, mounts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._gate(scope, receive, send)
        status, begun = 0, time.perf_counter()

        def noting(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            return send(message)

        try:
            await self._gate(scope, receive, noting)
        except Exception as error:  # whatever it is, it has an answer, if none has begun
            if status:
                raise
            await refuse(noting, self._problem(error, scope))
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self.service.metrics.answered(method, route, status or 500, time.perf_counter() - begun)

    def _inside(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        path = mounted_at(scope, self._mounts) if scope["type"] == "http" else None
        if path is None:
            scope["app"] = self.api
            return self.routes(scope, receive, send)
        within = {**scope, "root_path": scope.get("root_path", "") + path}
        return self._mounts[path](within, receive, send)

    def _add_routes(self) -> None:
        service, inbox = self.service, InboxRoutes(self.service)
        groups: list[Group] = [
            WorkflowRoutes(service),
            RunRoutes(service),
            inbox,
            StreamRoutes(service),
            HealthRoutes(service),
            ShortRoutes(service, inbox),
            *endpoint_routes(service),
        ]
        for group in groups:
            group.add_to(self.routes)
        self.routes.add("read", "GET /openapi.json", self.get_contract, Answer(200, "this document"))

    async def get_contract(self, request: Request) -> Response:
        """The OpenAPI document of this server."""
        mounted_at = request.scope.get("root_path", "")
        known = mounted_at, list(self.service.rt.definitions)
        if self._contract is None or self._contract[0] != known:  # a workflow may come along later
            self._contract = known, json_of(document_of(self.api, self.service, mounted_at))
        return json_answer(self._contract[1])

    def _problem(self, error: Exception, scope: Scope) -> Problem:
        if isinstance(error, HTTPException):  # of the framework: no such route, no such method
            headers, path = dict(error.headers or {}), scope["path"][:128]
            if "Allow" in headers:
                headers["Allow"] = ", ".join(self._methods_at(scope))
            known = f"takes {headers['Allow']} only" if "Allow" in headers else "is none of the paths here"
            return Problem(error.status_code, f"{path!r} {known}; GET /openapi.json lists them", headers=headers)
        return problem_of(error, self.service.rt.clock.now())

    def _methods_at(self, scope: Scope) -> list[str]:
        """All that the path takes; the framework knows of those of one route."""
        routes = [one for one in self.api.routes if isinstance(one, Route) and one.matches(scope)[0] is not Match.NONE]
        return sorted({method for one in routes for method in one.methods or ()})


_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
