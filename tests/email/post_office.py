"""A process that takes mail in over SMTP: ``python -m tests.email.post_office DATABASE DIES``; it tells its port.

It dies ``before`` a mail is recorded, ``behind`` that and before its answer, or ``never`` by itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from wrkflw import Runtime
from wrkflw.mail import Delivery, Mailroom, SmtpServer

from .desk import triage


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Doomed(Mailroom):
    dies = "never"

    async def deliver(
        self, raw: bytes, *, envelope_from: str = "", envelope_to: Sequence[str] | None = None
    ) -> Delivery:
        if self.dies == "before":
            die()
        delivery = await super().deliver(raw, envelope_from=envelope_from, envelope_to=envelope_to)
        if self.dies == "behind":
            die()
        return delivery


async def main(database: str, dies: str) -> None:
    workflow = triage()
    workflow.on_email("invoices@*")
    async with Runtime(database, workflows=[workflow]) as rt:
        room = Doomed(rt)
        room.dies = dies
        async with SmtpServer(room, port=0) as server:
            print(server.port, flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
