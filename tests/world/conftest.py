from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.clocks import ManualClock
from wrkflw.worlds.sqlite import SqliteWorld


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def world(clock: ManualClock) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(":memory:", clock=clock)
    await world.start()
    yield world
    await world.close()
