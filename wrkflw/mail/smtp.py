"""A mail server for the workflows: what it has answered with 250 is durable."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from wrkflw.durations import parse_duration
from wrkflw.loopback import is_loopback

from .errors import MailError, MailTooLargeError, MissingExtraError, NoRecipientError
from .mailroom import Mailroom

try:
    from aiosmtpd import smtp
except ImportError as error:
    raise MissingExtraError("aiosmtpd") from error

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope, Session

Login: TypeAlias = Callable[[str, str], bool]
"""Whether user and password may send."""

_GRACE = 5.0
"""Seconds that mails which are being taken in have when the server ends."""
_LONGEST_LINE = 64 * 1024
"""RFC 5321 says 1,000, and some programs write longer ones."""
_PLAIN = re.compile(r"<([A-Za-z0-9._+=-]{1,64}@[A-Za-z0-9.-]{1,253})>( .*|)\Z")
"""An address of a command, in which nothing is left out, quoted or routed, and what follows it."""
_TAKEN = "250 2.0.0 taken"
_UNKNOWN = "550 5.1.1 no workflow takes mail to this address"
_LATER = "451 4.3.0 the mail cannot be recorded now; send it again later"
_TOO_MANY = "452 4.5.3 too many recipients; send the mail to the others by itself"
_TOO_LARGE = "552 5.3.4 the mail is too large"
_BUSY = b"421 4.3.2 too many connections; come back later\r\n"

_log = logging.getLogger("wrkflw")


class ExposedSmtpError(MailError):
    """The server would take mail from other machines, whoever they are."""

    def __init__(self, host: str) -> None:
        cure = "pass login= and tls=, or exposed=True behind a mail server that checks what comes in"
        super().__init__(f"{host!r} can be reached by other machines; {cure}")
        self.host = host


class SmtpServer:
    """Takes mail over SMTP and hands it to a :class:`Mailroom`, within ``async with``.

    It answers 250 once all that a mail leads to is durable; 550 for an address that no workflow has, 552 for a mail
    that is too large, and 451, upon which the sender tries again, when it could not be recorded.  It sends nothing on.

    Args:
        room: takes the mail in.
        host: a name or address of this machine; only this machine can send to the loopback.
        port: 0 for one that is free, see :attr:`port`.
        hostname: the name by which it greets.
        tls: offers STARTTLS, with this certificate.
        login: says who may send; takes ``tls``, and nobody else may send then.
        require_tls: takes mail over TLS only.
        exposed: other machines may send without a login.
        idle: how long a command may take to come, and a mail; a sender of large ones on a slow line needs more.
        session: how long a connection may last, whatever comes over it.
        connections: at a time; each may hold a mail of the greatest size in memory.

    Raises:
        ExposedSmtpError: other machines could send, and nothing says that they may.
        ValueError: ``login`` or ``require_tls`` without ``tls``.
    """

    def __init__(
        self,
        room: Mailroom,
        *,
        host: str = "127.0.0.1",
        port: int = 2525,
        hostname: str = "localhost",
        tls: ssl.SSLContext | None = None,
        login: Login | None = None,
        require_tls: bool = False,
        exposed: bool = False,
        idle: timedelta | str = "1m",
        session: timedelta | str = "15m",
        connections: int = 50,
    ) -> None:
        if tls is None and (login is not None or require_tls):
            raise ValueError("passwords and mail would be sent in the clear; pass tls= as well")
        if login is None and not exposed and not is_loopback(host):
            raise ExposedSmtpError(host)
        self._host = host
        self._port = port
        self._connections = connections
        self._longest = parse_duration(session).total_seconds()
        self._desk = _Desk(room)
        self._sessions: set[_Session] = set()
        self._server: asyncio.Server | None = None
        self._options: dict[str, Any] = {
            "data_size_limit": room.limits.size,
            "enable_SMTPUTF8": True,
            "hostname": hostname,
            "ident": "wrkflw",
            "timeout": parse_duration(idle).total_seconds(),
            "tls_context": tls,
            "require_starttls": require_tls,
            "auth_required": login is not None,
            "authenticator": None if login is None else _authenticator(login),
        }

    @property
    def port(self) -> int:
        """The port on which it listens."""
        if self._server is None:
            return self._port
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        if self._server is not None:
            raise RuntimeError("this SmtpServer is listening already; make another one")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Session(self._sessions, self._connections, self._longest, self._desk, loop=loop, **self._options),
            self._host,
            self._port,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Takes no more, and lets what is being taken in come to its answer."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        await self._desk.rest(_GRACE)
        tasks = [task for session in self._sessions if (task := session.end()) is not None]
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()


class _Desk:
    """What the server asks at each command."""

    def __init__(self, room: Mailroom) -> None:
        self._room = room
        self._at_work: set[asyncio.Future[object]] = set()

    async def handle_RCPT(  # its name is given
        self, server: smtp.SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= self._room.limits.recipients:
            return _TOO_MANY
        if not self._room.accepts(address):
            return _UNKNOWN
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 known"

    async def handle_DATA(  # its name is given
        self, server: smtp.SMTP, session: Session, envelope: Envelope
    ) -> str:
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._at_work.add(done)
        try:
            return await self._answer(envelope)
        finally:
            self._at_work.discard(done)
            done.set_result(None)

    async def _answer(self, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        try:
            await self._room.deliver(
                content, envelope_from=envelope.mail_from or "", envelope_to=[str(one) for one in envelope.rcpt_tos]
            )
        except MailTooLargeError:
            return _TOO_LARGE
        except NoRecipientError:
            return _UNKNOWN
        except Exception:  # noqa: BLE001  # whatever it is, the mail is not durable, and the sender still has it
            _log.exception("a mail could not be taken in")
            return _LATER
        return _TAKEN

    async def handle_exception(self, error: Exception) -> str:
        _log.error("a mail could not be taken in", exc_info=error)
        return _LATER

    async def rest(self, seconds: float) -> None:
        """Until nothing is being taken in, but no longer than this."""
        if self._at_work:
            await asyncio.wait(tuple(self._at_work), timeout=seconds)
            await asyncio.sleep(0)  # for the answer to be written


class _Session(smtp.SMTP):
    """One connection."""

    line_length_limit = _LONGEST_LINE

    def __init__(
        self,
        sessions: set[_Session],
        most: int,
        longest: float,
        desk: _Desk,
        *,
        loop: asyncio.AbstractEventLoop,
        **options: Any,
    ) -> None:
        super().__init__(desk, loop=loop, **options)
        self._sessions = sessions
        self._most = most
        # What comes slowly, or is no mail, would keep others out; a mail that it cuts off is sent again, and known.
        self._over = loop.call_later(longest, self.end)
        self._unended = 0
        """Bytes since a line ended, which aiosmtpd keeps until it does."""
        self._may_end = False

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """Most addresses at once: the general grammar takes a tenth of the time that a mail takes."""
        if (found := _PLAIN.match(arg)) is not None:
            return found[1], found[2]
        return super()._getaddr(arg)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._sessions.add(self)
        if len(self._sessions) > self._most and isinstance(transport, asyncio.WriteTransport):
            transport.write(_BUSY)
            transport.close()

    def data_received(self, data: bytes) -> None:
        if (ended := data.rfind(b"\r\n")) >= 0 or (self._may_end and data.startswith(b"\n")):
            self._unended = len(data) - (ended + 2 if ended >= 0 else 1)
        else:
            self._unended += len(data)
        self._may_end = data.endswith(b"\r")
        if self.data_size_limit is not None and self._unended > self.data_size_limit:
            if isinstance(self.transport, asyncio.WriteTransport):
                self.transport.write(f"{_TOO_LARGE}\r\n".encode())
                self.transport.close()
            return
        super().data_received(data)

    def end(self) -> asyncio.Task[None] | None:
        """Close the connection; the task that ends with it."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()  # not close(): a client that is silent would be waited for
        return self._handler_coroutine

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._over.cancel()
        self._sessions.discard(self)


def _authenticator(login: Login) -> Callable[..., smtp.AuthResult]:
    def authenticate(server: object, session: object, envelope: object, how: str, said: object) -> smtp.AuthResult:
        success = False
        if isinstance(said, smtp.LoginPassword):
            success = login(said.login.decode("utf-8", "replace"), said.password.decode("utf-8", "replace"))
        return smtp.AuthResult(success=success, handled=False)

    return authenticate
