"""The commands that go on until they are told to stop, and a new project, as processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import aiosmtplib
import httpx2
import pytest

from wrkflw import Runtime

PATIENCE = 60
SLOW = """
import asyncio
from pathlib import Path
from wrkflw import create_workflow, step

@step
async def first(n: int) -> int:
    print("the first step begins", flush=True)
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return n + 1

@step
async def second(n: int) -> int:
    Path("second").touch()
    return n + 1

slow = create_workflow(id="slow", input_schema=int, output_schema=int).then(first).then(second).commit()
"""

STUCK = """
import time
from wrkflw import create_workflow, step

@step
def never(n: int) -> int:
    print("it begins", flush=True)
    time.sleep(3600)
    return n

stuck = create_workflow(id="stuck", input_schema=int, output_schema=int).then(never).commit()
"""
INBOX = """
from wrkflw import create_workflow, step
from wrkflw.triggers import Email, email

@step
async def note(mail: Email) -> str:
    return mail.subject

inbox = create_workflow(id="inbox", input_schema=Email, output_schema=str).then(note).commit()
email(inbox, "invoices@*")
"""
HEAVY = ("fastapi", "uvicorn", "sqlalchemy", "alembic", "watchfiles", "apscheduler", "opentelemetry")


class Process:
    """A command that is running; ``said`` is what it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def says(self, text: str) -> None:
        """Wait until it has said so."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while text not in self.said:
                line = await self.process.stdout.readline()
                assert line, f"it ended, and said {self.said!r}"
                self.said += line.decode()

    async def ends(self) -> int:
        """Its exit code, once it has ended by itself."""
        async with asyncio.timeout(PATIENCE):
            rest, _ = await self.process.communicate()
        self.said += rest.decode()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def wrkflw(
    folder: Path,
    *arguments: str,
    python: Sequence[str] = ("-m", "wrkflw"),
    settings: Mapping[str, str] = MappingProxyType({}),
) -> AsyncGenerator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *python, *arguments),
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("WRKFLW_")} | {**settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ran(folder: Path, *arguments: str, python: Sequence[str] = ("-m", "wrkflw")) -> tuple[int, str]:
    async with wrkflw(folder, *arguments, python=python) as command:
        return await command.ends(), command.said


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_new_project_runs_and_its_tests_pass(tmp_path: Path) -> None:
    folder = tmp_path / "my project"

    written, said = await ran(tmp_path, "init", str(folder))
    greeted = await ran(folder, "run", "flows:hello", "name=Ada", "-q")
    asked, _ = await ran(folder, "run", "flows:visit", "name=Ada", "-q")
    tested, report = await ran(folder, "-q", "-p", "no:cacheprovider", python=("-m", "pytest"))
    again, refusal = await ran(tmp_path, "init", str(folder))

    assert written == 0, said
    assert greeted == (0, '{\n  "text": "Hello, Ada!"\n}\n')
    assert asked == 3
    assert tested == 0, report
    assert again == 2
    assert "has flows.py, test_flows.py, pyproject.toml, .gitignore already" in refusal


async def test_a_worker_that_is_told_to_stop_lets_its_step_end_and_others_take_the_rest(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    await ran(tmp_path, "run", "slow:slow", "--input", "1", "--id", "r1", "--detach")

    async with wrkflw(tmp_path, "worker", "slow", "--grace", "60s") as leaving:
        await leaving.says("the first step begins")
        for _ in range(2):  # once to it, once to its group, as timeout(1) does
            leaving.process.send_signal(signal.SIGTERM)
        await leaving.says("stopping; the steps of 1 run have 60s to end")
        (tmp_path / "go").touch()
        code = await leaving.ends()

    assert code == 0
    assert not (tmp_path / "second").exists()
    async with Runtime(f"sqlite:///{tmp_path / 'wrkflw.db'}", worker=False) as runtime:
        left = await runtime.runs.snapshot("r1")
        assert {key: call.status for key, call in left.step_results.items()} == {"first": "completed"}
        assert (await runtime.world.storage.runs.get("r1")).owner is None

    async with wrkflw(tmp_path, "worker", "slow"):
        followed, log = await ran(tmp_path, "runs", "tail", "r1")
    assert followed == 0
    assert log.endswith("run_completed\n")


@pytest.mark.parametrize("command", [("worker",), ("serve", "--port", "0")])
async def test_who_can_write_nothing_any_more_ends_so_that_somebody_starts_it_anew(
    tmp_path: Path, command: Sequence[str]
) -> None:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")

    async with wrkflw(tmp_path, *command, "slow", settings={"WRKFLW_POLL_SECONDS": "0.1"}) as process:
        await process.says("stop it with Ctrl-C")
        (tmp_path / "wrkflw.db-wal").unlink()
        code = await process.ends()

    assert code == 1
    assert "wrkflw.db-wal was removed while it was in use" in process.said.splitlines()[-1]


async def test_a_worker_does_not_wait_for_a_thread_beyond_its_grace(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK, encoding="utf-8")
    await ran(tmp_path, "run", "stuck:stuck", "--input", "1", "--id", "r1", "--detach")

    async with wrkflw(tmp_path, "worker", "stuck", "--grace", "0s") as worker:
        await worker.says("it begins")
        worker.process.send_signal(signal.SIGTERM)
        code = await worker.ends()

    assert code == 0
    assert worker.said.endswith("stopped\n")
    async with Runtime(f"sqlite:///{tmp_path / 'wrkflw.db'}", worker=False) as runtime:
        assert (await runtime.world.storage.runs.get("r1")).owner is None


async def test_a_second_signal_ends_a_worker_at_once(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK, encoding="utf-8")
    await ran(tmp_path, "run", "stuck:stuck", "--input", "1", "--detach")

    async with wrkflw(tmp_path, "worker", "stuck", "--grace", "1h") as worker:
        await worker.says("it begins")
        worker.process.send_signal(signal.SIGINT)
        await worker.says("stopping; the steps of 1 run have 1h to end")
        while worker.process.returncode is None:  # at first it is taken for the same
            worker.process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.1)

        assert await worker.ends() == -signal.SIGINT
    assert "Traceback" not in worker.said


async def test_a_run_that_is_interrupted_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK, encoding="utf-8")

    async with wrkflw(tmp_path, "run", "stuck:stuck", "--input", "1", "--id", "r1") as run:
        await run.says("it begins")
        run.process.send_signal(signal.SIGINT)
        code = await run.ends()

    assert code == 130
    assert "run r1 stays where it is; a worker goes on with it\n" in run.said
    assert "Traceback" not in run.said


async def test_a_server_takes_mail_where_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "inbox.py").write_text(INBOX, encoding="utf-8")
    port = free_port()
    mail = b"To: invoices@example.com\r\nFrom: ada@example.org\r\nMessage-ID: <1@example.org>\r\n\r\nHello\r\n"

    async with wrkflw(tmp_path, "serve", "inbox", "--port", "0", "--smtp-port", str(port), "-v") as server:
        await server.says("inbox at http://127.0.0.1")
        await aiosmtplib.send(
            mail, hostname="127.0.0.1", port=port, sender="ada@example.org", recipients=["invoices@example.com"]
        )
        taken, refusal = await ran(tmp_path, "serve", "inbox", "--port", "0", "--smtp-port", str(port))
        server.process.send_signal(signal.SIGTERM)
        assert await server.ends() == 0
    assert " info " not in server.said  # nor does it tell of every connection
    _, runs = await ran(tmp_path, "runs", "list", "--json")
    async with wrkflw(tmp_path, "serve", "inbox", "--port", "0") as deaf:
        await deaf.says("no mail is taken here; give --smtp-port, or hand it in with 'wrkflw email deliver'")

    assert (taken, refusal) == (
        2,
        f"wrkflw: port {port} cannot be had for mail: Address already in use; give another --smtp-port\n",
    )
    assert [run["workflow_id"] for run in json.loads(runs)["data"]] == ["inbox"]


async def test_who_looks_at_runs_loads_no_server(tmp_path: Path) -> None:
    flows = str(Path(__file__).with_name("flows.py"))
    await ran(tmp_path, "run", f"{flows}:asking", "name=Ada", "--id", "r1")
    commands = [
        ["--help"], ["runs", "list"], ["runs", "show", "r1"], ["runs", "events", "r1"],
        ["runs", "tail", "r1", "--once"], ["runs", "pause", "r1"], ["hooks", "list"],
        ["dead-letters", "list"], ["tokens", "list"], ["doctor"],
    ]  # fmt: skip
    look = f"""
