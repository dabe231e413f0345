"""What docs/cron.md shows is so: its code is a test module that passes, and its table of the nights holds."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.testing.collecting import collect
from wrkflw.triggers import Cron
from wrkflw.triggers.instants import instants_between

from .scheduled import BERLIN

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cron.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_passes_as_a_test(tmp_path: Path) -> None:
    code = "\n\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

    report = collect(tmp_path, code, "-s", mode="auto")

    assert "1 passed" in report
    assert "report 0 9 * * mon-fri 2026-03-09 08:00:00+00:00 wrun_" in report


@pytest.mark.parametrize(
    ("expression", "spring", "autumn"),
    [
        ("30 2 * * *", ["03:30 CEST"], ["02:30 CEST"]),
        (
            "*/30 * * * *",
            ["01:30 CET", "03:00 CEST", "03:30 CEST"],
            ["02:00 CEST", "02:30 CEST", "02:00 CET", "02:30 CET"],
        ),
        ("0 * * * *", ["03:00 CEST"], ["02:00 CEST", "02:00 CET"]),
    ],
)
def test_the_nights_are_as_the_page_says(expression: str, spring: list[str], autumn: list[str]) -> None:
    assert expression in PAGE
    assert instants(expression, "2026-03-29T00:00Z", "2026-03-29T01:30Z") == spring
    assert instants(expression, "2026-10-24T23:59Z", "2026-10-25T01:59Z") == autumn


def instants(expression: str, after: str, until: str) -> list[str]:
    """What a clock in Berlin shows at each."""
    found = instants_between(Cron(expression, BERLIN), datetime.fromisoformat(after), datetime.fromisoformat(until))
    return [f"{instant.astimezone(ZoneInfo(BERLIN)):%H:%M %Z}" for instant in found]
