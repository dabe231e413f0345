"""The benchmarks run and report; how fast, no test says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import peers
from benchmarks.__main__ import main, run
from benchmarks.measure import Sizes
from benchmarks.report import WANTED, read_baseline, table, worse
from benchmarks.workloads import REGISTRY

TINY = Sizes(
    repetitions=1,
    chains=1,
    concurrent=2,
    in_flight=2,
    long_steps=10,
    long_repetitions=1,
    starts=1,
    items=3,
    suspended=2,
    alone=1,
    sleepers=3,
    wakes=1,
    fresh=1,
    killed=3,
    shared=4,
    schedules=3,
    mails=3,
    requests=3,
)


def test_every_workload_gives_the_figures_that_are_wanted_and_compared(tmp_path: Path) -> None:
    report = run(list(REGISTRY), TINY, tmp_path, with_peers=False)

    assert list(REGISTRY) == [one.number for one in report.measured]
    for one in report.measured:
        assert all(0 <= figure.low <= figure.median <= figure.high for figure in one.figures), one.name
    assert set(WANTED) <= {(one.number, figure.name) for one in report.measured for figure in one.figures}
    assert report.ratios().keys() == read_baseline().keys()
    assert any("x raw" in line and "≤2.00" in line for line in table(report))
    assert {"measured", "notes", "machine"} == set(json.loads(report.as_json()))


def test_a_ratio_that_got_worse_is_named() -> None:
    assert worse({"W1 x raw": 1.14, "new": 9.0}, {"W1 x raw": 1.0}) == []
    assert worse({"W1 x raw": 1.16}, {"W1 x raw": 1.0}) == ["W1 x raw was 1.00 and is 1.16; at most 1.15 is allowed"]


def test_peers_that_are_not_installed_are_named(tmp_path: Path) -> None:
    assert peers.measure(["W1"], TINY, tmp_path, {})[0] == []
    measured, notes = peers.measure(["W1"], TINY, tmp_path, {peers.FOLDER_VARIABLE: str(tmp_path)})

    assert measured == []
    assert "peers: burr is not installed" in notes


def test_an_unknown_workload_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["W99"])

    assert "no workload W99" in capsys.readouterr().err
