"""What really happened, told to a file in single writes that survive a kill."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from wrkflw import StepContext, SuspendContext


class Witness:
    """The one file of the process; nothing is kept before it is opened."""

    def __init__(self) -> None:
        self._descriptor = os.open(os.devnull, os.O_WRONLY)

    def open(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)

    def tell(self, what: str, **facts: object) -> None:
        """One fact, one write, at the end of the file."""
        line = json.dumps({"what": what, "pid": os.getpid(), **facts}) + "\n"
        os.write(self._descriptor, line.encode())


witness = Witness()
tell = witness.tell


def effect(ctx: StepContext[Any] | SuspendContext[Any, Any, Any]) -> None:
    """What a body does to the world outside."""
    tell("EFFECT", run=ctx.run_id, key=ctx.key, attempt=ctx.attempt, epoch=ctx.fence)


class Fenced(logging.Handler):
    """Tells when this process is told that it lost a run."""

    def emit(self, record: logging.LogRecord) -> None:
        if "taken over" in record.getMessage():
            tell("FENCED", run=record.args[0] if isinstance(record.args, tuple) else None)


def ready() -> None:
    """Say that the Runtime is open."""
    os.write(1, f"ready {os.getpid()}\n".encode())
