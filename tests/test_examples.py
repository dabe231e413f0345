"""Every example runs as a program of its own, with real parts around it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from examples.demo.smtp_server import Mailbox, smtp_server

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = {path.relative_to(ROOT / "examples").as_posix() for path in (ROOT / "examples").rglob("*.py")}
PROGRAMS = {
    "hello.py",
    "retries.py",
    "state.py",
    "email_campaign.py",
    "parallel.py",
    "branch.py",
    "approval.py",
    "foreach.py",
    "loop.py",
    "nested.py",
    "streaming.py",
    "fork.py",
    "onboarding.py",
    "inbox.py",
    "demo/__main__.py",
    "demo/journey.py",
}
PARTS = {
    "settings.py",
    "users.py",
    *(f"demo/{name}.py" for name in ("campaign", "crash", "screen", "smtp_server", "tour")),
}


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


async def run(module: str, *arguments: str, folder: Path, **settings: str) -> Ran:
    """``python -m examples.MODULE`` in a folder, where a warning is an error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", f"examples.{module}", *arguments),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


def runs_in(database: Path) -> list[tuple[str, str]]:
    """Workflow and status of each run."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT workflow_name, status FROM runs ORDER BY run_no").fetchall()


async def test_hello(tmp_path: Path) -> None:
    ran = await run("hello", "Ada", folder=tmp_path)

    assert ran == Ran(0, "Hello, Ada!\n", "")
    assert runs_in(tmp_path / "wrkflw.db") == [("hello", "completed")]


async def test_the_database_is_where_the_environment_says(tmp_path: Path) -> None:
    ran = await run("hello", folder=tmp_path, WRKFLW_DATABASE_URL=f"sqlite:///{tmp_path / 'elsewhere.db'}")

    assert ran == Ran(0, "Hello, world!\n", "")
    assert runs_in(tmp_path / "elsewhere.db") == [("hello", "completed")]


async def test_retries(tmp_path: Path) -> None:
    ran = await run("retries", folder=tmp_path)

    lisbon, atlantis = "Lisbon: 21 °C, after 3 tries", "Atlantis: FatalError after 1 try: there is no such city"
    assert ran == Ran(0, f"{lisbon}\n{atlantis}\n", "")
    assert runs_in(tmp_path / "wrkflw.db") == [("weather", "completed"), ("weather", "failed")]


async def test_state(tmp_path: Path) -> None:
    ran = await run("state", folder=tmp_path)

    notes = "12 × lamp, large order: 15 off"
    assert ran == Ran(0, f"225 for {notes}\ntotal=225 notes={notes.split(', ')}\n", "")


async def lines_of(module: str, folder: Path) -> list[str]:
    """What an example prints that leaves nothing behind."""
    ran = await run(module, folder=folder)
    assert (ran.code, ran.err) == (0, "")
    assert os.listdir(folder) == []
    return ran.out.splitlines()


async def test_parallel(tmp_path: Path) -> None:
    *answers, offer = await lines_of("parallel", tmp_path)

    assert sorted(answers) == [f"the {who} has answered" for who in ("airline", "hotel", "weather station")]
    assert offer == "TP 571, Grand Hotel Lisbon, 21 °C: 450 euros"


async def test_branch(tmp_path: Path) -> None:
    ada, grace, alan = await lines_of("branch", tmp_path)

    assert ada == "Ada gets 20 at once"
    assert grace == "Grace gets 400, and thanks for 12 years"
    assert alan == "a clerk looks at the 400 of Alan"


async def test_approval_over_a_restart(tmp_path: Path) -> None:
    assert await lines_of("approval", tmp_path) == [
        "a process of its own, to begin:",
        "  the supplier is asked for 4 × chair",
        "  order-17 is suspended: is 1000 all right?",
        "a process of its own, to answer:",
        "  order-17 is completed: ordered 4 × chair for 1000, approved by Grace",
    ]


async def test_foreach(tmp_path: Path) -> None:
    *sent, report = await lines_of("foreach", tmp_path)

    assert {line.partition(":")[0] for line in sent} == {f"send-newsletter[{index}]" for index in range(4)}
    assert report == "3 sent, 1 refused; 'alan': that is no address"


async def test_loop(tmp_path: Path) -> None:
    assert await lines_of("loop", tmp_path) == [
        "after page 1: lamp, chair",
        "after page 2: lamp, chair, table",
        "after page 3: lamp, chair, table, shelf, mirror",
        "5 items; recorded: fetch-page#1, fetch-page#2, fetch-page#3",
    ]


async def test_nested(tmp_path: Path) -> None:
    assert await lines_of("nested", tmp_path) == [
        "lamp → 1 Loop Lane (1200 g) and mirror → 2 Branch Road (300 g)",
        "recorded: pack[0]/weigh, pack[0]/print-label, pack[1]/weigh, pack[1]/print-label, hand-over",
        "weight of the second: 300",
    ]


async def test_streaming(tmp_path: Path) -> None:
    assert await lines_of("streaming", tmp_path) == [
        "tell-story: Once there was a run.",
        "tell-story: Its process was killed.",
        "tell-story: It went on all the same.",
        "  step_completed",
        "  run_completed",
    ]


async def test_fork(tmp_path: Path) -> None:
    assert await lines_of("fork", tmp_path) == [
        "a seat for Hamlet is reserved",
        "charge failed: the bank refuses the expired card",
        "seat F 12, 40 paid by new card",
        "seat F 12, 40 paid in cash",
        "the first run is failed as before",
    ]


async def test_onboarding(tmp_path: Path) -> None:
    parked = "the run is waiting"

    assert await lines_of("onboarding", tmp_path) == [
        *("greeting Ada", parked, "message='Ada was approved' greeting='Hello, Ada!'"),
        *("greeting Alan", parked, "message='Alan was rejected' greeting='Hello, Alan!'"),
    ]


async def test_inbox(tmp_path: Path) -> None:
    assert await lines_of("inbox", tmp_path) == [
        "the invoice is recorded: 250 2.0.0 taken",
        "the run is suspended, and has asked: shop@example.com wants money. Yes or no?",
        "'Invoice 17' is paid, says grace@example.org",
    ]


async def test_the_campaign_delivers_a_mail(tmp_path: Path) -> None:
    mailbox = Mailbox()
    async with smtp_server(mailbox) as port:
        ran = await run("email_campaign", "1", folder=tmp_path, CAMPAIGN_SMTP_PORT=str(port))

    [mail] = mailbox.mails
    assert ran == Ran(0, f"sent to ada@example.org as {mail['Message-ID']}\n", "")
    assert (mail["To"], mail["Subject"]) == ("ada@example.org", "Hello Ada Lovelace!")
    assert mail.get_content().strip() == "Welcome to our service, Ada Lovelace!"


async def test_the_campaign_sends_nothing_twice(tmp_path: Path) -> None:
    mailbox = Mailbox()
    async with smtp_server(mailbox) as port:
        first = await run("email_campaign", "1", folder=tmp_path, CAMPAIGN_SMTP_PORT=str(port))
        second = await run("email_campaign", "1", folder=tmp_path, CAMPAIGN_SMTP_PORT=str(port))

    assert first == second
    assert len(mailbox.mails) == 1


async def test_a_mail_that_was_put_off_keeps_its_message_id(tmp_path: Path) -> None:
    mailbox = Mailbox(wary=["grace@example.org"])
    async with smtp_server(mailbox) as port:
        ran = await run("email_campaign", "3", folder=tmp_path, CAMPAIGN_SMTP_PORT=str(port))

    assert ran.code == 0, ran.err
    assert mailbox.put_off == [mail["Message-ID"] for mail in mailbox.mails]


async def test_the_campaign_reads_the_users_that_are_there(tmp_path: Path) -> None:
    users = tmp_path / "people.db"
    with closing(sqlite3.connect(users)) as connection, connection:
        connection.execute("CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT, email TEXT)")
        connection.execute("INSERT INTO users VALUES ('42', 'Joan', 'joan@example.org')")
    mailbox = Mailbox()

    async with smtp_server(mailbox) as port:
        settings = {"CAMPAIGN_SMTP_PORT": str(port), "CAMPAIGN_USERS": str(users)}
        ran = await run("email_campaign", "42", folder=tmp_path, **settings)

    assert ran.out.startswith("sent to joan@example.org as ")


async def test_the_campaign_says_who_is_unknown(tmp_path: Path) -> None:
    ran = await run("email_campaign", "77", folder=tmp_path)

    assert ran == Ran(1, "", "fetch-user failed: there is no user '77'\n")


async def test_the_demo_holds_what_it_claims(tmp_path: Path) -> None:
    ran = await run("demo", folder=tmp_path)

    assert (ran.code, ran.err) == (0, "")
    assert "NOT SO" not in ran.out
    assert "\x1b" not in ran.out  # no terminal, no colours
    assert ran.out.rstrip().endswith("everything that was claimed held")
    left = Counter(runs_in(tmp_path / "demo-data" / "wrkflw.db"))
    assert left == {("email-campaign", "completed"): 6, ("journey", "completed"): 1}


async def test_the_demo_can_be_run_again(tmp_path: Path) -> None:
    (tmp_path / "demo-data").mkdir()
    (tmp_path / "demo-data" / "wrkflw.db").write_text("left behind by something else")

    ran = await run("demo", folder=tmp_path)

    assert ran.code == 0, ran.err


def test_no_example_is_left_out() -> None:
    packages = {path for path in EXAMPLES if path.endswith("__init__.py")}

    assert PROGRAMS | PARTS | packages == EXAMPLES
