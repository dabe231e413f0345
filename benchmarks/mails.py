"""W12: mails that are taken in over SMTP, each answered when its run is durable, while a worker runs them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib

from wrkflw import Runtime, Workflow, create_workflow, step
from wrkflw.mail import Mailroom, SmtpServer
from wrkflw.triggers import Email

from . import raw
from .adding import database, new
from .measure import Figure, Paired, Sizes, Timed, figure, paired, timed

_SENDERS = 10
_TO = "invoices@example.org"


def measure(sizes: Sizes, folder: Path) -> list[Figure]:
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    pairs = [asyncio.run(_taken_in(sizes.mails, folder)) for _ in range(sizes.repetitions)]
    senders = f"{_SENDERS} connections, the senders in the same process"
    return [
        figure("mails/s", "/s", [pair.measured.rate for pair in pairs], note=senders),
        figure("mails/s, limit-scaled", "/s", [pair.measured.rate * raw.CHAIN / pair.raw_rate for pair in pairs]),
        figure("raw commits/s", "/s", [pair.raw_rate for pair in pairs], note="one after another, before and after"),
        figure("x raw", "x", [pair.ratio for pair in pairs], note="a raw commit a mail"),
        figure("CPU a mail", "µs", [pair.measured.cpu_microseconds for pair in pairs]),
    ]


async def _taken_in(mails: int, folder: Path) -> Paired:
    return await paired(lambda: raw.chain(new(folder), 1, mails), lambda: _sent(mails, new(folder)))


async def _sent(mails: int, folder: Path) -> Timed:
    workflow = _reading()
    async with (
        Runtime(database(folder), workflows=[workflow]) as runtime,
        SmtpServer(Mailroom(runtime), port=0) as server,
    ):
        letters = [_letter(number).as_bytes() for number in range(mails)]
        sending = (_send(server.port, letters[first::_SENDERS]) for first in range(_SENDERS))
        return await timed(mails, asyncio.gather(*sending))


def _reading() -> Workflow[Email, str, None]:
    @step(id="read")
    async def read(mail: Email) -> str:
        return mail.subject

    workflow = create_workflow(id="reading", input_schema=Email, output_schema=str).then(read).commit()
    workflow.on_email(_TO)
    return workflow


async def _send(port: int, letters: Sequence[bytes]) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
        for letter in letters:
            await client.sendmail("ada@example.org", [_TO], letter)


def _letter(number: int) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Ada <ada@example.org>"
    mail["To"] = _TO
    mail["Subject"] = f"Invoice {number}"
    mail["Message-ID"] = f"<{number}@example.org>"
    mail.set_content("Please find the invoice below.\n" * 20)
    return mail
