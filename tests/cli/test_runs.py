"""``wrkflw runs``: looking at runs, and steering them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import cast

import pytest

from .command import FLOWS, Shell

CODE = ("--target", FLOWS)


def test_runs_are_listed_newest_first(shell: Shell) -> None:
    shell.run("greeting", "name=Ada", "--id", "first")
    shell.run("asking", "name=Ada", "--id", "second")

    listed = shell("runs", "list")

    assert [line.split()[:3] for line in listed.out.splitlines()] == [
        ["run", "workflow", "status"],
        ["second", "asking", "suspended"],
        ["first", "greeting", "completed"],
    ]
    assert [run["run_id"] for run in shell("runs", "list", "--json").json["data"]] == ["second", "first"]


def test_a_listing_is_narrowed_down(shell: Shell) -> None:
    shell.run("greeting", "name=Ada", "--id", "first", "--attribute", "team=red")
    shell.run("asking", "name=Ada", "--id", "second")

    def ids(*arguments: str) -> list[str]:
        return [run["run_id"] for run in shell("runs", "list", "--json", *arguments).json["data"]]

    assert ids("--status", "completed") == ["first"]
    assert ids("--workflow", "asking") == ["second"]
    assert ids("--waiting-for", "suspended") == ["second"]
    assert ids("--attribute", "team=red") == ["first"]
    assert ids("--until", "2020-01-01") == []
    assert ids("--limit", "1") == ["second"]
    refused = shell("runs", "list", "--status", "suspended")
    assert refused.err == "wrkflw: --status cannot be 'suspended'; give --waiting-for suspended\n"


def test_a_run_is_shown_with_its_steps(shell: Shell) -> None:
    shell.run("greeting", "name=Ada", "--id", "r1")

    shown = [re.sub(r" {2,}", " ", line) for line in shell("runs", "show", "r1").out.splitlines()]

    assert shown[:3] == ["run r1", "workflow greeting", "status completed"]
    assert 'input {"name":"Ada","age":null}' in shown
    assert "output Hello, Ada" in shown
    assert re.fullmatch(r"greet completed 1 \S+ Hello, Ada", shown[-1])


def test_a_run_is_shown_with_where_it_failed_and_what_led_to_it(shell: Shell) -> None:
    shell("run", f"{FLOWS}:failing", "name=Ada", "--id", "r1", "-q")

    shown = shell("runs", "show", "r1").out

    assert 'in fail\n    raise ValueError(f"no greeting for {person.name}") from error\n' in shown
    assert "\ncaused by\n" in shown
    assert shown.endswith("\nKeyError: 'Ada'\n")


def test_a_run_is_shown_with_what_it_waits_for_and_until_when(shell: Shell) -> None:
    shell.run("asking", "name=Ada", "--id", "asks")
    shell.run("deciding", "name=Ada", "--id", "waits")
    shell.run("napping", "hi", "--id", "naps")

    def told_of(run_id: str) -> str:
        return re.sub(" {2,}", " ", shell("runs", "show", run_id).out.splitlines()[-1])

    told = [told_of(run_id) for run_id in ("asks", "waits", "naps")]
    asked = shell("runs", "show", "asks", "--json").json["suspensions"]

    assert told == ["ask in 89 days an answer to Hello, Ada?", "wait-1 event approval", "nap in 6 days that time"]
    assert [(one["key"], one["payload"], "token" in one) for one in asked] == [("ask", "Hello, Ada?", False)]
    assert asked[0]["until"] > asked[0]["since"]


def test_a_run_is_shown_with_why_it_was_paused_or_cancelled(shell: Shell) -> None:
    shell.run("napping", "hi", "--id", "r1")
    told: list[str] = []
    for steer in ("pause", "cancel"):
        shell("runs", steer, "r1", "--reason", f"to {steer} it")
        told += [line for line in shell("runs", "show", "r1").out.splitlines() if line.startswith("because")]

    assert told == ["because   to pause it", "because   to cancel it"]
    assert shell("runs", "show", "r1", "--json").json["pause_reason"] is None


def test_the_log_of_a_run_is_shown_event_by_event(shell: Shell) -> None:
    shell.run("greeting", "name=Ada", "--id", "r1")

    events = [json.loads(line) for line in shell("runs", "events", "r1", "--json").out.splitlines()]

    assert [event["slot"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["event_type"], events[-1]["event_type"]) == ("run_created", "run_completed")
    assert events[-1]["output"] == "Hello, Ada"


def test_runs_are_listed_by_when_they_were_started(shell: Shell) -> None:
    shell.run("greeting", "name=Ada", "--id", "r1")

    assert [run["run_id"] for run in shell("runs", "list", "--since", "2026-01-31", "--json").json["data"]] == ["r1"]
    assert shell("runs", "list", "--until", "2026-01-31T09:30:00+01:00", "--json").json["data"] == []
    assert "'yesterday' is no time; write 2026-01-31" in shell("runs", "list", "--since", "yesterday").err


def test_a_run_is_followed_to_its_end(shell: Shell) -> None:
    shell.run("greeting", "name=Ada", "--id", "r1")

    told = [line.split(maxsplit=1)[1] for line in shell("runs", "tail", "r1").out.splitlines()]
    items = [json.loads(line) for line in shell("runs", "tail", "r1", "--json").out.splitlines()]

    assert told[-2:] == ["step_completed greet", "run_completed"]
    rest = shell("runs", "tail", "r1", "--after", items[-2]["cursor"]).out
    assert rest.endswith("run_completed\n")
    assert len(rest.splitlines()) == 1


def test_waits_are_followed_by_their_names(shell: Shell) -> None:
    for name, given in (("napping", '"Ada"'), ("deciding", "name=Ada")):
        shell.run(name, "--input", given, "--id", name)
    shell("runs", "send", "deciding", "approval", "approved=true", *CODE)
    shell("runs", "wake", "napping", "nap", *CODE)

    def waits_of(run: str) -> list[str]:
        lines = shell("runs", "tail", run).out.splitlines()
        return [line.split(maxsplit=1)[1] for line in lines if "wait" in line or "signal" in line]

    assert waits_of("napping") == ["wait_created nap", "wait_completed nap"]
    assert waits_of("deciding") == ["wait_created wait-1 (approval)", "signal_received approval"]


def test_a_suspended_run_is_answered(shell: Shell) -> None:
    shell.run("asking", "name=Ada", "--id", "r1")

    wrong = shell("runs", "resume", "r1", "ask", "approved=perhaps", *CODE)
    other = shell("runs", "resume", "r1", "greet", "approved=true", *CODE)
    ended = shell("runs", "resume", "r1", "ask", "approved=true", *CODE)
    again = shell("runs", "resume", "r1", "ask", "approved=true", *CODE)

    assert (wrong.code, ended.code, again.code) == (2, 0, 1)
    assert "answer to step 'ask' does not fit Answer" in wrong.err
    assert other.err == "wrkflw: step 'greet' of run 'r1' is not suspended; open: 'ask'\n"
    assert ended.out == "Hello, Ada\n"
    assert again.err == (
        "wrkflw: step 'ask' of run 'r1' is not suspended: the run is already completed; fork it instead\n"
    )


def test_a_step_is_answered_by_the_name_that_a_program_called_it_by(shell: Shell) -> None:
    shell.run("twice", "Ada", "--id", "r1")

    keys = [hook["step_key"] for hook in shell("hooks", "list", "r1", "--json").json]
    for key, said in (("ask-again", "false"), ("ask-first", "true")):
        shell("runs", "resume", "r1", key, f"approved={said}", *CODE)

    assert sorted(keys) == ["ask-again", "ask-first"]
    assert shell("runs", "show", "r1", "--json").json["result"] == ["Ada", "Sorry"]


def test_a_suspended_run_is_not_resumed_without_its_step(shell: Shell) -> None:
    shell.run("asking", "name=Ada", "--id", "r1")

    ended = shell("runs", "resume", "r1")

    assert ended.code == 2
    assert "run r1 is suspended, not paused; name the step to answer" in ended.err


def test_an_event_is_sent(shell: Shell) -> None:
    parked = shell("run", f"{FLOWS}:deciding", "name=Ada", "--id", "r1", "--quiet")
    assert parked.err.endswith(f"send it with: wrkflw runs send r1 approval JSON --target {FLOWS}:deciding\n")

    assert shell("runs", "send", "r1", "approval", '{"approved": true}', *CODE).out == "yes\n"


def test_a_sleep_is_ended_early(shell: Shell) -> None:
    shell.run("napping", "hi", "--id", "r1")

    assert shell("runs", "wake", "r1", "nap", *CODE).out == "hi\n"


def test_a_run_that_no_worker_has_taken_yet_goes_on_when_it_is_woken(shell: Shell) -> None:
    shell("run", f"{FLOWS}:greeting", "name=Ada", "--id", "r1", "--detach")

    assert shell("runs", "wake", "r1", *CODE).out == "Hello, Ada\n"


def test_a_paused_run_goes_on_when_it_is_unpaused(shell: Shell) -> None:
    shell.run("napping", "hi", "--id", "r1")

    paused = shell("runs", "pause", "r1", "--reason", "lunch", "--json").json
    unpaused = shell("runs", "resume", "r1", "--json").json

    assert paused["waiting_for"] == "paused"
    assert unpaused["waiting_for"] is None  # it is due: whoever takes it finds that it still sleeps


def test_runs_are_cancelled_with_an_outcome_for_each(shell: Shell) -> None:
    shell.run("napping", "hi", "--id", "r1")
    shell.run("greeting", "name=Ada", "--id", "r2")

    ended = shell("runs", "cancel", "r1", "r2", "r3", "--json")

    assert ended.json == {"r1": "cancelled", "r2": "finished", "r3": "not_found"}
    assert ended.code == 1


def test_an_output_for_a_fork_is_of_the_type_that_it_names_or_that_the_step_promises(shell: Shell) -> None:
    (shell.folder / "nested.py").write_text(
        """
