"""The mail of this deployment: ``python -m triggers.email_trigger`` takes it in on the loopback, and writes to itself.

It ends when the run of that mail has. Where other machines send, put a mail server in front of it; see docs/email.md.
"""

from __future__ import annotations

import asyncio
from email.message import EmailMessage
from email.utils import make_msgid

import aiosmtplib

from examples.hello import hello
from wrkflw import Runtime
from wrkflw.mail import Mailroom, SmtpServer
from wrkflw.triggers import email

greeting = hello.with_id("mailed-greeting")

email(greeting, "greetings@*", input=lambda mail: mail.from_name or mail.from_)


def letter() -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Ada <ada@example.org>"
    mail["To"] = "greetings@example.org"
    mail["Message-ID"] = make_msgid(domain="example.org")
    mail.set_content("How do you do?\n")
    return mail


async def main() -> None:
    async with Runtime(workflows=[greeting]) as runtime, SmtpServer(Mailroom(runtime), port=0) as server:
        print(f"taking mail in on port {server.port}")
        _, answer = await aiosmtplib.send(letter(), hostname="127.0.0.1", port=server.port, start_tls=False)
        print(f"answered: {answer}")
        newest = (await runtime.runs.list(workflow=greeting, limit=1)).data[0]
        run = await greeting.get_run(newest.run_id)
        print(f"{run.run_id}: {(await run.result()).unwrap()}")


if __name__ == "__main__":
    asyncio.run(main())
