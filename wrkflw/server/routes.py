"""The table of routes: each with the permission it needs, and what it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, cast

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import Match

from wrkflw.asgi import Receive, Scope, Send

from .bodies import JSON
from .calling import Calling, Endpoint
from .problems import MEDIA_TYPE
from .service import Service
from .tokens import PERMISSIONS, Permission

Access: TypeAlias = Permission | Literal["open", "signed", "token in path"]
"""What lets a request in: a permission; or nothing, what it is signed with, the token that it is addressed to."""
PROBLEM = "Problem"
_OF_JSON = ((b"content-type", JSON.encode()), (b"cache-control", b"no-store"))
_REFUSED: dict[str, Any] = {
    "description": "refused",
    "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{PROBLEM}"}}},
}


class Answer(NamedTuple):
    """What a route answers when it does what it was asked."""

    status: int
    meaning: str
    model: Any = None
    media: str = JSON
    live: bool = False
    """Whether it goes on for as long as the run does."""


class Routes:
    """The routes of an application.  There is no other way in, so none can do without saying who may come."""

    def __init__(self, api: FastAPI, service: Service) -> None:
        self._api = api
        self._service = service
        self._routes: list[tuple[APIRoute, bool]] = []
        """Each with whether its answer is live."""
        self.access: dict[tuple[str, str], Access] = {}
        """By method and path."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Straight to the endpoint, past layers of FastAPI's which take longer, and have something to do for few.

        ``HEAD`` is answered as ``GET`` is (RFC 9110, section 9.3.2); the server leaves the body out.
        """
        asks_for_head = scope["method"] == "HEAD"
        asked = {**scope, "method": "GET"} if asks_for_head else scope
        for route, is_live in () if "fastapi.telemetry" in scope else self._routes:
            match, found = route.matches(asked)
            if match is Match.FULL and not (asks_for_head and is_live):
                scope.update(found)
                return route.app(scope, receive, send)
        return self._api.router(scope, receive, send)  # what is none of them is for FastAPI to tell

    def add(
        self,
        access: Access,
        request: str,
        endpoint: Endpoint,
        *answers: Answer,
        body: Mapping[str, Any] | None = None,
        body_required: bool = True,
        name: str | None = None,
        documented: bool = True,
    ) -> None:
        """``request`` is method and path; ``body`` the JSON schema of what it takes.

        ``name`` is that of the operation in the document, if not the endpoint's.
        """
        method, path = request.split(" ")
        self.access[method, path] = access
        told: dict[str, Any] = {"x-access": access}
        permission: Permission | None = next((one for one in PERMISSIONS if one == access), None)
        if permission is not None and self._service.callers.has_tokens:
            told["security"] = [{"bearer": []}]
        if body is not None:
            told["requestBody"] = {"required": body_required, "content": {JSON: {"schema": dict(body)}}}
        responses: dict[int | str, dict[str, Any]] = {one.status: _response(one) for one in answers}
        responses["default"] = _REFUSED
        self._api.add_api_route(
            path,
            endpoint,
            methods=[method],
            status_code=answers[0].status,
            response_class=Response,
            responses=responses,
            operation_id=name or getattr(endpoint, "__name__", path),
            openapi_extra=told,
            include_in_schema=documented,
        )
        route = cast("APIRoute", self._api.routes[-1])
        check = None if permission is None else partial(self._service.check, permission=permission)
        route.app = Calling(endpoint, route.dependant, check, is_ours=route.path.startswith("/api/"))
        self._routes.append((route, any(answer.live for answer in answers)))


class Group(Protocol):
    """Routes that belong together."""

    def add_to(self, routes: Routes) -> None: ...


def json_answer(content: bytes, status: int = 200) -> Response:
    """JSON, which nobody is to keep: what it tells moves on."""
    return _JsonAnswer(content, status)


class _JsonAnswer(Response):
    """All have the same headers, but for the length, and need not go through how the framework makes them."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), *_OF_JSON]


def _response(answer: Answer) -> dict[str, Any]:
    if answer.model is None:
        content: dict[str, Any] = {answer.media: {}} if answer.media else {}
        if answer.status >= HTTPStatus.BAD_REQUEST:  # beside a refusal in words of its own, there are ours
            content |= _REFUSED["content"]
        return {"description": answer.meaning, "content": content}
    return {"description": answer.meaning, "model": answer.model}
