"""Logging with the run and the step in it: which try of which call goes on here, and a filter that tells records of it.

    handler = logging.StreamHandler()
    handler.addFilter(RunContext())
    handler.setFormatter(logging.Formatter("%(levelname)s %(run_id)s %(step_key)s %(message)s"))

What a body logs, through any logger and from whatever it calls, then says which run it belongs to: in tasks that it
starts, in the thread of a sync body, and in calls that it makes with ``asyncio.to_thread``.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Protocol

NOWHERE = "-"
"""What the texts of a record are outside of any step."""


class Trying(Protocol):
    """One try of the body of a step."""

    @property
    def run_id(self) -> str: ...
    @property
    def workflow_id(self) -> str: ...
    @property
    def step_id(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def attempt(self) -> int: ...


trying: ContextVar[Trying | None] = ContextVar("wrkflw_try", default=None)
"""The try that goes on here; None outside of a step."""


class RunContext(logging.Filter):
    """Lets every record pass, and gives it ``run_id``, ``workflow_id``, ``step_key`` and ``attempt``.

    Outside of a step they are ``"-"`` and 0.  What a record has already, as those of ``ctx.logger`` do, it keeps.
    Belongs on handlers: a logger does not filter what its children log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        call, has = trying.get(), record.__dict__
        has.setdefault("run_id", NOWHERE if call is None else call.run_id)
        has.setdefault("workflow_id", NOWHERE if call is None else call.workflow_id)
        has.setdefault("step_key", NOWHERE if call is None else call.key)
        has.setdefault("attempt", 0 if call is None else call.attempt)
        return True
