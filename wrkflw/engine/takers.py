"""Who takes runs up again in a process: a worker whatever is due; without one, errands what was asked for there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from wrkflw.world.storage import RUN_DUE

from .definition import Definition

FROM_OUTSIDE = {"run_paused", "run_resumed", "signal_received", "hook_received"}
MAKES_DUE = FROM_OUTSIDE | {"run_created", "wait_completed", RUN_DUE}


class Taker:
    """What the driver tells it; it does nothing of what it does not care for."""

    def start(self) -> None: ...

    async def rest(self) -> None:
        """Take nothing more."""

    def close(self) -> None: ...

    # --- what may be taken -------------------------------------------------------------------------

    def look(self) -> None:
        """There may be runs to take."""

    def workflow_known(self) -> None:
        """Code was made known that runs may have waited for."""

    def expect(self, run_id: str, definition: Definition, due: datetime) -> None:
        """The run was given up until ``due``."""

    def take_soon(self, run_id: str, definition: Definition) -> None:
        """The run was given up, and may go on now."""

    async def take(self, run_id: str, definition: Definition) -> None:
        """The same; what goes wrong is the caller's to hear."""

    async def unpause(self, run_id: str, definition: Definition) -> bool:
        """Let a run that the engine has paused go on if it fits the code that is here; whether it does."""
        return False

    # --- what becomes of runs ----------------------------------------------------------------------

    def asked(self, run_id: str, definition: Definition) -> None:
        """Somebody here wants the run to go on."""

    def driven(self, run_id: str, definition: Definition) -> None:
        """The run is driven here from now on."""

    def went_on(self, run_id: str) -> None:
        """It was driven here, and given up in good order."""

    def misfit(self, run_id: str) -> None:
        """The engine has paused it here."""

    def freed(self) -> None:
        """A run is driven no more, whatever became of it."""

    def forget(self, run_id: str) -> None:
        """The run is known to go on no more."""

    # --- what is heard -----------------------------------------------------------------------------

    def ended(self, run_id: str) -> None:
        """The run has just ended, wherever it was driven."""

    def heard(self, run_id: str, event_types: Sequence[str]) -> None:
        """This was written to a run that is not driven here."""

    def unheard(self, run_id: str) -> None:
        """What was written to the run just now may have been told to nobody."""

    def heard_of_anything(self, is_wanted: Callable[[str], bool]) -> None:
        """Anything may have been written; ``is_wanted`` says of which runs somebody here waits to hear."""
