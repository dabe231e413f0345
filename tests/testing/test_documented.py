"""What docs/testing.md shows is so: its code is a test module that passes."""

from __future__ import annotations

import re
from pathlib import Path

from .collecting import collect

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "testing.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_code_of_the_document_passes_as_tests(tmp_path: Path) -> None:
    code = "\n\n".join(BLOCK.findall(DOCUMENT.read_text(encoding="utf-8")))

    report = collect(tmp_path, code, "-s", mode="auto")

    assert f"{code.count('def test_')} passed" in report
    assert "\n2 EUR\n" in report  # what the last block prints
