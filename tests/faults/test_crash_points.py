"""A crash before, in and after every file operation, and each of them failing: what was acknowledged ends well."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.soak import Note

from .disk import MODES, Fault, Kind, Mode
from .playing import DATABASE, Play, play
from .scenarios import SCENARIOS, Scenario
from .vfs import LAYER

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(
        LAYER is None, reason="the functions of the driver's SQLite cannot be reached: NOTHING IS CHECKED"
    ),
]

SOAK = bool(os.environ.get("SOAK"))
STRIDE = 5
POINT = os.environ.get("POINT")
"""One point instead of all: ``MODE:NUMBER``."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_whatever_the_disk_does_what_was_acknowledged_comes_to_its_end(
    name: str, tmp_path: Path, template: Path, record_property: Note
) -> None:
    scenario, played = SCENARIOS[name], Counter[Mode]()
    kinds = operations(scenario, tmp_path / "whole", template)
    for fault in [point(POINT)] if POINT else points(kinds):
        folder = tmp_path / f"{fault.mode}-{fault.number}"
        folder.mkdir()
        outcome = play(scenario, folder, fault, template)
        assert not outcome.violations, report(scenario, fault, kinds, outcome, folder)
        shutil.rmtree(folder)
        played[fault.mode] += 1
    record_property("operations of the disk", len(kinds))
    for mode, count in played.items():
        record_property(f"× {mode}", count)


def operations(scenario: Scenario, folder: Path, template: Path) -> list[Kind]:
    """What is done to a disk that does not fail."""
    folder.mkdir()
    whole = play(scenario, folder, None, template)
    assert not whole.violations, whole.violations
    return whole.disk.kinds


def points(kinds: list[Kind]) -> Iterator[Fault]:
    """Every operation in every mode, or each fifth in one of its modes."""
    for number, kind in enumerate(kinds):
        if SOAK:
            yield from (Fault(mode, number) for mode in MODES[kind])
        elif number % STRIDE == 0:
            yield Fault(Random(number).choice(MODES[kind]), number)


def point(text: str) -> Fault:
    mode, number = text.split(":")
    known: dict[str, Mode] = {each: each for modes in MODES.values() for each in modes}
    return Fault(known[mode], int(number))


def report(scenario: Scenario, fault: Fault, kinds: list[Kind], outcome: Play, folder: Path) -> str:
    violations, facts = "\n".join(outcome.violations[:20]), "\n".join(map(str, outcome.facts[-50:]))
    what = f"{scenario.name}, {fault.mode} at operation {fault.number} ({kinds[fault.number]})"
    test = f'tests/faults/test_crash_points.py -k "acknowledged and {scenario.name}"'
    again = f"POINT={fault.mode}:{fault.number} .venv/bin/pytest {test}"
    return f"{what}\nagain with: {again}\ndatabase: {folder / DATABASE}\n{facts}\n{violations}"


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_scenario_does_the_same_to_the_disk(name: str, tmp_path: Path, template: Path) -> None:
    first = operations(SCENARIOS[name], tmp_path / "first", template)
    second = operations(SCENARIOS[name], tmp_path / "second", template)

    assert first == second
    assert Counter(first)["truncate"] >= 1, "the log was never emptied"
