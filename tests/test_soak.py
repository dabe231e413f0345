"""The soak plays a part, counts what its tests noted, and leaves out what there is no time for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import soak

FEW = soak.Part(
    "simulation",
    ["tests/simulation/test_simulation.py", "-k", "every_order"],
    {"SIMULATION_SEEDS": "10"},
    optional=True,
)
WRONG = soak.Part("other", ["tests/simulation/test_simulation.py", "-k", "no test has this name"])


@pytest.mark.crash
def test_what_was_done_is_counted_and_what_failed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "FOLDER", tmp_path)

    done, failed = (soak.play(number, part) for number, part in enumerate((FEW, WRONG)))
    _, _, simulated, other = soak.table([done, failed])

    assert done.counts["seeds"] == 10
    assert done.counts["statements and lines"] > 100
    assert simulated.startswith("| simulation | 10 seeds, ")
    assert "| 0 |" in simulated
    assert "| **yes** |" in other


def test_what_may_be_left_out_is_when_the_time_is_over() -> None:
    assert soak.Deadline(0).play(0, FEW) is None
