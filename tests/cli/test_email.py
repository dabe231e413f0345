"""``wrkflw email deliver``: a mail that a mail server pipes in, and what the server is told of it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .command import Ended, Shell

FLOW = """
from wrkflw import create_workflow, step
from wrkflw.triggers import Email, email

@step
async def note(mail: Email) -> str:
    return mail.subject

inbox = create_workflow(id="inbox", input_schema=Email, output_schema=str).then(note).commit()
email(inbox, "invoices@*")
"""
MAIL = (
    b"From: ada@example.org\r\nTo: invoices@example.com\r\nSubject: May\r\nMessage-ID: <1@example.org>\r\n\r\nHello\r\n"
)


@pytest.fixture
def deliver(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Pipe a mail in."""
    (shell.folder / "flow.py").write_text(FLOW, encoding="utf-8")

    def pipe(mail: bytes, *arguments: str, target: str = "flow.py") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(mail)))
        return shell("email", "deliver", target, *arguments)

    return pipe


def test_a_mail_starts_a_run_that_a_worker_takes(shell: Shell, deliver: Callable[..., Ended]) -> None:
    ended = deliver(MAIL)

    assert ended.code == 0
    shown = shell("runs", "show", ended.out.strip(), "--json").json
    assert (shown["workflow_id"], shown["status"]) == ("inbox", "pending")
    assert shown["input"]["subject"] == "May"


def test_a_mail_that_is_recorded_is_not_refused_because_nobody_reads_of_it(shell: Shell) -> None:
    (shell.folder / "flow.py").write_text(FLOW, encoding="utf-8")
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "wrkflw", "email", "deliver", "flow.py", "--db", "wrkflw.db"]

    ended = subprocess.run(command, cwd=shell.folder, input=MAIL, stdout=write, timeout=60, check=False)
    os.close(write)

    assert ended.returncode == 0
    assert [run["workflow_id"] for run in shell("runs", "list", "--json").json["data"]] == ["inbox"]


def test_a_mail_that_comes_again_starts_nothing(deliver: Callable[..., Ended]) -> None:
    run_id = deliver(MAIL).out.strip()

    again, told = deliver(MAIL), deliver(MAIL, "--json")

    assert (again.code, again.out, again.err) == (0, "", f"it had come before, and started {run_id}\n")
    assert told.json == {"started": [], "repeated": [run_id], "answered": None, "held": None, "reason": None}


def test_the_envelope_says_to_whom_a_mail_came(deliver: Callable[..., Ended]) -> None:
    refused = deliver(MAIL, "--to", "bills@example.com")

    assert refused.code == 1  # upon which a mail server sends it back
    assert (
        refused.err
        == "wrkflw: no workflow takes mail to 'bills@example.com'; give one a route with email() or reply()\n"
    )
    assert deliver(MAIL.replace(b"invoices", b"bills"), "--to", "invoices@example.com").code == 0


def test_a_mail_that_cannot_be_read_is_held_and_is_not_to_be_sent_again(
    shell: Shell, deliver: Callable[..., Ended]
) -> None:
    ended = deliver(b"\0" * 100, "--to", "invoices@example.com", "--json")

    assert ended.code == 0
    assert shell("runs", "show", ended.json["held"], "--json").json["workflow_id"] == "mail-quarantine"


def test_without_stdin_the_mail_server_keeps_the_mail(
    shell: Shell, deliver: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it when it is closed

    ended = shell("email", "deliver", "flow.py")

    assert ended.code == 75
    assert ended.err == "wrkflw: stdin is closed; pipe the mail in; the mail was not taken, deliver it again\n"


@pytest.mark.parametrize(
    ("target", "arguments", "sentence"),
    [
        (
            "flow.py",
            ["--db", "redis://app"],
            "'redis://app' is not a database this version knows; use 'sqlite:///path/to/file.db' or ':memory:'",
        ),
        ("gone.py", [], "there is no file 'gone.py'; give module:workflow or path/to/file.py:workflow"),
        ("none.py", [], "no workflow here takes mail; give one a route with email() or reply()"),
    ],
)
def test_whatever_else_goes_wrong_the_mail_server_keeps_the_mail(
    deliver: Callable[..., Ended], target: str, arguments: list[str], sentence: str
) -> None:
    Path("none.py").write_text(FLOW.replace('email(inbox, "invoices@*")', ""), encoding="utf-8")

    ended = deliver(MAIL, *arguments, target=target)

    assert ended.code == 75
    assert ended.err == f"wrkflw: {sentence}; the mail was not taken, deliver it again\n"
