"""Workflows that take mail, and mail for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Any

from pydantic import BaseModel

from wrkflw import Event, Runtime, StepContext, SuspendContext, Workflow, create_workflow, step
from wrkflw.mail import Mailroom, Trust, message_id
from wrkflw.triggers import Email

AnyWorkflow = Workflow[Any, Any, Any]


class Invoice(BaseModel):
    sender: str
    text: str


class Approval(BaseModel):
    approved: bool


def triage(*, id: str = "triage") -> Workflow[Email, str, None]:
    """Takes mail as it is, and gives its subject."""

    @step(id="read")
    async def read(mail: Email) -> str:
        return mail.subject

    return create_workflow(id=id, input_schema=Email, output_schema=str).then(read).commit()


def booking() -> Workflow[Invoice, str, None]:
    @step(id="book")
    async def book(invoice: Invoice) -> str:
        return f"{invoice.sender}: {invoice.text.strip()}"

    return create_workflow(id="booking", input_schema=Invoice, output_schema=str).then(book).commit()


@step(id="ask")
async def ask(what: str, ctx: SuspendContext[Approval, str]) -> str:
    return "yes" if ctx.suspend(message_id(ctx, "acme.test")).approved else "no"


approval = Event("approval", Approval)


def asking() -> Workflow[str, str, None]:
    """Sends a question, and is suspended until it is answered."""
    return create_workflow(id="asking", input_schema=str, output_schema=str).then(ask).commit()


def deciding() -> Workflow[str, Approval, None]:
    """Sends a question, and waits for an event."""

    @step(id="send")
    async def send(what: str, ctx: StepContext) -> str:
        return message_id(ctx, "acme.test")

    return (
        create_workflow(id="deciding", input_schema=str, output_schema=Approval)
        .then(send)
        .wait_for_event(approval)
        .commit()
    )


def yes_or_no(mail: Email) -> Approval:
    return Approval(approved=mail.text.lower().startswith("yes"))


def letter(to: str = "invoices@acme.test", **headers: str) -> EmailMessage:
    """A mail of Ada's; ``None`` for a header leaves it out, ``_`` in a name is a hyphen."""
    mail = EmailMessage()
    known = {"From": "Ada <ada@example.org>", "To": to, "Subject": "Hello", "Message-ID": "<1@example.org>"}
    for name, value in {**known, **{name.replace("_", "-"): value for name, value in headers.items()}}.items():
        mail[name] = value
    mail.set_content("Yes, please.\n")
    return mail


@asynccontextmanager
async def mailroom(*workflows: AnyWorkflow, database: str = ":memory:", **options: Any) -> AsyncIterator[Mailroom]:
    async with Runtime(database, workflows=workflows) as rt:
        yield Mailroom(rt, **options)


async def outputs(room: Mailroom, *run_ids: str) -> list[object]:
    """Of runs, once they have ended."""
    rt = room.rt
    found: list[object] = []
    for run_id in run_ids:
        workflow = rt.definitions[(await rt.runs.get(run_id)).workflow_id].workflow
        assert isinstance(workflow, Workflow)
        found.append((await (await workflow.get_run(run_id)).result("10s")).unwrap())
    return found


OUR_SERVER = Trust(authserv_id="mx.acme.test")
PROVEN = {"Authentication_Results": "mx.acme.test; dmarc=pass header.from=example.org"}
