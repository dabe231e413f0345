"""Inbox: a mail starts a run, which asks somebody by mail, and goes on with the reply.

Both mails come in over SMTP; what the run sends goes to a mail server, which here is one more on this machine.  In
production your own mail server stands in front, checks who wrote a mail, and adds that under its name; here the script
adds the header itself.
"""

from __future__ import annotations

import asyncio
import os
from email.message import EmailMessage
from tempfile import TemporaryDirectory

import aiosmtplib
from pydantic import BaseModel

from wrkflw import Runtime, SuspendContext, create_workflow, step
from wrkflw.mail import Mailroom, SmtpServer, Trust, message_id
from wrkflw.triggers import email, reply

from .demo.smtp_server import Mailbox, smtp_server

OURS, BOSS = "mx.example.org", "grace@example.org"


class Invoice(BaseModel):
    sender: str
    subject: str


class Approval(BaseModel):
    approved: bool
    by: str


@step
async def approve(invoice: Invoice, ctx: SuspendContext[Approval, None]) -> str:
    if ctx.resume_data is None:  # with the answer the body runs again, and asks nothing twice
        question = EmailMessage()
        question["From"], question["To"], question["Subject"] = "approvals@example.org", BOSS, invoice.subject
        question["Message-ID"] = message_id(ctx, "example.org")  # by which the reply finds this run
        question.set_content(f"{invoice.sender} wants money. Yes or no?")
        await aiosmtplib.send(question, hostname="127.0.0.1", port=int(os.environ["SMTP_PORT"]))
    answer = ctx.suspend(None)
    return f"{invoice.subject!r} is {'paid' if answer.approved else 'sent back'}, says {answer.by}"


booking = create_workflow(id="booking", input_schema=Invoice, output_schema=str).then(approve).commit()
email(booking, "invoices@*", input=lambda mail: Invoice(sender=mail.from_, subject=mail.subject))
reply(
    booking,
    "approvals@*",
    approve,
    answer=lambda mail: Approval(approved=mail.text.lower().startswith("yes"), by=mail.from_),
    senders=["*@example.org"],
)


def letter(sender: str, to: str, subject: str, text: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, to, subject
    mail.set_content(text)
    return mail


async def main() -> None:
    boss = Mailbox()
    with TemporaryDirectory() as folder:
        async with smtp_server(boss) as port, Runtime(f"sqlite:///{folder}/app.db", workflows=[booking]) as rt:
            os.environ["SMTP_PORT"] = str(port)
            async with SmtpServer(Mailroom(rt, trust=Trust(authserv_id=OURS)), port=0) as server:
                invoice = letter("shop@example.com", "invoices@example.org", "Invoice 17", "Please pay 250 euros.")
                _, said = await aiosmtplib.send(invoice, hostname="127.0.0.1", port=server.port)
                print(f"the invoice is recorded: 250 {said}")
                (begun,) = (await rt.runs.list(workflow=booking)).data
                run = await booking.get_run(begun.run_id)
                result = await run.result()
                print(f"the run is {result.status}, and has asked: {boss.mails[0].get_content().strip()}")

                answer = letter(BOSS, "approvals@example.org", "Re: Invoice 17", "Yes, it is all right.")
                answer["In-Reply-To"] = boss.mails[0]["Message-ID"]
                answer["Authentication-Results"] = f"{OURS}; dmarc=pass header.from=example.org"
                await aiosmtplib.send(answer, hostname="127.0.0.1", port=server.port)
                print((await run.result()).unwrap())


if __name__ == "__main__":
    asyncio.run(main())
