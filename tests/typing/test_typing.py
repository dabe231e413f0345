"""Both checkers accept every program of this folder, and reject exactly the lines that are marked ``# E:``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MISTAKES = sorted(HERE.glob("mistakes_*.py"))
PROGRAMS = [*MISTAKES, *sorted(HERE.glob("accept_*.py")), HERE / "campaign.py"]


class Line(NamedTuple):
    file: str
    number: int

    def __str__(self) -> str:
        text = (HERE / self.file).read_text(encoding="utf-8").splitlines()[self.number - 1]
        return f"{self.file}:{self.number}: {text.strip()}"


@pytest.fixture(scope="module")
def marked() -> set[Line]:
    return {
        Line(file.name, number)
        for file in MISTAKES
        for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if "# E: " in text
    }


def test_there_are_mistakes_and_reveals_enough(marked: set[Line]) -> None:
    reveals = sum(file.read_text(encoding="utf-8").count("assert_type(") for file in PROGRAMS)

    assert len(marked) >= 60
    assert reveals >= 40


def test_mypy_rejects_the_marked_lines_and_no_others(marked: set[Line], tmp_path: Path) -> None:
    assert_same(marked, set(rejected_by_mypy(tmp_path)))


def test_pyright_rejects_the_marked_lines_and_no_others(marked: set[Line]) -> None:
    assert_same(marked, set(rejected_by_pyright()))


def assert_same(marked: set[Line], rejected: set[Line]) -> None:
    let_pass = [f"let pass: {line}" for line in sorted(marked - rejected)]
    rejected_wrongly = [f"rejected: {line}" for line in sorted(rejected - marked)]

    assert not let_pass + rejected_wrongly, "\n".join(["", *let_pass, *rejected_wrongly])


def rejected_by_mypy(cache: Path) -> Iterator[Line]:
    options = ["--strict", "--no-error-summary", "--explicit-package-bases", f"--cache-dir={cache}"]
    # Without the project's own settings: what a user sees who asks for nothing but --strict.
    output = run("mypy", "--config-file=", *options, *(str(file.relative_to(ROOT)) for file in PROGRAMS))
    for error in re.finditer(r"^tests/typing/(\w+\.py):(\d+): error:", output, re.MULTILINE):
        yield Line(error[1], int(error[2]))


def rejected_by_pyright() -> Iterator[Line]:
    output = run("basedpyright", "-p", str(HERE), "--pythonpath", sys.executable, "--outputjson")
    report: dict[str, Any] = json.loads(output)
    assert report["summary"]["filesAnalyzed"] >= len(PROGRAMS)
    for problem in report["generalDiagnostics"]:
        file = Path(problem["file"])
        if problem["severity"] == "error" and file in PROGRAMS:
            yield Line(file.name, problem["range"]["start"]["line"] + 1)


def run(checker: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", checker, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout
