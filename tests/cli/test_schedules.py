"""``wrkflw schedules``, when the function that makes the inputs fails."""

from __future__ import annotations

import asyncio
import runpy

import pytest

from wrkflw import Runtime

from .command import Shell

FLOW = """
from wrkflw import create_workflow, step
from wrkflw.triggers import cron

def broken(fire):
    raise ValueError(f"nothing for {fire.at:%Y}\\nnor later")

def unfit(fire):
    return 17

@step
async def note(text: str) -> str:
    return text

notes = create_workflow(id="notes", input_schema=str, output_schema=str).then(note).commit()
for make in (broken, unfit):
    cron(notes, "@yearly", id=make.__name__, input=make)
"""
YEARS = ("--since", "2020-01-01", "--until", "2024-12-31")


@pytest.fixture
def known(shell: Shell) -> Shell:
    """A shell where a worker has made the schedules known."""
    path = shell.folder / "flow.py"
    path.write_text(FLOW, encoding="utf-8")
    notes = runpy.run_path(str(path))["notes"]

    async def work() -> None:
        async with Runtime("sqlite:///wrkflw.db", workflows=[notes]):
            pass

    asyncio.run(work())
    return shell


def test_a_backfill_that_makes_no_run_says_why_and_has_failed(known: Shell) -> None:
    ended, told = (known("schedules", "backfill", "broken", "flow.py", *YEARS, *rest) for rest in ([], ["--json"]))

    reason = "its input could not be made: ValueError: nothing for 2020"
    assert ended.err.endswith(f"5 of the instants made no run; the first: {reason}\n")
    assert (ended.code, ended.out) == (1, "")
    assert (told.code, told.json) == (1, [])


@pytest.mark.parametrize(
    ("schedule", "what", "cure"),
    [("broken", "ValueError: nothing for ", "; mend its input="), ("unfit", "input of run 'wrun_", "does not fit str")],
)
def test_a_trigger_whose_input_cannot_be_made_has_failed_and_was_not_used_wrongly(
    known: Shell, schedule: str, what: str, cure: str
) -> None:
    ended = known("schedules", "trigger", schedule, "flow.py")

    assert ended.code == 1
    assert ended.err.startswith(f"wrkflw: schedule '{schedule}' makes no run: {what}")
    assert cure in ended.err
    assert ended.err.count("\n") == 1


def test_a_backfill_cannot_begin_before_the_calendar_does(known: Shell) -> None:
    ended = known("schedules", "backfill", "broken", "flow.py", "--since", "0001-01-01", "--until", "2024-01-01")

    assert ended.code == 2
    assert ended.err == "wrkflw: backfill() cannot go back to 0001-01-01T00:00:00+00:00; give a later moment\n"
