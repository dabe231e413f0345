"""``wrkflw serve`` and ``wrkflw worker``: processes that go on until they are told to stop."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import Annotated, Any

import typer

from .parameters import Database, Grace, Targets

Concurrency = Annotated[
    int | None, typer.Option(help="How many runs are advanced at a time.", show_default=False, min=1, max=100_000)
]
Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(help="The port to listen on.", min=0, max=65_535)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what the steps log at level INFO, too.")]


def worker(
    targets: Targets = None,
    concurrency: Concurrency = None,
    grace: Grace = "10s",
    db: Database = None,
    verbose: Verbose = False,
) -> None:
    """Advance runs until told to stop.

    Those of these workflows; and start those of their schedules.
    SIGTERM or Ctrl-C: nothing more is taken, steps that run come to their end, and other processes take the rest.
    """
    from wrkflw.durations import parse_duration

    from .opening import perform
    from .targets import workflows_of

    parse_duration(grace)
    perform(_work(workflows_of(targets), concurrency, grace, db, verbose=verbose))


async def _work(workflows: list[Any], concurrency: int | None, grace: str, db: str | None, *, verbose: bool) -> int:
    from .logs import log_to_stderr
    from .opening import new_runtime, url_of
    from .screen import say
    from .stopping import leave, told_to_stop

    log_to_stderr(verbose=verbose)
    with told_to_stop() as stop:
        async with new_runtime(db, workflows, worker=True, concurrency=concurrency) as runtime:
            say(f"worker of {_listed(workflows)} on {url_of(db)}; stop it with Ctrl-C")
            await stop.wait()
            await leave(runtime, grace)
    say("stopped")
    return 0


def serve(
    targets: Targets = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name under which the server is asked for.", show_default=False),
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Another site that may write.", show_default=False)
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Who may call: a file that 'wrkflw tokens add' writes.", show_default=False),
    ] = None,
    work: Annotated[bool, typer.Option("--worker/--no-worker", help="Advance runs in this process, too.")] = True,
    concurrency: Concurrency = None,
    grace: Grace = "10s",
    db: Database = None,
    verbose: Verbose = False,
) -> None:
    """Serve the HTTP API and the triggers.

    Of these workflows, whose runs are advanced here, too, until told to stop."""
    from wrkflw.durations import parse_duration

    from .opening import perform
    from .targets import workflows_of

    parse_duration(grace)
    options = {"sockets": [_listening(host, port)], "hosts": allow_host or (), "origins": origin or ()}
    runtime = {"worker": work, "concurrency": concurrency}
    perform(_serve(workflows_of(targets), options, runtime, tokens, grace, db, verbose=verbose))


async def _serve(
    workflows: list[Any],
    options: dict[str, Any],
    runtime_options: dict[str, Any],
    tokens: str | None,
    grace: str,
    db: str | None,
    *,
    verbose: bool,
) -> int:
    from .logs import log_to_stderr
    from .opening import new_runtime, url_of
    from .screen import say
    from .stopping import leave, told_to_stop

    log_to_stderr(verbose=verbose)
    with told_to_stop() as stop:
        from wrkflw.server import TokenFile
        from wrkflw.server import serve as serving

        known = () if tokens is None else TokenFile(tokens).load()
        async with new_runtime(db, workflows, **runtime_options) as runtime:
            server = asyncio.ensure_future(serving(runtime, tokens=known, **options))
            say(f"{_listed(workflows)} at {_address(options['sockets'][0])} on {url_of(db)}; stop it with Ctrl-C")
            await _until(stop, server)
            await leave(runtime, grace)
    say("stopped")
    return 0


def _listening(host: str, port: int) -> socket.socket:
    """A socket to which one can connect from now on.  Raises MisuseError when the address cannot be had."""
    from .failures import MisuseError

    try:
        [family, *_, address] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        problem = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)
        raise MisuseError(
            f"{host}:{port} cannot be listened on: {problem}; name another with --host, --port"
        ) from error


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _until(stop: asyncio.Event, server: asyncio.Future[None]) -> None:
    """Until one or the other; the server has ended when it returns.  Raises what ended the server."""
    stopping = asyncio.ensure_future(stop.wait())
    either: list[asyncio.Future[Any]] = [server, stopping]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not server.done():
        server.cancel()
    with suppress(asyncio.CancelledError):
        await server


def _listed(workflows: list[Any]) -> str:
    names = ", ".join(workflow.id for workflow in workflows[:5])
    return names if len(workflows) <= 5 else f"{names} and {len(workflows) - 5} more"
