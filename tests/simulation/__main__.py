"""Play one seed, or many from one on, and say what went wrong: ``python -m tests.simulation --seed N [--count M]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import pytest

from tests.mutants.simulated import SIMULATED

from .playing import report, stage
from .test_simulation import MEMORY

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=1)
    mutants = {mutant.name: mutant for mutant in SIMULATED}
    parser.add_argument("--mutant", choices=mutants, help="with this mistake made on purpose")
    given = parser.parse_args()
    failed = False
    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as folder,
        stage(Path(folder)) as play,
        pytest.MonkeyPatch.context() as patch,
    ):
        if given.mutant is not None:
            mutants[given.mutant].apply(patch)
        for seed in range(given.seed, given.seed + given.count):
            outcome = play(seed)
            if outcome.violations:
                print(report(outcome))
                failed = True
            elif given.count == 1:
                machine = outcome.machine
                print(*outcome.facts, outcome.temper, sep="\n")
                print(f"seed {seed}: {machine.statements} points, trace {machine.trace}, nothing wrong")
    sys.exit(failed)