import sys
from wrkflw.cli import main
for command in {commands!r}:
    try:
        main(command)
    except SystemExit as end:
        assert not end.code, command
    loaded = [name for name in {HEAVY!r} if name in sys.modules]
    assert not loaded, (command, loaded)
"""

    code, said = await ran(tmp_path, python=("-c", look))

    assert code == 0, said


async def test_a_warning_of_ours_is_a_sentence(tmp_path: Path) -> None:
    misspelt = "import os; os.environ['WRKFLW_DATABSE_URL'] = 'x'; from wrkflw.cli import main; main()"

    _, said = await ran(tmp_path, "runs", "list", python=("-c", misspelt))

    assert said.startswith("wrkflw: WRKFLW_DATABSE_URL is no setting of wrkflw; did you mean WRKFLW_DATABASE_URL?\n")
    assert "UserWarning" not in said


async def test_a_server_answers_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    (tmp_path / "go").touch()
    port = free_port()

    async with wrkflw(tmp_path, "serve", "slow", "--port", str(port), "--verbose") as server:
        await server.says("slow at http://127.0.0.1")
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await client.post("/api/workflows/slow/runs?wait=10s", json=1)
        second, refusal = await ran(tmp_path, "serve", "slow", "--port", str(port))
        server.process.send_signal(signal.SIGTERM)
        code = await server.ends()

    assert answer.json()["output"] == 3
    assert (second, refusal) == (
        2,
        f"wrkflw: 127.0.0.1:{port} cannot be listened on: Address already in use; name another with --host, --port\n",
    )
    assert code == 0
    assert server.said.endswith("stopped\n")


async def test_a_server_in_development_begins_anew_when_the_code_changes(tmp_path: Path) -> None:
    flows = tmp_path / "slow.py"
    flows.write_text(SLOW, encoding="utf-8")

    async with wrkflw(tmp_path, "dev", "slow", "--port", str(free_port())) as server:
        await server.says("slow at http://127.0.0.1")
        flows.write_text(SLOW.replace('id="slow"', 'id="brisk"'), encoding="utf-8")
        await server.says("slow.py changed; beginning anew")
        await server.says("brisk at http://127.0.0.1")
        server.process.send_signal(signal.SIGTERM)
        code = await server.ends()

    assert code == 0


async def test_the_schedules_of_a_worker_are_listed_paused_and_triggered(tmp_path: Path) -> None:
    flows = Path(__file__).with_name("flows.py")
    target = (f"{flows}:greeting", "--db", str(tmp_path / "app.db"))
    async with wrkflw(tmp_path, "worker", *target) as worker:
        await worker.says("worker of greeting")
        worker.process.send_signal(signal.SIGTERM)
        await worker.ends()

    listed = await ran(tmp_path, "schedules", "list", "--db", "app.db")
    paused = await ran(tmp_path, "schedules", "pause", "mornings", "--db", "app.db")
    triggered, run_id = await ran(tmp_path, "schedules", "trigger", "mornings", *target)
    filled = await ran(
        tmp_path, "schedules", "backfill", "mornings", "--since", "2024-01-01", "--until", "2024-01-03", *target
    )
    assert "mornings" in listed[1]
    assert "paused" in paused[1]
    assert (triggered, run_id[:5]) == (0, "wrun_")
    assert filled[0] == 0
    assert len(filled[1].split()) == 2


async def test_without_its_libraries_the_command_line_says_what_to_install(tmp_path: Path) -> None:
    hidden = "import sys, importlib.util as u; find = u.find_spec; "
    hidden += "u.find_spec = lambda name, *rest: None if name == 'typer' else find(name, *rest); "
    hidden += "from wrkflw.cli import main; main(['runs', 'list'])"

    code, said = await ran(tmp_path, python=("-c", hidden))

    assert code == 2
    assert said == 'wrkflw: the command line needs typer; pip install "wrkflw[server]"\n'