from pydantic import BaseModel
from wrkflw import create_workflow, step

class Animal(BaseModel):
    name: str

class Cat(Animal):
    lives: int

@step
def find(name: str) -> Cat:
    return Cat(name=name, lives=9)

@step
def show(found: Animal) -> str:
    return repr(found)

finding = create_workflow(id="finding", input_schema=str, output_schema=Animal).then(find).commit()
showing = create_workflow(id="showing", input_schema=str, output_schema=str).then(finding).then(show).commit()
""",
        encoding="utf-8",
    )
    shell("run", "nested.py:showing", "--input", '"Tom"', "--id", "r1", "-q")

    def forked(output: str) -> str:
        ended = shell("runs", "fork", "r1", "--at", "show", "--output", f"finding={output}", "-t", "nested.py:showing")
        return str(ended.out)

    assert forked('{"$type": "Cat", "value": {"name": "Ada", "lives": 7}}') == "Cat(name='Ada', lives=7)\n"
    assert forked('{"name": "Ada"}') == "Animal(name='Ada')\n"


def test_a_fork_takes_over_what_was_recorded_before(shell: Shell) -> None:
    shell.run("asking", "name=Ada", "--id", "r1")
    shell("runs", "resume", "r1", "ask", "approved=true", *CODE)

    forked = shell("runs", "fork", "r1", "--at", "ask", "--output", 'greet="Hi"', *CODE, "--json")

    assert forked.code == 3
    assert forked.json["suspensions"][0]["payload"] == "Hi?"
    assert forked.json["run_id"] != "r1"


def test_a_run_is_deleted(shell: Shell) -> None:
    shell.run("greeting", "name=Ada", "--id", "r1")

    assert shell("runs", "delete", "r1", "--json").json == {"run_id": "r1", "status": "deleted"}
    assert shell("runs", "show", "r1").err == (
        "wrkflw: there is no run 'r1'; look for its id among runs.list(), and at the database in use\n"
    )


def test_old_runs_are_pruned(shell: Shell) -> None:
    shell.run("greeting", "name=Ada", "--id", "r1")

    assert shell("runs", "prune", "--older-than", "1h").err == "no runs pruned\n"
    assert shell("runs", "prune", "--older-than", "0s", "-s", "failed", "--json").json == {"pruned": 0}
    assert shell("runs", "prune", "--older-than", "0s", "-w", "greeting", "-s", "completed").err == "1 run pruned\n"
    assert shell("runs", "prune", "--older-than", "yesterday").code == 2


def test_the_code_of_the_run_must_be_named(shell: Shell) -> None:
    shell.run("asking", "name=Ada", "--id", "r1")

    other = shell("runs", "resume", "r1", "ask", "approved=true", "--target", f"{FLOWS}:greeting")
    none = shell("runs", "resume", "r1", "ask", "approved=true")

    assert other.err == "wrkflw: run r1 is of workflow 'asking', which is not named here; give its --target\n"
    assert none.err.startswith("wrkflw: no workflow is named here;")
    assert other.code == none.code == 2


def test_a_database_that_is_not_there_is_not_made(shell: Shell) -> None:
    ended = shell("runs", "list", "--db", "nothing.db")

    assert ended.code == 2
    assert ended.err == "wrkflw: there is no database 'nothing.db'; run a workflow first, or name another with --db\n"
    assert list(shell.folder.iterdir()) == []


def test_what_was_recorded_does_not_steer_the_terminal(shell: Shell) -> None:
    shell("run", f"{FLOWS}:failing", '{"name": "\\u001b[2J"}', "--id", "r1", "-q")

    assert "\x1b" not in shell("runs", "show", "r1").out


HOSTILE = "\x1b[2J\x9b31m\x7f\u202egnp"


@pytest.mark.parametrize("command", [["show", "r1"], ["events", "r1"], ["tail", "r1", "--once"]])
def test_json_holds_what_could_steer_the_terminal_as_escapes(shell: Shell, command: list[str]) -> None:
    shell.run("greeting", json.dumps({"name": HOSTILE}), "--id", "r1")

    told, text = shell("runs", *command, "--json").out, shell("runs", *command).out

    assert {*HOSTILE} & {*told, *text} <= {*"[2J31mgnp"}
    assert "\\u001b[2J\\u009b31m\\u007f\\u202egnp" in told
    assert HOSTILE in [one for line in told.splitlines() for one in texts_of(json.loads(line))]


def texts_of(value: object) -> Iterator[str]:
    """All the texts that a tree of JSON has for leaves."""
    match value:
        case str():
            yield value
        case dict():
            for one in cast("dict[str, object]", value).values():
                yield from texts_of(one)
        case list():
            for one in cast("list[object]", value):
                yield from texts_of(one)
        case _:
            pass
