"""Real processes, killed around the answer to a mail: what was answered with 250 stands, and is there once."""

from __future__ import annotations

import signal
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .desk import letter, mailroom, outputs, triage

pytestmark = pytest.mark.crash

ROOT = Path(__file__).resolve().parents[2]
TO = "invoices@acme.test"
READ = letter().as_bytes()
HELD = READ.replace(b"From: ", b"From: a@b, ", 1)
SECONDS = 30  # that anything here may take; nothing is measured


@contextmanager
def post_office(database: str, *, dies: str = "never") -> Iterator[int]:
    """The port of a process that takes mail in; it is killed at the end."""
    arguments = [sys.executable, "-m", "tests.email.post_office", database, dies]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()
            assert process.wait(SECONDS) == -signal.SIGKILL


def send(port: int, raw: bytes) -> bool:
    """Whether it was answered with 250."""
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=SECONDS) as client:
            client.sendmail("ada@example.org", [TO], raw)
    except smtplib.SMTPServerDisconnected:
        return False
    return True


async def what_is_there(database: str) -> tuple[int, int]:
    """How many runs of mails there are, each with what it gives, and how many mails are held."""
    workflow = triage()
    workflow.on_email("invoices@*")
    async with mailroom(workflow, database=database) as room:
        run_ids = [run.run_id for run in (await room.rt.runs.list(workflow=workflow)).data]
        assert set(await outputs(room, *run_ids)) <= {"Hello"}
        return len(run_ids), len((await room.quarantine.list()).data)


@pytest.mark.parametrize(("raw", "there"), [(READ, (1, 0)), (HELD, (0, 1))], ids=["a run", "held"])
async def test_what_was_answered_survives_a_kill(database: str, raw: bytes, there: tuple[int, int]) -> None:
    with post_office(database) as port:
        assert send(port, raw)

    assert await what_is_there(database) == there


@pytest.mark.parametrize("dies", ["before", "behind"])
@pytest.mark.parametrize(("raw", "there"), [(READ, (1, 0)), (HELD, (0, 1))], ids=["a run", "held"])
async def test_what_was_not_answered_is_sent_again_and_is_there_once(
    database: str, dies: str, raw: bytes, there: tuple[int, int]
) -> None:
    with post_office(database, dies=dies) as port:
        assert not send(port, raw)
    with post_office(database) as port:
        assert send(port, raw)

    assert await what_is_there(database) == there
