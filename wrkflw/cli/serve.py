"""``wrkflw serve`` and ``wrkflw worker``: processes that go on until they are told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from .parameters import AuthservId, Database, Dkim, Grace, Targets

if TYPE_CHECKING:
    from wrkflw.mail import Trust
    from wrkflw.runtime import Runtime
    from wrkflw.server import Token

    from .targets import AnyWorkflow

Concurrency: TypeAlias = Annotated[
    int | None, typer.Option(help="How many runs are advanced at a time.", show_default=False, min=1, max=100_000)
]
Host: TypeAlias = Annotated[str, typer.Option(help="The address to listen on.")]
Port: TypeAlias = Annotated[int, typer.Option(help="The port to listen on.", min=0, max=65_535)]
SmtpPort: TypeAlias = Annotated[
    int | None,
    typer.Option(help="Take mail, too: on this port, from this machine alone.", show_default=False, min=0, max=65_535),
]
Verbose: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Log what the steps log at level INFO, too.")]


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


async def _work(
    workflows: list[AnyWorkflow], concurrency: int | None, grace: str, db: str | None, *, verbose: bool
) -> int:
    from .logs import log_to_stderr
    from .opening import new_runtime, url_of
    from .screen import say
    from .stopping import leave, told, told_to_stop

    log_to_stderr(verbose=verbose)
    with told_to_stop() as stop:
        async with new_runtime(db, workflows, worker=True, concurrency=concurrency) as runtime:
            say(f"worker of {_listed(workflows)} on {url_of(db)}; stop it with Ctrl-C")
            _keep_what_is_there()
            await told(stop, runtime)
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
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="An origin that requests may carry besides the server's own, behind a proxy that rewrites Host for "
            "instance. There is no CORS.",
            show_default=False,
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Who may call: a file that 'wrkflw tokens add' writes.", show_default=False),
    ] = None,
    smtp_port: SmtpPort = None,
    authserv_id: AuthservId = None,
    dkim: Dkim = False,
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
    workflows, known = workflows_of(targets), _tokens_in(tokens)
    _refuse_exposed([host, *(allow_host or ())], known)
    mail = None if smtp_port is None else (smtp_port, _trust(authserv_id, dkim=dkim))
    listener = _listening(host, port)
    options = {"sockets": [listener], "hosts": allow_host or (), "origins": origin or (), "tokens": known}
    runtime = {"worker": work, "concurrency": concurrency}
    perform(_serve(workflows, options, runtime, mail, grace, db, verbose=verbose))


async def _serve(
    workflows: list[AnyWorkflow],
    options: dict[str, Any],
    runtime_options: dict[str, Any],
    mail: tuple[int, Trust] | None,
    grace: str,
    db: str | None,
    *,
    verbose: bool,
) -> int:
    from .logs import log_to_stderr
    from .opening import new_runtime, url_of
    from .screen import say
    from .stopping import leave, told, told_to_stop

    log_to_stderr(verbose=verbose)
    with told_to_stop() as stop:
        from wrkflw.server import serve as serving

        async with new_runtime(db, workflows, **runtime_options) as runtime, _taking_mail(runtime, workflows, mail):
            server = asyncio.ensure_future(serving(runtime, **options, signals=False))
            say(f"{_listed(workflows)} at {_address(options['sockets'][0])} on {url_of(db)}; stop it with Ctrl-C")
            _keep_what_is_there()
            try:
                await told(stop, runtime, server)
                # While it answers, no run is taken any more.
                await asyncio.gather(_ended(server), leave(runtime, grace))
            finally:
                await _ended(server)
    say("stopped")
    return 0


def _tokens_in(file: str | None) -> Sequence[Token]:
    """Raises MisuseError when there is none: whoever names a file does not want everybody to be let in."""
    if file is None:
        return ()
    from wrkflw.server import TokenFile

    from .failures import MisuseError

    if not (known := TokenFile(file).load()):
        raise MisuseError(f"{file} has no token; make one with 'wrkflw tokens add NAME --file {file}'")
    return known


def _refuse_exposed(names: Sequence[str], tokens: Sequence[Token]) -> None:
    from wrkflw.server.serving import ExposedServerError, check_exposure

    from .failures import MisuseError

    try:
        check_exposure(names, tokens)
    except ExposedServerError as error:
        cure = "make a token with 'wrkflw tokens add', and give --tokens FILE"
        raise MisuseError(f"{error.host!r} can be reached by other machines, and anybody may call; {cure}") from error


def _trust(authserv_id: str | None, *, dkim: bool) -> Trust:
    from wrkflw.mail import Trust

    return Trust(authserv_id=authserv_id, dkim=dkim)


@asynccontextmanager
async def _taking_mail(
    runtime: Runtime, workflows: list[AnyWorkflow], mail: tuple[int, Trust] | None
) -> AsyncGenerator[None]:
    """Within: a mail server for the workflows, where one is asked for.

    Raises MisuseError when its packages are missing, or its port cannot be had.
    """
    from .screen import say

    if mail is None:
        if any(one.emails or one.replies for one in workflows):
            say("no mail is taken here; give --smtp-port, or hand it in with 'wrkflw email deliver'")
        yield
        return
    from wrkflw.mail import Mailroom, MissingExtraError, SmtpServer

    from .failures import MisuseError

    port, trust = mail
    try:
        server = await SmtpServer(Mailroom(runtime, trust=trust), port=port).__aenter__()
    except MissingExtraError as error:
        raise MisuseError(str(error)) from error
    except OSError as error:
        raise MisuseError(f"port {port} cannot be had for mail: {_problem(error)}; give another --smtp-port") from error
    say(f"mail at 127.0.0.1:{server.port}")
    try:
        yield
    finally:
        await server.__aexit__()


def _listening(host: str, port: int) -> socket.socket:
    """A socket to which one can connect from now on.  Raises MisuseError when the address cannot be had."""
    from .failures import MisuseError

    try:
        [family, *_, address] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        cure = "name another with --host, --port"
        raise MisuseError(f"{host}:{port} cannot be listened on: {_problem(error)}; {cure}") from error


def _problem(error: OSError) -> str:
    """In the words of the system; what asyncio adds says the same again."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _keep_what_is_there() -> None:
    """What a long-lived process begins with stays: the collector need not look through all of it again and again."""
    gc.collect()
    gc.freeze()


async def _ended(server: asyncio.Future[None]) -> None:
    """Raises what ended the server by itself."""
    server.cancel()
    with suppress(asyncio.CancelledError):
        await server


def _listed(workflows: list[AnyWorkflow]) -> str:
    names = ", ".join(workflow.id for workflow in workflows[:5])
    return names if len(workflows) <= 5 else f"{names} and {len(workflows) - 5} more"
