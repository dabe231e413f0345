"""The third part of the demo: how to look at what is left behind, with the answers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from wrkflw import Runtime

from .screen import Screen

QUERY = "SELECT workflow_name, status, count(*) AS runs, sum(last_slot) AS events FROM runs GROUP BY 1, 2"
PROGRAM = """\
async with Runtime("sqlite:///{database}", worker=False) as rt:
    page = await rt.runs.list(limit=3)
"""


async def show(screen: Screen, database: Path) -> None:
    screen.say("runs are rows of an ordinary SQLite file:")
    screen.quote(f'$ sqlite3 {database} "{QUERY}"')
    with closing(sqlite3.connect(database)) as connection:
        asked = connection.execute(QUERY)
        head = [column[0] for column in asked.description]
        screen.table(head, [[str(cell) for cell in row] for row in asked])

    screen.say("and objects in Python, newest first:")
    screen.quote(PROGRAM.format(database=database))
    async with Runtime(f"sqlite:///{database}", worker=False) as rt:
        page = await rt.runs.list(limit=3)
    rows = [(run.run_id, run.workflow_id, run.status, f"{run.created_at:%H:%M:%S}") for run in page.data]
    screen.table(("run_id", "workflow_id", "status", "created_at"), rows)
