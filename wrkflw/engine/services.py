"""What every drive of a runtime shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from wrkflw.clock import Clock
from wrkflw.ids import Randomness
from wrkflw.world.storage import Claim, Storage

from .executor import Executor

if TYPE_CHECKING:
    from wrkflw.retries import Retry

    from .chunks import Chunks
    from .limits import Limits
    from .observers import Observer
    from .recorder import Recorder


@dataclass(frozen=True, slots=True)
class Services:
    storage: Storage
    claim: Claim
    """With which this process takes runs."""
    clock: Clock
    chance: Callable[[str, int], Randomness]
    """What spreads the backoff of a call, by its id, after so many failures."""
    executor: Executor
    limits: Limits
    retry: Retry | None
    hold: timedelta
    """Timers up to here are waited out in place; for longer ones the run is parked."""
    leaving: Callable[[], bool]
    """Whether this process is giving its runs up."""
    draining: Callable[[], bool]
    """Whether nothing more is begun here: what runs comes to its end, and then its run is given up."""
    observer: Observer | None
    """Who watches."""
    new_token: Callable[[], str]
    """A token that nobody can guess."""
    chunks: Callable[[Recorder], Chunks]
    """What takes the chunks that the bodies of a run write."""
