"""The checks themselves: each mistake that is made on purpose is found, so none of them is blind."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from . import mutants
from .disk import MODES, Fault, Mode
from .playing import play
from .scenarios import SCENARIOS
from .test_crash_points import operations
from .vfs import LAYER

pytestmark = [
    pytest.mark.mutant,
    pytest.mark.skipif(
        LAYER is None, reason="the functions of the driver's SQLite cannot be reached: NOTHING IS CHECKED"
    ),
]


@pytest.mark.parametrize(
    ("mutant", "scenario", "modes", "mark"),
    [
        (mutants.acknowledges_before_the_commit, "sales", ("before", "torn"), "was acknowledged"),
        (mutants.writes_event_and_view_apart, "errands", ("before", "torn"), "the view says"),
        (mutants.commits_then_enqueues, "errands", ("before", "torn"), "nothing will ever wake it"),
        (mutants.swallows_errors_of_the_disk, "sales", ("EIO", "ENOSPC"), "was acknowledged"),
    ],
)
def test_a_mistake_is_found(
    mutant: mutants.Mutant,
    scenario: str,
    modes: tuple[Mode, ...],
    mark: str,
    tmp_path: Path,
    template: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant(monkeypatch)
    kinds = operations(SCENARIOS[scenario], tmp_path / "whole", template)
    points = [Fault(mode, number) for number, kind in enumerate(kinds) for mode in modes if mode in MODES[kind]]
    Random(1).shuffle(points)
    points.sort(key=lambda fault: kinds[fault.number - 1] != "sync")  # first those between two transactions
    found, tried = list[str](), 0
    while not found and tried < len(points):
        folder = tmp_path / str(tried)
        folder.mkdir()
        violations = play(SCENARIOS[scenario], folder, points[tried], template).violations
        found, tried = [each for each in violations if mark in each], tried + 1
    print(f"\nfound at point {tried} of {len(points)}: {found}")

    assert found
