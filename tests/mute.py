"""Exceptions of the users' whose text cannot be kept as it is, and what is kept of them."""

from __future__ import annotations

import os


class MuteError(Exception):
    def __str__(self) -> str:
        raise LookupError


UNKEEPABLE = [
    (OSError(f"no {os.fsdecode(bytes([255]))}.csv"), "OSError: no \\udcff.csv"),
    (MuteError(), "MuteError: (its text cannot be made: LookupError)"),
]
