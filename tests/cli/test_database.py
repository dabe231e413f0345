"""The commands about a database: what waits in it, whether it is sound, copying it, bringing it up to date."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from tests.clocks import ManualClock
from wrkflw.world import events as e
from wrkflw.world.queue import Defer, Delivery, Invocation, Message
from wrkflw.worlds.health import revision_of
from wrkflw.worlds.sql.migrations.upgrade import upgrade
from wrkflw.worlds.sql.schema import REVISIONS
from wrkflw.worlds.sqlite import SqliteWorld

from .command import FLOWS, Shell


def test_hooks_are_listed_with_their_tokens(shell: Shell) -> None:
    shell.run("asking", "name=Ada", "--id", "r1")

    [hook] = shell("hooks", "list", "--json").json

    assert (hook["run_id"], hook["kind"], hook["step_key"]) == ("r1", "suspend", "ask")
    assert hook["token"] in shell("hooks", "list", "r1").out


def test_a_hook_that_outlives_what_its_run_held_is_listed(shell: Shell) -> None:
    async def expire() -> None:
        clock = ManualClock(datetime.now(UTC))
        world = SqliteWorld(shell.folder / "wrkflw.db", clock=clock, retention=timedelta(hours=1))
        await world.start()
        run = await world.storage.runs.create({"workflow_name": "asking", "input": b"1"})
        kept_on = clock.now() + timedelta(days=1)
        for event in (
            e.RunStarted(),
            e.StepCreated(correlation_id="step_a", step_name="ask", key="ask", input=b"1"),
            e.HookCreated(correlation_id="hook_a", token="t", step_id="step_a", token_retention_until=kept_on),
            e.RunCompleted(output=b"1"),
        ):
            await world.storage.events.create(run.run_id, event)
        clock.turn(timedelta(hours=1))
        assert await world.storage.retention.expire() == 1
        await world.close()

    asyncio.run(expire())

    [hook] = shell("hooks", "list", "--json").json

    assert (hook["token"], hook["step_key"]) == ("t", "ask")


def test_without_dead_letters_there_is_nothing_to_list_or_drop(shell: Shell) -> None:
    shell.run("greeting", "name=Ada")

    assert shell("dead-letters", "list", "--json").json == []
    assert shell("dead-letters", "list").err == "no message was given up\n"
    assert shell("dead-letters", "drop", "msg_1").code == 1
    assert shell("dead-letters", "requeue", "msg_1").code == 1


def test_a_schedule_that_no_worker_made_known_is_none(shell: Shell) -> None:
    shell.run("greeting", "name=Ada")

    assert shell("schedules", "list", "--json").json == []
    assert shell("schedules", "pause", "mornings").code == 1


def test_a_backup_is_a_whole_database(shell: Shell) -> None:
    shell.run("greeting", "name=Ada", "--id", "r1")

    assert shell("db", "backup", "copy.db").code == 0

    assert shell("runs", "show", "r1", "--db", "copy.db", "--json").json["result"] == "Hello, Ada"
    assert (shell.folder / "copy.db").stat().st_mode & 0o777 == 0o600
    again = shell("db", "backup", "copy.db")
    assert (again.code, again.err) == (1, "wrkflw: copy.db is there already; name a file that is not\n")


def test_a_backup_is_put_back(shell: Shell) -> None:
    shell.run("greeting", "name=Ada", "--id", "r1")
    shell("db", "backup", "copy.db")
    shell.run("greeting", "name=Ada", "--id", "r2")

    restored = shell("db", "restore", "copy.db")

    size, aside = (shell.folder / "copy.db").stat().st_size, shell.folder / "wrkflw.db.before-restore"
    assert (restored.code, restored.err) == (
        0,
        f"wrkflw.db is a copy of copy.db now, {size:,} bytes; what was there is {aside}\n",
    )
    assert [run["run_id"] for run in shell("runs", "list", "--json").json["data"]] == ["r1"]
    assert shell("runs", "show", "r2", "--db", str(aside)).code == 0
    missing = shell("db", "restore", "none.db")
    assert (missing.code, missing.err) == (
        2,
        "wrkflw: there is no backup 'none.db'; name a file that wrkflw db backup has made\n",
    )


def test_a_database_is_up_to_date_once_it_was_opened(shell: Shell) -> None:
    shell.run("greeting", "name=Ada")

    assert shell("db", "upgrade").err.startswith("wrkflw.db has schema ")
    assert shell("db", "gc", "--json").json == {"runs": 0, "payloads": 0}


def test_what_is_done_to_a_database_is_told_as_json(shell: Shell) -> None:
    shell.run("greeting", "name=Ada")

    upgraded = shell("db", "upgrade", "--json").json
    copied = shell("db", "backup", "copy.db", "--json").json

    restored = shell("db", "restore", "copy.db", "--db", "new.db", "--json").json

    assert restored == {"database": "new.db", "backup": "copy.db", "bytes": copied["bytes"], "kept": None}
    assert (upgraded["database"], upgraded["before"]) == ("wrkflw.db", upgraded["after"])
    assert copied == {"database": "wrkflw.db", "copy": "copy.db", "bytes": (shell.folder / "copy.db").stat().st_size}


async def given_up() -> list[str]:
    """The ids of two messages that nobody could take."""
    both, gone = asyncio.Event(), list[str]()

    async def fails(message: Message, delivery: Delivery) -> Defer | None:
        gone.append(delivery.message_id)
        if len(gone) == 2:
            both.set()
        raise ValueError("no")

    world = SqliteWorld("wrkflw.db", max_deliveries=1)
    await world.start()
    for run_id in ("r-1", "r-2"):
        await world.queue.queue("__wkf_workflow_greet", Invocation(run_id))
    end = world.queue.consume(fails, concurrency=2)
    await both.wait()
    await end()
    await world.close()
    return gone


def test_what_becomes_of_a_dead_letter_is_told_as_json(shell: Shell) -> None:
    shell.run("greeting", "name=Ada")
    message_ids = asyncio.run(given_up())

    done = [
        shell("dead-letters", what, one, "--json").json
        for what, one in zip(("drop", "requeue"), message_ids, strict=True)
    ]

    assert [(one["message_id"], one["status"]) for one in done] == [
        (message_ids[0], "dropped"),
        (message_ids[1], "requeued"),
    ]


@pytest.mark.parametrize(
    "command",
    [
        ["runs", "list"], ["runs", "show", "r1"], ["runs", "cancel", "r1"], ["hooks", "list"], ["schedules", "list"],
        ["dead-letters", "list"], ["check", FLOWS], ["db", "gc"],
    ],
)  # fmt: skip
def test_who_comes_to_look_leaves_an_old_database_as_it_is(shell: Shell, command: list[str]) -> None:
    upgrade(shell.folder / "wrkflw.db", REVISIONS[-2])

    ended = shell(*command)

    assert ended.code == 2
    assert ended.err == (
        f"wrkflw: wrkflw.db has schema {REVISIONS[-2]}, and {REVISIONS[-1]} is needed; run wrkflw db upgrade\n"
    )
    assert revision_of(shell.folder / "wrkflw.db") == REVISIONS[-2]


def test_an_old_database_is_looked_at_copied_and_upgraded_when_that_is_asked_for(shell: Shell) -> None:
    upgrade(shell.folder / "wrkflw.db", REVISIONS[-2])

    doctor, copied = shell("doctor"), shell("db", "backup", "copy.db")
    assert (doctor.code, copied.code) == (0, 0)
    assert f"{REVISIONS[-2]}; opening brings it to {REVISIONS[-1]}" in doctor.out
    assert revision_of(shell.folder / "wrkflw.db") == revision_of(shell.folder / "copy.db") == REVISIONS[-2]

    upgraded = shell("db", "upgrade")
    assert upgraded.err == f"wrkflw.db was brought from schema {REVISIONS[-2]} to {REVISIONS[-1]}\n"
    assert shell("runs", "list").code == 0


@pytest.mark.parametrize("command", [["runs", "list"], ["db", "upgrade"], ["db", "backup", "copy.db"]])
@pytest.mark.parametrize("tables", ["", "CREATE TABLE things (id INTEGER)"])
def test_no_table_is_made_in_a_file_that_is_none_of_ours(shell: Shell, command: list[str], tables: str) -> None:
    other = shell.folder / "other.db"
    other.touch()
    with closing(sqlite3.connect(other)) as connection:
        connection.executescript(tables)
    before = other.read_bytes()

    ended = shell(*command, "--db", "other.db")

    assert ended.code == 2
    assert ended.err == "wrkflw: other.db is no database of wrkflw; name another with --db\n"
    assert other.read_bytes() == before
    assert not (shell.folder / "copy.db").exists()


def test_a_database_of_another_kind_is_a_matter_of_usage(shell: Shell) -> None:
    ended = shell("runs", "list", "--db", "postgresql://ada:secret@host/app")

    assert ended.code == 2
    assert "'postgresql://…' is not a database this version knows" in ended.err
    assert "secret" not in ended.err


def test_a_token_of_a_hook_is_whole_on_a_narrow_screen(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.run("asking", "name=Ada", "--id", "r1")
    monkeypatch.setattr("wrkflw.cli.screen._WIDE", 40)

    [hook] = shell("hooks", "list", "--json").json
    assert hook["token"] in shell("hooks", "list").out
    cut = [line for line in shell("runs", "events", "r1").out.splitlines() if line.endswith("…")]
    assert cut  # of its facts, which may be long, there is what fits


def test_the_doctor_finds_a_database_in_order(shell: Shell) -> None:
    shell.run("asking", "name=Ada")

    ended = shell("doctor", "--deep", "--json")

    verdicts = {finding["check"]: finding["verdict"] for finding in ended.json}
    assert ended.code == 0
    assert set(verdicts) >= {"sqlite", "file system", "schema", "pages", "processes", "settings", "clock", "record"}
    assert "references" in verdicts
    assert "bad" not in verdicts.values()


@pytest.mark.parametrize(
    ("damage", "check", "detail"),
    [
        ("DELETE FROM waits", "record", "I4 r1: wait 'nap' is in the log, and nowhere else"),
        ("UPDATE waits SET wait_id = 'x'", "record", "I4 r1: there is a wait 'nap' of which the log knows nothing"),
        ("UPDATE waits SET resume_at = resume_at + 1", "record", "I4 r1: wait 'nap' has resume_at = "),
        ("UPDATE waits SET status = 'completed'", "record", "I4 r1: wait 'nap' has status = 'completed', and its log "),
        ("DELETE FROM runs", "references", "there are rows that belong to no run: 3 of events, 1 of waits; restore "),
    ],
)
def test_the_doctor_finds_damage_that_only_a_long_look_shows(
    shell: Shell, damage: str, check: str, detail: str
) -> None:
    shell.run("napping", '"Ada"', "--id", "r1")
    with closing(sqlite3.connect(shell.folder / "wrkflw.db", isolation_level=None)) as connection:
        assert connection.execute(damage).rowcount

    assert shell("doctor").code == 0
    ended = shell("doctor", "--deep", "--json")
    assert ended.code == 1
    assert any(one["check"] == check and one["detail"].startswith(detail) for one in ended.json), ended.out


def test_the_doctor_leaves_tables_of_others_alone(shell: Shell) -> None:
    shell.run("asking", "name=Ada")
    with closing(sqlite3.connect(shell.folder / "wrkflw.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE orders (customer REFERENCES customers (id))")
        connection.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO orders VALUES (7)")

    assert shell("doctor", "--deep").code == 0


def test_the_doctor_makes_no_database(shell: Shell) -> None:
    ended = shell("doctor")

    assert ended.code == 0
    assert "wrkflw.db is not there yet; a first run makes it" in ended.out
    assert list(shell.folder.iterdir()) == []


def test_the_doctor_is_not_content_with_a_folder(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRKFLW_DATABASE_URL", "sqlite:///.")

    ended = shell("doctor", "--json")

    assert ended.code == 1
    assert ended.json[-1] == {"check": "database", "verdict": "bad", "detail": ". is no file; name one with --db"}


def test_the_doctor_misses_a_database_that_was_named(shell: Shell) -> None:
    ended = shell("doctor", "--db", "typo.db")

    assert (ended.code, ended.err) == (
        2,
        "wrkflw: there is no database 'typo.db'; run a workflow first, or name another with --db\n",
    )


def test_the_doctor_tells_a_database_that_is_none(shell: Shell) -> None:
    (shell.folder / "wrkflw.db").write_text("no database at all, but long enough to be read as one" * 20)
    with closing(sqlite3.connect(shell.folder / "other.db")) as other:
        other.execute("CREATE TABLE things (id INTEGER)")

    assert shell("doctor").code == 1
    foreign = shell("doctor", "--db", "other.db", "--json")
    assert foreign.code == 1
    assert [one["detail"] for one in foreign.json if one["verdict"] == "bad"] == [
        "this is no database of wrkflw; give it a file of its own"
    ]


def test_a_deploy_that_would_break_a_run_is_told_beforehand(shell: Shell) -> None:
    code = 'from wrkflw import create_workflow, step\n@step(id="{}")\ndef first(n: int) -> int:\n    return n\n'
    code += 'flow = create_workflow(id="flow", input_schema=int, output_schema=int)'
    code += '.then(first).sleep("7d", id="nap").commit()\n'
    for name, step in (("old", "fetch"), ("new", "load")):
        (shell.folder / f"{name}.py").write_text(code.format(step), encoding="utf-8")
    shell("run", "old.py:flow", "--input", "1", "--id", "r1", "-q")

    fits, breaks = shell("check", "old.py"), shell("check", "new.py", "--json")

    assert (fits.code, fits.err) == (0, "1 of 1 open runs fit the code\n")
    assert breaks.code == 1
    assert [(one["run_id"], one["verdict"], one["key"]) for one in breaks.json] == [("r1", "breaks", "fetch")]


def test_code_that_may_come_out_otherwise_is_told_with_its_line(shell: Shell) -> None:
    """No database is needed: this is for a pipeline that has the code alone."""
    lines = ["import time", "from wrkflw import StepTools, workflow", "@workflow"]
    lines += ["async def wait(step: StepTools, seconds: int) -> float:", "    return time.time() + seconds"]
    (shell.folder / "flows.py").write_text("\n".join(lines), encoding="utf-8")

    bad, data = shell("lint", "flows.py"), shell("lint", "flows.py:wait", "--json")
    said = "calls 'time.time()', which tells another time when the code runs again"
    assert (bad.code, bad.err) == (1, "1 found in 1 workflow\n")
    assert bad.out == f"flows.py:5: workflow 'wait' {said}; use 'step.now()'\n"
    assert (data.code, [(one["line"], one["what"]) for one in data.json]) == (1, [(5, said)])

    lines[-1] += "  # wrkflw: deterministic"
    (shell.folder / "good.py").write_text("\n".join(lines), encoding="utf-8")
    good = shell("lint", "good.py")
    assert (good.code, good.out, good.err) == (0, "", "nothing found in 1 workflow\n")


ENCRYPTED = """
from wrkflw import create_workflow, step
from wrkflw.codecs import AesGcm

