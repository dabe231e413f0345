"""A record that cannot be read: told from code that has changed; its run is paused, so that the others go on."""

from __future__ import annotations

import logging

from wrkflw.errors import InvalidValueError, WrkflwError
from wrkflw.schemas import Schema, plain
from wrkflw.world import events as e
from wrkflw.world.errors import DamagedPayloadError
from wrkflw.world.storage import Storage

_log = logging.getLogger("wrkflw")


def read(schema: Schema, data: bytes, what: str, run_id: str) -> object:
    """A recorded value.

    Raises InvalidValueError when it does not fit the type, DamagedPayloadError when it is not even JSON, as all that is
    written.
    """
    try:
        return schema.load(data, what)
    except InvalidValueError:
        try:
            plain(data)
        except ValueError as error:
            raise DamagedPayloadError(run_id, what, f"it is no JSON any more: {error}") from error
        raise


async def pause_if_damaged(storage: Storage, run_id: str, error: BaseException) -> None:
    """Pause the run if ``error`` says that a payload of it is lost: to try again would not bring it back."""
    if not isinstance(error, DamagedPayloadError):
        return
    detail: e.Meta = {"by": "engine", "error": type(error).__name__}
    try:
        await storage.events.create(run_id, e.RunPaused(reason=str(error), detail=detail), resolve_data="none")
    except WrkflwError:
        _log.exception("run %s could not be paused", run_id)
