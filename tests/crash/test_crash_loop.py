"""A run that kills every worker that takes it is given up, with a dead letter."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.killer import LIMIT

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.crash
def test_a_body_that_kills_its_worker_does_not_do_so_for_ever(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.crash.killer", str(tmp_path / "a.db")]

    ends = [
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        for _ in range(LIMIT + 1)
    ]

    assert [end.returncode for end in ends] == [-signal.SIGKILL] * LIMIT + [0], ends[-1].stderr
    assert ends[-1].stdout.split() == ["failed", "True"]
