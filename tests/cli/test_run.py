"""``wrkflw run``: what goes in, what comes out, and with which code it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from wrkflw.cli.screen import json_text

from .command import FLOWS, Shell

GREETING = f"{FLOWS}:greeting"

PARCELS = """
from pydantic import BaseModel, Field
from wrkflw import create_workflow, step

class Parcel(BaseModel):
    zip_code: str = Field(alias="zipCode")
    pieces: int

@step
def send(parcel: Parcel) -> str:
    return f"{parcel.pieces} to {parcel.zip_code}"

sending = create_workflow(id="sending", input_schema=Parcel, output_schema=str).then(send).commit()
"""

TREES = """
from decimal import Decimal
from enum import StrEnum
from pydantic import BaseModel
from wrkflw import create_workflow, step

class Colour(StrEnum):
    RED = "1"

class Tree(BaseModel):
    name: str
    kids: list["Tree"] = []
    colour: Colour = Colour.RED
    price: Decimal = Decimal(0)
    count: int | str = 0

def size(tree: Tree) -> int:
    return 1 + sum(map(size, tree.kids))

@step
def tell(tree: Tree) -> str:
    return f"{tree.name!r} {tree.colour!r} {size(tree)} {tree.price!r} {tree.count!r}"

telling = create_workflow(id="telling", input_schema=Tree, output_schema=str).then(tell).commit()
"""


class Blob(BaseModel):
    data: bytes
    more: list[Blob] = []


def test_bytes_that_are_no_text_are_told_in_base64_wherever_they_stand() -> None:
    """A run that was well is not to end with the code of a misuse, because its output cannot be shown."""
    told = json_text({"output": Blob(data=b"\xff", more=[Blob(data=b"\x00\xff")])})

    assert json.loads(told)["output"] == {"data": "_w==", "more": [{"data": "AP8=", "more": []}]}


def test_the_output_alone_is_on_stdout(shell: Shell) -> None:
    ended = shell("run", GREETING, "name=Ada")

    assert ended.out == "Hello, Ada\n"
    assert ended.code == 0
    assert ended.err.startswith("greet completed (")


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        pytest.param(["--input", '{"name": "Ada", "age": 36}'], "Hello, Ada (36)", id="JSON"),
        pytest.param(["-i", "name=Ada", "-i", "age=36"], "Hello, Ada (36)", id="fields"),
        pytest.param(["--input", "name=Ada", "age=36"], "Hello, Ada (36)", id="fields-behind"),
        pytest.param(["name=1815"], "Hello, 1815", id="a-text-that-looks-like-a-number"),
        pytest.param(["--input", "@person.json"], "Hello, Grace", id="file"),
    ],
)
def test_an_input_is_given_as_json_as_fields_or_by_a_file(shell: Shell, arguments: list[str], output: str) -> None:
    (shell.folder / "person.json").write_text('{"name": "Grace"}', encoding="utf-8")

    assert shell("run", GREETING, *arguments, "--quiet").out == f"{output}\n"


def test_a_field_with_an_alias_is_given_by_its_name(shell: Shell) -> None:
    (shell.folder / "parcels.py").write_text(PARCELS, encoding="utf-8")

    assert shell("run", "parcels.py:sending", "zip_code=01067", "pieces=2", "--quiet").out == "2 to 01067\n"
    assert shell("run", "parcels.py:sending", "zip_code=10115", "pieces=1", "--quiet").out == "1 to 10115\n"


def test_a_field_is_read_by_its_type_wherever_that_is_described(shell: Shell) -> None:
    (shell.folder / "trees.py").write_text(TREES, encoding="utf-8")

    def said(*fields: str) -> str:
        return shell("run", "trees.py:telling", *fields, "--quiet").out

    assert said("name=123", "colour=1", "count=5") == "'123' <Colour.RED: '1'> 1 Decimal('0') 5\n"
    assert said("name=a", 'kids=[{"name": "b"}]', "count=x") == "'a' <Colour.RED: '1'> 2 Decimal('0') 'x'\n"


def test_a_decimal_keeps_its_digits(shell: Shell) -> None:
    (shell.folder / "trees.py").write_text(TREES, encoding="utf-8")

    for price in ("12345678901234567890.12", "0.1", "7"):
        ended = shell("run", "trees.py:telling", "name=a", f"price={price}", "--quiet")
        assert ended.out == f"'a' <Colour.RED: '1'> 1 Decimal('{price}') 0\n"


@pytest.mark.parametrize("tty", [True, False])
def test_an_output_does_not_steer_the_terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch, tty: bool) -> None:
    monkeypatch.setattr("wrkflw.cli.screen.sys.stdout.isatty", lambda: tty)
    hostile = "\x1b]0;owned\x07\x9b31mred\n\tblue"

    shown = shell("run", GREETING, f"name={hostile}", "--quiet").out

    assert shown == ("Hello, \ufffd]0;owned\ufffd\ufffd31mred\n\tblue\n" if tty else f"Hello, {hostile}\n")


def test_a_text_needs_no_quotes(shell: Shell) -> None:
    shell("run", f"{FLOWS}:napping", "good night")

    [run] = shell("runs", "list", "--json").json["data"]
    assert shell("runs", "show", run["run_id"], "--json").json["input"] == "good night"


def test_a_run_that_fails_ends_with_1_and_a_sentence(shell: Shell) -> None:
    ended = shell("run", f"{FLOWS}:failing", "name=Ada", "--id", "r1", "--quiet")

    assert ended.code == 1
    assert ended.out == ""
    assert ended.err == "run r1 failed at step 'fail': ValueError: no greeting for Ada\n"


def test_a_run_that_parks_ends_with_3_and_says_how_it_goes_on(shell: Shell) -> None:
    ended = shell("run", f"{FLOWS}:asking", "name=Ada", "--id", "r1", "--quiet")

    assert ended.code == 3
    assert ended.err.splitlines() == [
        "run r1 is suspended at 'ask', with \"Hello, Ada?\"",
        f"answer with: wrkflw runs resume r1 ask JSON --target {FLOWS}:asking",
    ]


def test_the_command_that_is_told_names_the_database_and_only_code_that_no_project_lists(shell: Shell) -> None:
    (shell.folder / "pyproject.toml").write_text(f"[tool.wrkflw]\nworkflows = ['{FLOWS}']\n", encoding="utf-8")

    ended = shell("run", f"{FLOWS}:asking", "name=Ada", "--id", "r1", "--quiet", "--db", "my flows.db")

    assert ended.err.endswith("answer with: wrkflw runs resume r1 ask JSON --db 'my flows.db'\n")
    assert shell("runs", "resume", "r1", "ask", '{"approved": true}', "--db", "my flows.db").out == "Hello, Ada\n"


def test_json_is_one_object(shell: Shell) -> None:
    done = shell("run", GREETING, "name=Ada", "--id", "r1", "--json")
    parked = shell("run", f"{FLOWS}:napping", "hi", "--id", "r2", "--json")

    assert done.json == {"run_id": "r1", "status": "completed", "output": "Hello, Ada"}
    assert parked.code == 3
    assert (parked.json["status"], parked.json["reason"]) == ("waiting", "sleep")
    assert done.err == parked.err == ""


def test_a_detached_run_is_left_to_a_worker(shell: Shell) -> None:
    ended = shell("run", GREETING, "name=Ada", "--id", "r1", "--detach")

    assert ended.out == "r1\n"
    assert shell("runs", "show", "r1", "--json").json["status"] == "pending"


def test_the_same_key_is_the_same_run(shell: Shell) -> None:
    first = shell("run", GREETING, "name=Ada", "--key", "k", "--json").json
    second = shell("run", GREETING, "name=Ada", "--key", "k", "--json").json

    assert first == second


def test_an_input_that_does_not_fit_is_a_matter_of_usage(shell: Shell) -> None:
    ended = shell("run", GREETING, "age=36")

    assert ended.code == 2
    assert ended.err == "wrkflw: input of workflow 'greeting' does not fit Person: name: field required\n"


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("nothing:x", "there is no module 'nothing' here; give module:workflow or path/to/file.py:workflow"),
        ("a b:x", "'a b' is no module; give module:workflow or path/to/file.py:workflow"),
        ("flow.py:x", "there is no file 'flow.py'; give module:workflow or path/to/file.py:workflow"),
        (
            "broken.py:x",
            "broken.py could not be imported: ZeroDivisionError: division by zero; add --debug to see where",
        ),
        ("empty.py", "empty.py has no workflow; end it in .commit(), at the top level of the module"),
        ("leaves.py", "leaves.py ended while it was imported; put what it does under if __name__ == '__main__'"),
        (f"{FLOWS}:greting", f"{FLOWS} has no workflow 'greting'; did you mean 'greeting'?"),
    ],
)
def test_a_target_that_is_none_says_what_to_give(shell: Shell, target: str, sentence: str) -> None:
    Path("broken.py").write_text("1 / 0", encoding="utf-8")
    Path("empty.py").write_text("", encoding="utf-8")
    Path("leaves.py").write_text("raise SystemExit(5)", encoding="utf-8")

    ended = shell("run", target)

    assert ended.code == 2
    assert ended.err == f"wrkflw: {sentence}\n"


def test_a_module_is_found_in_the_working_directory(shell: Shell) -> None:
    (shell.folder / "greetings.py").write_text(Path(FLOWS).read_text(encoding="utf-8"), encoding="utf-8")

    assert shell("run", "greetings:greeting", "name=Ada", "-q").out == "Hello, Ada\n"


def test_debug_shows_where_an_error_comes_from(shell: Shell) -> None:
    from wrkflw.cli import main
    from wrkflw.cli.failures import MisuseError

    with pytest.raises(MisuseError, match="there is no module 'nothing' here"):
        main(["run", "nothing:x", "--debug"])
