"""Processes that hear of each other.  The clock of this one stands still, so it never looks by itself."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime, timedelta

import pytest

from tests.clocks import ManualClock, settle
from wrkflw import Runtime, StepContext

from . import roles
from .nest import LONGEST, Nest, nest

__all__ = ["nest"]

pytestmark = pytest.mark.crash


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when a body begins in this process."""
    event = asyncio.Event()

    def effect(_: StepContext) -> None:
        event.set()

    monkeypatch.setattr(roles, "effect", effect)
    return event


def runtime(nest: Nest, clock: ManualClock, *, works: bool = True) -> Runtime:
    return Runtime(f"sqlite:///{nest.database}", clock=clock, workflows=[roles.holding], worker=works)


@pytest.fixture
def ahead() -> ManualClock:
    """What falls due by the clocks of the others is due by this one."""
    return ManualClock(datetime.now(UTC) + timedelta(hours=1))


async def test_a_process_that_is_killed_hands_over_at_once(
    nest: Nest, begun: asyncio.Event, clock: ManualClock
) -> None:
    other = nest.fork("keep")
    nest.await_fact("EFFECT")
    async with runtime(nest, clock):
        await settle()
        assert not begun.is_set(), "it lives, and keeps its run"

        other.signal(signal.SIGKILL)

        await asyncio.wait_for(begun.wait(), LONGEST)


async def test_what_another_process_leaves_is_taken_and_its_end_told_at_once(
    nest: Nest, begun: asyncio.Event, ahead: ManualClock
) -> None:
    async with runtime(nest, ahead):
        other = nest.fork("offer")
        await asyncio.wait_for(begun.wait(), LONGEST)

        await asyncio.to_thread(other.leaves)

    assert sum(fact["what"] == "END" for fact in nest.facts()) == 1


async def test_who_only_produces_takes_nobody_elses_work(nest: Nest, begun: asyncio.Event, ahead: ManualClock) -> None:
    async with runtime(nest, ahead, works=False):
        other = nest.fork("offer")
        await asyncio.to_thread(nest.await_fact, "OFFERED")
        ahead.turn("1h")
        other.signal(signal.SIGKILL)
        await asyncio.to_thread(other.dies)
        ahead.turn("1h")
        await settle()

        assert not begun.is_set()
