"""Connections of the server: one that is not served in time, in whichever direction, is closed, and so is one too many.

uvicorn waits for ever for the rest of a request, reads on in a body that was answered already, for ever keeps what a
client does not take, and any number of requests that it sends ahead of their answers; httptools takes headers of any
length.  A process that has no descriptor left for one more connection can open no file either, and asyncio says so in
its log again and again.  uvicorn also sends the head of an answer and its body apart, which here go together.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .limits import ServerLimits

if sys.platform == "win32":

    def _descriptors() -> int:
        return sys.maxsize

else:
    import resource

    def _descriptors() -> int:
        """How many the process may have open."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return sys.maxsize if soft == resource.RLIM_INFINITY else soft


_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_MUCH = 64 * 1024
_MOST_AHEAD = 100
"""Requests that a client may send before the first of them is answered."""
_FOR_FILES = 256
"""Descriptors that are left to everything else, or half of them, where there are few."""
_NEXT_WARNING = 60.0
"""Seconds."""

_log = logging.getLogger("wrkflw")


def connections_with(limits: ServerLimits) -> type[asyncio.Protocol]:
    """The protocol of a connection, for these limits."""
    return type("Connection", (_Connection,), {"limits": limits, "crowd": _Crowd()})


class _Crowd:
    """How many connections there may be at a time, as the process may have descriptors."""

    def __init__(self) -> None:
        self._descriptors = _descriptors()
        self.most = self._descriptors - min(_FOR_FILES, self._descriptors // 2)
        self._quiet_until = 0.0

    def complain(self, now: float) -> None:
        """That one was turned away, unless that was said of late."""
        if now >= self._quiet_until:
            self._quiet_until = now + _NEXT_WARNING
            _log.warning(
                "%s connections are open, and more are turned away; let the process have more than %s open files "
                "(ulimit -n), or look who holds them",
                f"{self.most:,}",
                f"{self._descriptors:,}",
            )


class _Connection(HttpToolsProtocol):
    limits: ServerLimits
    crowd: _Crowd
    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _in_headers = True
    _header_bytes = _trailer_bytes = 0
    _is_over = False
    """Whether what still comes is not read."""

    def connection_made(self, transport: Any) -> None:
        gathering: Any = _Gathering(transport, self.loop, self.limits.unread_time.total_seconds())
        super().connection_made(gathering)
        if len(self.connections) > self.crowd.most:
            self._is_over = True
            self._end(_TOO_FULL)
            self.crowd.complain(self.loop.time())
            return
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if not self._in_headers or not self._header_bytes:
            return
        if self._header_bytes > self.limits.header_bytes:
            self._end(_TOO_LONG)
        elif self._late is None:  # the next request of a connection that was kept, which did not come whole
            self._expect_headers()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:
            super().on_header(name, value)
            return
        # A trailer.  uvicorn takes it for a header, of which whoever stands before us has not seen anything.
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > self.limits.header_bytes:
            self._end(_TOO_LONG)
            self._is_over = True

    def on_headers_complete(self) -> None:
        if self._is_over:
            return  # came together with what was too much
        self._in_headers, self._header_bytes, self._trailer_bytes = False, 0, 0
        self._forget()
        super().on_headers_complete()
        if len(self.pipeline) > _MOST_AHEAD:
            self._end(_TOO_MANY)
            self._is_over = True

    def on_message_complete(self) -> None:
        self._in_headers = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        is_newest = not self.pipeline  # else what is still read is another's body
        super().on_response_complete()
        if is_newest and not self._in_headers and not self.transport.is_closing():
            # The rest of the body is of no interest.  To close at once could cost the client its answer.
            self._is_over = True
            if self.transport.can_write_eof():
                self.transport.write_eof()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.unread_time.total_seconds(), self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_unread()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._forget_unread()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        self._late = self.loop.call_later(self.limits.header_time.total_seconds(), self._end, _TOO_LATE)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _end(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


class _Gathering:
    """A transport that sends at once what is written in one turn of the loop: each sending costs a system call."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        self._transport = transport
        self.is_closing = transport.is_closing  # asked for so often that __getattr__ would be too slow
        self._loop = loop
        self._patience = patience
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)
        self._size += len(data)
        if self._size > _MUCH:  # a client that takes it slowly is to be noticed before there is more
            self._send()

    def write_eof(self) -> None:
        self._send()
        self._transport.write_eof()

    def close(self) -> None:
        self._send()
        self._transport.close()
        if self._transport.get_write_buffer_size():  # which a client that reads nothing would keep for ever
            self._loop.call_later(self._patience, self._transport.abort)

    def _send(self) -> None:
        if self._parts:
            data, self._parts, self._size = b"".join(self._parts), [], 0
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
