"""A mail server for one workflow, and a real client that speaks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiosmtplib

from wrkflw.mail import MailLimits, Mailroom, SmtpServer

from .desk import mailroom, triage

TO = "invoices@acme.test"


@asynccontextmanager
async def served(
    database: str = ":memory:", limits: MailLimits | None = None, **options: Any
) -> AsyncIterator[Counter]:
    workflow = triage()
    workflow.on_email("invoices@*")
    async with (
        mailroom(workflow, database=database, limits=limits) as room,
        SmtpServer(room, port=0, **options) as server,
    ):
        yield Counter(room, server.port)


class Counter:
    def __init__(self, room: Mailroom, port: int) -> None:
        self.room = room
        self.port = port

    async def send(self, raw: bytes, to: Sequence[str] = (TO,), sender: str = "ada@example.org") -> str:
        """The answer to DATA."""
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=self.port, start_tls=False) as client:
            _, answer = await client.sendmail(sender, list(to), raw)
            return answer

    async def refusal(self, raw: bytes, to: Sequence[str] = (TO,)) -> int:
        """The code by which the mail is refused."""
        try:
            answer = await self.send(raw, to)
        except aiosmtplib.SMTPRecipientsRefused as error:
            return error.recipients[0].code
        except aiosmtplib.SMTPResponseException as error:
            return error.code
        raise AssertionError(f"it was taken: {answer}")

    async def runs(self) -> list[str]:
        return [run.run_id for run in (await self.room.rt.runs.list()).data]
