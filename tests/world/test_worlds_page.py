"""The code of docs/worlds.md works as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from wrkflw.testing import conformance
from wrkflw.testing.conformance import __main__

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "worlds.md").read_text(encoding="utf-8")


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The code of the page, as a module."""
    source = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    (tmp_path / "stores_of_the_page.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stores_of_the_page", raising=False)
    return __import__("stores_of_the_page")


async def test_the_maker_of_the_page_makes_stores(stores: ModuleType) -> None:
    wanted = {
        "log/slots_count_from_one",
        "namespaces/tokens_are_unique_per_namespace",
        "log/a_full_log_takes_ends_alone",
    }
    checks = [check for check in conformance.CHECKS if str(check) in wanted]

    report = await conformance.run(stores.make, checks)

    assert [str(result.check) for result in report.passed] == [str(check) for check in checks]
    assert __main__.maker_of("stores_of_the_page:make") is stores.make


async def test_the_test_of_the_page_is_one_for_each_check(stores: ModuleType) -> None:
    (mark,) = stores.test_the_world_keeps_the_contract.pytestmark

    assert mark.args == ("check", conformance.CHECKS)
    await stores.test_the_world_keeps_the_contract(conformance.CHECKS[0])


@pytest.mark.parametrize("name", re.findall(r"^\| `([a-z]+)`[^|]*\|", PAGE, re.MULTILINE))
def test_the_modules_of_the_table_are_there(name: str) -> None:
    assert __import__(f"wrkflw.world.{name}", fromlist=["_"]).__doc__
