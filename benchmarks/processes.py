"""Modules of the benchmarks as programs, in fresh processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 300
"""Seconds after which a process counts as hanging."""


def ended(module: str, *arguments: object, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """A process that has ended, in whichever way; ``given`` is its stdin."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, check=False, timeout=TIMEOUT)
