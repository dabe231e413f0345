"""A real SMTP server on loopback that keeps what it gets, in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.smtp import SMTP, Envelope, Session

LATER = "451 4.7.1 come back later"


class Mailbox:
    """Takes ``seconds`` over each mail, and puts off the first one to each of the ``wary`` addresses."""

    def __init__(self, *, seconds: float = 0, wary: Iterable[str] = ()) -> None:
        self.mails: list[EmailMessage] = []
        self.put_off: list[str] = []  # Message-IDs
        self._seconds = seconds
        self._wary = set(wary)

    @property
    def deliveries(self) -> Counter[str]:
        """How often each Message-ID came in."""
        return Counter(str(mail["Message-ID"]) for mail in self.mails)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        await asyncio.sleep(self._seconds)
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=default)
        assert isinstance(mail, EmailMessage)
        if wary := self._wary.intersection(envelope.rcpt_tos):
            self._wary -= wary
            self.put_off.append(mail["Message-ID"])
            return LATER
        self.mails.append(mail)
        return "250 OK"


@asynccontextmanager
async def smtp_server(mailbox: Mailbox) -> AsyncGenerator[int]:
    """Serve on the running loop; gives the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, hostname="localhost", loop=loop), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
