"""Collecting, now, what is kept no longer: payloads of runs that ended long ago, and blobs without any run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .runtime import current_runtime

if TYPE_CHECKING:
    from .runtime import Runtime

_PAGE = 100


@dataclass(frozen=True, slots=True)
class Collected:
    """What :func:`gc` has removed."""

    runs: int
    """How many runs have lost their payloads, because they had been kept for as long as was wanted."""
    payloads: int
    """How many blobs were deleted that no run refers to any more; what is in the database goes with its runs."""


async def gc(runtime: Runtime | None = None) -> Collected:
    """Remove what is kept no longer, in the database of ``runtime``, else of the current one.

    A worker takes payloads from runs by itself when they are due; this is for where none runs, and for a blob store,
    which no worker tidies: a blob that no run refers to any more is deleted a day or more after it was last written.
    Runs are not deleted, see ``runs.delete``.  While another process collects payloads, none are collected here.

    Raises:
        StoreError: the database could not be written; what was removed by then stays so.
    """
    storage = (runtime or await current_runtime()).world.storage
    runs = 0
    while expired := await storage.retention.expire(limit=_PAGE):
        runs += expired
    return Collected(runs, await storage.payloads.collect())
