"""The endpoint of deliveries, as a plain ASGI application."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeAlias, cast

from pydantic_core import to_json

from wrkflw.clock import Clock, SystemClock, within
from wrkflw.world.errors import WorldError
from wrkflw.world.messages import decode
from wrkflw.world.queue import DEFAULT_ENVIRONMENT, ENVIRONMENT, Delivery, Handler, QueueName

from .signatures import ATTEMPT, MESSAGE_ID, QUEUE_NAME, Verifier, checked_keys

FLOW = "/.well-known/workflow/v1/flow"
STEP = "/.well-known/workflow/v1/step"
LARGEST_BODY = 1024 * 1024
BODY_TIME = timedelta(seconds=10)
_LONGEST_NUMBER = 19

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

_log = logging.getLogger("wrkflw")


class _Answer(NamedTuple):
    status: int
    content: Mapping[str, object]


class _Refused(Exception):
    """The request ends here, with an answer."""

    def __init__(self, status: int, error: str) -> None:
        self.answer = _Answer(status, {"error": error})


class _Disconnected(Exception):
    """Nobody is there to hear an answer."""


def create_queue_handler(
    prefix: str,
    handler: Handler,
    *,
    keys: Sequence[bytes] = (),
    insecure: bool = False,
    environment: str = DEFAULT_ENVIRONMENT,
    largest_body: int = LARGEST_BODY,
    body_time: timedelta = BODY_TIME,
    clock: Clock | None = None,
) -> AsgiApp:
    """An ASGI application that takes ``POST /.well-known/workflow/v1/flow`` and ``…/step`` for ``handler``.

    ``prefix`` is what the names of its queues begin with, as :func:`~wrkflw.world.queue.prefix_of` gives it for a
    namespace.  Requests must be signed with one of ``keys``, each of 32 bytes or more; the first signs, the others are
    accepted as well.  ``insecure=True`` accepts any.  ``environment`` is that of the messages it takes; those
    of another stay with the sender.  ``largest_body`` is in bytes, ``body_time`` how long the whole of a body may take.

    It answers 200 ``{"ok": true}``; 200 ``{"timeoutSeconds": n}`` when the handler defers; 500 when it raises; 400 for
    a missing header or body, or a foreign queue; 401 without a good signature; 403 for another environment; 404, 405,
    408 and 413.

    A signature is accepted once by each process.  Behind a balancer a request may so be replayed to another one while
    it is fresh, which is one more delivery of a message that may come twice anyway.

    Raises:
        ValueError: there is no key, or one is too short.
    """
    verifier_keys = checked_keys(keys, insecure=insecure)
    return _Endpoint(prefix, handler, verifier_keys, environment, largest_body, body_time, clock or SystemClock())


class _Endpoint:
    def __init__(
        self,
        prefix: str,
        handler: Handler,
        keys: Sequence[bytes],
        environment: str,
        largest_body: int,
        body_time: timedelta,
        clock: Clock,
    ) -> None:
        self._prefix = prefix
        self._handler = handler
        self._environment = environment
        self._largest_body = largest_body
        self._body_time = body_time
        self._clock = clock
        self._verifier = Verifier(keys, clock) if keys else None

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan":
            return await _live(receive, send)
        if scope["type"] != "http":
            raise ValueError(f"deliveries come over HTTP, not {scope['type']!r}")
        try:
            answer = await self._answer(scope, receive)
        except _Refused as refused:
            answer = refused.answer
        except _Disconnected:
            return
        body = to_json(answer.content)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: _Scope, receive: _Receive) -> _Answer:
        if not str(scope["path"]).endswith((FLOW, STEP)):
            raise _Refused(404, "not found")
        if scope["method"] != "POST":
            raise _Refused(405, "use POST")
        headers = _headers_of(scope)
        try:
            async with within(self._clock, self._body_time):
                body = await self._read(headers, receive)
        except TimeoutError:
            raise _Refused(408, "the body did not come in time") from None
        # Before anything of the request is looked at.
        if self._verifier is not None and not self._verifier.accepts(headers, body):
            cure = "give both sides the same key, and check their clocks"
            raise _Refused(401, f"the delivery is not signed, or not just now, or was taken before; {cure}")
        delivery = self._delivery(headers, body)
        try:
            message = decode(body)
        except WorldError as error:
            raise _Refused(400, str(error)) from error
        try:
            deferred = await self._handler(message, delivery)
        except Exception:  # noqa: BLE001  # whatever it is, the sender hears no more than that
            _log.exception("message %s failed", delivery.message_id)
            return _Answer(500, {"error": "the handler failed"})
        return _Answer(200, {"ok": True} if deferred is None else {"timeoutSeconds": deferred.timeout_seconds})

    async def _read(self, headers: Mapping[str, str], receive: _Receive) -> bytes:
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and (len(announced) > _LONGEST_NUMBER or int(announced) > self._largest_body):
            raise _Refused(413, f"a body has at most {self._largest_body} bytes")
        body = bytearray()
        while True:
            part = await receive()
            if part["type"] == "http.disconnect":
                raise _Disconnected
            body += cast("bytes", part.get("body", b""))
            if len(body) > self._largest_body:
                raise _Refused(413, f"a body has at most {self._largest_body} bytes")
            if not part.get("more_body", False):
                return bytes(body)

    def _delivery(self, headers: Mapping[str, str], body: bytes) -> Delivery:
        queue_name, message_id, attempt = (headers.get(name) for name in (QUEUE_NAME, MESSAGE_ID, ATTEMPT))
        if not queue_name or not message_id or not attempt or not body:
            raise _Refused(400, "missing required headers or body")
        if not attempt.isdecimal() or len(attempt) > _LONGEST_NUMBER or not 0 < int(attempt) < 2**63:
            raise _Refused(400, f"{ATTEMPT} is a number from 1")
        try:
            QueueName.parse(queue_name)
        except WorldError as error:
            raise _Refused(400, str(error)) from error
        if not queue_name.startswith(self._prefix):
            cure = f"send what begins with {self._prefix!r}"
            raise _Refused(400, f"queue {queue_name[:80]!r} is of another namespace; {cure}")
        environment = headers.get(ENVIRONMENT, DEFAULT_ENVIRONMENT)
        if environment != self._environment:
            raise _Refused(403, f"this takes messages of {self._environment!r}, not of {environment[:80]!r}")
        return Delivery(message_id, queue_name, int(attempt))


def _headers_of(scope: _Scope) -> dict[str, str]:
    pairs = cast("list[tuple[bytes, bytes]]", scope["headers"])
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}


async def _live(receive: _Receive, send: _Send) -> None:
    """Nothing is to be opened or closed."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
