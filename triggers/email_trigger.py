"""The mail of this deployment: ``python -m triggers.email_trigger [SECONDS]`` takes it in on the loopback for so long.

Without a number it writes to itself, and ends when the run of that mail has.  Where other machines send, put a mail
server in front of it; see docs/email.md.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
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


async def try_out(runtime: Runtime, port: int) -> None:
    _, answer = await aiosmtplib.send(letter(), hostname="127.0.0.1", port=port, start_tls=False)
    print(f"answered: {answer}")
    newest = (await runtime.runs.list(workflow=greeting, limit=1)).data[0]
    run = await greeting.get_run(newest.run_id)
    print(f"{run.run_id}: {(await run.result()).unwrap()}")


async def main(seconds: float | None) -> None:
    async with Runtime(workflows=[greeting]) as runtime, SmtpServer(Mailroom(runtime), port=0) as server:
        print(f"taking mail in for greetings@, on port {server.port}", flush=True)
        await (try_out(runtime, server.port) if seconds is None else asyncio.sleep(seconds))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else None))
