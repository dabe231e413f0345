"""What was told, and what is on the disk: whether the one bears out the other."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.crash import oracle

from . import views
from .stage import Fact


@dataclass
class Found:
    """What a database holds, and what is wrong with it by itself."""

    database: oracle.Database
    taken: Counter[tuple[str, str]]
    """How many events of a type each run has."""


def found_in(path: Path) -> Found:
    """Nobody may have the file open.  What is not a database any more is a violation like any other."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA synchronous = OFF")  # it is thrown away after this
            database, taken = oracle.read_from(connection), Counter[tuple[str, str]]()
            if database.runs:
                database.violations += views.wrong_in(connection)
                counted = "SELECT run_id, event_type FROM events JOIN runs USING (run_no)"
                taken.update(connection.execute(counted).fetchall())
        except (sqlite3.DatabaseError, KeyError, ValueError) as error:
            return Found(oracle.Database({}, {}, [f"it cannot be read: {error!r}"]), Counter())
    return Found(database, taken)


def wrong(found: Found, facts: list[Fact]) -> Iterator[str]:
    """At any time, of whatever a power cut or a crash left: ``facts`` were told before it."""
    yield from found.database.violations
    yield from lost(found, facts)


def lost(found: Found, facts: list[Fact]) -> Iterator[str]:
    """What somebody was told, or did, and nothing on the disk knows of."""
    yield from oracle.judge(found.database, facts)
    for fact in facts:
        name, run_id = fact.get("name"), fact.get("run", "")
        run = found.database.runs.get(run_id)
        status = "lost" if run is None else run.status
        match fact["what"]:
            case "ANSWERED" if found.taken[run_id, "hook_received"] != 1:
                yield f"{name!r} was acknowledged, and there are {found.taken[run_id, 'hook_received']} answers"
            case "SENT" if found.taken[run_id, "signal_received"] != 1:
                yield f"{name!r} was acknowledged, and there are {found.taken[run_id, 'signal_received']} events"
            case "CANCELLED" if status != "cancelled":
                yield f"{name!r} was acknowledged, and its run is {status}"
            case "ACK" | "END" if "output" in fact:
                output = None if run is None else run.output
                if (status, output) != ("completed", fact["output"]):
                    yield f"{name!r} gave {fact['output']!r}, and its run is {status} with {output!r}"
            case _:
                pass


def unfinished(found: Found, facts: list[Fact]) -> Iterator[str]:
    """When all is over: whoever was acknowledged has come to the end that was wanted."""
    for run in found.database.runs.values():
        if run.status not in oracle.ENDS.values():
            yield f"{run.run_id} is {run.status} when all is over"
    ends = [fact for fact in facts if fact["what"] == "END"]
    yield from (f"{end['name']!r} gave {end['output']!r}, not {end['wanted']!r}" for end in ends
                if end["output"] != end["wanted"])  # fmt: skip
