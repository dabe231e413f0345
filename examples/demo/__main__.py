"""The demo, from top to bottom: mails go out, then a process is killed and its run goes on.

Everything lands in ``demo-data/`` in the working directory, which is made anew on each start and left behind.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

from . import campaign, crash, tour
from .screen import Screen

DATA = Path("demo-data")


def main() -> int:
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir()
    screen = Screen()
    asyncio.run(show(screen, DATA / "wrkflw.db"))
    return screen.verdict()


async def show(screen: Screen, database: Path) -> None:

    screen.title("1  A welcome mail for everybody")
    await campaign.show(screen, database, DATA / "users.db")

    screen.title("2  A process is killed, and its run goes on")
    await crash.show(screen, database, DATA / "witness.txt")

    screen.title("3  What is left behind")
    await tour.show(screen, database)


if __name__ == "__main__":
    sys.exit(main())
