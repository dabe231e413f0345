"""A server of its own: the application on a socket, with the timers that keep slow clients from holding it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from math import ceil
from typing import Any, Never

import uvicorn

from wrkflw.asgi import AsgiApp
from wrkflw.errors import WrkflwError
from wrkflw.events import Event
from wrkflw.loopback import is_loopback
from wrkflw.runtime import Runtime
from wrkflw.steps import Step

from .application import Application
from .connections import connections_with
from .gate import LOOPBACK_HOSTS
from .lifespans import lifespan
from .limits import ServerLimits
from .tokens import Token

_GRACE = 5
"""Seconds that requests have to end in when the server does."""
_BACKLOG = 2048
"""Connections that wait to be accepted."""
_AT_ONCE = 16
"""That are accepted before any of them is looked at, and is closed where it is one too many."""


class ExposedServerError(WrkflwError):
    """The server would answer other machines, and anybody on them."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host!r} can be reached by other machines, and there are no tokens; give it one")
        self.host = host


async def serve(
    rt: Runtime,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    sockets: Sequence[socket.socket] | None = None,
    tokens: Sequence[Token] = (),
    hosts: Collection[str] = (),
    origins: Collection[str] = (),
    events: Sequence[Event[Any]] = (),
    steps: Sequence[Step[Never, object, Never]] = (),
    limits: ServerLimits | None = None,
    mounts: Mapping[str, AsgiApp] | None = None,
    signals: bool = True,
) -> None:
    """Serve :func:`app` until the process is told to end (SIGINT, SIGTERM), or the task is cancelled.

    The runtime is opened and closed with it, unless it is open already.  At the end streams are ended, and what is
    being answered has a few seconds.  The names under which a server that other machines can reach is asked for are to
    be given as ``hosts``.  ``sockets`` that listen already stand for ``host`` and ``port``.  With ``signals=False`` the
    signals are left to whoever listens to them, and cancels the task.

    Raises:
        ExposedServerError: ``host``, or one of ``hosts``, is not of this machine alone, and there are no tokens.
        OSError: nothing can listen there.
        StoreRefusedError: the database cannot be used.
    """
    own = sockets is None
    bound = [host] if sockets is None else [_address(one) for one in sockets]
    check_exposure([*bound, *hosts], tokens)
    limits = limits or ServerLimits()
    application = Application(
        rt,
        tokens=tokens,
        hosts={*hosts, *bound} - {"0.0.0.0", "::"},
        origins=origins,
        events=events,
        steps=steps,
        limits=limits,
        mounts=mounts or {},
        trust_callers=False,
    )
    listeners = [_listener(host, port)] if sockets is None else list(sockets)
    try:
        async with lifespan(rt)(application):
            await _until_told(Server(application, limits, signals=signals), listeners)
    finally:
        for listener in listeners if own else ():
            listener.close()


def check_exposure(names: Iterable[str], tokens: Sequence[Token]) -> None:
    """Raises ExposedServerError when one of the names is not of this machine alone, and there are no tokens."""
    for name in names:
        if not tokens and not (name in LOOPBACK_HOSTS or is_loopback(name)):
            raise ExposedServerError(name)


async def _until_told(server: Server, listeners: list[socket.socket]) -> None:
    serving = asyncio.ensure_future(server.serve(sockets=listeners))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


class Server(uvicorn.Server):
    """Ends what has no end of its own before it waits for what has."""

    def __init__(self, application: Application, limits: ServerLimits, *, signals: bool) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=connections_with(limits),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=ceil(limits.idle_time.total_seconds()),
                timeout_graceful_shutdown=_GRACE,
                backlog=_AT_ONCE,
            )
        )
        self._application = application
        self._signals = signals

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        with super().capture_signals() if self._signals else nullcontext():
            yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)  # asyncio has but one number for those that wait and those it accepts at once

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._application.service.ending.set()
        await super().shutdown(sockets)


def _listener(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _address(listener: socket.socket) -> str:
    return "localhost" if listener.family == socket.AF_UNIX else str(listener.getsockname()[0])
