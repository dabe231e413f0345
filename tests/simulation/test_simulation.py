"""Several processes on one file, in every order a seed can think of: whatever happens, what was promised holds."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .playing import Outcome, report, stage

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where there is a disk in memory
ROOT = Path(__file__).resolve().parents[2]
SOAK = bool(os.environ.get("SOAK"))
SEEDS = int(os.environ.get("SIMULATION_SEEDS") or (50_000 if SOAK else 1_000))
FIRST = int(os.environ.get("SIMULATION_FIRST") or (random.SystemRandom().randrange(2**32) if SOAK else 0))
PARTS = 4
LINES = (Path(__file__).parent / "seeds.txt").read_text().splitlines()
FOUND = [int(line.split()[0]) for line in LINES if not line.startswith("#")]

_NOTED = ("seeds", "statements and lines", "crashes", "pauses", "jumps of the clock", "FENCED")
_MUST_HAPPEN = (*_NOTED, "ACK", "EFFECT", "CONFLICT", "CANCELLED", "ANSWERED", "SENT", "END")

Play = Callable[[int], Outcome]


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    import tempfile

    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, stage(Path(folder)) as play_one:
        yield play_one


def held(play: Play, seed: int) -> Outcome:
    outcome = play(seed)
    assert not outcome.violations, report(outcome)
    return outcome


@pytest.mark.crash
@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_stays_mended(seed: int, play: Play) -> None:
    held(play, seed)


@pytest.mark.crash
@pytest.mark.parametrize("part", range(PARTS))
def test_what_was_promised_holds_in_every_order(
    part: int, play: Play, record_property: Callable[[str, object], None]
) -> None:
    told = Counter[str]()
    for seed in range(FIRST + part, FIRST + SEEDS, PARTS):
        outcome = held(play, seed)
        machine = outcome.machine
        told.update(fact["what"] for fact in outcome.facts)
        told.update(
            {
                "seeds": 1,
                "statements and lines": machine.statements,
                "crashes": machine.crashes,
                "pauses": machine.pauses,
                "jumps of the clock": machine.jumps,
            }
        )
    for what in _NOTED:
        record_property(what, told[what])
    if SEEDS >= 250 * PARTS:  # fewer may miss something: one seed in twenty fences somebody
        assert [what for what in _MUST_HAPPEN if not told[what]] == []


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(5))
def test_a_seed_plays_the_same_again(seed: int, play: Play) -> None:
    first, again = play(seed), play(seed)

    assert again.machine.trace == first.machine.trace
    assert again.facts == first.facts


@pytest.mark.crash
def test_a_seed_plays_the_same_in_another_process(play: Play) -> None:
    told = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "3"],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": text},
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout
        for text in ("1", "2")
    ]  # fmt: skip

    assert all(f"trace {play(3).machine.trace}" in each for each in told)
