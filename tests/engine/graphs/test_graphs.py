"""Whatever a graph is made of, and wherever it crashes, it comes to what a pure evaluation of it says."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.soak import Note

from .building import Built
from .evaluator import Flow
from .picked import BAIL_BEFORE_A_RETRY, BOTH_ADD_THE_SAME, CONFLICT, EVENT_BEFORE_ITS_WAIT, PICKED, SKIPPED_WORKFLOW
from .playing import Process, Story
from .strategies import flows

SOAK = 8 if os.environ.get("SOAK") else 1
STRIDE = 1 if SOAK > 1 else 23
SEEDS = st.integers(0, 2**16)
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None


@settings(max_examples=120 * SOAK, derandomize=SOAK == 1, deadline=None, suppress_health_check=list(HealthCheck))
@given(flows(), st.integers(0, 100), SEEDS)
@example(CONFLICT, 1, 1)
@example(BOTH_ADD_THE_SAME, 59, 9558)
@example(EVENT_BEFORE_ITS_WAIT, 0, 1)
@example(SKIPPED_WORKFLOW, 54, 0)
@example(BAIL_BEFORE_A_RETRY, 7, 0)
def test_any_graph_comes_to_what_its_evaluation_says(record_property: Note, flow: Flow, n: int, seed: int) -> None:
    record_property("graphs", 1)
    story = Story(Built(flow), n, ":memory:", random.Random(seed))

    async def play() -> None:
        await Process(story).live()

    asyncio.run(play())


CRASHES = st.lists(st.tuples(st.integers(1, 150), st.booleans()), min_size=1, max_size=3)


@settings(max_examples=60 * SOAK, derandomize=SOAK == 1, deadline=None, suppress_health_check=list(HealthCheck))
@given(flows(), st.integers(0, 100), SEEDS, CRASHES)
def test_any_graph_that_crashes_comes_to_the_same(
    record_property: Note, flow: Flow, n: int, seed: int, crashes: list[tuple[int, bool]]
) -> None:
    record_property("graphs that crashed", 1)
    with tempfile.TemporaryDirectory(dir=_FAST) as folder:
        story = Story(Built(flow), n, Path(folder) / "app.db", random.Random(seed))
        asyncio.run(live_and_die(story, crashes))


async def live_and_die(story: Story, lives: list[tuple[int, bool]]) -> bool:
    """One process after the other; what was completed when one died is not run again.

    False when one did not live long enough to die.
    """
    assert isinstance(story.path, Path)
    before: list[tuple[list[str], Counter[str]]] = []
    for last, tidy in lives:
        if not await Process(story, last, tidy=tidy).live_until_killed():
            break
        before.append((completed_in(story.path), story.built.begun.copy()))
    else:
        await Process(story).live()
    for completed, begun in before:
        again = {key for key in completed if story.built.begun[key] != begun[key]}
        assert not again, f"{again} ran again after their completion was durable"
    return len(before) == len(lives)


def completed_in(database: Path) -> list[str]:
    """The keys whose end is on disk, read as somebody else would."""
    connection = sqlite3.connect(database)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not connection.execute("SELECT name FROM sqlite_master WHERE name = 'events'").fetchall():
            return []
        keys = [key for (key,) in connection.execute(COMPLETED)]
        assert max(Counter(keys).values(), default=1) == 1
        return keys
    finally:
        connection.close()


COMPLETED = """
    SELECT steps.key FROM events JOIN steps ON steps.run_no = events.run_no AND steps.created_slot = events.subject
    WHERE events.event_type IN ('step_completed', 'step_failed')
"""


@pytest.mark.parametrize("name", PICKED)
def test_a_picked_graph_that_crashes_at_any_statement_comes_to_the_same(name: str) -> None:
    """Unless soaked, at every so many statements."""
    last, killed = 1 + len(name) % STRIDE, True
    while killed:
        with tempfile.TemporaryDirectory(dir=_FAST) as folder:
            story = Story(Built(PICKED[name]), 7, Path(folder) / "app.db", None)
            killed = asyncio.run(live_and_die(story, [(last, False)]))
        last += STRIDE
    assert last > 100, "there are fewer statements than a run takes"
