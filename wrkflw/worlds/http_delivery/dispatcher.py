"""Sending messages to an endpoint: a handler like any other, for the consumer of a World."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from pydantic_core import from_json

from wrkflw.clock import Clock, SystemClock
from wrkflw.world.errors import WorldError
from wrkflw.world.messages import encode
from wrkflw.world.queue import Defer, Delivery, Invocation, Message, NotDeliveredError

from .endpoint import FLOW, LARGEST_BODY, STEP
from .signatures import ATTEMPT, MESSAGE_ID, QUEUE_NAME, checked_keys, sign

_NOT_REACHED = {
    401: "check that both sides have the same key, and their clocks",
    403: "check that both sides are of the same environment",
    404: "check its address",
    405: "check its address",
    429: "it is tried again later",
    503: "it is tried again later",
}
"""Answers that come from before the handler, and their cures: the other side is not ready, or not the right one."""
_LARGEST_ANSWER = 64 * 1024
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=30)


class DeliveryError(WorldError):
    """The endpoint took the message and failed, or will never take it."""

    status = 502


class _Response(NamedTuple):
    status: int
    body: bytes


class HttpDispatcher:
    """Delivers messages to the endpoint at ``url``: ``queue.consume(HttpDispatcher(url, keys=[key]))``.

    Requests are signed with the first of ``keys``; ``insecure=True`` sends them unsigned.  ``timeout`` is how long the
    endpoint may be silent, ``largest_body`` what it takes, in bytes.  What cannot be delivered is tried again later
    and later, and counts as no attempt; what the endpoint fails at counts.  ``close()`` it when its consumer has ended.

    Raises:
        ValueError: ``url`` is none of ``http`` or ``https``; there is no key, or one is too short.
    """

    def __init__(
        self,
        url: str,
        *,
        keys: Sequence[bytes] = (),
        insecure: bool = False,
        timeout: timedelta = timedelta(minutes=5),
        concurrency: int = 16,
        largest_body: int = LARGEST_BODY,
        clock: Clock | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{url!r} is not the address of an endpoint; use 'http://host:port' or 'https://…'")
        self._connections = _Connections(parts.scheme, parts.hostname, parts.port, timeout.total_seconds())
        self._path = parts.path.rstrip("/")
        self._largest_body = largest_body
        self._keys = checked_keys(keys, insecure=insecure)
        self._clock = clock or SystemClock()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="wrkflw-delivery")
        self._refusals = 0
        """How many messages in a row were not delivered."""

    async def __call__(self, message: Message, delivery: Delivery) -> Defer | None:
        body = encode(message)
        if len(body) > self._largest_body:
            what = f"the message has {len(body)} bytes, and the endpoint takes {self._largest_body}"
            raise DeliveryError(f"{what}; raise largest_body= on both sides")
        is_step = isinstance(message, Invocation) and message.step_id is not None
        loop = asyncio.get_running_loop()
        response = await loop.run_in_executor(
            self._threads, self._post, self._path + (STEP if is_step else FLOW), self._headers(delivery, body), body
        )
        return self._read(response)

    def close(self) -> None:
        """End the connections and the threads; what waits for an answer fails."""
        self._connections.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _headers(self, delivery: Delivery, body: bytes) -> dict[str, str]:
        headers = {
            **delivery.headers,
            "content-type": "application/json",
            QUEUE_NAME: delivery.queue_name,
            MESSAGE_ID: delivery.message_id,
            ATTEMPT: str(delivery.attempt),
        }
        return sign(headers, body, self._keys[0], self._clock.now()) if self._keys else headers

    def _post(self, path: str, headers: Mapping[str, str], body: bytes) -> _Response | OSError:
        try:
            return self._connections.post(path, headers, body)
        except _NotSentError as error:
            return error.reason

    def _read(self, response: _Response | OSError) -> Defer | None:
        if isinstance(response, OSError):
            raise self._not_delivered(f"the endpoint was not reached: {response}; check that it runs") from response
        status, deferred = response.status, _timeout_in(response.body)
        if status in (200, 503) and deferred is not None:
            self._refusals = 0
            return Defer(deferred)
        if (cure := _NOT_REACHED.get(status)) is not None:
            raise self._not_delivered(f"the endpoint answered {status}; {cure}")
        self._refusals = 0
        if status != 200:
            raise DeliveryError(f"the endpoint answered {status}; its log says why")
        return None

    def _not_delivered(self, reason: str) -> NotDeliveredError:
        self._refusals += 1
        pause = min(_FIRST_PAUSE * (1 << min(self._refusals - 1, 16)), _LONGEST_PAUSE)
        return NotDeliveredError(reason, pause)


def _timeout_in(body: bytes) -> float | None:
    try:
        content: object = from_json(body)
    except ValueError:
        return None
    seconds = cast("dict[str, object]", content).get("timeoutSeconds") if isinstance(content, dict) else None
    return seconds if isinstance(seconds, int | float) and not isinstance(seconds, bool) else None


class _NotSentError(Exception):
    """The request was not sent whole: nobody has acted upon it."""

    def __init__(self, reason: OSError) -> None:
        self.reason = reason


class _Connections:
    """Connections to one host, kept open between requests; used from threads."""

    def __init__(self, scheme: str, host: str, port: int | None, timeout: float) -> None:
        self._scheme, self._host, self._port, self._timeout = scheme, host, port, timeout
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._closed = False

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> _Response:
        """Raises _NotSentError, and OSError or HTTPException when it is not known what became of the request."""
        connection, kept = self._get()
        try:
            try:
                return self._request(connection, path, headers, body)
            except (_NotSentError, ConnectionError):
                if not kept or self._closed:
                    raise
            # The other side may have closed it while it was idle: that says nothing about the message.
            connection.close()
            return self._request(connection, path, headers, body)
        except BaseException:
            connection.close()
            raise
        finally:
            self._put_back(connection)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for connection in self._idle:
                connection.close()
            for connection in self._busy:  # its thread closes it, once it is awake
                _interrupt(connection)

    def _request(
        self, connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str], body: bytes
    ) -> _Response:
        try:
            if connection.sock is None:
                connection.connect()
            if self._closed:  # close() did not see it as long as it had no socket
                raise ConnectionAbortedError("the dispatcher is closed")
            connection.request("POST", path, body, dict(headers))
        except OSError as error:
            raise _NotSentError(error) from error
        response = connection.getresponse()
        content = response.read(_LARGEST_ANSWER + 1)
        if len(content) > _LARGEST_ANSWER:
            connection.close()
        elif response.length:
            raise http.client.IncompleteRead(content, response.length)
        return _Response(response.status, content)

    def _get(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._closed:
                raise _NotSentError(ConnectionAbortedError("the dispatcher is closed"))
            kept = bool(self._idle)
            connection = self._idle.pop() if kept else self._new()
            self._busy.add(connection)
            return connection, kept

    def _put_back(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
            if self._closed:
                connection.close()
            elif connection.sock is not None:
                self._idle.append(connection)

    def _new(self) -> http.client.HTTPConnection:
        if self._scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)


def _interrupt(connection: http.client.HTTPConnection) -> None:
    """From another thread: whatever is being waited for ends."""
    if (sock := connection.sock) is not None:
        with suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # that of TLS would go on in the clear
