"""What a worker leaves behind that dies: a claim nobody honours, and a step that was started."""

from __future__ import annotations

import itertools

from wrkflw import Runtime
from wrkflw.ids import correlation_id
from wrkflw.world import events as e
from wrkflw.world.storage import Claim, RunFence
from wrkflw.worlds.sqlite import SqliteWorld

_dead = itertools.count(1)


def kill(runtime: Runtime) -> None:
    """As if the process of this runtime died here: nothing more is written, nothing is given up."""
    assert isinstance(runtime.world, SqliteWorld)
    runtime.world.abandon()


async def leave_run(runtime: Runtime, workflow: str, run_id: str, key: str, data: bytes = b"null") -> None:
    """A run whose worker died while the body of the step ``key`` was running."""
    await runtime.world.storage.events.create_batch(
        run_id,
        [
            e.RunCreated(workflow_name=workflow, input=data),
            e.RunStarted(),
            _created(run_id, key, data),
            _started(run_id, key),
        ],
        claim=Claim(f"own_dead{next(_dead)}"),
    )


async def interrupt(runtime: Runtime, run_id: str, key: str) -> None:
    """Another worker starts the step ``key`` again, and dies too."""
    run = await runtime.world.storage.runs.claim(run_id, owner=f"own_dead{next(_dead)}")
    await runtime.world.storage.events.create(run_id, _started(run_id, key), fence=RunFence(run.epoch))


def _created(run_id: str, key: str, data: bytes) -> e.StepCreated:
    return e.StepCreated(correlation_id=correlation_id("step", run_id, key), step_name=key, key=key, input=data)


def _started(run_id: str, key: str) -> e.StepStarted:
    return e.StepStarted(correlation_id=correlation_id("step", run_id, key))
