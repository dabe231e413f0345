"""A welcome mail for a user: read from a database, written, sent by SMTP.

Run it with an SMTP server at hand (settings: see ``settings.py``)::

    python -m aiosmtpd -n -l 127.0.0.1:1025 &
    python -m examples.email_campaign 1

Called again for the same user it sends nothing, because the run has an idempotency key: the first result is the result.
"""

from __future__ import annotations

import asyncio
import smtplib
import sys
from email.message import EmailMessage

from pydantic import BaseModel

from examples import users
from examples.settings import settings
from wrkflw import Completed, Failed, FatalError, MapContext, Retry, Runtime, StepContext, create_workflow, step


class UserId(BaseModel):
    user_id: str


class User(BaseModel):
    name: str
    email: str


class Mail(BaseModel):
    subject: str
    body: str


class Letter(Mail):
    """A mail that has an address."""

    to: str


class Receipt(BaseModel):
    sent: bool
    message_id: str


@step
def fetch_user(wanted: UserId) -> User:
    found = users.find(settings().users, wanted.user_id)
    if found is None:
        raise FatalError(f"there is no user {wanted.user_id!r}")
    name, email = found
    return User(name=name, email=email)


@step
def generate_email(user: User) -> Mail:
    return Mail(subject=f"Hello {user.name}!", body=f"Welcome to our service, {user.name}!")


def address(mail: Mail, ctx: MapContext[UserId, None]) -> Letter:
    """The address did not flow on with the text; the result of the step that read it is still there, and typed."""
    user = ctx.get_step_result(fetch_user)
    return Letter(to=user.email, subject=mail.subject, body=mail.body)


@step(retry=Retry(attempts=5, delay="1s", on=OSError), timeout="30s")  # what smtplib raises is an OSError
def send_email(letter: Letter, ctx: StepContext) -> Receipt:
    # The same for every attempt, after a crash too: a mail that is delivered twice is recognisably one mail.
    message_id = f"<{ctx.idempotency_key.replace(':', '.')}@wrkflw.example>"
    deliver(letter, message_id)
    return Receipt(sent=True, message_id=message_id)


def deliver(letter: Letter, message_id: str) -> None:
    """Hand the letter to the SMTP server, or raise what the server had against it."""
    server = settings()
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = server.sender, letter.to, letter.subject
    message["Message-ID"] = message_id
    message.set_content(letter.body)
    domain = server.sender.partition("@")[2]
    with smtplib.SMTP(server.smtp_host, server.smtp_port, local_hostname=domain, timeout=10) as smtp:
        smtp.send_message(message)


email_campaign = (
    create_workflow(id="email-campaign", input_schema=UserId, output_schema=Receipt)
    .then(fetch_user)
    .then(generate_email)
    .map_ctx(address)
    .then(send_email)
    .commit()
)


async def main(user_id: str) -> int:
    users.prepare(settings().users)
    async with Runtime(workflows=[email_campaign]):
        run = await email_campaign.create_run(idempotency_key=f"welcome-{user_id}")
        match await run.start(UserId(user_id=user_id)):
            case Completed(output=receipt):
                print(f"sent to {run.get_step_result(fetch_user).email} as {receipt.message_id}")
                return 0
            case Failed(error=error):
                print(f"{error.step_id} failed: {error.message}", file=sys.stderr)
            case other:
                print(f"the run is {other.status}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m examples.email_campaign USER_ID")
    sys.exit(asyncio.run(main(sys.argv[1])))
