"""The pytest plugin of wrkflw: the fixtures ``wrkflw_runtime`` and ``world``.

It stands beside the package, which pytest would otherwise import before every run, whether or not a test needs it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from wrkflw.testing import TestRuntime
    from wrkflw.world import World

Function = TypeVar("Function", bound=Callable[..., Any])


def fixture(function: Function) -> Function:
    """A fixture of pytest-asyncio, which in its strict mode runs no other asynchronous ones; else of pytest."""
    owner = "pytest_asyncio" if find_spec("pytest_asyncio") is not None else "pytest"
    return cast("Function", import_module(owner).fixture(function))


@fixture
async def wrkflw_runtime() -> AsyncIterator[TestRuntime]:
    """A TestRuntime that is the current runtime: in memory, with a clock that stands still and seeded ids."""
    from wrkflw.testing import TestRuntime

    async with TestRuntime() as runtime:
        yield runtime


@fixture
async def world() -> AsyncIterator[World]:
    """An open World in memory, with nothing in it."""
    from wrkflw.worlds.sqlite import SqliteWorld

    opened = SqliteWorld(":memory:")
    await opened.start()
    try:
        yield opened
    finally:
        await opened.close()
