"""Processes that hear of each other.  The clock of this one stands still, so it never looks by itself."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime, timedelta

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import Runtime, StepContext

from . import worker
from .test_kill import LONGEST, Nest, await_fact, nest

__all__ = ["nest"]

pytestmark = pytest.mark.crash


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when a body begins in this process."""
    event = asyncio.Event()

    def effect(_: StepContext) -> None:
        event.set()

    monkeypatch.setattr(worker, "effect", effect)
    return event


def runtime(nest: Nest, clock: ManualClock, *, works: bool = True) -> Runtime:
    return Runtime(f"sqlite:///{nest.database}", clock=clock, workflows=[worker.holding], worker=works)


@pytest.fixture
def ahead() -> ManualClock:
    """What falls due by the clocks of the others is due by this one."""
    return ManualClock(datetime.now(UTC) + timedelta(hours=1))


async def test_a_process_that_is_killed_hands_over_at_once(
    nest: Nest, begun: asyncio.Event, clock: ManualClock
) -> None:
    nest.command("carry", "wait")
    await_fact(nest, "EFFECT")
    async with runtime(nest, clock):
        await settle()
        assert not begun.is_set(), "it lives, and keeps its run"

        nest.signal(signal.SIGKILL)

        await asyncio.wait_for(begun.wait(), LONGEST)


async def test_what_another_process_leaves_is_taken_and_its_end_told_at_once(
    nest: Nest, begun: asyncio.Event, ahead: ManualClock
) -> None:
    async with runtime(nest, ahead):
        nest.command("offer")
        await asyncio.wait_for(begun.wait(), LONGEST)

        assert await asyncio.to_thread(nest.dies) == 0, nest.complaints()

    assert sum(fact["what"] == "END" for fact in nest.facts()) == 1


async def test_who_only_produces_takes_nobody_elses_work(nest: Nest, begun: asyncio.Event, ahead: ManualClock) -> None:
    async with runtime(nest, ahead, works=False):
        nest.command("offer")
        await asyncio.to_thread(await_fact, nest, "OFFERED")
        ahead.turn("1h")
        nest.signal(signal.SIGKILL)
        await asyncio.to_thread(nest.dies)
        ahead.turn("1h")
        await settle()

        assert not begun.is_set()
