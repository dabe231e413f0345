"""Applications of your own beside the routes: behind the gate, and never before a route."""

from __future__ import annotations

import pytest

from wrkflw import DefinitionError, Runtime
from wrkflw.asgi import Receive, Scope, Send
from wrkflw.server import AsgiApp, app

from .desk import served


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
