"""Mail by webhook: in the forms of providers, signed, and answered when it is durable."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.clocks import ManualClock, settle
from wrkflw import DefinitionError, Runtime
from wrkflw.asgi import Message
from wrkflw.mail import (
    BasicLogin,
    Incoming,
    MailError,
    MailHook,
    MailLimits,
    Mailroom,
    MailTooLargeError,
    NoRecipientError,
    Provider,
    postmark,
    raw_mime,
    sendgrid,
)
from wrkflw.triggers import HttpRequest, StandardWebhooks, Verify

from .desk import letter, mailroom, outputs, triage

TO = "invoices@acme.test"
LOGIN = ("provider", "secret")
SIGNING = StandardWebhooks("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
RAW = letter().as_bytes()
BY_US = {"Content-Type": "message/rfc822", "X-Envelope-To": f"{TO}, other@acme.test"}


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="wrkflw")


class Desk:
    def __init__(self, room: Mailroom, client: httpx2.AsyncClient) -> None:
        self.room = room
        self.client = client

    async def runs(self) -> list[str]:
        return [run.run_id for run in (await self.room.rt.runs.list()).data]

    def signed(self, body: bytes, late: timedelta = timedelta()) -> dict[str, str]:
        return {**BY_US, **SIGNING.sign("msg_1", self.room.rt.clock.now() - late, body)}


@asynccontextmanager
async def hooked(provider: Provider, verify: Verify, **limits: int) -> AsyncIterator[Desk]:
    workflow = triage()
    workflow.on_email("invoices@*")
    async with mailroom(workflow, limits=MailLimits(**limits)) as room:
        transport = httpx2.ASGITransport(MailHook(room, provider, verify=verify), raise_app_exceptions=True)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield Desk(room, client)


# --- forms -------------------------------------------------------------------------------------------


async def test_a_signed_mail_starts_a_run_once() -> None:
    async with hooked(raw_mime, SIGNING) as desk:
        first = await desk.client.post("/mail", content=RAW, headers=desk.signed(RAW))
        again = await desk.client.post("/mail", content=RAW, headers=desk.signed(RAW))

        assert (first.status_code, again.status_code) == (200, 200)
        assert await outputs(desk.room, *await desk.runs()) == ["Hello"]


async def test_sendgrid_sends_a_form_with_the_mail_in_it() -> None:
    async with hooked(sendgrid, BasicLogin(*LOGIN)) as desk:
        envelope = {"to": [TO], "from": "ada@example.org"}
        fields = {"email": RAW, "envelope": json.dumps(envelope).encode(), "spam_score": b"0.1"}
        form = [(name, (None, content)) for name, content in fields.items()]
        answer = await desk.client.post("/mail", files=form, auth=LOGIN)

        assert answer.status_code == 200
        assert await outputs(desk.room, *await desk.runs()) == ["Hello"]


async def test_postmark_sends_an_object_with_the_mail_in_it() -> None:
    async with hooked(postmark, BasicLogin(*LOGIN)) as desk:
        told = {"From": "ada@example.org", "OriginalRecipient": TO, "RawEmail": RAW.decode(), "TextBody": "Yes"}
        answer = await desk.client.post("/mail", json=told, auth=LOGIN)

        assert answer.status_code == 200
        assert await outputs(desk.room, *await desk.runs()) == ["Hello"]


@pytest.mark.parametrize(
    ("provider", "content_type", "body"),
    [
        (raw_mime, "text/plain", RAW),
        (sendgrid, "application/json", b"{}"),
        (sendgrid, "multipart/form-data", b""),
        (sendgrid, "multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n--x--'),
        (sendgrid, "multipart/form-data; boundary=x", b"--x\r\n\r\n" * 200),
        (postmark, "application/json", b'{"TextBody": "Yes"}'),
        (postmark, "application/json", b"[]"),
        (postmark, "application/json", b"[" * 100_000),
        (postmark, "application/json", b"\xff"),
    ],
)
async def test_what_holds_no_mail_is_refused(provider: Provider, content_type: str, body: bytes) -> None:
    async with hooked(provider, BasicLogin(*LOGIN)) as desk:
        answer = await desk.client.post("/mail", content=body, headers={"Content-Type": content_type}, auth=LOGIN)

        assert answer.status_code == 422, answer.text
        assert await desk.runs() == []


@pytest.mark.parametrize(("error", "status"), [(MailTooLargeError(9, 1), 413), (NoRecipientError(()), 422)])
async def test_what_a_provider_says_about_mail_is_told(error: MailError, status: int) -> None:
    def provider(request: HttpRequest, limits: MailLimits) -> Incoming:
        raise error

    async with hooked(provider, BasicLogin(*LOGIN)) as desk:
        answer = await desk.client.post("/mail", content=RAW, auth=LOGIN)

        assert (answer.status_code, answer.json()) == (status, {"told": str(error)})


# --- refusing ----------------------------------------------------------------------------------------


async def test_what_is_not_signed_as_it_should_be_is_not_let_in() -> None:
    async with hooked(raw_mime, SIGNING) as desk:
        for headers in (
            BY_US,
            desk.signed(RAW + b" "),
            desk.signed(RAW, timedelta(hours=1)),
            {**desk.signed(RAW), "webhook-signature": "v1,x"},
        ):
            assert (await desk.client.post("/mail", content=RAW, headers=headers)).status_code == 401
        assert await desk.runs() == []


async def test_another_login_is_not_let_in() -> None:
    async with hooked(raw_mime, BasicLogin(*LOGIN)) as desk:
        for auth in (("provider", "guess"), ("", "")):
            assert (await desk.client.post("/mail", content=RAW, headers=BY_US, auth=auth)).status_code == 401
        assert (await desk.client.post("/mail", content=RAW, headers=BY_US)).status_code == 401
        assert await desk.runs() == []


@pytest.mark.parametrize("given", [False, True, "", b"msg_1"])
async def test_what_says_neither_an_id_nor_none_lets_nobody_in(given: object) -> None:
    def verify(*_: object) -> Any:  # as somebody may write it who takes it for a question
        return given

    async with hooked(raw_mime, verify) as desk:
        assert (await desk.client.post("/mail", content=RAW, headers=BY_US)).status_code == 401
        assert await desk.runs() == []


async def test_what_nobody_would_await_is_refused() -> None:
    async def function(request: HttpRequest, now: datetime) -> None:
        raise ValueError("not signed")

    async with hooked(raw_mime, SIGNING) as desk:
        for verify in (function, None):
            with pytest.raises(DefinitionError, match="verify= of a MailHook is no plain function; pass one of a re"):
                MailHook(desk.room, raw_mime, verify=verify)  # type: ignore[arg-type]


async def test_a_request_that_never_comes_to_its_end_is_answered_in_time() -> None:
    workflow, clock = triage(), ManualClock()
    workflow.on_email("invoices@*")
    answers: list[Message] = []

    async def silent() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        answers.append(message)

    async with Runtime(":memory:", workflows=[workflow], clock=clock) as rt:
        hook = MailHook(Mailroom(rt), raw_mime, verify=SIGNING)
        scope = {"type": "http", "method": "POST", "path": "/mail", "headers": []}
        answering = asyncio.ensure_future(hook(scope, silent, send))
        await settle()
        assert not answering.done()
        clock.turn(timedelta(minutes=1))
        await answering

    assert answers[0]["status"] == 408


class Slow:
    """Requests whose bodies come in pieces: nothing more comes until ``hang_up``."""

    def __init__(self, hook: MailHook) -> None:
        self._hook = hook
        self._gone = asyncio.Event()
        self.read = 0

    async def send(self, *pieces: bytes, headers: dict[str, str] | None = None) -> int:
        left, statuses = [*pieces], list[int]()

        async def receive() -> Message:
            if not left:
                await self._gone.wait()
                return {"type": "http.disconnect"}
            self.read += 1
            return {"type": "http.request", "body": left.pop(0), "more_body": True}

        async def send(message: Message) -> None:
            statuses.append(message.get("status", 0))

        encoded = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        await self._hook({"type": "http", "method": "POST", "path": "/mail", "headers": encoded}, receive, send)
        return statuses[0]

    def hang_up(self) -> None:
        self._gone.set()


@asynccontextmanager
async def slow(verify: Verify) -> AsyncIterator[Slow]:
    workflow = triage()
    workflow.on_email("invoices@*")
    async with mailroom(workflow, limits=MailLimits(size=1_000)) as room:
        yield Slow(MailHook(room, raw_mime, verify=verify))


async def test_nothing_is_read_of_who_has_another_login() -> None:
    async with slow(BasicLogin(*LOGIN)) as sender:
        assert await sender.send(b"a", headers={"authorization": "Basic guess"}) == 401
        assert sender.read == 0


async def test_what_comes_in_at_a_time_is_limited() -> None:
    async with slow(SIGNING) as sender:
        others = [asyncio.ensure_future(sender.send(b"a" * 1_500, b"a" * 500)) for _ in range(2)]
        await settle()

        assert await sender.send(b"a") == 503
        sender.hang_up()
        assert [await other for other in others] == [400, 400]
        assert await sender.send(b"a" * 2_000) == 400


async def test_refusals_tell_whether_to_send_again() -> None:
    async with hooked(raw_mime, BasicLogin(*LOGIN), size=1_000) as desk:

        async def status(content: bytes, to: str = TO) -> int:
            headers = {**BY_US, "X-Envelope-To": to}
            return (await desk.client.post("/mail", content=content, headers=headers, auth=LOGIN)).status_code

        assert await status(RAW, "nobody@acme.test") == 403
        assert await status(RAW + b"a" * 1_000) == 413
        assert await status(RAW + b"a" * 10_000) == 413
        assert (await desk.client.get("/mail", auth=LOGIN)).status_code == 405
        await desk.room.rt.world.close()
        assert await status(RAW) == 503
