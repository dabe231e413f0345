"""Deploys: which runs in flight the code of today would break."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from .engine.definition import Definition
from .engine.journal import Journal
from .world.errors import WorkflowRunNotFoundError
from .world.storage import PageRequest, RunFilter

if TYPE_CHECKING:
    from .engine.definition import WorkflowLike
    from .runtime import Runtime
    from .world.entities import Run as RunEntity

RunVerdict: TypeAlias = Literal["fits", "breaks", "unknown"]
"""``unknown``: nothing here has that workflow."""

_PAGE = 200


@dataclass(frozen=True, slots=True)
class RunCheck:
    """Whether one open run can go on with the code of today.

    ``key`` is the call that does not fit, and ``reason`` the sentence with which the run would be paused (or fail,
    where its workflow says ``on_mismatch="fail"``); both are None when it fits.  ``key`` is empty when it is about the
    run itself.
    """

    run_id: str
    workflow_id: str
    verdict: RunVerdict
    key: str | None = None
    reason: str | None = None

    @property
    def fits(self) -> bool:
        return self.verdict == "fits"


async def check_runs(runtime: Runtime, workflows: Sequence[WorkflowLike] | None = None) -> list[RunCheck]:
    """Tell of every open run whether it can go on with the code as it is, newest first.

    With ``workflows`` only their runs are looked at, and by these definitions, known to the runtime or not: so a deploy
    can be checked from a ``Runtime(..., worker=False)`` beside the one that is in use.  Without, all open runs are, by
    the workflows that the runtime knows; those of any other are ``unknown``: nothing here would take them.

    Writes nothing, and runs no step.  The code of a workflow that is written as a function is run up to where the
    record ends, for what it asks for shows in no other way.  Of a graph no function is called but validators, so it
    cannot tell whether a map now gives a ``foreach`` other items, or what a ``foreach`` that was put right before the
    point where the run stands would have given.

    Raises:
        RuntimeError: the runtime is not open.
        StoreError: the database could not be read.
    """
    if not runtime.is_open:
        raise RuntimeError("the runtime is not open; use it with 'async with Runtime(...)'")
    known = dict(runtime.definitions)
    if workflows is not None:
        known = {workflow.id: _definition_of(workflow, known.get(workflow.id)) for workflow in workflows}
    checks: list[RunCheck] = []
    for name in [None] if workflows is None else known:
        async for run in _open_runs(runtime, name):
            check = await _check(runtime, run, known.get(run.workflow_name))
            if check is not None:
                checks.append(check)
    return checks


def _definition_of(workflow: WorkflowLike, known: Definition | None) -> Definition:
    return known if known is not None and known.workflow is workflow else Definition(workflow)


async def _open_runs(runtime: Runtime, workflow_name: str | None) -> AsyncIterator[RunEntity]:
    where, cursor = RunFilter(workflow_name=workflow_name, statuses=["pending", "running"]), None
    while True:
        page = await runtime.world.storage.runs.list(where, page=PageRequest(_PAGE, cursor))
        for run in page.data:
            yield run
        if not page.has_more:
            return
        cursor = page.cursor


async def _check(runtime: Runtime, run: RunEntity, definition: Definition | None) -> RunCheck | None:
    """None when the run has ended, or was deleted, meanwhile."""
    if definition is None:
        reason = f"no workflow {run.workflow_name!r} is known here; list it in workflows="
        return RunCheck(run.run_id, run.workflow_name, "unknown", "", reason)
    try:
        journal = Journal.of(run.run_id, (await runtime.world.storage.events.list(run.run_id)).data)
    except WorkflowRunNotFoundError:
        return None
    if journal.ended:
        return None
    changed = await runtime.driver.misfit(definition, journal)
    if changed is None:
        return RunCheck(run.run_id, definition.id, "fits")
    return RunCheck(run.run_id, definition.id, "breaks", changed.key, str(changed))
