"""The simulation itself: each mistake that is made on purpose is found within its budget of seeds."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant
from tests.mutants.simulated import SIMULATED

from .playing import stage
from .test_simulation import MEMORY


@pytest.mark.mutant
@pytest.mark.parametrize("mutant", SIMULATED, ids=lambda mutant: mutant.name)
def test_a_mistake_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, stage(Path(folder)) as play:
        mutant.apply(monkeypatch)
        for seed in range(mutant.budget):
            violations = play(seed).violations
            if found := [each for each in violations if re.search(mutant.says, each)]:
                print(f"\n{mutant.name}: found at seed {seed}: {found[0]}")
                return
    pytest.fail(f"{mutant.name!r} passed {mutant.budget} seeds")
