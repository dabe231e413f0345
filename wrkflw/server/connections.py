"""Connections of the server: one whose requests do not come in time, or have no end, is closed.

uvicorn waits for ever for the rest of a request, reads on in a body that was answered already, and httptools takes
headers of any length.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .limits import ServerLimits

_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def connections_with(limits: ServerLimits) -> type[asyncio.Protocol]:
    """The protocol of a connection, for these limits."""

    class Connection(HttpToolsProtocol):
        _late: asyncio.TimerHandle | None = None
        _in_headers = True
        _header_bytes = 0
        _is_over = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect_headers()

        def data_received(self, data: bytes) -> None:
            if self._is_over:
                return
            if self._in_headers:
                if self._late is None:  # the next request of a connection that was kept
                    self._expect_headers()
                self._header_bytes += len(data)
            super().data_received(data)
            if self._in_headers and self._header_bytes > limits.header_bytes:
                self._end(_TOO_LONG)

        def on_headers_complete(self) -> None:
            self._in_headers, self._header_bytes = False, 0
            self._forget()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_headers = True
            super().on_message_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self._in_headers and not self.transport.is_closing():
                # The rest of the body is of no interest.  To close at once could cost the client its answer.
                self._is_over = True
                if self.transport.can_write_eof():
                    self.transport.write_eof()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _expect_headers(self) -> None:
            self._late = self.loop.call_later(limits.header_time.total_seconds(), self._end, _TOO_LATE)

        def _forget(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _end(self, answer: bytes) -> None:
            if not self.transport.is_closing():
                self.transport.write(answer)
                self.transport.close()

    return Connection
