"""A fork of any graph, at whatever it had recorded, comes to what a run of its own comes to."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.world.looks import log_of
from wrkflw.world import events as e

from . import playing
from .building import Built
from .evaluator import Flow
from .picked import PICKED
from .playing import RUN_ID, Process, Story
from .strategies import flows
from .test_graphs import _FAST, SEEDS, SOAK


class Forking(Process):
    """A process that forks the run of the one before, and plays with what comes of that.

    Where is a fraction of what was recorded; None is where the run failed.
    """

    where: float | None = None

    async def start(self) -> None:
        run = await self.story.built.workflow.get_run(RUN_ID)
        log = await log_of(self.world, RUN_ID)
        keys = [stored.event.key for stored in log if isinstance(stored.event, e.StepCreated | e.WaitCreated)]
        if self.where is None and log[-1].event_type == "run_failed":
            draft = run.fork()
        elif keys:
            draft = run.fork(key=keys[int((self.where or 0) * len(keys))])
        else:
            return
        playing.RUN_ID = (await draft.enqueue()).run_id


async def live_and_fork(flow: Flow, n: int, path: Path, chance: random.Random | None, where: float | None) -> None:
    built = Built(flow)
    first = Story(built, n, path, chance)
    await Process(first).live()
    built.begun.clear()
    second = Forking(Story(built, n, path, chance, first.now))
    second.where = where
    with patch.object(playing, "RUN_ID", RUN_ID):
        await second.live()


WHERE = st.none() | st.floats(0, 1, exclude_max=True)


@settings(max_examples=100 * SOAK, derandomize=SOAK == 1, deadline=None, suppress_health_check=list(HealthCheck))
@given(flows(), st.integers(0, 100), SEEDS, WHERE)
def test_a_fork_of_any_graph_comes_to_what_its_evaluation_says(
    flow: Flow, n: int, seed: int, where: float | None
) -> None:
    with tempfile.TemporaryDirectory(dir=_FAST) as folder:
        asyncio.run(live_and_fork(flow, n, Path(folder) / "app.db", random.Random(seed), where))


@pytest.mark.parametrize("name", PICKED)
def test_a_picked_graph_can_be_forked_anywhere(name: str) -> None:
    for step in range(0, 20, 1 if SOAK > 1 else 4):
        with tempfile.TemporaryDirectory(dir=_FAST) as folder:
            asyncio.run(live_and_fork(PICKED[name], 7, Path(folder) / "app.db", None, step / 20))
