"""What README.md and its guide say is so: their programs run, print what stands beside them, and are typed."""

from __future__ import annotations

import inspect
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import wrkflw

ROOT = Path(__file__).resolve().parent.parent
PAGES = [(ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/guide.md")]
PRINTED = re.compile(r"print\(.*\)  # (.+)$", re.MULTILINE)


def blocks(language: str) -> str:
    """All blocks of a language as one file, each on the lines it has in the pages, one behind the other."""
    kept: list[str] = []
    inside = False
    for line in (line for page in PAGES for line in page.splitlines()):
        fence = line.startswith("```")
        inside = line == f"```{language}" if fence else inside
        kept.append(line if inside and not fence else "")
    return "\n".join(kept) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs of the pages lie, one after the other in one file."""
    made = tmp_path_factory.mktemp("readme")
    (made / "readme.py").write_text(blocks("python"), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def printed(folder: Path) -> list[str]:
    """What they print."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "readme.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout.splitlines()


def test_the_programs_print_what_stands_beside_them(printed: list[str]) -> None:
    promised = PRINTED.findall(blocks("python"))

    assert len(promised) > 5
    assert printed == promised


def test_the_programs_pass_the_type_checker(folder: Path) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "mypy.ini"), str(folder / "readme.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_queries_answer_about_the_runs_of_the_programs(folder: Path, printed: list[str]) -> None:
    queries = [query for query in blocks("sql").split(";") if query.strip()]

    with closing(sqlite3.connect(folder / "app.db")) as connection:
        runs, log, retried = [connection.execute(query).fetchall() for query in queries]

    assert [row[1:3] for row in runs] == [("sale", "completed"), ("email-campaign", "completed")]
    assert log[0][:2] == (1, "run_created")
    assert log[-1][1] == "run_completed"
    assert [row[1:] for row in retried] == [("approve", 2)]  # once to ask, once with the answer


@pytest.mark.parametrize("package", ["", "engine", "worlds", "triggers", "mail", "server", "cli", "testing"])
def test_the_architecture_names_every_module(package: str) -> None:
    begin, end = (f"| in `{package}/`", "\n\n") if package else ("```", "```")
    table = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition(begin)[2].partition(end)[0]
    folder = ROOT / "wrkflw" / package
    modules = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}

    assert sorted(modules - {"__init__", "__main__"} - set(re.findall(r"\w+", table))) == []


def test_every_link_within_the_repository_leads_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    links = [
        (file, link)
        for file in documents
        for link in re.findall(r"\]\(([^)#:]+)[#)]", file.read_text(encoding="utf-8"))
    ]

    assert links
    assert [(file.name, link) for file, link in links if not (file.parent / link).exists()] == []


def test_every_link_to_a_heading_leads_to_one() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    texts = {file.resolve(): file.read_text(encoding="utf-8") for file in documents}
    broken: list[tuple[str, str]] = []
    for file, text in texts.items():
        for path, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
            target = texts[(file.parent / path).resolve()] if path else text
            headings = re.findall(r"^#+ (.+)$", target, re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            if anchor not in anchors:
                broken.append((file.name, f"{path}#{anchor}"))

    assert broken == []


def test_every_public_name_has_a_docstring() -> None:
    exported = {name: getattr(wrkflw, name) for name in wrkflw.__all__}
    definitions = {
        name: value for name, value in exported.items() if inspect.isclass(value) or inspect.isroutine(value)
    }

    assert [name for name, value in definitions.items() if not inspect.getdoc(value)] == []
