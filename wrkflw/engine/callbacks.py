"""``on_completed`` and ``on_failed``: a workflow is told of the end of its runs, and can do them no harm.

Of a run that has failed without anybody to hear of it the log tells.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable

from wrkflw.results import RunInfo
from wrkflw.world.entities import RunStatus
from wrkflw.world.storage import Runs

from . import failures
from .definition import Definition
from .journal import Journal
from .views import info_of

Callback = Callable[[RunInfo], object]

_log = logging.getLogger("wrkflw")


def callback_of(definition: Definition, status: RunStatus) -> Callback | None:
    """What wants to be called when a run has ended with this status."""
    workflow = definition.workflow
    return {"completed": workflow.on_completed, "failed": workflow.on_failed}.get(status)


async def call_back(callback: Callback, run_id: str, epoch: int, runs: Runs) -> None:
    """Once the last event of the run is durable, and at most once: by who had it, at ``epoch``, when it ended."""
    run = await runs.get(run_id, resolve_data="none")
    if run.epoch != epoch:
        return  # it was taken over, and whoever has ended it tells
    info = info_of(run)
    try:
        given = callback(info)
        if inspect.isawaitable(given):
            await given
    except Exception:  # noqa: BLE001  # it is the user's, and the run has ended
        _log.exception("a callback of run %s raised; the run is not affected", run_id)


def log_failure(journal: Journal) -> None:
    """If the run has failed: where, and of what."""
    if journal.status == "failed":
        error = failures.of_run(journal.error, journal.error_code)
        where = f" at {error.key!r}" if error.key else ""
        _log.warning(
            "run %s of workflow %r failed%s: %s: %s",
            journal.run_id, journal.workflow_name, where, error.type, error.message,
        )  # fmt: skip
