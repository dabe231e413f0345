"""What docs/http.md shows is so: its code runs, and it names every route."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest

from wrkflw.server import AsgiApp

from .desk import client_of
from .test_access import ACCESS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "http.md").read_text(encoding="utf-8")


async def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, "http.md", "exec", dont_inherit=True), names)  # noqa: S102  # it is our own page

    async with names["rt"], client_of(cast("AsgiApp", names["flows"])) as client:
        refused = await client.post("/signup", json={"user_id": "1"})
        allowed = await client.post(
            "/signup", json={"user_id": "1"}, headers={"Authorization": f"Bearer {names['text']}"}
        )
        public = await client.get("/welcome?user=2")
        unsigned = await client.post("/hook", json={"user_id": "1"})

    statuses = [answer.status_code for answer in (refused, allowed, public, unsigned)]
    assert statuses == [401, 202, 202, 401]


def test_the_page_names_the_last_part_of_every_route() -> None:
    for request in ACCESS:
        last = request.split("/")[-1]
        assert last.startswith("{") or last in PAGE, request
