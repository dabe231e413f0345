"""What most tests begin with: a clock that stands still, a runtime in memory, a file that does not exist yet."""

from __future__ import annotations

import gc
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from wrkflw import Runtime


def pytest_configure() -> None:
    """Processes of the tests hear of Ctrl-C, also where a shell runs the tests in its background, which ignores it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What the tests themselves consist of is not looked through again each time that garbage is collected."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def runtime(clock: ManualClock) -> AsyncIterator[Runtime]:
    async with Runtime(":memory:", clock=clock) as runtime:
        yield runtime


@pytest.fixture
def database(tmp_path: Path) -> str:
    """The URL of a file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'app.db'}"
