"""An application over a runtime in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .desk import Desk, served


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with served() as desk:
        yield desk
