"""Applications of your own beside the routes: behind the gate, and never before a route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from wrkflw import DefinitionError, Runtime
from wrkflw.asgi import Message, Receive, Scope, Send
from wrkflw.server import AsgiApp, Token, app

from .desk import WORKFLOWS, served


def said(text: bytes) -> AsgiApp:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text})

    return application


async def test_an_application_of_your_own_is_mounted_behind_the_gate() -> None:
    async with served(mounts={"/mail": said(b"taken")}) as desk:
        answer = await desk.client.post("/mail/in", content=b"x" * 2_000_000)
        beside = await desk.client.post("/mailing", content=b"x" * 2_000_000)
        elsewhere = await desk.client.post("/mail/in", headers={"Host": "evil.example"})

    assert (answer.status_code, answer.content) == (200, b"taken")
    assert beside.status_code == 413
    assert elsewhere.status_code == 400


async def test_of_two_mounted_applications_the_inner_one_is_asked() -> None:
    asked = {"/mail": b"outer", "/mail/in": b"inner", "/mail/in/x": b"inner", "/mail/inner": b"outer"}

    async with served(mounts={"/mail": said(b"outer"), "/mail/in": said(b"inner")}) as desk:
        assert {path: (await desk.client.post(path)).content for path in asked} == asked


async def test_who_may_call_is_asked_anew_by_an_application_that_stands_in_another() -> None:
    """Whom the outer one knows, the inner one need not: it has tokens of its own."""
    text, token = Token.new("inner")
    async with Runtime(":memory:", workflows=WORKFLOWS) as rt, served(mounts={"/in": app(rt, tokens=[token])}) as desk:
        unknown = await desk.client.get("/in/api/workflows")
        known = await desk.client.get("/in/api/workflows", headers={"Authorization": f"Bearer {text}"})
        outer = await desk.client.get("/api/workflows")

    assert (unknown.status_code, known.status_code, outer.status_code) == (401, 200, 200)


async def test_of_two_applications_that_are_asked_in_turn_each_knows_its_own() -> None:
    """A site may ask one and then the other; what the first found out of the caller is no matter of the second's."""
    _, token = Token.new("guarded")
    async with Runtime(":memory:", workflows=WORKFLOWS) as rt:
        trusting, guarded = app(rt, trust_callers=True), app(rt, tokens=[token])

        async def both(scope: Scope, receive: Receive, send: Send) -> None:
            async def nowhere(_: Message) -> None: ...

            await trusting(scope, receive, nowhere)
            await guarded(scope, receive, send)

        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(both), base_url="http://localhost") as client:
            answer = await client.get("/api/workflows")

    assert answer.status_code == 401


async def test_what_a_mounted_application_raises_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(*_: object) -> None:
        raise ZeroDivisionError("a secret of the house")

    async with served(mounts={"/mail": breaks}) as desk:
        answer = await desk.client.post("/mail")
        counted = (await desk.client.get("/metrics")).text

    assert (answer.status_code, answer.json()["detail"]) == (500, "the server failed; its log says why")
    assert "a secret of the house" in caplog.text
    assert 'wrkflw_http_requests_total{method="POST",route="none",status="500"} 1' in counted


@pytest.mark.parametrize("path", ["/api", "/", "", "mail", "/workflows", "/hooks/x"])
async def test_nothing_is_mounted_before_a_route(path: str) -> None:
    async with Runtime(":memory:") as rt:
        with pytest.raises(DefinitionError, match="would stand before a route of the server"):
            app(rt, mounts={path: said(b"")})


# --- the server, mounted in a site -------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [[b'{"name":"Ada"}'], [b'{"name":', b'"Ada"}'], []], ids=["whole", "pieces", "none"])
async def test_a_site_with_middleware_hands_bodies_on(pieces: list[bytes]) -> None:
    """Its ``receive`` comes out of a scope that it cancels itself, and must be let out of it."""

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def hand_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)

    async with Runtime(":memory:", workflows=WORKFLOWS) as rt:
        site = Starlette(
            routes=[Mount("/flows", app(rt, trust_callers=True))],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=hand_on)],
        )
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(site), base_url="http://localhost") as client:
            answer = await client.post(
                "/flows/api/workflows/greeting/runs?wait=5s",
                content=body(),
                headers={"Content-Type": "application/json"},
            )

    assert answer.status_code == (200 if pieces else 422)


async def test_a_server_that_gives_up_on_a_body_is_let_to_say_so() -> None:
    """A server, or a layer before the application, may have a limit of its own."""
    sent: list[Message] = []

    async def receive() -> Message:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            pass
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async with Runtime(":memory:", workflows=WORKFLOWS) as rt:
        scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "root_path": "",
            "path": "/api/workflows/greeting/runs", "query_string": b"", "client": ("127.0.0.1", 1),
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }  # fmt: skip
        await app(rt)(scope, receive, send)

    assert sent[0]["status"] == 400