codec = AesGcm(keys={"now": bytes(32)}, current="now")


@step
def first(n: int) -> str:
    return f"canary {n}"


flow = create_workflow(id="flow", input_schema=int, output_schema=str).then(first).commit()
"""


def test_the_codec_that_a_project_names_is_that_of_every_command(shell: Shell) -> None:
    (shell.folder / "secret.py").write_text(ENCRYPTED, encoding="utf-8")
    (shell.folder / "pyproject.toml").write_text('[tool.wrkflw]\ncodec = "secret.py:codec"\n', encoding="utf-8")

    assert shell("run", "secret.py:flow", "--input", "7", "--id", "r1", "-q").out == "canary 7\n"
    assert "canary 7" in shell("runs", "show", "r1").out
    assert shell("doctor", "--deep").code == 0
    assert not any(b"canary" in file.read_bytes() for file in shell.folder.glob("wrkflw.db*"))

    (shell.folder / "pyproject.toml").unlink()
    refused = shell("run", "secret.py:flow", "--input", "7", "--id", "r2", "-q")
    assert refused.code == 1
    assert "codec 'aes-256-gcm'" in refused.err
    assert "canary 7" not in shell("runs", "show", "r1").out


@pytest.mark.parametrize(
    ("codec", "told"),
    [
        ("7", 'codec in [tool.wrkflw] of pyproject.toml is 7; write codec = "module:name"'),
        ('"secret"', "codec in [tool.wrkflw] of pyproject.toml is 'secret'; write codec = \"module:name\""),
        ('"secret.py:flow"', "secret.py has no codec 'flow'; give the name of one, an AesGcm for instance"),
        ('"secret.py:cipher"', "secret.py has no codec 'cipher'; give the name of one, an AesGcm for instance"),
        (
            '"nope.py:codec"',
            "codec = 'nope.py:codec' in pyproject.toml: there is no file 'nope.py'; "
            "write module:name or path/to/file.py:name",
        ),
    ],
)
def test_a_codec_that_is_none_is_refused(shell: Shell, codec: str, told: str) -> None:
    (shell.folder / "secret.py").write_text(ENCRYPTED, encoding="utf-8")
    (shell.folder / "pyproject.toml").write_text(f"[tool.wrkflw]\ncodec = {codec}\n", encoding="utf-8")

    ended = shell("run", "secret.py:flow", "--input", "7")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"wrkflw: {told}\n"


def test_a_deploy_that_drops_a_workflow_with_open_runs_is_told_beforehand(shell: Shell) -> None:
    code = "from wrkflw import create_workflow, step\n@step\ndef first(n: int) -> int:\n    return n\n"
    flow = '{0} = create_workflow(id="{0}", input_schema=int, output_schema=int).then(first).sleep("7d").commit()\n'
    (shell.folder / "pyproject.toml").write_text('[tool.wrkflw]\nworkflows = ["kept.py"]\n', encoding="utf-8")
    (shell.folder / "old.py").write_text(code + flow.format("dropped"), encoding="utf-8")
    (shell.folder / "kept.py").write_text(code + flow.format("kept"), encoding="utf-8")
    for target in ("old.py:dropped", "kept.py:kept"):
        shell("run", target, "--input", "1", "--id", target.partition(":")[2], "-q")

    of_all, of_one = shell("check", "--json"), shell("check", "kept.py")

    assert of_all.code == 1
    assert [(one["run_id"], one["verdict"]) for one in of_all.json] == [("kept", "fits"), ("dropped", "unknown")]
    assert (of_one.code, of_one.err) == (0, "1 of 1 open runs fit the code\n")


def test_tokens_are_made_listed_and_removed(shell: Shell) -> None:
    made = shell("tokens", "add", "ci", "-p", "read", "-p", "start")

    assert made.out.startswith("wrkflw_")
    assert shell("tokens", "list", "--json").json == [{"name": "ci", "permissions": ["read", "start"]}]
    assert made.out.strip() not in (shell.folder / "wrkflw-tokens.json").read_text(encoding="utf-8")
    assert shell("tokens", "remove", "ci").code == 0
    assert shell("tokens", "remove", "ci").code == 2
    assert shell("tokens", "remove", "ci", "--file", "other.json").code == 2
    assert not (shell.folder / "other.json").exists()


def test_a_server_does_not_let_everybody_in_by_mistake(shell: Shell) -> None:
    exposed = shell("serve", FLOWS, "--host", "0.0.0.0", "--port", "0")
    without = shell("serve", FLOWS, "--tokens", "tokens.json", "--port", "0")

    assert (exposed.code, without.code) == (2, 2)
    assert exposed.err == (
        "wrkflw: '0.0.0.0' can be reached by other machines, and anybody may call; "
        "make a token with 'wrkflw tokens add', and give --tokens FILE\n"
    )
    assert without.err == (
        "wrkflw: tokens.json has no token; make one with 'wrkflw tokens add NAME --file tokens.json'\n"
    )


def test_a_graph_is_drawn_as_text_as_a_picture_and_as_data(shell: Shell) -> None:
    target = f"{FLOWS}:asking"

    mermaid, data = shell("graph", target), shell("graph", target, "--format", "json").json
    shell("graph", target, "--format", "svg", "--output", "asking.svg")

    assert mermaid.out.startswith("flowchart TD\n")
    assert [part["name"] for part in data["graph"]["parts"]] == ["Person", "greet", "ask", "str"]
    assert (shell.folder / "asking.svg").read_text(encoding="utf-8").startswith("<svg ")


def test_help_says_what_there_is(shell: Shell) -> None:
    ended = shell("--help")

    commands = ["init", "run", "dev", "serve", "worker", "graph", "check", "lint", "doctor"]
    groups = ["runs", "schedules", "hooks", "dead-letters", "email", "db", "tokens"]
    listed = [line.split()[0] for line in ended.out.split("Commands:\n")[1].splitlines() if line.strip()]
    assert listed == commands + groups
    assert shell("runs", "lsit").code == 2
    assert shell("--version").out.strip()
