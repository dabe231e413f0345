"""A log that is full: nothing can be handed in any more, so a run that waits for that is ended, and all are told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress

from wrkflw.errors import LimitError
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.errors import EntityConflictError, EventLimitError, PreconditionFailedError, WorkflowRunNotFoundError
from wrkflw.world.storage import Storage

from . import failures


@asynccontextmanager
async def ending_if_full(storage: Storage, run_id: str) -> AsyncGenerator[None]:
    """Within, something is recorded that comes from outside.

    Raises LimitError where the log has no room for it; by then the run has failed, unless it still moves: then it comes
    to its end, or to the limit, by itself.
    """
    try:
        yield
    except EventLimitError as refusal:
        error = LimitError(str(refusal), limit=refusal.limit, got=refusal.limit + 1)
        run = await storage.runs.locate(run_id)
        if not _moves(run):
            failed = failures.failure_of(error, key="", step_id="", attempts=1)
            end = e.RunFailed(error=failures.dump(failed), error_code="MAX_EVENTS_EXCEEDED")
            # Whoever was faster has ended or deleted it, or can tell better how it goes on.
            with suppress(EntityConflictError, PreconditionFailedError, WorkflowRunNotFoundError):
                await storage.events.create(run_id, end, expect_slot=run.last_slot, resolve_data="none")
        raise error from refusal


def _moves(run: Run) -> bool:
    """Whether somebody has the run, or will: because of a timer, or of news, which may be all that it still needs."""
    if run.owner is not None or run.paused_at is not None:
        return run.owner is not None
    return run.wake_at is not None or run.last_slot > run.seen_slot


@contextmanager
def told_as_limit() -> Generator[None]:
    """Within: a run whose first transaction is more than a log may hold raises LimitError."""
    try:
        yield
    except EventLimitError as error:
        raise LimitError(str(error), limit=error.limit, got=error.limit + 1) from error
