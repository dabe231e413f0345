"""The pytest plugin: two fixtures, in both modes of pytest-asyncio, at no cost for those who do not use them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Literal

import pytest

from wrkflw import create_workflow
from wrkflw.testing import TestRuntime

from .collecting import ENVIRONMENT, ROOT, collect

TESTS = """
import pytest
from wrkflw import create_workflow, step

@step
async def add_one(number: int) -> int:
    return number + 1

counting = create_workflow(id="counting", input_schema=int, output_schema=int).then(add_one).sleep("7d").commit()

@pytest.mark.asyncio
async def test_the_runtime_is_the_current_one(wrkflw_runtime):
    run = await counting.create_run()
    await run.start(1)
    await wrkflw_runtime.advance("7d")
    assert (await run.result()).unwrap() == 2
    assert [info.run_id for info in (await wrkflw_runtime.runs.list()).data] == [run.run_id]

@pytest.mark.asyncio
async def test_the_world_is_open_and_empty(world):
    assert (await world.storage.runs.list()).data == []
"""


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_the_fixtures_work_in_each_mode_of_pytest_asyncio(mode: Literal["auto", "strict"], tmp_path: Path) -> None:
    assert "2 passed" in collect(tmp_path, TESTS, mode=mode)


def test_a_test_that_is_not_asynchronous_is_told_to_be(wrkflw_runtime: TestRuntime) -> None:
    flow = create_workflow(id="flow", input_schema=int, output_schema=int).sleep("7d").commit()

    with pytest.raises(RuntimeError, match="stands still") as refused:
        flow.run_sync(3)

    assert wrkflw_runtime.loop is not None
    assert str(refused.value) == (
        "run_sync() was called while the event loop of its runtime stands still; make the caller async, and use "
        "'await flow.run(...)'"
    )


def test_the_plugin_loads_nothing_of_wrkflw() -> None:
    report = "import sys, _wrkflw_pytest; print(*[name for name in sys.modules if name.partition('.')[0] == 'wrkflw'])"
    ran = subprocess.run([sys.executable, "-c", report], env=ENVIRONMENT, capture_output=True, text=True, check=True)

    assert ran.stdout.split() == []


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert project["project"]["entry-points"]["pytest11"] == {"wrkflw": "_wrkflw_pytest"}
    assert "_wrkflw_pytest.py" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
