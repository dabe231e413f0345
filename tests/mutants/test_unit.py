"""The tests of the parts themselves: each mistake that is made on purpose fails the test that is there for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .mutant import Bug
from .unit import UNIT

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.mutant
@pytest.mark.parametrize("bug", UNIT, ids=lambda bug: bug.name)
def test_a_mistake_is_found(bug: Bug) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "tests.mutants.making"]
    played = subprocess.run(
        [*command, bug.test],
        cwd=ROOT,
        env={**os.environ, "MUTANT": bug.name},
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
    )

    assert (played.returncode, "1 failed" in played.stdout) == (1, True), played.stdout + played.stderr
