"""How often Python looks for garbage while a runtime is open."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Generator
from pathlib import Path

import pytest

from wrkflw import Runtime, create_step, create_workflow
from wrkflw.testing import Crashed, TestRuntime

one_step = (
    create_workflow(id="one-step", input_schema=int, output_schema=int)
    .then(create_step(id="same", input_schema=int, output_schema=int, execute=lambda number: number))
    .commit()
)


@pytest.fixture(autouse=True)
def _as_python_does() -> Generator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


async def test_while_a_runtime_is_open_garbage_is_looked_for_more_rarely(tmp_path: Path) -> None:
    async with Runtime(f"sqlite:///{tmp_path}/one.db"):
        async with Runtime(f"sqlite:///{tmp_path}/other.db"):
            pass
        assert gc.get_threshold() == (10_000, 10, 10)
    assert gc.get_threshold() == (700, 10, 10)


async def test_after_a_crash_as_before() -> None:
    async with TestRuntime(workflows=[one_step]) as runtime:
        runtime.crash_after("step_started")
        with pytest.raises(Crashed):
            await (await one_step.create_run()).start(1)
        assert gc.get_threshold() == (700, 10, 10)
        await runtime.restart()
        assert gc.get_threshold() == (10_000, 10, 10)
    assert gc.get_threshold() == (700, 10, 10)


def test_a_runtime_that_was_lost_with_its_loop_needs_it_no_more() -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(Runtime(":memory:", worker=False).open())
    loop.close()
    assert gc.get_threshold() == (10_000, 10, 10)

    del loop
    with warnings.catch_warnings(action="ignore"):
        gc.collect()

    assert gc.get_threshold() == (700, 10, 10)


async def test_who_has_set_it_keeps_it(tmp_path: Path) -> None:
    gc.set_threshold(0)
    async with Runtime(f"sqlite:///{tmp_path}/one.db"):
        assert gc.get_threshold()[0] == 0
        gc.set_threshold(50, 5, 5)
    assert gc.get_threshold() == (50, 5, 5)


async def test_who_sets_it_meanwhile_keeps_it_too(tmp_path: Path) -> None:
    async with Runtime(f"sqlite:///{tmp_path}/one.db"):
        gc.set_threshold(50, 5, 5)
    assert gc.get_threshold() == (50, 5, 5)
