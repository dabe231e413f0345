"""A run whose record cannot be read is paused, so that the others go on and somebody hears of it."""

from __future__ import annotations

import logging

from wrkflw.errors import WrkflwError
from wrkflw.world import events as e
from wrkflw.world.errors import DamagedPayloadError
from wrkflw.world.storage import Storage

_log = logging.getLogger("wrkflw")


async def pause_if_damaged(storage: Storage, run_id: str, error: BaseException) -> None:
    """Pause the run if ``error`` says that a payload of it is lost: to try again would not bring it back."""
    if not isinstance(error, DamagedPayloadError):
        return
    detail: e.Meta = {"by": "engine", "error": type(error).__name__}
    try:
        await storage.events.create(run_id, e.RunPaused(reason=str(error), detail=detail), resolve_data="none")
    except WrkflwError:
        _log.exception("run %s could not be paused", run_id)
