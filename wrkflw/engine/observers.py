"""Who watches the engine at work: told where a run is created, driven and tried, and asked nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from wrkflw.logs import Trying


class Stretch(Protocol):
    """A run, while one process advances it: from where it was taken up to where it ended or parked."""

    @property
    def run_id(self) -> str: ...
    @property
    def workflow_id(self) -> str: ...
    @property
    def trace(self) -> Mapping[str, str]:
        """What :meth:`Observer.creating` gave when the run was created; empty where nobody watched."""
        ...

    @property
    def status(self) -> str:
        """``completed``, ``failed`` or ``cancelled``; anything else while the run is open."""
        ...


class Observer(Protocol):
    """Called on the event loop, between what the engine does.

    It neither waits nor raises: what it does wrong would be taken for the run's.
    """

    def creating(self, run_id: str, workflow_id: str) -> Mapping[str, str]:
        """A run is about to be recorded.  What is given is kept with it, for whoever drives it, in any process."""
        ...

    def driving(self, stretch: Stretch) -> AbstractContextManager[None]:
        """Within: the run is being advanced, in the current task."""
        ...

    def trying(self, call: Trying) -> AbstractContextManager[None]:
        """Within: the body of a step runs, in this context or one copied from it.  What it raises passes through."""
        ...
