"""``wrkflw email``: hand in a mail, as a mail server does that pipes it into a program."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .parameters import AsJson, AuthservId, Database, Dkim, Targets

if TYPE_CHECKING:
    from wrkflw.mail import Delivery, Trust

    from .targets import AnyWorkflow


def deliver(
    targets: Targets = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS", help="To whom it came; without it, to whom its headers say.", show_default=False
        ),
    ] = None,
    sender: Annotated[
        str, typer.Option("--from", metavar="ADDRESS", help="The sender on its envelope.", show_default=False)
    ] = "",
    authserv_id: AuthservId = None,
    dkim: Dkim = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Take in the mail on stdin.

    The ids of the runs that it started are printed; a worker takes them.
    Exit codes are those that mail servers know: 0 it is recorded, or held for a person; 1 it is refused;
    75 it could not be taken, deliver it again.  An option that there is not is 2, as with all commands.
    """
    import asyncio

    from wrkflw.mail import MailTooLargeError, NoRecipientError, Trust

    from .failures import NotTakenError
    from .targets import workflows_of

    try:
        trust = Trust(authserv_id=authserv_id, dkim=dkim)
        delivery = asyncio.run(_deliver(workflows_of(targets), trust, to, sender, db))
    except (NoRecipientError, MailTooLargeError):
        raise
    except Exception as error:  # whatever it is, the sender is to keep the mail
        raise NotTakenError from error
    try:
        _tell(delivery, as_json=as_json)
    except OSError:  # nobody can be told, but it is recorded, and not to be sent back
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())


async def _deliver(
    workflows: list[AnyWorkflow], trust: Trust, to: list[str] | None, sender: str, db: str | None
) -> Delivery:
    from wrkflw.mail import Mailroom

    from .failures import MisuseError
    from .opening import new_runtime

    if sys.stdin is None:  # closed, when the process began
        raise MisuseError("stdin is closed; pipe the mail in")
    async with new_runtime(db, workflows, worker=False) as runtime:
        room = Mailroom(runtime, trust=trust)
        raw = sys.stdin.buffer.read(room.limits.size + 1)
        return await room.deliver(raw, envelope_from=sender, envelope_to=to)


def _tell(delivery: Delivery, *, as_json: bool) -> None:
    from dataclasses import asdict

    from .screen import say, show, show_json

    if as_json:
        return show_json(asdict(delivery))
    for run_id in delivery.started:
        show(run_id)
    if delivery.repeated:
        say(f"it had come before, and started {', '.join(delivery.repeated)}")
    if delivery.answered:
        say(f"it answered run {delivery.answered}")
    return None  # what is held has been logged
