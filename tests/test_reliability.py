"""docs/reliability.md and the code do not part: its counts, its mistakes, and the tests that it names."""

from __future__ import annotations

import re

import pytest

from tests.reliability import DOCUMENT, ROOT, mistakes, written

TEXT = DOCUMENT.read_text(encoding="utf-8")
LONGEST = 200  # lines that somebody reads
FAULTS, INVARIANTS = 27, 23


def test_what_is_made_is_as_the_code_says() -> None:
    assert written(TEXT) == TEXT, "write it anew: .venv/bin/python -m tests.reliability"


def test_every_mistake_has_its_line() -> None:
    table = mistakes()

    assert table.count("\n") > 25
    assert table in TEXT


@pytest.mark.parametrize(("letter", "count"), [("F", FAULTS), ("I", INVARIANTS)])
def test_every_fault_and_every_invariant_has_its_line(letter: str, count: int) -> None:
    assert re.findall(rf"^\| ({letter}\d+)", TEXT, re.MULTILINE) == [f"{letter}{n}" for n in range(1, count + 1)]


def test_what_it_names_is_there() -> None:
    paths = set(re.findall(r"`((?:tests|wrkflw)/[^`\s]+)`", TEXT))
    tests = re.findall(r"`(tests/\S+\.py)` `(test_\w+)`", TEXT)

    assert len(paths) > 40
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []
    assert tests
    assert [name for path, name in tests if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")] == []


def test_it_is_short_enough_to_be_read() -> None:
    assert len(TEXT.splitlines()) <= LONGEST
