"""An address on the web to which a provider sends mail: what it has answered with 200 is durable."""

from __future__ import annotations

import hmac
import json
import logging
from base64 import b64encode
from dataclasses import replace
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple

from wrkflw.asgi import Receive, Scope, Send, headers_of
from wrkflw.clock import within
from wrkflw.triggers.endpoints import HttpRequest, NotVerifiedError, Verify, check_verify, verified

from .errors import MailError, MailTooLargeError, NoRecipientError
from .mailroom import Mailroom
from .providers import Incoming, Provider

_WRAPPING = 2
"""How much larger than the mail a request may be that holds it: as text in JSON, lines end in more letters."""
_BODY_TIME = timedelta(minutes=1)
"""In which the whole of a request has to come."""
_AT_A_TIME = 2
"""How many requests of the largest size may be on their way in: nobody knows as yet who sends them."""

_log = logging.getLogger("wrkflw")


class _Answer(NamedTuple):
    status: int
    told: str


class _Refused(Exception):
    """The request ends here, with an answer."""

    def __init__(self, status: int, told: str) -> None:
        self.answer = _Answer(status, told)


class MailHook:
    """An ASGI application that takes mail from a provider, to be served or mounted: ``app.mount("/mail", hook)``.

    Starlette and FastAPI serve what is mounted so under ``/mail/``, and send who asks for ``/mail`` there, which not
    all providers follow: give them the address with the slash.  ``mounts=`` of :func:`wrkflw.server.app` takes both.

    It answers 200 once all that a mail leads to is durable; 401 to a request that is not signed as it should be, 403
    for an address that no workflow has, 413 and 422 for what is too large or no mail, which providers do not send
    again; and 503, upon which they do, when it could not be recorded, or too much comes in at a time.

    Args:
        room: takes the mail in.
        provider: what the requests look like: :func:`raw_mime`, :func:`sendgrid`, :func:`postmark`, or one of yours.
        verify: who may send, as :class:`wrkflw.triggers.StandardWebhooks` and :class:`BasicLogin` do.  One whose
            ``by_headers`` is True, as that of the latter, looks at headers alone, and is asked before a body is read.

    Raises:
        DefinitionError: ``verify`` is no plain function.
    """

    def __init__(self, room: Mailroom, provider: Provider, *, verify: Verify) -> None:
        check_verify("a MailHook", verify)
        self._room = room
        self._provider = provider
        self._verify = verify
        self._by_headers = getattr(verify, "by_headers", False) is True
        self._coming = 0
        """Bytes of requests that are not here to their end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(
                "a MailHook answers requests of HTTP only; mount it beside an application with a lifespan"
            )
        try:
            answer = await self._answer(scope, receive)
        except _Refused as refused:
            answer = refused.answer
        body = json.dumps({"told": answer.told}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> _Answer:
        """Raises _Refused for what is refused."""
        if scope["method"] != "POST":
            raise _Refused(405, "send mail with POST")
        request = HttpRequest("POST", scope["path"], {}, {}, headers_of(scope), b"")
        if self._by_headers:
            self._check(request)
        request = replace(request, body=await self._body(receive))
        if not self._by_headers:
            self._check(request)
        try:
            incoming = self._provider(request, self._room.limits)
        except MailTooLargeError as error:
            raise _Refused(413, str(error)) from error
        except (ValueError, MailError) as error:
            raise _Refused(422, str(error)) from error
        return await self._deliver(incoming)

    async def _body(self, receive: Receive) -> bytes:
        """Raises _Refused when it is too large, does not come in time, or comes with too many others."""
        most = self._room.limits.size * _WRAPPING
        body = bytearray()
        try:
            async with within(self._room.rt.clock, _BODY_TIME):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Refused(400, "the request was not sent to its end")
                    piece = message.get("body", b"")
                    if len(body) + len(piece) > most:
                        raise _Refused(413, f"a request has at most {most:,} bytes")
                    if self._coming + len(piece) > most * _AT_A_TIME:
                        raise _Refused(503, "too much comes in at a time; send it again later")
                    self._coming += len(piece)
                    body += piece
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise _Refused(408, "the request took too long") from None
        finally:
            self._coming -= len(body)

    def _check(self, request: HttpRequest) -> None:
        try:
            verified(self._verify, request, self._room.rt.clock.now())
        except NotVerifiedError as error:
            _log.warning("a mail by a webhook was turned away: %s", error)
            raise _Refused(401, "the request is not signed as it should be") from None

    async def _deliver(self, mail: Incoming) -> _Answer:
        try:
            await self._room.deliver(mail.raw, envelope_from=mail.envelope_from, envelope_to=mail.envelope_to)
        except NoRecipientError:
            return _Answer(403, "no workflow takes mail to this address")
        except MailTooLargeError as error:
            return _Answer(413, str(error))
        except Exception:  # noqa: BLE001  # whatever it is, the mail is not durable, and the provider still has it
            _log.exception("a mail by a webhook could not be taken in")
            return _Answer(503, "the mail cannot be recorded now; send it again later")
        return _Answer(200, "taken")


class BasicLogin:
    """``verify=`` for providers that can put user and password into the address, and sign nothing: HTTPS only."""

    by_headers: ClassVar = True

    def __init__(self, user: str, password: str) -> None:
        self._expected = b"Basic " + b64encode(f"{user}:{password}".encode())

    def __call__(self, request: HttpRequest, now: datetime, /) -> None:
        """Raises ValueError for any other login."""
        given = request.headers.get("authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, self._expected):
            raise ValueError("user or password is wrong")
