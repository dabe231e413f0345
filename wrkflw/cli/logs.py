"""What long-lived commands log: one line each on stderr, with the run and the step it comes from."""

from __future__ import annotations

import logging

from wrkflw.logs import NOWHERE, RunContext

from .screen import clean

_OF_SERVERS = ("mail.log", "uvicorn")
"""Loggers that remark on connections, and on servers that begin and end, which the commands say themselves."""


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        whole = super().format(record)
        run_id = getattr(record, "run_id", NOWHERE)
        where = "" if run_id == NOWHERE else f" [{run_id} {getattr(record, 'step_key', NOWHERE)}]"
        return clean(f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')} {record.levelname.lower()}{where} {whole}")


def log_to_stderr(*, verbose: bool) -> None:
    """Show warnings of everybody; with ``verbose``, remarks too."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines("%(name)s: %(message)s"))
    handler.addFilter(RunContext())
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
    for name in _OF_SERVERS:
        logging.getLogger(name).setLevel(logging.WARNING)
