"""What every request passes first: whose host it asks for, where it comes from, how large it says it is."""

from __future__ import annotations

from collections.abc import Collection

from wrkflw.asgi import AsgiApp, Receive, Scope, Send, headers_of, mounted_at

from .problems import MEDIA_TYPE, Problem, Refusal
from .service import SAFE_METHODS, Service

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
"""As requests ask for them."""
_WATCHED = frozenset({"/healthz", "/readyz"})
"""Who watches over the server hears of it however much is asked."""
_STRANGERS = 4
"""One part in so many of the requests at a time may be of callers whom nobody knows."""
_MOUNTED = 2
"""The same of requests to what is mounted, which knows its own callers, and perhaps not before it has read them."""


class Gate:
    """Before the application.

    A browser that was led here by a name that is not ours (DNS rebinding), or that another site has send something
    (CSRF), is turned away: ``hosts`` are the names that requests may ask for, ``"*"`` any.  What is sent to ``mounts``
    may be larger.
    """

    def __init__(self, inner: AsgiApp, service: Service, hosts: Collection[str], mounts: Collection[str]) -> None:
        self._inner = inner
        self._service = service
        self._limits = service.limits
        self._hosts = frozenset(name.lower() for name in hosts)
        self._mounts = mounts
        self._open = self._mounted = self._strangers = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._inner(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        if scope["path"].removeprefix(scope.get("root_path", "")) in _WATCHED:
            self._check(scope)
            return await self._inner(scope, receive, send)
        mounted, most = mounted_at(scope, self._mounts) is not None, self._limits.requests
        stranger = not (mounted or self._service.callers.of(scope).is_known)
        crowded = stranger and self._strangers >= max(1, most // _STRANGERS)
        crowded = crowded or (mounted and self._mounted >= max(1, most // _MOUNTED))
        if self._open >= most or crowded:
            status = 503 if mounted else 429  # who sends a mail takes 429 for a refusal, and it would be lost
            raise Refusal(status, "too many requests at a time; send it again", {"Retry-After": "1"})
        self._check(scope)
        self._open += 1
        self._mounted += mounted
        self._strangers += stranger
        try:
            return await self._inner(scope, receive, send)
        finally:
            self._open -= 1
            self._mounted -= mounted
            self._strangers -= stranger

    def _check(self, scope: Scope) -> None:
        """Raises Refusal."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self._limits.header_bytes:
            raise Refusal(431, f"headers have at most {self._limits.header_bytes:,} bytes")
        headers = headers_of(scope)
        host = headers.get("host", "")
        if "*" not in self._hosts and _name_of(host) not in self._hosts:
            raise Refusal(400, f"this server is not {host[:80]!r}; name it in hosts=, or with --allow-host")
        if scope["method"] not in SAFE_METHODS:
            self._service.check_origin(headers)
        announced = headers.get("content-length", "0")
        if not (announced.isascii() and announced.isdecimal()):
            raise Refusal(400, "Content-Length is not a number")
        if int(announced) > self._limits.body_bytes and mounted_at(scope, self._mounts) is None:
            raise Refusal(413, f"a body has at most {self._limits.body_bytes:,} bytes")


async def refuse(send: Send, problem: Problem) -> None:
    """Answer with a problem."""
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(problem.body)), **problem.headers}
    pairs = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": pairs})
    await send({"type": "http.response.body", "body": problem.body})


def _name_of(host: str) -> str:
    """``Localhost:8000`` is ``localhost``, and ``[::1]:8000`` is ``[::1]``."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() and not name.endswith(":") else host.lower()
