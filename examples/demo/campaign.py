"""The first part of the demo: the e-mail campaign, for all users at once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from examples import users
from examples.email_campaign import Receipt, UserId, email_campaign
from wrkflw import Completed, Run, RunResult, Runtime, Snapshot

from .screen import Board, Screen
from .smtp_server import Mailbox, smtp_server

STEPS = ("fetch-user", "generate-email", "send-email")
WARY = "grace@example.org"


async def show(screen: Screen, database: Path, people: Path) -> None:
    users.prepare(people)
    mailbox = Mailbox(seconds=0.3, wary=[WARY])
    async with smtp_server(mailbox) as port:
        os.environ |= {"CAMPAIGN_USERS": str(people), "CAMPAIGN_SMTP_PORT": str(port)}
        screen.say(f"an SMTP server listens on port {port}; it is slow, and puts off the first mail to {WARY}")
        screen.say(f"{len(users.SIGNED_UP)} runs, each of them {' → '.join(STEPS)}")
        screen.say()
        async with Runtime(f"sqlite:///{database}", workflows=[email_campaign]) as rt:
            runs = {user_id: await welcome(user_id) for user_id in users.SIGNED_UP}
            board = Board(screen, {run.run_id: users.SIGNED_UP[user_id][0] for user_id, run in runs.items()}, STEPS)
            stop = rt.world.subscribe(board.heard)
            results = await start_all(runs)
            stop()
            screen.say()
            screen.check("every run completed", all(isinstance(result, Completed) for result in results))
            screen.check("everybody got one mail", sorted(mailbox.deliveries.values()) == [1] * len(runs))

            again = await start_all({user_id: await welcome(user_id) for user_id in users.SIGNED_UP})
            screen.check("started again under the same keys: the same results", again == results)
            screen.check("and no further mail", len(mailbox.mails) == len(runs))

            snapshot = await runs["3"].snapshot()
    screen.say()
    screen.say("one of the mails, as the server got it:")
    screen.quote(mailbox.mails[0].as_string())
    screen.say("the run whose mail was put off, in short (run.snapshot() has more):")
    screen.quote(in_short(snapshot))


async def welcome(user_id: str) -> Run[UserId, Receipt, None]:
    return await email_campaign.create_run(idempotency_key=f"welcome-{user_id}")


async def start_all(runs: dict[str, Run[UserId, Receipt, None]]) -> list[RunResult[Receipt]]:
    return await asyncio.gather(*(run.start(UserId(user_id=user_id)) for user_id, run in runs.items()))


def in_short(snapshot: Snapshot) -> str:
    step = {"status", "attempt", "output", "started_at", "completed_at"}
    return snapshot.model_dump_json(
        indent=2,
        include={
            "run_id": True,
            "status": True,
            "execution_path": True,
            "step_results": {STEPS[-1]: step},
            "result": True,
        },
    )
